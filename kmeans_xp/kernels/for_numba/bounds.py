"""Bounded steps for NumPy that numba compiles.

Bounds have the dtype of the rows, and every operation on them rounds to the safe side. Which rows
a step skips depends only on the data, not on the number of threads.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.assignment import (
    Groups,
    add_tile,
    added_by_features,
    can_be_cut,
    has_own_totals,
    no_totals,
    split_totals,
    step_cost,
)
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    FLAGS,
    INDICES,
    LABEL_RESULTS,
    NUMBERS,
    RESULTS,
    ROWS,
    TOTALS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.bound_vectors import (
    BIGGEST,
    DOWN,
    DRIFT,
    DRIFT_OF_OTHERS,
    FAR,
    GAP,
    LEAST,
    LIMIT,
    MEASURED,
    N_COLUMNS,
    N_CONSTANTS,
    NORM,
    ROUNDING,
    UP,
    move_bounds,
    turn_into_bounds,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.vectors import (
    add_row,
    keep_nearer,
    pack_chosen,
    panel_rows,
    score_group_and_next,
    sq_distance,
)
from kmeans_xp.kernels.for_numba.tiling import (
    LABEL,
    Dense,
    Floats,
    are_same,
    factor_of,
    filler_of,
    group_size,
    in_parts,
    is_dense,
    n_tasks_for,
    origin_of,
    override,
    pack_tile,
    smaller,
    tile_rows,
    weights_of,
    zeros_on_a_line,
)
from kmeans_xp.kernels.portable.assignment import ClusterTotals
from kmeans_xp.kernels.portable.bounds import Bounds, bounded_step, keeps_bounds
from kmeans_xp.kernels.trees import merged_in_tree

__all__: list[str] = []


#: if more than this number of eighths of a tile's rows may have changed, visit the whole tile
_EIGHTHS = 6

# Counters of a task.
_N_VISITED, _N_DIRTY, _ADDS_ALL, _N_COUNTS = range(4)


@inline
def _reach_of_scores(reach, constants):
    """Return the length that bounds the rounding of scores that compete for a row.

    A centroid ``FAR`` times farther from the origin than the row and its own centroid together
    cannot win, however its score is rounded.
    """
    return reach + min(constants[BIGGEST], constants[FAR] * reach)


@inline
def _is_in_range(reach, constants):
    """Return whether no score and no squared distance overflows."""
    most = reach + constants[BIGGEST]
    return most * most < constants[LIMIT]


@inline
def _is_sure(upper, bound, norm, constants):
    """Return whether no computed score can be better than that of the row's own centroid.

    ``upper`` is an upper bound of the distance to its own centroid, ``bound`` a lower bound of the
    distances to all others.
    """
    reach = upper + norm
    scale = _reach_of_scores(reach, constants)
    slack = constants[ROUNDING] * scale * scale + constants[LEAST]
    is_apart = bound * bound * constants[DOWN] > upper * upper * constants[UP] + slack
    return is_apart & _is_in_range(reach, constants)


@inline
def _mark_doubtful(row, n_rows, table, constants, labels, upper, lower, masks):
    """Update the bounds of a tile's rows for the centroids' moves; count rows without a proof.

    A mask has a bit for each row of a vector, which is half a panel.
    """
    up, down, zero = constants[UP], constants[DOWN], constants[LEAST] - constants[LEAST]
    n_lanes = panel_rows(upper) // 2
    n_whole = n_rows - n_rows % n_lanes
    n_doubtful = move_bounds(upper, lower, labels, row, n_whole, table, constants, masks)
    if n_whole < n_rows:
        masks[n_whole // n_lanes] = 0
    for number in range(n_whole, n_rows):
        at = labels[row + number] * N_COLUMNS
        high = (upper[row + number] + table[at + DRIFT]) * up
        low = max((lower[row + number] - table[at + DRIFT_OF_OTHERS]) * down, zero)
        upper[row + number] = high
        lower[row + number] = low
        # Twice half the distance to the nearest other centroid, minus the distance to this one.
        bound = max(low, table[at + GAP] - high)
        if not _is_sure(high, bound, table[at + NORM], constants):
            masks[n_whole // n_lanes] |= 1 << (number - n_whole)
            n_doubtful += 1
    return n_doubtful


@inline
def _measured(points, row, factors, origin, centroids, label, constants):
    """Return a lower and an upper bound of the distance of a row to a centroid."""
    n_features = points.shape[1]
    factor, at = factor_of(factors, row), label * n_features
    squared = sq_distance(points, row, factor, origin, centroids, at, n_features)
    least = max(squared - constants[LEAST], constants[LEAST] - constants[LEAST])
    low = np.sqrt(least / constants[MEASURED]) * constants[DOWN]
    return low, np.sqrt(squared * constants[MEASURED] + constants[LEAST]) * constants[UP]


@inline
def _is_sure_when_measured(
    points, row, factors, origin, centroids, table, constants, labels, upper, lower
):
    """Replace the row's upper bound by its distance, and check again."""
    at = labels[row] * N_COLUMNS
    _, high = _measured(points, row, factors, origin, centroids, labels[row], constants)
    upper[row] = min(upper[row], high)
    bound = max(lower[row], table[at + GAP] - upper[row])
    return _is_sure(upper[row], bound, table[at + NORM], constants)


@inline
def _score_panels(panels, n_rows, n_features, groups, biases, n_clusters, best, second, labels):
    """Do the same as ``label_panels``, and keep the second-best scores."""
    panel, first = panel_rows(panels), 0
    while first < n_clusters:
        size = group_size(n_clusters - first)
        for row in range(0, n_rows, panel):
            at = row * n_features
            score_group_and_next(
                panels, size, at, n_features, groups, biases, first, best, second, labels, row
            )
        first += size


@inline
def _measure_norms(panels, n_rows, n_features, zeros, sq_norms):
    panel = panel_rows(panels)
    for row in range(0, n_rows, panel):
        sq_norms[row : row + panel] = np.inf
        keep_nearer(panels, row * n_features, n_features, zeros, sq_norms, row)


@inline
def _visit(data, state, room, chosen, n_chosen, is_run):
    """Label rows like plain steps, and renew their bounds."""
    points, panels, n_features = data.points, room.panels, data.points.shape[1]
    factors, theirs = data.factors, room.factors
    if is_run:
        pack_tile(points, chosen[0], n_chosen, factors, chosen[0], data.origin, panels)
    else:
        for number in range(n_chosen if factors.shape[0] > 0 else 0):
            theirs[number] = factors[chosen[number]]
        for at in range(0, n_chosen, panel_rows(panels)):
            pack_chosen(
                *(points, chosen, at, n_chosen - at, theirs, data.origin, n_features),
                *(panels, at * n_features),
            )
    best, second, found, n_clusters = room.best, room.second, room.found, state.dirty.shape[0]
    for number in range(len(best)):
        best[number] = second[number] = -np.inf
        found[number] = 0
    _score_panels(
        panels, n_chosen, n_features, data.groups, data.biases, n_clusters, best, second, found
    )
    _measure_norms(panels, n_chosen, n_features, room.zeros, room.sq_norms)
    norms, table = room.norms, data.table
    for number in range(n_chosen):
        norms[number] = table[found[number] * N_COLUMNS + NORM]
    turn_into_bounds(best, second, n_chosen, room.sq_norms, room.norms, data.constants)
    _keep_results(
        chosen, n_chosen, found, best, second, state.labels, state.upper, state.lower, state.dirty
    )
    return n_chosen


@inline
def _keep_results(chosen, n_chosen, found, best, second, labels, upper, lower, dirty):
    for number in range(n_chosen):
        row, label = chosen[number], found[number]
        upper[row] = best[number]
        lower[row] = second[number]
        before = labels[row]
        if before != label:
            dirty[before] = 1
            dirty[label] = 1
            labels[row] = label


@inline
def _append_doubtful(data, state, row, n_rows, masks, waiting, n_waiting):
    """Append those of a tile's marked rows that are still in doubt after a measurement."""
    # Do this outside the loop: numba counts references to arrays from tuples by atomic operations.
    points, factors, origin = data.points, data.factors, data.origin
    centroids, table, constants = data.centroids, data.table, data.constants
    labels, upper, lower = state.labels, state.upper, state.lower
    n_lanes = panel_rows(upper) // 2
    for first in range(0, n_rows, n_lanes):
        mask, number = masks[first // n_lanes], row + first
        while mask != 0:
            if mask & 1:
                is_sure = _is_sure_when_measured(
                    *(points, number, factors, origin, centroids, table, constants),
                    *(labels, upper, lower),
                )
                if not is_sure:
                    waiting[n_waiting] = number
                    n_waiting += 1
            mask >>= 1
            number += 1
    return n_waiting


@inline
def _add_dirty(points, start, stop, factors, origin, weights, labels, dirty, totals):
    """Sum again the clusters that a row has entered or left, in the order of a plain step."""
    n_features, weight = points.shape[1], 1.0
    for label in range(dirty.shape[0]):
        if dirty[label]:
            for column in range(totals.shape[1]):
                totals[label, column] = 0.0
    for row in range(start, stop):
        if dirty[labels[row]]:
            if weights.shape[0] > 0:
                weight = np.float64(weights[row])
            factor = factor_of(factors, row)
            add_row(points, row, factor, origin, weight, n_features, totals, labels[row])


class _Data(NamedTuple):
    points: Any
    factors: Any
    origin: Any
    centroids: Any
    groups: Any
    biases: Any
    table: Any
    constants: Any


class _State(NamedTuple):
    labels: Any
    upper: Any
    lower: Any
    dirty: Any


class _Room(NamedTuple):
    factors: Any
    panels: Any
    zeros: Any
    best: Any
    second: Any
    found: Any
    sq_norms: Any
    norms: Any


@inline
def _room(points, factors, tile):
    n_features = points.shape[1]
    return _Room(
        new_numbers(tile if factors.shape[0] > 0 else 0, points),
        new_numbers(tile * n_features, points),
        np.zeros(n_features, points.dtype),
        new_numbers(tile, points),
        new_numbers(tile, points),
        new_numbers(tile, np.int32),
        new_numbers(tile, points),
        new_numbers(tile, points),
    )


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    *(NUMBERS, LABEL_RESULTS, RESULTS, RESULTS, FLAGS, TOTALS, INDICES),
)
def _bounded_rows(
    points,
    start,
    stop,
    tile,
    factors,
    origin,
    weights,
    groups,
    biases,
    centroids,
    table,
    constants,
    labels,
    upper,
    lower,
    dirty,
    totals,
    counts,
):
    data = _Data(points, factors, origin, centroids, groups, biases, table, constants)
    state, room = _State(labels, upper, lower, dirty), _room(points, factors, tile)
    masks, run = new_numbers(tile, np.int64), new_numbers(tile, np.int64)
    waiting, n_waiting, n_visited = new_numbers(2 * tile, np.int64), 0, 0
    has_totals = totals.shape[0] > 0
    adds_all = has_totals and counts[_ADDS_ALL] > 0
    for label in range(len(dirty)):
        dirty[label] = 0
        for column in range(totals.shape[1] if adds_all else 0):
            totals[label, column] = 0.0
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        n_doubtful = _mark_doubtful(row, n_rows, table, constants, labels, upper, lower, masks)
        if 8 * n_doubtful > _EIGHTHS * n_rows:
            for number in range(n_rows):
                run[number] = row + number
            n_visited += _visit(data, state, room, run, n_rows, True)
        elif n_doubtful > 0:
            n_waiting = _append_doubtful(data, state, row, n_rows, masks, waiting, n_waiting)
        # Rows from several tiles fill whole panels.
        is_due = adds_all or row + tile >= stop
        while n_waiting >= tile or (is_due and n_waiting > 0):
            n_chosen = min(tile, n_waiting)
            n_waiting -= n_chosen
            chosen = waiting[n_waiting : n_waiting + n_chosen]
            n_visited += _visit(data, state, room, chosen, n_chosen, False)
        if adds_all:
            add_tile(
                *(points, row, n_rows, row, factors, origin, weights),
                *(labels[row:], totals),
            )
    if has_totals and not adds_all:
        _add_dirty(points, start, stop, factors, origin, weights, labels, dirty, totals)
    counts[_N_VISITED] = n_visited
    counts[_N_DIRTY] = np.sum(dirty)
    # If all rows were visited, they are in the cache, and to add all of them costs little.
    is_restless = 8 * n_visited > _EIGHTHS * (stop - start)
    counts[_ADDS_ALL] = is_restless and 2 * counts[_N_DIRTY] > dirty.shape[0]


@compiled(ROWS, COUNT, COUNT, NUMBERS, NUMBERS, NUMBERS, RESULTS)
def _measure_gaps(centroids, start, stop, flat, zeros, constants, gaps):
    """Write lower bounds of the distance of each centroid to the nearest other one."""
    (n_clusters, n_features), one = centroids.shape, zeros.dtype.type(1)
    for label in range(start, stop):
        least = gaps[label]
        for other in range(n_clusters):
            if other != label:
                at = other * n_features
                squared = sq_distance(centroids, label, one, zeros, flat, at, n_features)
                least = min(least, squared)
        shrunk = max(least - constants[LEAST], constants[LEAST] - constants[LEAST])
        gaps[label] = np.sqrt(shrunk / constants[MEASURED]) * constants[DOWN]


class _Kept:
    """The state that steps keep: labels, bounds, and each task's totals.

    A task sums only those clusters again that one of its rows entered or left. It does the same
    additions in the same order as a plain step, so the sums are bit-identical, and no error grows.
    """

    def __init__(self, rows: Dense, centroids: Floats) -> None:
        (n_clusters, n_features), n_points = centroids.shape, rows.n_points
        dtype = rows.points.dtype
        self.rows, self.centroids = rows, centroids.copy()
        self.labels = zeros_on_a_line(n_points, LABEL)
        self.upper = np.full(n_points, np.inf, dtype)
        self.lower = np.zeros(n_points, dtype)
        self.has_totals = has_own_totals(n_clusters, n_features)
        cost = step_cost(n_clusters, n_features)
        self.n_tasks = n_tasks_for(n_points, cost, n_clusters * (n_features + 1) * self.has_totals)
        self.tasks: dict[int, _Task] = {}

    def fits(self, rows: Dense, centroids: Floats) -> bool:
        """Return whether this state belongs to the same rows and number of centroids."""
        return are_same(self.rows, rows) and self.centroids.shape == centroids.shape

    def task(self, start: int) -> "_Task":
        """Return the state of the task that begins with this row."""
        if start not in self.tasks:
            n_clusters, n_features = self.centroids.shape
            totals = no_totals(n_clusters if self.has_totals else 0, n_features)
            counts = np.ones(_N_COUNTS, np.int64)
            self.tasks[start] = _Task(totals, np.zeros(n_clusters, np.uint8), counts)
        return self.tasks[start]


class _Task(NamedTuple):
    totals: Floats
    dirty: NDArray[np.uint8]
    counts: NDArray[np.int64]


def _constants(centroids: Floats, biggest: float) -> Floats:
    """Return the constants for compiled code."""
    info, n_features = np.finfo(centroids.dtype), centroids.shape[1]
    eps, least = float(info.eps), (n_features + 8) * 4.0 * float(info.tiny)
    constants = np.empty(N_CONSTANTS)
    constants[[UP, DOWN]] = 1.0 + 8.0 * eps, 1.0 - 8.0 * eps
    # The errors of two scores sum up to (n_features + 2) * eps * reach**2 in squared distance.
    constants[ROUNDING] = (n_features + 8) * eps
    constants[MEASURED] = 1.0 + (n_features + 8) * eps
    constants[LEAST], constants[LIMIT] = least, float(info.max) / 16.0
    constants[BIGGEST], constants[FAR] = biggest, 8.0
    return constants.astype(centroids.dtype)


def _lengths(vectors: Floats) -> Floats:
    """Return lengths, rounded up."""
    # Scale, so that no square underflows or overflows.
    vectors = vectors.astype(np.float64, copy=False)
    scale = np.abs(vectors).max(axis=1)
    scale = np.where(scale > 0.0, scale, 1.0)
    lengths = scale * np.sqrt(np.square(vectors / scale[:, None]).sum(axis=1))
    rounded: Floats = lengths * (1.0 + (vectors.shape[1] + 8) * 2.0**-52)
    return rounded


def _most_of_others(values: Floats) -> Floats:
    """Return for each element the maximum of all others."""
    if len(values) == 1:
        return np.zeros(1)
    second, first = np.partition(values, len(values) - 2)[-2:]
    others = np.full(len(values), first)
    others[values.argmax()] = second
    return others


def _table(centroids: Floats, drifts: Floats, constants: Floats, norms: Floats) -> Floats:
    """Return a flat table with the numbers that a step needs of each centroid."""
    dtype, up = centroids.dtype, 1.0 + 8.0 * float(np.finfo(centroids.dtype).eps)
    table = np.zeros((len(centroids), N_COLUMNS), dtype)
    table[:, NORM] = norms * up
    table[:, DRIFT] = drifts * up
    table[:, DRIFT_OF_OTHERS] = _most_of_others(drifts) * up
    table[:, GAP] = _gaps(centroids, constants)
    return table.reshape(-1)


def _gaps(centroids: Floats, constants: Floats) -> Floats:
    n_clusters, n_features = centroids.shape
    dtype, flat = centroids.dtype, centroids.reshape(-1)
    gaps, zeros = np.full(n_clusters, np.inf, dtype), np.zeros(n_features, dtype)

    def measure(start: int, stop: int) -> None:
        _measure_gaps[dtype](centroids, start, stop, flat, zeros, constants, gaps)

    n_tasks = n_tasks_for(n_clusters, n_clusters * (5.0 + n_features / 8))
    in_parts(measure, n_clusters, n_tasks, dtype)
    return gaps


@override(keeps_bounds, on_sphere=True)
def has_rows_in_one_place(rows: Dense, n_clusters: int) -> bool:
    """Keep bounds if each row is contiguous: single rows are read, otherwise that is slow."""
    # Rows without known factors, or with an origin, are scaled a tile at a time.
    return is_dense(rows.points) and can_be_cut(rows)


@override(bounded_step, on_sphere=True)
def visiting_doubtful_rows(rows: Dense, centroids: Floats, bounds: Bounds) -> Any:
    """Visit only the rows that their two bounds leave in doubt, gathered into panels."""
    if not has_rows_in_one_place(rows, len(centroids)):
        return NotImplemented
    kept = bounds.kept
    if not (isinstance(kept, _Kept) and kept.fits(rows, centroids)):
        kept = _Kept(rows, centroids)
    bounds.forget()  # after an error, bounds and labels would belong to different centroids
    totals = _stepped(kept, np.ascontiguousarray(centroids))
    bounds.kept, bounds.labels = kept, kept.labels
    bounds.n_visited = sum(int(task.counts[_N_VISITED]) for task in kept.tasks.values())
    return totals


def _stepped(kept: _Kept, centroids: Floats) -> ClusterTotals:
    rows, (n_clusters, n_features) = kept.rows, centroids.shape
    points, dtype, origin, weights = rows.points, centroids.dtype, origin_of(rows), weights_of(rows)
    norms = _lengths(centroids)
    with np.errstate(over="ignore"):  # an infinite bound proves nothing
        constants = _constants(centroids, float(norms.max()))
        drifts = _lengths(centroids.astype(np.float64) - kept.centroids)
        table = _table(centroids, drifts, constants, norms)
    groups, tile = Groups.of(centroids), tile_rows(rows.n_points, n_features, dtype)
    _, factors = filler_of(rows)

    def step(start: int, stop: int) -> Floats:
        task = kept.task(start)
        _bounded_rows[dtype](
            points,
            start,
            stop,
            tile,
            factors,
            origin,
            weights,
            groups.numbers,
            groups.biases,
            centroids.reshape(-1),
            table,
            constants,
            kept.labels,
            kept.upper,
            kept.lower,
            *(task.dirty, task.totals, task.counts),
        )
        return task.totals

    parts = in_parts(step, rows.n_points, kept.n_tasks, dtype)
    kept.centroids = centroids.copy()
    if not kept.has_totals:
        return added_by_features(rows, kept.labels, n_clusters)
    merged = parts[0].copy() if len(parts) == 1 else merged_in_tree(parts)
    return split_totals(merged, n_features)
