"""Results for each row, cut as the rows are."""

from collections.abc import Callable
from typing import Any, Protocol

from kmeans_xp.devices import Placement
from kmeans_xp.kernels import added

__all__ = ["PerRow"]


class PerRow(Protocol):
    """What ``Blocks.map_rows`` gave for each row: to be handed back to the blocks, or gathered.

    Whatever is asked of it visits no rows.
    """

    def whole(self) -> Any:
        """Return the results of all rows in their order: an array, or a NamedTuple of arrays."""

    def delivered(self, placement: Placement) -> Any:
        """Return the results of all rows as the user gets them, where the rows came from."""

    def block(self, number: int) -> Any:
        """Return the results of one block's rows."""

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple["PerRow", ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return ``partial(results, *per_row, *operands, xp=xp)`` of all, merged in order."""
