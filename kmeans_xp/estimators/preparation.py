"""Prepare points for clustering: place them, attach weights, subtract their mean."""

import math
import operator
import warnings
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp import blocks
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import (
    Array,
    DType,
    Namespace,
    Placement,
    accumulation_dtype,
    library_of,
    namespace_of,
    to_host,
)
from kmeans_xp.kernels import DenseRows, Rows, SparseRows, both_moments, spread

__all__ = [
    "GREATEST_DRAWN",
    "GREATEST_VARIANCE",
    "LEAST_DRAWN",
    "LEAST_VARIANCE",
    "Prepared",
    "check_mass",
    "check_range",
    "finite_inertia",
    "no_weight",
    "prepared",
    "published",
    "refuse_overflow",
    "warn_of_weights",
]

#: range of variances in which squares, and differences of squares, keep their digits, also where
#: subnormal numbers are flushed to 0, as on CUDA
LEAST_VARIANCE = {4: 1e-30, 8: 1e-290}
GREATEST_VARIANCE = {4: 1e36, 8: 1e300}
#: what a draw compares: subnormal numbers have some ten bits left, which is enough
LEAST_DRAWN = {4: 1e-41, 8: 1e-311}
#: on average: some rows lie farther apart
GREATEST_DRAWN = {size: float(np.finfo(f"f{size}").max) / 32 for size in (4, 8)}

_OTHER_WEIGHTS = "Multiply sample_weight by a power of two that brings its sum near 1."


class Prepared(NamedTuple):
    """The data as algorithms need them.

    Parameters
    ----------
    blocks : Blocks
        The rows relative to ``origin``.
    origin : array of shape (n_features,)
        The mean of the points, rounded to the dtype of the computation; zero on a sphere.
    mean_variance : float
        Mean of the features' variances, in squared units of the points.
    total_sq : float
        Weighted sum of the squared distances to the origin.
    mass : float
        Sum of the weights.
    placement : Placement
    metric : str
        Metric for which the rows are prepared.
    """

    blocks: Blocks
    origin: Array
    mean_variance: float
    total_sq: float
    mass: float
    placement: Placement
    metric: str = "euclidean"


def prepared(
    points: Any, weights: Array | None, placement: Placement, metric: str = "euclidean"
) -> Prepared:
    """Place points and measure their mean and spread; waits for the device once or twice."""
    given = blocks.of(points, weights, placement, is_revisited=True)
    if metric == "cosine":
        return _on_sphere(given, placement)
    # Take some row as the origin: the squares then have no large common part to cancel.
    first = _first_row(given)
    plain, weighted = given.seen_from(first).reduce(both_moments)
    origin, numbers = spread(plain, weighted, first, xp=placement.xp)
    mean_variance, total_sq, mass = to_host(numbers).tolist()
    mass = _checked_mass(mass, given)
    return Prepared(given.seen_from(origin), origin, mean_variance, total_sq, mass, placement)


def _checked_mass(mass: float, given: Blocks) -> float:
    if mass == 0.0:  # possible where weights were not checked before
        raise no_weight(given.xp, given.dtype)
    return mass


def no_weight(xp: Namespace, dtype: DType) -> ValueError:
    """Return the error for weights that the library takes for zeros, all of them."""
    told = "Sample weights must contain at least one non-zero number."
    if library_of(xp).flushes_subnormals and dtype == xp.float32:
        told += " This array library takes float32 numbers below 1.2e-38 for 0."
    return ValueError(told)


def _on_sphere(given: Blocks, placement: Placement) -> Prepared:
    """Return rows on a sphere, with its centre as their origin."""
    xp = placement.xp
    centre = xp.zeros((given.n_features,), dtype=given.dtype, device=given.device)
    given, (plain, weighted) = blocks.measured_and_on_sphere(given)
    _, numbers = spread(plain, weighted, centre, xp=xp)
    total_sq = np.add.reduce(to_host(weighted.sq_sums))
    mean_variance, _, mass = to_host(numbers).tolist()
    # The variance is a difference of numbers up to 1. For rows in one direction only the rounding
    # error is left, maybe below 0. A negative tolerance would never be met.
    mean_variance = max(mean_variance, float(xp.finfo(numbers.dtype).eps))
    mass = _checked_mass(mass, given)
    return Prepared(given, centre, mean_variance, float(total_sq), mass, placement, "cosine")


def published(centroids: Array, origin: Array, metric: str) -> Array:
    """Return centroids for users: with the mean added back, or scaled to length 1 for cosine."""
    if metric == "euclidean":
        return centroids + origin
    xp = namespace_of(centroids)
    return centroids / xp.sqrt(xp.vecdot(centroids, centroids))[:, None]


def check_range(data: Prepared, n_calls: int = 5) -> None:
    """Warn of squares that are too small, ``n_calls`` below the user's; ValueError if too large."""
    if data.metric == "cosine":  # distances do not depend on the range; sums of weights do
        if data.blocks.is_weighted:
            _check_weighted_range(data, n_calls + 1)
        return
    _refuse_squares_too_large(data, GREATEST_VARIANCE)
    variance, itemsize = data.mean_variance, _itemsize(data)
    if not 0.0 < variance < LEAST_VARIANCE[itemsize]:
        _refuse_far_rows(data)
        if data.blocks.is_weighted:
            _check_weighted_range(data, n_calls + 1)
        return
    warnings.warn(
        f"The rows spread by {variance**0.5:.1e}, and its square is too small for "
        f"float{8 * itemsize}: labels may be wrong. {_advice(itemsize)}",
        RuntimeWarning,
        stacklevel=2 + n_calls,
    )


def _refuse_squares_too_large(data: Prepared, limits: dict[int, float]) -> None:
    """Raise ValueError if the rows' mean squared distance is over the limit of its itemsize."""
    variance, itemsize = data.mean_variance, _itemsize(data)
    # The variance is NaN if the differences themselves overflow.
    if variance * data.blocks.n_features <= limits[itemsize]:
        return
    spread = f"{variance**0.5:.1e}" if math.isfinite(variance) else "more than can be measured"
    raise ValueError(
        f"The rows spread by {spread}, and its square is too large for float{8 * itemsize}. "
        f"{_advice(itemsize)}"
    )


def _itemsize(data: Prepared) -> int:
    return 8 if data.blocks.dtype == data.blocks.xp.float64 else 4


def _advice(itemsize: int) -> str:
    advice = "Multiply X by a power of two that brings its spread near 1"
    return advice + (", or use float64." if itemsize == 4 else ".")


def refuse_overflow(data: Prepared, limits: dict[int, float]) -> None:
    """Raise ValueError if squares are too large, from the rows' mean or from zero."""
    _refuse_squares_too_large(data, limits)
    if data.metric == "euclidean":
        _refuse_far_rows(data)


def finite_inertia(inertia: float) -> float:
    """Return an inertia; raise ValueError if squared distances to the centroids overflow."""
    if math.isfinite(inertia):
        return inertia
    raise ValueError(
        "Rows lie so far from the centroids that the sum of squared distances overflows. "
        "Multiply both by a power of two that brings the distances near 1, or use float64."
    )


def _refuse_far_rows(data: Prepared) -> None:
    """Raise ValueError if squares from zero are too large, where rows are measured from there."""
    # Rows in an array are measured from their mean. Sparse rows of float32 are squared in float64.
    if type(data.blocks.whole) is DenseRows or data.blocks.dtype != data.blocks.xp.float64:
        return
    origin = to_host(data.origin)
    with np.errstate(over="ignore"):
        sq_length = float(np.square(origin).sum())  # not by BLAS, which wakes threads for that
    most = sq_length * data.blocks.n_points * data.mass if data.blocks.is_weighted else sq_length
    if most <= GREATEST_VARIANCE[8] or not data.blocks.reduce(_is_sparse, merge=operator.or_):
        return
    with np.errstate(over="ignore"):
        distance = f"{np.hypot.reduce(origin):.1e}"
    of_weights = f" times the sum of weights, {data.mass:.1e}," if math.isfinite(sq_length) else ""
    raise ValueError(
        f"The mean of the rows lies {distance} from zero. Sparse rows are measured from there, and "
        f"the square of that{of_weights} is too large for float64. Multiply X by a power of two "
        "that brings it near 1, or give dense rows, which are measured from their mean."
    )


def _is_sparse(rows: Rows, *, xp: Namespace) -> bool:  # noqa: ARG001 (as all partials)
    return isinstance(rows, SparseRows)


def _check_weighted_range(data: Prepared, n_calls: int) -> None:
    """Do the same for sums of squares times weights."""
    variance, itemsize = data.mean_variance, _summed_itemsize(data.blocks)
    # A row's squared distance to the mean is at most the sum of all rows'.
    most = variance * data.blocks.n_features * data.blocks.n_points * data.mass
    if not most <= GREATEST_VARIANCE[itemsize]:
        raise ValueError(f"{_weighted(data)} large for float{8 * itemsize}. {_OTHER_WEIGHTS}")
    warn_of_weights(data, n_calls + 1)


def warn_of_weights(data: Prepared, n_calls: int) -> None:
    """Warn if squares times weights do not fit a dtype; the user's call is ``n_calls`` above."""
    variance, itemsize = data.mean_variance, _summed_itemsize(data.blocks)
    if variance > 0.0 and variance * data.mass < LEAST_VARIANCE[itemsize]:
        _warn(_weighted(data), itemsize, n_calls + 1)
        return
    if _flushes_weights(data.blocks):
        check_mass(data.blocks, data.mass, n_calls + 1)
    _warn_of_products(data, n_calls + 1)


def _warn_of_products(data: Prepared, n_calls: int) -> None:
    """Warn of weights that draws cannot compare: each row's squared distance times its weight."""
    itemsize = _itemsize(data)
    least, greatest = LEAST_DRAWN[itemsize], GREATEST_DRAWN[itemsize]
    square = data.mean_variance * data.blocks.n_features
    if square == 0.0 or least * data.blocks.n_points < square * data.mass <= greatest:
        return  # so does the product of the largest weight, between the mean of them and their sum
    heaviest = data.blocks.reduce(_heaviest, merge=max)
    if not least <= square * heaviest <= greatest:
        size = "small" if square * heaviest < least else "large"
        warnings.warn(
            f"The largest weight, {heaviest:.1e}, times the squared spread of the rows is too "
            f"{size} for float{8 * itemsize}: initial centroids may be drawn badly. "
            f"{_OTHER_WEIGHTS}",
            RuntimeWarning,
            stacklevel=2 + n_calls,
        )


def _heaviest(rows: Rows, *, xp: Namespace) -> float:
    return float(xp.max(rows.weights))


def _weighted(data: Prepared) -> str:
    return f"The sum of weights, {data.mass:.1e}, times the squared spread of the rows is too"


def check_mass(rows: Blocks, mass: float, n_calls: int) -> None:
    """Warn of a small sum of weights, ``n_calls`` below the user's call; ValueError for 0."""
    _checked_mass(mass, rows)
    itemsize = 4 if _flushes_weights(rows) else _summed_itemsize(rows)
    if mass < LEAST_VARIANCE[itemsize]:
        _warn(f"The sum of weights, {mass:.1e}, is too", itemsize, n_calls + 1)


def _summed_itemsize(rows: Blocks) -> int:
    return 8 if accumulation_dtype(rows.device, xp=rows.xp) == rows.xp.float64 else 4


def _flushes_weights(rows: Blocks) -> bool:
    return library_of(rows.xp).flushes_subnormals and rows.dtype == rows.xp.float32


def _warn(told: str, itemsize: int, n_calls: int) -> None:
    warnings.warn(
        f"{told} small for float{8 * itemsize}: the result may be wrong. {_OTHER_WEIGHTS}",
        RuntimeWarning,
        stacklevel=2 + n_calls,
    )


def _first_row(given: Blocks) -> Array:
    rows: Rows | None = given.whole
    if rows is None:
        xp = given.xp
        rows = given.take(xp.zeros((1,), dtype=xp.int32, device=given.device))
    return rows.part(0, 1).centred()[0, :]
