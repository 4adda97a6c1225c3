"""The algorithms as functions: two of scikit-learn's, and others on plain arrays."""

import math
from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from kmeans_xp import blocks
from kmeans_xp.algorithms import Seeds, inertia_of
from kmeans_xp.algorithms import kmeans_parallel as parallel_seeds
from kmeans_xp.algorithms import kmeans_plusplus as chosen_seeds
from kmeans_xp.algorithms import lloyd as run_lloyd
from kmeans_xp.blocks import Blocks, PerRow
from kmeans_xp.checks import check_integer, check_real
from kmeans_xp.devices import Array, Placement, bring, choose, is_sparse, send, taken
from kmeans_xp.devices.protocols import ArrayT, Indices, Labels, Readable, SupportsSparse, Tabular
from kmeans_xp.estimators.kmeans import KMeans
from kmeans_xp.estimators.other_names import telling_other_names
from kmeans_xp.estimators.preparation import (
    GREATEST_DRAWN,
    check_range,
    finite_inertia,
    prepared,
    published,
    refuse_overflow,
    warn_of_weights,
)
from kmeans_xp.estimators.validation import (
    as_random_state,
    check_enough_rows,
    check_metric,
    checked_centroids,
    checked_points,
    checked_weights,
)
from kmeans_xp.kernels import Nearest, nearest_centroid, nearest_labels

__all__ = [
    "Clustering",
    "assign",
    "inertia",
    "k_means",
    "kmeans_parallel",
    "kmeans_plusplus",
    "lloyd",
]


class Clustering(NamedTuple, Generic[ArrayT]):
    """Result of ``lloyd``.

    Parameters
    ----------
    centroids : array of shape (n_clusters, n_features)
        In float64 if the points are, otherwise in float32; of length 1 for "cosine".
    labels : array of int32, shape (n_points,)
        Nearest centroid of each point.
    inertia : float
        Weighted sum of squared distances, in squared units of the points; of 1 - cos for "cosine".
    n_iter : int
        Number of iterations.
    """

    centroids: ArrayT
    labels: ArrayT
    inertia: float
    n_iter: int


class _Options(TypedDict, total=False):
    sample_weight: Any
    random_state: Any
    metric: str
    device: str | None


class _KMeansOptions(_Options, total=False):
    init: Any
    n_init: int | str
    max_iter: int
    verbose: int | bool
    tol: float
    copy_x: bool
    algorithm: str
    size_min: int | None
    size_max: int | None


class _PlusPlusOptions(_Options, total=False):
    x_squared_norms: Any
    n_local_trials: int | None


class _ParallelOptions(_Options, total=False):
    oversampling: float
    n_rounds: int


class _LloydOptions(TypedDict, total=False):
    weights: Any
    max_iter: int
    tol: float
    metric: str
    device: str | None


@overload
def k_means(
    X: SupportsSparse,
    n_clusters: int,
    *,
    return_n_iter: Literal[False] = False,
    **options: Unpack[_KMeansOptions],
) -> tuple[Any, Any, float]: ...
@overload
def k_means(
    X: SupportsSparse,
    n_clusters: int,
    *,
    return_n_iter: Literal[True],
    **options: Unpack[_KMeansOptions],
) -> tuple[Any, Any, float, int]: ...
@overload
def k_means(
    X: Readable,
    n_clusters: int,
    *,
    return_n_iter: Literal[False] = False,
    **options: Unpack[_KMeansOptions],
) -> tuple[NDArray[Any], Labels, float]: ...
@overload
def k_means(
    X: Readable, n_clusters: int, *, return_n_iter: Literal[True], **options: Unpack[_KMeansOptions]
) -> tuple[NDArray[Any], Labels, float, int]: ...
@overload
def k_means(
    X: ArrayT,
    n_clusters: int,
    *,
    return_n_iter: Literal[False] = False,
    **options: Unpack[_KMeansOptions],
) -> tuple[ArrayT, ArrayT, float]: ...
@overload
def k_means(
    X: ArrayT, n_clusters: int, *, return_n_iter: Literal[True], **options: Unpack[_KMeansOptions]
) -> tuple[ArrayT, ArrayT, float, int]: ...
@telling_other_names
def k_means(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    init: Any = "auto",
    n_init: int | str = "auto",
    max_iter: int = 300,
    verbose: int | bool = False,
    tol: float = 1e-4,
    random_state: Any = None,
    copy_x: bool = True,
    algorithm: str = "auto",
    return_n_iter: bool = False,
    metric: str = "euclidean",
    size_min: int | None = None,
    size_max: int | None = None,
    device: str | None = None,
) -> tuple[Any, ...]:
    """Cluster X, like scikit-learn's function of the same name.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to cluster.
    n_clusters : int
        Number of clusters.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row; None for 1.
    init : {"auto", "k-means++", "k-means||", "random"}, callable or array, default="auto"
        Initial centroids, as in ``KMeans``.
    n_init : "auto" or int, default="auto"
        Number of runs from different initial centroids; the best run is kept.
    max_iter : int, default=300
        Maximum number of iterations of a run.
    verbose : int, default=False
        Print the inertia of each iteration.
    tol : float, default=1e-4
        A run ends when the sum of squared centroid shifts is at most this times the mean
        variance of the features.
    random_state : int, RandomState, Generator or None, default=None
        The same int chooses the same initial rows on every array library.
    copy_x : bool, default=True
        Ignored, for scikit-learn's interface: X is never changed.
    algorithm : {"auto", "lloyd", "hamerly", "elkan"}, default="auto"
        As in ``KMeans``: all have the same result.
    return_n_iter : bool, default=False
        Whether to return the number of iterations too.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in ``KMeans``.
    size_min : int or None, default=None
        Minimum number of rows of each cluster, as in ``KMeans``.
    size_max : int or None, default=None
        Maximum number of rows of each cluster, as in ``KMeans``.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.

    Returns
    -------
    centroids : array of shape (n_clusters, n_features)
        Of X's library, on X's device.
    labels : array of int32, shape (n_samples,)
        Nearest centroid of each row; with ``size_min`` or ``size_max`` the cluster of each row.
    inertia : float
        In squared units of X.
    n_iter : int
        Only if ``return_n_iter``.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import k_means
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> centroids, labels, inertia = k_means(X, n_clusters=2, random_state=0)
    >>> inertia
    16.0
    """
    fitted = KMeans(
        n_clusters,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        verbose=verbose,
        random_state=random_state,
        copy_x=copy_x,
        algorithm=algorithm,
        metric=metric,
        size_min=size_min,
        size_max=size_max,
        device=device,
    ).fit(X, sample_weight=sample_weight)
    result = (fitted.cluster_centers_, fitted.labels_, fitted.inertia_)
    return (*result, fitted.n_iter_) if return_n_iter else result


@overload
def kmeans_plusplus(
    X: SupportsSparse, n_clusters: int, **options: Unpack[_PlusPlusOptions]
) -> tuple[Any, Any]: ...
@overload
def kmeans_plusplus(
    X: Readable, n_clusters: int, **options: Unpack[_PlusPlusOptions]
) -> tuple[NDArray[Any], Indices]: ...
@overload
def kmeans_plusplus(
    X: ArrayT, n_clusters: int, **options: Unpack[_PlusPlusOptions]
) -> tuple[ArrayT, ArrayT]: ...
def kmeans_plusplus(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    x_squared_norms: Any = None,
    random_state: Any = None,
    n_local_trials: int | None = None,
    metric: str = "euclidean",
    device: str | None = None,
) -> tuple[Array, Array]:
    """Choose initial centroids by greedy k-means++, like scikit-learn's function.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to choose from.
    n_clusters : int
        Number of rows to choose.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row; None for 1.
    x_squared_norms : array-like of shape (n_samples,), default=None
        For scikit-learn's interface: its shape is checked, and its values are ignored.
    random_state : int, RandomState, Generator or None, default=None
        The same int chooses the same rows on every array library.
    n_local_trials : int, default=None
        Number of candidates for each centroid; None for 2 + floor(log(n_clusters)).
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in ``KMeans``.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.

    Returns
    -------
    centroids : array of shape (n_clusters, n_features)
        The chosen rows of X.
    indices : integer array of shape (n_clusters,)
        The indices of these rows.

    Raises
    ------
    ValueError
        If n_clusters exceeds the number of rows, or squared distances do not fit their dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import kmeans_plusplus
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> centroids, indices = kmeans_plusplus(X, n_clusters=2, random_state=0)
    >>> indices
    array([3, 2])
    """
    check_integer("n_clusters", n_clusters, 1)
    check_integer("n_local_trials", n_local_trials, 1, or_none=True)
    points = checked_points(X, anywhere=True)
    if x_squared_norms is not None and np.shape(x_squared_norms) != (int(points.shape[0]),):
        raise ValueError(
            f"The length of x_squared_norms {np.shape(x_squared_norms)} should "
            f"be equal to the length of n_samples {points.shape[0]}."
        )
    options = {"n_trials": n_local_trials}
    return _chosen_rows(
        chosen_seeds, points, n_clusters, sample_weight, random_state, metric, device, options
    )


@overload
def kmeans_parallel(
    X: SupportsSparse, n_clusters: int, **options: Unpack[_ParallelOptions]
) -> tuple[Any, Any]: ...
@overload
def kmeans_parallel(
    X: Readable, n_clusters: int, **options: Unpack[_ParallelOptions]
) -> tuple[NDArray[Any], Indices]: ...
@overload
def kmeans_parallel(
    X: ArrayT, n_clusters: int, **options: Unpack[_ParallelOptions]
) -> tuple[ArrayT, ArrayT]: ...
def kmeans_parallel(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    oversampling: float = 2.0,
    n_rounds: int = 5,
    random_state: Any = None,
    metric: str = "euclidean",
    device: str | None = None,
) -> tuple[Array, Array]:
    """Choose initial centroids by k-means||, in few passes over the rows.

    In each round, every row becomes a candidate with a probability in proportion to its weight
    times its squared distance to the nearest candidate so far. Greedy k-means++ then chooses among
    the candidates, each weighted by the rows nearest to it.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), or rows from ``open_rows``
        Rows to choose from.
    n_clusters : int
        Number of rows to choose.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row; None for 1.
    oversampling : float, default=2.0
        Expected number of candidates from each round, divided by ``n_clusters``.
    n_rounds : int, default=5
        Number of rounds, each a pass over the rows. One more pass weights the candidates.
    random_state : int, RandomState, Generator or None, default=None
        The same int chooses the same rows on every array library and for every division into
        blocks.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in ``KMeans``.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.

    Returns
    -------
    centroids : array of shape (n_clusters, n_features)
        The chosen rows of X.
    indices : integer array of shape (n_clusters,)
        The indices of these rows.

    Raises
    ------
    ValueError
        If n_clusters exceeds the number of rows, or squared distances do not fit their dtype.

    See Also
    --------
    kmeans_plusplus : Needs two passes over the rows for each centroid.

    Notes
    -----
    ``KMeans(init="k-means||")`` uses the defaults. For other numbers of candidates or rounds,
    pass the centroids returned here as ``init``.

    References
    ----------
    .. [1] B. Bahmani, B. Moseley, A. Vattani, R. Kumar and S. Vassilvitskii, "Scalable
       k-means++", PVLDB 5 (2012).

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import kmeans_parallel
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> centroids, indices = kmeans_parallel(X, n_clusters=2, random_state=0)
    >>> indices
    array([2, 4])
    """
    check_integer("n_clusters", n_clusters, 1)
    check_integer("n_rounds", n_rounds, 1)
    check_real("oversampling", oversampling, 0.0)
    if not 0.0 < oversampling < math.inf:
        raise ValueError(f"oversampling must be finite and above 0, got {oversampling!r}.")
    options = {"oversampling": oversampling, "n_rounds": n_rounds}
    return _chosen_rows(
        parallel_seeds,
        checked_points(X, anywhere=True),
        n_clusters,
        sample_weight,
        random_state,
        metric,
        device,
        options,
    )


@overload
def lloyd(
    points: SupportsSparse, centroids: Any, **options: Unpack[_LloydOptions]
) -> Clustering[Any]: ...
@overload
def lloyd(
    points: Tabular, centroids: Any, **options: Unpack[_LloydOptions]
) -> Clustering[NDArray[Any]]: ...
@overload
def lloyd(
    points: ArrayT, centroids: Any, **options: Unpack[_LloydOptions]
) -> Clustering[ArrayT]: ...
def lloyd(
    points: Any,
    centroids: Any,
    *,
    weights: Any = None,
    max_iter: int = 300,
    tol: float = 0.0,
    metric: str = "euclidean",
    device: str | None = None,
) -> Clustering[Any]:
    """Run Lloyd's algorithm on plain arrays, from given centroids.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
        Points, of any array library.
    centroids : array-like of shape (n_clusters, n_features)
        Initial centroids.
    weights : array-like of shape (n_points,), default=None
        Weight of each point; None for 1.
    max_iter : int, default=300
        Maximum number of iterations.
    tol : float, default=0.0
        Stop when the sum of squared centroid shifts is at most this, in squared units of the
        points. With 0, stop when no centroid moves.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in ``KMeans``.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the points.

    Returns
    -------
    Clustering
        Its arrays are of the points' library, on their device.

    Raises
    ------
    ValueError
        If the shapes do not fit, numbers are not finite, or their squares too large.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import lloyd
    >>> points = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> lloyd(points, centroids=points[:2]).centroids
    array([[ 0.5],
           [10.5]])
    """
    check_integer("max_iter", max_iter, 1)
    check_real("tol", tol, 0.0)
    check_metric(metric)
    points, placement = _placed(points, device)
    with placement.working():
        initial = checked_centroids(centroids, points, placement, "centroids", metric=metric)
        check_enough_rows(points, int(initial.shape[0]))
        data = prepared(points, checked_weights(weights, points, placement), placement, metric)
        check_range(data, n_calls=1)
        start = initial - data.origin
        result = run_lloyd(data.blocks, start, max_iter=max_iter, tol=tol, metric=metric)
        return Clustering(
            send(published(result.centroids, data.origin, metric), placement),
            result.labels.delivered(placement),
            result.inertia,
            len(result.iterations),
        )


@overload
def assign(
    points: SupportsSparse, centroids: Any, *, metric: str = ..., device: str | None = None
) -> Nearest[Any]: ...
@overload
def assign(
    points: Tabular, centroids: Any, *, metric: str = ..., device: str | None = None
) -> Nearest[NDArray[Any]]: ...
@overload
def assign(
    points: ArrayT, centroids: Any, *, metric: str = ..., device: str | None = None
) -> Nearest[ArrayT]: ...
def assign(
    points: Any, centroids: Any, *, metric: str = "euclidean", device: str | None = None
) -> Nearest[Any]:
    """Return the nearest centroid of each point, and the squared distance to it.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
        Points, of any array library.
    centroids : array-like of shape (n_clusters, n_features)
        Centroids to choose from.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in ``KMeans``.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the points.

    Returns
    -------
    labels : array of int32, shape (n_points,)
        If computed distances are equal, the lowest index.
    sq_distances : array of shape (n_points,)
        In squared units of the points; for "cosine" the cosine distances, 1 - cos. Infinite where
        the squares to all centroids overflow: the label of such a point means nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import assign
    >>> assign(np.array([[0.0], [9.0]]), np.array([[1.0], [10.0]])).labels
    array([0, 1], dtype=int32)
    """
    check_metric(metric)
    points, placement = _placed(points, device)
    with placement.working():
        rows, seen = _seen_from_centroids(points, None, centroids, placement, metric)
        nearest = rows.map_rows(nearest_centroid, seen).whole()
        return Nearest(*(send(part, placement) for part in nearest))


def inertia(
    points: Any,
    centroids: Any,
    labels: Any = None,
    *,
    weights: Any = None,
    metric: str = "euclidean",
    device: str | None = None,
) -> float:
    """Return the weighted sum of the squared distances of the points to their centroids.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
        Points, of any array library.
    centroids : array-like of shape (n_clusters, n_features)
        Centroids.
    labels : integer array-like of shape (n_points,), default=None
        Index of the centroid of each point; None for the nearest.
    weights : array-like of shape (n_points,), default=None
        Weight of each point; None for 1.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in ``KMeans``.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the points.

    Returns
    -------
    float
        In squared units of the points, from differences, summed in float64; for "cosine" the
        weighted sum of 1 - cos.

    Raises
    ------
    ValueError
        If a label is not the index of a centroid, or the sum overflows.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import inertia
    >>> inertia(np.array([[0.0], [9.0]]), np.array([[1.0], [10.0]]))
    2.0
    """
    check_metric(metric)
    points, placement = _placed(points, device)
    with placement.working():
        checked = checked_weights(weights, points, placement)
        rows, seen = _seen_from_centroids(points, checked, centroids, placement, metric)
        if labels is None:
            placed = rows.map_rows(nearest_labels, seen)
        else:
            placed = _checked_labels(labels, rows, int(seen.shape[0]), placement)
        return finite_inertia(inertia_of(rows, placed, seen))


def _chosen_rows(
    seeds: Callable[..., Seeds],
    points: Array,
    n_clusters: int,
    sample_weight: Any,
    random_state: Any,
    metric: str,
    device: str | None,
    options: dict[str, Any],
) -> tuple[Array, Array]:
    """Return the rows that a seeding algorithm chooses, and their indices."""
    check_metric(metric)
    check_enough_rows(points, n_clusters)
    placement = blocks.place(points, device)
    with placement.working():
        weights = checked_weights(sample_weight, points, placement)
        data = prepared(points, weights, placement, metric)
        refuse_overflow(data, GREATEST_DRAWN)  # a fit multiplies what draws compare
        if data.blocks.is_weighted:
            warn_of_weights(data, n_calls=2)
        chosen = seeds(data.blocks, n_clusters, as_random_state(random_state), **options)
        indices = send(chosen.indices, placement)
        # Take the rows from X: to add the origin back would round them.
        if not is_sparse(points) and blocks.elsewhere(points) is None:
            return taken(points, indices), indices
        given = data.blocks.seen_from(None)
        if metric == "cosine":  # these blocks have rows of unit length
            given = blocks.of(points, None, placement)
        return send(given.take(chosen.indices).points, placement), indices


def _placed(points: Any, device: str | None) -> tuple[Array, Placement]:
    checked = checked_points(points)
    return checked, choose(checked, device)


def _seen_from_centroids(
    points: Array, weights: Array | None, centroids: Any, placement: Placement, metric: str
) -> tuple[Blocks, Array]:
    """Return the points and the centroids, relative to the centroids' mean or on a sphere."""
    given = checked_centroids(centroids, points, placement, "centroids", metric=metric)
    rows = blocks.of(points, weights, placement)
    if metric == "cosine":
        return blocks.on_sphere(rows), given
    origin = placement.xp.mean(given, axis=0)
    return rows.seen_from(origin), given - origin


def _checked_labels(labels: Any, rows: Blocks, n_clusters: int, placement: Placement) -> PerRow:
    xp = placement.xp
    placed = bring(labels, placement)
    if placed.shape != (rows.n_points,) or not xp.isdtype(placed.dtype, "integral"):
        raise ValueError(
            f"labels must be {rows.n_points} integers, one for each point; got shape "
            f"{tuple(placed.shape)} of {placed.dtype}."
        )
    # Check first: on some libraries, out-of-range indices wrap or read foreign memory.
    if bool(xp.any((placed < 0) | (placed >= n_clusters))):
        raise ValueError(f"labels must lie in 0 to {n_clusters - 1}, as indices of centroids.")
    return rows.cut(placed)
