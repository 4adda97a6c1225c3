"""The nearest centroid of each row, and Lloyd's step.

An override's result is Any since it may be ``NotImplemented``.
"""

import functools
from typing import Any, NamedTuple

import cupy
import numpy as np

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_cupy.certified import PART_ROWS, Labelling, is_certified
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

__all__ = ["is_kernels_alone", "reads_rows_once"]

#: what a block may ask for where SHARED_BYTES are too little; two at a time
_MOST_SHARED_BYTES = 96 * 2**10
#: threads that should take part in adding up a tile
_ADDING_THREADS = 64

_PARTIALS_BYTES = 16 * 2**20

#: padded numbers of features that are compiled for one thread a row
_WIDTHS = (2, 4, 8, 16, 32, 64)


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
    """Return whether ``lloyd_step`` is two launches."""
    *_, n_clusters, n_features = centroids.shape
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=True)
    return few is not None and types_of(rows, centroids) is not None


def is_kernels_alone(rows: DenseRows, centroids: Array) -> bool:
    """Return whether a step launches kernels and does nothing else, so that a graph can record it.

    Batched steps do if they are one pass.
    """
    if centroids.ndim == 2:
        return types_of(rows, centroids) is not None
    return reads_rows_once(rows, centroids)


@nearest_labels.override("cupy", rows=DenseRows)
def running_minimum_labels(rows: DenseRows, centroids: Array, *, xp: Namespace) -> Any:
    """Keep each row's least score in a register; by tensor cores where there is much to score."""
    types = types_of(rows, centroids)
    if types is None:
        return NotImplemented
    n_clusters, n_features = centroids.shape
    labels = cupy.empty(rows.n_points, dtype=np.int32)
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=False)
    if few is None or is_certified(rows, centroids, types):
        labelling = Labelling(rows, centroids, types, PART_ROWS)
        for number, (place, part) in enumerate(rows.tiles(PART_ROWS)):
            labelling.write(number, part, labels[place])
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
