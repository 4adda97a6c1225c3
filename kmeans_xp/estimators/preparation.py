"""Points made ready to cluster: placed, weighted, and seen from their mean."""

import math
import warnings
from typing import Any, NamedTuple

from kmeans_xp import blocks
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, Placement, accumulation_dtype, namespace_of, to_host
from kmeans_xp.kernels import Rows, both_moments, spread

__all__ = [
    "GREATEST_VARIANCE",
    "LEAST_VARIANCE",
    "Prepared",
    "check_range",
    "prepared",
    "published",
]

#: variances between which the squares of a dtype, and their differences, keep their digits: also
#: where numbers below the least normal one are taken for 0, as CUDA's are
LEAST_VARIANCE = {4: 1e-30, 8: 1e-290}
GREATEST_VARIANCE = {4: 1e36, 8: 1e300}


class Prepared(NamedTuple):
    """What an algorithm needs of the data.

    Parameters
    ----------
    blocks : Blocks
        The rows relative to ``origin``.
    origin : array of shape (n_features,)
        The mean of the points, rounded to the dtype of the computation; zero on a sphere.
    mean_variance : float
        Mean over the features of their variance, in squared units of the points.
    total_sq : float
        Weighted sum of the squared distances to the origin.
    mass : float
        Sum of the weights.
    placement : Placement
    metric : str
        Whose rows these are.
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
    """Place the points and measure their mean and spread; waits for the device once or twice."""
    given = blocks.of(points, weights, placement, is_revisited=True)
    if metric == "cosine":
        return _on_sphere(blocks.on_sphere(given), placement)
    # Some row as the origin: the squares then have no large common part to cancel.
    first = _first_row(given)
    plain, weighted = given.seen_from(first).reduce(both_moments)
    origin, numbers = spread(plain, weighted, first, xp=placement.xp)
    mean_variance, total_sq, mass = to_host(numbers).tolist()
    mass = _checked_mass(mass)
    return Prepared(given.seen_from(origin), origin, mean_variance, total_sq, mass, placement)


def _checked_mass(mass: float) -> float:
    if mass == 0.0:  # of rows whose weights were not seen before
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return mass


def _on_sphere(given: Blocks, placement: Placement) -> Prepared:
    """Return rows on a sphere, with its centre as their origin."""
    xp = placement.xp
    centre = xp.zeros((given.n_features,), dtype=given.dtype, device=given.device)
    plain, weighted = given.reduce(both_moments)
    _, numbers = spread(plain, weighted, centre, xp=xp)
    total_sq = xp.sum(weighted.sq_sums)
    mean_variance, _, mass = to_host(numbers).tolist()
    # It is a difference of numbers up to 1. For rows in one direction only rounding is left of it,
    # which may be below 0: no shift of centroids is within a tolerance that is.
    mean_variance = max(mean_variance, float(xp.finfo(numbers.dtype).eps))
    mass = _checked_mass(mass)
    return Prepared(given, centre, mean_variance, float(total_sq), mass, placement, "cosine")


def published(centroids: Array, origin: Array, metric: str) -> Array:
    """Return centroids as users see them: measured from zero; for cosine distances of length 1."""
    if metric == "euclidean":
        return centroids + origin
    xp = namespace_of(centroids)
    return centroids / xp.sqrt(xp.vecdot(centroids, centroids))[:, None]


def check_range(data: Prepared) -> None:
    """Warn where squared distances are too small for their dtype; ValueError where too large."""
    itemsize = 8 if data.blocks.dtype == data.blocks.xp.float64 else 4
    variance, n_features = data.mean_variance, data.blocks.n_features
    # Not a number where the differences themselves are too large.
    is_too_large = not variance * n_features <= GREATEST_VARIANCE[itemsize]
    if not is_too_large and not 0.0 < variance < LEAST_VARIANCE[itemsize]:
        if data.blocks.is_weighted:
            _check_weighted_range(data)
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


def _check_weighted_range(data: Prepared) -> None:
    """Do so with squares times their weights, which are added up."""
    xp, variance = data.blocks.xp, data.mean_variance
    itemsize = 8 if accumulation_dtype(data.blocks.device, xp=xp) == xp.float64 else 4
    # No row is farther from the mean than all of them together.
    most = variance * data.blocks.n_features * data.blocks.n_points * data.mass
    is_too_large = not most <= GREATEST_VARIANCE[itemsize]
    if not is_too_large and (variance == 0.0 or variance * data.mass >= LEAST_VARIANCE[itemsize]):
        return
    told = f"The weights, {data.mass:.1e} in all, times the squared spread of the rows are too"
    name = f"float{8 * itemsize}"
    advice = "Multiply sample_weight by a power of two that brings its sum near 1."
    if is_too_large:
        raise ValueError(f"{told} large for {name}. {advice}")
    warnings.warn(
        f"{told} small for {name}: the result may be wrong. {advice}",
        RuntimeWarning,
        stacklevel=8,
    )


def _first_row(given: Blocks) -> Array:
    rows: Rows | None = given.whole
    if rows is None:
        xp = given.xp
        rows = given.take(xp.zeros((1,), dtype=xp.int32, device=given.device))
    return rows.part(0, 1).centred()[0, :]
