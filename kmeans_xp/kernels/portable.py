"""The kernels written against the Array API alone: each docstring is the contract.

Every kernel takes ``rows`` first, works in tiles of them, and never holds an
n_points x n_clusters matrix. ``centroids`` and candidates are relative to ``rows.origin``, as
the points are. Sums and masses are float64 where the device has it ("accumulated"). Inputs
are never written to. Nothing here waits for the device.
"""

from typing import NamedTuple

from kmeans_xp.devices import Array, Namespace, accumulation_dtype, device_of, tile_shape
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.rows import Rows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = [
    "ClusterTotals",
    "LloydRun",
    "Nearest",
    "Update",
    "assigned_sq_distances",
    "candidate_potentials",
    "closer_of",
    "cluster_sums",
    "lloyd_run",
    "lloyd_step",
    "lloyd_steps",
    "nearest_centroid",
    "nearest_labels",
    "sq_distances",
    "update_centroids",
]


class Nearest(NamedTuple):
    """The nearest centroid of each row.

    Parameters
    ----------
    labels : array of int32, shape (n_points,)
    sq_distances : array of shape (n_points,)
    """

    labels: Array
    sq_distances: Array


class ClusterTotals(NamedTuple):
    """What one pass over the rows leaves for each cluster.

    Parameters
    ----------
    sums : accumulated array of shape (n_clusters, n_features)
        Weighted sums of the rows.
    mass : accumulated array of shape (n_clusters,)
        Sums of the weights; exact counts if there are none.
    """

    sums: Array
    mass: Array


class Update(NamedTuple):
    """New centroids, and the numbers that steer the loop, still on the device.

    Parameters
    ----------
    centroids : array of shape (n_clusters, n_features)
    signals : accumulated array of shape (3,)
        The sum of the squared distances that the centroids moved; the number of clusters
        without mass; what the old centroids take off the weighted sum of squares about the
        origin (inertia is that sum less this). In one array, since each read is a wait.
    """

    centroids: Array
    signals: Array


class LloydRun(NamedTuple):
    """Consecutive steps of Lloyd's algorithm, the first dimension of every array.

    Parameters
    ----------
    totals : ClusterTotals
        Of the rows nearest to the centroids before each step.
    update : Update
        The centroids after each step, and its signals.
    """

    totals: ClusterTotals
    update: Update


@kernel
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
        Ties go to the lowest index. Rounding decides between centroids whose squared
        distances differ by less than some ulps of the squared norms.
    """
    n_clusters = int(centroids.shape[0])
    size, width = tile_shape(rows.points, n_clusters, xp=xp)
    # |x - c|^2 = |x|^2 - 2 x.c + |c|^2; |x|^2 is the same for every centroid of a row.
    minus_two = -2.0 * xp.matrix_transpose(centroids)
    sq_norms = xp.vecdot(centroids, centroids)
    labels = []
    for _, tile in rows.tiles(size):
        points = tile.centred(xp=xp)
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


@kernel
def assigned_sq_distances(rows: Rows, labels: Array, centroids: Array, *, xp: Namespace) -> Array:
    """Return the squared distance of each row to the centroid that it is assigned to.

    Parameters
    ----------
    rows : Rows of n_points
    labels : integer array of shape (n_points,)
    centroids : array of shape (n_clusters, n_features)
    xp : namespace

    Returns
    -------
    array of shape (n_points,)
        In the rows' dtype, taken as the sum of squared differences: exact to some ulps of
        itself, and 0 where the row is the centroid.
    """
    size, _ = tile_shape(rows.points, 1, xp=xp)
    parts = []
    for place, tile in rows.tiles(size):
        difference = tile.centred(xp=xp) - xp.take(centroids, labels[place], axis=0)
        parts.append(xp.vecdot(difference, difference))
    return parts[0] if len(parts) == 1 else xp.concat(parts)


@kernel
def nearest_centroid(rows: Rows, centroids: Array, *, xp: Namespace) -> Nearest:
    """Return the nearest centroid of each row, and the squared distance to it.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_clusters, n_features)
    xp : namespace

    Returns
    -------
    Nearest
        Labels as of ``nearest_labels``, distances as of ``assigned_sq_distances``.
    """
    labels = nearest_labels(rows, centroids, xp=xp)
    return Nearest(labels, assigned_sq_distances(rows, labels, centroids, xp=xp))


@kernel
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
        Zero for a cluster without rows. Added in an order that depends on shapes alone.
    """
    size, width = tile_shape(rows.points, n_clusters, xp=xp)
    dtype = accumulation_dtype(rows.points, xp=xp)
    indices = xp.arange(n_clusters, dtype=labels.dtype, device=device_of(rows.points))

    def totals_of(place: slice, tile: Rows) -> ClusterTotals:
        points = xp.astype(tile.centred(xp=xp), dtype, copy=False)
        mine = labels[place][None, :]
        sums, mass = [], []
        for start in range(0, n_clusters, width):
            # The standard has neither a scatter-add nor a bincount; a product with the
            # one-hot matrix is the sum that every library has.
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


@kernel
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
        As of ``cluster_sums`` with the labels of ``nearest_labels``; bit-equal from one call
        to the next with the same arguments.
    """
    n_clusters = int(centroids.shape[0])
    size, _ = tile_shape(rows.points, n_clusters, xp=xp)
    return merged_in_tree(
        cluster_sums(tile, nearest_labels(tile, centroids, xp=xp), n_clusters, xp=xp)
        for _, tile in rows.tiles(size)
    )


@kernel
def lloyd_steps(rows: Rows, centroids: Array, *, xp: Namespace) -> ClusterTotals:
    """Do ``lloyd_step`` from several sets of centroids, for restarts that run together.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_restarts, n_clusters, n_features)
    xp : namespace

    Returns
    -------
    ClusterTotals
        Of shapes (n_restarts, n_clusters, n_features) and (n_restarts, n_clusters): bit-equal
        to ``lloyd_step`` from each, where they lie in memory as the restarts do.
    """
    each = [lloyd_step(rows, centroids[run, ...], xp=xp) for run in range(centroids.shape[0])]
    return ClusterTotals(*(xp.stack(parts) for parts in zip(*each, strict=True)))


@kernel
def lloyd_run(
    rows: Rows,
    centroids: Array,
    n_steps: int,  # noqa: ARG001 (a body may take just one step)
    tol: float,  # noqa: ARG001
    *,
    xp: Namespace,
) -> LloydRun:
    """Take one step of Lloyd's algorithm, or several where that is cheaper.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_clusters, n_features)
        To begin with.
    n_steps : int
        Steps at most, at least 1.
    tol : float
        No step follows one that moved the centroids by at most this (sum of squares).
    xp : namespace

    Returns
    -------
    LloydRun
        Each step bit-equal to ``lloyd_step`` and ``update_centroids``; nor does a step follow
        one that left a cluster empty.
    """
    totals = lloyd_step(rows, centroids, xp=xp)
    update = update_centroids(totals, centroids, xp=xp)
    sums, mass, new, signals = (xp.expand_dims(part, axis=0) for part in (*totals, *update))
    return LloydRun(ClusterTotals(sums, mass), Update(new, signals))


@kernel
def update_centroids(totals: ClusterTotals, centroids: Array, *, xp: Namespace) -> Update:
    """Return each cluster's mean as its new centroid; a cluster without mass keeps its own.

    Parameters
    ----------
    totals : ClusterTotals
        Of the rows nearest to ``centroids``.
    centroids : array of shape (n_clusters, n_features) or (n_restarts, n_clusters, n_features)
        The old ones; the totals then have the same first dimension.
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
    new = xp.astype(means, centroids.dtype, copy=False)
    moved = xp.astype(new, sums.dtype, copy=False) - old
    # sum w |x - c|^2 = sum w |x|^2 - (2 c.S - m |c|^2): no second pass over the rows.
    explained = xp.sum(old * (2.0 * sums - mass[..., None] * old), axis=(-2, -1))
    sq_shift = xp.sum(moved * moved, axis=(-2, -1))
    n_empty = xp.sum(xp.astype(is_empty, sums.dtype), axis=-1)
    return Update(new, xp.stack([sq_shift, n_empty, explained], axis=-1))


@kernel
def candidate_potentials(rows: Rows, closest: Array, candidates: Array, *, xp: Namespace) -> Array:
    """Return what the inertia would be if each candidate became the next centroid.

    Parameters
    ----------
    rows : Rows of n_points
    closest : array of shape (n_points,)
        Squared distances to the nearest of the centroids so far; may be inf.
    candidates : array of shape (n_candidates, n_features)
    xp : namespace

    Returns
    -------
    accumulated array of shape (n_candidates,)
        The weighted sum of min(closest, squared distance to the candidate).
    """
    size, _ = tile_shape(rows.points, int(candidates.shape[0]), xp=xp)
    dtype = accumulation_dtype(rows.points, xp=xp)

    def potentials_of(place: slice, tile: Rows) -> Array:
        nearer = xp.minimum(_expanded(tile, candidates, xp=xp), closest[place][:, None])
        nearer = xp.astype(nearer, dtype, copy=False)
        if tile.weights is not None:
            nearer = nearer * xp.astype(tile.weights, dtype, copy=False)[:, None]
        return xp.sum(nearer, axis=0)

    return merged_in_tree(potentials_of(place, tile) for place, tile in rows.tiles(size))


@kernel
def closer_of(rows: Rows, closest: Array, candidate: Array, *, xp: Namespace) -> Array:
    """Fold a new centroid into the distances so far.

    Parameters
    ----------
    rows : Rows of n_points
    closest : array of shape (n_points,)
        Squared distances to the nearest of the centroids so far; may be inf.
    candidate : array of shape (1, n_features)
        The new centroid.
    xp : namespace

    Returns
    -------
    array of shape (n_points,)
        The lesser of ``closest`` and the squared distance to the candidate, in the rows'
        dtype.
    """
    size, _ = tile_shape(rows.points, 1, xp=xp)
    parts = []
    for place, tile in rows.tiles(size):
        parts.append(xp.minimum(_expanded(tile, candidate, xp=xp)[:, 0], closest[place]))
    return parts[0] if len(parts) == 1 else xp.concat(parts)


@kernel
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
        In the rows' dtype, at least 0; the one kernel whose result is that large, since it is
        what was asked for. Computed in the accumulation dtype; a row's smallest as of
        ``assigned_sq_distances``, so that a row on its centroid is at 0.
    """
    size, _ = tile_shape(rows.points, int(centroids.shape[0]), xp=xp)
    dtype = accumulation_dtype(rows.points, xp=xp)
    wide = xp.astype(centroids, dtype, copy=False)
    indices = xp.arange(int(centroids.shape[0]), device=device_of(rows.points))
    parts = []
    for _, tile in rows.tiles(size):
        points = xp.astype(tile.centred(xp=xp), dtype, copy=False)
        expanded = _expanded_form(points, wide, xp=xp)
        nearest = xp.argmin(expanded, axis=1)
        difference = points - xp.take(wide, nearest, axis=0)
        smallest = xp.vecdot(difference, difference)
        is_nearest = indices[None, :] == nearest[:, None]
        squared = xp.where(is_nearest, smallest[:, None], expanded)
        parts.append(xp.astype(squared, centroids.dtype, copy=False))
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def _expanded(tile: Rows, centroids: Array, *, xp: Namespace) -> Array:
    return _expanded_form(tile.centred(xp=xp), centroids, xp=xp)


def _expanded_form(points: Array, centroids: Array, *, xp: Namespace) -> Array:
    # The clip takes off the rounding of |x|^2 - 2 x.c + |c|^2 below zero.
    products = points @ xp.matrix_transpose(-2.0 * centroids)
    norms = xp.vecdot(points, points)[:, None] + xp.vecdot(centroids, centroids)
    return xp.maximum(products + norms, xp.zeros_like(products))
