"""Whole jobs by the public functions: fit, predict, k-means++ and mini-batches.

Run by ``pytest benchmarks/test_jobs.py --benchmark-enable``, which
``--benchmark-group-by=param:job,param:size`` sorts; without ``--benchmark-enable`` each case runs
once, so that it cannot rot. Against other libraries: ``python benchmarks/compare.py``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from kmeans_xp import KMeans, MiniBatchKMeans, kmeans_plusplus

#: points, features, clusters
SIZES = [(500, 4, 5), (20_000, 16, 8), (4000, 64, 128)]

N_ITERATIONS = 10


def fit(points: Any, n_clusters: int) -> Callable[[], Any]:
    """Return a fit from k-means++; its centroids are what is checked, here and below."""
    estimator = KMeans(n_clusters, max_iter=N_ITERATIONS, random_state=0)
    return lambda: estimator.fit(points).cluster_centers_


def predict(points: Any, n_clusters: int) -> Callable[[], Any]:
    """Return an assignment of all points."""
    init = points[:n_clusters, :]
    return partial(KMeans(n_clusters, init=init, max_iter=1).fit(points).predict, points)


def seeding(points: Any, n_clusters: int) -> Callable[[], Any]:
    """Return a k-means++."""
    return lambda: kmeans_plusplus(points, n_clusters, random_state=0)[0]


def minibatch(points: Any, n_clusters: int) -> Callable[[], Any]:
    """Return a pass in batches."""
    estimator = MiniBatchKMeans(
        n_clusters, max_iter=1, max_no_improvement=None, tol=0.0, random_state=0
    )
    return lambda: estimator.fit(points).cluster_centers_


JOBS = {"fit": fit, "predict": predict, "seeding": seeding, "minibatch": minibatch}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("job", sorted(JOBS))
@pytest.mark.needs("float64")
def test_job(
    job: str, size: tuple[int, int, int], library: Any, benchmark: Callable[..., Any]
) -> None:
    """Time one job."""
    n_points, n_features, n_clusters = size
    host = np.random.default_rng(0).random((n_points, n_features), dtype=np.float32)
    result = library.to_host(benchmark(JOBS[job](library.asarray(host), n_clusters)))
    if job == "predict":
        assert result.shape == (n_points,)
        assert result.max() < n_clusters
    else:
        assert result.shape == (n_clusters, n_features)
        assert np.isfinite(result).all()
