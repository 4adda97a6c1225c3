"""What whole runs in one call save on few rows: ``python -m benchmarks.whole_runs`` prints a table.

Each line is the processor time of a fit over that of the same fit by single steps, in this process
and in turn: the median of the ratios of ``--seconds N``. Both have the same bits.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kmeans_xp import KMeans
from kmeans_xp.algorithms import restarts

__all__: list[str] = []

_FEWEST_RATIOS = 5


def by_single_steps(*_: Any, **__: Any) -> bool:
    """Stand for ``takes_whole_runs``."""
    return False


def fits() -> dict[str, Callable[[], Any]]:
    """Return the fits by name; rows are uniform."""
    rng = np.random.default_rng(0)
    found: dict[str, Callable[[], Any]] = {}
    for n_points, n_features, n_clusters in ((500, 4, 8), (2_000, 16, 8), (1_797, 64, 10)):
        rows = rng.random((n_points, n_features))
        for n_init in (1, 10):
            model = KMeans(n_clusters, n_init=n_init, random_state=0)
            name = f"{n_points:,} x {n_features}, k={n_clusters}, `n_init={n_init}`"
            found[name] = partial(model.fit, rows)
    return found


def seconds(fit: Callable[[], Any]) -> float:
    """Return the processor time of a fit."""
    start = time.process_time()
    fit()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    n_seconds = parser.parse_args().seconds
    algorithm: Any = restarts
    takes_whole_runs = algorithm.takes_whole_runs
    print("| fit | ratio |\n|---|---:|")
    for name, fit in fits().items():
        ratios: list[float] = []
        fit()  # compiles
        end = time.perf_counter() + n_seconds
        while time.perf_counter() < end or len(ratios) < _FEWEST_RATIOS:
            algorithm.takes_whole_runs = takes_whole_runs
            whole = seconds(fit)
            algorithm.takes_whole_runs = by_single_steps
            ratios.append(whole / seconds(fit))
            algorithm.takes_whole_runs = takes_whole_runs
        print(f"| {name} | {np.median(ratios):.2f} |", flush=True)


if __name__ == "__main__":
    main()
