"""Many small problems of k-means in one call."""

import math
from typing import Any, Generic, NamedTuple, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.algorithms import SAME_INERTIA
from kmeans_xp.devices import (
    Array,
    Placement,
    adopted,
    bring,
    choose,
    from_host,
    namespace_of,
    send,
    to_host,
)
from kmeans_xp.devices.protocols import ArrayT, Tabular
from kmeans_xp.estimators.base import SEEDINGS
from kmeans_xp.estimators.kmeans import KMeans
from kmeans_xp.estimators.preparation import GREATEST_VARIANCE, LEAST_VARIANCE
from kmeans_xp.estimators.validation import as_random_state, checked_points, checked_weights
from kmeans_xp.kernels import ProblemOptions, Solved, solved_at_once

__all__ = ["Clusterings", "k_means_batched"]

#: problems that an error names
_MOST_NAMED = 5


class Clusterings(NamedTuple, Generic[ArrayT]):
    """What ``k_means_batched`` returns, the first axis of each the problems.

    Parameters
    ----------
    centroids : array of shape (n_problems, n_clusters, n_features)
        Of float64 if X is, else float32; for "cosine" of length 1.
    labels : array of int32, shape (n_problems, n_samples)
        Nearest centroid of each row, of the row's own problem.
    inertia : array of float64, shape (n_problems,)
        In squared units of X; for "cosine" sums of 1 - cos.
    n_iter : array of int64, shape (n_problems,)
        Iterations of the run that was kept.
    """

    centroids: ArrayT
    labels: ArrayT
    inertia: ArrayT
    n_iter: ArrayT


class _Options(TypedDict, total=False):
    sample_weight: Any
    init: str
    n_init: int | str
    max_iter: int
    tol: float
    random_state: Any
    metric: str
    device: str | None


@overload
def k_means_batched(
    X: Tabular, n_clusters: int, **options: Unpack[_Options]
) -> Clusterings[NDArray[Any]]: ...
@overload
def k_means_batched(
    X: ArrayT, n_clusters: int, **options: Unpack[_Options]
) -> Clusterings[ArrayT]: ...
def k_means_batched(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    init: str = "auto",
    n_init: int | str = "auto",
    max_iter: int = 300,
    tol: float = 1e-4,
    random_state: Any = None,
    metric: str = "euclidean",
    device: str | None = None,
) -> Clusterings[Any]:
    """Cluster the rows of many small problems, each on its own, in one call.

    Parameters
    ----------
    X : array-like of shape (n_problems, n_samples, n_features)
        Rows of each problem, of any array library. Problems of fewer rows are filled up with
        rows of weight 0.
    n_clusters : int
        Clusters of each problem.
    sample_weight : array-like of shape (n_problems, n_samples), default=None
        Weight of each row; None for 1.
    init : {"auto", "k-means++", "k-means||", "random"}, default="auto"
        Initial centroids, as of ``KMeans``.
    n_init : "auto" or int, default="auto"
        Runs of each problem from different initial centroids, of which the best is kept.
    max_iter : int, default=300
        Iterations of a run, at most.
    tol : float, default=1e-4
        A run ends when the sum of squared centroid shifts is at most this times the mean
        variance of the features of its problem.
    random_state : int, RandomState, Generator or None, default=None
        Of each problem: an int is the same for all, from others one int is drawn.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As of ``KMeans``.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows X.

    Returns
    -------
    Clusterings
        Of X's library, on X's device.

    Raises
    ------
    ValueError
        If a parameter or the rows cannot be used: it says which, and in which problem.

    See Also
    --------
    k_means : One problem; with the same int as random_state its result is that of each here.

    Notes
    -----
    On the host with numba, each thread solves some problems in compiled code, with k-means++ and
    Euclidean distances. They must be so small that a fit of one has a single task (some 10,000
    rows of few features). The first call compiles the code, for some seconds.

    On CUDA each launch works for all problems, also with k-means++ and Euclidean distances. A
    problem may have up to 64 features and 4 million numbers, and the sums of its clusters must fit
    in a block's shared memory. Other problems are solved one after another. Bits are the same.

    Rows of weight 0 have labels, and count in the mean variance as they do in ``k_means``.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import k_means_batched
    >>> X = np.array([[[0.0], [1.0], [9.0]], [[5.0], [70.0], [80.0]]])
    >>> clusterings = k_means_batched(X, n_clusters=2, random_state=0)
    >>> clusterings.inertia
    array([ 0.5, 50. ])
    >>> np.sort(clusterings.centroids, axis=1)[:, :, 0]
    array([[ 0.5,  9. ],
           [ 5. , 75. ]])
    """
    options: dict[str, Any] = {
        "init": init,
        "n_init": n_init,
        "max_iter": max_iter,
        "tol": tol,
        "random_state": random_state,
        "metric": metric,
    }
    _check_options(n_clusters, options)
    seed = options["random_state"] = _seed_of(random_state)
    flat, shape = _checked_rows(X, n_clusters)
    placement = choose(flat, device)
    with placement.working():
        weights = checked_weights(_flat_weights(sample_weight, shape), flat, placement)
        problems = _Problems(flat, weights, shape, placement)
        problems.refuse_without_weight()
        solved = None
        if init in ("auto", "k-means++") and metric == "euclidean":
            n_runs = 1 if n_init == "auto" else int(n_init)
            solved = solved_at_once(
                problems.points,
                problems.weights,
                _uniforms(seed, n_runs, n_clusters),
                problems.options(n_clusters, max_iter, tol),
                xp=placement.xp,
            )
        if solved is None:
            solved = problems.solved_in_turn(range(shape[0]), n_clusters, options)
        else:
            problems.solve_others(solved, n_clusters, options)
        labels, centroids, inertia, n_iter = (send(each, placement) for each in solved)
    return Clusterings(centroids, labels, inertia, n_iter)


class _Problems:
    """Rows of all problems where they are computed with, and their weights."""

    def __init__(
        self, flat: Array, weights: Array | None, shape: tuple[int, int, int], placement: Placement
    ) -> None:
        xp = self.xp = placement.xp
        self.placement = placement
        self.points = xp.reshape(bring(flat, placement), shape)
        self.weights = None if weights is None else xp.reshape(weights, shape[:2])

    def options(self, n_clusters: int, max_iter: int, tol: float) -> ProblemOptions:
        """Return what is asked of each problem, as of a fit of it."""
        n_bytes = 8 if self.points.dtype == self.xp.float64 else 4
        variances = LEAST_VARIANCE[n_bytes], GREATEST_VARIANCE[n_bytes]
        totals = LEAST_VARIANCE[8], GREATEST_VARIANCE[8]
        return ProblemOptions(n_clusters, max_iter, tol, *variances, *totals, SAME_INERTIA)

    def refuse_without_weight(self) -> None:
        """Raise ValueError for problems of which no row has weight."""
        if self.weights is None:
            return
        (without,) = np.nonzero(to_host(self.xp.max(self.weights, axis=1)) == 0.0)
        if len(without):
            named = ", ".join(map(str, without[:_MOST_NAMED].tolist()))
            raise ValueError(
                "Sample weights must contain at least one non-zero number in each problem: they "
                f"have none in {len(without)} of them, such as {named}."
            )

    def solved_in_turn(self, numbers: Any, n_clusters: int, options: dict[str, Any]) -> Solved:
        """Fit some problems one after another."""
        fits = [self._fit(number, n_clusters, options) for number in numbers]
        inertia, n_iter = ([each[at] for each in fits] for at in (2, 3))
        where = {"xp": self.xp, "device": self.placement.device}
        return Solved(
            self.xp.stack([labels for labels, *_ in fits]),
            self.xp.stack([centroids for _, centroids, *_ in fits]),
            from_host(np.asarray(inertia, dtype=np.float64), **where),
            from_host(np.asarray(n_iter, dtype=np.int64), **where),
        )

    def solve_others(self, solved: Solved, n_clusters: int, options: dict[str, Any]) -> None:
        """Fit those that were not solved at once, and write what comes of it."""
        (others,) = np.nonzero(to_host(solved.n_iter) == 0)
        for number in others.tolist():
            found = self._fit(number, n_clusters, options)
            for results, result in zip(solved, found, strict=True):
                results[number] = result

    def _fit(self, number: int, n_clusters: int, options: dict[str, Any]) -> tuple[Any, ...]:
        weights = None if self.weights is None else self.weights[number, ...]
        try:
            model = KMeans(n_clusters, **options).fit(
                self.points[number, ...], sample_weight=weights
            )
        except ValueError as error:
            raise ValueError(f"In problem {number}: {error}") from error
        return model.labels_, model.cluster_centers_, model.inertia_, model.n_iter_


def _seed_of(random_state: Any) -> int:
    """Return an int as it is, and of other sources of random numbers one that is drawn."""
    checked = as_random_state(random_state)
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        return int(random_state)
    return int(checked.randint(2**31 - 1))


def _check_options(n_clusters: Any, options: dict[str, Any]) -> None:
    """Raise ValueError for what no fit of a problem takes."""
    KMeans(n_clusters, **options)._validate_params()
    if not isinstance(options["init"], str):
        known = ", ".join(("auto", *SEEDINGS))
        raise ValueError(f"init must be one of {known} for many problems, got {options['init']!r}.")


def _as_array(given: Any, name: str) -> Array:
    """Return an array of its own library; lists become NumPy's."""
    given = adopted(given)
    if hasattr(given, "ndim"):
        return given
    try:
        return np.asarray(given)
    except ValueError as error:  # of several lengths
        raise ValueError(f"{name} must be an array of numbers: {error}") from error


def _checked_rows(X: Any, n_clusters: int) -> tuple[Array, tuple[int, int, int]]:
    """Return the rows of all problems one after another, checked, and the shape that they had."""
    given = _as_array(X, "X")
    if given.ndim != 3 or 0 in given.shape:
        raise ValueError(
            "X must be of shape (n_problems, n_samples, n_features), none of them 0; got "
            f"{tuple(given.shape)}."
        )
    n_problems, n_points, n_features = (int(size) for size in given.shape)
    if n_points < n_clusters:
        raise ValueError(f"n_samples={n_points} should be >= n_clusters={n_clusters}.")
    flat = namespace_of(given).reshape(given, (n_problems * n_points, n_features))
    return checked_points(flat), (n_problems, n_points, n_features)


def _flat_weights(sample_weight: Any, shape: tuple[int, int, int]) -> Array | None:
    if sample_weight is None:
        return None
    given = _as_array(sample_weight, "sample_weight")
    if tuple(given.shape) != shape[:2]:
        raise ValueError(f"sample_weight.shape == {tuple(given.shape)}, expected {shape[:2]}!")
    return namespace_of(given).reshape(given, (-1,))


def _uniforms(seed: int, n_runs: int, n_clusters: int) -> NDArray[np.float64]:
    """Return what k-means++ draws in each run, as ``kmeans_plusplus`` draws it."""
    n_trials = 2 + int(math.log(n_clusters))
    state = np.random.RandomState(seed)
    return state.random_sample((n_runs, 1 + (n_clusters - 1) * n_trials))
