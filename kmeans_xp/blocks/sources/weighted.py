"""Rows of a source, with weights that were given apart from it."""

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.blocks.sources.source import RowSource, SourceBlock

__all__ = ["WeightedSource"]


class WeightedSource(RowSource):
    """Rows of another source, which has no weights of its own.

    Parameters
    ----------
    source : RowSource
        The rows.
    weights : ndarray of shape (n_rows,)
        Checked already; not copied.
    """

    def __init__(self, source: RowSource, weights: NDArray[Any]) -> None:
        self.name = source.name
        self.layout = source.layout._replace(is_weighted=True)
        self._source = source
        self._weights = weights
        self._sizes = source.sizes()

    def take(self, indices: Any) -> SourceBlock:
        """Return rows by their index among all, with their weights."""
        points = self._source.take(indices).points
        return SourceBlock(points, self._weights[np.asarray(indices)].astype(self.dtype))

    def _blocks(self, first: int) -> Generator[SourceBlock]:
        start = sum(self.sizes()[:first])
        for block in self._source._pass(first):
            stop = start + int(block.points.shape[0])
            yield SourceBlock(block.points, self._weights[start:stop].astype(self.dtype))
            start = stop

    def _pass(self, first: int) -> Generator[SourceBlock]:
        return self._blocks(first)  # checked by the source
