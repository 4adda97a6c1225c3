"""Sums of the rows of each cluster: a sparse one-hot matrix times tiles of rows in float64."""

import threading
from typing import Any

import numpy as np
from scipy.sparse import csc_array

from kmeans_xp.kernels.for_numpy.tiling import (
    Centring,
    Floats,
    Labels,
    Plan,
    override,
    run,
    streaming_plan,
)
from kmeans_xp.kernels.portable.assignment import ClusterTotals, cluster_sums
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import in_threads, scratch
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = ["OneHotSums", "one_hot_product", "split", "sums_are_shared"]

#: from this number of partial sums in a task, tasks split features instead of rows
_MOST_PRIVATE = 2**16


class OneHotSums(threading.local):
    """Adds rows to the sums of their clusters, in float64; the mass is a further column of totals.

    float32 rows are cast a tile at a time. That takes a tenth to a third of the time of the sums.
    It makes the mean of equal rows exactly that row, which float32 sums would miss.

    The labels are the indices of a one-hot matrix of clusters x rows in CSC form. Each thread
    makes its own matrix only once, since that costs as much as a product with it.
    """

    def __init__(self, n_clusters: int, n_features: int, weights: Floats | None) -> None:
        self.shape = n_clusters, n_features + 1
        self.weights = weights
        self.one_hot: Any = None

    def none(self) -> Floats:
        """Return totals of zero."""
        return np.zeros(self.shape)

    def labels(self, n_rows: int) -> Labels:
        """Return the array for the labels of the next tile."""
        if self.one_hot is None or self.one_hot.shape[1] != n_rows:
            starts = np.arange(n_rows + 1, dtype=np.int32)
            parts = (np.ones(n_rows), np.zeros(n_rows, dtype=np.int32), starts)
            self.one_hot = csc_array(parts, shape=(self.shape[0], n_rows))
        labels: Labels = self.one_hot.indices
        return labels

    def add(self, points: Floats, place: slice, total: Floats) -> None:
        """Add a tile of rows to ``total``; its labels must have been written."""
        weights = None if self.weights is None else self.weights[place]
        if weights is not None:
            self.one_hot.data[:] = weights
        if points.dtype != np.float64:
            wide = scratch("wide", points.shape, np.float64)
            np.copyto(wide, points)
            points = wide
        total[:, :-1] += self.one_hot @ points
        total[:, -1] += np.bincount(self.one_hot.indices, weights, minlength=self.shape[0])


def split(total: Floats) -> ClusterTotals:
    """Split totals into sums and mass."""
    return ClusterTotals(np.ascontiguousarray(total[:, :-1]), total[:, -1].copy())


def sums_are_shared(n_clusters: int, n_features: int) -> bool:
    """Return whether sums are too large for each task to have its own."""
    return n_clusters * n_features > _MOST_PRIVATE


@override(cluster_sums)
def one_hot_product(rows: DenseRows, labels: Labels, n_clusters: int) -> ClusterTotals:
    """Sum tiles of rows, or, if the sums are large, tiles of rows and features."""
    if sums_are_shared(n_clusters, rows.n_features):
        return _sums_by_features(rows, labels, n_clusters)
    plan, centred = streaming_plan(rows, 4), Centring(rows)
    sums = OneHotSums(n_clusters, rows.n_features, rows.weights)

    def totals(task: int) -> Floats:
        total = sums.none()
        for place in plan.tiles(task):
            sums.labels(place.stop - place.start)[:] = labels[place]
            sums.add(centred(place), place, total)
        return total

    return split(merged_in_tree(run(totals, plan)))


def _sums_by_features(rows: DenseRows, labels: Labels, n_clusters: int) -> ClusterTotals:
    """Sum some features of all rows in each task, so that no task needs all sums.

    Groups of rows are so large that adding each group's sums costs little.
    """
    n_points, n_features = rows.points.shape
    width = max(8, min(64, _MOST_PRIVATE // n_clusters))
    tile = min(n_points, max(2**18 // width, 2 * n_clusters))
    sums, mass = np.empty((n_clusters, n_features)), np.empty(n_clusters)

    def add_features(task: int) -> None:
        features = slice(task * width, (task + 1) * width)
        origin = None if rows.origin is None else rows.origin[features]
        centred = Centring(DenseRows(rows.points[:, features], None, origin))
        one_hot = OneHotSums(n_clusters, sums[:, features].shape[1], rows.weights)
        total = one_hot.none()
        for place in Plan(n_points, tile, n_points).tiles(0):
            one_hot.labels(place.stop - place.start)[:] = labels[place]
            one_hot.add(centred(place), place, total)
        sums[:, features] = total[:, :-1]
        if task == 0:
            mass[:] = total[:, -1]

    in_threads(add_features, -(-n_features // width))
    return ClusterTotals(sums, mass)
