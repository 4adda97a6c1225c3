"""Points made ready to cluster: placed, weighted, and seen from their mean."""

import math
import warnings
from typing import Any, NamedTuple

from kmeans_xp import blocks
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, Placement, to_host
from kmeans_xp.kernels import Rows, both_moments, spread

__all__ = ["Prepared", "check_range", "prepared"]

#: variances between which the squares of a dtype, and their differences, keep their digits: also
#: where numbers below the least normal one are taken for 0, as CUDA's are
_LEAST_VARIANCE = {4: 1e-30, 8: 1e-290}
_GREATEST_VARIANCE = {4: 1e36, 8: 1e300}


class Prepared(NamedTuple):
    """What an algorithm needs of the data.

    Parameters
    ----------
    blocks : Blocks
        The rows relative to ``origin``.
    origin : array of shape (n_features,)
        The mean of the points, rounded to the dtype of the computation.
    mean_variance : float
        Mean over the features of their variance, in squared units of the points.
    total_sq : float
        Weighted sum of the squared distances to the origin.
    mass : float
        Sum of the weights.
    placement : Placement
    """

    blocks: Blocks
    origin: Array
    mean_variance: float
    total_sq: float
    mass: float
    placement: Placement


def prepared(points: Any, weights: Array | None, placement: Placement) -> Prepared:
    """Place the points and measure their mean and spread; waits for the device once."""
    given = blocks.of(points, weights, placement, is_revisited=True)
    # Some row as the origin: the squares then have no large common part to cancel.
    first = _first_row(given)
    plain, weighted = given.seen_from(first).reduce(both_moments)
    origin, numbers = spread(plain, weighted, first, xp=placement.xp)
    mean_variance, total_sq, mass = to_host(numbers).tolist()
    if mass == 0.0:  # of rows whose weights were not seen before
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return Prepared(given.seen_from(origin), origin, mean_variance, total_sq, mass, placement)


def check_range(data: Prepared) -> None:
    """Warn where squared distances are too small for their dtype; ValueError where too large."""
    itemsize = 8 if data.blocks.dtype == data.blocks.xp.float64 else 4
    variance, n_features = data.mean_variance, data.blocks.n_features
    # Not a number where the differences themselves are too large.
    is_too_large = not variance * n_features <= _GREATEST_VARIANCE[itemsize]
    if not is_too_large and not 0.0 < variance < _LEAST_VARIANCE[itemsize]:
        return
    name = f"float{8 * itemsize}"
    spread = f"{variance**0.5:.1e}" if math.isfinite(variance) else "too far to say"
    advice = "Multiply X by a power of two that brings its spread near 1"
    advice += ", or use float64." if itemsize == 4 else "."
    if is_too_large:
        raise ValueError(
            f"The rows spread by {spread}, whose squares are too large for {name}. {advice}"
        )
    warnings.warn(
        f"The rows spread by {spread}, whose squares are too small for {name}: labels may be "
        f"wrong. {advice}",
        RuntimeWarning,
        stacklevel=7,
    )


def _first_row(given: Blocks) -> Array:
    rows: Rows | None = given.whole
    if rows is None:
        xp = given.xp
        rows = given.take(xp.zeros((1,), dtype=xp.int32, device=given.device))
    return rows.part(0, 1).centred()[0, :]
