"""Labels by the chain of docs/design.md, and by tensor cores where each can be proven."""

import functools
from typing import Any, NamedTuple

import cupy
import numpy as np

from kmeans_xp.devices import Array, within_budget
from kmeans_xp.kernels.for_cupy.launching import N_THREADS, NULL, launch, row_arguments
from kmeans_xp.kernels.rows import DenseRows

__all__ = ["PART_ROWS", "Labelling", "is_certified"]

#: rows that share a list of doubtful ones: 4 bytes each
PART_ROWS = 2**24

#: rows of a block of ``exact_labels``: of all rows, and of the few that are listed
_BLOCK_ROWS = (128, 32)
#: blocks for the doubtful rows, whose number the host does not know
_DOUBTFUL_BLOCKS = 528

#: padded numbers of features that are compiled for tensor cores
_DEPTHS = (16, 32, 64, 128)
#: more features are padded to a multiple of this, as in the source
_WIDE_DEPTH = 64
_CERTIFIED_ROWS = 128  # of a block, as in the source
_COLUMNS = 128  # centroids at a time, as in the source: a multiple of what each kernel takes
#: two tiles of 128 rows and 128 centroids, of 64 features and 16 bytes more each
_WIDE_SHARED_BYTES = 2 * 256 * 2 * (_WIDE_DEPTH + 8)
#: rows in half precision at a time: a small multiple of an L2 cache
_HALVES_BYTES = 64 * 2**20
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
    """Centroids as tensor cores take them."""

    depth: int
    n_padded: int
    n_parts: int
    halves: Array
    biases: Array
    limits: Array


class Labelling:
    """Centroids made ready to label parts of rows.

    Parameters
    ----------
    rows : DenseRows
        All rows; at least 1.
    centroids : array of shape (n_clusters, n_features)
    types : tuple of str
        The C types of the points and of the computation.
    part_rows : int
        Rows at most of a part.
    by_tensor_cores : bool, optional
        Whether they score the rows, as of ``is_certified`` by default.
    """

    def __init__(
        self,
        rows: DenseRows,
        centroids: Array,
        types: tuple[str, str],
        part_rows: int,
        *,
        by_tensor_cores: bool | None = None,
    ) -> None:
        self.centroids = centroids
        self.types = types
        self.sq_norms = cupy.empty(len(centroids), dtype=centroids.dtype)
        #: of each part, how many rows had no proof; of none where the chain labels all
        self.counts: Array | None = None
        self._prepared: _Prepared | None = None
        if by_tensor_cores is None:
            by_tensor_cores = is_certified(rows, centroids, types)
        if by_tensor_cores:
            self.counts = cupy.empty(-(-rows.n_points // part_rows), dtype=np.int32)
            self._prepared = self._prepare(self.counts)
        else:
            self._take_norms()

    def write(self, number: int, part: DenseRows, labels: Array) -> None:
        """Write the labels of a part, the ``number``-th."""
        if self._prepared is None or self.counts is None:
            self._write_exact(part, (NULL, NULL), labels)
            return
        listed = cupy.empty(part.n_points, dtype=np.int32)
        doubtful = (listed, self.counts[number : number + 1])
        if self._prepared.depth in _DEPTHS:
            self._write_certified(part, self._prepared, (labels, *doubtful))
        else:
            self._write_certified_wide(part, self._prepared, (labels, *doubtful))
        self._write_exact(part, doubtful, labels)

    def _prepare(self, counts: Array) -> _Prepared:
        n_clusters, n_features = self.centroids.shape
        in_whole = -(-n_features // _WIDE_DEPTH) * _WIDE_DEPTH
        depth = next((depth for depth in _DEPTHS if depth >= n_features), in_whole)
        n_padded = -(-n_clusters // _COLUMNS) * _COLUMNS
        n_parts = min(_MOST_PREPARED_PARTS, -(-n_padded * 32 // _PREPARING))
        halves = cupy.empty((n_padded, depth), dtype=np.float16)
        biases = cupy.empty(n_padded, dtype=np.float32)
        limits = cupy.empty(3 * _MOST_PREPARED_PARTS + 1, dtype=np.float32)
        sizes = (n_clusters, n_features, n_padded, depth, len(counts))
        launch(
            "prepare_centroids",
            "certified.cu",
            n_parts,
            (
                self.centroids,
                *(np.int32(size) for size in sizes),
                self.sq_norms,
                halves,
                biases,
                limits,
                counts,
            ),
            n_threads=_PREPARING,
        )
        return _Prepared(depth, n_padded, n_parts, halves, biases, limits)

    def _take_norms(self) -> None:
        n_clusters, n_features = self.centroids.shape
        launch(
            f"centroid_norms<{self.types[1]}>",
            "labels.cu",
            -(-n_clusters // N_THREADS),
            (self.centroids, np.int32(n_features), np.int32(n_clusters), self.sq_norms),
        )

    def _write_certified(
        self, part: DenseRows, prepared: _Prepared, results: tuple[Any, ...]
    ) -> None:
        launch(
            f"certified_labels<{self.types[0]}, {prepared.depth}>",
            "certified.cu",
            -(-part.n_points // _CERTIFIED_ROWS),
            (
                *row_arguments(part),
                np.int64(part.n_points),
                np.int32(part.n_features),
                prepared.halves,
                prepared.biases,
                prepared.limits,
                np.int32(prepared.n_parts),
                np.int32(prepared.n_padded),
                *results,
            ),
            n_threads=_CERTIFIED_ROWS,
        )

    def _write_certified_wide(
        self, part: DenseRows, prepared: _Prepared, results: tuple[Any, ...]
    ) -> None:
        size = min(part.n_points, wide_rows(prepared.depth))
        halves = cupy.empty((size, prepared.depth), dtype=np.float16)
        known, ratios = (cupy.empty(shape, dtype=np.float32) for shape in ((size, 3), size))
        for place, tile in part.tiles(size):
            n_points, depth = np.int64(tile.n_points), np.int32(prepared.depth)
            launch(
                f"halve_rows<{self.types[0]}>",
                "certified.cu",
                -(-tile.n_points * 32 // N_THREADS),
                (
                    *row_arguments(tile),
                    n_points,
                    np.int32(tile.n_features),
                    depth,
                    prepared.limits,
                    np.int32(prepared.n_parts),
                    halves,
                    known,
                    ratios,
                ),
            )
            launch(
                "certified_wide_labels",
                "certified.cu",
                -(-tile.n_points // _CERTIFIED_ROWS),
                (
                    halves,
                    known,
                    ratios,
                    n_points,
                    np.int64(place.start),
                    depth,
                    prepared.halves,
                    prepared.biases,
                    prepared.limits,
                    np.int32(prepared.n_parts),
                    np.int32(prepared.n_padded),
                    *results,
                ),
                shared_bytes=_WIDE_SHARED_BYTES,
            )

    def _write_exact(self, part: DenseRows, listed: tuple[Any, Any], labels: Array) -> None:
        """Label all rows of a part, or those that are listed."""
        is_of_all = listed[0] is NULL
        n_rows = _BLOCK_ROWS[0 if is_of_all else 1]
        n_blocks = -(-part.n_points // n_rows)
        n_clusters, n_features = self.centroids.shape
        launch(
            f"exact_labels<{self.types[0]}, {self.types[1]}, {n_rows}>",
            "labels.cu",
            n_blocks if is_of_all else min(n_blocks, _DOUBTFUL_BLOCKS),
            (
                *row_arguments(part),
                self.centroids,
                self.sq_norms,
                np.int64(part.n_points),
                np.int32(n_features),
                np.int32(n_clusters),
                *listed,
                labels,
            ),
        )


def wide_rows(depth: int) -> int:
    """Return how many rows of so many padded features are in half precision at a time."""
    return max(1, within_budget(_HALVES_BYTES) // (2 * depth))


def is_certified(rows: DenseRows, centroids: Array, types: tuple[str, str]) -> bool:
    """Return whether tensor cores score rows faster than the chain does."""
    n_clusters, n_features = centroids.shape
    return (
        types[1] == "float"
        and _LEAST_FEATURES <= n_features <= _MOST_FEATURES
        and n_clusters >= _LEAST_CLUSTERS
        and rows.n_points * n_clusters * n_features >= _LEAST_WORK
        and _has_tensor_cores(cupy.cuda.runtime.getDevice())
    )


@functools.cache
def _has_tensor_cores(device: int) -> bool:
    """Return whether they take what the source asks for: m16n8k16, and copies beside it."""
    return int(cupy.cuda.Device(device).compute_capability) >= 80
