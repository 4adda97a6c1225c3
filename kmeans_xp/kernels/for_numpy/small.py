"""Steps on a single small tile of rows, prepared only once, since calls take most of the time."""

import numpy as np

from kmeans_xp.kernels.for_numpy.measuring import small_points, sq_norms
from kmeans_xp.kernels.for_numpy.scoring import ByColumns, assigner, choose, ranks
from kmeans_xp.kernels.for_numpy.sums import OneHotSums, split
from kmeans_xp.kernels.for_numpy.tiling import SMALL_GEMM, Floats
from kmeans_xp.kernels.portable.assignment import ClusterTotals
from kmeans_xp.kernels.rows import DenseRows

__all__ = ["SmallTile", "is_small_product", "is_small_tile"]

#: maximum bytes of the prepared rows, so that they stay in a core's cache
_MOST_BYTES = 2**21


def is_small_tile(rows: DenseRows, centroids: Floats) -> bool:
    """Return whether a ``SmallTile`` takes the steps from these centroids."""
    shape = centroids.shape
    n_bytes = rows.n_points * (rows.n_features + 1) * (centroids.itemsize + 8)
    if n_bytes > _MOST_BYTES or assigner(*shape) is not ByColumns:
        return False
    return rows.n_points <= ByColumns.tile(*shape)


def is_small_product(rows: DenseRows, n_clusters: int, n_features: int) -> bool:
    """Return whether OpenBLAS on its own uses one thread for a step's products."""
    return rows.n_points * n_clusters * (n_features + 1) <= SMALL_GEMM


class SmallTile:
    """Rows, transposed for the scores and cast for the sums, and scratch for a step.

    Parameters
    ----------
    rows : Rows
    n_clusters : int
    """

    def __init__(self, rows: DenseRows, n_clusters: int) -> None:
        points, n_points, n_features = small_points(rows), rows.n_points, rows.n_features
        shape = n_clusters, n_points
        # Below the transposed rows is a row for the bias, beside the others a column for the mass.
        self.turned = np.ones((n_features + 1, n_points), points.dtype)
        self.turned[:-1] = points.T
        self.wide = np.ones((n_points, n_features + 1))
        self.wide[:, :-1] = points
        self.vectors = np.empty((n_clusters, n_features + 1), points.dtype)
        self.scores, self.is_best = np.empty(shape, points.dtype), np.empty(shape, np.bool_)
        self.best, self.rank = np.empty(n_points, points.dtype), np.empty(n_points, np.uint8)
        self.ranks = ranks(n_clusters)
        add = _ByProduct if is_small_product(rows, n_clusters, n_features) else _ByLabels
        self.add = add(rows, self.wide, n_clusters)

    def totals(self, centroids: Floats) -> ClusterTotals:
        """Return the totals of a step from these centroids."""
        vectors, scores = self.vectors, self.scores
        # The smallest |x - c|^2 is the largest x.c - |c|^2 / 2.
        vectors[:, :-1] = centroids
        np.multiply(sq_norms(centroids), -0.5, out=vectors[:, -1])
        np.matmul(vectors, self.turned, out=scores)
        choose(scores, self.ranks, self.best, self.is_best, self.rank)
        return split(self.add(self.rank))


class _ByProduct:
    """Adds rows by a dense one-hot matrix: here the calls of SciPy's sparse one are too slow."""

    def __init__(self, rows: DenseRows, wide: Floats, n_clusters: int) -> None:
        if rows.weights is not None:
            wide *= rows.weights[:, None]
        self.wide = wide
        self.ranks = ranks(n_clusters)
        self.one_hot = np.empty((n_clusters, rows.n_points))

    def __call__(self, rank: Floats) -> Floats:
        np.copyto(self.one_hot, np.equal(self.ranks, rank))
        total: Floats = self.one_hot @ self.wide
        return total


class _ByLabels:
    """Adds rows by a sparse one-hot matrix."""

    def __init__(self, rows: DenseRows, wide: Floats, n_clusters: int) -> None:
        sums = OneHotSums(n_clusters, rows.n_features, rows.weights)
        self.wide, self.n_clusters = wide, np.int32(n_clusters)
        self.labels = sums.labels(rows.n_points)
        self.one_hot = sums.one_hot
        if rows.weights is not None:
            self.one_hot.data[:] = rows.weights

    def __call__(self, rank: Floats) -> Floats:
        np.subtract(self.n_clusters, rank, out=self.labels)
        total: Floats = self.one_hot @ self.wide
        return total
