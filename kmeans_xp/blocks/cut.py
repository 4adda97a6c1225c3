"""Base class of rows in several blocks: ``Blocks`` without the access to a block."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.blocks.in_memory import within_memory
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.devices import (
    Array,
    Device,
    DType,
    Namespace,
    Placement,
    from_host,
    send,
    to_host,
)
from kmeans_xp.kernels import DenseRows, Rows, added, merged_in_tree

__all__ = ["CutBlocks", "Parts", "joined", "places_in_blocks"]


class Parts(NamedTuple):
    """Results for each row on the device, one part for each block."""

    parts: Sequence[Any]
    xp: Namespace

    def whole(self) -> Any:
        """Return the results of all rows in their order."""
        return joined(self.parts, xp=self.xp)

    def delivered(self, placement: Placement) -> Any:
        """Return the results of all rows in the library, and on the device, of the input."""
        return send(self.whole(), placement)

    def block(self, number: int) -> Any:
        """Return the results of one block's rows."""
        return self.parts[number]

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple[PerRow, ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return the partial results of all blocks, merged in order."""
        partials = (
            partial(*(each.block(number) for each in (self, *per_row)), *operands, xp=self.xp)
            for number in range(len(self.parts))
        )
        return merged_in_tree(partials, merge)


def joined(parts: Sequence[Any], *, xp: Namespace) -> Any:
    """Concatenate arrays, or NamedTuples of arrays, along the first axis."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, tuple):
        return type(first)(*(xp.concat(each) for each in zip(*parts, strict=True)))
    return xp.concat(list(parts))


def places_in_blocks(
    indices: NDArray[Any], ends: Sequence[int] | NDArray[np.int64]
) -> tuple[dict[int, NDArray[np.int64]], NDArray[np.int64]]:
    """Return the block of each index among all rows, and its place in that block.

    Parameters
    ----------
    indices : ndarray of int
        In any order.
    ends : sequence of int
        The index after the last row of each block.

    Returns
    -------
    places : dict of int to ndarray
        Places in each block that has some of the indices, by block number in ascending order.
    order : ndarray
        Sorts the rows that are taken block by block into the order of ``indices``.
    """
    wanted = indices.astype(np.int64)
    owners = np.searchsorted(ends, wanted, side="right")
    starts = np.concatenate([[0], ends])
    places = {int(owner): wanted[owners == owner] - starts[owner] for owner in np.unique(owners)}
    return places, np.argsort(np.argsort(owners, kind="stable"))


class CutBlocks(ABC):
    """Rows in several blocks, with one or a few on the device at a time.

    Parameters
    ----------
    sizes : sequence of int
        Number of rows of each block, at least 1.
    xp : namespace
    """

    n_features: int
    device: Device
    dtype: DType
    is_weighted: bool
    #: rows in several blocks are not in one array
    whole: Rows | None = None

    def __init__(self, sizes: Sequence[int], *, xp: Namespace) -> None:
        self.sizes = tuple(sizes)
        self.xp = xp

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        return tuple(accumulate(self.sizes))

    @abstractmethod
    def visited(self) -> Generator[Rows]:
        """Yield the rows of each block in order, on the device that computes."""

    @abstractmethod
    def rows_at(self, number: int, places: NDArray[np.int64]) -> DenseRows:
        """Return some rows of one block, by their places in it, relative to the origin."""

    @abstractmethod
    def seen_from(self, origin: Array | None) -> Self:
        """Return the same rows, relative to another origin."""

    @property
    def n_points(self) -> int:
        """Number of rows."""
        return self._ends[-1]

    @property
    def starts(self) -> Parts:
        """Index of the first row of each block."""
        return Parts((0, *self._ends[:-1]), self.xp)

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple[PerRow, ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return the partial results of all blocks, merged in a fixed tree over their order."""
        with closing(self._results(partial, operands, per_row)) as partials:
            return merged_in_tree(partials, merge)

    def map_rows(
        self, function: Callable[..., Any], *operands: Any, per_row: tuple[PerRow, ...] = ()
    ) -> PerRow:
        """Return the results of ``function`` for each row."""
        return Parts(tuple(self._results(function, operands, per_row)), self.xp)

    def cut(self, values: Array) -> Parts:
        """Split an array with an entry for each row into the same blocks as the rows."""
        bounds = zip((0, *self._ends[:-1]), self._ends, strict=True)
        return Parts(tuple(values[start:stop] for start, stop in bounds), self.xp)

    def take(self, indices: Array) -> DenseRows:
        """Return rows by their index among all, with their weights, relative to the origin."""
        places, order = places_in_blocks(to_host(indices), self._ends)
        taken = [self.rows_at(number, wanted) for number, wanted in places.items()]
        back = from_host(order, xp=self.xp, device=self.device)
        points = joined([rows.points for rows in taken], xp=self.xp)
        weights = None
        if self.is_weighted:
            weights = self.xp.take(joined([rows.weights for rows in taken], xp=self.xp), back)
        return DenseRows(self.xp.take(points, back, axis=0), weights)

    def gathered(self, indices: Array) -> Rows:
        """Return rows by their index among all, with their weights, relative to the origin."""
        return self.take(indices)

    def _results(
        self, function: Callable[..., Any], operands: tuple[Any, ...], per_row: tuple[PerRow, ...]
    ) -> Generator[Any]:
        # Close the generator at once if a function raises: the traceback would keep it open.
        with closing(self.visited()) as blocks:
            of_block = self._of_block(function, operands, per_row)
            for number, rows in enumerate(blocks):
                yield of_block(number, rows)

    def _of_block(
        self, function: Callable[..., Any], operands: tuple[Any, ...], per_row: tuple[PerRow, ...]
    ) -> Callable[[int, Rows], Any]:
        """Return a callable that runs the function on a block's rows and their per-row values."""

        def of_block(number: int, rows: Rows) -> Any:
            given = (each.block(number) for each in per_row)
            return within_memory(function, rows, *given, *operands, xp=self.xp)

        return of_block
