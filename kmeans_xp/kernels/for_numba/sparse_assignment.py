"""Sparse rows: the nearest centroid of each row, and the sums of clusters."""

from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.assignment import has_own_totals
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMNS,
    COUNT,
    INDICES,
    LABEL_RESULTS,
    LABELS,
    NUMBERS,
    NUMBERS_64,
    STARTS,
    SUMS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.sparse_vectors import UNIT, add_numbers, keep_greatest
from kmeans_xp.kernels.for_numba.sparse_certified import certain_labels
from kmeans_xp.kernels.for_numba.sparse_panels import (
    Panel,
    arrays_of,
    first_unit,
    in_ranges,
    n_packing_tasks,
    origin_of,
    override,
    row_cost,
    weights_of,
)
from kmeans_xp.kernels.for_numba.tiling import Floats, Labels, copy, int32_labels, n_tasks_for
from kmeans_xp.kernels.portable.assignment import ClusterTotals, cluster_sums, nearest_labels
from kmeans_xp.kernels.portable.steps import lloyd_step
from kmeans_xp.kernels.sparse_rows import SparseRows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = [
    "ADDED",
    "MOST_PIECES",
    "WRITTEN",
    "Pieces",
    "add_piece",
    "added_number_by_number",
    "cut_clusters",
    "is_step_of_a_task",
    "label_and_add",
    "label_rows",
    "labelled",
    "scored_by_panels",
    "sort_rows",
]

#: number of rows to score with a group of centroids before the next group: many, so that loading
#: the group into the cache takes little of the time; fewer if the rows must stay in the cache too
_TILE_ROWS, _FEW_ROWS = 4096, 256
#: minimum number of stored numbers in a task for each of its sums
_NUMBERS_A_SUM = 16
#: maximum number of further pieces of clusters that are added up separately
MOST_PIECES = 16
_MOST_TASKS = 64
#: nanoseconds for a stored number: for each unit of scores, and to add it
_SCORED, ADDED = 0.5, 2.0
#: nanoseconds for a sum
WRITTEN = 1.0
#: below this work, in approximate nanoseconds of one thread, another task is not faster: its thread
#: first loads megabytes of centroids and sums into its own cache
_WORTH_A_TASK = 400_000


@inline
def label_tile(
    numbers,
    columns,
    starts,
    row,
    n_rows,
    panel,
    biases,
    n_units,
    n_groups,
    n_features,
    best,
    labels,
):
    """Write the labels of rows; one without a number for a score gets label 0."""
    for number in range(n_rows):
        best[number] = -np.inf
        labels[number] = 0
    for group in range(n_groups):
        unit = first_unit(group, n_groups, n_units)
        size = first_unit(group + 1, n_groups, n_units) - unit
        first = unit * UNIT
        for number in range(n_rows):
            start, stop = starts[row + number], starts[row + number + 1]
            keep_greatest(
                panel,
                size,
                first * n_features,
                numbers,
                columns,
                start,
                stop,
                biases,
                first,
                best,
                labels,
                number,
            )


@compiled(
    NUMBERS,
    COLUMNS,
    STARTS,
    COUNT,
    COUNT,
    NUMBERS,
    NUMBERS_64,
    COUNT,
    COUNT,
    COUNT,
    LABEL_RESULTS,
)
def label_rows(
    numbers, columns, starts, start, stop, panel, biases, n_units, n_groups, n_features, labels
):
    """Write the labels of some rows."""
    best, found = np.empty(_TILE_ROWS), np.empty(_TILE_ROWS, np.int32)
    for row in range(start, stop, _TILE_ROWS):
        n_rows = min(_TILE_ROWS, stop - row)
        label_tile(
            numbers,
            columns,
            starts,
            row,
            n_rows,
            panel,
            biases,
            n_units,
            n_groups,
            n_features,
            best,
            found,
        )
        copy(found, n_rows, labels, row)


@compiled(
    NUMBERS,
    COLUMNS,
    STARTS,
    COUNT,
    COUNT,
    COLUMN,
    NUMBERS,
    NUMBERS_64,
    COUNT,
    COUNT,
    COUNT,
    SUMS,
    SUMS,
)
def label_and_add(
    numbers,
    columns,
    starts,
    start,
    stop,
    weights,
    panel,
    biases,
    n_units,
    n_groups,
    n_features,
    sums,
    mass,
):
    """Label some rows, and add them to the sums and the mass of their clusters."""
    best, labels, weight = np.empty(_FEW_ROWS), np.empty(_FEW_ROWS, np.int32), 1.0
    for row in range(start, stop, _FEW_ROWS):
        n_rows = min(_FEW_ROWS, stop - row)
        label_tile(
            numbers,
            columns,
            starts,
            row,
            n_rows,
            panel,
            biases,
            n_units,
            n_groups,
            n_features,
            best,
            labels,
        )
        for number in range(n_rows):
            if weights.shape[0] > 0:
                weight = np.float64(weights[row + number])
            mass[labels[number]] += weight
            at = labels[number] * n_features
            first, last = starts[row + number], starts[row + number + 1]
            add_numbers(numbers, columns, first, last, weight, sums, at)


@compiled(NUMBERS, COLUMNS, STARTS, COUNT, COUNT, COLUMN, LABELS, COUNT, SUMS, SUMS)
def _add_rows(numbers, columns, starts, start, stop, weights, labels, n_features, sums, mass):
    weight = 1.0
    for row in range(start, stop):
        if weights.shape[0] > 0:
            weight = np.float64(weights[row])
        mass[labels[row]] += weight
        at = labels[row] * n_features
        add_numbers(numbers, columns, starts[row], starts[row + 1], weight, sums, at)


@override(nearest_labels)
def scored_by_panels(rows: SparseRows, centroids: Floats) -> Labels:
    """Keep the scores of a row and a group of centroids in registers: in float32 if that proves."""
    labels = certain_labels(rows, centroids)
    return labelled(rows, Panel.of(centroids, origin_of(rows))) if labels is None else labels


def labelled(rows: SparseRows, panel: Panel) -> Labels:
    """Return the centroid with the largest score of each row with a panel."""
    labels, dtype, arrays = np.empty(rows.n_points, np.int32), panel.numbers.dtype, arrays_of(rows)

    def label(start: int, stop: int) -> None:
        label_rows[dtype](*arrays, start, stop, *panel, rows.n_features, labels)

    cost = row_cost(rows, _SCORED * panel.n_units)
    in_ranges(label, rows.n_points, n_tasks_for(rows.n_points, cost))
    return labels


@override(lloyd_step)
def scored_and_added(rows: SparseRows, centroids: Floats) -> ClusterTotals:
    """Label a tile of rows and add it to its clusters while it is in the cache."""
    n_clusters, n_features = centroids.shape
    if not has_own_totals(n_clusters, n_features):
        return _added_by_clusters(rows, scored_by_panels(rows, centroids), n_clusters)
    panel, weights = Panel.of(centroids, origin_of(rows)), weights_of(rows)
    dtype, arrays = centroids.dtype, arrays_of(rows)

    def totals(start: int, stop: int) -> ClusterTotals:
        found = ClusterTotals(np.zeros(n_clusters * n_features), np.zeros(n_clusters))
        label_and_add[dtype](*arrays, start, stop, weights, *panel, n_features, *found)
        return found

    n_tasks = _n_step_tasks(rows, n_clusters)
    return _about_origin(rows, merged_in_tree(in_ranges(totals, rows.n_points, n_tasks)))


@override(cluster_sums)
def added_number_by_number(rows: SparseRows, labels: Labels, n_clusters: int) -> ClusterTotals:
    """Add only the stored numbers, and the origin once for each cluster."""
    n_features, labels = rows.n_features, int32_labels(labels)
    if not has_own_totals(n_clusters, n_features):
        return _added_by_clusters(rows, labels, n_clusters)
    dtype, arrays, weights = rows.csr.data.dtype, arrays_of(rows), weights_of(rows)

    def totals(start: int, stop: int) -> ClusterTotals:
        found = ClusterTotals(np.zeros(n_clusters * n_features), np.zeros(n_clusters))
        _add_rows[dtype](*arrays, start, stop, weights, labels, n_features, *found)
        return found

    n_tasks = _n_tasks(rows, ADDED, n_clusters)
    return _about_origin(rows, merged_in_tree(in_ranges(totals, rows.n_points, n_tasks)))


def _n_step_tasks(rows: SparseRows, n_clusters: int) -> int:
    return _n_tasks(rows, _SCORED * -(-n_clusters // UNIT) + ADDED, n_clusters)


def is_step_of_a_task(rows: SparseRows, n_clusters: int) -> bool:
    """Return whether one task packs the centroids, and one labels and adds up all rows."""
    n_features = rows.n_features
    return (
        has_own_totals(n_clusters, n_features)
        and _n_step_tasks(rows, n_clusters) == 1
        and n_packing_tasks(n_clusters, n_features) == 1
    )


def _n_tasks(rows: SparseRows, of_number: float, n_clusters: int) -> int:
    """Return a number of tasks for rows so that merging their sums costs little."""
    n_numbers, n_sums = rows.n_points * rows.n_stored, n_clusters * rows.n_features
    n_tasks = n_tasks_for(rows.n_points, row_cost(rows, of_number))
    return max(1, min(n_tasks, n_numbers // (_NUMBERS_A_SUM * n_sums)))


def _about_origin(rows: SparseRows, totals: ClusterTotals) -> ClusterTotals:
    """Return sums of the rows relative to their origin, from sums of the stored numbers."""
    sums, mass = totals.sums.reshape(len(totals.mass), -1), totals.mass
    if rows.origin is not None:
        sums -= mass[:, None] * rows.origin
    return ClusterTotals(sums, mass)


@compiled(LABELS, COUNT, INDICES, INDICES)
def sort_rows(labels, n_clusters, order, bounds):
    """Write the rows in the order of their labels, and the bounds of each cluster."""
    for cluster in range(n_clusters + 1):
        bounds[cluster] = 0
    for row in range(len(labels)):
        bounds[labels[row] + 1] += 1
    for cluster in range(n_clusters):
        bounds[cluster + 1] += bounds[cluster]
    for row in range(len(labels)):
        label = labels[row]
        order[bounds[label]] = row
        bounds[label] += 1
    for cluster in range(n_clusters, 0, -1):
        bounds[cluster] = bounds[cluster - 1]
    bounds[0] = 0


@compiled(STARTS, STARTS, STARTS, COUNT, INDICES, INDICES, INDICES, returns=types.int64)
def cut_clusters(starts, order, bounds, most, owners, firsts, places):
    """Split clusters into pieces of about ``most`` stored numbers; return their number."""
    n_pieces = n_places = 0
    for cluster in range(len(bounds) - 1):
        n_before, n_numbers = n_pieces, 0
        owners[n_pieces], firsts[n_pieces] = cluster, bounds[cluster]
        n_pieces += 1
        for place in range(bounds[cluster], bounds[cluster + 1]):
            if n_numbers >= most:
                owners[n_pieces], firsts[n_pieces], n_numbers = cluster, place, 0
                n_pieces += 1
            row = order[place]
            n_numbers += starts[row + 1] - starts[row]
        for piece in range(n_before, n_pieces):
            is_split = n_pieces > n_before + 1
            places[piece] = n_places if is_split else -1
            n_places += is_split
    firsts[n_pieces] = len(order)
    return n_pieces


@inline
def add_piece(numbers, columns, starts, weights, origin, order, first, last, sums, at):
    """Write the sums of rows ``order[first:last]`` relative to the origin; return their mass."""
    mass, weight = 0.0, 1.0
    for place in range(first, last):
        mass += np.float64(weights[order[place]]) if weights.shape[0] > 0 else 1.0
    begin = np.uint64(at)  # numba looks at each signed place whether it counts from the end
    for feature in range(np.uint64(len(origin))):
        sums[begin + feature] = -mass * np.float64(origin[feature])
    for place in range(first, last):
        row = order[place]
        if weights.shape[0] > 0:
            weight = np.float64(weights[row])
        add_numbers(numbers, columns, starts[row], starts[row + 1], weight, sums, at)
    return mass


@compiled(
    NUMBERS, COLUMNS, STARTS, COLUMN, NUMBERS, STARTS, STARTS, STARTS, COUNT, COUNT, SUMS, SUMS
)
def _add_pieces(
    numbers, columns, starts, weights, origin, order, firsts, targets, start, stop, sums, mass
):
    """Write the sums of some pieces, relative to the origin, to their target rows."""
    for piece in range(start, stop):
        target, first, last = targets[piece], firsts[piece], firsts[piece + 1]
        at = target * len(origin)
        mass[target] = add_piece(
            numbers, columns, starts, weights, origin, order, first, last, sums, at
        )


class Pieces(NamedTuple):
    """Rows in the order of their clusters, in pieces of one cluster each.

    Parameters
    ----------
    order : array of int64, shape (n_points,)
        The rows.
    firsts : array of int64, shape (n_pieces + 1,)
        The start of each piece in ``order``, and the end of the last one.
    owners : array of int64, shape (n_pieces,)
        The cluster of each, ascending; every cluster has a piece.
    places : array of int64, shape (n_pieces,)
        Consecutive numbers for the pieces of clusters that have several; -1 for a whole cluster.
    """

    order: NDArray[np.int64]
    firsts: NDArray[np.int64]
    owners: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, rows: SparseRows, labels: Labels, n_clusters: int) -> "Pieces":
        """Return the pieces of labelled rows: few more than clusters, and none very long."""
        starts, dtype = rows.csr.indptr, rows.csr.data.dtype
        order, bounds = np.empty(rows.n_points, np.int64), np.empty(n_clusters + 1, np.int64)
        sort_rows[dtype](labels, n_clusters, order, bounds)
        owners, firsts, places = np.empty((3, n_clusters + MOST_PIECES + 1), np.int64)
        most = int(starts[-1] - starts[0]) // MOST_PIECES + 1
        n_pieces = cut_clusters[dtype](starts, order, bounds, most, owners, firsts, places)
        return cls(order, firsts[: n_pieces + 1], owners[:n_pieces], places[:n_pieces])

    def n_tasks(self, rows: SparseRows) -> int:
        """Return the number of tasks to add them up."""
        cost = ADDED * rows.n_points * rows.n_stored + WRITTEN * len(self.owners) * rows.n_features
        return max(1, min(_MOST_TASKS, int(cost) // _WORTH_A_TASK))

    @property
    def targets(self) -> NDArray[np.int64]:
        """A separate place for each piece; the first of a cluster has the cluster's number."""
        is_first = np.diff(self.owners, prepend=-1) > 0
        further = self.owners[-1] + np.cumsum(~is_first)
        return np.where(is_first, self.owners, further)


def _added_by_clusters(rows: SparseRows, labels: Labels, n_clusters: int) -> ClusterTotals:
    """Add the rows cluster by cluster, so that no task needs the sums of all clusters."""
    pieces, dtype = Pieces.of(rows, labels, n_clusters), rows.csr.data.dtype
    targets, n_pieces = pieces.targets, len(pieces.owners)
    sums, mass = np.empty((n_pieces, rows.n_features)), np.empty(n_pieces)
    shared = (*arrays_of(rows), weights_of(rows), origin_of(rows), pieces.order, pieces.firsts)

    def add(start: int, stop: int) -> None:
        _add_pieces[dtype](*shared, targets, start, stop, sums.reshape(-1), mass)

    in_ranges(add, n_pieces, pieces.n_tasks(rows), fewest=2)
    for owner, target in zip(pieces.owners, targets, strict=True):
        if target != owner:
            sums[owner] += sums[target]
            mass[owner] += mass[target]
    return ClusterTotals(sums[:n_clusters], mass[:n_clusters])
