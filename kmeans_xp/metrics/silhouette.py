"""Silhouettes: how much nearer a row is to its own cluster than to the next one."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

from kmeans_xp.algorithms import METRICS
from kmeans_xp.blocks import Elsewhere, PerRow, of, place
from kmeans_xp.devices import (
    Array,
    Namespace,
    accumulation_dtype,
    device_of,
    from_host,
    namespace_of,
    send,
    taken,
    tile_shape,
    working_device,
)
from kmeans_xp.estimators.validation import (
    as_random_state,
    centroids_on_sphere,
    check_metric,
    checked_centroids,
)
from kmeans_xp.kernels import (
    DenseRows,
    Rows,
    SilhouetteDistances,
    assigned_sq_distances,
    cluster_sums,
    silhouette_distances,
    sq_distances,
)
from kmeans_xp.metrics.dispersion import summed_distances
from kmeans_xp.metrics.labelled import Labelled, labelled, points_and_labels

__all__ = ["silhouette_samples", "silhouette_score", "simplified_silhouette_score"]


def silhouette_score(
    X: Any,
    labels: Any,
    *,
    sample_size: int | None = None,
    random_state: Any = None,
    metric: str = "euclidean",
    device: str | None = None,
) -> float:
    """Return the mean silhouette coefficient of the rows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, of any array library; from ``open_rows`` with a sample_size.
    labels : array-like of shape (n_samples,)
        Cluster of each row: numbers or strings, of any library, on any device.
    sample_size : int, default=None
        Use only this number of rows, drawn at random; None for all.
    random_state : int, RandomState, Generator or None, default=None
        Chooses the sample: the same rows as in scikit-learn.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Of the distances; "cosine" for 1 - cos, for which no row may be zero.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows X.

    Returns
    -------
    float
        From -1 to 1, without a unit: near 1 for compact clusters far apart, about 0 for
        clusters that overlap, below 0 for rows in the wrong cluster.

    Raises
    ------
    ValueError
        If X holds NaN or infinity, or its squares overflow. If X and labels differ in length, or
        there are not 2 to n_samples - 1 different labels (in the sample, if there is one).

    See Also
    --------
    silhouette_samples : The coefficient of each row.
    simplified_silhouette_score : Takes time in proportion to n_samples, not its square.

    Notes
    -----
    O(n_samples^2 * n_features) time for Euclidean distances, which are held in tiles. Mean cosine
    distances follow from the clusters' means, in O(n_samples * n_clusters * n_features).

    References
    ----------
    .. [1] P. J. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation
       of cluster analysis", Journal of Computational and Applied Mathematics 20 (1987).

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.metrics import silhouette_score
    >>> X = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> round(silhouette_score(X, [0, 0, 1, 1]), 4)
    0.8997
    """
    constraints = {
        "sample_size": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state", np.random.Generator],
        "metric": [StrOptions(set(METRICS))],
    }
    given = {"sample_size": sample_size, "random_state": random_state, "metric": metric}
    validate_parameter_constraints(constraints, given, caller_name="silhouette_score")
    points, on_host = points_and_labels(X, labels, anywhere=sample_size is not None)
    if sample_size is not None:
        n_points = int(points.shape[0])
        indices = as_random_state(random_state).permutation(n_points)[:sample_size]
        points, on_host = _some(points, indices), on_host[indices]
    with labelled(points, on_host, device, metric) as data:
        return float(data.placement.xp.mean(_silhouettes(data, metric)))


def silhouette_samples(
    X: Any, labels: Any, *, metric: str = "euclidean", device: str | None = None
) -> Array:
    """Return the silhouette coefficient of each row.

    It is (b - a) / max(a, b). Here a is the mean distance of the row to the other rows of its
    cluster, and b that to the rows of the nearest other cluster. A row that is alone in its
    cluster has 0.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, of any array library.
    labels : array-like of shape (n_samples,)
        Cluster of each row: numbers or strings, of any library, on any device.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Of the distances; "cosine" for 1 - cos, for which no row may be zero.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows X.

    Returns
    -------
    array of shape (n_samples,)
        From -1 to 1; of X's library, on X's device; float32 for float32 and half precision,
        otherwise float64.

    Raises
    ------
    ValueError
        If X holds NaN or infinity, its squares overflow, X and labels differ in length, or there
        are not 2 to n_samples - 1 different labels.

    See Also
    --------
    silhouette_score : Their mean.

    Notes
    -----
    O(n_samples^2 * n_features) time for Euclidean distances, which are held in tiles. Mean cosine
    distances follow from the clusters' means, in O(n_samples * n_clusters * n_features).

    References
    ----------
    .. [1] P. J. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation
       of cluster analysis", Journal of Computational and Applied Mathematics 20 (1987).

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.metrics import silhouette_samples
    >>> X = np.array([[0.0], [1.0], [10.0], [12.0]])
    >>> silhouette_samples(X, ["a", "a", "b", "b"]).round(2)
    array([0.91, 0.9 , 0.79, 0.83])
    """
    check_metric(metric)
    points, on_host = points_and_labels(X, labels)
    with labelled(points, on_host, device, metric) as data:
        found = _silhouettes(data, metric)
        return send(data.placement.xp.astype(found, data.blocks.dtype, copy=False), data.placement)


def simplified_silhouette_score(
    X: Any,
    labels: Any,
    centroids: Any = None,
    *,
    metric: str = "euclidean",
    device: str | None = None,
) -> float:
    """Return the mean simplified silhouette, from distances to centroids instead of rows.

    For each row, a is the distance to the centroid of its cluster, and b that to the nearest
    other centroid. Its simplified silhouette is (b - a) / max(a, b). A row that is alone in its
    cluster has 0.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, of any array library, or from ``open_rows``.
    labels : array-like of shape (n_samples,)
        Cluster of each row; with ``centroids``, the index of its centroid.
    centroids : array-like of shape (n_clusters, n_features), default=None
        At least 2; None for the means of the clusters.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Of the distances; "cosine" for 1 - cos, for which no row may be zero.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows X.

    Returns
    -------
    float
        From -1 to 1, without a unit; at least 0 where each row belongs to the nearest centroid.

    Raises
    ------
    ValueError
        If X holds NaN or infinity, or its squares overflow. If X and labels differ in length, there
        are not 2 to n_samples - 1 different labels, or a label is no centroid's index.

    See Also
    --------
    silhouette_score : The silhouette itself.

    Notes
    -----
    O(n_samples * n_clusters * n_features) time.

    References
    ----------
    .. [1] E. R. Hruschka, L. N. de Castro and R. J. G. B. Campello, "Evolutionary algorithms
       for clustering gene-expression data", IEEE International Conference on Data Mining (2004).

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.metrics import simplified_silhouette_score
    >>> X = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> round(simplified_silhouette_score(X, [0, 0, 1, 1]), 4)
    0.9499
    """
    check_metric(metric)
    points, on_host = points_and_labels(X, labels, anywhere=True)
    with labelled(points, on_host, device, metric) as data:
        if centroids is None:
            means = _exact_means(data, _off(data))
            if metric == "cosine":
                means = centroids_on_sphere(means, "the clusters' means")
            return _mean_simplified(data, data.labels, means, metric)
        given = checked_centroids(centroids, points, data.placement, "centroids")
        xp, device = data.placement.xp, data.placement.device
        dtype = accumulation_dtype(device, xp=xp)
        given, origin = (xp.astype(each, dtype, copy=False) for each in (given, data.origin))
        if metric == "cosine":
            given = centroids_on_sphere(given, "centroids")
        indices = from_host(_indices(on_host, int(given.shape[0])), xp=xp, device=device)
        return _mean_simplified(data, data.blocks.cut(indices), given - origin, metric)


def _some(points: Any, indices: NDArray[np.intp]) -> Array:
    if isinstance(points, Elsewhere):
        placement = place(points, None)
        placed = from_host(indices, xp=placement.xp, device=placement.device)
        return of(points, None, placement).take(placed).points
    xp, device = namespace_of(points), device_of(points)
    with working_device(xp, device):
        return taken(points, from_host(indices, xp=xp, device=device))


def _silhouettes(data: Labelled, metric: str) -> Array:
    """Return the coefficients in the accumulation dtype, on the device that computed them."""
    xp, device = data.placement.xp, data.placement.device
    if metric == "cosine":
        within, nearest = _mean_cosine_distances(data)
        return _coefficients(within, nearest, data.is_alone().whole(), xp=xp)
    order = np.argsort(data.coded.codes, kind="stable")
    bounds = (0, *np.cumsum(data.coded.counts).tolist())
    placed = from_host(order, xp=xp, device=device)
    distances = data.blocks.map_rows(silhouette_distances, placed, bounds, per_row=(data.labels,))
    within, nearest = distances.whole()
    return _coefficients(within, nearest, data.is_alone().whole(), xp=xp)


def _mean_cosine_distances(data: Labelled) -> SilhouetteDistances:
    """Return the mean distances of each row, computed from the mean of each cluster.

    Cosine distances are squared distances on the sphere. So the mean distance of a row to a
    cluster is the row's distance to the cluster's mean plus the cluster's mean distance to it.
    """
    sums, mass = data.totals()
    means = sums / mass[:, None]
    spread = data.total(_summed_sq_distances, means) / mass
    found: SilhouetteDistances = data.blocks.map_rows(
        _cosine_distances, means, spread, mass, per_row=(data.labels,)
    ).whole()
    return found


def _summed_sq_distances(tile: Rows, labels: Array, means: Array, *, xp: Namespace) -> Array:
    squared = assigned_sq_distances(tile, labels, means, xp=xp)
    return cluster_sums(DenseRows(squared[:, None]), labels, int(means.shape[0]), xp=xp).sums[:, 0]


def _cosine_distances(
    rows: Rows, labels: Array, means: Array, spread: Array, mass: Array, *, xp: Namespace
) -> SilhouetteDistances:
    every = xp.arange(int(means.shape[0]), dtype=labels.dtype, device=device_of(labels))
    size, width = tile_shape(rows, int(means.shape[0]), xp=xp)
    within, nearest = [], []
    for here, tile in rows.tiles(max(1, size * width // int(means.shape[0]))):
        distances = sq_distances(tile.computed_in(means.dtype), means, xp=xp) + spread
        is_own, zeros = labels[here][:, None] == every[None, :], xp.zeros_like(distances)
        # The row itself is one of its own cluster, at distance 0: leave it out.
        others = xp.maximum(mass - 1.0, xp.ones_like(mass))
        within.append(xp.sum(xp.where(is_own, distances * (mass / others), zeros), axis=1))
        nearest.append(xp.min(xp.where(is_own, zeros + xp.inf, distances), axis=1))
    return SilhouetteDistances(xp.concat(within), xp.concat(nearest))


def _coefficients(own: Array, other: Array, is_alone: Array, *, xp: Namespace) -> Array:
    greatest = xp.maximum(own, other)
    # Where a row equals all rows of both clusters, neither is nearer.
    is_one_point = greatest == 0.0
    scaled = (other - own) / xp.where(is_one_point, xp.ones_like(greatest), greatest)
    return xp.where(is_alone | is_one_point, xp.zeros_like(scaled), scaled)


def _exact_means(data: Labelled, off: float) -> Array:
    """Return the clusters' means; where all rows are equal, that point without rounding."""
    xp, device = data.placement.xp, data.placement.device
    sums, mass = data.totals()
    _, firsts = np.unique(data.coded.codes, return_index=True)
    rows = data.blocks.take(from_host(firsts, xp=xp, device=device)).points
    rows = xp.astype(rows, sums.dtype, copy=False)
    apart = data.total(summed_distances, rows) / mass
    is_one_point = apart[:, None] <= off * (_lengths(rows, xp=xp) + _length(data.origin, xp=xp))
    return xp.where(is_one_point, rows, sums / mass[:, None])


def _mean_simplified(data: Labelled, indices: PerRow, centroids: Array, metric: str) -> float:
    per_row, xp = (indices, data.is_alone()), data.placement.xp
    reach = _length(data.origin, xp=xp)
    total = data.total(_sum_of_simplified, centroids, reach, _off(data), metric, per_row=per_row)
    return float(total) / data.blocks.n_points


def _off(data: Labelled) -> float:
    """Return the computed distance between equal points, relative to their norm, at most."""
    return 4.0 * float(data.placement.xp.finfo(data.blocks.dtype).eps)


def _sum_of_simplified(
    tile: Rows,
    _: Array,
    indices: Array,
    is_alone: Array,
    centroids: Array,
    reach: Array,
    off: float,
    metric: str,
    *,
    xp: Namespace,
) -> Array:
    distances = xp.sqrt(sq_distances(tile, centroids, xp=xp))
    reach = reach + xp.sqrt(sq_distances(tile, xp.zeros_like(centroids[:1, :]), xp=xp))
    distances = xp.where(distances <= off * reach, xp.zeros_like(distances), distances)
    if metric == "cosine":  # cosine distances are squared ones on the sphere
        distances = distances**2
    every = xp.arange(int(centroids.shape[0]), dtype=indices.dtype, device=device_of(indices))
    is_own, zeros = indices[:, None] == every[None, :], xp.zeros_like(distances)
    own = xp.sum(xp.where(is_own, distances, zeros), axis=1)
    other = xp.min(xp.where(is_own, zeros + xp.inf, distances), axis=1)
    return xp.sum(_coefficients(own, other, is_alone, xp=xp))


def _lengths(points: Array, *, xp: Namespace) -> Array:
    return xp.sqrt(xp.sum(points * points, axis=1, keepdims=True))


def _length(point: Array, *, xp: Namespace) -> Array:
    dtype = accumulation_dtype(device_of(point), xp=xp)
    return _lengths(xp.astype(point[None, :], dtype, copy=False), xp=xp)


def _indices(labels: NDArray[Any], n_clusters: int) -> NDArray[np.int32]:
    """Return labels as int32; ValueError if one is not the index of a centroid."""
    if n_clusters < 2:
        raise ValueError(f"centroids must be at least 2 rows, got {n_clusters}.")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= n_clusters:
        raise ValueError(
            f"labels must lie in 0 to {n_clusters - 1}, as indices of centroids; without "
            "centroids they may be any numbers or strings."
        )
    return labels.astype(np.int32)
