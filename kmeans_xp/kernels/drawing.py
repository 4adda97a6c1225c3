"""Rows drawn by chance, as a kernel: ``portable.py`` says what all kernels have in common."""

from typing import Literal

from kmeans_xp.devices import Array, Namespace, accumulation_dtype
from kmeans_xp.kernels.kernel import kernel

__all__ = ["drawn"]


@kernel
def drawn(
    values: Array,
    weights: Array | None,
    uniforms: Array,
    side: Literal["left", "right"],
    *,
    xp: Namespace,
) -> Array:
    """Return indices of rows drawn in proportion to weight times value.

    Parameters
    ----------
    values : array of shape (n_points,)
        Non-negative and finite.
    weights : array of shape (n_points,), or None
        Non-negative, in the values' dtype; None says that every weight is 1.
    uniforms : array of shape (n_drawn,)
        Numbers in [0, 1).
    side : {"left", "right"}
        "left" for the first row where the running total reaches that part of the whole,
        "right" for the first where it exceeds it.
    xp : namespace

    Returns
    -------
    integer array of shape (n_drawn,)
        Never a row after the last that adds to the total, which is accumulated.
    """
    mass = values if weights is None else values * weights
    dtype = accumulation_dtype(mass, xp=xp)
    reached = xp.cumulative_sum(xp.astype(mass, dtype, copy=False))
    thresholds = xp.astype(uniforms, dtype, copy=False) * reached[-1]
    indices = xp.searchsorted(reached, thresholds, side=side)
    # Rounding may put a threshold at the whole: the last row with mass is meant.
    last = xp.searchsorted(reached, reached[-1:], side="left")
    return xp.minimum(indices, last)
