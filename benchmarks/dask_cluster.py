"""What a fit on a Dask cluster takes: scheduler, network, and dask-ml beside it.

``python -m benchmarks.dask_cluster overhead`` times an iteration of a small array in 10 to 10,000
chunks. ``... network`` counts the bytes that workers send each other in an iteration. ``... peers``
times an iteration beside dask-ml's from the same centroids, ``... defaults`` whole fits, and both
compute the true inertia. Workers are processes of this machine, with a thread each.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from kmeans_xp import KMeans, inertia
from kmeans_xp.algorithms import lloyd
from kmeans_xp.blocks import elsewhere
from kmeans_xp.estimators.preparation import prepared

#: rows, columns, clusters, chunks
PEER_CASES = (
    (20_000, 8, 8, 4),
    (200_000, 8, 8, 8),
    (200_000, 32, 64, 8),
    (1_000_000, 16, 100, 16),
    (200_000, 128, 256, 8),
)


@contextmanager
def cluster(n_workers: int) -> Iterator[Client]:
    """Yield the client of ``n_workers`` workers of this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            LocalCluster(
                n_workers, threads_per_worker=1, dashboard_address=None, silence_logs=50
            ) as made,
            Client(made) as client,
        ):
            yield client


def blobs(n_points: int, n_features: int, n_clusters: int) -> np.ndarray[Any, Any]:
    """Return float32 rows of clusters that overlap."""
    rng = np.random.default_rng(0)
    centres = rng.normal(scale=3.0, size=(n_clusters, n_features))
    points = centres[rng.integers(0, n_clusters, n_points)]
    return (points + rng.normal(size=points.shape)).astype(np.float32)


def an_iteration(fit: Callable[[int], Any], n_more: int = 10, n_times: int = 3) -> float:
    """Return the median seconds of one iteration, from the time that ``n_more`` of them take."""
    fit(1)
    times = []
    for _ in range(n_times):
        taken = []
        for n_iterations in (2, 2 + n_more):
            start = time.perf_counter()
            fit(n_iterations)
            taken.append(time.perf_counter() - start)
        times.append((taken[1] - taken[0]) / n_more)
    return statistics.median(times)


def ours(X: Any, centroids: Any, **options: Any) -> Callable[[int], KMeans]:
    """Return a function that fits for a number of iterations."""

    def fit(n_iterations: int) -> KMeans:
        # Nothing converges: n_iter_ is asserted below.
        model = KMeans(len(centroids), init=centroids, max_iter=n_iterations, tol=0.0, **options)
        model.fit(X)
        assert model.n_iter_ == n_iterations, "converged: give it noisier rows"
        return model

    return fit


def steps_over(X: Any, centroids: Any) -> Callable[[int], Any]:
    """Return a function that takes steps of Lloyd's algorithm over rows already in memory."""
    there = elsewhere(X)
    assert there is not None
    data = prepared(there, None, there.placement(None))

    def take(n_steps: int) -> None:
        result = lloyd(data.blocks, centroids - data.origin, max_iter=n_steps)
        assert len(result.iterations) == n_steps, "converged: give it noisier rows"

    return take


def overhead(n_workers: int) -> Iterator[dict[str, Any]]:
    """Time an iteration of 100,000 x 4 rows, 8 clusters, by the number of chunks."""
    rng = np.random.default_rng(0)
    points = rng.random((100_000, 4), dtype=np.float32)

    def timed(X: Any, scheduler: str) -> dict[str, Any]:
        seconds = an_iteration(steps_over(X, points[:8]))
        return {"chunks": X.numblocks[0], "scheduler": scheduler, "seconds": seconds}

    arrays = [da.from_array(points, chunks=(100_000 // n, 4)) for n in (1, 10, 100, 1_000, 10_000)]
    for X in arrays:
        with dask.config.set(scheduler="threads"):
            yield timed(X, "threads")
    with cluster(n_workers) as client:
        for X in arrays:
            yield timed(X, f"{n_workers} workers")
            yield timed(client.persist(X), f"{n_workers} workers, persisted before")


def network(n_workers: int) -> Iterator[dict[str, Any]]:
    """Count what workers send each other in an iteration: 64 chunks, 16 to 1,024 clusters."""
    # What a worker sends is asked of it, so passes alone are counted: not how rows came there.
    rng = np.random.default_rng(0)
    points = rng.random((64_000, 64), dtype=np.float32)
    X = da.from_array(points, chunks=(1_000, 64))
    # Small rows are stolen from a worker that is late: that is no part of an iteration.
    stealing = {"distributed.scheduler.work-stealing": False}
    with dask.config.set(stealing), cluster(n_workers) as client:
        for n_clusters in (16, 128, 1_024):
            fit = steps_over(X, points[:n_clusters])
            fit(2)  # what is stolen from a worker that is busy compiling does not count
            sent = []
            for n_iterations in (2, 12):
                before = bytes_sent(client)
                fit(n_iterations)
                sent.append(bytes_sent(client) - before)
            partial = n_clusters * (64 + 1) * 8
            yield {
                "clusters": n_clusters,
                "bytes": (sent[1] - sent[0]) / 10,
                "one partial": partial,
                "centroids": n_clusters * 64 * 4,
            }


def bytes_sent(client: Client) -> int:
    """Return what all workers have sent to other workers so far."""

    def of_worker(dask_worker: Any) -> int:
        return int(dask_worker.transfer_outgoing_bytes_total)

    return sum(client.run(of_worker).values())


def peer_rows(client: Client) -> Iterator[tuple[str, Any, Any, int]]:
    """Yield arrays of different sizes that the workers hold."""
    for n_points, n_features, n_clusters, n_chunks in PEER_CASES:
        points = blobs(n_points, n_features, n_clusters)
        X = client.persist(da.from_array(points, chunks=(n_points // n_chunks, n_features)))
        name = f"{n_points:,} x {n_features}, k={n_clusters}, {n_chunks} chunks"
        yield name, points, X, n_clusters


def told(name: str, library: str, seconds: float, model: Any, points: Any) -> dict[str, Any]:
    """Return one line of the output."""
    return {
        "case": name,
        "library": library,
        "seconds": seconds,
        "inertia_": float(model.inertia_),
        "true inertia": inertia(points, np.asarray(model.cluster_centers_)),
    }


def peers(n_workers: int) -> Iterator[dict[str, Any]]:
    """Time an iteration beside dask-ml's, from the same centroids."""
    import dask_ml.cluster

    with cluster(n_workers) as client:
        for name, points, X, n_clusters in peer_rows(client):
            rows = np.random.default_rng(1).choice(len(points), n_clusters, replace=False)
            start = points[rows]

            def theirs(n_iterations: int, X: Any = X, start: Any = start) -> Any:
                model = dask_ml.cluster.KMeans(
                    len(start), init=start.copy(), max_iter=n_iterations, tol=0.0
                )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return model.fit(X)

            for library, fit in (("kmeans_xp", ours(X, start)), ("dask-ml", theirs)):
                seconds = an_iteration(fit, n_more=5)
                yield told(name, library, seconds, fit(5), points)


def defaults(n_workers: int) -> Iterator[dict[str, Any]]:
    """Time whole fits, labels and all, with the defaults of each library; the best of two.

    A fit that takes longer than half a minute is not repeated.
    """
    import dask_ml.cluster

    with cluster(n_workers) as client:
        for name, points, X, n_clusters in peer_rows(client):
            for library, kind in (("kmeans_xp", KMeans), ("dask-ml", dask_ml.cluster.KMeans)):
                times = []
                for _ in range(2):
                    begin = time.perf_counter()
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        model = kind(n_clusters, random_state=0).fit(X)
                        np.asarray(model.labels_)
                    times.append(time.perf_counter() - begin)
                    if times[-1] > 30.0:
                        break
                yield told(name, library, min(times), model, points)


def main() -> None:
    """Print what is measured, a line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["overhead", "network", "peers", "defaults"])
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    for row in globals()[given.what](given.workers):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
