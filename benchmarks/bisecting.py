"""BisectingKMeans beside scikit-learn's: ``python -m benchmarks.bisecting`` prints a table.

Each line is the processor time of a fit over that of scikit-learn's on the same rows, in this
process and in turn, with one thread each: the median of the ratios of ``--seconds N``. Both grow
the same tree, as the inertia shows.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.cluster import BisectingKMeans as SklearnBisectingKMeans
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from kmeans_xp import BisectingKMeans
from kmeans_xp.kernels.threads import threads_each

__all__: list[str] = []

_FEWEST_RATIOS = 5


class Size(NamedTuple):
    """Rows, and clusters to find in them; rows of 64 features are the digits."""

    n_points: int
    n_features: int
    n_clusters: int
    dtype: DTypeLike = np.float32

    def __str__(self) -> str:
        shape = f"{self.n_points:,} x {self.n_features}, k={self.n_clusters}"
        return f"{shape}, {np.dtype(self.dtype).name}"


SIZES = (
    Size(1_797, 64, 10, np.float64),
    Size(20_000, 4, 1_000, np.float64),
    Size(50_000, 8, 200),
    Size(50_000, 8, 200, np.float64),
    Size(200_000, 16, 16),
    Size(1_000_000, 2, 10),
    Size(100_000, 128, 8),
    Size(20_000, 512, 16),
    Size(20_000, 512, 16, np.float64),
)


def rows_of(size: Size) -> NDArray[Any]:
    """Return uniform rows, or the digits."""
    if size.n_points == 1_797:
        return np.asarray(load_digits().data, size.dtype)
    rng = np.random.default_rng(0)
    return rng.random((size.n_points, size.n_features)).astype(size.dtype)


def seconds(fit: Callable[[], Any]) -> float:
    """Return the processor time of a fit."""
    start = time.process_time()
    fit()
    return time.process_time() - start


def measured(size: Size, n_seconds: float) -> tuple[float, float, float]:
    """Return scikit-learn's time, the median ratio to it, and the ratio of the inertias."""
    rows = rows_of(size)
    ours = BisectingKMeans(size.n_clusters, random_state=0)
    # scikit-learn does not multiply `tol` by the variance here, as its KMeans and ours do.
    tol = 1e-4 * float(np.mean(np.var(rows, axis=0)))
    theirs = SklearnBisectingKMeans(size.n_clusters, tol=tol, random_state=0)
    ours.fit(rows)  # compiles
    end = time.perf_counter() + n_seconds
    times, ratios = [], []
    while time.perf_counter() < end or len(ratios) < _FEWEST_RATIOS:
        times.append(seconds(lambda: theirs.fit(rows)))
        ratios.append(seconds(lambda: ours.fit(rows)) / times[-1])
    return float(np.median(times)), float(np.median(ratios)), ours.inertia_ / theirs.inertia_


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    n_seconds = parser.parse_args().seconds
    print("| fit | scikit-learn, ms | ratio | inertia |\n|---|---:|---:|---:|")
    with threads_each(1), threadpool_limits(1):
        for size in SIZES:
            theirs, ratio, inertia = measured(size, n_seconds)
            print(f"| {size} | {theirs * 1e3:,.0f} | {ratio:.2f} | {inertia:.4f} |", flush=True)


if __name__ == "__main__":
    main()
