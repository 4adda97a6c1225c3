"""Labels by the chain of docs/design.md, or by tensor cores with a proof for each label."""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import cupy
import numpy as np

from kmeans_xp.devices import Array, within_budget
from kmeans_xp.kernels.for_cupy.launching import (
    N_THREADS,
    NEVER,
    ManyRows,
    Stop,
    launch,
    row_arguments,
    runs_over,
)
from kmeans_xp.kernels.rows import DenseRows

__all__ = ["PART_ROWS", "Labelling", "is_certified"]

#: rows that share a list of doubtful ones: 4 bytes each
PART_ROWS = 2**24

_CHAIN_ROWS = 128  # of a block, as in the source

#: padded numbers of features with compiled kernels for tensor cores
_DEPTHS = (16, 32, 64, 128)
#: more features are padded to a multiple of this, as in the source
_WIDE_DEPTH = 64
_CERTIFIED_ROWS = 128  # of a block, as in the source
_COLUMNS = 128  # centroids at a time, as in the source: a multiple of what each kernel takes
#: two tiles of 128 rows and 128 centroids, of 64 features and 16 bytes more each
_WIDE_SHARED_BYTES = 2 * 256 * 2 * (_WIDE_DEPTH + 8)
#: rows in half precision at a time, 128 for each multiprocessor: up to 3800 features on an H100
_HALVES_BYTES = 128 * 2**20
#: counters of a part: three numbers, and one for each batch of rows without a proof
_COUNTERS = 3
_BATCH = 32
_PREPARING = 1024  # threads of a block that prepares, as in the source
_MOST_PREPARED_PARTS = 64  # as in the source

#: Tensor cores score fewer than this many features or clusters hardly faster than the chain does:
#: a score costs five instructions beside its products, and centroids come by the 64 or 128.
_LEAST_FEATURES = 8
_LEAST_CLUSTERS = 16
#: The bias of a centroid that is only padding is greater than any score up to here.
_MOST_FEATURES = 2**16
#: Multiply-adds, of which the chain does some fifteen million in a microsecond: two more launches
#: and the preparation take as long as a few microseconds of those.
_LEAST_WORK = 2**26


class _Prepared(NamedTuple):
    """Centroids prepared for tensor cores."""

    depth: int
    n_padded: int
    n_parts: int
    halves: Array
    biases: Array
    limits: Array
    counters: Array


class Labelling:
    """Centroids prepared to label parts of rows.

    Parameters
    ----------
    rows : DenseRows or ManyRows
        All rows; at least 1.
    centroids : array of shape (..., n_clusters, n_features)
        May begin with an axis of runs if there is one part.
    types : tuple of str
        The C types of the points and of the computation.
    part_rows : int
        Maximum number of rows in a part.
    stop : Stop, optional
        When to do nothing.
    by_tensor_cores : bool, optional
        Whether tensor cores score the rows; by default the result of ``is_certified``.
    """

    def __init__(
        self,
        rows: DenseRows | ManyRows,
        centroids: Array,
        types: tuple[str, str],
        part_rows: int,
        stop: Stop = NEVER,
        *,
        by_tensor_cores: bool | None = None,
    ) -> None:
        self.centroids = centroids
        self.n_runs = math.prod(centroids.shape[:-2])
        self.types = types
        self.stop = stop
        self.sq_norms = cupy.empty(centroids.shape[:-1], dtype=centroids.dtype)
        self._prepared: _Prepared | None = None
        if by_tensor_cores is None:
            by_tensor_cores = is_certified(rows, centroids, types)
        if by_tensor_cores:
            n_batches = -(-min(rows.n_points, part_rows) // _BATCH)
            n_parts = -(-rows.n_points // part_rows)
            self._prepared = self._prepare((n_parts, _COUNTERS + n_batches))
        else:
            self._take_norms()

    @property
    def counts(self) -> Array | None:
        """Rows without a proof, (n_runs, n_parts) numbers; None if the chain labels all rows."""
        return None if self._prepared is None else self._prepared.counters[..., 0]

    def write(self, number: int, part: DenseRows | ManyRows, labels: Array) -> None:
        """Write the labels of the part with this number, (..., part.n_points)."""
        prepared = self._prepared
        if prepared is None:
            self._write_exact(part, labels)
            return
        listed = cupy.empty(labels.shape, dtype=np.int32)
        is_wide = prepared.depth not in _DEPTHS
        write = self._write_certified_wide if is_wide else self._write_certified
        write(part, prepared, (labels, listed, prepared.counters[:, number, :]))

    def _prepare(self, of_counters: tuple[int, int]) -> _Prepared:
        n_runs, (n_clusters, n_features) = self.n_runs, self.centroids.shape[-2:]
        in_whole = -(-n_features // _WIDE_DEPTH) * _WIDE_DEPTH
        depth = next((depth for depth in _DEPTHS if depth >= n_features), in_whole)
        n_padded = -(-n_clusters // _COLUMNS) * _COLUMNS
        n_parts = min(_MOST_PREPARED_PARTS, -(-n_padded * 32 // _PREPARING))
        halves = cupy.empty((n_runs, n_padded, depth), dtype=np.float16)
        biases = cupy.empty((n_runs, n_padded), dtype=np.float32)
        limits = cupy.empty((n_runs, 3 * _MOST_PREPARED_PARTS + 1), dtype=np.float32)
        counters = cupy.empty((n_runs, *of_counters), dtype=np.int32)
        sizes = (n_clusters, n_features, n_padded, depth, math.prod(of_counters))
        launch(
            "prepare_centroids",
            "certified.cu",
            (n_parts, n_runs),
            (
                self.centroids,
                *(np.int32(size) for size in sizes),
                self.sq_norms,
                halves,
                biases,
                limits,
                counters,
                *self.stop,
            ),
            n_threads=_PREPARING,
        )
        return _Prepared(depth, n_padded, n_parts, halves, biases, limits, counters)

    def _take_norms(self) -> None:
        n_clusters, n_features = self.centroids.shape[-2:]
        launch(
            f"centroid_norms<{self.types[1]}>",
            "labels.cu",
            (-(-n_clusters // N_THREADS), self.n_runs),
            (self.centroids, np.int32(n_features), np.int32(n_clusters), self.sq_norms, *self.stop),
        )

    def _write_certified(
        self, part: DenseRows | ManyRows, prepared: _Prepared, results: tuple[Array, ...]
    ) -> None:
        sizes = (np.int32(prepared.n_parts), np.int32(prepared.n_padded))
        launch(
            f"certified_labels<{self.types[0]}, {prepared.depth}>",
            "certified.cu",
            (-(-part.n_points // _CERTIFIED_ROWS), self.n_runs),
            (*self._choice(part), *prepared[3:6], *sizes, *results, *self.stop),
            n_threads=_CERTIFIED_ROWS,
        )

    def _write_certified_wide(
        self, part: DenseRows | ManyRows, prepared: _Prepared, results: tuple[Array, ...]
    ) -> None:
        of_block = _CERTIFIED_ROWS * prepared.depth
        n_tiles = self.n_runs * -(-part.n_points // _CERTIFIED_ROWS)
        n_blocks = min(n_tiles, wide_blocks(prepared.depth))
        halves = cupy.empty(n_blocks * of_block, dtype=np.float16)
        of_rows = (*self._choice(part), np.int32(prepared.depth), np.int32(self.n_runs), halves)
        sizes = (np.int32(prepared.n_parts), np.int32(prepared.n_padded))
        launch(
            f"certified_wide_labels<{self.types[0]}>",
            "certified_wide.cu",
            n_blocks,
            (*of_rows, *prepared[3:6], *sizes, *results, *self.stop),
            shared_bytes=_WIDE_SHARED_BYTES,
        )

    def _write_exact(self, part: DenseRows | ManyRows, labels: Array) -> None:
        launch(
            f"exact_labels<{self.types[0]}, {self.types[1]}>",
            "labels.cu",
            (-(-part.n_points // _CHAIN_ROWS), self.n_runs),
            (*self._choice(part), labels, *self.stop),
        )

    def _choice(self, part: DenseRows | ManyRows) -> Iterator[Any]:
        """Return the kernel arguments for the rows and centroids."""
        n_clusters, n_features = self.centroids.shape[-2:]
        yield from (*row_arguments(part), runs_over(part)[0])
        yield from (self.centroids, self.sq_norms, np.int64(part.n_points))
        yield from (np.int32(n_features), np.int32(n_clusters))


def wide_blocks(depth: int) -> int:
    """Return the number of blocks with 128 rows in half precision: at most one a multiprocessor."""
    of_block = 2 * _CERTIFIED_ROWS * depth
    n_multiprocessors = _n_multiprocessors(cupy.cuda.runtime.getDevice())
    return max(1, min(within_budget(_HALVES_BYTES) // of_block, n_multiprocessors))


def is_certified(rows: DenseRows | ManyRows, centroids: Array, types: tuple[str, str]) -> bool:
    """Return whether tensor cores score rows faster than the chain does."""
    *_, n_clusters, n_features = centroids.shape
    return (
        types[1] == "float"
        and _LEAST_FEATURES <= n_features <= _MOST_FEATURES
        and n_clusters >= _LEAST_CLUSTERS
        and rows.n_points * n_clusters * n_features >= _LEAST_WORK
        and _has_tensor_cores(cupy.cuda.runtime.getDevice())
    )


@functools.cache
def _has_tensor_cores(device: int) -> bool:
    """Return whether the device supports m16n8k16 products and asynchronous copies."""
    return int(cupy.cuda.Device(device).compute_capability) >= 80


@functools.cache
def _n_multiprocessors(device: int) -> int:
    number: int = cupy.cuda.Device(device).attributes["MultiProcessorCount"]
    return number
