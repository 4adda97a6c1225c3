"""Inertia of an assignment, as a kernel: ``portable.py`` says what all kernels have in common."""

from kmeans_xp.devices import Array, Namespace, accumulation_dtype, tile_shape
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable import assigned_sq_distances
from kmeans_xp.kernels.rows import Rows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = ["assigned_inertia"]


@kernel
def assigned_inertia(rows: Rows, labels: Array, centroids: Array, *, xp: Namespace) -> Array:
    """Return the weighted sum of the squared distances of the rows to their centroids.

    Parameters
    ----------
    rows : Rows of n_points
    labels : integer array of shape (n_points,)
    centroids : array of shape (n_clusters, n_features)
    xp : namespace

    Returns
    -------
    accumulated 0-d array
        Of distances as of ``assigned_sq_distances``, of which a tile is held at a time; added
        in an order that depends on shapes alone.
    """
    size, _ = tile_shape(rows.points, 1, xp=xp)
    dtype = accumulation_dtype(rows.points, xp=xp)

    def tile_inertia(place: slice, tile: Rows) -> Array:
        distances = assigned_sq_distances(tile, labels[place], centroids, xp=xp)
        distances = xp.astype(distances, dtype, copy=False)
        if tile.weights is not None:
            distances = distances * xp.astype(tile.weights, dtype, copy=False)
        return xp.sum(distances)

    return merged_in_tree(tile_inertia(place, tile) for place, tile in rows.tiles(size))
