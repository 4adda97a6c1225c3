"""A subset of the rows without a copy: all rows are visited, but others have weight 0."""

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
    """The rows with one label, as blocks of all rows in which the others have weight 0.

    No row is copied; each visit goes over all rows.

    Parameters
    ----------
    given : Blocks
        All rows.
    labels : PerRow of integers
        Label of each row.
    label : int
        Label of the rows in the subset.
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
        """Return the results of ``function`` for each row, also for rows of weight 0."""
        of_members = partial(_with_members, function, self._label)
        return self._given.map_rows(of_members, *operands, per_row=(self._labels, *per_row))

    def take(self, indices: Array) -> DenseRows:
        """Return rows by their index among all, with their original weights."""
        return self._given.take(indices)

    def gathered(self, indices: Array) -> Rows:
        """Return the same as ``take``, but sparse rows stay sparse."""
        return self._given.gathered(indices)

    def seen_from(self, origin: Array | None) -> Self:
        """Return the same rows, relative to another origin."""
        return type(self)(self._given.seen_from(origin), self._labels, self._label)


def _with_members(
    function: Callable[..., Any],
    label: int,
    rows: Rows,
    labels: Array,
    *others: Any,
    xp: Namespace,
) -> Any:
    """Call a function with rows in which those with another label have weight 0."""
    weights = rows.weights
    if weights is None:
        weights = xp.ones((rows.n_points,), dtype=rows.dtype, device=rows.device)
    mine = xp.where(labels == label, weights, xp.zeros_like(weights))
    return function(rows.weighted(mine), *others, xp=xp)
