"""Make blocks from any container of rows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kmeans_xp.blocks import stream
from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.elsewhere import Elsewhere
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.blocks.on_dask import rows_on_dask
from kmeans_xp.devices import (
    Array,
    Namespace,
    Placement,
    bring,
    bring_parts,
    choose,
    is_sparse,
    tile_shape,
    to_host,
)
from kmeans_xp.kernels import DenseRows, Rows, SparseRows

__all__ = ["elsewhere", "of", "of_rows", "place"]

#: each returns an ``Elsewhere`` for rows that it can visit, or None; only then it imports their
#: library
_FINDERS: tuple[Callable[[Any], Elsewhere | None], ...] = (stream.found, rows_on_dask)


def elsewhere(X: Any) -> Elsewhere | None:
    """Return what is known about rows that are not in an array; None if X is an array."""
    if isinstance(X, Elsewhere):
        return X
    found = (find(X) for find in _FINDERS)
    return next((each for each in found if each is not None), None)


def place(points: Any, device: str | None) -> Placement:
    """Decide where to compute with an array, or with rows that are not in an array."""
    if type(points) is not np.ndarray and isinstance(points, Elsewhere):
        return points.placement(device)
    placement = choose(points, device)
    if not stream.is_too_large(points, placement):
        return placement
    reason = f"{placement.reason}; the rows do not fit there and are copied block by block"
    return placement._replace(reason=reason, is_streamed=True)


def of(points: Any, weights: Any, placement: Placement, *, is_revisited: bool = False) -> Blocks:
    """Return blocks of rows, relative to zero, on the device that computes.

    Parameters
    ----------
    points : array or sparse matrix of shape (n_points, n_features), or Elsewhere
        Of any library; matrices in CSR form. They are copied to the device that computes.
    weights : array of shape (n_points,), or None
        On the device that computes, in the dtype of the computation.
    placement : Placement
    is_revisited : bool
        Whether the caller makes more than one pass.

    Returns
    -------
    Blocks
    """
    if type(points) is np.ndarray and not placement.is_streamed:  # skip the slower checks below
        return _in_memory(bring(points, placement), weights, placement.xp, is_revisited)
    if isinstance(points, Elsewhere):
        return points.blocks(weights, placement, is_revisited=is_revisited)
    if placement.is_streamed:
        return stream.streamed(points, None if weights is None else to_host(weights), placement)
    if is_sparse(points):
        return InMemory(SparseRows(bring_parts(points, placement), weights), xp=placement.xp)
    return _in_memory(bring(points, placement), weights, placement.xp, is_revisited)


def _in_memory(points: Array, weights: Any, xp: Namespace, is_revisited: bool) -> Blocks:
    """Return blocks of a dense array; for several passes, few rows are copied side by side."""
    # A few columns of a wide table miss the cache at every row, in each pass.
    if is_revisited and type(points) is np.ndarray and not points.flags.c_contiguous:
        rows = DenseRows(points)
        if tile_shape(rows, 1, xp=xp, itemsize=points.itemsize)[0] == rows.n_points:
            points = np.ascontiguousarray(points)
    return InMemory(DenseRows(points, weights), xp=xp)


def of_rows(rows: Rows, *, xp: Namespace) -> Blocks:
    """Return blocks of rows that are on one device, such as those of ``Blocks.take``."""
    return InMemory(rows, xp=xp)
