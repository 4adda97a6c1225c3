"""Give new rows to clusters that lost all of theirs."""

from functools import partial
from typing import NamedTuple

import numpy as np

from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, Namespace, from_host, namespace_of, to_host
from kmeans_xp.kernels import (
    ClusterTotals,
    DenseRows,
    Rows,
    assigned_sq_distances,
    cluster_sums,
    nearest_centroid,
    places_of_least,
)

__all__ = ["relocated"]

#: distance in ulps of a row's norm within which it counts as equal to its centroid
_ROUNDINGS = 64.0


class _Farthest(NamedTuple):
    sq_distances: Array
    labels: Array
    points: Array
    weights: Array


def relocated(blocks: Blocks, totals: ClusterTotals, centroids: Array) -> ClusterTotals:
    """Give each cluster without mass one of the rows farthest from their centroids.

    Rows that equal their centroid, except for rounding, stay. So some clusters stay empty where
    there are fewer distinct rows than clusters; moving duplicates to and fro would never end.

    Parameters
    ----------
    blocks : Blocks
    totals : ClusterTotals
        Of the rows nearest to ``centroids``.
    centroids : array of shape (n_clusters, n_features)

    Returns
    -------
    ClusterTotals
        The totals after these rows have moved to the empty clusters.
    """
    xp, n_clusters = blocks.xp, int(centroids.shape[0])
    empty = np.flatnonzero(to_host(totals.mass) <= 0.0)
    far: _Farthest = blocks.reduce(
        _farthest_rows, centroids, len(empty), merge=partial(_farther, len(empty))
    )
    n_moved = int(np.count_nonzero(to_host(far.sq_distances) > 0.0))
    if n_moved == 0:
        return totals
    rows = DenseRows(far.points[:n_moved, :], far.weights[:n_moved])
    receivers = from_host(empty[:n_moved].astype(np.int32), xp=xp, device=blocks.device)
    given = cluster_sums(rows, receivers, n_clusters, xp=xp)
    taken = cluster_sums(rows, far.labels[:n_moved], n_clusters, xp=xp)
    left = totals.mass - taken.mass
    # A rest from rounding must not stay as a mass to divide by.
    left = xp.where(left <= 1e-12 * totals.mass, xp.zeros_like(left), left)
    return ClusterTotals(totals.sums - taken.sums + given.sums, left + given.mass)


def _farthest_rows(rows: Rows, centroids: Array, n_rows: int, *, xp: Namespace) -> _Farthest:
    labels, sq_distances = nearest_centroid(rows, centroids, xp=xp)
    weights = xp.ones_like(sq_distances) if rows.weights is None else rows.weights
    # A row without weight would leave its new cluster without mass. A row that equals its
    # centroid, except for rounding, would be moved again and again for nothing.
    slack = (_ROUNDINGS * float(xp.finfo(sq_distances.dtype).eps)) ** 2
    is_apart = sq_distances > slack * _sq_norms(rows, labels, xp=xp)
    sq_distances = xp.where(is_apart & (weights > 0.0), sq_distances, xp.zeros_like(sq_distances))
    # Of equally far rows take the last, as scikit-learn does.
    backwards = places_of_least(-xp.flip(sq_distances), n_rows, xp=xp)
    chosen = rows.n_points - 1 - backwards
    points = rows.take(chosen).points
    return _Farthest(
        xp.take(sq_distances, chosen), xp.take(labels, chosen), points, xp.take(weights, chosen)
    )


def _sq_norms(rows: Rows, labels: Array, *, xp: Namespace) -> Array:
    zero = xp.zeros((1, rows.n_features), dtype=rows.dtype, device=rows.device)
    return assigned_sq_distances(rows, xp.zeros_like(labels), zero, xp=xp)


def _farther(n_rows: int, left: _Farthest, right: _Farthest) -> _Farthest:
    xp = namespace_of(left.points)
    both = _Farthest(*(xp.concat(pair) for pair in zip(right, left, strict=True)))
    chosen = places_of_least(-both.sq_distances, n_rows, xp=xp)
    return _Farthest(*(xp.take(part, chosen, axis=0) for part in both))
