"""How many centroids the first principal components of the rows rule out, counted in float64.

``python -m benchmarks.principal_heads`` prints the table of ``docs/performance.md``: the most
that a head of a row can save. With the rest of a row and of a
centroid known by length alone, no distance is less than that of the heads, plus the difference of
the lengths. A centroid is left if that bound is at most the distance to the nearest one. So it is
the least that a kernel would leave, whatever it compares with.

Centroids are rows drawn at random, moved by ``--steps`` steps.
"""

import argparse
import sys

import array_api_compat.numpy as xp
import numpy as np

from benchmarks.certified_bytes import Host, sets_of_rows
from kmeans_xp.kernels import DenseRows, lloyd_step, update_centroids

__all__ = ["candidates_left", "principal_axes"]

_LENGTHS = (8, 16, 32, 64)
#: rows whose candidates are counted
_SAMPLE = 2000
#: share of a squared length by which distances may be rounded
_SLACK = 1e-12


def principal_axes(points: Host) -> Host:
    """Return the principal axes as columns, that of the greatest variance first."""
    _, axes = np.linalg.eigh(np.cov(points, rowvar=False))
    return axes[:, ::-1]


def candidates_left(points: Host, centroids: Host, axes: Host, length: int) -> float:
    """Return the mean number of centroids that heads of ``length`` components leave of a row."""
    rows, others = points @ axes, centroids @ axes
    nearest = _sq_distances(rows, others).min(axis=1)
    rest, other_rest = (np.linalg.norm(each[:, length:], axis=1) for each in (rows, others))
    bounds = _sq_distances(rows[:, :length], others[:, :length])
    bounds += (rest[:, None] - other_rest) ** 2
    slack = _SLACK * (np.square(rows).sum(axis=1) + np.square(others).sum(axis=1).max())
    return float((bounds <= (nearest + slack)[:, None]).sum(axis=1).mean())


def _sq_distances(rows: Host, others: Host) -> Host:
    sq_lengths = np.square(rows).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    return sq_lengths - 2.0 * rows @ others.T


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=4)
    asked = parser.parse_args()
    print("| rows, clusters | components | centroids left | products, over all |")
    print("|---|---:|---:|---:|")
    for name, make in sets_of_rows(asked.points):
        if asked.only not in name:
            continue
        points = np.asarray(make(), np.float64)
        points -= points.mean(axis=0)
        rng = np.random.default_rng(1)
        centroids = points[rng.choice(len(points), asked.clusters, replace=False)]
        rows = DenseRows(points)
        for _ in range(asked.steps):
            totals = lloyd_step(rows, centroids, xp=xp)
            centroids = update_centroids(totals, centroids, xp=xp).centroids
        axes, n_features = principal_axes(points), points.shape[1]
        label = f"{name}, {len(points)} x {n_features}, k={asked.clusters}"
        for length in _LENGTHS:
            left = candidates_left(points[:_SAMPLE], centroids, axes, length)
            share = length / n_features + left / asked.clusters
            print(f"| {label} | {length} | {left:.1f} | {share:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
