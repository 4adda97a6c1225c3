"""Make blocks of whatever holds the rows."""

from typing import Any

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.devices import Array, Namespace, Placement, bring, bring_parts, is_sparse
from kmeans_xp.kernels import DenseRows, Rows, SparseRows

__all__ = ["of", "of_rows"]


def of(points: Any, weights: Array | None, placement: Placement) -> Blocks:
    """Return blocks of rows, measured from zero, where they are to be computed with.

    Parameters
    ----------
    points : array or sparse matrix of shape (n_points, n_features)
        Of any library, a matrix in CSR form; brought to where the computation is.
    weights : array of shape (n_points,), or None
        Where the computation is, in the dtype of the computation.
    placement : Placement
    """
    if is_sparse(points):
        return InMemory(SparseRows(bring_parts(points, placement), weights), xp=placement.xp)
    return InMemory(DenseRows(bring(points, placement), weights), xp=placement.xp)


def of_rows(rows: Rows, *, xp: Namespace) -> Blocks:
    """Return blocks of rows that are on one device, such as those of ``Blocks.take``."""
    return InMemory(rows, xp=xp)
