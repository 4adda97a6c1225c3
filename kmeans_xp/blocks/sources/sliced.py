"""Sources that know their number of rows, and read any range of rows."""

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.blocks.sources.checks import Place, check_block, reading
from kmeans_xp.blocks.sources.columns import Columns
from kmeans_xp.blocks.sources.picking import SourceBlock, Wanted
from kmeans_xp.blocks.sources.source import RowSource, default_block_rows

__all__ = ["Range", "SlicedSource", "even_sizes"]

#: Rows at most this far apart, in bytes, are read together: one larger read is faster than two.
_NEAR_BYTES = 64 * 2**10


class Range(NamedTuple):
    """Rows from ``start`` up to ``stop``."""

    start: int
    stop: int


def even_sizes(n_rows: int, block_rows: int) -> tuple[int, ...]:
    """Return the sizes of blocks of ``block_rows`` rows; the last may have fewer."""
    n_whole, rest = divmod(n_rows, block_rows)
    return (block_rows,) * n_whole + ((rest,) if rest else ())


class SlicedSource(RowSource):
    """Rows that are read by ranges.

    Parameters
    ----------
    name : str
        Name of the source.
    n_rows : int
        Number of rows.
    columns : Columns
        Makes points and weights from a slice.
    block_rows : int, or None
        Number of rows of a block; None for blocks of the default size.
    bytes_a_row : int, or None
        Stored bytes of a row; None for n_features numbers.
    chunk_rows : int, or None
        Number of rows that are stored as one chunk; blocks then consist of whole chunks.
    """

    def __init__(
        self,
        name: str,
        n_rows: int,
        columns: Columns,
        block_rows: int | None,
        *,
        bytes_a_row: float | None = None,
        chunk_rows: int | None = None,
    ) -> None:
        self.name = name
        self.layout = columns.layout
        self._columns = columns
        bytes_a_row = bytes_a_row or self.n_features * self.dtype.itemsize
        if block_rows is None:
            block_rows = _whole_chunks(default_block_rows(bytes_a_row), chunk_rows)
        self._block_rows = block_rows
        self._near = max(chunk_rows or 1, int(_NEAR_BYTES // bytes_a_row))
        self._sizes = even_sizes(n_rows, block_rows)
        self.sizes()  # raises if there are no rows

    def take(self, indices: Any) -> SourceBlock:
        """Return rows by their index among all, and read few others."""
        wanted = Wanted(indices, sum(self.sizes()), self.name)
        runs = self._runs(wanted.rows)
        slices = self._slices(runs)
        found = []
        for start, stop in runs:
            place = Place(self.name, start // self._block_rows, start, stop - start)
            with reading(place):
                run = self._columns.block(next(slices))
            check_block(run, self.layout, place)
            found.append(wanted.among(run, start))
        return wanted.in_order(found)

    @contextmanager
    def apart(self) -> Generator[Iterator[Callable[[], SourceBlock]]]:
        """Yield, for each block in row order, a callable that reads it, for any thread."""
        stamp, check = self._begun(self._place(0, 0))
        checked: list[int] = []

        def read(number: int) -> SourceBlock:
            rows = self._range(number)
            place = self._place(number, rows.start)
            with reading(place):
                [chunk] = self._slices([rows])
                block = self._columns.block(chunk)
            check(block, self.layout, place)
            checked.append(number)
            return block

        yield (partial(read, number) for number in range(len(self.sizes())))
        if len(checked) == len(self.sizes()):
            self._found_clean(stamp)

    @abstractmethod
    def _slices(self, ranges: Iterable[Range]) -> Iterator[Any]:
        """Yield the rows of each range, with all their columns."""

    def _blocks(self, first: int) -> Generator[SourceBlock]:
        for rows in self._slices(map(self._range, range(first, len(self.sizes())))):
            yield self._columns.block(rows)

    def _range(self, number: int) -> Range:
        """Return the rows of a block."""
        start = number * self._block_rows
        return Range(start, start + self.sizes()[number])

    def _runs(self, rows: np.ndarray[Any, Any]) -> list[Range]:
        """Return ranges that hold the given rows, each inside one block."""
        is_end = (np.diff(rows) > self._near) | (np.diff(rows // self._block_rows) > 0)
        ends = np.flatnonzero(is_end) + 1
        firsts, lasts = rows[np.concatenate([[0], ends])], rows[np.concatenate([ends, [0]]) - 1]
        return [Range(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def _whole_chunks(block_rows: int, chunk_rows: int | None) -> int:
    if chunk_rows is None or chunk_rows > block_rows:
        return block_rows
    return block_rows // chunk_rows * chunk_rows
