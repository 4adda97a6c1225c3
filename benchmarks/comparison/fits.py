"""Fits that are timed: what each library is called with.

Each job is a function from a problem and the peers to one ``Run`` for each library that can do
it, scikit-learn first.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import sklearn.cluster

import kmeans_xp
from benchmarks.comparison.checks import inertia_of
from benchmarks.comparison.data import Problem
from benchmarks.comparison.peers import BASELINE, OURS, Peers, estimators, takes_faiss
from benchmarks.comparison.timing import Run
from kmeans_xp.devices import to_host

__all__ = [
    "algorithms",
    "converge",
    "faiss_kmeans",
    "fit",
    "minibatch",
    "restarts",
    "same_work",
]

_SEED = 0
#: iterations at most of tiny fits that do the same work
_SAME_WORK = 20
#: rows that mini-batches read, at least: several passes of small data
_MINIBATCH_ROWS = 100_000


class _Iterations:
    """How many iterations scikit-learn took, for a library that needs to know the number."""

    number = 1

    def counted(self, fit: Callable[[], Any]) -> Any:
        fitted = fit()
        self.number = fitted.n_iter_
        return fitted


def _of_fit(fitted: Any) -> dict[str, float]:
    return {"inertia": float(fitted.inertia_), "n_iter": int(fitted.n_iter_)}


def _of_faiss(problem: Problem, fitted: Any) -> dict[str, float]:
    # Its own objective is that of the centroids before the last update.
    inertia = inertia_of(problem.points, fitted.centroids)
    return {"inertia": inertia, "n_iter": len(fitted.obj)}


def _centres(fitted: Any) -> Any:
    return to_host(fitted.cluster_centers_)


def faiss_kmeans(faiss: Any, points: Any, rows: Any, n_iter: int) -> Any:
    """Return faiss's Kmeans trained on all points, from ``rows``."""
    fitted = faiss.Kmeans(points.shape[1], len(rows), niter=n_iter, **_all_work(faiss))
    fitted.train(points, init_centroids=rows)
    return fitted


def _faiss_kmeans_plusplus(faiss: Any, points: Any, n_clusters: int, n_iter: int) -> Any:
    """Return faiss's Kmeans trained from its own k-means++."""
    settings = {"init_method": faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS, "seed": _SEED}
    settings |= _all_work(faiss)
    fitted = faiss.Kmeans(points.shape[1], n_clusters, niter=n_iter, **settings)
    fitted.train(points)
    return fitted


def _all_work(faiss: Any) -> dict[str, Any]:
    """Return what keeps faiss from taking a sample of the points, and from ending early."""
    settings: dict[str, Any] = {"min_points_per_centroid": 1, "max_points_per_centroid": 10**9}
    if hasattr(faiss.ClusteringParameters(), "early_stop_threshold"):
        # Its sum of distances is float32: with the default, 0, a worse sum by rounding ends it.
        settings["early_stop_threshold"] = -1.0
    return settings


def fit(problem: Problem, peers: Peers) -> list[Run]:
    """A default fit with a seed; faiss does k-means++ and then scikit-learn's iterations."""
    iterations = _Iterations()
    settings = {"random_state": _SEED, "max_iter": problem.case.max_iter}
    runs = []
    for peer, module, points in estimators(problem.points, peers):
        estimator = partial(module.KMeans, problem.n_clusters, **settings)
        runs.append(_fitting(peer, estimator, points))
    runs[0] = runs[0]._replace(call=partial(iterations.counted, runs[0].call))
    if takes_faiss(problem.points, peers):
        faiss = peers.modules["faiss"]

        def by_faiss() -> Any:
            n_iter = iterations.number
            return _faiss_kmeans_plusplus(faiss, problem.points, problem.n_clusters, n_iter)

        runs.append(Run("faiss", by_faiss, found=partial(_of_faiss, problem)))
    return runs


def _fitting(peer: str, estimator: Callable[[], Any], points: Any) -> Run:
    return Run(peer, lambda: estimator().fit(points), found=_of_fit)


def same_work(
    problem: Problem, peers: Peers, n_iter: int | None = None, *, with_faiss: bool = False
) -> list[Run]:
    """Fits from the same rows by the same number of iterations: results must agree.

    Parameters
    ----------
    problem : Problem
    peers : Peers
    n_iter : int, optional
        Default: as many as kmeans_xp needs until nothing moves, at most 20.
    with_faiss : bool
        Take faiss whatever the dtype; it computes in float32.
    """
    settings: dict[str, Any] = {"init": problem.rows, "n_init": 1, "tol": 0.0}
    if n_iter is None:
        alone = kmeans_xp.KMeans(problem.n_clusters, max_iter=_SAME_WORK, **settings)
        n_iter = alone.fit(problem.points).n_iter_
    runs = []
    for peer, module, points in estimators(problem.points, peers):
        estimator = partial(module.KMeans, problem.n_clusters, max_iter=n_iter, **settings)
        runs.append(_fitting(peer, estimator, points)._replace(centroids=_centres))
    if takes_faiss(problem.points, peers) or (with_faiss and "faiss" in peers.modules):
        points = problem.points.astype(np.float32, copy=False)
        rows = problem.rows.astype(np.float32, copy=False)
        call = partial(faiss_kmeans, peers.modules["faiss"], points, rows, n_iter)
        found = partial(_of_faiss, problem)
        runs.append(Run("faiss", call, found, centroids=lambda fitted: fitted.centroids))
    return runs


def restarts(problem: Problem, peers: Peers) -> list[Run]:
    """Default fits with ten restarts."""
    runs = []
    for peer, module, points in estimators(problem.points, peers):
        estimator = partial(module.KMeans, problem.n_clusters, n_init=10, random_state=_SEED)
        runs.append(_fitting(peer, estimator, points))
    return runs


def algorithms() -> list[str]:
    """Return what kmeans_xp.KMeans accepts as ``algorithm``."""
    constraints = kmeans_xp.KMeans._parameter_constraints["algorithm"]
    accepted = {name for each in constraints for name in getattr(each, "options", ())}
    return sorted(accepted, key=lambda name: (name != "lloyd", name))


def converge(problem: Problem, peers: Peers) -> list[Run]:
    """Fits from the same k-means++ rows until no label changes, with each algorithm."""
    points, n_clusters = problem.points, problem.n_clusters
    rows, _ = sklearn.cluster.kmeans_plusplus(points, n_clusters, random_state=_SEED)
    settings: dict[str, Any] = {"init": rows, "n_init": 1, "tol": 0.0}
    settings |= {"max_iter": problem.case.max_iter}
    of_all = [
        (BASELINE, sklearn.cluster.KMeans, "lloyd"),
        (f"{BASELINE} elkan", sklearn.cluster.KMeans, "elkan"),
        *((f"{OURS} {name}", kmeans_xp.KMeans, name) for name in algorithms()),
    ]
    runs = []
    for peer, estimator, algorithm in of_all:
        fresh = partial(estimator, n_clusters, algorithm=algorithm, **settings)
        runs.append(_fitting(peer, fresh, points))
    if "sklearnex" in peers.modules:
        fresh = partial(peers.modules["sklearnex"].KMeans, n_clusters, **settings)
        runs.append(_fitting("sklearnex", fresh, points))
    iterations = _Iterations()
    runs[0] = runs[0]._replace(call=partial(iterations.counted, runs[0].call))
    if takes_faiss(points, peers):
        faiss = peers.modules["faiss"]

        def by_faiss() -> Any:
            return faiss_kmeans(faiss, points, rows, iterations.number)

        runs.append(Run("faiss", by_faiss, found=partial(_of_faiss, problem)))
    return runs


def minibatch(problem: Problem, peers: Peers) -> list[Run]:
    """MiniBatchKMeans for a number of passes, with nothing that could end it earlier."""
    n_passes = min(max(1, _MINIBATCH_ROWS // len(problem.points)), problem.case.max_iter)
    settings: dict[str, Any] = {"random_state": _SEED, "n_init": 1, "max_iter": n_passes}
    settings |= {"max_no_improvement": None, "tol": 0.0}
    runs = []
    for peer, module, points in estimators(problem.points, peers):
        if peer != "sklearnex":
            estimator = partial(module.MiniBatchKMeans, problem.n_clusters, **settings)
            runs.append(_fitting(peer, estimator, points))
    return runs
