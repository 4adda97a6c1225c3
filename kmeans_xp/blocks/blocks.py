"""The protocol of blocks of rows, which every algorithm uses."""

from collections.abc import Callable
from typing import Any, Protocol, Self

from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.devices import Array, Device, DType, Namespace
from kmeans_xp.kernels import DenseRows, Rows, added

__all__ = ["Blocks"]


class Blocks(Protocol):
    """Rows in one or more blocks; functions visit each block where it is.

    A function is called as ``function(rows, *per_row, *operands, xp=xp)`` once for each block.
    ``per_row`` are results of ``map_rows`` or ``cut`` for the block's rows; ``operands`` are
    the same for every block. No block is empty.
    """

    xp: Namespace

    @property
    def n_points(self) -> int:
        """Number of rows."""

    @property
    def n_features(self) -> int:
        """Number of columns."""

    @property
    def device(self) -> Device:
        """Device of operands and results."""

    @property
    def dtype(self) -> DType:
        """Dtype in which functions get the rows."""

    @property
    def is_weighted(self) -> bool:
        """Whether rows have weights other than 1."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of rows of each block."""

    @property
    def starts(self) -> PerRow:
        """Index of each block's first row among all rows, as an int for each block."""

    @property
    def whole(self) -> Rows | None:
        """All rows, if they are in one array on the device; otherwise None."""

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple[PerRow, ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return the partial results of all blocks, merged in a fixed tree over their order."""

    def map_rows(
        self, function: Callable[..., Any], *operands: Any, per_row: tuple[PerRow, ...] = ()
    ) -> PerRow:
        """Return the results of ``function`` for each row: an array, or a NamedTuple of arrays."""

    def cut(self, values: Array) -> PerRow:
        """Split an array with an entry for each row into the same blocks as the rows."""

    def take(self, indices: Array) -> DenseRows:
        """Return rows by their index among all, with their weights, relative to the origin."""

    def gathered(self, indices: Array) -> Rows:
        """Return the same as ``take``, but sparse rows stay sparse."""

    def seen_from(self, origin: Array | None) -> Self:
        """Return the same rows, relative to another origin."""
