"""Mean and spread of the rows: the origin to measure from, and the scale of ``tol``."""

from kmeans_xp.blocks import Blocks
from kmeans_xp.kernels import Moments, column_moments

__all__ = ["moments_of"]


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
    moments: Moments = blocks.reduce(column_moments)
    return moments
