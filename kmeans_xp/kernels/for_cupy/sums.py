"""Sums of the rows of each cluster in the order of their labels, and the centroids they make.

An override's result is Any since it may be ``NotImplemented``.
"""

import math
from typing import Any, NamedTuple

import cupy
import numpy as np

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_cupy.launching import (
    C_TYPES,
    N_THREADS,
    are_plain,
    launch,
    row_arguments,
    types_of,
)
from kmeans_xp.kernels.portable.assignment import ClusterTotals, cluster_sums
from kmeans_xp.kernels.portable.steps import Update, update_centroids
from kmeans_xp.kernels.rows import DenseRows

__all__ = ["SORTED_ROWS", "Chunks", "add_in_order", "chunks_of", "merged", "no_totals"]

#: rows that are sorted by label at a time: places fit 32 bits, and memory is bounded
SORTED_ROWS = 2**22
_HISTOGRAM_CELLS = 2**24


class Chunks(NamedTuple):
    """Rows whose labels are counted together."""

    n_rows: int
    n_chunks: int


@cluster_sums.override("cupy", rows=DenseRows)
def sorted_sums(rows: DenseRows, labels: Array, n_clusters: int, *, xp: Namespace) -> Any:
    """Add up the rows in the order of their labels, in pieces of equal size."""
    types = types_of(rows)
    if types is None:
        return NotImplemented
    totals = no_totals(n_clusters, rows.n_features)
    labels = cupy.ascontiguousarray(labels, dtype=np.int32)
    for place, tile in rows.tiles(SORTED_ROWS):
        chunks = chunks_of(tile.n_points, n_clusters)
        histogram = cupy.zeros((n_clusters, chunks.n_chunks), dtype=np.int32)
        launch(
            "count_labels",
            "sums.cu",
            -(-tile.n_points // N_THREADS),
            (
                labels[place],
                np.int32(tile.n_points),
                np.int32(chunks.n_rows),
                np.int32(chunks.n_chunks),
                histogram,
            ),
        )
        add_in_order(tile, labels[place], histogram, chunks, totals, types)
    return totals


@update_centroids.override("cupy")
def fused_update(totals: ClusterTotals, centroids: Array, *, xp: Namespace) -> Any:
    """Take the means and the loop's three numbers in one launch, of one block a restart."""
    if centroids.dtype.name not in ("float32", "float64") or not are_plain(*totals, centroids):
        return NotImplemented
    *restarts, n_clusters, n_features = centroids.shape
    new = cupy.empty_like(centroids)
    signals = cupy.empty((*restarts, 3), dtype=np.float64)
    launch(
        f"means_and_signals<{C_TYPES[centroids.dtype.name][1]}>",
        "sums.cu",
        math.prod(restarts),
        (*totals, centroids, np.int32(n_clusters), np.int32(n_features), new, signals),
        n_threads=1024,
    )
    return Update(new, signals)


def add_in_order(
    rows: DenseRows,
    labels: Array,
    histogram: Array,
    chunks: Chunks,
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
    launch(
        "scan_histogram",
        "sums.cu",
        1,
        (histogram, sizes[1], chunking[1], piecing, starts, piece_starts),
        n_threads=1024,
    )
    launch(
        "scatter_rows",
        "sums.cu",
        chunks.n_chunks,
        (labels, np.int32(n_points), *chunking, histogram, order),
        n_threads=32,
    )
    n_threads = min(N_THREADS, -(-n_features // 32) * 32)
    launch(
        f"sum_pieces<{types[0]}, {types[1]}>",
        "sums.cu",
        (most_pieces, -(-n_features // n_threads)),
        (
            *row_arguments(rows, with_weights=True),
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
    launch(
        "merge_pieces",
        "sums.cu",
        -(-n_clusters * n_features // N_THREADS),
        (piece_sums, piece_mass, piece_starts, *sizes, *totals),
    )


def merged(partials: Array) -> Array:
    """Return the sums of partial results, (n_parts, n_cells), over the parts."""
    n_parts, n_cells = partials.shape
    out = cupy.empty(n_cells, dtype=np.float64)
    launch(
        "merge_parts",
        "sums.cu",
        -(-n_cells // 32),
        (partials, np.int64(n_parts), np.int64(n_cells), out),
        # A warp for each few parts: each waits for its next number from far away.
        n_threads=32 * min(32, -(-n_parts // 4)),
    )
    return out


def no_totals(n_clusters: int, n_features: int) -> ClusterTotals:
    """Return totals of zero in one piece of memory."""
    cells = cupy.zeros(n_clusters * (n_features + 1), dtype=np.float64)
    n_sums = n_clusters * n_features
    return ClusterTotals(cells[:n_sums].reshape(n_clusters, n_features), cells[n_sums:])


def chunks_of(n_rows: int, n_clusters: int) -> Chunks:
    """Return chunks long enough that the histogram of all of them stays within its bound."""
    least = max(1024, -(-n_rows * n_clusters // _HISTOGRAM_CELLS))
    rows_per_chunk = -(-least // 32) * 32
    return Chunks(rows_per_chunk, -(-n_rows // rows_per_chunk))
