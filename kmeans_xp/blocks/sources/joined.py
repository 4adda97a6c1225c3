"""Several files of rows, concatenated."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kmeans_xp.blocks.sources.columns import ArrayColumns
from kmeans_xp.blocks.sources.npy import NpySource
from kmeans_xp.blocks.sources.sliced import Range, SlicedSource

__all__ = ["JoinedSource"]


class JoinedSource(SlicedSource):
    """Rows of several .npy files; a block may hold rows of more than one.

    Parameters
    ----------
    files : sequence of NpySource
        Files in row order, with equal numbers of columns.
    columns, weight, block_rows : optional
        As in ``open_rows``.
    name : str
        Name of the source.
    """

    def __init__(
        self,
        files: Sequence[NpySource],
        columns: Sequence[int] | None = None,
        weight: int | None = None,
        block_rows: int | None = None,
        *,
        name: str,
    ) -> None:
        first = files[0]
        for file in files:
            if file.stored_shape[1] != first.stored_shape[1]:
                raise ValueError(
                    f"{file.name} has {file.stored_shape[1]} columns, but {first.name} has "
                    f"{first.stored_shape[1]}: files that are read together need equal columns."
                )
        self._files = files
        self.is_read_apart = all(file.is_read_apart for file in files)
        self._starts = np.cumsum([0, *(file.stored_shape[0] for file in files)])
        dtype = np.result_type(*(file.stored_dtype for file in files))
        n_rows = int(self._starts[-1])
        made_of = ArrayColumns((n_rows, first.stored_shape[1]), dtype, columns, weight, name)
        bytes_a_row = first.stored_shape[1] * made_of.layout.dtype.itemsize
        super().__init__(name, n_rows, made_of, block_rows, bytes_a_row=bytes_a_row)

    def _stamp(self) -> object:
        stamps = tuple(file._stamp() for file in self._files)
        return None if None in stamps else stamps

    def _slices(self, ranges: Iterable[Range]) -> Iterator[Any]:
        for each in ranges:
            parts = list(self._parts(each))
            yield parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _parts(self, rows: Range) -> Iterator[Any]:
        """Yield each file's part of a range."""
        first = int(np.searchsorted(self._starts, rows.start, side="right")) - 1
        for file, start, stop in zip(
            self._files[first:], self._starts[first:], self._starts[first + 1 :], strict=False
        ):
            if start >= rows.stop:
                return
            part = Range(
                max(rows.start, int(start)) - int(start), min(rows.stop, int(stop)) - int(start)
            )
            yield next(file._slices([part]))
