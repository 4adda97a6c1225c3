"""Means on a sphere in place: small arrays take most of their time between operations."""

from typing import Any

import numpy as np

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numpy.tiling import Floats
from kmeans_xp.kernels.portable.assignment import ClusterTotals
from kmeans_xp.kernels.portable.steps import ROUNDINGS, Update, means_on_sphere
from kmeans_xp.kernels.sphere_rows import RADIUS

__all__: list[str] = []


@means_on_sphere.override("numpy")
def scaled_in_place(totals: ClusterTotals, centroids: Floats, *, xp: Namespace) -> Any:
    """Do the operations of the portable body, with its bits, in one array of scratch."""
    sums, mass = totals
    if sums.ndim != 2 or sums.dtype != np.float64 or mass.dtype != np.float64:
        return NotImplemented
    if not sums.flags.c_contiguous:  # sums of signals follow the order in memory
        return NotImplemented
    is_empty = mass <= 0.0
    n_empty = np.count_nonzero(is_empty)
    means = sums / (np.where(is_empty, 1.0, mass) if n_empty else mass)[:, None]
    greatest = np.maximum(means.max(axis=1), -means.min(axis=1))
    is_lost = is_empty | (greatest <= ROUNDINGS * float(np.finfo(centroids.dtype).eps))
    means /= np.where(greatest > 0.0, greatest, 1.0)[:, None]
    lengths = np.sqrt(xp.vecdot(means, means))
    means *= (RADIUS / np.where(lengths > 0.0, lengths, 1.0))[:, None]
    old = centroids.astype(np.float64, copy=False)
    if is_lost.any():
        means[is_lost] = old[is_lost]
    new = means.astype(centroids.dtype)
    moved = np.subtract(new, old, out=means)
    moved *= moved
    sq_shift = moved.sum()
    # sum w |x - c|^2 = sum w |x|^2 - (2 c.S - m |c|^2): no second pass over the rows.
    explained = np.multiply(sums, 2.0, out=means)
    explained -= mass[:, None] * old
    explained *= old
    return Update(new, np.array([sq_shift, n_empty, explained.sum()]))
