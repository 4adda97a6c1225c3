"""Find the nearest centroid of each row and sum up clusters while a tile is in the cache."""

from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    LABEL_RESULTS,
    LABELS,
    NUMBERS,
    RESULTS,
    ROWS,
    TOTALS,
    compiled,
    shared,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.vectors import (
    add_row,
    add_scaled_row,
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
    is_from_zero,
    n_tasks_for,
    new_labels,
    nothing,
    origin_of,
    override,
    pack_tile,
    scratch_for,
    smaller,
    tile_of,
    tile_rows,
    weights_of,
    zeros_on_a_line,
)
from kmeans_xp.kernels.for_numba.two_clusters import (
    N_DONE,
    N_NUMBERS,
    ROWS_AT_A_TIME,
    label_pairs_at,
    pairs_for,
)
from kmeans_xp.kernels.for_numba.uncompiled import uses_of, write_groups
from kmeans_xp.kernels.portable.assignment import ClusterTotals, cluster_sums, nearest_labels
from kmeans_xp.kernels.portable.steps import lloyd_step
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import in_threads
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = [
    "FEWEST_PROVED",
    "Groups",
    "add_tile",
    "added_by_features",
    "can_be_cut",
    "has_own_totals",
    "label_panels",
    "label_rows",
    "n_step_tasks",
    "no_totals",
    "pack_groups",
    "scored",
    "split_totals",
    "step_cost",
]

#: from this number of totals in a task, tasks split features instead of rows
_MOST_PRIVATE = 2**16
#: number of clusters from which labels may be found by proofs, which a step alone does not try
FEWEST_PROVED = 64


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
        add_scaled_row(points, first + number, factor, weight, n_features, totals, labels[number])


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
    is_pair, is_sure = pairs != 0, pairs != 0
    apart, pair = new_numbers(n_features * is_pair, points), new_numbers(N_NUMBERS, np.float64)
    row, adds = start, totals.shape[0] > 0
    while row < stop:
        n_rows, n_done = smaller(tile, stop - row), np.int64(0)
        tile_points, first = tile_of(points, row, n_rows, filler, scratch)
        if is_sure and n_rows >= ROWS_AT_A_TIME:
            label_pairs_at(
                *(pairs, tile_points, first, n_rows, factors, row, origin, weights),
                *(groups, biases, row == start, True, adds, apart, pair, found, totals),
            )
            n_done = np.int64(pair[N_DONE])
            # Where most rows are in doubt, as equal ones are, all others may be too.
            is_sure = n_done == n_rows
        if n_done > 0:
            n_rows = n_done  # the others come again, with the next rows
        else:
            pack_tile(tile_points, first, n_rows, factors, row, origin, panels)
            label_panels(panels, n_rows, n_features, groups, biases, n_clusters, best, found)
        if labels.shape[0] > 0:
            for number in range(n_rows):
                labels[row + number] = found[number]
        if adds and is_pair and n_done == 0:
            label_pairs_at(
                *(pairs, tile_points, first, n_rows, factors, row, origin, weights),
                *(groups, biases, False, False, adds, apart, pair, found, totals),
            )
        elif adds and not is_pair:
            add_tile(tile_points, first, n_rows, row, factors, origin, weights, found, totals)
        row += n_rows


@compiled(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, LABELS, TOTALS)
def _add_rows(points, start, stop, tile, filler, factors, origin, weights, labels, totals):
    scratch = scratch_for(points, tile, filler)
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        tile_points, first = tile_of(points, row, n_rows, filler, scratch)
        add_tile(tile_points, first, n_rows, row, factors, origin, weights, labels[row:], totals)


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
        is_compiled = pack_groups.pays(centroids.dtype, uses_of(centroids.size))
        pack = pack_groups[centroids.dtype] if is_compiled else write_groups
        pack(centroids, *groups)
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


def split_totals(totals: Floats, n_features: int) -> ClusterTotals:
    """Split the totals of compiled code into sums and mass, without the padding of vectors."""
    return ClusterTotals(totals[:, :n_features], totals[:, n_features])


@override(nearest_labels, on_sphere=True)
def scored(rows: Dense, centroids: Floats) -> Labels:
    """Keep the best score of each row in registers."""
    points, (n_clusters, n_features) = rows.points, centroids.shape
    dtype, labels = points.dtype, new_labels(rows.n_points)
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
    return isinstance(rows, DenseRows) or (rows.factors is not None and is_from_zero(rows))


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
