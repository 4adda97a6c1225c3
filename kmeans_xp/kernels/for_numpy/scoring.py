"""Find the nearest centroids: score tiles by BLAS, and choose the best score."""

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numpy.measuring import sq_norms
from kmeans_xp.kernels.for_numpy.tiling import Floats, Labels, Row, columns, turned
from kmeans_xp.kernels.threads import scratch

__all__ = ["ByColumns", "ByRows", "Products", "assigner", "assigning_cost", "choose", "ranks"]

#: up to this size OpenBLAS has faster kernels without packing (only with AVX-512)
_UNPACKED_PRODUCT = 10**6
#: up to this number of features a transposed tile, with the bias as a further feature, is faster
_FEW_FEATURES = 8
#: from this number of features, a product in rows, then transposed, is faster than one in columns
_MANY_FEATURES = 64
#: maximum number of clusters to score in columns, for few and for many features; ranks are uint8
_MOST_COLUMNS = 160
_MOST_TURNED_COLUMNS = 96
#: number of clusters whose scores are in memory at a time
_WIDTH = 2048


class Products:
    """Products of tiles of rows with a few vectors, as an array of vectors x rows."""

    def __init__(self, vectors: Floats, bias: Floats) -> None:
        self.bias = bias[:, None]
        self.augmented = np.concatenate([vectors, self.bias], axis=1)
        self.transposed = np.ascontiguousarray(vectors.T)

    def __call__(self, points: Floats) -> Floats:
        """Multiply with rows."""
        n_points, n_features = points.shape
        out = columns("products", len(self.bias), n_points, points.dtype)
        if n_features <= _FEW_FEATURES:
            return np.matmul(self.augmented, turned(points), out=out)
        self._multiply(points, out)
        return np.add(out, self.bias, out=out)

    def _multiply(self, points: Floats, out: Floats) -> None:
        n_points, n_features = points.shape
        step = _UNPACKED_PRODUCT // self.transposed.size
        if step >= min(512, n_points):
            for start in range(0, n_points, step):
                part = slice(start, start + step)
                np.matmul(self.transposed.T, points[part].T, out=out[:, part])
        elif n_features >= _MANY_FEATURES:
            by_rows = scratch("by_rows", (n_points, len(out)), points.dtype)
            np.copyto(out, np.matmul(points, self.transposed, out=by_rows).T)
        else:
            np.matmul(self.transposed.T, points.T, out=out)


def ranks(n_clusters: int) -> NDArray[np.uint8]:
    """Return a column of ranks: a lower index has a higher rank."""
    return np.arange(n_clusters, 0, -1, dtype=np.uint8)[:, None]


def choose(
    scores: Floats,
    ranks: NDArray[np.uint8],
    best: Floats,
    is_best: NDArray[np.bool_],
    rank: NDArray[np.uint8],
) -> None:
    """Write the rank of each column's best score to ``rank``; the other arrays are scratch."""
    np.maximum.reduce(scores, axis=0, out=best)
    np.equal(scores, best, out=is_best)
    # The highest rank among the best is the lowest index. A register holds 64 bytes, while NumPy's
    # argmax over the first axis takes one element at a time.
    ranked = is_best.view(np.uint8)
    np.multiply(ranked, ranks, out=ranked)
    np.maximum.reduce(ranked, axis=0, out=rank)
    np.maximum(rank, 1, out=rank)  # a valid index even if scores overflowed to NaN


class ByColumns:
    """Assigns a tile by scores of clusters x rows, so that reductions run along memory."""

    def __init__(self, centroids: Floats) -> None:
        # The smallest |x - c|^2 is the largest x.c - |c|^2 / 2.
        self.scores = Products(centroids, -0.5 * sq_norms(centroids))
        self.n_clusters = np.int32(len(centroids))
        self.ranks = ranks(len(centroids))

    @staticmethod
    def tile(n_clusters: int, n_features: int) -> int:
        """Return the minimum number of rows of a tile."""
        # A tile's twenty calls cost as much as 2000 rows of two features: take many rows, within
        # the cache. Above half of NumPy's buffer (4096) it broadcasts operands without a copy.
        most = min(16000, 2**19 // max(n_clusters, 2 * n_features))
        return max(most, min(4112, 2**17 // n_features), 1000)

    def __call__(self, points: Floats, labels: Labels) -> None:
        """Write the labels of rows."""
        scores = self.scores(points)
        n_points = len(points)
        best = scratch("best", (n_points,), scores.dtype)
        is_best = columns("is_best", len(scores), n_points, np.bool_)
        rank = scratch("rank", (n_points,), np.uint8)
        choose(scores, self.ranks, best, is_best, rank)
        np.subtract(self.n_clusters, rank, out=labels)


class ByRows:
    """Assigns a tile by scores of rows x clusters, for many clusters."""

    def __init__(self, centroids: Floats) -> None:
        self.transposed = np.ascontiguousarray(centroids.T)
        half_norms = 0.5 * sq_norms(centroids)
        starts = range(0, len(centroids), _WIDTH)
        self.blocks = [(start, Row(half_norms[start : start + _WIDTH])) for start in starts]

    @staticmethod
    def tile(n_clusters: int, n_features: int) -> int:
        """Return the minimum number of rows of a tile."""
        return max(512, 2**19 // max(min(n_clusters, _WIDTH), n_features))

    def __call__(self, points: Floats, labels: Labels) -> None:
        """Write the labels of rows."""
        best: Floats | None = None
        for start, half_norms in self.blocks:
            scores = self._scores(points, start, half_norms)
            index = np.argmax(scores, axis=1)
            if len(self.blocks) == 1:
                labels[:] = index
                return
            score = np.take_along_axis(scores, index[:, None], axis=1)[:, 0]
            if best is None:
                best, labels[:] = score, index
                continue
            # Strictly greater: a tie keeps the lower index.
            better = score > best
            np.copyto(labels, index + start, where=better, casting="same_kind")
            np.maximum(best, score, out=best)

    def _scores(self, points: Floats, start: int, half_norms: Row) -> Floats:
        width = half_norms.row.size
        scores: Floats = scratch("scores", (len(points), width), points.dtype)
        np.matmul(points, self.transposed[:, start : start + width], out=scores)
        return half_norms.subtracted_from(scores, scores)


def assigner(n_clusters: int, n_features: int) -> type[ByColumns] | type[ByRows]:
    """Return the faster of the two classes."""
    most = _MOST_COLUMNS if n_features < _MANY_FEATURES else _MOST_TURNED_COLUMNS
    return ByColumns if n_clusters <= most else ByRows


def assigning_cost(n_clusters: int, n_features: int) -> float:
    """Return the approximate time for a row in nanoseconds."""
    return 10.0 + n_features / 2 + n_clusters / 4 + n_clusters * n_features / 80
