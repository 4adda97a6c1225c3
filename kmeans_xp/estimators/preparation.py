"""Points made ready to cluster: placed, weighted, and seen from their mean."""

from typing import NamedTuple

from kmeans_xp.algorithms import moments_of
from kmeans_xp.blocks import InMemory
from kmeans_xp.devices import Array, Placement, bring, computing_dtype, to_host
from kmeans_xp.kernels import Rows, spread

__all__ = ["Prepared", "prepared"]


class Prepared(NamedTuple):
    """What an algorithm needs of the data.

    Parameters
    ----------
    blocks : InMemory
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

    blocks: InMemory
    origin: Array
    mean_variance: float
    total_sq: float
    mass: float
    placement: Placement


def prepared(points: Array, weights: Array | None, placement: Placement) -> Prepared:
    """Place the points and measure their mean and spread; waits for the device once."""
    xp = placement.xp
    points = bring(points, placement)
    first = xp.astype(points[0, :], computing_dtype(points.dtype, xp=xp), copy=False)
    plain = weighted = moments_of(InMemory(Rows(points, None, first), xp=xp))
    if weights is not None:
        weighted = moments_of(InMemory(Rows(points, weights, first), xp=xp))
    origin, numbers = spread(plain, weighted, first, xp=xp)
    mean_variance, total_sq, mass = to_host(numbers).tolist()
    blocks = InMemory(Rows(points, weights, origin), xp=xp)
    return Prepared(blocks, origin, mean_variance, total_sq, mass, placement)
