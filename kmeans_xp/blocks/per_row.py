"""Results for each row, in the same blocks as the rows."""

from collections.abc import Callable
from typing import Any, Protocol

from kmeans_xp.devices import Placement
from kmeans_xp.kernels import added

__all__ = ["PerRow"]


class PerRow(Protocol):
    """Results of ``Blocks.map_rows`` for each row, to pass to later visits or to gather.

    Its methods do not visit the rows.
    """

    def whole(self) -> Any:
        """Return the results of all rows in their order: an array, or a NamedTuple of arrays."""

    def delivered(self, placement: Placement) -> Any:
        """Return the results of all rows in the library, and on the device, of the input."""

    def block(self, number: int) -> Any:
        """Return the results of one block's rows."""

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple["PerRow", ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Merge ``partial(results, *per_row, *operands, xp=xp)`` of all blocks in order."""
