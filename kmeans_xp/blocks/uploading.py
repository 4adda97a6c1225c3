"""Copy blocks of rows from the host to the device, one after another."""

import importlib
from collections.abc import Generator, Iterable
from typing import Any

import numpy as np

from kmeans_xp.blocks.sources import SourceBlock
from kmeans_xp.devices import Array, Csr, Device, Namespace, csr_parts, from_host, library_of
from kmeans_xp.kernels import DenseRows, Rows, SparseRows

__all__ = ["rows_on", "uploaded"]

Host = np.ndarray[Any, Any]


def uploaded(
    blocks: Iterable[SourceBlock],
    origin: Array | None,
    *,
    xp: Namespace,
    device: Device,
    is_sparse: bool = False,
) -> Generator[Rows]:
    """Yield the rows of each block on the device.

    Parameters
    ----------
    blocks : iterable of SourceBlock
        Blocks of dense or sparse points.
    origin : array of shape (n_features,), or None
        Point to subtract, on the device.
    xp : namespace
        Of the device.
    device : device
        Where to compute.
    is_sparse : bool
        Whether points are matrices.

    Returns
    -------
    generator of Rows
        On CUDA a block is copied while the device computes with the block before it. The block
        after the next overwrites its rows, so results must not be views of them.
    """
    if library_of(xp).uploads_ahead and not is_sparse:
        return _overlapping(blocks, origin)
    return (rows_on(block, xp=xp, device=device).seen_from(origin) for block in blocks)


def rows_on(block: SourceBlock, *, xp: Namespace, device: Device) -> Rows:
    """Return the rows of a block on the device, relative to zero."""
    points, weights = block
    given = None if weights is None else from_host(weights, xp=xp, device=device)
    if isinstance(points, np.ndarray):
        return DenseRows(from_host(points, xp=xp, device=device), given)
    data, indices, indptr, n_features = csr_parts(points)
    placed = (from_host(part, xp=xp, device=device) for part in (data, indices, indptr))
    return SparseRows(Csr(next(placed), next(placed), next(placed), n_features), given)


def _overlapping(blocks: Iterable[SourceBlock], origin: Array | None) -> Generator[DenseRows]:
    cupy = importlib.import_module("cupy")
    copying = cupy.cuda.Stream(non_blocking=True)
    # Earlier work of this stream may still read the memory that the buffers get.
    copying.wait_event(cupy.cuda.get_current_stream().record())
    buffers = [_Buffer(copying), _Buffer(copying)]
    try:
        for number, (points, weights) in enumerate(blocks):
            buffer = buffers[number % 2]
            parts = buffer.filled([points] if weights is None else [points, weights])
            # Functions may return the weights themselves: so these get their own memory.
            given = None if weights is None else parts[1].copy()
            # With an origin, no function returns the points themselves.
            zero = cupy.zeros(points.shape[1], dtype=points.dtype) if origin is None else origin
            yield DenseRows(parts[0], given, zero)
            buffer.used()
    finally:
        copying.synchronize()  # before others get the memory that it writes to


class _Buffer:
    """Pinned memory on the host, and as much on the device, which blocks use in turn.

    Parameters
    ----------
    copying : cupy.cuda.Stream
        Stream that copies from the host; the current stream computes.
    """

    def __init__(self, copying: Any) -> None:
        self._cupy = importlib.import_module("cupy")
        self._copying = copying
        self._pinned: Any = np.empty(0)
        self._on_device: Any = None
        self._copied: Any = None
        self._used: Any = None

    def filled(self, parts: list[Host]) -> list[Array]:
        """Begin to copy arrays of one dtype to the device; return the arrays there."""
        n_numbers = sum(part.size for part in parts)
        if self._copied is not None:
            self._copied.synchronize()  # the host may write after the block before the last
        if self._pinned.size < n_numbers:
            self._grow(n_numbers, parts[0].dtype)
        np.concatenate([part.ravel() for part in parts], out=self._pinned[:n_numbers])
        if self._used is not None:
            self._copying.wait_event(self._used)
        self._on_device[:n_numbers].set(self._pinned[:n_numbers], stream=self._copying)
        self._copied = self._copying.record()
        self._cupy.cuda.get_current_stream().wait_event(self._copied)
        return self._cut(parts)

    def used(self) -> None:
        """Record that the work so far must end before the next write to the buffer."""
        self._used = self._cupy.cuda.get_current_stream().record()

    def _grow(self, n_numbers: int, dtype: Any) -> None:
        cupyx = importlib.import_module("cupyx")
        self._pinned = cupyx.empty_pinned(n_numbers, dtype=dtype)
        self._on_device = self._cupy.empty(n_numbers, dtype=dtype)
        # Earlier work with this memory may not have ended.
        self.used()

    def _cut(self, parts: list[Host]) -> list[Array]:
        cut, start = [], 0
        for part in parts:
            cut.append(self._on_device[start : start + part.size].reshape(part.shape))
            start += part.size
        return cut
