"""Rows drawn at random, in proportion to their weights, or to weight times a value.

A draw takes the row where the running total over all rows reaches a share of the whole. With
several blocks it first finds the block by its mass, then the row inside it. So the same uniform
numbers draw the same rows, however they are cut into blocks.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.blocks import Blocks, PerRow
from kmeans_xp.devices import (
    Array,
    Namespace,
    accumulation_dtype,
    device_of,
    from_host,
    namespace_of,
    to_host,
)
from kmeans_xp.kernels import Rows, drawn, running_total, where_reached

__all__ = ["draw_by_value", "draw_by_weight"]

Side = Literal["left", "right"]
Host = NDArray[np.float64]


def draw_by_weight(
    blocks: Blocks, uniforms: Host, *, without: NDArray[np.int64] | None = None
) -> Array:
    """Return indices of rows drawn in proportion to their weights.

    Parameters
    ----------
    blocks : Blocks
    uniforms : ndarray
        Numbers in [0, 1), on the host.
    without : ndarray of int, optional
        Rows to leave out; only for rows that have weights.

    Returns
    -------
    integer array
        For each number, where the running total of the weights first exceeds that share of
        the whole.
    """
    if not blocks.is_weighted:
        # On the host: some devices have only float32, which cannot tell 2**24 rows apart.
        indices = np.minimum(uniforms * blocks.n_points, blocks.n_points - 1).astype(np.int64)
        return from_host(indices, xp=blocks.xp, device=blocks.device)
    if without is None:
        weights = blocks.map_rows(_weights)
    else:
        ordered = from_host(np.sort(without), xp=blocks.xp, device=blocks.device)
        weights = blocks.map_rows(_weights_without, ordered, per_row=(blocks.starts,))
    on_device = from_host(uniforms, xp=blocks.xp, device=blocks.device)
    return _drawn(blocks, weights, on_device, "right")


def draw_by_value(blocks: Blocks, values: PerRow, uniforms: Array) -> Array:
    """Return indices of rows drawn in proportion to weight times value.

    Parameters
    ----------
    blocks : Blocks
    values : PerRow
        Non-negative.
    uniforms : array
        Numbers in [0, 1), on the device.

    Returns
    -------
    integer array
        For each number, where the running total first reaches that share of the whole. For rows
        in one piece, the host does not wait for the device.
    """
    if blocks.whole is not None:
        return drawn(values.whole(), blocks.whole.weights, uniforms, "left", xp=blocks.xp)
    mass = blocks.map_rows(_mass, per_row=(values,)) if blocks.is_weighted else values
    return _drawn(blocks, mass, uniforms, "left")


def _drawn(blocks: Blocks, mass: PerRow, uniforms: Array, side: Side) -> Array:
    xp = blocks.xp
    if blocks.whole is not None:
        return drawn(mass.whole(), None, uniforms, side, xp=xp)
    ends = np.cumsum(to_host(mass.reduce(_total, merge=_one_after_another)).astype(np.float64))
    thresholds = to_host(uniforms) * ends[-1]
    # Rounding may put a threshold at the whole: take the last block with mass then.
    last = np.searchsorted(ends, ends[-1], side="left")
    owners = np.minimum(np.searchsorted(ends, thresholds, side=side), last)
    begins = np.concatenate([[0.0], ends[:-1]])
    starts = np.cumsum([0, *blocks.sizes[:-1]])
    indices = np.empty(len(owners), dtype=np.int64)
    for owner in np.unique(owners):
        mine = owners == owner
        reached = running_total(mass.block(int(owner)), xp=xp)
        inside = from_host(thresholds[mine] - begins[owner], xp=xp, device=blocks.device)
        inside = xp.astype(inside, reached.dtype, copy=False)
        places = where_reached(reached, inside, side, xp=xp)
        indices[mine] = to_host(places) + starts[owner]
    return from_host(indices, xp=xp, device=blocks.device)


def _weights(rows: Rows, *, xp: Namespace) -> Any:  # noqa: ARG001 (called as all functions are)
    return rows.weights


def _weights_without(rows: Rows, start: int, ordered: Array, *, xp: Namespace) -> Array:
    """Return the weights with zeros at the given indices, by Array API functions only."""
    weights = rows.weights
    indices = xp.arange(start, start + rows.n_points, dtype=ordered.dtype, device=rows.device)
    at = xp.searchsorted(ordered, indices)
    last = xp.asarray(int(ordered.shape[0]) - 1, dtype=at.dtype, device=rows.device)
    is_given = xp.take(ordered, xp.minimum(at, last)) == indices
    return xp.where(is_given, xp.zeros_like(weights), weights)


def _mass(rows: Rows, values: Array, *, xp: Namespace) -> Array:  # noqa: ARG001
    return values * rows.weights


def _total(mass: Array, *, xp: Namespace) -> Array:
    dtype = accumulation_dtype(device_of(mass), xp=xp)
    return xp.sum(xp.astype(mass, dtype, copy=False), keepdims=True)


def _one_after_another(left: Array, right: Array) -> Array:
    return namespace_of(left).concat([left, right])
