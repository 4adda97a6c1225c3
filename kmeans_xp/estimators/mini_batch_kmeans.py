"""Mini-batch K-Means, with scikit-learn's interface."""

import math
import warnings
from collections.abc import Mapping
from contextlib import closing
from copy import deepcopy
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.cluster import MiniBatchKMeans as SklearnMiniBatchKMeans
from sklearn.utils._param_validation import Interval

from kmeans_xp.algorithms import (
    MiniBatchResult,
    MiniBatchStanding,
    MiniBatchState,
    MiniBatchStep,
    inertia_of,
    minibatch,
    minibatch_start,
    minibatch_step,
)
from kmeans_xp.algorithms.minibatch import Reassignment
from kmeans_xp.blocks import Blocks, Elsewhere, elsewhere
from kmeans_xp.devices import Array, Placement, bring, from_host, kept, to_host
from kmeans_xp.estimators import exchange
from kmeans_xp.estimators.base import (
    BaseKMeans,
    Fitted,
    all_or_nothing,
    drawn_part,
    part_to_seed,
    resolved_init,
)
from kmeans_xp.estimators.callback_support import watched
from kmeans_xp.estimators.fitted_arrays import as_computed, labels_when_read
from kmeans_xp.estimators.fitted_state import Kind, Numbers, Source, Whole
from kmeans_xp.estimators.other_names import telling_other_names
from kmeans_xp.estimators.preparation import Prepared
from kmeans_xp.estimators.progress import Progress
from kmeans_xp.estimators.standing import (
    mini_batch_standing,
    mini_batch_values,
    restored_state,
)
from kmeans_xp.estimators.validation import as_random_state, checked_points
from kmeans_xp.kernels import nearest_labels

__all__ = ["MiniBatchKMeans"]


class MiniBatchKMeans(BaseKMeans):
    """K-Means clustering by small random batches, for arrays of any library and device.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    init : {"auto", "k-means++", "k-means||", "random"}, callable or array, default="auto"
        Initial centroids, as in ``KMeans``, chosen from ``init_size`` rows. An array has the shape
        (n_clusters, n_features). A callable gets rows, n_clusters and ``random_state=``.
    max_iter : int, default=100
        Maximum number of passes over the rows.
    batch_size : int, default=1024
        Number of rows in a batch.
    verbose : int, default=0
        Print the inertia of each step.
    compute_labels : bool, default=True
        Whether to find ``labels_`` and the exact ``inertia_`` at the end.
    random_state : int, RandomState, Generator or None, default=None
        The same int draws the same rows on every array library.
    tol : float, default=0.0
        If positive, ``fit`` ends when the sum of squared centroid shifts of a step is at most
        this times the mean variance of the features.
    max_no_improvement : int or None, default=10
        ``fit`` ends after this number of steps without a new minimum of the smoothed inertia.
    init_size : int, default=None
        Number of rows to draw for the choice of initial centroids; None for 3 * batch_size.
    n_init : "auto" or int, default="auto"
        Number of sets of initial centroids to try; the set with the smallest inertia on other
        rows is kept. "auto" is 3 for "random" and callables, otherwise 1.
    reassignment_ratio : float, default=0.01
        Centroids with less than this fraction of the largest mass are moved to random rows.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in ``KMeans``.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data. See ``kmeans_xp.devices``.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
        Centroids. All arrays here are of X's library, on X's device.
    labels_ : array of int32, shape (n_samples,)
        Nearest centroid of each row; only with ``compute_labels``.
    inertia_ : float
        In squared units of X; without ``compute_labels`` a smoothed estimate.
    n_iter_ : int
        Number of passes over the rows.
    n_steps_ : int
        Number of batches.
    history_ : dict of str to ndarray
        For each step of ``fit``: "inertia", the mean over the batch before the step, and
        "shift", the sum of the squared distances that the centroids moved.
    device_reason_ : str
        Why the fit chose its device.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, if X has names and all are strings.

    See Also
    --------
    KMeans : Makes full passes: smaller inertia, but slower.

    References
    ----------
    .. [1] D. Sculley, "Web-scale k-means clustering", WWW 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import MiniBatchKMeans
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = MiniBatchKMeans(n_clusters=2, random_state=0)
    >>> for batch in (X[::2], X[1::2]):
    ...     kmeans = kmeans.partial_fit(batch)
    >>> kmeans.predict(np.array([[0.0, 1], [11, 3]]))
    array([0, 1], dtype=int32)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseKMeans._parameter_constraints,
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "compute_labels": ["boolean"],
        "max_no_improvement": [Interval(Integral, 0, None, closed="left"), None],
        "init_size": [Interval(Integral, 1, None, closed="left"), None],
        "reassignment_ratio": [Interval(Real, 0, None, closed="left")],
    }

    _state_schema: ClassVar[dict[str, Kind]] = {
        **BaseKMeans._state_schema,
        "_counts": Numbers("m", least=0.0),
        "_random_state": Source(),
        "_n_since_last_reassign": Whole(),
        "n_steps_": Whole(),
        "_init_size": Whole(1),
        "_batch_size": Whole(1),
    }
    _state_needed: ClassVar[frozenset[str]] = BaseKMeans._state_needed | {
        "_counts",
        "_n_since_last_reassign",
        "_random_state",
        "n_steps_",
    }

    n_steps_: int
    _counts: Array
    _n_init: int
    _init_size: int
    _batch_size: int

    @telling_other_names
    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "auto",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int | bool = 0,
        compute_labels: bool = True,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: int | str = "auto",
        reassignment_ratio: float = 0.01,
        metric: str = "euclidean",
        device: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.metric = metric
        self.device = device

    @all_or_nothing
    @watched
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Cluster X by random batches.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; of any array library.
        y : ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; rows are drawn in proportion to it. None for 1.

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
            self._resolve_sizes(data)
            progress = Progress(self, X, y, 1)
            random_state = as_random_state(self.random_state)
            values = progress.saved(data)
            if values is not None:
                random_state = restored_state(random_state, values.get("random_state"))
            standing = self._first_standing(values, init, data, random_state, progress)
            result = self._run(standing, data, random_state, progress)
            self._store(result, data, random_state)
            progress.end()
        return self

    @all_or_nothing
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Move the centroids by one batch, the first call after choosing them from it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The batch; of rows from ``open_rows``, or in chunks, each block is one.
        y : ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; None for 1.

        Returns
        -------
        self
            Updated; after an error as it was before.
        """
        self._validate_params()
        if isinstance(X, np.memmap):
            X = np.asarray(X)  # one batch, however large
        rows = elsewhere(X)
        if rows is None:
            self._fit_batch(X, sample_weight)
        else:
            self._fit_blocks(rows, sample_weight)
        return self

    def _fit_batch(self, X: Any, sample_weight: Any) -> None:
        if as_computed(self, "cluster_centers_") is None:
            self._begin(X, sample_weight)
        with self._new_points(X, sample_weight) as batch:
            self._continue(batch)

    def _fit_blocks(self, rows: Elsewhere, sample_weight: Any) -> None:
        """Do one step on each block."""
        is_first = as_computed(self, "cluster_centers_") is None
        checked_points(rows, estimator=self, reset=is_first, anywhere=True)
        # Blocks are arrays without names; the names were checked above.
        names = self.__dict__.pop("feature_names_in_", None)
        with closing(rows.batches(rows.checked_weights(sample_weight))) as batches:
            for points, weights in batches:
                self._fit_batch(points, weights)
        if names is not None:
            self.feature_names_in_ = names

    def _resolve_sizes(self, data: Prepared) -> None:
        n_points = data.blocks.n_points
        self._n_init = self._resolve_n_init(default=3)
        self._batch_size = min(self.batch_size, n_points)
        self._init_size = self._resolved_init_size(n_points)

    def _resolved_init_size(self, n_points: int) -> int:
        init_size = self.init_size
        if init_size is None:
            init_size = 3 * self._batch_size
            if init_size < self.n_clusters:
                init_size = 3 * self.n_clusters
        elif init_size < self.n_clusters:
            warnings.warn(
                f"init_size={init_size} should be larger than n_clusters={self.n_clusters}. "
                "Setting it to min(3*n_clusters, n_samples)",
                RuntimeWarning,
                stacklevel=5,
            )
            init_size = 3 * self.n_clusters
        return min(init_size, n_points)

    def _best_start(self, init: Any, data: Prepared, random_state: np.random.RandomState) -> Array:
        """Return the initial centroids that have the smallest inertia on randomly drawn rows."""
        n_runs = self._n_init
        valid = drawn_part(data, random_state, self._init_size)
        best, least = None, math.inf
        for number in range(1, n_runs + 1):
            part = part_to_seed(data, random_state, self._init_size, self.n_clusters)
            if self.verbose:  # formatting an array takes longer than a small fit
                self._say(f"Init {number}/{n_runs} with method {resolved_init(init, part)}")
            centroids = self._initial_centroids(init, part, data, random_state, self.n_clusters)
            if n_runs > 1 or self.verbose:
                labels = valid.map_rows(nearest_labels, centroids)
                inertia = inertia_of(valid, labels, centroids)
                self._say(f"Inertia for init {number}/{n_runs}: {inertia}")
            else:
                inertia = 0.0  # only one set, so there is no choice
            if best is None or inertia < least:
                best, least = centroids, inertia
        return best

    def _first_standing(
        self,
        values: Mapping[str, Any] | None,
        init: Any,
        data: Prepared,
        random_state: np.random.RandomState,
        progress: Progress,
    ) -> MiniBatchStanding:
        """Return the saved state of an earlier fit, or a new one with the best centroids."""
        if values is not None and values.get("standing") is not None:
            standing = mini_batch_standing(values["standing"], data.blocks)
            progress.resumed(f"step {len(standing.steps)}")
            return standing
        # Write before any work: if the file cannot be written, fail now.
        progress.offer(lambda: mini_batch_values(None, random_state))
        standing = minibatch_start(data.blocks, self._best_start(init, data, random_state))
        progress.offer(lambda: mini_batch_values(standing, random_state))
        return standing

    def _run(
        self,
        begin: MiniBatchStanding,
        data: Prepared,
        random_state: np.random.RandomState,
        progress: Progress,
    ) -> MiniBatchResult:
        n_steps = (self.max_iter * data.blocks.n_points) // self._batch_size
        fitted = partial(self._fitted, origin=data.origin, placement=data.placement)
        progress.begin_run(n_steps - len(begin.steps), partial(fitted, begin.state.centroids))

        def watch(standing: MiniBatchStanding) -> bool:
            step, centroids = standing.steps[-1], standing.state.centroids
            self._say_step(step, n_steps)
            progress.offer(lambda: mini_batch_values(standing, random_state), is_iteration=True)
            return progress.iteration(
                partial(fitted, centroids), partial(self._metadata, step, n_steps)
            )

        result = minibatch(
            data.blocks,
            begin,
            random_state,
            batch_size=self._batch_size,
            max_iter=self.max_iter,
            tol=self.tol * data.mean_variance,
            max_no_improvement=self.max_no_improvement,
            reassignment_ratio=self.reassignment_ratio,
            metric=self.metric,
            on_step=watch,
        )
        progress.end_run(partial(fitted, result.state.centroids))
        if result.reason != "max_iter":
            self._say(f"Converged ({result.reason}) at step {len(result.steps)}/{n_steps}")
        return result

    def _metadata(self, step: MiniBatchStep, n_steps: int) -> dict[str, Any]:
        """Return the numbers of a step that callbacks get; the inertia is the mean of a row."""
        return {
            "iteration": step.number,
            "max_iter": n_steps,
            "inertia": step.inertia if step.smoothed_inertia is None else step.smoothed_inertia,
            "shift": step.sq_shift,
            "n_rows": self._batch_size,
        }

    def _store(
        self, result: MiniBatchResult, data: Prepared, random_state: np.random.RandomState
    ) -> None:
        centroids, steps = result.state.centroids, result.steps
        self._store_centroids(centroids, data.origin, data.placement)
        self._counts = kept(result.state.mass, data.placement)
        self._random_state = random_state
        self._n_since_last_reassign = 0
        self.n_steps_ = len(steps)
        self.n_iter_ = math.ceil(len(steps) * self._batch_size / data.blocks.n_points)
        self.history_ = {
            "inertia": np.asarray([step.inertia for step in steps]),
            "shift": np.asarray([step.sq_shift for step in steps]),
        }
        if self.compute_labels:
            self._store_labels(data.blocks, centroids, data.placement)
        else:
            last = steps[-1]
            smoothed = last.inertia if last.smoothed_inertia is None else last.smoothed_inertia
            self.inertia_ = smoothed * data.mass

    def _begin(self, X: Any, sample_weight: Any) -> None:
        """Choose the origin and the initial centroids from the first batch."""
        with self._prepared(X, sample_weight) as (init, data):
            self._resolve_sizes(data)
            random_state = as_random_state(self.random_state)
            part = part_to_seed(data, random_state, self._init_size, self.n_clusters)
            centroids = self._initial_centroids(init, part, data, random_state, self.n_clusters)
            self._store_centroids(centroids, data.origin, data.placement)
            xp, device = data.placement.xp, data.placement.device
            zeros = from_host(np.zeros(self.n_clusters), xp=xp, device=device)
            self._counts = kept(zeros, data.placement)
        self._random_state = random_state
        self._n_since_last_reassign = 0
        self.n_steps_ = 0

    def _continue(self, batch: Fitted) -> None:
        """Do one step on a batch, relative to the first batch's mean."""
        blocks, placement = batch.blocks, batch.placement
        counts = bring(self._counts, placement)
        reassignment = Reassignment(
            self.n_clusters, self.reassignment_ratio, self._n_since_last_reassign
        )
        is_due = reassignment.is_due(to_host(counts), blocks.n_points)
        rows = blocks.whole
        assert rows is not None
        state, _, step = minibatch_step(
            rows,
            MiniBatchState(batch.centroids, counts),
            self._random_state,
            reassignment if is_due else None,
            metric=self.metric,
            xp=placement.xp,
        )
        self._say_reassigned(step)
        self._store_centroids(state.centroids, batch.origin, placement)
        self._counts = kept(state.mass, placement)
        self._n_since_last_reassign = reassignment.n_seen
        self.n_steps_ += 1
        if self.compute_labels:
            self._store_labels(blocks, state.centroids, placement)

    def _store_labels(self, blocks: Blocks, centroids: Array, placement: Placement) -> None:
        labels = blocks.map_rows(nearest_labels, centroids)
        self.inertia_ = inertia_of(blocks, labels, centroids)
        self._set_fitted(labels_=labels_when_read(labels, placement))

    def _say_step(self, step: MiniBatchStep, n_steps: int) -> None:
        self._say_reassigned(step)
        text = f"Minibatch step {step.number}/{n_steps}: mean batch inertia: {step.inertia}"
        if step.smoothed_inertia is not None:
            text += f", ewa inertia: {step.smoothed_inertia}"
        self._say(text)

    def _say_reassigned(self, step: MiniBatchStep) -> None:
        if step.n_reassigned:
            self._say(f"[MiniBatchKMeans] Reassigning {step.n_reassigned} cluster centers.")

    def _say(self, text: str) -> None:
        if self.verbose:
            print(text)  # noqa: T201 (verbose prints)

    # Attributes that scikit-learn's estimator has under the same name.
    _sklearn_attributes: ClassVar[frozenset[str]] = BaseKMeans._sklearn_attributes | {
        "_batch_size",
        "_counts",
        "_init_size",
        "_n_init",
        "_n_since_last_reassign",
        "_random_state",
        "n_steps_",
    }

    def to_sklearn(self, *, centred: bool = False) -> Any:
        """Return scikit-learn's estimator with the same parameters and the fitted state.

        Parameters
        ----------
        centred : bool, default=False
            Return a pipeline of two steps, as in ``KMeans``.

        Returns
        -------
        sklearn.cluster.MiniBatchKMeans, or ``sklearn.pipeline.Pipeline``
            With NumPy arrays; it predicts, and continues with ``partial_fit``, without kmeans_xp.
        """
        made = super().to_sklearn(centred=centred)
        _, theirs = exchange.origin_and_estimator(made)
        theirs._counts = theirs._counts.astype(theirs.cluster_centers_.dtype)
        return made

    @classmethod
    def _state_of_sklearn(cls, theirs: Any, origin: Any) -> dict[str, Any]:
        """Return the attributes that scikit-learn's estimator lacks or names differently."""
        # Scikit-learn's estimator has a random state only after partial_fit.
        source = getattr(theirs, "_random_state", theirs.random_state)
        return {
            **super()._state_of_sklearn(theirs, origin),
            "_counts": theirs._counts.astype(np.float64),
            "_random_state": deepcopy(as_random_state(source)),
        }

    @classmethod
    def _sklearn_class(cls) -> Any:
        return SklearnMiniBatchKMeans
