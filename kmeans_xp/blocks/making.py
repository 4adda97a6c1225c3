"""Make blocks of whatever holds the rows."""

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

#: each returns what it knows of rows that it can visit, or None; imports their library only then
_FINDERS: tuple[Callable[[Any], Elsewhere | None], ...] = (stream.found, rows_on_dask)


def elsewhere(X: Any) -> Elsewhere | None:
    """Return what is known of rows that lie in no array of this process; None of any other X."""
    if isinstance(X, Elsewhere):
        return X
    found = (find(X) for find in _FINDERS)
    return next((each for each in found if each is not None), None)


def place(points: Any, device: str | None) -> Placement:
    """Decide where to compute with an array, or with rows that lie elsewhere."""
    if type(points) is not np.ndarray and isinstance(points, Elsewhere):
        return points.placement(device)
    placement = choose(points, device)
    if not stream.is_too_large(points, placement):
        return placement
    reason = f"{placement.reason}; the rows do not fit there and are brought block by block"
    return placement._replace(reason=reason, is_streamed=True)


def of(points: Any, weights: Any, placement: Placement, *, is_revisited: bool = False) -> Blocks:
    """Return blocks of rows, measured from zero, where they are to be computed with.

    Parameters
    ----------
    points : array or sparse matrix of shape (n_points, n_features), or Elsewhere
        Of any library, a matrix in CSR form; brought to where the computation is.
    weights : array of shape (n_points,), or None
        Where the computation is, in the dtype of the computation.
    placement : Placement
    is_revisited : bool
        Whether there will be more than one pass.

    Returns
    -------
    Blocks
    """
    if type(points) is np.ndarray and not placement.is_streamed:  # to ask more takes its time
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
