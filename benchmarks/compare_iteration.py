"""Time one Lloyd iteration, k-means++ and predict against scikit-learn, interleaved.

Run on an idle machine, without OPENBLAS_CORETYPE in the environment::

    python benchmarks/compare_iteration.py --jobs iteration seeding predict

Each line: size, scikit-learn's median, ours, and the median of the ratios of neighbouring runs.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import array_api_compat.numpy as xp
import numpy as np
import sklearn.cluster
from sklearn.cluster._k_means_lloyd import lloyd_iter_chunked_dense
from threadpoolctl import threadpool_limits

from kmeans_xp.algorithms import kmeans_plusplus
from kmeans_xp.blocks import InMemory
from kmeans_xp.devices.availability import n_threads
from kmeans_xp.kernels import Rows, lloyd_step, nearest_labels, update_centroids

SIZES = [
    (500, 4, 5),
    (100_000, 16, 8),
    (1_000_000, 2, 10),
    (1_000_000, 16, 100),
    (200_000, 128, 256),
    (500_000, 3, 64),
    (100_000, 768, 1000),
]

Pair = tuple[Callable[[], object], Callable[[], object]]


def iteration(points: np.ndarray, n_clusters: int) -> Pair:
    """Return one Lloyd iteration of scikit-learn and one of ours."""
    n_points = len(points)
    centroids = points[:n_clusters].copy()
    new, weights = np.zeros_like(centroids), np.ones(n_points, points.dtype)
    mass, shift = np.zeros(n_clusters, points.dtype), np.zeros(n_clusters, points.dtype)
    labels = np.zeros(n_points, np.int32)
    origin = points.mean(axis=0)
    rows, ours = Rows(points, None, origin), centroids - origin

    def theirs_once() -> None:
        lloyd_iter_chunked_dense(points, weights, centroids, new, mass, labels, shift, n_threads())

    def ours_once() -> None:
        update_centroids(lloyd_step(rows, ours, xp=xp), ours, xp=xp)

    return theirs_once, ours_once


def seeding(points: np.ndarray, n_clusters: int) -> Pair:
    """Return both greedy k-means++."""
    blocks = InMemory(Rows(points, None, points.mean(axis=0)), xp=xp)

    def ours_once() -> None:
        kmeans_plusplus(blocks, n_clusters, np.random.RandomState(0))

    return lambda: sklearn.cluster.kmeans_plusplus(points, n_clusters, random_state=0), ours_once


def predict(points: np.ndarray, n_clusters: int) -> Pair:
    """Return both assignments; scikit-learn's checks its input first."""
    theirs = sklearn.cluster.KMeans(n_clusters, init=points[:n_clusters], n_init=1, max_iter=1)
    theirs.fit(points[: max(n_clusters, 1000)])
    origin = points.mean(axis=0)
    rows = Rows(points, None, origin)
    ours = theirs.cluster_centers_ - origin
    return lambda: theirs.predict(points), lambda: nearest_labels(rows, ours, xp=xp)


JOBS = {"iteration": iteration, "seeding": seeding, "predict": predict}


def compare(job: str, size: tuple[int, int, int], dtype: str, repeats: int) -> str:
    """Return a line with both medians and the median ratio."""
    n_points, n_features, n_clusters = size
    rng = np.random.default_rng(0)
    points = rng.random((n_points, n_features), dtype=np.float32).astype(dtype, copy=False)
    # As scikit-learn does around its iterations: its threads multiply with one BLAS thread each.
    with threadpool_limits(1 if job == "iteration" else None, user_api="blas"):
        theirs, ours = _interleaved(JOBS[job](points, n_clusters), repeats)
    ratio = statistics.median(b / a for a, b in zip(theirs, ours, strict=True))
    name = f"{job} {n_points} x {n_features} k={n_clusters} {dtype}"
    medians = f"{statistics.median(theirs) * 1e3:10.3f} {statistics.median(ours) * 1e3:10.3f} ms"
    return f"{name:44s} {medians}  ratio {ratio:.2f}"


def _interleaved(pair: Pair, repeats: int) -> tuple[list[float], list[float]]:
    for function in pair:
        function()
    began = time.perf_counter()
    for function in pair:
        function()
    inner = max(1, int(0.02 / (time.perf_counter() - began)))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, taken in zip(pair, times, strict=True):
            began = time.perf_counter()
            for _ in range(inner):
                function()
            taken.append((time.perf_counter() - began) / inner)
    return times


def main() -> None:
    """Parse the command line and print a line for each job and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", nargs="*", choices=JOBS, default=["iteration"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--sizes", type=int, nargs="*", default=range(len(SIZES)))
    arguments = parser.parse_args()
    for job in arguments.jobs:
        for index in arguments.sizes:
            n_repeats = min(3, arguments.repeats) if index == 6 else arguments.repeats
            print(compare(job, SIZES[index], arguments.dtype, n_repeats), flush=True)


if __name__ == "__main__":
    main()
