"""What metric="cosine" adds to a fit: ``python -m benchmarks.cosine`` prints a table of ratios.

Each line is the time of a job with ``metric="cosine"`` over that with ``"euclidean"`` on the same
rows, in this process and in all orders: the median of ``--rounds N`` ratios of processor time. The
last column is the same on rows that were brought to unit length in a copy, plus the time to make
it.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from kmeans_xp import KMeans

__all__: list[str] = []


class Size(NamedTuple):
    """Rows, and clusters to find in them."""

    n_points: int
    n_features: int
    n_clusters: int


SIZES = (
    Size(500_000, 8, 8),
    Size(500_000, 16, 8),
    Size(200_000, 16, 64),
    Size(100_000, 64, 64),
    Size(50_000, 256, 64),
    Size(20_000, 128, 256),
)

N_STEPS = 10


def rows_of(size: Size) -> NDArray[np.float32]:
    """Return rows of all directions, of lengths about 1."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(size.n_points, size.n_features)).astype(np.float32) + np.float32(0.3)


def steps(rows: NDArray[np.float32], size: Size, metric: str) -> None:
    """Take ten steps from the first rows."""
    first = rows[: size.n_clusters]
    KMeans(
        size.n_clusters, init=first, max_iter=N_STEPS, tol=0.0, algorithm="lloyd", metric=metric
    ).fit(rows)


def seeding(rows: NDArray[np.float32], size: Size, metric: str) -> None:
    """Choose first centroids by k-means++, and take one step."""
    KMeans(size.n_clusters, max_iter=1, tol=0.0, random_state=0, metric=metric).fit(rows)


def seconds(job: Callable[[], None]) -> float:
    """Return the processor time of a job."""
    start = time.process_time()
    job()
    return time.process_time() - start


def measured(job: Callable[..., None], size: Size, n_rounds: int) -> tuple[float, float]:
    """Return the median ratios to Euclidean distances: of cosine ones, and of a scaled copy."""
    rows = rows_of(size)
    jobs = [
        lambda: job(rows, size, "euclidean"),
        lambda: job(rows, size, "cosine"),
        lambda: job(normalize(rows), size, "euclidean"),
    ]
    ratios = []
    orders = list(itertools.permutations(range(len(jobs))))
    for number in range(n_rounds):
        # Each job finds the memory that the one before it gave back: no order is fair alone.
        order = orders[number % len(orders)]
        taken = {place: seconds(jobs[place]) for place in order}
        ratios.append((taken[1] / taken[0], taken[2] / taken[0]))
    one, other = np.median(ratios[1:], axis=0)  # the first round compiles
    return float(one), float(other)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    n_rounds = parser.parse_args().rounds + 1
    print("| rows x features, clusters | job | cosine | normalized copy |\n|---|---|---:|---:|")
    for size in SIZES:
        for job in (steps, seeding):
            cosine, copied = measured(job, size, n_rounds)
            name = f"{size.n_points // 1000}k x {size.n_features}, k={size.n_clusters}"
            print(f"| {name} | {job.__name__} | {cosine:.2f} | {copied:.2f} |", flush=True)


if __name__ == "__main__":
    main()
