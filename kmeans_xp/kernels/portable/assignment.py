"""The nearest centroid of each row, the distance to it, and the sums of each cluster's rows."""

from typing import Generic, NamedTuple

from kmeans_xp.devices import Array, Namespace, accumulation_dtype, tile_shape
from kmeans_xp.devices.protocols import ArrayT
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.rows import Rows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = [
    "ClusterTotals",
    "Nearest",
    "assigned_inertia",
    "assigned_sq_distances",
    "cluster_sums",
    "expanded_sq_distances",
    "nearest_centroid",
    "nearest_labels",
    "sq_distances",
]


class Nearest(NamedTuple, Generic[ArrayT]):
    """The nearest centroid of each row.

    Parameters
    ----------
    labels : array of int32, shape (n_points,)
    sq_distances : array of shape (n_points,)
    """

    labels: ArrayT
    sq_distances: ArrayT


class ClusterTotals(NamedTuple):
    """The totals of each cluster's rows.

    Parameters
    ----------
    sums : accumulated array of shape (n_clusters, n_features)
        Weighted sums of the rows.
    mass : accumulated array of shape (n_clusters,)
        Sums of the weights; exact counts if there are none.
    """

    sums: Array
    mass: Array


@kernel(centroids="kd")
def nearest_labels(rows: Rows, centroids: Array, *, xp: Namespace) -> Array:
    """Return the index of the nearest centroid of each row.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_clusters, n_features)
        In the dtype that the rows are computed in.
    xp : namespace

    Returns
    -------
    array of int32, shape (n_points,)
        Ties go to the lowest index. Where squared distances differ by less than some ulps of the
        squared norms, rounding decides.
    """
    n_clusters = int(centroids.shape[0])
    size, width = tile_shape(rows, n_clusters, xp=xp)
    # |x - c|^2 = |x|^2 - 2 x.c + |c|^2; |x|^2 is the same for every centroid of a row.
    minus_two = -2.0 * xp.matrix_transpose(centroids)
    sq_norms = xp.vecdot(centroids, centroids)
    labels = []
    for _, tile in rows.tiles(size):
        points = tile.centred()
        best = label = None
        for start in range(0, n_clusters, width):
            stop = min(start + width, n_clusters)
            scores = points @ minus_two[:, start:stop] + sq_norms[start:stop]
            index = xp.argmin(scores, axis=1)
            if stop - start == n_clusters:
                label = index
                break
            score = xp.min(scores, axis=1)
            if best is None:
                best, label = score, index
            else:
                # Strictly less: a tie stays with the lower index.
                label = xp.where(score < best, index + start, label)
                best = xp.minimum(best, score)
        labels.append(xp.astype(label, xp.int32))
    return labels[0] if len(labels) == 1 else xp.concat(labels)


@kernel(labels="n", centroids="kd")
def assigned_sq_distances(rows: Rows, labels: Array, centroids: Array, *, xp: Namespace) -> Array:
    """Return the squared distance of each row to its assigned centroid.

    Parameters
    ----------
    rows : Rows of n_points
    labels : integer array of shape (n_points,)
    centroids : array of shape (n_clusters, n_features)
    xp : namespace

    Returns
    -------
    array of shape (n_points,)
        In the rows' dtype, computed as the sum of squared differences. So it is exact to some
        ulps of itself, and 0 where the row equals the centroid.
    """
    size, _ = tile_shape(rows, 1, xp=xp)
    parts = []
    for place, tile in rows.tiles(size):
        difference = tile.centred() - xp.take(centroids, labels[place], axis=0)
        parts.append(xp.vecdot(difference, difference))
    return parts[0] if len(parts) == 1 else xp.concat(parts)


@kernel(centroids="kd")
def nearest_centroid(rows: Rows, centroids: Array, *, xp: Namespace) -> Nearest[Array]:
    """Return the nearest centroid of each row, and the squared distance to it.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_clusters, n_features)
    xp : namespace

    Returns
    -------
    Nearest
        The labels of ``nearest_labels`` and the distances of ``assigned_sq_distances``.
    """
    labels = nearest_labels(rows, centroids, xp=xp)
    return Nearest(labels, assigned_sq_distances(rows, labels, centroids, xp=xp))


@kernel(labels="n")
def cluster_sums(rows: Rows, labels: Array, n_clusters: int, *, xp: Namespace) -> ClusterTotals:
    """Return the weighted sum and the mass of each cluster's rows.

    Parameters
    ----------
    rows : Rows of n_points
    labels : integer array of shape (n_points,)
        In [0, n_clusters).
    n_clusters : int
    xp : namespace

    Returns
    -------
    ClusterTotals
        Zero for a cluster without rows. The order of additions depends only on shapes.
    """
    size, width = tile_shape(rows, n_clusters, xp=xp)
    dtype = accumulation_dtype(rows.device, xp=xp)
    indices = xp.arange(n_clusters, dtype=labels.dtype, device=rows.device)

    def totals_of(place: slice, tile: Rows) -> ClusterTotals:
        points = xp.astype(tile.centred(), dtype, copy=False)
        mine = labels[place][None, :]
        sums, mass = [], []
        for start in range(0, n_clusters, width):
            # The standard has neither a scatter-add nor a bincount, but every library can
            # multiply by a one-hot matrix.
            stop = min(start + width, n_clusters)
            one_hot = xp.astype(indices[start:stop, None] == mine, dtype)
            if tile.weights is not None:
                one_hot = one_hot * xp.astype(tile.weights, dtype, copy=False)[None, :]
            sums.append(one_hot @ points)
            mass.append(xp.sum(one_hot, axis=1))
        if len(sums) == 1:
            return ClusterTotals(sums[0], mass[0])
        return ClusterTotals(xp.concat(sums), xp.concat(mass))

    return merged_in_tree(totals_of(place, tile) for place, tile in rows.tiles(size))


@kernel(labels="n", centroids="kd")
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
        Sums the distances of ``assigned_sq_distances``, one tile in memory at a time. The order
        of additions depends only on shapes.
    """
    size, _ = tile_shape(rows, 1, xp=xp)
    dtype = accumulation_dtype(rows.device, xp=xp)

    def tile_inertia(place: slice, tile: Rows) -> Array:
        distances = assigned_sq_distances(tile, labels[place], centroids, xp=xp)
        distances = xp.astype(distances, dtype, copy=False)
        if tile.weights is not None:
            distances = distances * xp.astype(tile.weights, dtype, copy=False)
        return xp.sum(distances)

    return merged_in_tree(tile_inertia(place, tile) for place, tile in rows.tiles(size))


@kernel(centroids="kd")
def sq_distances(rows: Rows, centroids: Array, *, xp: Namespace) -> Array:
    """Return the squared distance of every row to every centroid.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_clusters, n_features)
    xp : namespace

    Returns
    -------
    array of shape (n_points, n_clusters)
        In the rows' dtype, at least 0, computed in the accumulation dtype. The smallest distance
        of a row is that of ``assigned_sq_distances``: 0 where the row equals a centroid. No other
        kernel has a result this large.
    """
    size, _ = tile_shape(rows, int(centroids.shape[0]), xp=xp)
    dtype = accumulation_dtype(rows.device, xp=xp)
    wide = xp.astype(centroids, dtype, copy=False)
    indices = xp.arange(int(centroids.shape[0]), device=rows.device)
    parts = []
    for _, tile in rows.tiles(size):
        points = xp.astype(tile.centred(), dtype, copy=False)
        expanded = expanded_sq_distances(points, wide, xp=xp)
        nearest = xp.argmin(expanded, axis=1)
        difference = points - xp.take(wide, nearest, axis=0)
        smallest = xp.vecdot(difference, difference)
        is_nearest = indices[None, :] == nearest[:, None]
        squared = xp.where(is_nearest, smallest[:, None], expanded)
        parts.append(xp.astype(squared, centroids.dtype, copy=False))
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def expanded_sq_distances(points: Array, centroids: Array, *, xp: Namespace) -> Array:
    """Return |x|^2 - 2 x.c + |c|^2 of centred points, at least 0."""
    # Rounding may give less than zero: clip it.
    products = points @ xp.matrix_transpose(-2.0 * centroids)
    norms = xp.vecdot(points, points)[:, None] + xp.vecdot(centroids, centroids)
    return xp.maximum(products + norms, xp.zeros_like(products))
