"""Rows that are read block by block, before the first visit."""

import numbers
from collections.abc import Generator
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.elsewhere import Elsewhere
from kmeans_xp.blocks.reading_ahead import read_ahead
from kmeans_xp.blocks.sources import RowSource, open_rows
from kmeans_xp.blocks.sources.frames import header_of
from kmeans_xp.blocks.sources.weighted import WeightedSource
from kmeans_xp.blocks.streamed import Streamed
from kmeans_xp.devices import Placement, choose, free_memory

__all__ = ["Stream", "found", "is_too_large", "streamed"]

#: minimum size of memory maps to stream; smaller ones would be a few blocks
_SMALLEST_MAP = 64 * 2**20

#: memory of a fit on the device beside the rows: labels and distances of a row, and tiles
_BYTES_A_ROW = 32
_BYTES_OF_TILES = 256 * 2**20


class Stream(Elsewhere):
    """What is known about the rows of a source before they are read.

    Parameters
    ----------
    source : RowSource
        The rows.
    """

    def __init__(self, source: RowSource) -> None:
        self.source = source
        self.name = source.name

    @property
    def header(self) -> Any:
        """Columns without rows."""
        return header_of(self.source.feature_names, self.source.n_features)

    @property
    def dtype(self) -> Any:
        """Dtype of the rows after reading."""
        return self.source.dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns; counting rows may take a pass over them."""
        return self.source.shape

    def placement(self, device: str | None) -> Placement:
        """Return where to compute with blocks of the rows."""
        # Use an array of one number for its library and device: rows may not be counted yet.
        n_rows = self.source.n_rows_known or 2**40
        alike = np.broadcast_to(np.zeros((), self.dtype), (n_rows, self.source.n_features))
        placement = choose(alike, device)
        return placement._replace(
            reason=f"{placement.reason}; the rows of {self.name} are read block by block"
        )

    def checked_weights(self, sample_weight: Any) -> NDArray[Any] | None:
        """Return the weights on the host; ValueError if they are invalid."""
        if sample_weight is None:
            return None
        if self.source.is_weighted:
            raise ValueError(f"{self.name} has a column of weights: do not pass sample_weight too.")
        n_rows = self.shape[0]
        if isinstance(sample_weight, numbers.Number):
            sample_weight = np.broadcast_to(np.asarray(sample_weight), (n_rows,))
        weights: NDArray[Any] = check_array(
            sample_weight, ensure_2d=False, dtype="numeric", input_name="sample_weight"
        )
        if weights.shape != (n_rows,):
            raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(n_rows,)}!")
        if weights.min() < 0:
            raise ValueError("Negative values in data passed to `sample_weight`.")
        return weights

    def blocks(
        self,
        weights: Any,
        placement: Placement,
        *,
        is_revisited: bool = False,
    ) -> Blocks:
        """Return the rows as blocks, relative to zero."""
        return streamed(self.source, weights, placement)

    def batches(self, weights: Any) -> Generator[tuple[Any, Any]]:
        """Yield the points and weights of each block; a thread reads ahead."""
        if weights is not None:
            raise ValueError(
                "For rows that are read by blocks, set weights by open_rows(weight=...)."
            )
        with closing(read_ahead(self.source.read(), 1)) as read:
            yield from read


def found(X: Any) -> Stream | None:
    """Return a ``Stream`` for an open source or a large memory map; None for any other X."""
    if isinstance(X, RowSource):
        return Stream(X)
    if isinstance(X, np.memmap) and X.ndim == 2 and X.nbytes > _SMALLEST_MAP:
        return Stream(open_rows(X))
    return None


def streamed(points: Any, weights: NDArray[Any] | None, placement: Placement) -> Streamed:
    """Return blocks of a source, or of an array on the host."""
    source = open_rows(points)
    if weights is not None:
        source = WeightedSource(source, weights)
    return Streamed(source, xp=placement.xp, device=placement.device)


def is_too_large(points: Any, placement: Placement) -> bool:
    """Return whether an array on the host is too large for the device that computes."""
    if placement.is_home or not isinstance(points, np.ndarray):
        return False
    free = free_memory(placement.xp, placement.device)
    needed = points.nbytes + _BYTES_A_ROW * len(points) + _BYTES_OF_TILES
    return free is not None and needed > free
