"""Steps of Lloyd's algorithm: assign every row, add up the clusters, take the means."""

from collections.abc import Callable
from typing import NamedTuple

from kmeans_xp.devices import Array, Namespace, tile_shape
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable.assignment import ClusterTotals, cluster_sums, nearest_labels
from kmeans_xp.kernels.rows import Rows
from kmeans_xp.kernels.sphere_rows import on_sphere
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = [
    "ROUNDINGS",
    "LloydSteps",
    "Update",
    "lloyd_step",
    "lloyd_step_batched",
    "lloyd_steps",
    "means_on_sphere",
    "one_step",
    "update_centroids",
]

#: a mean shorter than this number of ulps of a row's length has no direction
ROUNDINGS = 16.0


class Update(NamedTuple):
    """New centroids, and the numbers that control the loop, on the device.

    Parameters
    ----------
    centroids : array of shape (n_clusters, n_features)
    signals : accumulated array of shape (3,)
        The sum of the squared distances that the centroids moved. The number of clusters without
        mass. What the old centroids explain of the weighted sum of squares about the origin: the
        inertia is that sum less this. One array, since each read waits for the device.
    """

    centroids: Array
    signals: Array


class LloydSteps(NamedTuple):
    """Consecutive steps of Lloyd's algorithm; the first axis of every array counts the steps.

    Parameters
    ----------
    totals : ClusterTotals
        Of the rows nearest to the centroids before each step.
    update : Update
        The centroids after each step, and its signals.
    """

    totals: ClusterTotals
    update: Update


@kernel(centroids="kd")
def lloyd_step(rows: Rows, centroids: Array, *, xp: Namespace) -> ClusterTotals:
    """Assign each row to its nearest centroid and return the totals of the new clusters.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_clusters, n_features)
    xp : namespace

    Returns
    -------
    ClusterTotals
        As from ``cluster_sums`` with the labels of ``nearest_labels``. The same arguments give
        the same bits in every call.
    """
    n_clusters = int(centroids.shape[0])
    size, _ = tile_shape(rows, n_clusters, xp=xp)
    return merged_in_tree(
        cluster_sums(tile, nearest_labels(tile, centroids, xp=xp), n_clusters, xp=xp)
        for _, tile in rows.tiles(size)
    )


@kernel(centroids="rkd")
def lloyd_step_batched(rows: Rows, centroids: Array, *, xp: Namespace) -> ClusterTotals:
    """Do ``lloyd_step`` from several sets of centroids, for several runs at once.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_restarts, n_clusters, n_features)
    xp : namespace

    Returns
    -------
    ClusterTotals
        Of shapes (n_restarts, n_clusters, n_features) and (n_restarts, n_clusters). Bit-equal to
        ``lloyd_step`` from each set with the same memory layout.
    """
    each = [lloyd_step(rows, centroids[run, ...], xp=xp) for run in range(centroids.shape[0])]
    return ClusterTotals(*(xp.stack(parts) for parts in zip(*each, strict=True)))


@kernel(centroids="kd")
def lloyd_steps(
    rows: Rows,
    centroids: Array,
    n_steps: int,  # noqa: ARG001 (a body may take just one step)
    tol: float,  # noqa: ARG001
    update: Callable[..., Update],
    *,
    xp: Namespace,
) -> LloydSteps:
    """Take one step of Lloyd's algorithm, or several where that is cheaper.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_clusters, n_features)
        The initial ones.
    n_steps : int
        Most steps, at least 1.
    tol : float
        Stop after a step that moved the centroids by at most this (sum of squares).
    update : callable
        ``update_centroids``, or ``means_on_sphere``.
    xp : namespace

    Returns
    -------
    LloydSteps
        Each step is bit-equal to ``lloyd_step`` and ``update``. A step that leaves a cluster
        empty is the last one too.
    """
    return one_step(lloyd_step(rows, centroids, xp=xp), centroids, update, xp=xp)


def one_step(
    totals: ClusterTotals, centroids: Array, update: Callable[..., Update], *, xp: Namespace
) -> LloydSteps:
    """Return the step that has these totals."""
    updated = update(totals, centroids, xp=xp)
    sums, mass, new, signals = (xp.expand_dims(part, axis=0) for part in (*totals, *updated))
    return LloydSteps(ClusterTotals(sums, mass), Update(new, signals))


@kernel(totals=("*kd", "*k"), centroids="*kd")
def update_centroids(totals: ClusterTotals, centroids: Array, *, xp: Namespace) -> Update:
    """Return each cluster's mean as its new centroid; a cluster without mass keeps its own.

    Parameters
    ----------
    totals : ClusterTotals
        Of the rows nearest to ``centroids``.
    centroids : array of shape (n_clusters, n_features) or (n_restarts, n_clusters, n_features)
        The old ones; the totals have the same first axis.
    xp : namespace

    Returns
    -------
    Update
        The centroids in the old ones' dtype; signals of shape (3,) or (n_restarts, 3).
    """
    sums, mass = totals
    old = xp.astype(centroids, sums.dtype, copy=False)
    is_empty = mass <= 0.0
    means = sums / xp.where(is_empty, xp.ones_like(mass), mass)[..., None]
    means = xp.where(is_empty[..., None], old, means)
    return _moved(totals, centroids, means, xp=xp)


@kernel(totals=("*kd", "*k"), centroids="*kd")
def means_on_sphere(totals: ClusterTotals, centroids: Array, *, xp: Namespace) -> Update:
    """Return each cluster's mean direction as its new centroid, for rows of length ``RADIUS``.

    Parameters
    ----------
    totals : ClusterTotals
        Of the rows nearest to ``centroids``, measured from zero.
    centroids : array of shape (n_clusters, n_features)
        The old ones: a cluster without mass, or whose rows cancel out, keeps its own.
    xp : namespace

    Returns
    -------
    Update
        As from ``update_centroids``, with centroids of length ``RADIUS``.
    """
    sums, mass = totals
    ones = xp.ones_like(mass)
    means = sums / xp.where(mass <= 0.0, ones, mass)[..., None]
    # Where rows cancel out, only rounding is left, which is not a direction.
    slack = ROUNDINGS * float(xp.finfo(centroids.dtype).eps)
    is_lost = (mass <= 0.0) | (xp.max(xp.abs(means), axis=-1) <= slack)
    old = xp.astype(centroids, sums.dtype, copy=False)
    directions = xp.where(is_lost[..., None], old, on_sphere(means, xp=xp))
    return _moved(totals, centroids, directions, xp=xp)


def _moved(totals: ClusterTotals, centroids: Array, new: Array, *, xp: Namespace) -> Update:
    """Return new centroids, rounded to the old dtype, and the numbers that control the loop."""
    sums, mass = totals
    old = xp.astype(centroids, sums.dtype, copy=False)
    new = xp.astype(new, centroids.dtype, copy=False)
    moved = xp.astype(new, sums.dtype, copy=False) - old
    # sum w |x - c|^2 = sum w |x|^2 - (2 c.S - m |c|^2): no second pass over the rows.
    explained = xp.sum(old * (2.0 * sums - mass[..., None] * old), axis=(-2, -1))
    sq_shift = xp.sum(moved * moved, axis=(-2, -1))
    n_empty = xp.sum(xp.astype(mass <= 0.0, sums.dtype), axis=-1)
    return Update(new, xp.stack([sq_shift, n_empty, explained], axis=-1))
