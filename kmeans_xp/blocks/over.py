"""Blocks over other blocks: functions get the same rows in another form."""

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.devices import Array, Device, DType, Namespace
from kmeans_xp.kernels import Rows

__all__ = ["OverBlocks"]


class OverBlocks:
    """Properties of blocks that wrap the rows of other blocks.

    Parameters
    ----------
    given : Blocks
        The rows.
    """

    #: functions do not get the rows as they are stored
    whole: Rows | None = None

    def __init__(self, given: Blocks) -> None:
        self._given = given
        self.xp: Namespace = given.xp

    @property
    def n_points(self) -> int:
        """Number of all rows."""
        return self._given.n_points

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self._given.n_features

    @property
    def device(self) -> Device:
        """Device of operands."""
        return self._given.device

    @property
    def dtype(self) -> DType:
        """Dtype in which functions get the rows."""
        return self._given.dtype

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of rows of each block."""
        return self._given.sizes

    @property
    def starts(self) -> PerRow:
        """Index of the first row of each block."""
        return self._given.starts

    def cut(self, values: Array) -> PerRow:
        """Split an array with an entry for each row into the same blocks as the rows."""
        return self._given.cut(values)
