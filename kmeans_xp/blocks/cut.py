"""Rows cut into several blocks: all of ``Blocks`` but how a block is reached."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.blocks.in_memory import within_memory
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.devices import Array, Device, DType, Namespace, from_host, to_host
from kmeans_xp.kernels import DenseRows, Rows, added, merged_in_tree

__all__ = ["CutBlocks", "Parts", "joined"]


class Parts(NamedTuple):
    """Results for each row, one part a block, held on the device."""

    parts: Sequence[Any]
    xp: Namespace

    def whole(self) -> Any:
        """Return the results of all rows in their order."""
        return joined(self.parts, xp=self.xp)

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
            partial(part, *(each.block(number) for each in per_row), *operands, xp=self.xp)
            for number, part in enumerate(self.parts)
        )
        return merged_in_tree(partials, merge)


def joined(parts: Sequence[Any], *, xp: Namespace) -> Any:
    """Return arrays, or NamedTuples of arrays, one after another along the first axis."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, tuple):
        return type(first)(*(xp.concat(each) for each in zip(*parts, strict=True)))
    return xp.concat(list(parts))


class CutBlocks(ABC):
    """Rows in several blocks of which one or a few are on the device at a time.

    Parameters
    ----------
    sizes : sequence of int
        Rows of each block, at least 1.
    xp : namespace
    """

    n_features: int
    device: Device
    dtype: DType
    is_weighted: bool
    #: rows in several blocks lie in no one piece
    whole: Rows | None = None

    def __init__(self, sizes: Sequence[int], *, xp: Namespace) -> None:
        self.sizes = tuple(sizes)
        self.xp = xp
        self._ends = tuple(accumulate(self.sizes))

    @abstractmethod
    def visited(self) -> Iterator[Rows]:
        """Yield the rows of each block in order, where functions can compute with them."""

    @abstractmethod
    def rows_at(self, number: int, places: NDArray[np.int64]) -> DenseRows:
        """Return some rows of one block, by their places in it, relative to the origin."""

    @abstractmethod
    def seen_from(self, origin: Array | None) -> Self:
        """Return the same rows, measured from another origin."""

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
        return merged_in_tree(self._results(partial, operands, per_row), merge)

    def map_rows(
        self, function: Callable[..., Any], *operands: Any, per_row: tuple[PerRow, ...] = ()
    ) -> Parts:
        """Return what ``function`` gives for each row."""
        return Parts(tuple(self._results(function, operands, per_row)), self.xp)

    def cut(self, values: Array) -> Parts:
        """Return an array that has an entry for each row, cut as the rows are."""
        bounds = zip((0, *self._ends[:-1]), self._ends, strict=True)
        return Parts(tuple(values[start:stop] for start, stop in bounds), self.xp)

    def take(self, indices: Array) -> DenseRows:
        """Return rows by their index among all, with their weights, relative to the origin."""
        wanted = to_host(indices).astype(np.int64)
        owners = np.searchsorted(self._ends, wanted, side="right")
        order = np.argsort(owners, kind="stable")
        taken = [
            self.rows_at(int(owner), wanted[owners == owner] - (0, *self._ends)[owner])
            for owner in np.unique(owners)
        ]
        back = from_host(np.argsort(order), xp=self.xp, device=self.device)
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
    ) -> Iterator[Any]:
        for number, rows in enumerate(self.visited()):
            given = (each.block(number) for each in per_row)
            yield within_memory(function, rows, *given, *operands, xp=self.xp)
