"""Solve many small k-means problems in one call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.algorithms import SAME_INERTIA, uniforms_of_starts
from kmeans_xp.devices import (
    Array,
    Namespace,
    Placement,
    adopted,
    bring,
    choose,
    from_host,
    library_of,
    namespace_of,
    send,
    to_host,
)
from kmeans_xp.devices.protocols import ArrayT, Tabular
from kmeans_xp.estimators.base import SEEDINGS
from kmeans_xp.estimators.kmeans import KMeans
from kmeans_xp.estimators.preparation import (
    GREATEST_DRAWN,
    GREATEST_VARIANCE,
    LEAST_DRAWN,
    LEAST_VARIANCE,
)
from kmeans_xp.estimators.validation import as_random_state, checked_points, checked_weights
from kmeans_xp.kernels import ProblemOptions, solved_at_once

__all__ = ["Clusterings", "k_means_batched", "problem_options"]

Numbers = NDArray[Any]

#: maximum number of problems that an error message names
_MOST_NAMED = 5


class Clusterings(NamedTuple, Generic[ArrayT]):
    """Result of ``k_means_batched``; the first axis of each array is the problem.

    Parameters
    ----------
    centroids : array of shape (n_problems, n_clusters, n_features)
        In float64 if X is, otherwise in float32; of length 1 for "cosine".
    labels : array of int32, shape (n_problems, n_samples)
        Index of the nearest centroid in the row's own problem.
    inertia : array of float64, shape (n_problems,)
        In squared units of X; sums of 1 - cos for "cosine".
    n_iter : array of int64, shape (n_problems,)
        Number of iterations of the best run.
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
        Rows of each problem, of any array library. Pad problems that have fewer rows with rows
        of weight 0; with zeros, also for "cosine".
    n_clusters : int
        Number of clusters of each problem.
    sample_weight : array-like of shape (n_problems, n_samples), default=None
        Weight of each row; None for 1.
    init : {"auto", "k-means++", "k-means||", "random"}, default="auto"
        Initial centroids, as in ``KMeans``.
    n_init : "auto" or int, default="auto"
        Number of runs of each problem, from different initial centroids; the best run is kept.
    max_iter : int, default=300
        Maximum number of iterations of a run.
    tol : float, default=1e-4
        A run ends when the sum of squared centroid shifts is at most this times the mean
        variance of the features of its problem.
    random_state : int, RandomState, Generator or None, default=None
        An int is the seed of every problem. From the others one int is drawn, as that seed.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in ``KMeans``.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows X.

    Returns
    -------
    Clusterings
        Of X's library, on X's device.

    Raises
    ------
    ValueError
        If a parameter, the rows or the weights cannot be used. If numbers are the reason, the
        message says in which problem.

    See Also
    --------
    k_means : One problem. With the same int as random_state it has the same result.

    Notes
    -----
    On the host with numba, compiled code solves the problems in parallel, one thread for each. It
    needs k-means++, Euclidean distances, and problems so small that ``k_means`` would use one
    thread (some 10,000 rows of few features). The first call compiles it in some seconds.

    On CUDA each launch works on all problems. It needs k-means++, Euclidean distances, and at most
    4 million numbers in each problem. Other problems are solved one after another, with
    bit-identical results.

    Rows of weight 0 get labels. As in ``k_means``, they count in the mean variance.

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
        flat_weights = _flat_weights(sample_weight, shape)
        with _naming_problem(flat_weights, shape[0], _is_bad_weight):
            weights = checked_weights(flat_weights, flat, placement)
        problems = _Problems(flat, weights, shape, placement)
        problems.refuse_without_weight()
        solved = None
        if init in ("auto", "k-means++") and metric == "euclidean":
            n_runs = 1 if n_init == "auto" else int(n_init)
            uniforms = uniforms_of_starts(n_clusters, np.random.RandomState(seed), n_runs)
            solved = solved_at_once(
                problems.points,
                problems.weights,
                np.broadcast_to(uniforms, (shape[0], *uniforms.shape)),
                None,
                problem_options(problems.points, n_clusters, max_iter, tol, xp=placement.xp),
                xp=placement.xp,
            )
        if solved is None:
            found = problems.solved_in_turn(n_clusters, options)
        else:
            centroids = solved.centroids + solved.origins[:, None, :]
            found = Clusterings(centroids, solved.labels, solved.inertia, solved.n_iter)
            problems.solve_others(found, n_clusters, options)
        return Clusterings(*(send(each, placement) for each in found))


def problem_options(
    points: Array, n_clusters: int, max_iter: int, tol: float, *, xp: Namespace
) -> ProblemOptions:
    """Return the options of each problem, the same as for a single fit."""
    n_bytes = 8 if points.dtype == xp.float64 else 4
    variances = LEAST_VARIANCE[n_bytes], GREATEST_VARIANCE[n_bytes]
    # Products that draws compare are in the dtype of the points. A fit looks closer at the largest.
    _, n_points, n_features = points.shape
    totals = (
        max(LEAST_VARIANCE[8], LEAST_DRAWN[n_bytes] * n_points / n_features),
        min(GREATEST_VARIANCE[8], GREATEST_DRAWN[n_bytes] * n_points),
    )
    is_flushed = n_bytes == 4 and library_of(xp).flushes_subnormals
    least_mass = LEAST_VARIANCE[4] if is_flushed else 0.0
    return ProblemOptions(n_clusters, max_iter, tol, *variances, *totals, least_mass, SAME_INERTIA)


class _Problems:
    """Rows and weights of all problems, on the device that computes."""

    def __init__(
        self, flat: Array, weights: Array | None, shape: tuple[int, int, int], placement: Placement
    ) -> None:
        xp = self.xp = placement.xp
        self.placement = placement
        self.points = xp.reshape(bring(flat, placement), shape)
        # Lent arrays are fitted as a user's: only then is float16 computed in the same way.
        self._of_fits = self.points
        if placement.is_lent:
            self._of_fits = namespace_of(flat).reshape(flat, shape)
        self.weights = None if weights is None else xp.reshape(weights, shape[:2])

    def refuse_without_weight(self) -> None:
        """Raise ValueError if a problem has no row with weight."""
        if self.weights is None:
            return
        (without,) = np.nonzero(to_host(self.xp.max(self.weights, axis=1)) == 0.0)
        if len(without):
            named = ", ".join(map(str, without[:_MOST_NAMED].tolist()))
            raise ValueError(
                "Sample weights must contain at least one non-zero number in each problem: all are "
                f"zero in {len(without)} problems, such as {named}."
            )

    def solved_in_turn(self, n_clusters: int, options: dict[str, Any]) -> Clusterings[Any]:
        """Fit the problems one after another."""
        numbers = range(self.points.shape[0])
        fits = [self._fit(number, n_clusters, options) for number in numbers]
        inertia, n_iter = ([each[at] for each in fits] for at in (2, 3))
        where = {"xp": self.xp, "device": self.placement.device}
        return Clusterings(
            self.xp.stack([centroids for centroids, *_ in fits]),
            self.xp.stack([labels for _, labels, *_ in fits]),
            from_host(np.asarray(inertia, dtype=np.float64), **where),
            from_host(np.asarray(n_iter, dtype=np.int64), **where),
        )

    def solve_others(
        self, solved: Clusterings[Any], n_clusters: int, options: dict[str, Any]
    ) -> None:
        """Fit the problems that the kernel left unsolved, and write their results to ``solved``."""
        (others,) = np.nonzero(to_host(solved.n_iter) == 0)
        for number in others.tolist():
            found = self._fit(number, n_clusters, options)
            for results, result in zip(solved, found, strict=True):
                results[number] = result

    def _fit(self, number: int, n_clusters: int, options: dict[str, Any]) -> tuple[Any, ...]:
        weights = None if self.weights is None else self.weights[number, ...]
        try:
            model = KMeans(n_clusters, **options).fit(
                self._of_fits[number, ...], sample_weight=weights
            )
        except ValueError as error:
            raise ValueError(f"In problem {number}: {error}") from error
        arrays = (bring(each, self.placement) for each in (model.cluster_centers_, model.labels_))
        return *arrays, model.inertia_, model.n_iter_


def _seed_of(random_state: Any) -> int:
    """Return an int as it is; draw an int from other sources of random numbers."""
    checked = as_random_state(random_state)
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        return int(random_state)
    return int(checked.randint(2**31 - 1))


def _check_options(n_clusters: Any, options: dict[str, Any]) -> None:
    """Raise ValueError for invalid options."""
    KMeans(n_clusters, **options)._validate_params()
    if not isinstance(options["init"], str):
        known = ", ".join(("auto", *SEEDINGS))
        given = type(options["init"]).__name__
        raise ValueError(
            f"init must be one of {known} for many problems, got an object of type {given}."
        )


def _as_array(given: Any, name: str) -> Array:
    """Return an array as it is; convert lists to NumPy."""
    given = adopted(given)
    if hasattr(given, "ndim"):
        return given
    try:
        return np.asarray(given)
    except ValueError as error:  # lists of unequal lengths
        raise ValueError(f"{name} must be an array of numbers: {error}") from error


def _checked_rows(X: Any, n_clusters: int) -> tuple[Array, tuple[int, int, int]]:
    """Return the checked rows of all problems as a matrix, and the original shape."""
    given = _as_array(X, "X")
    if given.ndim != 3 or 0 in given.shape:
        raise ValueError(
            "X must have the shape (n_problems, n_samples, n_features), without zeros; got "
            f"{tuple(given.shape)}."
        )
    n_problems, n_points, n_features = (int(size) for size in given.shape)
    if n_points < n_clusters:
        raise ValueError(f"n_samples={n_points} should be >= n_clusters={n_clusters}.")
    flat = namespace_of(given).reshape(given, (n_problems * n_points, n_features))
    with _naming_problem(flat, n_problems, _is_bad):
        return checked_points(flat), (n_problems, n_points, n_features)


def _flat_weights(sample_weight: Any, shape: tuple[int, int, int]) -> Array | None:
    if sample_weight is None:
        return None
    given = _as_array(sample_weight, "sample_weight")
    if tuple(given.shape) != shape[:2]:
        raise ValueError(f"sample_weight.shape == {tuple(given.shape)}, expected {shape[:2]}!")
    return namespace_of(given).reshape(given, (-1,))


@contextmanager
def _naming_problem(
    flat: Array | None, n_problems: int, is_bad: Callable[[Numbers], Numbers]
) -> Iterator[None]:
    """Add to a ValueError the first problem with bad numbers, if numbers are its reason."""
    try:
        yield
    except ValueError as error:
        host = to_host(flat).reshape(n_problems, -1)
        try:
            numbers = host.astype(
                np.float64, casting="unsafe" if host.dtype == object else "same_kind"
            )
        except (TypeError, ValueError):  # complex numbers, or other objects, such as strings
            raise error from None
        (bad,) = np.nonzero(is_bad(numbers).any(axis=1))
        if not len(bad):
            raise
        raise ValueError(f"In problem {bad[0]}: {error}") from error


def _is_bad(numbers: Numbers) -> Numbers:
    return ~np.isfinite(numbers)


def _is_bad_weight(weights: Numbers) -> Numbers:
    return _is_bad(weights) | (weights < 0.0)
