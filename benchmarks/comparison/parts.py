"""Parts of fits that are timed, and predict: what each library is called with.

Each job is a function from a problem and the peers to one ``Run`` for each library that can do
it, scikit-learn first.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from sklearn.cluster._k_means_lloyd import lloyd_iter_chunked_dense
from threadpoolctl import ThreadpoolController

from benchmarks.comparison.checks import inertia_of
from benchmarks.comparison.data import Problem
from benchmarks.comparison.fits import faiss_kmeans
from benchmarks.comparison.peers import BASELINE, OURS, Peers, estimators, takes_faiss
from benchmarks.comparison.timing import Run
from kmeans_xp.devices import to_host
from kmeans_xp.devices.availability import n_threads
from kmeans_xp.kernels import DenseRows, lloyd_step, update_centroids

__all__ = ["iteration", "mean_start_inertias", "predict", "seeding"]

_SEED = 0
#: seeds for the mean start inertia, and most row-by-centroid products for them
_N_SEEDS = 20
_MOST_PRODUCTS = 2e8


def iteration(problem: Problem, peers: Peers) -> list[Run]:
    """One Lloyd iteration; faiss's with its check of the points for NaN."""
    points, rows = problem.points, problem.rows
    runs = [_sklearn_iteration(problem), _our_iteration(points, rows)]
    if takes_faiss(problem.points, peers):
        call = partial(faiss_kmeans, peers.modules["faiss"], points, rows, 1)
        runs.append(Run("faiss", call, centroids=lambda fitted: fitted.centroids))
    return runs


def _sklearn_iteration(problem: Problem) -> Run:
    points, rows = problem.points, problem.rows
    new, weights = np.zeros_like(rows), np.ones(len(points), points.dtype)
    mass, shift = np.zeros(len(rows), points.dtype), np.zeros(len(rows), points.dtype)
    labels = np.zeros(len(points), np.int32)

    def call() -> Any:
        threads = n_threads()
        lloyd_iter_chunked_dense(points, weights, rows, new, mass, labels, shift, threads)
        return new

    # As its fit does around all iterations: its threads multiply with one BLAS thread each.
    blas = ThreadpoolController()

    def one_blas_thread() -> AbstractContextManager[Any]:
        limit: AbstractContextManager[Any] = blas.limit(limits=1, user_api="blas")
        return limit

    return Run(BASELINE, call, centroids=lambda result: result, around=one_blas_thread)


def _our_iteration(points: Any, rows: Any) -> Run:
    origin = points.mean(axis=0, dtype=np.float64).astype(points.dtype)
    placed, centroids = DenseRows(points, None, origin), rows - origin
    xp = array_namespace(points)

    def call() -> Any:
        return update_centroids(lloyd_step(placed, centroids, xp=xp), centroids, xp=xp)

    return Run(OURS, call, centroids=lambda update: update.centroids + origin)


def predict(problem: Problem, peers: Peers) -> list[Run]:
    """Assign all points to the centroids of a first iteration on some of them."""
    n_some = max(10 * problem.n_clusters, 1000)
    settings = {"init": problem.points[: problem.n_clusters], "n_init": 1, "max_iter": 1}
    runs: list[Run] = []
    fitted: Any = None
    for peer, module, points in estimators(problem.points, peers):
        estimator = module.KMeans(problem.n_clusters, **settings).fit(points[:n_some])
        fitted = fitted or estimator
        runs.append(Run(peer, partial(estimator.predict, points)))
    if takes_faiss(problem.points, peers):
        index = peers.modules["faiss"].IndexFlatL2(problem.points.shape[1])
        index.add(fitted.cluster_centers_)
        runs.append(Run("faiss", lambda: index.search(problem.points, 1)[1][:, 0]))
    return runs


class Start(NamedTuple):
    """A function that chooses initial centroids, by seed."""

    peer: str
    centroids: Callable[[int], Any]


def seeding(problem: Problem, peers: Peers) -> list[Run]:
    """k-means++: greedy in scikit-learn and kmeans_xp, one trial a step in faiss."""

    def found(centroids: Any) -> dict[str, float]:
        return {"inertia": inertia_of(problem.points, to_host(centroids))}

    return [
        Run(start.peer, partial(start.centroids, _SEED), found) for start in _starts(problem, peers)
    ]


def mean_start_inertias(problem: Problem, peers: Peers) -> dict[str, float]:
    """Return the mean inertia of 20 starts of each library, for problems small enough."""
    size = problem.case.size
    if size.n_points * size.n_features * size.n_clusters > _MOST_PRODUCTS:
        return {}
    # Of kmeans_xp once: a seed chooses the same rows on every array library.
    some = Peers({name: module for name, module in peers.modules.items() if name == "faiss"}, {})
    means = {}
    for start in _starts(problem, some):
        each = [inertia_of(problem.points, start.centroids(seed)) for seed in range(_N_SEEDS)]
        means[start.peer] = float(np.mean(each))
    return means


def _starts(problem: Problem, peers: Peers) -> list[Start]:
    points, n_clusters = problem.points, problem.n_clusters

    def of_module(module: Any, points: Any, seed: int) -> Any:
        return module.kmeans_plusplus(points, n_clusters, random_state=seed)[0]

    starts = [
        Start(peer, partial(of_module, module, points))
        for peer, module, points in estimators(problem.points, peers)
        if peer != "sklearnex"
    ]
    faiss = peers.modules.get("faiss")
    if takes_faiss(problem.points, peers) and hasattr(faiss, "ClusteringInitialization"):
        starts.append(Start("faiss", partial(_faiss_start, faiss, points, n_clusters)))
    return starts


def _faiss_start(faiss: Any, points: Any, n_clusters: int, seed: int) -> Any:
    initialization = faiss.ClusteringInitialization(points.shape[1], n_clusters)
    initialization.method = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
    initialization.seed = seed
    centroids = np.empty((n_clusters, points.shape[1]), dtype=np.float32)
    swig_ptr = faiss.swig_ptr
    initialization.init_centroids(len(points), swig_ptr(points), swig_ptr(centroids))
    return centroids
