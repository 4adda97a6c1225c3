"""Rows that every pass reads from a source, block by block."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.blocks.cut import CutBlocks, Parts
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.blocks.reading_ahead import read_ahead
from kmeans_xp.blocks.side_by_side import side_by_side
from kmeans_xp.blocks.sources import RowSource, SourceBlock
from kmeans_xp.blocks.uploading import rows_on, uploaded
from kmeans_xp.devices import (
    Array,
    Device,
    DType,
    Namespace,
    Placement,
    from_host,
    is_array,
    library_of,
    n_threads,
    send,
    to_host,
)
from kmeans_xp.kernels import DenseRows, Rows, added
from kmeans_xp.kernels.blas_threads import one_blas_thread

__all__ = ["HostParts", "Streamed"]

#: number of blocks to read ahead while one is in use
_N_AHEAD = 2
#: maximum number of blocks in use at a time on the host: more would take memory, and reading would
#: not be faster
_MOST_LANES = 16


class HostParts(NamedTuple):
    """Results for each row, one part for each block, on the host: a device may be too small."""

    parts: Sequence[NDArray[Any]]
    xp: Namespace
    device: Device

    def whole(self) -> Array:
        """Return the results of all rows in their order, on the device."""
        return from_host(np.concatenate(self.parts), xp=self.xp, device=self.device)

    def delivered(self, placement: Placement) -> Any:
        """Return the results of all rows in the library, and on the device, of the input."""
        return send(np.concatenate(self.parts), placement)

    def block(self, number: int) -> Array:
        """Return the results of one block's rows, on the device."""
        return from_host(self.parts[number], xp=self.xp, device=self.device)

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple[PerRow, ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return the partial results of all blocks, merged in order."""
        given = Parts(tuple(map(self.block, range(len(self.parts)))), self.xp)
        return given.reduce(partial, *operands, per_row=per_row, merge=merge)


def _itself(rows: Rows) -> Rows:
    return rows


def _kept(result: Any) -> Any:
    """Return a result for the rows of a block, on the host if it is a matrix."""
    return to_host(result) if is_array(result) and result.ndim > 1 else result


class Streamed(CutBlocks):
    """Rows of a source, with a few blocks in memory and two on the device at a time.

    On a device, functions run in the caller's thread, one block after another, while another
    thread reads ahead. On the host each of several threads works on its own block. If the source
    allows it, each thread also reads its block, which is then in its cache.

    Parameters
    ----------
    source : RowSource
        Source of the rows; each visit reads it once.
    xp : namespace
        Library to compute with.
    device : device
        Where to compute, in that library's terms.
    origin : array of shape (n_features,), or None
        Point to subtract; None for zero.
    """

    def __init__(
        self, source: RowSource, *, xp: Namespace, device: Device, origin: Array | None = None
    ) -> None:
        self.source = source
        self.xp = xp
        self.device = device
        self.origin = origin

    @cached_property
    def sizes(self) -> tuple[int, ...]:  # type: ignore[override]
        """Number of rows of each block; to count them may take a pass, only when needed."""
        return self.source.sizes()

    @property
    def n_features(self) -> int:  # type: ignore[override]
        """Number of columns."""
        return self.source.n_features

    @property
    def is_weighted(self) -> bool:  # type: ignore[override]
        """Whether rows have weights."""
        return self.source.is_weighted

    @cached_property
    def dtype(self) -> DType:
        """Dtype in which functions get the rows: that of the source, if the device has it."""
        return self._placed(np.empty(0, self.source.dtype)).dtype

    def visited(self) -> Generator[Rows]:
        """Yield the rows of each block in order, on the device."""
        with closing(read_ahead(self.source.read(), _N_AHEAD)) as blocks:
            yield from uploaded(
                blocks,
                self.origin,
                xp=self.xp,
                device=self.device,
                is_sparse=self.source.is_sparse,
            )

    def map_rows(
        self, function: Callable[..., Any], *operands: Any, per_row: tuple[PerRow, ...] = ()
    ) -> PerRow:
        """Return the results of ``function`` for each row; matrices of results go to the host."""
        parts = tuple(map(_kept, self._results(function, operands, per_row)))
        if isinstance(parts[0], np.ndarray):
            return HostParts(parts, self.xp, self.device)
        return Parts(parts, self.xp)

    def take(self, indices: Array) -> DenseRows:
        """Return rows by their index among all, with their weights, relative to the origin."""
        return self._taken(to_host(indices).astype(np.int64))

    def rows_at(self, number: int, places: NDArray[np.int64]) -> DenseRows:
        """Return some rows of one block, by their places in it, relative to the origin."""
        return self._taken(places + sum(self.sizes[:number]))

    def seen_from(self, origin: Array | None) -> "Streamed":
        """Return the same rows, relative to another origin."""
        return Streamed(self.source, xp=self.xp, device=self.device, origin=origin)

    def _results(
        self, function: Callable[..., Any], operands: tuple[Any, ...], per_row: tuple[PerRow, ...]
    ) -> Generator[Any]:
        n_lanes = self._n_lanes()
        if n_lanes == 1:
            yield from super()._results(function, operands, per_row)
            return

        of_rows = self._of_block(function, operands, per_row)

        def of_block(number: int, rows: Callable[[], Rows]) -> Any:
            return of_rows(number, rows())

        n_each = n_threads() // n_lanes
        with (
            one_blas_thread(),
            self._unread() as blocks,
            closing(side_by_side(of_block, blocks, n_lanes, n_each)) as results,
        ):
            yield from results

    @contextmanager
    def _unread(self) -> Generator[Generator[Callable[[], Rows]]]:
        """Yield, for each block in order, a callable that returns its rows, for any thread."""
        if self.source.is_read_apart:
            with self.source.apart() as blocks:
                yield (partial(self._read_by, read) for read in blocks)
        else:
            with closing(self.visited()) as visited:
                yield (partial(_itself, rows) for rows in visited)

    def _read_by(self, read: Callable[[], SourceBlock]) -> Rows:
        return rows_on(read(), xp=self.xp, device=self.device).seen_from(self.origin)

    def _n_lanes(self) -> int:
        """Return the number of blocks to use at a time."""
        if not library_of(self.xp).has_threaded_kernels:
            return 1
        n_blocks = len(self.source.sizes()) if self.source.n_rows_known else _MOST_LANES
        return min(n_threads(), n_blocks, _MOST_LANES)

    def _taken(self, indices: NDArray[np.int64]) -> DenseRows:
        rows = rows_on(self.source.take(indices), xp=self.xp, device=self.device)
        return DenseRows(rows.seen_from(self.origin).centred(), rows.weights)

    def _placed(self, values: Any) -> Array:
        return from_host(values, xp=self.xp, device=self.device)
