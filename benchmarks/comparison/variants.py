"""What grows from k-means: trees, cosine distances, and many problems in a call.

Each job is a function from a problem and the peers to one ``Run`` for each way, scikit-learn first.
"""

from functools import partial
from typing import Any

import numpy as np
import sklearn.cluster
from sklearn.preprocessing import normalize

import kmeans_xp
from benchmarks.comparison.data import N_PROBLEMS, Problem
from benchmarks.comparison.peers import BASELINE, OURS, Peers
from benchmarks.comparison.timing import Run

__all__ = ["batched", "bisecting", "cosine"]

_SEED = 0
#: the same for both distances: to converge, each would need another number
_COSINE_ITERATIONS = 20


def bisecting(problem: Problem, _peers: Peers) -> list[Run]:
    """Trees of both, which are equal: centroids of leaves agree."""
    settings = {"n_clusters": problem.n_clusters, "random_state": _SEED}
    # scikit-learn does not multiply `tol` by the variance here, as its KMeans and ours do.
    tol = 1e-4 * float(np.mean(np.var(problem.points, axis=0)))
    theirs = partial(sklearn.cluster.BisectingKMeans, tol=tol, **settings)
    ways = ((BASELINE, theirs), (OURS, partial(kmeans_xp.BisectingKMeans, **settings)))
    return [_fit(name, way, problem.points) for name, way in ways]


def cosine(problem: Problem, _peers: Peers) -> list[Run]:
    """Fits by cosine distances; scikit-learn's is of rows that it first normalizes."""
    settings = {"n_init": 1, "max_iter": _COSINE_ITERATIONS, "tol": 0.0}
    settings["n_clusters"] = problem.n_clusters
    theirs = partial(sklearn.cluster.KMeans, init=normalize(problem.rows), **settings)
    ours = partial(kmeans_xp.KMeans, init=problem.rows, **settings)
    return [
        Run(BASELINE, lambda: theirs().fit(normalize(problem.points)), found=_iterations),
        _fit(OURS, partial(ours, metric="cosine"), problem.points),
        _fit(f"{OURS} euclidean", ours, problem.points),
    ]


def batched(problem: Problem, _peers: Peers) -> list[Run]:
    """Many problems: by a loop of each library's ``k_means``, and in one call."""
    stack = problem.points.reshape(N_PROBLEMS, -1, problem.points.shape[1])
    settings = {"n_clusters": problem.n_clusters, "random_state": _SEED}

    def loop(k_means: Any) -> Any:
        return [k_means(points, **settings)[2] for points in stack]

    def total(inertias: Any) -> dict[str, float]:
        return {"inertia": float(np.sum(inertias))}

    return [
        Run(BASELINE, lambda: loop(sklearn.cluster.k_means), found=total),
        Run(OURS, lambda: kmeans_xp.k_means_batched(stack, **settings).inertia, found=total),
        Run(f"{OURS} in a loop", lambda: loop(kmeans_xp.k_means), found=total),
    ]


def _fit(name: str, estimator: Any, points: Any) -> Run:
    return Run(name, lambda: estimator().fit(points), found=_of_fit)


def _iterations(fitted: Any) -> dict[str, float]:
    return {"n_iter": float(fitted.n_iter_)}


def _of_fit(fitted: Any) -> dict[str, float]:
    found = {"inertia": float(fitted.inertia_)}
    return found | (_iterations(fitted) if hasattr(fitted, "n_iter_") else {})
