"""The nearest centroid of each row, and Lloyd's step.

An override's result is Any since it may be ``NotImplemented``.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cupy
import numpy as np
from cupy._core import _routines_linalg as linalg

from kmeans_xp.config import get_config
from kmeans_xp.devices import Array, Namespace, within_budget
from kmeans_xp.kernels.for_cupy.launching import (
    MOST_BLOCKS,
    N_THREADS,
    SHARED_BYTES,
    launch,
    row_arguments,
    split,
    types_of,
)
from kmeans_xp.kernels.for_cupy.sums import merged, sorted_sums
from kmeans_xp.kernels.portable.assignment import ClusterTotals, nearest_labels
from kmeans_xp.kernels.portable.steps import lloyd_step, lloyd_step_batched
from kmeans_xp.kernels.rows import DenseRows

__all__ = ["reads_rows_once"]

#: what a block may ask for where SHARED_BYTES are too little; two at a time
_MOST_SHARED_BYTES = 96 * 2**10
#: threads that should take part in adding up a tile
_ADDING_THREADS = 64

_PARTIALS_BYTES = 16 * 2**20

#: padded numbers of features that are compiled; more go through cuBLAS
_WIDTHS = (2, 4, 8, 16, 32, 64)

#: scores of a tile of rows: a small multiple of an L2 cache, since a tile costs three launches
_SCORES_BYTES = 64 * 2**20


class _Few(NamedTuple):
    """How a kernel for few features is launched."""

    width: int
    n_groups: int
    shared_bytes: int


@lloyd_step.override("cupy", rows=DenseRows)
def one_pass_step(rows: DenseRows, centroids: Array, *, xp: Namespace) -> Any:
    """Read each row once, if its features and the clusters are few; else sort by label."""
    types = types_of(rows, centroids)
    if types is None:
        return NotImplemented
    n_clusters, n_features = centroids.shape
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=True)
    if few is None:
        # By the arithmetic of ``nearest_labels``: a row is counted where its label says.
        labels = running_minimum_labels(rows, centroids, xp=xp)
        return sorted_sums(rows, labels, n_clusters, xp=xp)
    sums, mass = _few_step(rows, centroids[None, :, :], types, few)
    return ClusterTotals(sums[0], mass[0])


@lloyd_step_batched.override("cupy", rows=DenseRows)
def batched_step(rows: DenseRows, centroids: Array, *, xp: Namespace) -> Any:
    """Give each restart blocks of its own, in the same two launches."""
    types = types_of(rows, centroids)
    _, n_clusters, n_features = centroids.shape
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=True)
    if types is None or few is None:
        return NotImplemented
    return _few_step(rows, centroids, types, few)


def reads_rows_once(rows: DenseRows, centroids: Array) -> bool:
    """Return whether ``lloyd_step`` is two launches and no cuBLAS."""
    *_, n_clusters, n_features = centroids.shape
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=True)
    return few is not None and types_of(rows, centroids) is not None


@nearest_labels.override("cupy", rows=DenseRows)
def running_minimum_labels(rows: DenseRows, centroids: Array, *, xp: Namespace) -> Any:
    """Keep each row's least score in a register, or take it from a tile of cuBLAS's."""
    types = types_of(rows, centroids)
    if types is None:
        return NotImplemented
    n_clusters, n_features = centroids.shape
    labels = cupy.empty(rows.n_points, dtype=np.int32)
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=False)
    if few is None:
        scored = _prepared(centroids, types[1])
        for place, tile in rows.tiles(_tile_rows(n_clusters, n_features, centroids.dtype.itemsize)):
            _label_tile(tile, scored, labels[place], types[1])
        return labels
    rows_per_block, n_blocks = split(rows.n_points, 16 * MOST_BLOCKS)
    launch(
        f"few_labels<{types[0]}, {types[1]}, {few.width}>",
        "labels.cu",
        n_blocks,
        (
            *row_arguments(rows),
            centroids,
            np.int64(rows.n_points),
            np.int32(n_features),
            np.int32(n_clusters),
            np.int64(rows_per_block),
            labels,
        ),
        shared_bytes=few.shared_bytes,
    )
    return labels


class _Scored(NamedTuple):
    """Centroids as the scores need them: |x - c|^2 less |x|^2 is x.(-2 c) + |c|^2."""

    minus_two: Array
    sq_norms: Array


def _few_step(
    rows: DenseRows, centroids: Array, types: tuple[str, str], few: _Few
) -> ClusterTotals:
    """Return the totals of each of the restarts, (n_restarts, n_clusters, ...)."""
    n_restarts, n_clusters, n_features = centroids.shape
    n_cells = n_restarts * n_clusters * (n_features + 1)
    # As many as for one restart, whatever their number: the order of adding must not change.
    most = max(1, _PARTIALS_BYTES * n_restarts // (8 * n_cells))
    rows_per_block, n_blocks = split(rows.n_points, min(MOST_BLOCKS, most))
    partials = cupy.empty((n_blocks, n_cells), dtype=np.float64)
    launch(
        f"few_step<{types[0]}, {types[1]}, {few.width}>",
        "labels.cu",
        (n_blocks, n_restarts),
        (
            *row_arguments(rows, with_weights=True),
            centroids,
            np.int64(rows.n_points),
            np.int32(n_features),
            np.int32(n_clusters),
            np.int64(rows_per_block),
            np.int32(few.n_groups),
            partials,
        ),
        shared_bytes=few.shared_bytes,
    )
    totals = merged(partials)
    n_sums = n_restarts * n_clusters * n_features
    return ClusterTotals(
        totals[:n_sums].reshape(centroids.shape), totals[n_sums:].reshape(centroids.shape[:2])
    )


def _label_tile(
    tile: DenseRows,
    scored: _Scored,
    labels: Array,
    c_type: str,
) -> None:
    """Write the labels of one tile."""
    with _product_precision():
        scores = cupy.matmul(tile.centred(), scored.minus_two.T)
    n_rows, n_clusters = scores.shape
    launch(
        f"least_score<{c_type}>",
        "labels.cu",
        -(-n_rows * 32 // N_THREADS),
        (scores, scored.sq_norms, np.int32(n_rows), np.int32(n_clusters), labels),
    )


@contextmanager
def _product_precision() -> Iterator[None]:
    """Hold cuBLAS to true float32, whatever CUPY_TF32 says, or to TF32 if that was asked for."""
    is_tf32 = get_config().precision == "tf32"
    before = linalg.get_compute_type(np.float32)
    wanted = linalg.COMPUTE_TYPE_TF32 if is_tf32 else linalg.COMPUTE_TYPE_FP32
    linalg.set_compute_type(np.float32, wanted)
    try:
        yield
    finally:
        linalg.set_compute_type(np.float32, before)


def _prepared(centroids: Array, c_type: str) -> _Scored:
    scored = _Scored(cupy.empty_like(centroids), cupy.empty(len(centroids), dtype=centroids.dtype))
    launch(
        f"prepare_centroids<{c_type}>",
        "labels.cu",
        len(centroids),
        (centroids, np.int32(centroids.shape[1]), *scored),
    )
    return scored


def _tile_rows(n_clusters: int, n_features: int, itemsize: int) -> int:
    of_row = max(n_clusters, n_features) * itemsize
    # Less than 1024 rows waste the device: taken only when memory ran out.
    return max(1, within_budget(max(_SCORES_BYTES, 1024 * of_row)) // of_row)


def _few(n_features: int, n_clusters: int, itemsize: int, *, with_sums: bool) -> _Few | None:
    """Return how to launch a kernel for few features, or None if shared memory is too small."""
    width = next((width for width in _WIDTHS if width >= n_features), None)
    if width is None:
        return None
    n_bytes = itemsize * (N_THREADS * (width + 1) + n_clusters * (width + 1))
    most = _most_shared_bytes(cupy.cuda.runtime.getDevice())
    if not with_sums:
        return _Few(width, 0, n_bytes) if n_bytes <= most else None
    n_bytes += (itemsize + 4) * N_THREADS  # weights and labels
    of_group = 8 * n_clusters * (n_features + 1)
    wanted = N_THREADS // n_features
    n_groups = min((SHARED_BYTES - n_bytes) // of_group, wanted)
    if n_groups * n_features < _ADDING_THREADS:
        n_groups = min((most - n_bytes) // of_group, wanted)
    return _Few(width, n_groups, n_bytes + n_groups * of_group) if n_groups > 0 else None


@functools.cache
def _most_shared_bytes(device: int) -> int:
    # Cached: CuPy asks the driver for every attribute of a device to tell one of them.
    most: int = cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"]
    return most if most < _MOST_SHARED_BYTES else _MOST_SHARED_BYTES
