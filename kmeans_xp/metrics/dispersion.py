"""How far clusters spread, compared with the distances between them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from kmeans_xp.devices import Array, Namespace, to_host
from kmeans_xp.kernels import DenseRows, Rows, assigned_inertia, assigned_sq_distances, cluster_sums
from kmeans_xp.metrics.labelled import Labelled, labelled, points_and_labels

__all__ = ["calinski_harabasz_score", "davies_bouldin_score", "summed_distances"]

#: most distances between means in memory at a time
_TILE = 2**20


def calinski_harabasz_score(X: Any, labels: Any, *, device: str | None = None) -> float:
    """Return the variance ratio: dispersion between clusters over dispersion within them.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, of any array library, or from ``open_rows``.
    labels : array-like of shape (n_samples,)
        Cluster of each row: numbers or strings, of any library, on any device.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows X.

    Returns
    -------
    float
        At least 0, without a unit; greater is better. 1 where all rows equal the mean of their
        cluster.

    Raises
    ------
    ValueError
        If X holds NaN or infinity, its squares overflow, X and labels differ in length, or there
        are not 2 to n_samples - 1 different labels.

    See Also
    --------
    davies_bouldin_score : Uses distances instead of their squares.

    Notes
    -----
    O(n_samples * n_features) time.

    References
    ----------
    .. [1] T. Calinski and J. Harabasz, "A dendrite method for cluster analysis",
       Communications in Statistics 3 (1974).

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.metrics import calinski_harabasz_score
    >>> calinski_harabasz_score(np.array([[0.0], [1.0], [10.0], [11.0]]), [0, 0, 1, 1])
    200.0
    """
    points, on_host = points_and_labels(X, labels, anywhere=True)
    with labelled(points, on_host, device) as data:
        between, within = _dispersions(data)
        n_points, n_clusters = data.blocks.n_points, data.n_clusters
    if within == 0.0:
        return 1.0
    return between * (n_points - n_clusters) / (within * (n_clusters - 1.0))


def davies_bouldin_score(X: Any, labels: Any, *, device: str | None = None) -> float:
    """Return the mean similarity of each cluster to the one most similar to it.

    The similarity of two clusters is the sum of their spreads over the distance between their
    means. A cluster's spread is the mean distance of its rows to its mean.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, of any array library, or from ``open_rows``.
    labels : array-like of shape (n_samples,)
        Cluster of each row: numbers or strings, of any library, on any device.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows X.

    Returns
    -------
    float
        At least 0, without a unit; less is better. As in scikit-learn, 0 where all spreads or all
        distances between means are at most 1e-8 units of X.

    Raises
    ------
    ValueError
        If X holds NaN or infinity, its squares overflow, X and labels differ in length, or there
        are not 2 to n_samples - 1 different labels.

    See Also
    --------
    calinski_harabasz_score : Uses squared distances.

    Notes
    -----
    O(n_samples * n_features) time, and n_clusters^2 * n_features on the host.

    References
    ----------
    .. [1] D. L. Davies and D. W. Bouldin, "A cluster separation measure", IEEE Transactions on
       Pattern Analysis and Machine Intelligence 1 (1979).

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.metrics import davies_bouldin_score
    >>> davies_bouldin_score(np.array([[0.0], [1.0], [10.0], [11.0]]), [0, 0, 1, 1])
    0.1
    """
    points, on_host = points_and_labels(X, labels, anywhere=True)
    with labelled(points, on_host, device) as data:
        sums, mass = data.totals()
        means = sums / mass[:, None]
        distances = to_host(data.total(summed_distances, means)).astype(np.float64)
        return _mean_likeness(to_host(means).astype(np.float64), distances / data.coded.counts)


def _dispersions(data: Labelled) -> tuple[float, float]:
    """Return the sums of squares between the clusters and within them."""
    xp = data.placement.xp
    sums, mass = data.totals()
    means = sums / mass[:, None]
    apart = means - xp.sum(sums, axis=0) / data.blocks.n_points
    between = xp.sum(mass[:, None] * apart * apart)
    within = data.total(assigned_inertia, means)
    return tuple(to_host(xp.stack([between, within])).tolist())


def summed_distances(tile: Rows, labels: Array, means: Array, *, xp: Namespace) -> Array:
    """Return the sum of each cluster's distances to its mean."""
    distances = xp.sqrt(assigned_sq_distances(tile, labels, means, xp=xp))
    sums, _ = cluster_sums(DenseRows(distances[:, None]), labels, int(means.shape[0]), xp=xp)
    return sums[:, 0]


def _mean_likeness(means: NDArray[np.float64], spreads: NDArray[np.float64]) -> float:
    n_clusters = len(means)
    size = max(1, _TILE // n_clusters)
    likeness, are_together = np.zeros(n_clusters), True
    for start in range(0, n_clusters, size):
        tile = slice(start, start + size)
        apart = cdist(means[tile], means)
        are_together &= bool(np.isclose(apart, 0.0).all())
        apart[apart == 0.0] = np.inf
        likeness[tile] = ((spreads[tile, None] + spreads) / apart).max(axis=1)
    if are_together or np.isclose(spreads, 0.0).all():
        return 0.0
    return float(likeness.mean())
