"""Make blocks of whatever holds the rows."""

from typing import Any

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.devices import Array, Namespace, Placement, bring
from kmeans_xp.kernels import DenseRows, Rows

__all__ = ["of", "of_rows"]


def of(points: Any, weights: Array | None, placement: Placement) -> Blocks:
    """Return blocks of rows, measured from zero, where they are to be computed with.

    Parameters
    ----------
    points : array of shape (n_points, n_features)
        Of any library; brought to where the computation is.
    weights : array of shape (n_points,), or None
        Where the computation is, in the dtype of the computation.
    placement : Placement
    """
    return InMemory(DenseRows(bring(points, placement), weights), xp=placement.xp)


def of_rows(rows: Rows, *, xp: Namespace) -> Blocks:
    """Return blocks of rows that are on one device, such as those of ``Blocks.take``."""
    return InMemory(rows, xp=xp)
