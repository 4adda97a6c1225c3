"""Rows of objects that are read by slices: h5py, zarr, memory maps, NumPy, CSR, pandas."""

import mmap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kmeans_xp.blocks.sources.columns import ArrayColumns
from kmeans_xp.blocks.sources.pandas_frames import PandasColumns
from kmeans_xp.blocks.sources.sliced import Range, SlicedSource
from kmeans_xp.devices import is_host_array, to_host

__all__ = ["ArraySource", "MappedSource", "PandasSource", "SparseSource"]


class ArraySource(SlicedSource):
    """Rows of an array that need not be in memory, or is of another library, maybe on a device.

    Parameters
    ----------
    array : object
        Has ``shape``, ``dtype`` and ``__getitem__(slice)``.
    columns, weight, block_rows : optional
        As in ``open_rows``.
    name : str, or None
        Name of the source; None for the type of the array.
    """

    def __init__(
        self,
        array: Any,
        columns: Sequence[int] | None = None,
        weight: int | None = None,
        block_rows: int | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self._array = array
        self.is_read_apart = isinstance(array, np.ndarray)
        name = name or _type_name(array)
        made_of = ArrayColumns(tuple(array.shape), _numpy_dtype(array), columns, weight, name)
        chunks = getattr(array, "chunks", None)
        super().__init__(
            name,
            int(array.shape[0]),
            made_of,
            block_rows,
            # Each read takes whole rows, even if only some columns are used.
            bytes_a_row=int(array.shape[1]) * made_of.layout.dtype.itemsize,
            chunk_rows=int(chunks[0]) if isinstance(chunks, tuple) else None,
        )

    def _slices(self, ranges: Iterable[Range]) -> Iterator[Any]:
        if is_host_array(self._array):
            return (self._array[start:stop] for start, stop in ranges)
        # The standard has no index with fewer axes than the array.
        return (self._array[start:stop, ...] for start, stop in ranges)


class MappedSource(ArraySource):
    """Rows of a memory map, copied, since its pages would count as memory of the process."""

    def _slices(self, ranges: Iterable[Range]) -> Iterator[Any]:
        for start, stop in ranges:
            part = self._array[start:stop]
            rows = np.array(part, dtype=self.dtype, order="C", subok=False)
            _drop_pages(part)
            yield rows


class SparseSource(SlicedSource):
    """Rows of a CSR matrix in memory; other formats are converted once.

    Parameters
    ----------
    matrix : matrix or array of scipy.sparse or cupyx.scipy.sparse
        In any format.
    columns, weight, block_rows : optional
        As in ``open_rows``.
    """

    is_read_apart = True

    def __init__(
        self,
        matrix: Any,
        columns: Sequence[int] | None = None,
        weight: int | None = None,
        block_rows: int | None = None,
    ) -> None:
        self._matrix = matrix.tocsr()
        name = type(matrix).__name__
        made_of = ArrayColumns(matrix.shape, matrix.dtype, columns, weight, name, is_sparse=True)
        n_bytes = self._matrix.data.nbytes + self._matrix.indices.nbytes
        n_rows = int(matrix.shape[0])
        super().__init__(
            name, n_rows, made_of, block_rows, bytes_a_row=8 + n_bytes / max(n_rows, 1)
        )

    def _slices(self, ranges: Iterable[Range]) -> Iterator[Any]:
        return (self._matrix[start:stop] for start, stop in ranges)


class PandasSource(SlicedSource):
    """Rows of a pandas data frame in memory.

    Parameters
    ----------
    frame : pandas.DataFrame
        By default all its columns of numbers are used.
    columns, weight, block_rows : optional
        As in ``open_rows``.
    """

    def __init__(
        self,
        frame: Any,
        columns: Sequence[str] | None = None,
        weight: str | None = None,
        block_rows: int | None = None,
    ) -> None:
        self._frame = frame
        made_of = PandasColumns(frame, columns, weight, "DataFrame")
        super().__init__("DataFrame", len(frame), made_of, block_rows)

    def _slices(self, ranges: Iterable[Range]) -> Iterator[Any]:
        return (self._frame.iloc[start:stop] for start, stop in ranges)


def _numpy_dtype(array: Any) -> Any:
    """Return the dtype that slices have on the host."""
    if is_host_array(array) or len(array.shape) != 2:
        return array.dtype
    return to_host(array[:0, ...]).dtype


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _drop_pages(part: np.memmap[Any, Any]) -> None:
    """Advise the operating system that the pages of a part are not needed any more."""
    mapped = getattr(part, "_mmap", None)
    # Keep pages of a copy-on-write map: they hold what the program wrote.
    if not isinstance(mapped, mmap.mmap) or part.mode not in ("r", "r+", "w+"):
        return
    if not hasattr(mmap, "MADV_DONTNEED") or part.nbytes == 0:
        return
    first, last = np.lib.array_utils.byte_bounds(part)
    start = first - np.frombuffer(mapped, dtype=np.uint8).ctypes.data
    start -= start % mmap.PAGESIZE
    stop = last - np.frombuffer(mapped, dtype=np.uint8).ctypes.data
    mapped.madvise(mmap.MADV_DONTNEED, start, min(stop, len(mapped)) - start)
