"""The labels of every CUDA kernel, by the chain of docs/design.md in NumPy, and rows."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

__all__ = ["Problem", "chain_labels", "fused", "of_tenths"]

Host = NDArray[Any]


class Problem(NamedTuple):
    """Rows, and centroids relative to the origin."""

    points: Host
    origin: Host
    centroids: Host


def of_tenths(n_points: int, band: tuple[int, int], dtype: str, seed: int) -> Problem:
    """Return rows of tenths and centroids among them: scores that only rounding tells apart."""
    n_features, n_clusters = band
    rng = np.random.default_rng(seed)
    type_of = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    points = (rng.integers(0, 10, (n_points, n_features)) / 10).astype(type_of)
    computed = np.float64 if dtype == "float64" else np.float32
    origin = points[0].astype(computed)
    chosen = points[rng.integers(n_points, size=n_clusters)].astype(computed)
    return Problem(points, origin, chosen - origin)


def chain_labels(points: Host, origin: Host, centroids: Host, is_fused: bool = True) -> Host:
    """Return the labels of rows by the chain, in the dtype of the centroids.

    Without ``is_fused``, as on processors without fused multiply-adds.
    """
    multiply_add = fused if is_fused else _rounded_twice
    dtype = centroids.dtype
    rows = points.astype(dtype) - origin
    # A running sum adds in the order of the features; np.sum would add pairs.
    squares = np.cumsum(np.square(centroids.astype(np.float64)), axis=1)[:, -1].astype(dtype)
    scores = np.tile(squares, (len(rows), 1))
    for feature in range(rows.shape[1]):
        scores = multiply_add(rows[:, feature, None], -2 * centroids[None, :, feature], scores)
    return np.argmin(scores, axis=1)


def fused(a: Host, b: Host, c: Host) -> Host:
    """Return ``a * b + c``, rounded once."""
    if c.dtype == np.float32:
        product = a.astype(np.float64) * b  # 48 bits: exact
        return _added_to_odd(product, c.astype(np.float64)).astype(np.float32)
    # Boldo and Melquiond, Emulation of FMA and correctly rounded sums, 2008.
    product, lost = _exact_product(a, b)
    low, lower = _exact_sum(c, lost)
    high, middle = _exact_sum(product, low)
    return high + _added_to_odd(lower, middle)


def _rounded_twice(a: Host, b: Host, c: Host) -> Host:
    return a * b + c


def _added_to_odd(a: Host, b: Host) -> Host:
    """Return a sum that is odd in the last bit if it was rounded; rounding it again is right."""
    total, lost = _exact_sum(a, b)
    bits = total.view(np.int64)
    toward = np.where((lost > 0) == (total > 0), 1, -1)
    return np.where((lost != 0) & (bits % 2 == 0), bits + toward, bits).view(np.float64)


def _exact_sum(a: Host, b: Host) -> tuple[Host, Host]:
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _exact_product(a: Host, b: Host) -> tuple[Host, Host]:
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    product = a * b
    lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, lost


def _halves(a: Host) -> tuple[Host, Host]:
    scaled = a * 134217729.0  # 2^27 + 1
    high = scaled - (scaled - a)
    return high, a - high
