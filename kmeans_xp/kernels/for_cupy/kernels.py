"""Kernels for CuPy, compiled by NVRTC on first use from ``kernels.cu``.

Each is bit-equal from one call to the next: sums are taken in an order that follows from the
shapes, and nothing here waits for the device or copies from it. An override's result is Any
since it may be ``NotImplemented``.
"""

import functools
import importlib.resources
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cupy
import numpy as np
from cupy._core import _routines_linalg as linalg

from kmeans_xp.config import get_config
from kmeans_xp.devices import Array, Namespace, within_budget
from kmeans_xp.kernels.portable.assignment import (
    ClusterTotals,
    assigned_sq_distances,
    cluster_sums,
    nearest_labels,
)
from kmeans_xp.kernels.portable.seeding import candidate_potentials, closer_of
from kmeans_xp.kernels.portable.steps import (
    Update,
    lloyd_step,
    lloyd_step_batched,
    update_centroids,
)
from kmeans_xp.kernels.portable.uniforms import row_uniforms
from kmeans_xp.kernels.rows import DenseRows, Rows

_THREADS = 256  # of a block, as in the source

#: what every device gives a block without being asked: four such blocks at a time on a GPU of
#: compute capability 9.0
_SHARED_BYTES = 48 * 2**10
#: what a block may ask for where that is too little; two at a time
_MOST_SHARED_BYTES = 96 * 2**10
#: threads that should take part in adding up a tile
_ADDING_THREADS = 64

#: blocks of a pass over all rows: enough to fill any device, few enough to merge fast
_BLOCKS = 1024
_PARTIALS_BYTES = 16 * 2**20

#: padded numbers of features that are compiled; more go through cuBLAS
_WIDTHS = (2, 4, 8, 16, 32, 64)

#: padded numbers of k-means++ candidates that are compiled
_CANDIDATES = (4, 8, 16)

#: scores of a tile of rows: a small multiple of an L2 cache, since a tile costs three launches
_SCORES_BYTES = 64 * 2**20

#: rows that are sorted by label at a time: places fit 32 bits, and memory is bounded
_SORTED_ROWS = 2**22
_HISTOGRAM_CELLS = 2**24

_C_TYPES = {
    "float16": ("Half", "float"),
    "bfloat16": ("Bfloat16", "float"),
    "float32": ("float", "float"),
    "float64": ("double", "double"),
}

_NULL = np.intp(0)


class _Few(NamedTuple):
    """How a kernel for few features is launched."""

    width: int
    n_groups: int
    shared_bytes: int


@lloyd_step.override("cupy", rows=DenseRows)
def one_pass_step(rows: DenseRows, centroids: Array, *, xp: Namespace) -> Any:
    """Read each row once, if its features and the clusters are few; else sort by label."""
    types = _types(rows, centroids)
    if types is None:
        return NotImplemented
    n_clusters, n_features = centroids.shape
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=True)
    if few is None:
        if _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=False) is None:
            return _sorted_step(rows, centroids, types)
        # By the arithmetic of ``nearest_labels``: a row is counted where its label says.
        labels = running_minimum_labels(rows, centroids, xp=xp)
        return sorted_sums(rows, labels, n_clusters, xp=xp)
    sums, mass = _few_step(rows, centroids[None, :, :], types, few)
    return ClusterTotals(sums[0], mass[0])


@lloyd_step_batched.override("cupy", rows=DenseRows)
def batched_step(rows: DenseRows, centroids: Array, *, xp: Namespace) -> Any:
    """Give each restart blocks of its own, in the same two launches."""
    types = _types(rows, centroids)
    _, n_clusters, n_features = centroids.shape
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=True)
    if types is None or few is None:
        return NotImplemented
    return _few_step(rows, centroids, types, few)


def reads_rows_once(rows: DenseRows, centroids: Array) -> bool:
    """Return whether ``lloyd_step`` is two launches and no cuBLAS."""
    *_, n_clusters, n_features = centroids.shape
    few = _few(n_features, n_clusters, centroids.dtype.itemsize, with_sums=True)
    return few is not None and _types(rows, centroids) is not None


@nearest_labels.override("cupy", rows=DenseRows)
def running_minimum_labels(rows: DenseRows, centroids: Array, *, xp: Namespace) -> Any:
    """Keep each row's least score in a register, or take it from a tile of cuBLAS's."""
    types = _types(rows, centroids)
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
    rows_per_block, n_blocks = _split(rows.n_points, 16 * _BLOCKS)
    _launch(
        f"few_labels<{types[0]}, {types[1]}, {few.width}>",
        n_blocks,
        (
            *_row_arguments(rows),
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


@cluster_sums.override("cupy", rows=DenseRows)
def sorted_sums(rows: DenseRows, labels: Array, n_clusters: int, *, xp: Namespace) -> Any:
    """Add up the rows in the order of their labels, in pieces of equal size."""
    types = _types(rows)
    if types is None:
        return NotImplemented
    totals = _no_totals(n_clusters, rows.n_features)
    labels = cupy.ascontiguousarray(labels, dtype=np.int32)
    for place, tile in rows.tiles(_SORTED_ROWS):
        chunks = _chunks(tile.n_points, n_clusters)
        histogram = cupy.zeros((n_clusters, chunks.n_chunks), dtype=np.int32)
        _launch(
            "count_labels",
            -(-tile.n_points // _THREADS),
            (
                labels[place],
                np.int32(tile.n_points),
                np.int32(chunks.n_rows),
                np.int32(chunks.n_chunks),
                histogram,
            ),
        )
        _add_sorted(tile, labels[place], histogram, chunks, totals, types)
    return totals


@update_centroids.override("cupy")
def fused_update(totals: ClusterTotals, centroids: Array, *, xp: Namespace) -> Any:
    """Take the means and the loop's three numbers in one launch, of one block a restart."""
    if centroids.dtype.name not in ("float32", "float64") or not _are_plain(*totals, centroids):
        return NotImplemented
    *restarts, n_clusters, n_features = centroids.shape
    new = cupy.empty_like(centroids)
    signals = cupy.empty((*restarts, 3), dtype=np.float64)
    _launch(
        f"means_and_signals<{_C_TYPES[centroids.dtype.name][1]}>",
        math.prod(restarts),
        (*totals, centroids, np.int32(n_clusters), np.int32(n_features), new, signals),
        n_threads=1024,
    )
    return Update(new, signals)


@assigned_sq_distances.override("cupy", rows=DenseRows)
def warp_distances(rows: DenseRows, labels: Array, centroids: Array, *, xp: Namespace) -> Any:
    """Take the differences of a row in one warp."""
    types = _types(rows, centroids)
    if types is None:
        return NotImplemented
    out = cupy.empty(rows.n_points, dtype=centroids.dtype)
    _launch(
        f"assigned_distances<{types[0]}, {types[1]}>",
        -(-rows.n_points * 32 // _THREADS),
        (
            *_row_arguments(rows),
            cupy.ascontiguousarray(labels, dtype=np.int32),
            centroids,
            np.int64(rows.n_points),
            np.int32(rows.n_features),
            out,
        ),
    )
    return out


@candidate_potentials.override("cupy", rows=DenseRows)
def one_pass_potentials(
    rows: DenseRows, closest: Array, candidates: Array, *, xp: Namespace
) -> Any:
    """Measure each row to all candidates while it is read once."""
    types = _types(rows, candidates, closest)
    n_candidates, n_features = candidates.shape
    padded = next((width for width in _CANDIDATES if width >= n_candidates), None)
    if types is None or padded is None:
        return NotImplemented
    shared_bytes = padded * n_features * candidates.dtype.itemsize
    if shared_bytes > _SHARED_BYTES:
        return NotImplemented
    rows_per_block, n_blocks = _split(rows.n_points, _BLOCKS)
    partials = cupy.empty((n_blocks, n_candidates), dtype=np.float64)
    _launch(
        f"potentials<{types[0]}, {types[1]}, {padded}>",
        n_blocks,
        (
            *_row_arguments(rows, with_weights=True),
            closest,
            candidates,
            np.int64(rows.n_points),
            np.int32(n_features),
            np.int32(n_candidates),
            np.int64(rows_per_block),
            partials,
        ),
        shared_bytes=shared_bytes,
    )
    return _merged(partials)


@closer_of.override("cupy", rows=DenseRows)
def fused_fold(rows: DenseRows, closest: Array, candidate: Array, *, xp: Namespace) -> Any:
    """Take the difference and the minimum in one launch."""
    types = _types(rows, candidate, closest)
    if types is None:
        return NotImplemented
    out = cupy.empty_like(closest)
    _launch(
        f"fold_candidate<{types[0]}, {types[1]}>",
        -(-rows.n_points // _THREADS),
        (
            *_row_arguments(rows),
            closest,
            candidate,
            np.int64(rows.n_points),
            np.int32(rows.n_features),
            out,
        ),
    )
    return out


@row_uniforms.override("cupy")
def philox_on_device(
    rows: Rows, start: int, key: tuple[int, int], stream: int, *, xp: Namespace
) -> Any:
    """Make the numbers where they are used: nothing is uploaded."""
    uniforms = cupy.empty(rows.n_points, dtype=np.float64)
    if rows.n_points:
        _launch(
            "philox_uniforms",
            -(-rows.n_points // _THREADS),
            (
                np.int64(start),
                np.int64(rows.n_points),
                *(np.uint64(part) for part in key),
                np.uint64(stream),
                uniforms,
            ),
        )
    return uniforms


class _Scored(NamedTuple):
    """Centroids as the scores need them: |x - c|^2 less |x|^2 is x.(-2 c) + |c|^2."""

    minus_two: Array
    sq_norms: Array


class _Chunks(NamedTuple):
    """Rows whose labels are counted together."""

    n_rows: int
    n_chunks: int


def _few_step(
    rows: DenseRows, centroids: Array, types: tuple[str, str], few: _Few
) -> ClusterTotals:
    """Return the totals of each of the restarts, (n_restarts, n_clusters, ...)."""
    n_restarts, n_clusters, n_features = centroids.shape
    n_cells = n_restarts * n_clusters * (n_features + 1)
    # As many as for one restart, whatever their number: the order of adding must not change.
    most = max(1, _PARTIALS_BYTES * n_restarts // (8 * n_cells))
    rows_per_block, n_blocks = _split(rows.n_points, min(_BLOCKS, most))
    partials = cupy.empty((n_blocks, n_cells), dtype=np.float64)
    _launch(
        f"few_step<{types[0]}, {types[1]}, {few.width}>",
        (n_blocks, n_restarts),
        (
            *_row_arguments(rows, with_weights=True),
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
    totals = _merged(partials)
    n_sums = n_restarts * n_clusters * n_features
    return ClusterTotals(
        totals[:n_sums].reshape(centroids.shape), totals[n_sums:].reshape(centroids.shape[:2])
    )


def _sorted_step(rows: DenseRows, centroids: Array, types: tuple[str, str]) -> ClusterTotals:
    n_clusters, n_features = centroids.shape
    scored = _prepared(centroids, types[1])
    totals = _no_totals(n_clusters, n_features)
    size = _tile_rows(n_clusters, n_features, centroids.dtype.itemsize)
    # In whole tiles: cuBLAS may round a row by the size of the product that it is in.
    for _, part in rows.tiles(max(1, _SORTED_ROWS // size) * size):
        chunks = _chunks(part.n_points, n_clusters)
        labels = cupy.empty(part.n_points, dtype=np.int32)
        histogram = cupy.zeros((n_clusters, chunks.n_chunks), dtype=np.int32)
        for place, tile in part.tiles(size):
            _label_tile(tile, scored, labels[place], types[1], histogram, chunks, place.start)
        _add_sorted(part, labels, histogram, chunks, totals, types)
    return totals


def _label_tile(
    tile: DenseRows,
    scored: _Scored,
    labels: Array,
    c_type: str,
    histogram: Any = _NULL,
    chunks: _Chunks | None = None,
    first_row: int = 0,
) -> None:
    """Write the labels of one tile, and count them by chunks if there is a histogram."""
    chunks = chunks or _Chunks(1, 1)
    with _product_precision():
        scores = cupy.matmul(tile.centred(), scored.minus_two.T)
    n_rows, n_clusters = scores.shape
    _launch(
        f"least_score<{c_type}>",
        -(-n_rows * 32 // _THREADS),
        (
            scores,
            scored.sq_norms,
            np.int32(n_rows),
            np.int32(n_clusters),
            labels,
            histogram,
            np.int32(chunks.n_rows),
            np.int32(chunks.n_chunks),
            np.int32(first_row),
        ),
    )


def _add_sorted(
    rows: DenseRows,
    labels: Array,
    histogram: Array,
    chunks: _Chunks,
    totals: ClusterTotals,
    types: tuple[str, str],
) -> None:
    """Add the rows to the totals, in the order of their labels; uses up the histogram."""
    n_points, n_features = rows.n_points, rows.n_features
    n_clusters = len(totals.mass)
    rows_per_piece = max(256, -(-n_points // 4096))
    most_pieces = -(-n_points // rows_per_piece) + n_clusters
    starts, piece_starts = cupy.empty((2, n_clusters + 1), dtype=np.int32)
    order = cupy.empty(n_points, dtype=np.int32)
    piece_sums = cupy.empty((most_pieces, n_features), dtype=np.float64)
    piece_mass = cupy.empty(most_pieces, dtype=np.float64)
    sizes = (np.int32(n_features), np.int32(n_clusters))
    chunking = (np.int32(chunks.n_rows), np.int32(chunks.n_chunks))
    piecing = np.int32(rows_per_piece)
    _launch(
        "scan_histogram",
        1,
        (histogram, sizes[1], chunking[1], piecing, starts, piece_starts),
        n_threads=1024,
    )
    _launch(
        "scatter_rows",
        chunks.n_chunks,
        (labels, np.int32(n_points), *chunking, histogram, order),
        n_threads=32,
    )
    n_threads = min(_THREADS, -(-n_features // 32) * 32)
    _launch(
        f"sum_pieces<{types[0]}, {types[1]}>",
        (most_pieces, -(-n_features // n_threads)),
        (
            *_row_arguments(rows, with_weights=True),
            order,
            starts,
            piece_starts,
            *sizes,
            piecing,
            piece_sums,
            piece_mass,
        ),
        n_threads=n_threads,
    )
    _launch(
        "merge_pieces",
        -(-n_clusters * n_features // _THREADS),
        (piece_sums, piece_mass, piece_starts, *sizes, *totals),
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
    _launch(
        f"prepare_centroids<{c_type}>",
        len(centroids),
        (centroids, np.int32(centroids.shape[1]), *scored),
    )
    return scored


def _merged(partials: Array) -> Array:
    n_parts, n_cells = partials.shape
    out = cupy.empty(n_cells, dtype=np.float64)
    _launch(
        "merge_parts",
        -(-n_cells * 32 // _THREADS),
        (partials, np.int64(n_parts), np.int64(n_cells), out),
    )
    return out


def _no_totals(n_clusters: int, n_features: int) -> ClusterTotals:
    cells = cupy.zeros(n_clusters * (n_features + 1), dtype=np.float64)
    n_sums = n_clusters * n_features
    return ClusterTotals(cells[:n_sums].reshape(n_clusters, n_features), cells[n_sums:])


def _chunks(n_rows: int, n_clusters: int) -> _Chunks:
    """Return chunks long enough that the histogram of all of them stays within its bound."""
    least = max(1024, -(-n_rows * n_clusters // _HISTOGRAM_CELLS))
    rows_per_chunk = -(-least // 32) * 32
    return _Chunks(rows_per_chunk, -(-n_rows // rows_per_chunk))


def _tile_rows(n_clusters: int, n_features: int, itemsize: int) -> int:
    of_row = max(n_clusters, n_features) * itemsize
    # Less than 1024 rows waste the device: taken only when memory ran out.
    return max(1, within_budget(max(_SCORES_BYTES, 1024 * of_row)) // of_row)


def _split(n_rows: int, most_blocks: int) -> tuple[int, int]:
    """Return rows a block, in whole tiles of _THREADS rows, and the number of blocks."""
    n_tiles = -(-n_rows // _THREADS)
    rows_per_block = -(-n_tiles // most_blocks) * _THREADS
    return rows_per_block, -(-n_rows // rows_per_block)


def _few(n_features: int, n_clusters: int, itemsize: int, *, with_sums: bool) -> _Few | None:
    """Return how to launch a kernel for few features, or None if shared memory is too small."""
    width = next((width for width in _WIDTHS if width >= n_features), None)
    if width is None:
        return None
    n_bytes = itemsize * (_THREADS * (width + 1) + n_clusters * (width + 1))
    most = _most_shared_bytes(cupy.cuda.runtime.getDevice())
    if not with_sums:
        return _Few(width, 0, n_bytes) if n_bytes <= most else None
    n_bytes += (itemsize + 4) * _THREADS  # weights and labels
    of_group = 8 * n_clusters * (n_features + 1)
    wanted = _THREADS // n_features
    n_groups = min((_SHARED_BYTES - n_bytes) // of_group, wanted)
    if n_groups * n_features < _ADDING_THREADS:
        n_groups = min((most - n_bytes) // of_group, wanted)
    return _Few(width, n_groups, n_bytes + n_groups * of_group) if n_groups > 0 else None


@functools.cache
def _most_shared_bytes(device: int) -> int:
    # Cached: CuPy asks the driver for every attribute of a device to tell one of them.
    most: int = cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"]
    return most if most < _MOST_SHARED_BYTES else _MOST_SHARED_BYTES


def _types(rows: DenseRows, *arrays: Array) -> tuple[str, str] | None:
    """Return the C types of the points and of the computation; None to decline."""
    if rows.n_points == 0:  # a launch of no blocks is an error
        return None
    types: tuple[str, str] | None = _C_TYPES.get(rows.points.dtype.name)
    given = [array for array in (rows.weights, rows.origin, *arrays) if array is not None]
    if types is None or not _are_plain(rows.points, *given):
        return None
    wanted = "float64" if types[1] == "double" else "float32"
    return types if all(array.dtype.name == wanted for array in given) else None


def _are_plain(*arrays: Array) -> bool:
    return all(array.flags.c_contiguous for array in arrays)


def _row_arguments(rows: DenseRows, *, with_weights: bool = False) -> Iterator[Any]:
    optional = (rows.weights, rows.origin) if with_weights else (rows.origin,)
    yield rows.points
    yield from (_NULL if array is None else array for array in optional)


def _launch(
    name: str,
    blocks: int | tuple[int, int],
    arguments: tuple[Any, ...],
    *,
    n_threads: int = _THREADS,
    shared_bytes: int = 0,
    source: str = "kernels.cu",
) -> None:
    grid = blocks if isinstance(blocks, tuple) else (blocks,)
    function = _compiled(name, source)
    if shared_bytes > _SHARED_BYTES:
        function.max_dynamic_shared_size_bytes = shared_bytes
    function(grid, (n_threads,), arguments, shared_mem=shared_bytes)


@functools.cache
def _compiled(name: str, source: str) -> Any:
    text = importlib.resources.files(__package__).joinpath(source).read_text()
    templates = (name,) if "<" in name else None
    module = cupy.RawModule(code=text, options=("-std=c++17",), name_expressions=templates)
    return module.get_function(name)
