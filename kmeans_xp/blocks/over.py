"""Blocks over other blocks: the same rows, of which functions are shown something else."""

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.devices import Array, Device, DType, Namespace
from kmeans_xp.kernels import Rows

__all__ = ["OverBlocks"]


class OverBlocks:
    """What blocks say of themselves where the rows are those of other blocks.

    Parameters
    ----------
    given : Blocks
        The rows.
    """

    #: functions are not shown the rows as they lie
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
        """Device that operands must be on."""
        return self._given.device

    @property
    def dtype(self) -> DType:
        """Dtype that the rows are computed in."""
        return self._given.dtype

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of all rows of each block."""
        return self._given.sizes

    @property
    def starts(self) -> PerRow:
        """Index of the first row of each block."""
        return self._given.starts

    def cut(self, values: Array) -> PerRow:
        """Return an array that has an entry for each row, cut as the rows are."""
        return self._given.cut(values)
