"""K-Means by Lloyd's algorithm, with scikit-learn's interface."""

import warnings
from collections.abc import Iterator
from functools import partial
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.utils._param_validation import Interval, StrOptions

from kmeans_xp.algorithms import ALGORITHMS, Iteration, LloydResult, best_of, lloyd, runs_from
from kmeans_xp.devices import Array, Namespace, to_host
from kmeans_xp.estimators.base import BaseKMeans, all_or_nothing
from kmeans_xp.estimators.callback_support import watched
from kmeans_xp.estimators.fitted_arrays import labels_when_read
from kmeans_xp.estimators.other_names import telling_other_names
from kmeans_xp.estimators.preparation import Prepared
from kmeans_xp.estimators.progress import Progress
from kmeans_xp.estimators.sizes import check_sizes, size_bounds
from kmeans_xp.estimators.standing import KMeansStanding
from kmeans_xp.estimators.validation import as_random_state, is_array_like

__all__ = ["KMeans"]


class KMeans(BaseKMeans):
    """K-Means clustering of arrays of any library, on the device that holds them.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    init : {"auto", "k-means++", "k-means||", "random"}, callable or array, default="auto"
        Initial centroids. "k-means++" draws rows one after another, far from those before.
        "k-means||" draws many such rows in each of five rounds and chooses among them. It is as
        good and makes fewer passes over the rows. "auto" is "k-means++" for rows in one array
        on a device, otherwise "k-means||". An array has the shape (n_clusters, n_features). A
        callable gets X, n_clusters and ``random_state=``; for ``metric="cosine"`` the rows of
        its X have length 1.
    n_init : "auto" or int, default="auto"
        Number of runs from different initial centroids; the run with the smallest inertia is kept.
        "auto" is 10 for "random" and callables, otherwise 1.
    max_iter : int, default=300
        Maximum number of iterations of a run.
    tol : float, default=1e-4
        A run ends when the sum of squared centroid shifts is at most this times the mean
        variance of the features.
    verbose : int, default=0
        Print the inertia of each iteration.
    random_state : int, RandomState, Generator or None, default=None
        The same int chooses the same initial rows on every array library.
    copy_x : bool, default=True
        Ignored, for scikit-learn's interface: X is never changed, and never copied.
    algorithm : {"auto", "lloyd", "hamerly", "elkan"}, default="auto"
        All give bit-identical results; their speed differs. "lloyd" visits every row in every
        iteration. "hamerly" keeps two bounds for each row, and skips rows whose nearest centroid
        cannot have changed. "elkan" is another name for "hamerly", because scikit-learn has it.
        "auto" is "hamerly" where it is likely to be faster, and "lloyd" in iterations where it
        is not. Only NumPy arrays with numba have bounds; elsewhere all are "lloyd".
    metric : {"euclidean", "cosine"}, default="euclidean"
        "cosine" compares directions (spherical k-means): distances are 1 - cos, rows are scaled
        to unit length without a copy of many, and centroids are unit vectors. No row may be zero.
    size_min : int or None, default=None
        Minimum number of rows of each cluster. None means 1 if there is a ``size_max``,
        otherwise no bound. See the notes.
    size_max : int or None, default=None
        Maximum number of rows of each cluster; None for no bound.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data. See ``kmeans_xp.devices``.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
        Centroids. All arrays here are of X's library, on X's device.
    labels_ : array of int32, shape (n_samples,)
        Nearest centroid of each row. With ``size_min`` or ``size_max``: the cluster of each row;
        another centroid may be nearer.
    inertia_ : float
        Weighted sum of the squared distances of the rows to their centroids, in squared units
        of X, recomputed at the end from differences. For "cosine" the weighted sum of 1 - cos,
        which is half the squared distance between unit vectors.
    n_iter_ : int
        Number of iterations of the best run.
    history_ : dict of str to ndarray
        For each iteration of the best run: "inertia" at its start, and "shift", the sum of the
        squared distances that the centroids moved.
    device_reason_ : str
        Why the fit chose its device.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, if X has names and all are strings.

    See Also
    --------
    MiniBatchKMeans : For so large data that a full pass for each iteration takes too long.
    kmeans_xp.lloyd : The algorithm on plain arrays.

    Notes
    -----
    ``fit`` and ``predict`` subtract the mean of the rows first: float32 data far from zero
    lose no digits, and ``predict(X)`` equals ``labels_``. ``cluster_centers_`` has the mean
    added back, which rounds in float32; ``predict`` and ``inertia_`` use the unrounded centroids.

    With ``size_min`` or ``size_max``, each iteration assigns rows so that the inertia is minimal
    among all labels within the bounds (constrained k-means [5]_). The fit holds 8 bytes for each
    row and cluster, and does this part on the host. ``labels_``, ``inertia_`` and ``fit_predict``
    follow these labels. ``predict``, ``score`` and ``transform`` ignore the bounds: ``predict(X)``
    is the nearest centroid, and differs from ``labels_``. The bounds count rows, so there can be
    no weights, and all rows must be in memory.

    References
    ----------
    .. [1] S. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information
       Theory 28 (1982).
    .. [2] D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding",
       SODA 2007.
    .. [3] B. Bahmani, B. Moseley, A. Vattani, R. Kumar and S. Vassilvitskii, "Scalable
       k-means++", PVLDB 5 (2012).
    .. [4] I. S. Dhillon and D. S. Modha, "Concept decompositions for large sparse text data using
       clustering", Machine Learning 42 (2001).
    .. [5] P. S. Bradley, K. P. Bennett and A. Demiriz, "Constrained k-means clustering",
       Microsoft Research MSR-TR-2000-65 (2000).

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> kmeans.labels_
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> kmeans.predict(np.array([[0.0, 0], [12, 3]]))
    array([1, 0], dtype=int32)
    >>> kmeans.cluster_centers_
    array([[10.,  2.],
           [ 1.,  2.]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseKMeans._parameter_constraints,
        "copy_x": ["boolean"],
        "algorithm": [StrOptions(set(ALGORITHMS))],
        "size_min": [Interval(Integral, 1, None, closed="left"), None],
        "size_max": [Interval(Integral, 1, None, closed="left"), None],
    }

    _n_init: int

    @telling_other_names
    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "auto",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int | bool = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "auto",
        metric: str = "euclidean",
        size_min: int | None = None,
        size_max: int | None = None,
        device: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.metric = metric
        self.size_min = size_min
        self.size_max = size_max
        self.device = device

    @all_or_nothing
    @watched
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Cluster X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows: NumPy, CuPy, torch, JAX, dpnp and other arrays, lists and data frames.
            float32 and float64 are computed as they are, float16 and bfloat16 in float32,
            integers in float64.
        y : ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; None for 1.

        Returns
        -------
        self
            The fitted estimator. After an error it is as before the call.

        Raises
        ------
        ValueError
            If a parameter or the data cannot be used; the message says which and why.
        DeviceUnavailableError
            If ``device`` cannot be used here.
        """
        self._validate_params()
        with self._prepared(X, sample_weight) as (init, data):
            self._n_init = self._resolve_n_init(default=10)
            self._warn_of_elkan()
            progress = Progress(self, X, y, self._n_init)
            best = self._best_run(init, data, progress)
            self._store(best, data)
            self._warn_of_empty_clusters(best)
        progress.end()
        return self

    def _check_request(self, points: Any, sample_weight: Any) -> None:
        """Raise ValueError if the rows cannot have clusters of the given sizes."""
        check_sizes(self.size_min, self.size_max, self.n_clusters, points, sample_weight)

    def _best_run(self, init: Any, data: Prepared, progress: Progress) -> LloydResult:
        if self._is_watched(progress):
            best = self._watched_best(init, data, progress)
        else:
            starts = self._starts(init, data)
            best = best_of(runs_from(data.blocks, starts, **self._run_options(data)))
        assert best is not None
        return best

    def _starts(self, init: Any, data: Prepared) -> Iterator[Array]:
        """Yield the initial centroids of each run, relative to the origin."""
        if is_array_like(init):
            yield init - data.origin
            return  # without a RandomState: to make one takes longer than a small fit
        random_state = as_random_state(self.random_state)
        yield from self._starts_of_runs(
            init, data.blocks, data, random_state, self.n_clusters, self._n_init
        )

    def _run_options(self, data: Prepared) -> dict[str, Any]:
        tol = self.tol * data.mean_variance
        return {
            "max_iter": self.max_iter,
            "tol": tol,
            "algorithm": self.algorithm,
            "metric": self.metric,
            "sizes": size_bounds(self.size_min, self.size_max, data.blocks.n_points),
        }

    def _watched_best(self, init: Any, data: Prepared, progress: Progress) -> LloydResult | None:
        """Return the best run, with output, callbacks or checkpoints at each iteration."""
        standing = self._first_standing(init, data, progress)
        while standing.run < self._n_init:
            standing = self._watched_run(init, standing, data, progress)
        return standing.best

    def _first_standing(self, init: Any, data: Prepared, progress: Progress) -> KMeansStanding:
        """Return the state to start from: that of an interrupted fit, or a new one."""
        standing = KMeansStanding(0, as_random_state(self.random_state))
        values = progress.saved(data)
        if values is None:
            # Write before any work: if the file cannot be written, fail now.
            progress.offer(standing.values)
            return standing
        standing = standing.restored(values, data.blocks, self._run_options(data)["sizes"])
        if standing.run > self._n_init or (standing.best is None) != (standing.run == 0):
            raise ValueError("The checkpoint is damaged: its run does not belong to this fit.")
        progress.resumed(str(standing))
        return standing

    def _watched_run(
        self, init: Any, standing: KMeansStanding, data: Prepared, progress: Progress
    ) -> KMeansStanding:
        """Do this run, or the rest of it, and return the state of the fit afterwards."""
        if standing.centroids is None:
            random_state, blocks = standing.random_state, data.blocks
            centroids = self._initial_centroids(init, blocks, data, random_state, self.n_clusters)
            standing = standing._replace(centroids=centroids)
            progress.offer(standing.values)
            if self.verbose:
                print("Initialization complete")  # noqa: T201 (verbose prints)
        fitted = partial(self._fitted, origin=data.origin, placement=data.placement)
        options, iterations = self._run_options(data), list(standing.iterations)
        n_left = self.max_iter - len(iterations)
        progress.begin_run(n_left, partial(fitted, standing.centroids))

        def watch(iteration: Iteration, centroids: Array) -> bool:
            if self.verbose:
                self._print(iteration, data, options["tol"])
            iterations.append(iteration)
            now = standing._replace(centroids=centroids, iterations=iterations)
            progress.offer(now.values, is_iteration=True)
            return progress.iteration(
                partial(fitted, centroids), partial(self._metadata, iteration, data)
            )

        before = standing.iterations
        result = lloyd(
            data.blocks, standing.centroids, before=before, on_iteration=watch, **options
        )
        is_last = progress.end_run(partial(fitted, result.centroids))
        run = self._n_init if is_last else standing.run + 1
        best = best_of(each for each in (standing.best, result) if each is not None)
        after = KMeansStanding(run, standing.random_state, best=best)
        progress.offer(after.values, is_end=run == self._n_init)
        return after

    def _metadata(self, iteration: Iteration, data: Prepared) -> dict[str, Any]:
        """Return the numbers of an iteration that callbacks get."""
        return {
            "iteration": iteration.number,
            "max_iter": self.max_iter,
            "inertia": _inertia(iteration, data),
            "shift": iteration.sq_shift,
            "n_rows": data.blocks.n_points,
        }

    def _is_watched(self, progress: Progress) -> bool:
        """Return whether each iteration must be printed or passed to a callback."""
        return bool(self.verbose) or progress.is_on

    def _print(self, iteration: Iteration, data: Prepared, tol: float) -> None:
        number = iteration.number - 1  # scikit-learn counts from 0 here
        print(f"Iteration {number}, inertia {_inertia(iteration, data)}.")  # noqa: T201
        if iteration.sq_shift == 0.0:
            print(f"Converged at iteration {number}: strict convergence.")  # noqa: T201
        elif iteration.sq_shift <= tol:
            print(  # noqa: T201
                f"Converged at iteration {number}: center shift {iteration.sq_shift} "
                f"within tolerance {tol}."
            )

    def _store(self, best: LloydResult, data: Prepared) -> None:
        self._store_centroids(best.centroids, data.origin, data.placement)
        self._set_fitted(labels_=labels_when_read(best.labels, data.placement))
        self.inertia_ = best.inertia
        self.n_iter_ = len(best.iterations)
        explained = np.asarray([iteration.explained for iteration in best.iterations])
        self.history_ = {
            "inertia": np.maximum(data.total_sq - explained, 0.0),
            "shift": np.asarray([iteration.sq_shift for iteration in best.iterations]),
        }

    def _warn_of_elkan(self) -> None:
        if self.algorithm == "elkan" and self.n_clusters == 1:
            warnings.warn(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                RuntimeWarning,
                stacklevel=5,
            )

    def _warn_of_empty_clusters(self, best: LloydResult) -> None:
        # Count labels only if the last iteration found an empty cluster: the count copies all
        # labels to the host.
        if best.iterations[-1].n_empty == 0:
            return
        n_distinct = len(best.labels.reduce(_distinct, merge=np.union1d))
        if n_distinct < self.n_clusters:
            self._warn_of_distinct(n_distinct)

    @classmethod
    def _sklearn_class(cls) -> Any:
        return SklearnKMeans


def _inertia(iteration: Iteration, data: Prepared) -> float:
    return max(data.total_sq - iteration.explained, 0.0)


def _distinct(labels: Array, *, xp: Namespace) -> Any:  # noqa: ARG001 (as all partials)
    return np.unique(to_host(labels))
