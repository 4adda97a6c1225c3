"""Silhouette scores: kmeans_xp against scikit-learn, in turns in one process.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/compare_metrics.py

prints a Markdown table of what docs/metrics.md holds. ``--rows 100000`` takes minutes.
"""

import argparse
import contextlib
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray

from kmeans_xp.kernels import kernels
from kmeans_xp.metrics import silhouette_score

__all__: list[str] = []

#: scikit-learn's and ours must agree to this
_ATOL = 1e-6
#: threads of a BLAS spin for some time after their work
_PAUSE_S = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE")

Score = Callable[[NDArray[Any], NDArray[Any]], float]


class Case(NamedTuple):
    """Points to score.

    Parameters
    ----------
    n_points, n_features, n_clusters : int
    dtype : str
    n_rounds : int
    """

    n_points: int
    n_features: int
    n_clusters: int
    dtype: str
    n_rounds: int


CASES = [
    Case(20_000, 16, 8, "float32", 5),
    Case(20_000, 16, 8, "float64", 5),
    Case(20_000, 2, 8, "float32", 5),
    Case(20_000, 128, 8, "float32", 3),
    Case(10_000, 16, 100, "float32", 5),
    Case(2_000, 16, 8, "float32", 20),
]
LARGE = Case(100_000, 16, 8, "float32", 1)


def _data(case: Case) -> tuple[NDArray[Any], NDArray[np.int32]]:
    rng = np.random.default_rng(0)
    labels = rng.integers(case.n_clusters, size=case.n_points).astype(np.int32)
    centres = 3.0 * rng.standard_normal((case.n_clusters, case.n_features))
    points = centres[labels] + rng.standard_normal((case.n_points, case.n_features))
    return points.astype(case.dtype), labels


@contextlib.contextmanager
def _without_numba() -> Iterator[None]:
    """Let the kernel's newest override on NumPy, which numba compiles, decline."""
    overrides = kernels["silhouette_distances"]._overrides["numpy"]
    kernels["silhouette_distances"]._bodies.clear()
    compiled = overrides.pop(0)
    try:
        yield
    finally:
        overrides.insert(0, compiled)
        kernels["silhouette_distances"]._bodies.clear()


def _plain(points: NDArray[Any], labels: NDArray[Any]) -> float:
    with _without_numba():
        return silhouette_score(points, labels)


PEERS: dict[str, Score] = {
    "scikit-learn": sklearn.metrics.silhouette_score,
    "kmeans_xp": silhouette_score,
    "kmeans_xp without numba": _plain,
}


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE


@contextlib.contextmanager
def _peak(found: dict[str, int]) -> Iterator[None]:
    """Put into ``found`` how far the process's memory grows in the body."""
    before, is_over = _resident(), threading.Event()

    def watch() -> None:
        while not is_over.wait(0.002):
            found["bytes"] = max(found.get("bytes", 0), _resident() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


class _Taken(NamedTuple):
    """What calls took: seconds by the clock, and of all processors."""

    wall: list[float]
    cpu: list[float]
    peak: dict[str, int]


def _measure(case: Case) -> str:
    points, labels = _data(case)
    taken = {peer: _Taken([], [], {}) for peer in PEERS}
    for score in PEERS.values():  # compiles, and starts threads
        score(points[:2000], labels[:2000])
    for number in range(case.n_rounds):
        scores = []
        for peer in list(PEERS)[:: -1 if number % 2 else 1]:
            time.sleep(_PAUSE_S)
            with _peak(taken[peer].peak):
                cpu, wall = time.process_time(), time.perf_counter()
                scores.append(PEERS[peer](points, labels))
                taken[peer].wall.append(time.perf_counter() - wall)
                taken[peer].cpu.append(time.process_time() - cpu)
        if np.ptp(scores) > _ATOL:
            raise SystemExit(f"{case}: the scores differ: {scores}")
    theirs = taken["scikit-learn"]
    cells = [f"{case.n_points:,} x {case.n_features}, k={case.n_clusters}, {case.dtype}"]
    cells.append(f"{statistics.median(theirs.wall):.3g} s")
    for peer in list(PEERS)[1:]:
        ours = taken[peer]
        cells.append(f"{statistics.median(ours.wall):.3g} s")
        cells += [_ratio(ours.wall, theirs.wall), _ratio(ours.cpu, theirs.cpu)]
    cells += [f"{taken[peer].peak.get('bytes', 0) / 2**20:,.0f}" for peer in PEERS]
    return f"| {' | '.join(cells)} |"


def _ratio(ours: list[float], theirs: list[float]) -> str:
    """Return the median of the ratios of the rounds."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.3f}"


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="the cases of so many rows alone: 100000, once")
    n_points = parser.parse_args().rows
    cases = [case for case in (*CASES, LARGE) if case.n_points == n_points] or CASES
    print(
        "| rows x features, clusters | scikit-learn | kmeans_xp | ratio | of CPU time "
        "| without numba | ratio | of CPU time "
        "| memory, MiB: scikit-learn | kmeans_xp | without numba |"
    )
    print(f"|---|{'---:|' * 10}")
    for case in cases:
        print(_measure(case), flush=True)


if __name__ == "__main__":
    main()
