"""Bisecting K-Means, with scikit-learn's interface."""

from collections.abc import Callable, Iterator
from functools import partial
from numbers import Integral
from typing import Any, ClassVar, Self, cast

import numpy as np
from sklearn.cluster import BisectingKMeans as SklearnBisectingKMeans
from sklearn.utils._param_validation import Interval, StrOptions

from kmeans_xp.algorithms import (
    ALGORITHMS,
    LEAF,
    Bisected,
    Bisection,
    bisecting,
    leaf_centroids,
    tree_labels,
)
from kmeans_xp.algorithms.bisecting import Children, Strategy
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, Placement, bring, from_host, kept, send, to_host
from kmeans_xp.estimators import exchange
from kmeans_xp.estimators.base import SEEDINGS, BaseKMeans, Fitted, all_or_nothing
from kmeans_xp.estimators.callback_support import watched
from kmeans_xp.estimators.fitted_arrays import labels_when_read, sent_when_read
from kmeans_xp.estimators.fitted_state import Kind, Numbers, Tree
from kmeans_xp.estimators.other_names import telling_other_names
from kmeans_xp.estimators.preparation import Prepared
from kmeans_xp.estimators.progress import Progress
from kmeans_xp.estimators.standing import bisection, bisection_values, restored_state
from kmeans_xp.estimators.validation import as_random_state

__all__ = ["BisectingKMeans"]


class BisectingKMeans(BaseKMeans):
    """K-Means clustering by splitting clusters in two, for arrays of any library and device.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    init : {"random", "k-means++", "k-means||", "auto"} or callable, default="random"
        Initial centroids of each split, as in ``KMeans``. A callable gets the rows of the
        cluster, 2 and ``random_state=``, and returns two centroids.
    n_init : int, default=1
        Number of runs from different initial centroids for each split; the run with the
        smallest inertia is kept.
    random_state : int, RandomState, Generator or None, default=None
        The same int chooses the same initial rows on every array library.
    max_iter : int, default=300
        Maximum number of iterations of a run.
    verbose : int, default=0
        Print each split.
    tol : float, default=1e-4
        A run ends when the sum of the two squared centroid shifts is at most this times the mean
        variance of the features, over all rows.
    copy_x : bool, default=True
        Ignored, for scikit-learn's interface: X is never changed.
    algorithm : {"auto", "lloyd", "hamerly", "elkan"}, default="auto"
        Algorithm of each split, as in ``KMeans``: all give bit-identical results.
    bisecting_strategy : {"biggest_inertia", "largest_cluster"}, default="biggest_inertia"
        Which cluster to split next: the one with the largest inertia, or the one with the most
        rows. Weights do not change the number of rows.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in ``KMeans``.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data. See ``kmeans_xp.devices``.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
        Centroids. All arrays here are of X's library, on X's device.
    labels_ : array of int32, shape (n_samples,)
        Cluster of each row. The centroid of another cluster may be nearer to the row.
    inertia_ : float
        Weighted sum of the squared distances of the rows to the centroids of their clusters, in
        squared units of X.
    device_reason_ : str
        Why the fit chose its device.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, if X has names and all are strings.

    See Also
    --------
    KMeans : Fits all clusters at once: smaller inertia, but slower for many clusters.

    Notes
    -----
    ``predict`` walks down the fitted tree of splits, and takes the nearer of two centroids at
    each. So ``predict(X)`` equals ``labels_``. ``score`` uses the nearest of all centroids, and
    ``transform`` returns the distances to all.

    If rows are in memory, each split except the first copies the rows of its cluster. While the
    copy is made and centred it exists twice, and takes 8 more bytes for each row. ``predict``
    copies tiles of at most 32 MiB. If rows are read by blocks, nothing is copied: the fit keeps
    4 bytes for each row, and each iteration of a split is a pass over all rows.

    A cluster of equal rows cannot be split. If only such clusters are left before there are
    ``n_clusters``, the missing clusters are empty, and a warning says so.

    References
    ----------
    .. [1] M. Steinbach, G. Karypis and V. Kumar, "A comparison of document clustering
       techniques", KDD Workshop on Text Mining (2000).

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import BisectingKMeans
    >>> X = np.array([[1.0, 1], [10, 1], [3, 1], [10, 0], [2, 1], [10, 2], [10, 8], [10, 9]])
    >>> kmeans = BisectingKMeans(n_clusters=3, random_state=0).fit(X)
    >>> kmeans.labels_
    array([0, 2, 0, 2, 0, 2, 1, 1], dtype=int32)
    >>> kmeans.predict(np.array([[0.0, 0], [12, 3]]))
    array([0, 2], dtype=int32)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseKMeans._parameter_constraints,
        "init": [StrOptions({"auto", *SEEDINGS}), callable],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "copy_x": ["boolean"],
        "algorithm": [StrOptions(set(ALGORITHMS))],
        "bisecting_strategy": [StrOptions({"biggest_inertia", "largest_cluster"})],
    }

    _state_schema: ClassVar[dict[str, Kind]] = {
        **BaseKMeans._state_schema,
        "_node_centroids": Numbers("td"),
        "_children": Tree("t", "m"),
    }
    _state_needed: ClassVar[frozenset[str]] = BaseKMeans._state_needed | {
        "_children",
        "_node_centroids",
    }

    _children: Array
    _node_centroids: Array

    @telling_other_names
    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "random",
        n_init: int = 1,
        random_state: Any = None,
        max_iter: int = 300,
        verbose: int | bool = 0,
        tol: float = 1e-4,
        copy_x: bool = True,
        algorithm: str = "auto",
        bisecting_strategy: str = "biggest_inertia",
        metric: str = "euclidean",
        device: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.random_state = random_state
        self.max_iter = max_iter
        self.verbose = verbose
        self.tol = tol
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.bisecting_strategy = bisecting_strategy
        self.metric = metric
        self.device = device

    @all_or_nothing
    @watched
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Cluster X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; of any array library, sparse, or from ``open_rows``.
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
            If a parameter or the data cannot be used; the message says which and why. Also if
            fewer than ``n_clusters`` rows have weight.
        DeviceUnavailableError
            If ``device`` cannot be used here.
        """
        self._validate_params()
        with self._prepared(X, sample_weight) as (_, data):
            progress = Progress(self, X, y, 1)
            result = self._bisected(data, progress)
            self._store(result, data)
            self._warn_of_empty_clusters(result)
        progress.end()
        return self

    def _bisected(self, data: Prepared, progress: Progress) -> Bisected:
        fitted = partial(self._fitted_tree, origin=data.origin, placement=data.placement)
        root = data.blocks.xp.zeros_like(data.origin)[None, :]
        before = Bisection(root, (LEAF,), data.total_sq, 0.0, 0)
        before, random_state = self._first_standing(before, data, progress)
        n_left = self.n_clusters - 1 - _n_splits(before.children)
        progress.begin_run(n_left, partial(fitted, before.centroids, before.children))

        def watch(split: Bisection) -> bool:
            if self.verbose:
                self._print(split)
            progress.offer(partial(bisection_values, split, random_state), is_iteration=True)
            return progress.iteration(
                partial(fitted, split.centroids, split.children),
                partial(self._metadata, split, data),
            )

        result = bisecting(
            data.blocks,
            self.n_clusters,
            self._starts_in(data, random_state),
            strategy=cast(Strategy, self.bisecting_strategy),
            max_iter=self.max_iter,
            tol=self.tol * data.mean_variance,
            algorithm=self.algorithm,
            metric=self.metric,
            before=before,
            on_split=watch if self.verbose or progress.is_on else None,
        )
        progress.end_run(partial(fitted, result.centroids, result.children))
        return result

    def _first_standing(
        self, root: Bisection, data: Prepared, progress: Progress
    ) -> tuple[Bisection, np.random.RandomState]:
        """Return the tree to continue, and the random state for its next splits."""
        random_state, values = as_random_state(self.random_state), progress.saved(data)
        if values is None:
            # Write before any work: if the file cannot be written, fail now.
            progress.offer(partial(bisection_values, root, random_state))
            return root, random_state
        before = bisection(values, self.n_clusters, data.blocks)
        progress.resumed(f"split {_n_splits(before.children)}")
        return before, restored_state(random_state, values["random_state"])

    def _starts_in(
        self, data: Prepared, random_state: np.random.RandomState
    ) -> Callable[[Blocks], Iterator[Array]]:
        def starts(part: Blocks) -> Iterator[Array]:
            return self._starts_of_runs(self.init, part, data, random_state, 2, int(self.n_init))

        return starts

    def _metadata(self, split: Bisection, data: Prepared) -> dict[str, Any]:
        """Return the numbers of a split that callbacks get."""
        return {
            "iteration": _n_splits(split.children),
            "max_iter": self.n_clusters - 1,
            "inertia": split.inertia,
            "shift": split.sq_shift,
            "n_rows": data.blocks.n_points,
        }

    def _print(self, split: Bisection) -> None:
        print(  # noqa: T201 (verbose prints)
            f"Split {_n_splits(split.children)}/{self.n_clusters - 1}, of node {split.node}: "
            f"inertia {split.inertia}."
        )

    def _fitted_tree(
        self,
        centroids: Array,
        children: Children,
        *,
        origin: Array,
        placement: Placement,
        sent: Callable[[Array, Placement], Any] = send,
    ) -> dict[str, Any]:
        """Return the attributes that an estimator needs to walk this tree."""
        xp = placement.xp
        leaves = leaf_centroids(centroids, children, xp=xp)
        pairs = from_host(np.asarray(children, dtype=np.int32), xp=xp, device=placement.device)
        return {
            **self._fitted(leaves, origin, placement, sent),
            "_n_features_out": _n_splits(children) + 1,
            "_node_centroids": kept(centroids, placement),
            "_children": kept(pairs, placement),
        }

    def _store(self, result: Bisected, data: Prepared) -> None:
        tree = self._fitted_tree(
            result.centroids,
            result.children,
            origin=data.origin,
            placement=data.placement,
            sent=sent_when_read,
        )
        labels = labels_when_read(result.labels, data.placement)
        self._set_fitted(**tree, labels_=labels, device_reason_=data.placement.reason)
        self.inertia_ = result.inertia

    def _warn_of_empty_clusters(self, result: Bisected) -> None:
        if result.n_empty:
            self._warn_of_distinct(_n_splits(result.children) + 1 - result.n_empty)

    def _labelling(self, fitted: Fitted) -> tuple[Any, ...]:
        """Return the function that labels rows, and its operands."""
        if not hasattr(self, "_children"):  # the user set cluster_centers_ without a fit
            return super()._labelling(fitted)
        xp = fitted.placement.xp
        centroids = bring(self._node_centroids, fitted.placement)
        centroids = xp.astype(centroids, fitted.blocks.dtype, copy=False)
        left_and_right = to_host(self._children).tolist()
        return tree_labels, centroids, tuple((left, right) for left, right in left_and_right)

    def to_sklearn(self, *, centred: bool = False) -> Any:
        """Return scikit-learn's estimator with the same parameters and the fitted state.

        Parameters
        ----------
        centred : bool, default=False
            Return a pipeline of two steps, as in ``KMeans``.

        Returns
        -------
        sklearn.cluster.BisectingKMeans, or ``sklearn.pipeline.Pipeline``
            With NumPy arrays; it predicts without kmeans_xp.
        """
        made = super().to_sklearn(centred=centred)
        _, theirs = exchange.origin_and_estimator(made)
        origin = to_host(self._origin)
        theirs._X_mean = np.zeros_like(origin) if centred else origin.copy()
        theirs._bisecting_tree = self._sklearn_tree()
        return made

    @classmethod
    def _state_of_sklearn(cls, theirs: Any, origin: Any) -> dict[str, Any]:
        """Return the attributes that scikit-learn's estimator lacks or names differently."""
        state = super()._state_of_sklearn(theirs, origin)
        nodes, children = [theirs._bisecting_tree], []
        for node in nodes:  # the list grows: children come after their parents
            if node.left is None:
                children.append(LEAF)
            else:
                children.append((len(nodes), len(nodes) + 1))
                nodes += [node.left, node.right]
        # The root of rows in a SciPy matrix is a matrix of one row.
        centroids = np.stack([np.asarray(node.center).ravel() for node in nodes])
        if origin is None:
            # Nodes are relative to the mean of dense rows, and to zero of sparse ones.
            origin = getattr(theirs, "_X_mean", np.zeros_like(state["_origin"]))
            state["_origin"] = origin.copy()
            state["_centroids"] = theirs.cluster_centers_ - origin
        return {
            **state,
            "_node_centroids": centroids,
            "_children": np.asarray(children, dtype=np.int32),
        }

    def _sklearn_tree(self) -> Any:
        from sklearn.cluster._bisect_k_means import _BisectingTree

        centroids, children = to_host(self._node_centroids), to_host(self._children).tolist()
        nodes = [_BisectingTree(center.copy(), None, 0.0) for center in centroids]
        for node, (left, right) in zip(nodes, children, strict=True):
            if left >= 0:
                node.left, node.right = nodes[left], nodes[right]
        for label, leaf in enumerate(nodes[0].iter_leaves()):
            leaf.label = label
        return nodes[0]

    @classmethod
    def _sklearn_class(cls) -> Any:
        return SklearnBisectingKMeans


def _n_splits(children: Children) -> int:
    return len(children) // 2
