"""Inertia: the weighted sum of squared distances of the rows to their centroids."""

from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, Namespace, accumulation_dtype, tile_shape
from kmeans_xp.kernels import Rows, assigned_sq_distances, merged_in_tree

__all__ = ["inertia_of", "partial_inertia"]


def inertia_of(blocks: Blocks, labels: Array, centroids: Array) -> float:
    """Return the inertia of an assignment, by differences and summed in float64.

    The expanded form |x|^2 - 2 x.c + |c|^2 loses all digits where the rows lie close to their
    centroids; the sum of squared differences does not.

    Parameters
    ----------
    blocks : Blocks
    labels : per-row result of ``nearest_labels``
    centroids : array of shape (n_clusters, n_features)
        Relative to the blocks' origin.

    Returns
    -------
    float
        In squared units of the points.
    """
    return float(blocks.reduce(partial_inertia, centroids, per_row=(labels,)))


def partial_inertia(rows: Rows, labels: Array, centroids: Array, *, xp: Namespace) -> Array:
    """Return one block's inertia as a 0-d array, holding distances of a tile at a time."""
    size, _ = tile_shape(rows.points, 1, xp=xp)
    dtype = accumulation_dtype(rows.points, xp=xp)

    def tile_inertia(place: slice, tile: Rows) -> Array:
        distances = assigned_sq_distances(tile, labels[place], centroids, xp=xp)
        distances = xp.astype(distances, dtype, copy=False)
        if tile.weights is not None:
            distances = distances * xp.astype(tile.weights, dtype, copy=False)
        return xp.sum(distances)

    return merged_in_tree(tile_inertia(place, tile) for place, tile in rows.tiles(size))
