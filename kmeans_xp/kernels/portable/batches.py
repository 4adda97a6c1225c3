"""Running means, moved by a batch of rows."""

from typing import NamedTuple

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable.assignment import ClusterTotals, cluster_sums, nearest_centroid
from kmeans_xp.kernels.portable.steps import update_centroids
from kmeans_xp.kernels.rows import Rows

__all__ = ["BatchMeans", "Placed", "batch_means", "placed_at_rows"]


class BatchMeans(NamedTuple):
    """Running means after a batch.

    Parameters
    ----------
    centroids : array of shape (n_clusters, n_features)
        In the dtype of the old centroids.
    mass : accumulated array of shape (n_clusters,)
        Total weight of the rows whose mean each centroid is.
    signals : accumulated array of shape (2 + n_clusters,)
        The inertia of the batch before the move, the sum of the squared distances that the
        centroids moved, and the mass again. One array, since each read waits for the device.
    """

    centroids: Array
    mass: Array
    signals: Array


@kernel(centroids="kd", mass="k")
def batch_means(rows: Rows, centroids: Array, mass: Array, *, xp: Namespace) -> BatchMeans:
    """Update running means with the rows that are nearest to them.

    Parameters
    ----------
    rows : Rows of n_points
        The batch.
    centroids : array of shape (n_clusters, n_features)
    mass : array of shape (n_clusters,)
        Total weight of the rows whose mean each centroid is so far; may be 0.
    xp : namespace

    Returns
    -------
    BatchMeans
        A centroid keeps its bits if it is nearest to no row with weight.
    """
    labels, sq_distances = nearest_centroid(rows, centroids, xp=xp)
    totals = cluster_sums(rows, labels, int(centroids.shape[0]), xp=xp)
    dtype = totals.sums.dtype
    old, old_mass = (xp.astype(part, dtype, copy=False) for part in (centroids, mass))
    new_mass = old_mass + totals.mass
    # A centroid without a row in the batch counts as empty.
    is_met = totals.mass > 0.0
    so_far = ClusterTotals(
        old * old_mass[:, None] + totals.sums, xp.where(is_met, new_mass, xp.zeros_like(new_mass))
    )
    update = update_centroids(so_far, centroids, xp=xp)
    weighted = xp.astype(sq_distances, dtype, copy=False)
    if rows.weights is not None:
        weighted = weighted * xp.astype(rows.weights, dtype, copy=False)
    signals = xp.concat([xp.stack([xp.sum(weighted), update.signals[0]]), new_mass])
    return BatchMeans(update.centroids, new_mass, signals)


class Placed(NamedTuple):
    """Centroids of which some were put at rows.

    Parameters
    ----------
    centroids : array of shape (n_clusters, n_features)
    sq_shift : array of shape ()
        The sum of the squared distances of all from where they were before the batch.
    """

    centroids: Array
    sq_shift: Array


@kernel(centroids="kd", before="kd", chosen="k", is_placed="k")
def placed_at_rows(
    rows: Rows, centroids: Array, before: Array, chosen: Array, is_placed: Array, *, xp: Namespace
) -> Placed:
    """Put some centroids at rows.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_clusters, n_features)
    before : array of shape (n_clusters, n_features)
        Where the centroids were before the batch.
    chosen : integer array of shape (n_clusters,)
        The row for each centroid that is placed; for others any row.
    is_placed : array of bool, shape (n_clusters,)
    xp : namespace

    Returns
    -------
    Placed
        In the dtype of the centroids; those that are not placed keep their bits.
    """
    # Rows for all, whatever their number: libraries that compile do so for each shape.
    placed = xp.where(is_placed[:, None], rows.take(chosen).points, centroids)
    difference = placed - before
    return Placed(placed, xp.sum(difference * difference))
