"""Find the nearest centroid of each row and sum up clusters while a tile is in the cache."""

from typing import Any, NamedTuple

import numpy as np
from numba import types

from kmeans_xp.devices import Namespace, namespace_of
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMN_64,
    COUNT,
    LABEL_RESULTS,
    LABELS,
    MATRIX,
    NUMBER,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    ROWS,
    ROWS_64,
    STACK,
    STACKED_TOTALS,
    SUMS,
    TOTALS,
    compiled,
    inline,
    shared,
)
from kmeans_xp.kernels.for_numba.emitted.mean_vectors import UPDATED, write_mean
from kmeans_xp.kernels.for_numba.emitted.memory import matrix_in, new_numbers, numbers_in
from kmeans_xp.kernels.for_numba.emitted.vectors import (
    PANEL,
    add_row,
    as_rows,
    panel_rows,
    score_group,
    total_width,
)
from kmeans_xp.kernels.for_numba.tiling import (
    LARGE,
    Dense,
    Floats,
    Labels,
    filler_of,
    group_size,
    in_parts,
    int32_labels,
    n_tasks_for,
    nothing,
    origin_of,
    override,
    pack_tile,
    rows_of_a_part,
    scratch_for,
    tile_of,
    tile_rows,
    weights_of,
    zeros_on_a_line,
)
from kmeans_xp.kernels.for_numba.two_clusters import (
    N_NUMBERS,
    PROVED,
    ROWS_AT_A_TIME,
    label_pairs_at,
    pairs_for,
)
from kmeans_xp.kernels.portable.assignment import ClusterTotals, cluster_sums, nearest_labels
from kmeans_xp.kernels.portable.steps import (
    LloydSteps,
    Update,
    lloyd_step,
    lloyd_steps,
    update_centroids,
)
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import in_threads, n_threads_here
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = [
    "FEWEST_PROVED",
    "Groups",
    "add_tile",
    "added_by_features",
    "can_be_cut",
    "has_own_totals",
    "is_step_short",
    "is_updated_in_lanes",
    "label_panels",
    "label_rows",
    "n_step_tasks",
    "no_totals",
    "pack_groups",
    "run_steps",
    "scored",
    "slots_of",
    "split_totals",
    "step_cost",
    "update_cluster",
    "update_clusters",
]

#: from this number of totals in a task, tasks split features instead of rows
_MOST_PRIVATE = 2**16
#: minimum amount of the centroids' numbers for another thread
_MANY_NUMBERS = 2**17
#: number of clusters from which labels may be found by proofs, which a step alone does not try
FEWEST_PROVED = 64
#: bytes of rows that are packed once for several steps: they stay in the cache
_PACKED = 2**22
#: nanoseconds of a step. A thread of the pool begins some 0.1 ms late in a virtual machine, and the
#: one that waits for it wakes as late
_SHORT_STEP = 2_000_000


@shared(NUMBERS, COUNT, COUNT, NUMBERS, NUMBERS, COUNT, RESULTS, LABEL_RESULTS)
def label_panels(panels, n_rows, n_features, groups, biases, n_clusters, best, labels):
    """Label rows that have been packed; rows without a number for a score get label 0."""
    panel = panel_rows(panels)
    for row in range(-(-n_rows // panel) * panel):
        best[row] = -np.inf
        labels[row] = 0
    first = 0
    while first < n_clusters:
        size = group_size(n_clusters - first)
        # A group stays in the first-level cache while all panels of the tile are scored with it.
        for row in range(0, n_rows, panel):
            at = row * n_features
            score_group(panels, size, at, n_features, groups, biases, first, best, labels, row)
        first += size


@shared(ROWS, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, LABELS, TOTALS)
def add_tile(points, first, n_rows, row, factors, origin, weights, labels, totals):
    """Add the tile at ``first`` of ``points``, and at ``row`` of factors and weights."""
    n_features, weight, one = points.shape[1], 1.0, origin.dtype.type(1)
    if factors.shape[0] == 0:  # a known factor of 1 costs no multiplication
        for number in range(n_rows):
            if weights.shape[0] > 0:
                weight = np.float64(weights[row + number])
            add_row(points, first + number, one, origin, weight, n_features, totals, labels[number])
        return
    for number in range(n_rows):
        if weights.shape[0] > 0:
            weight = np.float64(weights[row + number])
        factor = factors[row + number]
        add_row(points, first + number, factor, origin, weight, n_features, totals, labels[number])


@compiled(ROWS, RESULTS, RESULTS)
def pack_groups(centroids, groups, biases):
    """Pack centroids into groups; the padding of the last group can never be the best."""
    n_clusters, n_features = centroids.shape
    first = 0
    while first < n_clusters:
        size = group_size(n_clusters - first)
        for member in range(size):
            sq_norm = 0.0
            is_there = first + member < n_clusters
            for feature in range(n_features):
                number = centroids[first + member, feature] if is_there else groups.dtype.type(0)
                groups[first * n_features + feature * size + member] = number
                sq_norm += np.float64(number) * np.float64(number)
            # The smallest |x - c|^2 is the largest x.c - |c|^2 / 2.
            biases[first + member] = -0.5 * sq_norm if is_there else -np.inf
        first += size


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, NUMBERS, NUMBERS, COUNT),
    *(LABEL_RESULTS, TOTALS),
)
def label_rows(
    points,
    start,
    stop,
    tile,
    pairs,
    filler,
    factors,
    origin,
    weights,
    groups,
    biases,
    n_clusters,
    labels,
    totals,
):
    """Find the nearest centroid of each row; write the labels, add up rows, or both.

    Outputs that are not wanted have length 0.
    """
    n_features = points.shape[1]
    panels, best = new_numbers(tile * n_features, points), new_numbers(tile, points)
    found, scratch = new_numbers(tile, np.int32), scratch_for(points, tile, filler)
    is_pair = pairs != 0
    apart, pair = new_numbers(n_features * is_pair, points), new_numbers(N_NUMBERS, np.float64)
    doubtful = new_numbers(tile * is_pair, np.int64)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        tile_points, first = tile_of(points, row, n_rows, filler, scratch)
        is_done = is_pair and n_rows >= ROWS_AT_A_TIME
        if is_done:
            label_pairs_at(
                *(pairs, tile_points, first, n_rows, factors, row, origin, groups, biases),
                *(row == start, apart, pair, doubtful, found),
            )
            # Where most rows are in doubt, as equal ones are, all others may be too.
            is_pair = is_done = pair[PROVED] > 0.0
        if not is_done:
            pack_tile(tile_points, first, n_rows, factors, row, origin, panels)
            label_panels(panels, n_rows, n_features, groups, biases, n_clusters, best, found)
        if labels.shape[0] > 0:
            for number in range(n_rows):
                labels[row + number] = found[number]
        if totals.shape[0] > 0:
            add_tile(tile_points, first, n_rows, row, factors, origin, weights, found, totals)


@compiled(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, LABELS, TOTALS)
def _add_rows(points, start, stop, tile, filler, factors, origin, weights, labels, totals):
    scratch = scratch_for(points, tile, filler)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        tile_points, first = tile_of(points, row, n_rows, filler, scratch)
        add_tile(tile_points, first, n_rows, row, factors, origin, weights, labels[row:], totals)


@compiled(ROWS_64, COLUMN_64, ROWS, MATRIX, SUMS)
def update_clusters(sums, mass, old, new, signals):
    """Write the means and the signals; a cluster without mass keeps its centroid."""
    n_clusters, n_features = old.shape
    sq_shift = n_empty = explained = 0.0
    for cluster in range(n_clusters):
        is_empty = mass[cluster] <= 0.0
        n_empty += is_empty
        for feature in range(n_features):
            before, total = np.float64(old[cluster, feature]), sums[cluster, feature]
            mean = old[cluster, feature] if is_empty else new.dtype.type(total / mass[cluster])
            new[cluster, feature] = mean
            moved = np.float64(mean) - before
            sq_shift += moved * moved
            # sum w |x - c|^2 = sum w |x|^2 - (2 c.S - m |c|^2): no second pass over the rows.
            explained += before * (2.0 * total - mass[cluster] * before)
    signals[0], signals[1], signals[2] = sq_shift, n_empty, explained


@inline
def update_cluster(sums, at, mass, old, first, n_features, new, shifts, parts):
    """Update one cluster; return its parts of the shift and of the explained inertia.

    Lanes of vectors hold several features. The cluster's sums begin at ``at``, its centroid at
    ``first``; ``shifts`` and ``parts`` are scratch with one sum for each lane.
    """
    shifts[:] = 0.0
    parts[:] = 0.0
    is_empty, inverse = mass <= 0.0, 1.0 / mass
    write_mean(new, first, n_features, sums, at, old, mass, inverse, is_empty, shifts, parts)
    return shifts.sum(), parts.sum()


@compiled(NUMBERS_64, NUMBERS_64, NUMBERS, COUNT, COUNT, RESULTS, TOTALS)
def _update_many(sums, mass, old, start, stop, new, signals):
    """Update some clusters, and write the signals of each."""
    n_features = len(old) // len(mass)
    shifts, parts = new_numbers(UPDATED, sums), new_numbers(UPDATED, sums)
    for cluster in range(start, stop):
        first = cluster * n_features
        sq_shift, explained = update_cluster(
            sums, first, mass[cluster], old, first, n_features, new, shifts, parts
        )
        signals[cluster, 0], signals[cluster, 2] = sq_shift, explained
        signals[cluster, 1] = mass[cluster] <= 0.0


_pack_centroids, _label_rows, _update_step = (
    function.shared for function in (pack_groups, label_rows, update_clusters)
)


@inline
def _label_packed(
    points,
    panels,
    start,
    stop,
    tile,
    origin,
    weights,
    groups,
    biases,
    n_clusters,
    best,
    labels,
    totals,
):
    """Add up rows that have been packed."""
    n_features, none = points.shape[1], new_numbers(0, origin)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        packed = numbers_in(panels, row * n_features, tile * n_features)
        label_panels(packed, n_rows, n_features, groups, biases, n_clusters, best, labels)
        add_tile(points, row, n_rows, row, none, origin, weights, labels, totals)


@inline
def _add_part(slots, slot, height, heights):
    """Add a part to those before it that are as high, as ``merged_in_tree``; return its slot."""
    while slot > 0 and heights[slot - 1] == height:
        _add_slot(slots, slot - 1, slot)
        slot, height = slot - 1, height + 1
    heights[slot] = height
    return slot


@inline
def _add_slot(slots, to, other):
    for cluster in range(slots.shape[1]):
        for column in range(slots.shape[2]):
            slots[to, cluster, column] += slots[other, cluster, column]


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, COLUMN, ROWS, NUMBER, RESULTS, RESULTS),
    *(STACKED_TOTALS, STACKED_TOTALS, TOTALS, STACK, TOTALS),
    returns=types.int64,
)
def run_steps(
    points,
    n_rows,
    tile,
    pairs,
    filler,
    origin,
    weights,
    start,
    tol,
    groups,
    biases,
    slots,
    sums,
    mass,
    centroids,
    signals,
):
    """Take steps until one ends the run or leaves a cluster empty; return their number.

    Each step adds up ``n_rows`` rows at a time, in one of the ``slots``.
    """
    n_points, n_features = points.shape
    n_clusters, before = slots.shape[1], start
    none, no_labels = new_numbers(0, origin), new_numbers(0, np.int32)
    heights = new_numbers(len(slots), np.int64)
    # Few rows stay in the cache as panels, which are the same in each step.
    is_packed = pairs == 0 and filler == 0 and n_points * n_features * origin.itemsize <= _PACKED
    panels = new_numbers((n_points + tile) * n_features * is_packed, origin)
    best, labels = new_numbers(tile * is_packed, origin), new_numbers(tile * is_packed, np.int32)
    if is_packed:
        for row in range(0, n_points, tile):
            packed = numbers_in(panels, row * n_features, tile * n_features)
            pack_tile(points, row, min(tile, n_points - row), none, row, origin, packed)
    for number in range(len(signals)):
        _pack_centroids(before, groups, biases)
        slot = -1
        for row in range(0, n_points, n_rows):
            slot += 1
            found = matrix_in(slots, slot * n_clusters * slots.shape[2], n_clusters, slots.shape[2])
            for cluster in range(n_clusters):
                for column in range(slots.shape[2]):
                    found[cluster, column] = 0.0
            stop = min(row + n_rows, n_points)
            if is_packed:
                _label_packed(
                    *(points, panels, row, stop, tile, origin, weights, groups, biases, n_clusters),
                    *(best, labels, found),
                )
            else:
                _label_rows(
                    points,
                    row,
                    stop,
                    tile,
                    pairs,
                    filler,
                    none,
                    origin,
                    weights,
                    groups,
                    biases,
                    n_clusters,
                    no_labels,
                    found,
                )
            slot = _add_part(slots, slot, 0, heights)
        while slot > 0:
            _add_slot(slots, slot - 1, slot)
            slot -= 1
        for cluster in range(n_clusters):
            for feature in range(n_features):
                sums[number, cluster, feature] = slots[0, cluster, feature]
            mass[number, cluster] = slots[0, cluster, n_features]
        new = matrix_in(centroids, number * n_clusters * n_features, n_clusters, n_features)
        _update_step(
            matrix_in(sums, number * n_clusters * n_features, n_clusters, n_features),
            numbers_in(mass, number * n_clusters, n_clusters),
            before,
            new,
            numbers_in(signals, number * signals.shape[1], signals.shape[1]),
        )
        before = as_rows(new)
        if signals[number, 0] <= tol or signals[number, 1] > 0.0:
            return number + 1
    return len(signals)


class Groups(NamedTuple):
    """Centroids packed for scoring."""

    numbers: Floats
    biases: Floats

    @classmethod
    def empty(cls, n_clusters: int, n_features: int, dtype: np.dtype[Any]) -> "Groups":
        """Return uninitialised groups for ``n_clusters`` centroids."""
        n_padded = n_clusters + LARGE  # the last group may be larger than the remaining centroids
        return cls(np.empty(n_padded * n_features, dtype), np.empty(n_padded, dtype))

    @classmethod
    def of(cls, centroids: Floats) -> "Groups":
        """Return the centroids as groups."""
        n_clusters, n_features = centroids.shape
        groups = cls.empty(n_clusters, n_features, centroids.dtype)
        pack_groups[centroids.dtype](centroids, *groups)
        return groups


def has_own_totals(n_clusters: int, n_features: int) -> bool:
    """Return whether the tasks of a step split rows, not features."""
    return n_clusters * n_features <= _MOST_PRIVATE


def step_cost(n_clusters: int, n_features: int) -> float:
    """Return the approximate time of one thread for a row in nanoseconds."""
    return 2.0 + n_features / 4 + n_clusters / 12 + n_clusters * n_features / 50


def n_step_tasks(rows: Dense, n_clusters: int) -> int:
    """Return the number of tasks of a step, each with its own totals."""
    n_features = rows.n_features
    return n_tasks_for(
        rows.n_points, step_cost(n_clusters, n_features), n_clusters * (n_features + 1)
    )


@override(lloyd_step, on_sphere=True)
def scored_and_added(rows: Dense, centroids: Floats) -> Any:
    """Label a tile of rows and add it to its clusters while it is in the cache."""
    points, (n_clusters, n_features) = rows.points, centroids.shape
    if not has_own_totals(n_clusters, n_features):
        if not can_be_cut(rows):
            return NotImplemented
        return added_by_features(rows, scored(rows, centroids), n_clusters)
    dtype, weights = points.dtype, weights_of(rows)
    tile, groups = tile_rows(rows.n_points, n_features, dtype), Groups.of(centroids)
    pairs = pairs_for(n_clusters, n_features, dtype)
    shared = (tile, pairs, *filler_of(rows), origin_of(rows), weights, *groups, n_clusters)
    no_labels = np.empty(0, np.int32)

    def totals(start: int, stop: int) -> Floats:
        found = no_totals(n_clusters, n_features)
        label_rows[dtype](points, start, stop, *shared, no_labels, found)
        return found

    n_tasks = n_step_tasks(rows, n_clusters)
    return split_totals(merged_in_tree(in_parts(totals, rows.n_points, n_tasks, dtype)), n_features)


def no_totals(n_clusters: int, n_features: int) -> Floats:
    """Return zeros for each cluster's sums and mass, aligned to a cache line."""
    width = total_width(n_features)
    return zeros_on_a_line(n_clusters * width).reshape(n_clusters, width)


def slots_of(n_tasks: int, n_clusters: int, n_features: int) -> Floats:
    """Return room for the totals that wait to be merged, and for one more."""
    n_slots, width = n_tasks.bit_length() + 1 if n_tasks > 1 else 1, total_width(n_features)
    return zeros_on_a_line(n_slots * n_clusters * width).reshape(n_slots, n_clusters, width)


def split_totals(totals: Floats, n_features: int) -> ClusterTotals:
    """Split the totals of compiled code into sums and mass, without the padding of vectors."""
    return ClusterTotals(totals[:, :n_features], totals[:, n_features])


def is_step_short(n_points: int, n_clusters: int, n_features: int) -> bool:
    """Return whether threads and Python would take much of the time of a step."""
    return n_points * step_cost(n_clusters, n_features) < _SHORT_STEP


def _takes_steps_alone(rows: DenseRows, n_clusters: int) -> bool:
    """Return whether one thread takes the steps, and Python would take much of their time."""
    n_features = rows.n_features
    if not has_own_totals(n_clusters, n_features):
        return False
    if n_step_tasks(rows, n_clusters) == 1:
        return True
    is_plain = n_clusters < FEWEST_PROVED and is_step_short(rows.n_points, n_clusters, n_features)
    return is_plain and n_threads_here() == 1


@override(lloyd_steps)
def steps_in_a_call(rows: DenseRows, centroids: Floats, n_steps: int, tol: float) -> Any:
    """Take all steps in compiled code if Python's part of a step would take much of the time."""
    points, (n_clusters, n_features) = rows.points, centroids.shape
    if not _takes_steps_alone(rows, n_clusters) or not run_steps.pays(points.dtype):
        # Do not decline: kernels without numba would give other bits.
        return lloyd_steps.portable(rows, centroids, n_steps, tol, xp=namespace_of(centroids))
    dtype, tile = points.dtype, tile_rows(rows.n_points, n_features, points.dtype)
    shape, groups = (n_steps, n_clusters, n_features), Groups.empty(n_clusters, n_features, dtype)
    sums, new = np.empty(shape), np.empty(shape, dtype)
    mass, signals = np.empty(shape[:2]), np.empty((n_steps, 3))
    n_tasks = n_step_tasks(rows, n_clusters)
    n_done = run_steps[dtype](
        points,
        rows_of_a_part(rows.n_points, n_tasks, dtype),
        tile,
        pairs_for(n_clusters, n_features, dtype),
        filler_of(rows)[0],
        origin_of(rows),
        weights_of(rows),
        centroids,
        tol,
        *groups,
        slots_of(n_tasks, n_clusters, n_features),
        sums,
        mass,
        new,
        signals,
    )
    return LloydSteps(
        ClusterTotals(sums[:n_done], mass[:n_done]), Update(new[:n_done], signals[:n_done])
    )


@update_centroids.override("numpy", rank=1)
def means_in_a_pass(totals: ClusterTotals, centroids: Floats, *, xp: Namespace) -> Any:
    """Do everything in one call: for few clusters, calls take most of the time."""
    sums, mass = totals
    if sums.dtype != np.float64 or centroids.dtype not in PANEL:
        return NotImplemented
    if centroids.ndim == 3:  # several runs: treat each like a single run
        runs = zip(sums, mass, centroids, strict=True)
        each = [means_in_a_pass(ClusterTotals(s, m), c, xp=xp) for s, m, c in runs]
        return Update(*map(np.stack, zip(*each, strict=True)))
    new, signals = np.empty(centroids.shape, centroids.dtype), np.empty(3)
    if is_updated_in_lanes(*centroids.shape):
        return Update(new, _updated_in_threads(totals, centroids, new))
    update = update_clusters.for_turns(centroids.size, centroids.dtype)
    update(sums, mass, centroids, new, signals)
    return Update(new, signals)


def is_updated_in_lanes(n_clusters: int, n_features: int) -> bool:
    """Return whether ``update_cluster`` updates centroids of this size, not ``update_clusters``."""
    return n_features >= UPDATED and not has_own_totals(n_clusters, n_features)


def _updated_in_threads(totals: ClusterTotals, old: Floats, new: Floats) -> Floats:
    """Write the new centroids, and return the signals."""
    n_clusters, n_tasks = len(old), max(1, min(len(old), new.size // _MANY_NUMBERS))
    arrays = [np.ascontiguousarray(each).reshape(-1) for each in (*totals, old)]
    signals = np.empty((n_clusters, 3))

    def update(task: int) -> None:
        start, stop = (n_clusters * each // n_tasks for each in (task, task + 1))
        _update_many[old.dtype](*arrays, start, stop, new.reshape(-1), signals)

    in_threads(update, n_tasks)
    total: Floats = signals.sum(axis=0)
    return total


@override(nearest_labels, on_sphere=True)
def scored(rows: Dense, centroids: Floats) -> Labels:
    """Keep the best score of each row in registers."""
    points, (n_clusters, n_features) = rows.points, centroids.shape
    dtype, labels = points.dtype, np.empty(rows.n_points, np.int32)
    tile, groups = tile_rows(rows.n_points, n_features, dtype), Groups.of(centroids)
    totals = np.empty((0, 0))
    pairs, weights = pairs_for(n_clusters, n_features, dtype), nothing(dtype)
    shared = (tile, pairs, *filler_of(rows), origin_of(rows), weights, *groups, n_clusters)

    def label(start: int, stop: int) -> None:
        label_rows[dtype](points, start, stop, *shared, labels, totals)

    n_tasks = n_tasks_for(rows.n_points, step_cost(n_clusters, n_features))
    in_parts(label, rows.n_points, n_tasks, dtype)
    return labels


@override(cluster_sums, on_sphere=True)
def added_row_by_row(rows: Dense, labels: Labels, n_clusters: int) -> Any:
    """Add rows to their clusters' totals, with features in the lanes, followed by the mass."""
    n_features = rows.n_features
    if not has_own_totals(n_clusters, n_features):
        return added_by_features(rows, labels, n_clusters) if can_be_cut(rows) else NotImplemented
    n_tasks = n_tasks_for(rows.n_points, 3.0 + n_features / 4, n_clusters * (n_features + 1))
    return added_rows(rows, labels, n_clusters, n_tasks)


def added_rows(rows: Dense, labels: Labels, n_clusters: int, n_tasks: int) -> ClusterTotals:
    points, n_features, labels = rows.points, rows.n_features, int32_labels(labels)
    dtype, weights = points.dtype, weights_of(rows)
    fill, origin = filler_of(rows), origin_of(rows)
    tile = tile_rows(rows.n_points, n_features, dtype)

    def totals(start: int, stop: int) -> Floats:
        found = no_totals(n_clusters, n_features)
        _add_rows[dtype](points, start, stop, tile, *fill, origin, weights, labels, found)
        return found

    return split_totals(merged_in_tree(in_parts(totals, rows.n_points, n_tasks, dtype)), n_features)


def can_be_cut(rows: Dense) -> bool:
    """Return whether some features of a row are enough: alone they do not give its length."""
    if isinstance(rows, DenseRows):
        return True
    return rows.factors is not None


def added_by_features(rows: Dense, labels: Labels, n_clusters: int) -> ClusterTotals:
    """Add some features of all rows in each task: no task has all sums of its own."""
    n_features, width = rows.n_features, max(8, min(64, _MOST_PRIVATE // n_clusters))
    origin = origin_of(rows)

    def totals(task: int) -> ClusterTotals:
        some = slice(task * width, (task + 1) * width)
        part = rows._replace(points=rows.points[:, some], origin=origin[some])
        return added_rows(part, labels, n_clusters, n_tasks=1)

    parts = in_threads(totals, -(-n_features // width))
    return ClusterTotals(np.concatenate([part.sums for part in parts], axis=1), parts[0].mass)
