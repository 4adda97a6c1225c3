"""Rows from a callable that returns a fresh iterator of chunks."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any

from kmeans_xp.blocks.sources.checks import Place, reading
from kmeans_xp.blocks.sources.columns import Columns
from kmeans_xp.blocks.sources.frames import columns_of
from kmeans_xp.blocks.sources.picking import SourceBlock
from kmeans_xp.blocks.sources.recutting import recut
from kmeans_xp.blocks.sources.source import Layout, RowSource

__all__ = ["CalledSource"]


class CalledSource(RowSource):
    """Rows of the chunks from a callable's iterators.

    Parameters
    ----------
    make : callable
        Returns a fresh iterator of arrays, CSR matrices or data frames; called for each pass.
    columns, weight, block_rows : optional
        As in ``open_rows``; with None for ``block_rows`` each chunk is a block.
    """

    _advice = "The callable must return a FRESH iterator of the same rows at each call."

    def __init__(
        self,
        make: Callable[[], Iterable[Any]],
        columns: Sequence[Any] | None = None,
        weight: Any = None,
        block_rows: int | None = None,
    ) -> None:
        self.name = str(getattr(make, "__qualname__", type(make).__name__))
        self._make = make
        self._asked = columns, weight
        self._block_rows = block_rows
        self._last: Any = None

    @cached_property
    def layout(self) -> Layout:  # type: ignore[override]
        """What all blocks have in common, from the first chunk."""
        return self._columns.layout

    @cached_property
    def _columns(self) -> Columns:
        with reading(Place(self.name, 0, 0)), self._opened() as chunks:
            for chunk in chunks:
                return columns_of(chunk, *self._asked, self.name)
        raise ValueError(f"{self.name} has no rows.")

    def _blocks(self, first: int) -> Generator[SourceBlock]:
        with self._opened() as chunks:
            blocks: Iterator[SourceBlock] = filter(_has_rows, map(self._columns.block, chunks))
            if self._block_rows is not None:
                blocks = recut(blocks, self._block_rows)
            yield from islice(blocks, first, None)

    @contextmanager
    def _opened(self) -> Iterator[Iterator[Any]]:
        """Yield a fresh iterator, and then close it if possible."""
        made = self._make()
        if not hasattr(made, "__iter__"):
            raise TypeError(f"it returned a {type(made).__name__}, not an iterator of chunks")
        chunks = iter(made)
        if chunks is self._last:
            raise ValueError(
                "it returned the same iterator again: return a FRESH iterator at each call, "
                "because rows are read several times"
            )
        # Keep it, so that no other object gets the same identity.
        self._last = chunks
        try:
            yield chunks
        finally:
            getattr(made, "close", lambda: None)()


def _has_rows(block: SourceBlock) -> bool:
    return int(block.points.shape[0]) > 0
