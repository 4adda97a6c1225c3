"""Make blocks from any container of rows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kmeans_xp.blocks import stream
from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.elsewhere import Elsewhere
from kmeans_xp.blocks.in_memory import InMemory, rows_of
from kmeans_xp.blocks.on_dask import rows_on_dask
from kmeans_xp.devices import Namespace, Placement, bring, bring_parts, choose, is_sparse, to_host
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
        return InMemory(DenseRows(bring(points, placement), weights), xp=placement.xp)
    if isinstance(points, Elsewhere):
        return points.blocks(weights, placement, is_revisited=is_revisited)
    if placement.is_streamed:
        return stream.streamed(points, None if weights is None else to_host(weights), placement)
    if is_sparse(points):
        return InMemory(SparseRows(bring_parts(points, placement), weights), xp=placement.xp)
    return InMemory(rows_of(bring(points, placement), weights), xp=placement.xp)


def of_rows(rows: Rows, *, xp: Namespace) -> Blocks:
    """Return blocks of rows that are on one device, such as those of ``Blocks.take``."""
    return InMemory(rows, xp=xp)
