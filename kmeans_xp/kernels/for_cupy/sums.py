"""Sums of the rows of each cluster in the order of their labels, and the centroids they make.

Overrides return Any because they may return ``NotImplemented``.
"""

import math
from typing import Any, NamedTuple

import cupy
import numpy as np

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_cupy.launching import (
    C_TYPES,
    N_THREADS,
    NEVER,
    NULL,
    ManyRows,
    Stop,
    are_plain,
    launch,
    row_arguments,
    runs_over,
    types_of,
)
from kmeans_xp.kernels.portable.assignment import ClusterTotals, cluster_sums
from kmeans_xp.kernels.portable.steps import Update, update_centroids
from kmeans_xp.kernels.rows import DenseRows

__all__ = [
    "FEWEST_ROWS",
    "MOST_CLUSTERS",
    "Sorted",
    "Zeros",
    "is_one_part",
    "merged",
    "n_chunks_of",
    "no_totals",
    "sorted_by_label",
    "sorted_sums",
    "updated_sums",
]

#: number of rows to sort together, as the number of bits of a place among them
_CHUNK_BITS = (12, 8)
_KEY_BITS = 32
_SORTING_THREADS = 512
MOST_CLUSTERS = 2 ** (_KEY_BITS - min(_CHUNK_BITS))
#: maximum bytes of each cluster's start in each chunk
_RUNS_BYTES = 64 * 2**20
_MOST_ROWS = 2**30
#: number of pieces that keep a device busy, and minimum number of rows in each
_PIECES = 2048
FEWEST_ROWS = 256
#: clusters, or parts of them, up to which one block is faster than two launches
_ONE_BLOCK = 128


class Sorted(NamedTuple):
    """Rows in the order of their labels, as ``sort_chunks`` leaves them.

    Parameters
    ----------
    arguments : tuple
        Arguments of kernels, as SORTED_ROWS in ``common.cu`` lists them.
    piece_starts : array of shape (..., n_clusters + 1)
    most_pieces : int
        Of a run.
    tickets : array
        Zeros, as many as the caller passed.
    """

    arguments: tuple[Any, ...]
    piece_starts: Array
    most_pieces: int
    tickets: Array


class Zeros:
    """Arrays of zeros that are zero again after each launch, for the steps of one run."""

    def __init__(self) -> None:
        self._kept: Array | None = None

    def take(self, n_zeros: int) -> Array:
        """Return zeros of int32; give them back when all launches that use them are queued."""
        kept, self._kept = self._kept, None
        if kept is not None and len(kept) == n_zeros:
            return kept
        return cupy.zeros(n_zeros, dtype=np.int32)

    def give_back(self, zeros: Array) -> None:
        """Keep zeros for the next step."""
        self._kept = zeros


class _Means(NamedTuple):
    """Inputs and outputs of the new centroids, which are made with the sums of the last rows."""

    old: Array
    new: Array
    parts: Array
    signals: Array


@cluster_sums.override("cupy", rows=DenseRows)
def sorted_sums(rows: DenseRows, labels: Array, n_clusters: int, *, xp: Namespace) -> Any:
    """Add up the rows in the order of their labels, in pieces of equal size."""
    return _summed(rows, labels, n_clusters)


def updated_sums(
    rows: DenseRows | ManyRows,
    labels: Array,
    centroids: Array,
    zeros: Zeros,
    signals: Array | None = None,
    stop: Stop = NEVER,
) -> Any:
    """Return the totals and their update, or NotImplemented.

    They are bit-identical to those of ``cluster_sums`` and ``update_centroids``, with no more
    launches than ``cluster_sums``. Labels and centroids may begin with an axis of runs.
    """
    *runs, n_clusters, n_features = centroids.shape
    if not is_one_part(rows, n_clusters) or types_of(rows, centroids) is None:
        return NotImplemented
    n_parts = _parts_of(n_clusters, n_features)
    new = cupy.empty_like(centroids)
    signals = cupy.empty((*runs, 3), dtype=np.float64) if signals is None else signals
    parts = cupy.empty((*runs, n_parts, 3), dtype=np.float64)
    means = _Means(centroids, new, parts, signals)
    totals = _summed(rows, labels, n_clusters, means, zeros, stop)
    return totals if totals is NotImplemented else (totals, Update(new, signals))


def _summed(
    rows: DenseRows | ManyRows,
    labels: Array,
    n_clusters: int,
    means: _Means | None = None,
    zeros: Zeros | None = None,
    stop: Stop = NEVER,
) -> Any:
    types = types_of(rows)
    n_features = rows.n_features
    if types is None or not n_features or n_clusters > MOST_CLUSTERS:
        return NotImplemented
    *runs, _ = labels.shape
    n_runs = math.prod(runs)
    totals = ClusterTotals(
        cupy.empty((*runs, n_clusters, n_features), dtype=np.float64),
        cupy.empty((*runs, n_clusters), dtype=np.float64),
    )
    labels = cupy.ascontiguousarray(labels, dtype=np.int32)
    for place, tile in rows.tiles(_rows_of_part(n_clusters)):
        rows_per_piece = max(FEWEST_ROWS, -(-tile.n_points // _PIECES))
        n_zeros = n_runs * (n_clusters + 1 + _parts_of(n_clusters, n_features) + 1)
        counts = cupy.zeros(n_zeros, np.int32) if zeros is None else zeros.take(n_zeros)
        of_tile = labels[..., place]
        ordered = sorted_by_label(of_tile, n_clusters, rows_per_piece, counts, stop)
        n_columns = -(-n_features // N_THREADS)
        launch(
            f"sum_pieces<{types[0]}, {types[1]}>",
            "sums.cu",
            (ordered.most_pieces, n_columns, n_runs),
            (
                *row_arguments(tile, with_weights=True),
                runs_over(tile)[0],
                np.int64(tile.n_points),
                *ordered.arguments,
                np.int32(n_features),
                np.int32(place.start == 0),
                cupy.empty((n_runs, ordered.most_pieces, n_features), dtype=np.float64),
                cupy.empty((n_runs, n_columns, ordered.most_pieces), dtype=np.float64),
                ordered.tickets,
                *totals,
                *((NULL,) * 4 if means is None else means),
                *stop,
            ),
        )
        if zeros is not None:
            zeros.give_back(counts)
    return totals


def sorted_by_label(
    labels: Array,
    n_clusters: int,
    rows_per_piece: int,
    counts: Array | None = None,
    stop: Stop = NEVER,
) -> Sorted:
    """Sort rows, fewer than 2**30, by labels of int32; stable, and cut into pieces of clusters.

    Labels may begin with an axis of runs. ``counts`` has n_clusters + 1 zeros for each run, and
    then a zero for each ticket.
    """
    *runs, n_rows = labels.shape
    n_runs = math.prod(runs)
    bits, n_chunks = _chunk_bits(n_clusters), n_chunks_of(n_rows, n_clusters)
    most_pieces = -(-n_rows // rows_per_piece) + n_clusters
    if counts is None:
        counts = cupy.zeros(n_runs * (n_clusters + 1), dtype=np.int32)
    piece_starts = cupy.empty((*runs, n_clusters + 1), dtype=np.int32)
    order = cupy.empty((*runs, n_rows), dtype=np.uint16)
    run_starts = cupy.empty((*runs, n_chunks, n_clusters + 1), dtype=np.uint16)
    sizes = (np.int32(bits), np.int32(n_clusters), np.int32(rows_per_piece))
    launch(
        "sort_chunks",
        "sorting.cu",
        (n_chunks, n_runs),
        (
            labels,
            np.int32(n_rows),
            np.int32(n_clusters),
            np.int32(bits),
            np.int32(rows_per_piece),
            order,
            run_starts,
            counts,
            piece_starts,
            *stop,
        ),
        n_threads=_SORTING_THREADS,
    )
    given = (order, run_starts, counts, piece_starts, np.int32(n_chunks), *sizes)
    return Sorted(given, piece_starts, most_pieces, counts[n_runs * (n_clusters + 1) :])


@update_centroids.override("cupy")
def fused_update(
    totals: ClusterTotals,
    centroids: Array,
    signals: Array | None = None,
    stop: Stop = NEVER,
    *,
    xp: Namespace,
) -> Any:
    """Compute the means and the loop's three numbers in one launch, or in two for many clusters.

    The numbers are written to ``signals`` if it is not None.
    """
    if centroids.dtype.name not in ("float32", "float64") or not are_plain(*totals, centroids):
        return NotImplemented
    *restarts, n_clusters, n_features = centroids.shape
    n_restarts, n_parts = math.prod(restarts), _parts_of(n_clusters, n_features)
    new = cupy.empty_like(centroids)
    signals = cupy.empty((*restarts, 3), dtype=np.float64) if signals is None else signals
    parts = cupy.empty((n_restarts, n_parts, 3), dtype=np.float64)
    is_one_block = n_parts <= _ONE_BLOCK
    n_warps = 32 if is_one_block else N_THREADS // 32
    sizes = (np.int32(n_clusters), np.int32(n_features))
    launch(
        f"means_and_signals<{C_TYPES[centroids.dtype.name][1]}>",
        "sums.cu",
        (1 if is_one_block else -(-n_parts // n_warps), n_restarts),
        (*totals, centroids, *sizes, new, parts, signals, *stop),
        n_threads=32 * n_warps,
    )
    if not is_one_block:
        arguments = (parts, np.int32(n_parts), signals, *stop)
        launch("sum_signals", "merging.cu", n_restarts, arguments)
    return Update(new, signals)


def is_one_part(rows: DenseRows | ManyRows, n_clusters: int) -> bool:
    """Return whether the rows are few enough to sort them in one launch."""
    return rows.n_points <= _rows_of_part(n_clusters)


def _rows_of_part(n_clusters: int) -> int:
    """Return the number of rows to sort in one launch."""
    bits = _chunk_bits(n_clusters)
    n_chunks = max(1, _RUNS_BYTES // (2 * (n_clusters + 1)))
    return int(min(n_chunks * 2**bits, _MOST_ROWS))


def n_chunks_of(n_rows: int, n_clusters: int) -> int:
    """Return the number of chunks of rows, each of which a block sorts."""
    return -(-n_rows // (1 << _chunk_bits(n_clusters)))


def _chunk_bits(n_clusters: int) -> int:
    most, least = _CHUNK_BITS
    return most if n_clusters <= 2 ** (_KEY_BITS - most) else least


def _parts_of(n_clusters: int, n_features: int) -> int:
    """Return the number of warps or blocks that make the means of all clusters."""
    return n_clusters * -(-n_features // N_THREADS)


def merged(partials: Array, stop: Stop = NEVER) -> Array:
    """Return the sums of partial results, (n_parts, n_cells), over the parts."""
    n_parts, n_cells = partials.shape
    out = cupy.empty(n_cells, dtype=np.float64)
    launch(
        "merge_parts",
        "merging.cu",
        -(-n_cells // 32),
        (partials, np.int64(n_parts), np.int64(n_cells), out, *stop),
        # One warp for every few parts, since each read has a long latency.
        n_threads=32 * min(32, -(-n_parts // 4)),
    )
    return out


def no_totals(n_clusters: int, n_features: int) -> ClusterTotals:
    """Return totals of zero in one allocation."""
    cells = cupy.zeros(n_clusters * (n_features + 1), dtype=np.float64)
    n_sums = n_clusters * n_features
    return ClusterTotals(cells[:n_sums].reshape(n_clusters, n_features), cells[n_sums:])
