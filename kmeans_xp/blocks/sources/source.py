"""The base class of sources of rows: blocks in a fixed order, read again in every pass."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.blocks.sources.checks import Place, check_block, check_shape, reading
from kmeans_xp.blocks.sources.picking import SourceBlock, Wanted

__all__ = ["Layout", "RowSource", "SourceBlock", "default_block_rows"]

#: A few blocks are in memory at a time. glibc reuses allocations up to 32 MiB. The system clears
#: larger ones every time, which takes half as much CPU time as reading. A block of this size is
#: enough work for a kernel's threads.
_BLOCK_BYTES = 16 * 2**20


class Layout(NamedTuple):
    """What all blocks of a source have in common.

    Parameters
    ----------
    n_features : int
        Number of columns of the points.
    dtype : dtype
        Dtype of the rows after reading: float32 or float64.
    feature_names : tuple of str, or None
        None if the columns have no names.
    is_weighted : bool
        Whether blocks have weights.
    is_sparse : bool
        Whether points are CSR matrices.
    """

    n_features: int
    dtype: np.dtype[Any]
    feature_names: tuple[str, ...] | None = None
    is_weighted: bool = False
    is_sparse: bool = False


def default_block_rows(bytes_a_row: float) -> int:
    """Return the number of rows in a block of the default size."""
    return max(1, int(_BLOCK_BYTES // max(bytes_a_row, 1)))


class RowSource(ABC):
    """Rows that are read block by block, as often as they are needed.

    Every pass gives the same blocks, and no block is empty. Every read checks that a block's
    numbers are finite, that its weights are not negative, and that its size has not changed. After
    a complete pass, numbers of a file are checked again only if the file has changed.

    Attributes
    ----------
    name : str
        Name of the source in messages: the path, or the type of the object.
    layout : Layout
        What all blocks have in common.
    """

    name: str
    layout: Layout
    #: whether several threads may read blocks of one pass at a time, through ``apart``
    is_read_apart = False
    _sizes: tuple[int, ...] | None = None
    #: the stamp of the rows when a complete pass found all of them valid
    _clean_stamp: object = None
    #: advice for errors about passes that differ
    _advice = "Rows must not change while they are read."

    @property
    def n_features(self) -> int:
        """Number of columns of the points."""
        return self.layout.n_features

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of points and weights: float32 or float64."""
        return self.layout.dtype

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the columns, if they have names."""
        return self.layout.feature_names

    @property
    def is_weighted(self) -> bool:
        """Whether blocks have weights."""
        return self.layout.is_weighted

    @property
    def is_sparse(self) -> bool:
        """Whether points are CSR matrices."""
        return self.layout.is_sparse

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name}: {self.n_features} features, {self.dtype}>"

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of the points; to count the rows may take a pass."""
        return sum(self.sizes()), self.n_features

    @property
    def n_rows_known(self) -> int | None:
        """Number of rows, or None before they are counted."""
        return None if self._sizes is None else sum(self._sizes)

    def sizes(self) -> tuple[int, ...]:
        """Return the number of rows of each block; takes a pass if the format does not store it.

        Returns
        -------
        tuple of int
            In row order, all above 0.

        Raises
        ------
        ValueError
            If there are no rows.
        """
        if self._sizes is None:
            self._sizes = self._counted()
        if not self._sizes:
            raise ValueError(f"{self.name} has no rows.")
        return self._sizes

    def read(self) -> Generator[SourceBlock]:
        """Yield all blocks in row order.

        Yields
        ------
        SourceBlock
            Points as a C-contiguous array or a CSR matrix, and weights or None.

        Raises
        ------
        ValueError
            If a block holds NaN or infinity, a weight is negative, or the rows differ from those
            of the first pass; the message names source, rows and block.
        OSError, RuntimeError
            If a block cannot be read; its cause is the original error.
        """
        sizes: list[int] = []
        for block in self._pass(0):
            sizes.append(int(block.points.shape[0]))
            yield block
        self._settle(tuple(sizes))

    def apart(self) -> AbstractContextManager[Iterator[Callable[[], SourceBlock]]]:
        """Return callables that read one block each, for any thread, in row order.

        Returns
        -------
        context manager
            Gives an iterator of the callables. They raise the same errors as ``read``; call them
            before the context ends.

        Raises
        ------
        NotImplementedError
            If ``is_read_apart`` is false.
        """
        raise NotImplementedError(f"Blocks of {self.name} can only be read one after another.")

    def read_block(self, number: int) -> SourceBlock:
        """Return one block, directly if the format allows it, otherwise by a pass.

        Parameters
        ----------
        number : int
            Index of the block in ``sizes``, from 0.

        Returns
        -------
        SourceBlock
            As from ``read``.

        Raises
        ------
        IndexError
            If there are fewer blocks.
        """
        if not 0 <= number < len(self.sizes()):
            raise IndexError(f"{self.name} has blocks 0 to {len(self.sizes()) - 1}, not {number}.")
        with closing(self._pass(number)) as blocks:
            return next(blocks)

    def take(self, indices: Any) -> SourceBlock:
        """Return rows by their index among all.

        Parameters
        ----------
        indices : array of int
            Indices in any order, with repeats.

        Returns
        -------
        SourceBlock
            A row for each index, in their order.

        Raises
        ------
        IndexError
            If an index is negative, or at least the number of rows.
        """
        wanted = Wanted(indices, sum(self.sizes()), self.name)
        start, found = 0, []
        with closing(self._pass(0)) as blocks:
            for block in blocks:
                stop = start + int(block.points.shape[0])
                found.append(wanted.among(block, start))
                if wanted.last < stop:
                    break
                start = stop
        return wanted.in_order(found)

    @abstractmethod
    def _blocks(self, first: int) -> Generator[SourceBlock]:
        """Yield the blocks from number ``first`` on, unchecked."""

    def _stamp(self) -> object:
        """Return a value that changes whenever the rows change; None if there is none."""
        return None

    def _counted(self) -> tuple[int, ...]:
        """Return the size of each block, by a pass."""
        return tuple(int(block.points.shape[0]) for block in self._pass(0))

    def _pass(self, first: int) -> Generator[SourceBlock]:
        """Yield the blocks from number ``first`` on, checked."""
        place = self._place(first, sum((self._sizes or ())[:first]))
        stamp, check = self._begun(place)
        with closing(self._blocks(first)) as blocks:
            while (block := self._next(blocks, place)) is not None:
                n_rows = int(block.points.shape[0])
                check(block, self.layout, place.of_size(n_rows))
                place = self._place(place.number + 1, place.start + n_rows)
                yield block
        if first == 0:
            self._found_clean(stamp)

    def _begun(self, place: Place) -> tuple[object, Callable[..., None]]:
        """Return the stamp of the rows, and the check that a pass applies to each block."""
        with reading(place):
            stamp = self._stamp()
        is_clean = stamp is not None and stamp == self._clean_stamp
        return stamp, check_shape if is_clean else check_block

    def _found_clean(self, stamp: object) -> None:
        """Remember that all blocks passed the check, unless rows have changed meanwhile."""
        if stamp == self._stamp():
            self._clean_stamp = stamp

    def _next(self, blocks: Iterator[SourceBlock], place: Place) -> SourceBlock | None:
        with reading(place):
            return next(blocks, None)

    def _place(self, number: int, start: int) -> Place:
        if self._sizes is None:
            return Place(self.name, number, start)
        size = self._sizes[number] if number < len(self._sizes) else 0
        return Place(self.name, number, start, size)

    def _settle(self, sizes: tuple[int, ...]) -> None:
        """Remember the sizes from the first complete pass, and compare later passes with them."""
        if self._sizes is None:
            self._sizes = sizes
        if len(sizes) < len(self._sizes):
            raise ValueError(
                f"{self.name} ended after {sum(sizes):,} rows; an earlier pass found "
                f"{sum(self._sizes):,}. {self._advice}"
            )
        self.sizes()  # raises if there are no rows
