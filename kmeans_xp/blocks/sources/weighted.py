"""Rows of a source, with separate weights."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.blocks.sources.source import RowSource, SourceBlock

__all__ = ["WeightedSource"]


class WeightedSource(RowSource):
    """Rows of another source that has no weights.

    Parameters
    ----------
    source : RowSource
        The rows.
    weights : ndarray of shape (n_rows,)
        Checked weights; they are not copied.
    """

    def __init__(self, source: RowSource, weights: NDArray[Any]) -> None:
        self.name = source.name
        self.layout = source.layout._replace(is_weighted=True)
        self._source = source
        self._weights = weights
        self._sizes = source.sizes()
        self.is_read_apart = source.is_read_apart

    def take(self, indices: Any) -> SourceBlock:
        """Return rows by their index among all, with their weights."""
        points = self._source.take(indices).points
        return SourceBlock(points, self._weights[np.asarray(indices)].astype(self.dtype))

    @contextmanager
    def apart(self) -> Generator[Iterator[Callable[[], SourceBlock]]]:
        """Yield, for each block in row order, a callable that reads it, for any thread."""
        starts = accumulate(self.sizes(), initial=0)
        with self._source.apart() as blocks:
            yield (
                partial(self._read_from, start, read)
                for start, read in zip(starts, blocks, strict=False)
            )

    def _blocks(self, first: int) -> Generator[SourceBlock]:
        start = sum(self.sizes()[:first])
        for block in self._source._pass(first):
            yield self._weighted(block, start)
            start += int(block.points.shape[0])

    def _read_from(self, start: int, read: Callable[[], SourceBlock]) -> SourceBlock:
        return self._weighted(read(), start)

    def _weighted(self, block: SourceBlock, start: int) -> SourceBlock:
        stop = start + int(block.points.shape[0])
        return SourceBlock(block.points, self._weights[start:stop].astype(self.dtype))

    def _pass(self, first: int) -> Generator[SourceBlock]:
        return self._blocks(first)  # checked by the source
