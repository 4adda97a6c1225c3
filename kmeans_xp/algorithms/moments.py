"""Mean and spread of the rows: the origin to measure from, and the scale of ``tol``."""

from typing import NamedTuple

from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, DType, Namespace, accumulation_dtype, tile_shape
from kmeans_xp.kernels import Rows, merged_in_tree

__all__ = ["Moments", "moments_of"]


class Moments(NamedTuple):
    """Weighted sums of the rows and of their squares, column by column, about an origin.

    Parameters
    ----------
    mass : accumulated 0-d array
    sums, sq_sums : accumulated arrays of shape (n_features,)
    """

    mass: Array
    sums: Array
    sq_sums: Array

    @property
    def mean(self) -> Array:
        """Mean of each column, about the same origin."""
        return self.sums / self.mass

    @property
    def variance(self) -> Array:
        """Variance of each column."""
        return self.sq_sums / self.mass - self.mean**2


def moments_of(blocks: Blocks) -> Moments:
    """Return the moments of the rows about the blocks' origin, in one pass.

    Take some row as the origin: the squares then have no large common part to cancel.

    Parameters
    ----------
    blocks : Blocks

    Returns
    -------
    Moments
        On the device.
    """
    moments: Moments = blocks.reduce(_partial_moments)
    return moments


def _partial_moments(rows: Rows, *, xp: Namespace) -> Moments:
    size, _ = tile_shape(rows.points, 1, xp=xp)
    dtype = accumulation_dtype(rows.points, xp=xp)
    return merged_in_tree(_tile_moments(tile, dtype, xp=xp) for _, tile in rows.tiles(size))


def _tile_moments(tile: Rows, dtype: DType, *, xp: Namespace) -> Moments:
    points = xp.astype(tile.centred(xp=xp), dtype, copy=False)
    if tile.weights is None:
        ones = xp.ones_like(points[:, 0])
        return Moments(xp.sum(ones), xp.sum(points, axis=0), xp.sum(points * points, axis=0))
    weights = xp.astype(tile.weights, dtype, copy=False)[:, None]
    weighted = points * weights
    return Moments(xp.sum(weights), xp.sum(weighted, axis=0), xp.sum(weighted * points, axis=0))
