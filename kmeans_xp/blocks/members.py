"""Some of the rows, where they lie: all are visited, and those that are not meant weigh nothing."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.over import OverBlocks
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels import DenseRows, Rows, added

__all__ = ["Members"]


class Members(OverBlocks):
    """The rows of which a label is kept that says so, as blocks of all rows with weights of 0.

    No row is copied; each visit goes over all rows.

    Parameters
    ----------
    given : Blocks
        All rows.
    labels : PerRow of integers
        For each row, to which set it belongs.
    label : int
        The set that is meant.
    """

    is_weighted = True

    def __init__(self, given: Blocks, labels: PerRow, label: int) -> None:
        super().__init__(given)
        self._labels = labels
        self._label = label

    def reduce(
        self,
        function: Callable[..., Any],
        *operands: Any,
        per_row: tuple[PerRow, ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return the partial results of all blocks, merged in a fixed tree over their order."""
        of_members = partial(_with_members, function, self._label)
        return self._given.reduce(
            of_members, *operands, per_row=(self._labels, *per_row), merge=merge
        )

    def map_rows(
        self, function: Callable[..., Any], *operands: Any, per_row: tuple[PerRow, ...] = ()
    ) -> PerRow:
        """Return what ``function`` gives for each row, also for those that weigh nothing."""
        of_members = partial(_with_members, function, self._label)
        return self._given.map_rows(of_members, *operands, per_row=(self._labels, *per_row))

    def take(self, indices: Array) -> DenseRows:
        """Return rows by their index among all, with the weights that they were given."""
        return self._given.take(indices)

    def gathered(self, indices: Array) -> Rows:
        """Return what ``take`` does as the rows are stored."""
        return self._given.gathered(indices)

    def seen_from(self, origin: Array | None) -> Self:
        """Return the same rows, measured from another origin."""
        return type(self)(self._given.seen_from(origin), self._labels, self._label)


def _with_members(
    function: Callable[..., Any],
    label: int,
    rows: Rows,
    labels: Array,
    *others: Any,
    xp: Namespace,
) -> Any:
    """Call a function with rows of which those of another label weigh nothing."""
    weights = rows.weights
    if weights is None:
        weights = xp.ones((rows.n_points,), dtype=rows.dtype, device=rows.device)
    mine = xp.where(labels == label, weights, xp.zeros_like(weights))
    return function(rows.weighted(mine), *others, xp=xp)
