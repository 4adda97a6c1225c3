"""Write labels to a file block by block, for data whose labels may not fit in memory."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from kmeans_xp import persistence
from kmeans_xp.blocks import Blocks
from kmeans_xp.checks import check_path
from kmeans_xp.devices import Array, Namespace, to_host
from kmeans_xp.kernels import Rows

__all__ = ["written_labels"]

_INT32 = np.dtype("<i4")


def written_labels(
    given: Blocks,
    path: str | os.PathLike[str],
    labelled: Callable[..., Array],
    *operands: Any,
) -> NDArray[np.int32]:
    """Write the label of each row to a .npy file, which appears only when it is complete.

    Parameters
    ----------
    given : Blocks
        The rows.
    path : path-like
        The file to write.
    labelled : callable
        Takes rows and the operands, and returns labels.
    *operands
        Further arguments of ``labelled``, such as centroids relative to the blocks' origin.

    Returns
    -------
    ndarray of int32, shape (n_points,)
        A memory map of the file.
    """
    check_path("out", path)
    if Path(path).suffix != ".npy":
        raise ValueError(f"out={os.fspath(path)!r} must be the path of a .npy file.")
    n_points = given.n_points
    with persistence.staged(path) as (temporary,), _explained(path, n_points):
        offset = _reserve(temporary, n_points)
        write = partial(_write, os.fspath(temporary), offset, labelled)
        given.reduce(write, *operands, per_row=(given.starts,))
    labels: NDArray[np.int32] = np.load(path, mmap_mode="r")
    return labels


@contextmanager
def _explained(path: str | os.PathLike[str], n_points: int) -> Iterator[None]:
    """Add the file's name and the labels' size to an error of the operating system."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise  # it is about another file
        size = _INT32.itemsize * n_points
        raise OSError(
            error.errno,
            f"The labels of {n_points:,} rows ({size:,} bytes) cannot be written: {error.strerror}",
            os.fspath(path),
        ) from error


def _reserve(path: Path, n_points: int) -> int:
    """Write the header, reserve disk space for the labels, and return their offset."""
    header = {"descr": _INT32.str, "fortran_order": False, "shape": (n_points,)}
    with path.open("wb") as file:
        npy_format.write_array_header_1_0(file, header)
        offset = file.tell()
        file.flush()
        # Report a full disk now, not after hours of work.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, offset + _INT32.itemsize * n_points)
        return offset


def _write(
    path: str,
    offset: int,
    labelled: Callable[..., Array],
    rows: Rows,
    start: int,
    *operands: Any,
    xp: Namespace,
) -> int:
    """Write the labels of a block, and return their number; a second write does no harm."""
    labels: NDArray[Any] = to_host(labelled(rows, *operands, xp=xp))
    with open(path, "r+b") as file:
        file.seek(offset + _INT32.itemsize * start)
        file.write(np.ascontiguousarray(labels, dtype=_INT32).data)
    return rows.n_points
