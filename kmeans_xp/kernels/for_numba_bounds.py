"""Bounded steps for NumPy that numba compiles.

Bounds are kept in the dtype of the rows, and every operation on them is rounded to the safe
side. What a step skips depends on the data alone, not on the number of threads.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.kernels import for_numba
from kmeans_xp.kernels.bounds import Bounds, bounded_step
from kmeans_xp.kernels.for_numba import (
    _add_tile,
    _aligned,
    _column,
    _compiled,
    _cost,
    _count,
    _group_size,
    _Groups,
    _inline,
    _label_results,
    _n_tasks,
    _no_totals,
    _numbers,
    _origin,
    _override,
    _pack_tile,
    _results,
    _rows,
    _run,
    _split,
    _tile_rows,
    _totals,
    _weights,
    added_by_features,
)
from kmeans_xp.kernels.portable import ClusterTotals
from kmeans_xp.kernels.rows import Rows
from kmeans_xp.kernels.trees import merged_in_tree
from kmeans_xp.kernels.vectors import (
    GROUPS,
    add_row,
    keep_nearer,
    pack_chosen,
    panel_rows,
    score_group_and_next,
    sq_distance,
)

__all__: list[str] = []

Floats = NDArray[Any]

_LARGE, _MIDDLE, _SMALL = GROUPS
_score_large, _score_middle, _score_small = score_group_and_next

#: a tile is visited as a whole if more than this many eighths of its rows may have changed
_EIGHTHS = 6

# What a step knows of each centroid, side by side since a row reads it for its own.
_NORM, _DRIFT, _DRIFT_OF_OTHERS, _GAP, _N_COLUMNS = range(5)

# Numbers in the dtype of the rows, for compiled code would compute with literals in float64.
_UP, _DOWN, _ROUNDING, _LEAST, _BIGGEST, _LIMIT, _FAR, _MEASURED, _N_CONSTANTS = range(9)

# What a task counts.
_N_VISITED, _N_DIRTY, _ADDS_ALL, _N_COUNTS = range(4)


def _flags(_: Any) -> Any:
    return types.Array(types.uint8, 1, "C")


def _counts(_: Any) -> Any:
    return types.Array(types.int64, 1, "C")


@_inline
def _reach_of_scores(reach, constants):
    """Return the length that bounds the rounding of scores that compete for a row.

    A centroid ``_FAR`` times farther from the origin than the row and its own centroid together
    is no rival, however its score is rounded.
    """
    return reach + min(constants[_BIGGEST], constants[_FAR] * reach)


@_inline
def _is_in_range(reach, constants):
    """Return whether no score overflows, nor squares of distances."""
    most = reach + constants[_BIGGEST]
    return most * most < constants[_LIMIT]


@_inline
def _is_sure(upper, bound, norm, constants):
    """Return whether no computed score can be better than that of the row's own centroid.

    ``upper`` bounds the distance to it from above, ``bound`` those to the others from below.
    """
    reach = upper + norm
    scale = _reach_of_scores(reach, constants)
    slack = constants[_ROUNDING] * scale * scale + constants[_LEAST]
    is_apart = bound * bound * constants[_DOWN] > upper * upper * constants[_UP] + slack
    return is_apart & _is_in_range(reach, constants)


@_inline
def _mark_doubtful(row, n_rows, table, constants, labels, upper, lower, doubtful):
    """Move the bounds of a tile's rows as the centroids moved; return how many are no proof."""
    up, down, zero = constants[_UP], constants[_DOWN], constants[_LEAST] - constants[_LEAST]
    n_doubtful = 0
    for number in range(n_rows):
        at = labels[row + number] * _N_COLUMNS
        high = (upper[row + number] + table[at + _DRIFT]) * up
        low = max((lower[row + number] - table[at + _DRIFT_OF_OTHERS]) * down, zero)
        upper[row + number] = high
        lower[row + number] = low
        # Twice half the way to the nearest other centroid, less the way to this one.
        bound = max(low, table[at + _GAP] - high)
        doubtful[number] = not _is_sure(high, bound, table[at + _NORM], constants)
        n_doubtful += doubtful[number]
    return n_doubtful


@_inline
def _is_sure_when_measured(points, row, origin, centroids, table, constants, labels, upper, lower):
    """Replace the row's upper bound by its distance, and look again."""
    n_features, label = points.shape[1], labels[row]
    squared = sq_distance(points, row, origin, centroids, label * n_features, n_features)
    measured = np.sqrt(squared * constants[_MEASURED] + constants[_LEAST]) * constants[_UP]
    upper[row] = min(upper[row], measured)
    at = label * _N_COLUMNS
    bound = max(lower[row], table[at + _GAP] - upper[row])
    return _is_sure(upper[row], bound, table[at + _NORM], constants)


@_inline
def _score_panels(panels, n_rows, n_features, groups, biases, n_clusters, best, second, labels):
    """Do as ``_label_panels`` does, and keep the second-best scores."""
    panel = panel_rows(panels)
    for row in range(-(-n_rows // panel) * panel):
        best[row] = -np.inf
        second[row] = -np.inf
        labels[row] = 0
    first = 0
    while first < n_clusters:
        size = _group_size(n_clusters - first)
        for row in range(0, n_rows, panel):
            at = row * n_features
            if size == _LARGE:
                _score_large(
                    panels, at, n_features, groups, biases, first, best, second, labels, row
                )
            elif size == _MIDDLE:
                _score_middle(
                    panels, at, n_features, groups, biases, first, best, second, labels, row
                )
            else:
                _score_small(
                    panels, at, n_features, groups, biases, first, best, second, labels, row
                )
        first += size


@_inline
def _measure_norms(panels, n_rows, n_features, zeros, sq_norms):
    panel = panel_rows(panels)
    for row in range(0, n_rows, panel):
        sq_norms[row : row + panel] = np.inf
        keep_nearer(panels, row * n_features, n_features, zeros, sq_norms, row)


@_inline
def _keep_bounds(row, label, sq_norm, best, second, table, constants, upper, lower):
    """Turn scores into bounds: |x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2), but for rounding."""
    norm = table[label * _N_COLUMNS + _NORM]
    reach = np.sqrt(sq_norm * constants[_MEASURED] + constants[_LEAST]) * constants[_UP] + norm
    scale = _reach_of_scores(reach, constants)
    slack = constants[_ROUNDING] * scale * scale + constants[_LEAST]
    zero = constants[_LEAST] - constants[_LEAST]
    if _is_in_range(reach, constants):
        upper[row] = np.sqrt(max(sq_norm - best - best + slack, zero)) * constants[_UP]
        low = np.sqrt(max(sq_norm - second - second - slack, zero)) * constants[_DOWN]
        # A centroid far away rounds by more, but is farther than this.
        lower[row] = min(
            low, (constants[_FAR] - constants[_FAR] / constants[_FAR]) * reach * constants[_DOWN]
        )
    else:
        upper[row] = np.inf
        lower[row] = zero


@_inline
def _visit(
    points,
    chosen,
    n_chosen,
    is_run,
    origin,
    groups,
    biases,
    table,
    constants,
    labels,
    upper,
    lower,
    dirty,
    panels,
    zeros,
    best,
    second,
    found,
    sq_norms,
):
    """Label rows as plain steps do, and renew their bounds."""
    panel, n_features = panel_rows(panels), points.shape[1]
    if is_run:
        _pack_tile(points, chosen[0], n_chosen, origin, panels)
    else:
        for at in range(0, n_chosen, panel):
            pack_chosen(
                points, chosen, at, n_chosen - at, origin, n_features, panels, at * n_features
            )
    n_clusters = dirty.shape[0]
    _score_panels(panels, n_chosen, n_features, groups, biases, n_clusters, best, second, found)
    _measure_norms(panels, n_chosen, n_features, zeros, sq_norms)
    for number in range(n_chosen):
        row, label = chosen[number], found[number]
        if labels[row] != label:
            dirty[labels[row]] = 1
            dirty[label] = 1
            labels[row] = label
        _keep_bounds(
            row,
            label,
            sq_norms[number],
            best[number],
            second[number],
            table,
            constants,
            upper,
            lower,
        )


@_inline
def _add_dirty(points, start, stop, origin, weights, labels, dirty, totals):
    """Sum the clusters anew that a row has entered or left, in the order of a plain step."""
    n_features, width = points.shape[1], totals.shape[1]
    flat = totals.reshape(-1)
    for label in range(dirty.shape[0]):
        if dirty[label]:
            totals[label] = 0.0
    weight = 1.0
    for row in range(start, stop):
        if dirty[labels[row]]:
            if weights.shape[0] > 0:
                weight = float(weights[row])
            add_row(points, row, origin, weight, n_features, flat, labels[row] * width)


@_compiled(
    _rows,
    _count,
    _count,
    _count,
    _numbers,
    _column,
    _numbers,
    _numbers,
    _numbers,
    _numbers,
    _numbers,
    _label_results,
    _results,
    _results,
    _flags,
    _totals,
    _counts,
)
def _bounded_rows(
    points,
    start,
    stop,
    tile,
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
    n_features = points.shape[1]
    panels, best = _aligned(tile * n_features, points), _aligned(tile, points)
    second, sq_norms = _aligned(tile, points), _aligned(tile, points)
    found, doubtful = np.empty(tile, np.int32), np.empty(tile, np.uint8)
    run, waiting = np.empty(tile, np.int64), np.empty(tile, np.int64)
    zeros = np.zeros(n_features, points.dtype)
    has_totals = totals.shape[0] > 0
    adds_all = has_totals and counts[_ADDS_ALL] > 0
    dirty[:] = 0
    if adds_all:
        totals[:] = 0.0
    n_visited = n_waiting = 0
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        n_doubtful = _mark_doubtful(row, n_rows, table, constants, labels, upper, lower, doubtful)
        if 8 * n_doubtful > _EIGHTHS * n_rows:
            for number in range(n_rows):
                run[number] = row + number
            _visit(
                points,
                run,
                n_rows,
                True,
                origin,
                groups,
                biases,
                table,
                constants,
                labels,
                upper,
                lower,
                dirty,
                panels,
                zeros,
                best,
                second,
                found,
                sq_norms,
            )
            n_visited += n_rows
        elif n_doubtful > 0:
            for number in range(n_rows):
                if not doubtful[number] or _is_sure_when_measured(
                    points,
                    row + number,
                    origin,
                    centroids,
                    table,
                    constants,
                    labels,
                    upper,
                    lower,
                ):
                    continue
                waiting[n_waiting] = row + number
                n_waiting += 1
                if n_waiting == tile:
                    _visit(
                        points,
                        waiting,
                        tile,
                        False,
                        origin,
                        groups,
                        biases,
                        table,
                        constants,
                        labels,
                        upper,
                        lower,
                        dirty,
                        panels,
                        zeros,
                        best,
                        second,
                        found,
                        sq_norms,
                    )
                    n_visited += tile
                    n_waiting = 0
        if n_waiting > 0 and (adds_all or row + tile >= stop):
            _visit(
                points,
                waiting,
                n_waiting,
                False,
                origin,
                groups,
                biases,
                table,
                constants,
                labels,
                upper,
                lower,
                dirty,
                panels,
                zeros,
                best,
                second,
                found,
                sq_norms,
            )
            n_visited += n_waiting
            n_waiting = 0
        if adds_all:
            _add_tile(points, row, n_rows, row, origin, weights, labels[row:], totals)
    if has_totals and not adds_all:
        _add_dirty(points, start, stop, origin, weights, labels, dirty, totals)
    counts[_N_VISITED] = n_visited
    counts[_N_DIRTY] = np.sum(dirty)
    # Rows that have been visited are in the cache: then to add all of them costs little.
    is_restless = 8 * n_visited > _EIGHTHS * (stop - start)
    counts[_ADDS_ALL] = is_restless and 2 * counts[_N_DIRTY] > dirty.shape[0]


@_compiled(_rows, _count, _count, _numbers, _numbers, _numbers, _results)
def _measure_gaps(centroids, start, stop, flat, zeros, constants, gaps):
    """Bound from below the distance of each centroid to the nearest other one."""
    n_clusters, n_features = centroids.shape
    for label in range(start, stop):
        least = gaps[label]
        for other in range(n_clusters):
            if other != label:
                at = other * n_features
                squared = sq_distance(centroids, label, zeros, flat, at, n_features)
                least = min(least, squared)
        shrunk = max(least - constants[_LEAST], constants[_LEAST] - constants[_LEAST])
        gaps[label] = np.sqrt(shrunk / constants[_MEASURED]) * constants[_DOWN]


class _Kept:
    """What steps keep: labels, bounds, and each task's totals.

    A task sums only those clusters anew that one of its rows entered or left: the same
    additions in the same order as a plain step's, so the sums are bit-equal to its, and there
    is no error that would grow and have to be recomputed away.
    """

    def __init__(self, rows: Rows, centroids: Floats) -> None:
        (n_clusters, n_features), n_points = centroids.shape, rows.n_points
        dtype = rows.points.dtype
        self.rows, self.centroids = rows, centroids.copy()
        self.labels = np.zeros(n_points, np.int32)
        self.upper = np.full(n_points, np.inf, dtype)
        self.lower = np.zeros(n_points, dtype)
        self.has_totals = centroids.size <= for_numba._MOST_PRIVATE
        cost = _cost(n_clusters, n_features)
        self.n_tasks = _n_tasks(n_points, cost, n_clusters if self.has_totals else 1)
        self.tasks: dict[int, _Task] = {}

    def fits(self, rows: Rows, centroids: Floats) -> bool:
        """Return whether this was kept of the same rows and as many centroids."""
        is_same = all(mine is given for mine, given in zip(self.rows, rows, strict=True))
        return is_same and self.centroids.shape == centroids.shape

    def task(self, start: int) -> "_Task":
        """Return what the task keeps that begins with this row."""
        if start not in self.tasks:
            n_clusters, n_features = self.centroids.shape
            totals = _no_totals(n_clusters if self.has_totals else 0, n_features)
            counts = np.ones(_N_COUNTS, np.int64)
            self.tasks[start] = _Task(totals, np.zeros(n_clusters, np.uint8), counts)
        return self.tasks[start]


class _Task(NamedTuple):
    totals: Floats
    dirty: NDArray[np.uint8]
    counts: NDArray[np.int64]


def _constants(centroids: Floats, biggest: float) -> Floats:
    """Return the numbers that compiled code computes with."""
    info, n_features = np.finfo(centroids.dtype), centroids.shape[1]
    eps, least = float(info.eps), (n_features + 8) * 4.0 * float(info.tiny)
    constants = np.empty(_N_CONSTANTS)
    constants[[_UP, _DOWN]] = 1.0 + 8.0 * eps, 1.0 - 8.0 * eps
    # Two scores are off by (n_features + 2) * eps * reach**2 in squared distance, together.
    constants[_ROUNDING] = (n_features + 8) * eps
    constants[_MEASURED] = 1.0 + (n_features + 8) * eps
    constants[_LEAST], constants[_LIMIT] = least, float(info.max) / 16.0
    constants[_BIGGEST], constants[_FAR] = biggest, 8.0
    return constants.astype(centroids.dtype)


def _lengths(vectors: Floats) -> Floats:
    """Return lengths, rounded up."""
    # Scaled, so that no square underflows or overflows.
    vectors = vectors.astype(np.float64, copy=False)
    scale = np.abs(vectors).max(axis=1)
    scale = np.where(scale > 0.0, scale, 1.0)
    lengths = scale * np.sqrt(np.square(vectors / scale[:, None]).sum(axis=1))
    rounded: Floats = lengths * (1.0 + (vectors.shape[1] + 8) * 2.0**-52)
    return rounded


def _most_of_others(values: Floats) -> Floats:
    """Return for each place the largest value of the other places."""
    if len(values) == 1:
        return np.zeros(1)
    second, first = np.partition(values, len(values) - 2)[-2:]
    others = np.full(len(values), first)
    others[values.argmax()] = second
    return others


def _table(centroids: Floats, before: Floats, constants: Floats, norms: Floats) -> Floats:
    """Return what a step knows of each centroid, flat."""
    dtype, up = centroids.dtype, 1.0 + 8.0 * float(np.finfo(centroids.dtype).eps)
    table = np.zeros((len(centroids), _N_COLUMNS), dtype)
    drifts = _lengths(centroids.astype(np.float64) - before)
    table[:, _NORM] = norms * up
    table[:, _DRIFT] = drifts * up
    table[:, _DRIFT_OF_OTHERS] = _most_of_others(drifts) * up
    table[:, _GAP] = _gaps(centroids, constants)
    return table.reshape(-1)


def _gaps(centroids: Floats, constants: Floats) -> Floats:
    n_clusters, n_features = centroids.shape
    dtype, flat = centroids.dtype, centroids.reshape(-1)
    gaps, zeros = np.full(n_clusters, np.inf, dtype), np.zeros(n_features, dtype)

    def measure(start: int, stop: int) -> None:
        _measure_gaps[dtype](centroids, start, stop, flat, zeros, constants, gaps)

    n_tasks = _n_tasks(n_clusters, n_clusters * (5.0 + n_features / 8))
    _run(measure, n_clusters, n_tasks, dtype)
    return gaps


@_override(bounded_step)
def visiting_doubtful_rows(rows: Rows, centroids: Floats, bounds: Bounds) -> Any:
    """Visit the rows that two bounds each leave in doubt, gathered into panels."""
    points = rows.points
    if points.strides[1] != points.itemsize and rows.n_features > 1:
        return NotImplemented  # a row is read alone, which pays only where it lies in one place
    kept = bounds.kept
    if kept is None or not kept.fits(rows, centroids):
        kept = _Kept(rows, centroids)
    bounds.forget()  # after an error the bounds would be of other centroids than the labels
    totals = _stepped(kept, np.ascontiguousarray(centroids))
    bounds.kept, bounds.labels = kept, kept.labels
    bounds.n_visited = sum(int(task.counts[_N_VISITED]) for task in kept.tasks.values())
    return totals


def _stepped(kept: _Kept, centroids: Floats) -> ClusterTotals:
    rows, (n_clusters, n_features) = kept.rows, centroids.shape
    points, dtype, origin, weights = rows.points, centroids.dtype, _origin(rows), _weights(rows)
    norms = _lengths(centroids)
    with np.errstate(over="ignore"):  # what is infinite proves nothing
        constants = _constants(centroids, float(norms.max()))
        table = _table(centroids, kept.centroids, constants, norms)
    groups, tile = _Groups(centroids), _tile_rows(rows.n_points, n_features, dtype)

    def step(start: int, stop: int) -> Floats:
        task = kept.task(start)
        _bounded_rows[dtype](
            points,
            start,
            stop,
            tile,
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

    parts = _run(step, rows.n_points, kept.n_tasks, dtype)
    kept.centroids = centroids.copy()
    if not kept.has_totals:
        return added_by_features(rows, kept.labels, n_clusters)
    merged = parts[0].copy() if len(parts) == 1 else merged_in_tree(parts)
    return _split(merged, n_features)
