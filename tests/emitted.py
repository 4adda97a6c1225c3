"""What tests of emitted functions share: calls of them, and numbers whose sums are exact."""

import functools
from typing import Any

import numba
import numpy as np

from kmeans_xp.kernels.for_numba.emitted import vectors

__all__ = ["DTYPES", "NOISE", "WIDTHS", "Array", "called", "eighths", "panels_of", "sq_distances"]

Array = np.ndarray[Any, Any]
DTYPES = ["float32", "float64"]
#: features: of less than a vector, of whole vectors, and of both
WIDTHS = [1, 3, 7, 8, 16, 19, 64, 67]
NOISE = 7.0


@functools.cache
def called(emitted: Any) -> Any:
    """Return a function of Python for an emitted one."""
    return numba.njit(lambda *arguments: emitted(*arguments))


def eighths(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
    """Return multiples of an eighth, so small that products and sums of them are exact."""
    return (rng.integers(-16, 17, shape) / 8).astype(dtype)


def panels_of(rows: Array) -> Array:
    """Return whole panels of rows, flat, feature by feature."""
    n_lanes = vectors.PANEL[rows.dtype]
    return np.concatenate(
        [rows[first : first + n_lanes].T.ravel() for first in range(0, len(rows), n_lanes)]
    )


def sq_distances(rows: Array, centroids: Array) -> Array:
    """Return the squared distance of each row to each centroid."""
    distances: Array = np.square(rows[:, None, :] - centroids[None]).sum(axis=2)
    return distances
