"""Seeded points that several test modules cluster, as NumPy arrays."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def blobs(
    n_points: int = 300, n_features: int = 3, n_clusters: int = 5, *, seed: int = 0
) -> tuple[Floats, NDArray[np.intp]]:
    """Return points of round clusters that lie far apart, and the cluster of each point.

    The clusters have standard deviation 1 and centres on a lattice of step 20: labels do not
    hang on rounding. The values are exact in float32.
    """
    rng = np.random.default_rng(seed)
    side = max(4, n_clusters) if n_features == 1 else 4
    lattice = rng.permutation(side**n_features)[:n_clusters]
    centres = 20.0 * np.stack(np.unravel_index(lattice, (side,) * n_features), axis=1)
    labels = rng.permutation(np.arange(n_points) % n_clusters)
    points = centres[labels] + rng.normal(size=(n_points, n_features))
    return points.astype(np.float32).astype(np.float64), labels


def cloud(n_points: int = 400, n_features: int = 4, *, seed: int = 0) -> Floats:
    """Return one cloud without clusters, on which k-means takes many iterations.

    The values are exact in float32.
    """
    points = np.random.default_rng(seed).normal(size=(n_points, n_features))
    return points.astype(np.float32).astype(np.float64)


def positive_weights(n_points: int = 300, *, seed: int = 0) -> Floats:
    """Return weights from 0.25 to 4 in quarters, which float32 adds without rounding."""
    return np.random.default_rng(seed).integers(1, 17, size=n_points) / 4.0


def nearly_equal(dtype: str = "float64", *, seed: int = 0) -> Floats:
    """Return 40 rows of tenths; up to rounding, eight of them are different."""
    rng = np.random.default_rng(seed)
    tenths = rng.integers(0, 10, (8, 5)) / 10.0
    ulps = rng.integers(-2, 3, (40, 5)) * np.finfo(dtype).eps
    return (tenths[rng.integers(0, 8, 40)] * (1.0 + ulps)).astype(dtype)
