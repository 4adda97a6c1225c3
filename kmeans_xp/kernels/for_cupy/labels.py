"""The nearest centroid of each row, and Lloyd's step.

Overrides return Any because they may return ``NotImplemented``.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import cupy
import numpy as np

from kmeans_xp.devices import Array, Namespace, within_budget
from kmeans_xp.kernels.for_cupy.certified import PART_ROWS, Labelling, is_certified
from kmeans_xp.kernels.for_cupy.launching import (
    MOST_BLOCKS,
    MOST_RUNS,
    N_THREADS,
    NEVER,
    SHARED_BYTES,
    ManyRows,
    Stop,
    launch,
    row_arguments,
    runs_over,
    split,
    types_of,
)
from kmeans_xp.kernels.for_cupy.sums import (
    FEWEST_ROWS,
    is_one_part,
    merged,
    n_chunks_of,
    sorted_sums,
)
from kmeans_xp.kernels.portable.assignment import ClusterTotals, nearest_labels
from kmeans_xp.kernels.portable.steps import lloyd_step, lloyd_step_batched
from kmeans_xp.kernels.rows import DenseRows

__all__ = [
    "bytes_of_run",
    "is_kernels_alone",
    "running_minimum_labels",
    "totals_in_a_pass",
]

#: shared memory of a block if SHARED_BYTES are too little; two blocks at a time
_MOST_SHARED_BYTES = 96 * 2**10
#: preferred number of threads that add up a tile
_ADDING_THREADS = 64

_PARTIALS_BYTES = 16 * 2**20
#: memory of several runs at once that are not one pass
_RUNS_BYTES = 2**30

#: padded numbers of features with compiled kernels for one thread per row, or per two rows
_WIDTHS = (2, 4, 8, 16, 32, 64)
#: up to this number of bytes in a row, each thread has two rows
_MOST_BYTES_OF_TWO = 64
#: of shared memory of a block whose threads have two rows: three blocks at a time on an H100
_BYTES_OF_TWO = 72 * 2**10

#: Padded features, clusters and multiply-adds. From these on, labels by tensor cores and sums of
#: sorted rows take less time than one pass, though they read the rows twice (docs/roofline.md).
#: Not where restarts may run as one batch: it adds up in another order.
_LEAST_SORTED = (16, 52, 2**28)
_MOST_BATCHED = 2**22


class _Few(NamedTuple):
    """Launch parameters of a kernel for few features."""

    width: int
    tile_rows: int
    n_groups: int
    shared_bytes: int


@lloyd_step.override("cupy", rows=DenseRows)
def one_pass_step(rows: DenseRows, centroids: Array, *, xp: Namespace) -> Any:
    """Read each row once if there are few features and clusters; otherwise sort by label."""
    totals = totals_in_a_pass(rows, centroids)
    if totals is not None:
        return totals
    labels = running_minimum_labels(rows, centroids, xp=xp)
    if labels is NotImplemented:
        return NotImplemented
    return sorted_sums(rows, labels, centroids.shape[-2], xp=xp)


@lloyd_step_batched.override("cupy", rows=DenseRows)
def batched_step(rows: DenseRows, centroids: Array, *, xp: Namespace) -> Any:
    """Give each restart its own blocks, in the launches of a single step."""
    if not is_kernels_alone(rows, centroids):
        return NotImplemented
    return one_pass_step(rows, centroids, xp=xp)


def _reads_rows_once(rows: DenseRows | ManyRows, centroids: Array) -> bool:
    """Return whether ``lloyd_step`` is two launches."""
    types = types_of(rows, centroids)
    return types is not None and _one_pass(rows, centroids, types) is not None


def is_kernels_alone(rows: DenseRows | ManyRows, centroids: Array) -> bool:
    """Return whether a step only launches kernels that can stop, so that a graph can record it.

    Several runs also need memory for the labels of all, and a place each in a grid.
    """
    *runs, n_clusters, n_features = centroids.shape
    if math.prod(runs) > MOST_RUNS:
        return False
    if _reads_rows_once(rows, centroids):
        return True
    is_known = types_of(rows, centroids) is not None
    if not is_known or not is_one_part(rows, n_clusters):
        return False
    n_bytes = math.prod(runs) * bytes_of_run(rows.n_points, n_clusters, n_features)
    has_room = rows.n_points <= PART_ROWS and n_bytes <= within_budget(_RUNS_BYTES)
    return not runs or has_room


def bytes_of_run(n_points: int, n_clusters: int, n_features: int) -> int:
    """Return about how much memory a step of one of several runs takes that is not one pass."""
    of_rows = 4 + 4 + 2  # labels, rows without a proof, order
    most_pieces = n_points // FEWEST_ROWS + n_clusters
    starts = 2 * (n_clusters + 1) * n_chunks_of(n_points, n_clusters)  # in the order
    # Sums of pieces, and the totals and centroids of eight steps.
    return of_rows * n_points + starts + 8 * n_features * (most_pieces + 16 * n_clusters)


@nearest_labels.override("cupy", rows=DenseRows)
def running_minimum_labels(
    rows: DenseRows | ManyRows, centroids: Array, stop: Stop = NEVER, *, xp: Namespace
) -> Any:
    """Keep each row's smallest score in a register; use tensor cores for many scores.

    Centroids and labels may begin with an axis of runs.
    """
    types = types_of(rows, centroids)
    if types is None:
        return NotImplemented
    *runs, n_clusters, n_features = centroids.shape
    labels = cupy.empty((*runs, rows.n_points), dtype=np.int32)
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=False)
    if few is None or is_certified(rows, centroids, types):
        labelling = Labelling(rows, centroids, types, PART_ROWS, stop)
        parts: Iterator[tuple[slice, DenseRows | ManyRows]] = rows.tiles(PART_ROWS)
        for number, (place, part) in enumerate(parts):
            labelling.write(number, part, labels[..., place])
        return labels
    _few_labels(rows, centroids, types, few, labels, stop)
    return labels


def totals_in_a_pass(
    rows: DenseRows | ManyRows, centroids: Array, stop: Stop = NEVER
) -> ClusterTotals | None:
    """Return the totals, which may begin with an axis of runs; None if that is not one pass."""
    types = types_of(rows, centroids)
    few = None if types is None else _one_pass(rows, centroids, types)
    return None if types is None or few is None else _few_step(rows, centroids, types, few, stop)


def _few_labels(
    rows: DenseRows | ManyRows,
    centroids: Array,
    types: tuple[str, str],
    few: _Few,
    labels: Array,
    stop: Stop = NEVER,
) -> None:
    *runs, n_clusters, n_features = centroids.shape
    rows_per_block, n_blocks = split(rows.n_points, 16 * MOST_BLOCKS, few.tile_rows)
    launch(
        f"few_labels<{types[0]}, {types[1]}, {few.width}>",
        "labels.cu",
        (n_blocks, math.prod(runs)),
        (
            *row_arguments(rows),
            runs_over(rows)[0],
            centroids,
            np.int64(rows.n_points),
            np.int32(n_features),
            np.int32(n_clusters),
            np.int64(rows_per_block),
            labels,
            *stop,
        ),
        shared_bytes=few.shared_bytes,
    )


def _few_step(
    rows: DenseRows | ManyRows,
    centroids: Array,
    types: tuple[str, str],
    few: _Few,
    stop: Stop,
) -> ClusterTotals:
    *runs, n_clusters, n_features = centroids.shape
    n_runs = math.prod(runs)
    n_cells = n_runs * n_clusters * (n_features + 1)
    # As many as for a single run: the order of additions must not change.
    most = max(1, _PARTIALS_BYTES * n_runs // (8 * n_cells))
    rows_per_block, n_blocks = split(rows.n_points, min(MOST_BLOCKS, most), few.tile_rows)
    partials = cupy.empty((n_blocks, n_cells), dtype=np.float64)
    launch(
        f"few_step<{types[0]}, {types[1]}, {few.width}>",
        "labels.cu",
        (n_blocks, n_runs),
        (
            *row_arguments(rows, with_weights=True),
            runs_over(rows)[0],
            centroids,
            np.int64(rows.n_points),
            np.int32(n_features),
            np.int32(n_clusters),
            np.int64(rows_per_block),
            np.int32(few.n_groups),
            partials,
            *stop,
        ),
        shared_bytes=few.shared_bytes,
    )
    # The cells of several runs lie together: they are merged until all runs have ended.
    totals = merged(partials, stop if n_runs == 1 else NEVER)
    n_sums = n_runs * n_clusters * n_features
    return ClusterTotals(
        totals[:n_sums].reshape(centroids.shape), totals[n_sums:].reshape(centroids.shape[:-1])
    )


def _one_pass(rows: DenseRows | ManyRows, centroids: Array, types: tuple[str, str]) -> _Few | None:
    """Return the launch parameters of a pass with sums; None if two passes are faster."""
    *_, n_clusters, n_features = centroids.shape
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=True)
    if few is None:
        return None
    width, clusters, work = _LEAST_SORTED
    is_slower = (
        few.width >= width
        and n_clusters >= clusters
        and rows.n_points * n_clusters * n_features >= work
        and rows.n_points * n_features > _MOST_BATCHED
        and is_certified(rows, centroids, types)
    )
    return None if is_slower else few


def _few(n_features: int, n_clusters: int, itemsize: int, *, with_sums: bool) -> _Few | None:
    """Return how to launch a kernel for few features, or None if shared memory is too small."""
    width = next((width for width in _WIDTHS if width >= n_features), None)
    if width is None:
        return None
    n_rows = _tile_rows(width, itemsize)
    n_bytes = itemsize * (n_rows + n_clusters) * (width + 1)
    most = _most_shared_bytes(cupy.cuda.runtime.getDevice())
    if not with_sums:
        return _Few(width, n_rows, 0, n_bytes) if n_bytes <= most else None
    n_bytes += (itemsize + 4) * n_rows  # weights and labels
    of_group = 8 * n_clusters * (n_features + 1)
    wanted = N_THREADS // n_features
    usual = min(SHARED_BYTES if n_rows == N_THREADS else _BYTES_OF_TWO, most)
    n_groups = min((usual - n_bytes) // of_group, wanted)
    if n_groups * n_features < _ADDING_THREADS:
        n_groups = min((most - n_bytes) // of_group, wanted)
    return _Few(width, n_rows, n_groups, n_bytes + n_groups * of_group) if n_groups > 0 else None


def _tile_rows(width: int, itemsize: int) -> int:
    """Return the number of rows in shared memory at a time, as in the source."""
    return N_THREADS * (2 if width * itemsize <= _MOST_BYTES_OF_TWO else 1)


@functools.cache
def _most_shared_bytes(device: int) -> int:
    # Cache it: CuPy queries all attributes of a device to return one of them.
    most: int = cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"]
    return most if most < _MOST_SHARED_BYTES else _MOST_SHARED_BYTES
