"""Rows of .npy files, read without a memory map."""

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy_format

from kmeans_xp.blocks.sources.columns import ArrayColumns
from kmeans_xp.blocks.sources.sliced import Range, SlicedSource

__all__ = ["NpySource"]

Array = np.ndarray[Any, Any]

#: resolution of the coarsest clock of a file system, that of FAT
_CLOCK_NS = 2_000_000_000


class _Header(NamedTuple):
    """The header of a .npy file, and the offset of its numbers."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    offset: int


class NpySource(SlicedSource):
    """Rows of a .npy file, read without a memory map: its pages would count as resident memory.

    Parameters
    ----------
    opened : callable
        Opens the file for reading without a buffer. Called once for each pass, or for each block
        that is read separately.
    columns, weight, block_rows : optional
        As in ``open_rows``.
    name : str
        Path of the file.
    """

    def __init__(
        self,
        opened: Callable[[], BinaryIO],
        columns: Sequence[int] | None = None,
        weight: int | None = None,
        block_rows: int | None = None,
        *,
        name: str,
    ) -> None:
        self._opened = opened
        with opened() as file:
            self._header = _read_header(file, name)
            n_bytes = file.seek(0, 2) - self._header.offset
            # On other file systems, read one block after another.
            self.is_read_apart = isinstance(file, io.FileIO)
        shape, dtype = self._header.shape, self._header.dtype
        made_of = ArrayColumns(shape, dtype, columns, weight, name)
        if n_bytes < shape[0] * shape[1] * dtype.itemsize:
            raise OSError(
                f"{name} is cut short: it should hold {shape[0]:,} x {shape[1]} numbers of "
                f"{dtype.itemsize} bytes, but has only {n_bytes:,} bytes of them."
            )
        super().__init__(
            name,
            shape[0],
            made_of,
            block_rows,
            # Each read takes whole rows, even if only some columns are used.
            bytes_a_row=shape[1] * max(dtype.itemsize, made_of.layout.dtype.itemsize),
        )

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of the array in the file."""
        return self._header.shape

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Dtype of the array in the file."""
        return self._header.dtype

    def _stamp(self) -> object:
        with self._opened() as file:
            return _stamp_of(file)

    def _slices(self, ranges: Iterable[Range]) -> Iterator[Array]:
        read = _read_columns if self._header.is_fortran else _read_rows
        with self._opened() as file:
            for start, stop in ranges:
                yield read(file, self._header, start, stop)


def _stamp_of(file: BinaryIO) -> object:
    """Return the file's identity and time of modification; None if that is not reliable."""
    try:
        status = os.fstat(file.fileno())
    except OSError:  # not a file of this operating system
        return None
    # The file system's clock may be too coarse to distinguish a write now from a recent one.
    if time.time_ns() - status.st_mtime_ns < _CLOCK_NS:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read_header(file: BinaryIO, name: str) -> _Header:
    try:
        version = npy_format.read_magic(file)
        readers = {
            (1, 0): npy_format.read_array_header_1_0,
            (2, 0): npy_format.read_array_header_2_0,
        }
        if version not in readers:  # 3.0 is for field names that are not Latin
            raise ValueError(f"version {version} of the format is for structured arrays")
        header = _Header(*readers[version](file), file.tell())
        if min(header.shape, default=0) < 0:
            raise ValueError(f"its array has the shape {header.shape}")
    except Exception as error:  # NumPy parses the header as Python, which may raise any error
        raise ValueError(f"{name} cannot be read as .npy: {error}.") from error
    if header.dtype.hasobject:
        raise ValueError(f"{name} holds Python objects: rows must be of real numbers.")
    return header


def _read_rows(file: BinaryIO, header: _Header, start: int, stop: int) -> Array:
    rows = np.empty((stop - start, header.shape[1]), header.dtype)
    _fill(file, rows, header.offset + start * header.shape[1] * header.dtype.itemsize)
    return rows


def _read_columns(file: BinaryIO, header: _Header, start: int, stop: int) -> Array:
    """Read rows of an array in Fortran order: a consecutive part of each column."""
    columns = np.empty((header.shape[1], stop - start), header.dtype)
    for i, column in enumerate(columns):
        _fill(file, column, header.offset + (i * header.shape[0] + start) * header.dtype.itemsize)
    return columns.T


def _fill(file: BinaryIO, numbers: Array, offset: int) -> None:
    """Read numbers at an offset of the file; the operating system may return them in parts."""
    wanted = memoryview(numbers.reshape(-1).view(np.uint8).data)
    file.seek(offset)
    while len(wanted):
        n_read = file.readinto(wanted)  # type: ignore[attr-defined]
        if not n_read:
            raise OSError(f"the file ends {len(wanted):,} bytes too early: it was cut short")
        wanted = wanted[n_read:]
