"""Fits of many clusters beside other libraries: what each takes to the same inertia.

``python -m benchmarks.equal_inertia`` prints the table of ``docs/performance.md``. The others
start from random rows and iterate over all rows. They stop where their inertia is at most 0.1 %
above that of a default fit of this package, or after ``--iterations N``. usearch and fastkmeans
tell only the end of a run. scikit-learn makes its own default fit, from the same seed.

Figures are processor time of one thread, because other work would spoil time by the clock: set
``OMP_NUM_THREADS=1``. The sets are those of ``benchmarks.certified_bytes``, and two of few and many
features; ``--only NAME`` picks one. ``--clusters N ...`` sets the numbers of clusters. Libraries
that cannot be imported are left out, and ``--peers NAME ...`` picks some.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import array_api_compat.numpy as xp
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.certified_bytes import Host, sets_of_rows
from benchmarks.comparison.fits import faiss_kmeans
from kmeans_xp import KMeans, config_context, inertia
from kmeans_xp.kernels import DenseRows, lloyd_step, update_centroids

__all__ = [
    "Course",
    "course_of_faiss",
    "course_of_scikit_learn",
    "course_of_superkmeans",
    "ours",
]

#: how much more inertia counts as equal
_SLACK = 1e-3
_N_GROUPS = 400


class Course(NamedTuple):
    """A run of a library.

    Parameters
    ----------
    n_iter : int
    seconds : float
        Of processor time, from the start until the inertia was ``inertia``.
    inertia : float
    iteration : float
        Mean seconds of an iteration.
    """

    n_iter: int
    seconds: float
    inertia: float
    iteration: float


def ours(points: Host, n_clusters: int) -> Course:
    """Fit by default, and time an iteration from random rows."""
    # A whole fit, not two iterations: some code is compiled after many uses only.
    KMeans(n_clusters, random_state=0).fit(points)
    began = time.process_time()
    model = KMeans(n_clusters, random_state=0).fit(points)
    seconds = time.process_time() - began
    rows = DenseRows(points, None, points.mean(axis=0))
    centroids = points[_random_rows(points, n_clusters)] - rows.origin
    n_steps, began = 3, time.process_time()
    for _ in range(n_steps):
        centroids = update_centroids(lloyd_step(rows, centroids, xp=xp), centroids, xp=xp).centroids
    return Course(
        int(model.n_iter_), seconds, model.inertia_, (time.process_time() - began) / n_steps
    )


def course_of_faiss(
    faiss: ModuleType, points: Host, n_clusters: int, target: float, most: int
) -> Course:
    """Iterate until the inertia is at most the target; each objective is of the rows before."""
    centroids, seconds = points[_random_rows(points, n_clusters)], 0.0
    for number in range(1 + most):
        began = time.process_time()
        fitted = faiss_kmeans(faiss, points, centroids, 1)
        iteration = time.process_time() - began
        if fitted.obj[0] <= target or number == most:
            break
        seconds += iteration
        centroids = fitted.centroids
    return Course(number, seconds, float(fitted.obj[0]), seconds / max(1, number))


def course_of_superkmeans(
    superkmeans: ModuleType, points: Host, n_clusters: int, target: float, most: int
) -> Course:
    """Iterate ``most`` times; count the iterations until the inertia is at most the target."""
    model = superkmeans.SuperKMeans(
        n_clusters,
        points.shape[1],
        iters=most,
        hierarchical=False,
        sampling_fraction=1.0,
        max_points_per_cluster=len(points),
        early_termination=False,
        n_threads=1,
        seed=0,
    )
    began = time.process_time()
    model.train(points)
    iteration = (time.process_time() - began) / most
    objectives = [each.objective for each in model.iteration_stats]
    number = next((n for n, each in enumerate(objectives) if each <= target), most - 1)
    return Course(number, number * iteration, objectives[number], iteration)


def course_of_scikit_learn(
    cluster: ModuleType, points: Host, n_clusters: int, _target: float, _most: int
) -> Course:
    """Make a default fit."""
    began = time.process_time()
    model = cluster.KMeans(n_clusters, random_state=0).fit(points)
    seconds = time.process_time() - began
    return Course(int(model.n_iter_), seconds, float(model.inertia_), seconds / model.n_iter_)


def _course_of_usearch(
    usearch: ModuleType, points: Host, n_clusters: int, _target: float, most: int
) -> Course:
    never = {"inertia_threshold": 0.0, "min_shifts": 0.0, "max_seconds": 1e9}
    began = time.process_time()
    *_, centroids = usearch.kmeans(
        points, n_clusters, dtype="f32", max_iterations=most, seed=0, **never
    )
    return _whole(points, centroids, time.process_time() - began, most)


def _course_of_fastkmeans(
    fastkmeans: ModuleType, points: Host, n_clusters: int, _target: float, most: int
) -> Course:
    never_ends = {"tol": -1.0, "use_triton": False}
    model = fastkmeans.FastKMeans(
        points.shape[1], n_clusters, niter=most, gpu=False, seed=0, **never_ends
    )
    began = time.process_time()
    model.train(points)
    return _whole(points, model.centroids, time.process_time() - began, most)


def _whole(points: Host, centroids: Any, seconds: float, n_iter: int) -> Course:
    """Return a run that tells nothing of its iterations."""
    found = inertia(points, np.ascontiguousarray(centroids, points.dtype))
    return Course(n_iter, seconds, float(found), seconds / n_iter)


#: of each module that can be imported
_COURSES: dict[str, Callable[..., Course]] = {
    "faiss": course_of_faiss,
    "superkmeans": course_of_superkmeans,
    "usearch.index": _course_of_usearch,
    "fastkmeans": _course_of_fastkmeans,
    "sklearn.cluster": course_of_scikit_learn,
}


def _random_rows(points: Host, n_clusters: int) -> Any:
    return np.random.default_rng(1).choice(len(points), n_clusters, replace=False)


def _uniform_plane() -> Host:
    return np.random.default_rng(0).random((1_000_000, 2), dtype=np.float32)


def _overlapping_groups() -> Host:
    rng, shape = np.random.default_rng(0), (50_000, 384)
    spectrum = np.arange(1, shape[1] + 1) ** -0.5
    middles = rng.standard_normal((_N_GROUPS, shape[1]))
    points = middles[rng.integers(_N_GROUPS, size=shape[0])] * spectrum
    return (points + rng.standard_normal(shape) * spectrum).astype(np.float32)


def _lines(asked: argparse.Namespace) -> Iterator[str]:
    own = [("uniform in a plane", _uniform_plane), ("overlapping groups", _overlapping_groups)]
    for name, make in [*own, *sets_of_rows(asked.points)]:
        if asked.only not in name:
            continue
        points = np.ascontiguousarray(make())
        for n_clusters in asked.clusters:
            label = f"{name}, {points.shape[0]} x {points.shape[1]}, k={n_clusters}"
            goal = ours(points, n_clusters)
            yield _line(label, "kmeans_xp", goal, goal)
            for peer in asked.peers:
                try:
                    module = importlib.import_module(peer)
                except ImportError:
                    continue
                target = goal.inertia * (1.0 + _SLACK)
                found = _COURSES[peer](module, points, n_clusters, target, asked.iterations)
                yield _line(label, peer.split(".")[0], found, goal)


def _line(label: str, library: str, found: Course, goal: Course) -> str:
    ratio, seconds = found.inertia / goal.inertia, found.seconds / goal.seconds
    sign = "" if ratio <= 1.0 + _SLACK else "> "
    return (
        f"| {label} | {library} | {found.iteration:.3f} | {found.n_iter} "
        f"| {sign}{found.seconds:.1f} | {ratio:.4f} | **{sign}{seconds:.2f}** |"
    )


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--clusters", type=int, nargs="*", default=[1000])
    parser.add_argument("--peers", nargs="*", default=list(_COURSES), choices=list(_COURSES))
    parser.add_argument("--iterations", type=int, default=50, metavar="N")
    asked = parser.parse_args()
    print("| rows, clusters | library | s an iteration | iterations | s | inertia | ratio of s |")
    print("|---|---|---:|---:|---:|---:|---:|")
    with threadpool_limits(1), config_context(n_threads=1):
        for line in _lines(asked):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
