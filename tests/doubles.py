"""Rows cut into blocks, to show that an algorithm does not see how they are cut."""

from collections.abc import Generator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kmeans_xp.blocks.cut import CutBlocks
from kmeans_xp.devices import from_host, library_name
from kmeans_xp.kernels import DenseRows, Rows


class Chopped(CutBlocks):
    """Rows on one device that are shown a block at a time; counts how often all are visited."""

    def __init__(self, rows: Rows, sizes: Sequence[int], *, xp: Any) -> None:
        assert sum(sizes) == rows.n_points
        super().__init__(sizes, xp=xp)
        self.rows = rows
        self.n_features, self.device, self.dtype = rows.n_features, rows.device, rows.dtype
        self.is_weighted = rows.weights is not None
        self.n_visits = 0

    def visited(self) -> Generator[Rows]:
        self.n_visits += 1
        for number in range(len(self.sizes)):
            yield self._block(number)

    def rows_at(self, number: int, places: NDArray[np.int64]) -> DenseRows:
        return self._block(number).take(from_host(places, xp=self.xp, device=self.device))

    def seen_from(self, origin: Any) -> "Chopped":
        return Chopped(self.rows.seen_from(origin), self.sizes, xp=self.xp)

    def _block(self, number: int) -> Rows:
        stop = list(accumulate(self.sizes))[number]
        return self.rows.part(stop - self.sizes[number], stop)


def skip_many_launches(size: int, xp: Any) -> None:
    """Leave tiny blocks to other libraries: an emulated CUDA takes minutes for these launches."""
    if size <= 2 and library_name(xp) == "cupy":
        pytest.skip("uneven blocks, one of them of one row, show the same")


def sizes_of(n_points: int, size: int) -> list[int]:
    """Return the sizes of blocks of ``size`` rows, the last one of what is left."""
    return [min(size, n_points - start) for start in range(0, n_points, size)]
