"""Vectors on a sphere: small arrays take most of their time between operations."""

from typing import Any

import numpy as np

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numpy.tiling import Floats
from kmeans_xp.kernels.portable.assignment import ClusterTotals
from kmeans_xp.kernels.portable.steps import ROUNDINGS, Update, means_on_sphere
from kmeans_xp.kernels.sphere_rows import RADIUS, on_sphere

__all__: list[str] = []


@on_sphere.override("numpy")
def scaled_in_a_copy(vectors: Floats, *, xp: Namespace) -> Any:
    """Do the operations of the portable body, with its bits, in one array of scratch."""
    if not vectors.size:
        return NotImplemented
    greatest = _greatest(vectors)
    return _scaled(vectors, greatest, np.empty_like(vectors), is_plain=_is_plain(greatest), xp=xp)


@means_on_sphere.override("numpy")
def scaled_in_place(totals: ClusterTotals, centroids: Floats, *, xp: Namespace) -> Any:
    """Do the operations of the portable body, with its bits, in one array of scratch."""
    sums, mass = totals
    if sums.ndim != 2 or not sums.size or sums.dtype != np.float64 or mass.dtype != np.float64:
        return NotImplemented
    if not sums.flags.c_contiguous:  # sums of signals follow the order in memory
        return NotImplemented
    is_empty = mass <= 0.0
    n_empty = np.count_nonzero(is_empty)
    means = sums / (np.where(is_empty, 1.0, mass) if n_empty else mass)[:, None]
    greatest, slack = _greatest(means), ROUNDINGS * float(np.finfo(centroids.dtype).eps)
    is_plain = not n_empty and _is_plain(greatest, slack)
    means = _scaled(means, greatest, means, is_plain=is_plain, xp=xp)
    old = centroids.astype(np.float64, copy=False)
    if not is_plain:
        is_lost = is_empty | (greatest <= slack)
        means[is_lost] = old[is_lost]
    new = means.astype(centroids.dtype)
    moved = np.subtract(new, old, out=means)
    moved *= moved
    sq_shift = np.add.reduce(moved, axis=None)
    # sum w |x - c|^2 = sum w |x|^2 - (2 c.S - m |c|^2): no second pass over the rows.
    explained = np.multiply(sums, 2.0, out=means)
    explained -= mass[:, None] * old
    explained *= old
    return Update(new, np.array([sq_shift, n_empty, np.add.reduce(explained, axis=None)]))


def _greatest(vectors: Floats) -> Floats:
    """Return the greatest magnitude in each vector."""
    greatest: Floats = np.maximum.reduce(np.abs(vectors), axis=1)  # `max` takes longer to call it
    return greatest


def _is_plain(greatest: Floats, slack: float = 0.0) -> bool:
    """Return whether all are above the slack and finite; then no quotient or length is 0 or NaN."""
    return bool(np.minimum.reduce(greatest) > slack and np.maximum.reduce(greatest) < np.inf)


def _scaled(
    vectors: Floats, greatest: Floats, scaled: Floats, *, is_plain: bool, xp: Namespace
) -> Floats:
    """Write vectors of length ``RADIUS`` to ``scaled``; zeros stay zeros."""
    divisors = greatest if is_plain else np.where(greatest > 0.0, greatest, 1.0)
    np.divide(vectors, divisors[:, None], out=scaled)
    lengths = np.sqrt(xp.vecdot(scaled, scaled))
    scaled *= (RADIUS / (lengths if is_plain else np.where(lengths > 0.0, lengths, 1.0)))[:, None]
    return scaled
