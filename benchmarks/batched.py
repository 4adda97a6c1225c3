"""Many small problems at once beside a loop: ``python -m benchmarks.batched`` prints a table.

``k_means_batched`` against a loop over ``k_means`` on the same problems, in this process and in
turn; the medians of ``--rounds N`` ratios, of time by the clock and of processor time. The results
are compared, bit by bit.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp import k_means, k_means_batched

__all__: list[str] = []


class Size(NamedTuple):
    """How many problems, and of what shape."""

    n_problems: int
    n_points: int
    n_features: int
    n_clusters: int


SIZES = (
    Size(1000, 500, 8, 8),
    Size(1000, 50, 2, 3),
    Size(200, 2000, 16, 8),
    Size(100, 500, 64, 20),
)


class Seconds(NamedTuple):
    """How long a call took."""

    clock: float
    processor: float


def problems_of(size: Size) -> NDArray[np.float32]:
    """Return rows without clusters, on which fits take some twenty iterations."""
    rng = np.random.default_rng(0)
    return rng.normal(size=size[:3]).astype(np.float32)


def one_after_another(problems: NDArray[np.float32], n_clusters: int) -> list[Any]:
    """Return centroids of each problem, by a loop."""
    return [k_means(rows, n_clusters, random_state=0)[0] for rows in problems]


def at_once(problems: NDArray[np.float32], n_clusters: int) -> NDArray[np.float32]:
    """Return centroids of each problem, by one call."""
    return k_means_batched(problems, n_clusters, random_state=0).centroids


def timed(job: Callable[..., Any], *args: Any) -> tuple[Seconds, Any]:
    """Return how long a job took, and what it gave."""
    clock, processor = time.perf_counter(), time.process_time()
    result = job(*args)
    return Seconds(time.perf_counter() - clock, time.process_time() - processor), result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    n_rounds = parser.parse_args().rounds
    print("| problems | ms a problem, loop | by the clock | of processor time |")
    print("|---|---:|---:|---:|")
    for size in SIZES:
        problems, ratios, in_loop = problems_of(size), [], []
        at_once(problems[:2], size.n_clusters)  # compiles
        for _ in range(n_rounds):
            loop, expected = timed(one_after_another, problems, size.n_clusters)
            once, found = timed(at_once, problems, size.n_clusters)
            assert np.array_equal(np.stack(expected), found)
            in_loop.append(1e3 * loop.processor / size.n_problems)
            ratios.append((loop.clock / once.clock, loop.processor / once.processor))
        clock, processor = np.median(ratios, axis=0)
        shape = f"{size.n_points} x {size.n_features}, k={size.n_clusters}"
        print(
            f"| {size.n_problems} of {shape} | {np.median(in_loop):.2f} | {clock:.1f} x | "
            f"{processor:.1f} x |",
            flush=True,
        )


if __name__ == "__main__":
    main()
