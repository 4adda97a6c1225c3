"""Kernels for NumPy: tiles of rows over threads, BLAS scores, sums by a sparse one-hot product.

What is done with a row depends on the shapes alone, never on the number of threads, so results
are bit-equal for every number of them. The constants were measured on two cores with AVX-512
and OpenBLAS 0.3.31; none of them changes a result by more than rounding.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.kernel import Kernel
from kmeans_xp.kernels.portable import (
    ClusterTotals,
    Nearest,
    Update,
    assigned_sq_distances,
    candidate_potentials,
    closer_of,
    cluster_sums,
    lloyd_step,
    nearest_centroid,
    nearest_labels,
    sq_distances,
    update_centroids,
)
from kmeans_xp.kernels.rows import Rows
from kmeans_xp.kernels.threads import in_threads, one_blas_thread, scratch
from kmeans_xp.kernels.trees import merged_in_tree

__all__: list[str] = []

R = TypeVar("R")
Floats = NDArray[Any]
Labels = NDArray[np.int32]

#: work (nanoseconds of one thread, roughly) below which a second thread does not pay
_WORTH_A_TASK = 150_000
#: tasks are a multiple of this, so that they share out evenly among as many threads
_TASKS = 8
_MOST_TASKS = 64
#: OpenBLAS multiplies up to these sizes (the products of all lengths) in one thread by itself
_SMALL_GEMM = 2**18
_SMALL_GEMV = 2**13
#: up to so many rows, and a small GEMM, a few calls on the whole beat the machinery of tiles
_FEW_ROWS = 2048
#: up to so many numbers, the portable bodies of kernels that read rows once are as fast
_FEW_NUMBERS = 2**15
#: OpenBLAS has faster kernels without packing up to this size (AVX-512 only, harmless elsewhere)
_UNPACKED_PRODUCT = 10**6
#: a transposed tile, with the bias as one feature more, pays up to so many features
_FEW_FEATURES = 8
#: features from which a product in rows, turned afterwards, is faster than one in columns
_MANY_FEATURES = 64
#: clusters up to which scores are columns, with few features and with many; ranks are uint8
_MOST_COLUMNS = 160
_MOST_TURNED_COLUMNS = 96
#: clusters whose scores exist at a time for a row
_WIDTH = 2048
#: numbers in the partial sums of a task, from which tasks take features instead of rows
_MOST_PRIVATE = 2**16
#: numbers in a repeated row: above half of NumPy's buffer no operand is copied to broadcast it
_LONG_ROW = 8192


#: dtypes that the overrides take, and what they compute in
_COMPUTING: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float64): np.dtype(np.float64),
}


class _Plan(NamedTuple):
    """How rows are cut: into tasks, and those into tiles."""

    n_points: int
    tile: int
    tiles_per_task: int

    @property
    def n_tasks(self) -> int:
        return -(-self.n_points // (self.tile * self.tiles_per_task))

    def tiles(self, task: int) -> Iterator[slice]:
        first = task * self.tile * self.tiles_per_task
        last = min(first + self.tile * self.tiles_per_task, self.n_points)
        for start in range(first, last, self.tile):
            yield slice(start, min(start + self.tile, last))


def _plan(n_points: int, tile_rows: int, cost: float) -> _Plan:
    """Cut rows of so many nanoseconds each into tiles of less than twice ``tile_rows``."""
    n_tasks = max(1, min(int(n_points * cost) // _WORTH_A_TASK, _TASKS))
    n_tiles = max(n_tasks, n_points // tile_rows)
    if n_tiles > _TASKS:
        n_tiles -= n_tiles % _TASKS
    tile = -(-n_points // n_tiles)
    per_task = n_tiles if n_tasks == 1 else -(-n_tiles // _MOST_TASKS)
    return _Plan(n_points, tile, per_task)


def _run(task: Callable[[int], R], plan: _Plan, *, gemm: int = 0, gemv: int = 0) -> list[R]:
    """Run the plan's tasks, with products of so many numbers for each row of a tile."""
    is_small = plan.tile * gemm <= _SMALL_GEMM and plan.tile * gemv <= _SMALL_GEMV
    if plan.n_tasks == 1 and is_small:
        return [task(0)]  # holding BLAS to one thread would take longer than the task
    with one_blas_thread():
        return in_threads(task, plan.n_tasks)


def _override(
    kernel: Kernel[..., Any], *, above: int = 0
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Register a body for more than so many numbers; it is called without the namespace."""

    def register(body: Callable[..., R]) -> Callable[..., R]:
        @kernel.override("numpy")
        @functools.wraps(body)
        def declining(rows: Rows, *operands: Any, xp: Namespace) -> Any:
            if rows.points.size <= above or not _takes(rows, operands):
                return NotImplemented
            return body(rows, *operands)

        return body

    return register


def _takes(rows: Rows, operands: tuple[Any, ...]) -> bool:
    """Return whether the arrays are of the dtypes that the overrides are written for."""
    dtype = _COMPUTING.get(rows.points.dtype)
    if dtype is None:
        return False
    arrays = (operand for operand in operands if isinstance(operand, np.ndarray))
    return all(array.size and array.dtype in (dtype, np.int32, np.int64) for array in arrays)


def _dtype(points: Floats) -> np.dtype[Any]:
    return _COMPUTING[points.dtype]


def _columns(name: str, n_rows: int, n_columns: int, dtype: Any) -> Floats:
    """Return scratch of shape (n_rows, n_columns) whose rows lie an odd number of lines apart.

    At a multiple of 4 KB they would share a few sets of the cache: GEMM takes five times as long.
    """
    stride = -(-n_columns // 16) | 1
    return scratch(name, (n_rows, stride * 16), dtype)[:, :n_columns]


class _Row:
    """A row to subtract from every row of a matrix.

    It is repeated, since NumPy's broadcasting of a short row costs more than the arithmetic.
    """

    def __init__(self, row: Floats) -> None:
        self.row = row
        self.repeated = np.tile(row, -(-_LONG_ROW // row.size))

    def subtracted_from(self, matrix: Floats, out: Floats) -> Floats:
        """Write to ``out``, which must be contiguous."""
        if not matrix.flags.c_contiguous:
            np.subtract(matrix, self.row, out=out)
            return out
        flat, flat_out, length = matrix.reshape(-1), out.reshape(-1), self.repeated.size
        whole = flat.size - flat.size % length
        if whole:
            shape = (-1, length)
            whole_out = flat_out[:whole].reshape(shape)
            np.subtract(flat[:whole].reshape(shape), self.repeated, out=whole_out)
        np.subtract(flat[whole:], self.repeated[: flat.size - whole], out=flat_out[whole:])
        return out


class _Centring:
    """Reads tiles of points as C-contiguous rows relative to the origin."""

    def __init__(self, rows: Rows) -> None:
        self.points = rows.points
        self.dtype = _dtype(rows.points)
        self.origin = None if rows.origin is None else _Row(rows.origin)

    def __call__(self, place: slice) -> Floats:
        """Return rows that may be the points themselves: not to be written to."""
        points: Floats = self.points[place]
        if self.origin is None and points.dtype == self.dtype and points.flags.c_contiguous:
            return points
        out: Floats = scratch("centred", points.shape, self.dtype)
        if self.origin is None:
            np.copyto(out, points)
            return out
        if points.dtype != self.dtype:  # float16
            np.copyto(out, points)
            points = out
        return self.origin.subtracted_from(points, out)


class _Products:
    """Products of tiles of rows with a few vectors, as an array of vectors x rows."""

    def __init__(self, vectors: Floats, bias: Floats) -> None:
        self.bias = bias[:, None]
        self.augmented = np.concatenate([vectors, self.bias], axis=1)
        self.transposed = np.ascontiguousarray(vectors.T)

    def __call__(self, points: Floats) -> Floats:
        n_points, n_features = points.shape
        out = _columns("products", len(self.bias), n_points, points.dtype)
        if n_features <= _FEW_FEATURES:
            turned = _columns("turned", n_features + 1, n_points, points.dtype)
            np.copyto(turned[:-1], points.T)
            turned[-1] = 1.0
            return np.matmul(self.augmented, turned, out=out)
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


class _ByColumns:
    """Assigns a tile by scores of clusters x rows: reductions run along the rows of memory."""

    def __init__(self, centroids: Floats) -> None:
        # The least |x - c|^2 is the greatest x.c - |c|^2 / 2.
        self.scores = _Products(centroids, -0.5 * _sq_norms(centroids))
        self.n_clusters = np.int32(len(centroids))
        self.ranks = np.arange(len(centroids), 0, -1, dtype=np.uint8)[:, None]

    @staticmethod
    def tile(n_clusters: int, n_features: int) -> int:
        # A tile's twenty calls cost what 2000 rows of two features do: many rows, within the
        # cache. Above half of NumPy's buffer (4096) no operand is copied to broadcast it.
        most = min(16000, 2**19 // max(n_clusters, 2 * n_features))
        return max(most, min(4112, 2**17 // n_features), 1000)

    def __call__(self, points: Floats, labels: Labels) -> None:
        scores = self.scores(points)
        n_points = len(points)
        best = scratch("best", (n_points,), scores.dtype)
        is_best = _columns("is_best", len(scores), n_points, np.bool_)
        rank = scratch("rank", (n_points,), np.uint8)
        np.maximum.reduce(scores, axis=0, out=best)
        np.equal(scores, best, out=is_best)
        # The greatest rank among the best is the lowest index; bytes are 64 to a register,
        # while NumPy's argmax over the first axis takes an element at a time.
        ranks = np.multiply(is_best.view(np.uint8), self.ranks, out=is_best.view(np.uint8))
        np.maximum.reduce(ranks, axis=0, out=rank)
        np.maximum(rank, 1, out=rank)  # if scores overflowed to NaN: an index that exists
        np.subtract(self.n_clusters, rank, out=labels)


class _ByRows:
    """Assigns a tile by scores of rows x clusters, for many clusters."""

    def __init__(self, centroids: Floats) -> None:
        self.transposed = np.ascontiguousarray(centroids.T)
        half_norms = 0.5 * _sq_norms(centroids)
        starts = range(0, len(centroids), _WIDTH)
        self.blocks = [(start, _Row(half_norms[start : start + _WIDTH])) for start in starts]

    @staticmethod
    def tile(n_clusters: int, n_features: int) -> int:
        return max(512, 2**19 // max(min(n_clusters, _WIDTH), n_features))

    def __call__(self, points: Floats, labels: Labels) -> None:
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
            # Strictly greater: a tie stays with the lower index.
            better = score > best
            np.copyto(labels, index + start, where=better, casting="same_kind")
            np.maximum(best, score, out=best)

    def _scores(self, points: Floats, start: int, half_norms: _Row) -> Floats:
        width = half_norms.row.size
        scores: Floats = scratch("scores", (len(points), width), points.dtype)
        np.matmul(points, self.transposed[:, start : start + width], out=scores)
        return half_norms.subtracted_from(scores, scores)


def _assigner(n_clusters: int, n_features: int) -> type[_ByColumns] | type[_ByRows]:
    most = _MOST_COLUMNS if n_features < _MANY_FEATURES else _MOST_TURNED_COLUMNS
    return _ByColumns if n_clusters <= most else _ByRows


class _OneHotSums(threading.local):
    """Adds rows to the sums of their clusters, in float64.

    float32 rows are cast a tile at a time: that takes a tenth to a third of the time of the
    sums, and the mean of equal rows is exactly that row, which float32 sums would miss.

    A one-hot matrix of clusters x rows, in columns, has the labels as its indices. Each thread
    makes its own, once: making one costs as much as multiplying with it.
    """

    def __init__(self, n_clusters: int) -> None:
        self.n_clusters = n_clusters
        self.one_hot: Any = None

    def none(self, n_features: int) -> ClusterTotals:
        return ClusterTotals(np.zeros((self.n_clusters, n_features)), np.zeros(self.n_clusters))

    def labels(self, n_rows: int) -> Labels:
        """Return the labels of the next tile, to be written."""
        if self.one_hot is None or self.one_hot.shape[1] != n_rows:
            starts = np.arange(n_rows + 1, dtype=np.int32)
            parts = (np.ones(n_rows), np.zeros(n_rows, dtype=np.int32), starts)
            self.one_hot = csc_array(parts, shape=(self.n_clusters, n_rows))
        labels: Labels = self.one_hot.indices
        return labels

    def add(
        self, points: Floats, weights: Floats | None, place: slice, total: ClusterTotals
    ) -> None:
        """Add a tile, whose labels have been written, to ``total``."""
        if weights is not None:
            weights = weights[place]
            self.one_hot.data[:] = weights
        if points.dtype != np.float64:
            wide = scratch("wide", points.shape, np.float64)
            np.copyto(wide, points)
            points = wide
        np.add(total.sums, self.one_hot @ points, out=total.sums)
        mass = _mass(self.one_hot.indices, weights, self.n_clusters)
        np.add(total.mass, mass, out=total.mass)


def _mass(labels: NDArray[Any], weights: Floats | None, n_clusters: int) -> Floats:
    return np.bincount(labels, weights, minlength=n_clusters)


def _sq_norms(vectors: Floats) -> Floats:
    norms: Floats = np.einsum("ij,ij->i", vectors, vectors)
    return norms


#: einsum is for NumPy 1.26, and takes twice the time
_row_dots: Callable[..., Floats] = getattr(np, "vecdot", functools.partial(np.einsum, "ij,ij->i"))


def _sq_norms_into(points: Floats, out: Floats) -> Floats:
    """Write the squared norm of each row to ``out``; NumPy's loops over short rows are slow."""
    if points.shape[1] > 64:
        return _row_dots(points, points, out=out)
    squares = scratch("squares", points.shape, points.dtype)
    np.multiply(points, points, out=squares)
    return np.matmul(squares, np.ones(points.shape[1], points.dtype), out=out)


@_override(lloyd_step)
def assign_and_sum_tiles(rows: Rows, centroids: Floats) -> ClusterTotals:
    """Assign and sum each tile while it is in the cache."""
    n_clusters, n_features = centroids.shape
    if centroids.size > _MOST_PRIVATE:
        return one_hot_product(rows, assigned_tiles(rows, centroids), n_clusters)
    if _is_small(rows, n_clusters):
        return _small_step(rows, centroids)
    make = _assigner(n_clusters, n_features)
    plan = _plan(rows.n_points, make.tile(n_clusters, n_features), _cost(n_clusters, n_features))
    assign, centred, sums = make(centroids), _Centring(rows), _OneHotSums(n_clusters)

    def totals(task: int) -> ClusterTotals:
        total = sums.none(n_features)
        for place in plan.tiles(task):
            points = centred(place)
            assign(points, sums.labels(len(points)))
            sums.add(points, rows.weights, place, total)
        return total

    return merged_in_tree(_run(totals, plan, gemm=centroids.size))


def _cost(n_clusters: int, n_features: int) -> float:
    return 10.0 + n_features / 2 + n_clusters / 4 + n_clusters * n_features / 80


def _is_small(rows: Rows, n_clusters: int) -> bool:
    return rows.n_points <= _FEW_ROWS and rows.points.size * n_clusters <= _SMALL_GEMM


def _small_step(rows: Rows, centroids: Floats) -> ClusterTotals:
    points = _small_points(rows)
    labels = _small_labels(points, centroids)
    return _small_sums(points, rows.weights, labels, len(centroids))


def _small_sums(
    points: Floats, weights: Floats | None, labels: NDArray[Any], n_clusters: int
) -> ClusterTotals:
    """Multiply with a dense one-hot matrix: making a sparse one takes longer than all this."""
    one_hot = np.zeros((len(points), n_clusters))
    one_hot[np.arange(len(points)), labels] = 1.0 if weights is None else weights
    sums = one_hot.T @ points.astype(np.float64, copy=False)
    return ClusterTotals(sums, _mass(labels, weights, n_clusters).astype(np.float64, copy=False))


def _small_points(rows: Rows) -> Floats:
    points: Floats = rows.points.astype(_dtype(rows.points), copy=False)
    return points if rows.origin is None else points - rows.origin


def _small_labels(points: Floats, centroids: Floats) -> NDArray[np.intp]:
    scores = points @ centroids.T
    scores -= 0.5 * _sq_norms(centroids)
    labels: NDArray[np.intp] = scores.argmax(axis=1)
    return labels


@_override(nearest_labels)
def assigned_tiles(rows: Rows, centroids: Floats) -> Labels:
    return _nearest(rows, centroids, None)


@_override(nearest_centroid)
def assigned_tiles_with_distances(rows: Rows, centroids: Floats) -> Nearest:
    distances = np.empty(rows.n_points, _dtype(rows.points))
    return Nearest(_nearest(rows, centroids, distances), distances)


def _nearest(rows: Rows, centroids: Floats, distances: Floats | None) -> Labels:
    n_clusters, n_features = centroids.shape
    if _is_small(rows, n_clusters):
        return _small_nearest(rows, centroids, distances)
    labels = np.empty(rows.n_points, dtype=np.int32)
    make = _assigner(n_clusters, n_features)
    plan = _plan(rows.n_points, make.tile(n_clusters, n_features), _cost(n_clusters, n_features))
    assign, centred = make(centroids), _Centring(rows)

    def label(task: int) -> None:
        for place in plan.tiles(task):
            points = centred(place)
            assign(points, labels[place])
            if distances is not None:
                _distances_into(points, centroids, labels[place], distances[place])

    _run(label, plan, gemm=centroids.size, gemv=n_features)
    return labels


def _small_nearest(rows: Rows, centroids: Floats, distances: Floats | None) -> Labels:
    points = _small_points(rows)
    labels = _small_labels(points, centroids).astype(np.int32)
    if distances is not None:
        distances[:] = _sq_norms(points - centroids[labels])
    return labels


def _distances_into(points: Floats, centroids: Floats, labels: Labels, out: Floats) -> None:
    difference = scratch("difference", points.shape, points.dtype)
    # "clip" spares a copy of the result; labels are in range.
    np.take(centroids, labels, axis=0, out=difference, mode="clip")
    np.subtract(points, difference, out=difference)
    _sq_norms_into(difference, out)


@_override(assigned_sq_distances)
def differences_in_tiles(rows: Rows, labels: Labels, centroids: Floats) -> Floats:
    if rows.points.size <= _FEW_NUMBERS:
        return _sq_norms(_small_points(rows) - centroids[labels])
    distances = np.empty(rows.n_points, centroids.dtype)
    plan, centred = _streaming_plan(rows, 3), _Centring(rows)

    def measure(task: int) -> None:
        for place in plan.tiles(task):
            _distances_into(centred(place), centroids, labels[place], distances[place])

    _run(measure, plan, gemv=rows.n_features)
    return distances


def _streaming_tile(width: int) -> int:
    return max(256, min(8000, 2**18 // width))


def _streaming_plan(rows: Rows, n_passes: int) -> _Plan:
    """Cut rows for work that does a few passes over a tile's features."""
    tile = _streaming_tile(rows.n_features)
    return _plan(rows.n_points, tile, 5.0 + n_passes * rows.n_features / 8)


@_override(cluster_sums)
def one_hot_product(rows: Rows, labels: Labels, n_clusters: int) -> ClusterTotals:
    """Sum tiles of rows, or tiles of rows and features where the sums are large."""
    if n_clusters * rows.n_features > _MOST_PRIVATE:
        return _sums_by_features(rows, labels, n_clusters)
    if _is_small(rows, n_clusters):
        return _small_sums(_small_points(rows), rows.weights, labels, n_clusters)
    plan, centred = _streaming_plan(rows, 4), _Centring(rows)
    sums = _OneHotSums(n_clusters)

    def totals(task: int) -> ClusterTotals:
        total = sums.none(rows.n_features)
        for place in plan.tiles(task):
            points = centred(place)
            sums.labels(len(points))[:] = labels[place]
            sums.add(points, rows.weights, place, total)
        return total

    return merged_in_tree(_run(totals, plan))


def _sums_by_features(rows: Rows, labels: Labels, n_clusters: int) -> ClusterTotals:
    """Sum some features of all rows in each task: no task has n_clusters x n_features of its own.

    Rows are taken in groups so large that adding each group's sums costs little.
    """
    n_points, n_features = rows.points.shape
    width = max(8, min(64, _MOST_PRIVATE // n_clusters))
    tile = min(n_points, max(2**18 // width, 2 * n_clusters))
    sums, one_hot = np.zeros((n_clusters, n_features)), _OneHotSums(n_clusters)

    def add_features(task: int) -> None:
        features = slice(task * width, (task + 1) * width)
        origin = None if rows.origin is None else rows.origin[features]
        centred = _Centring(Rows(rows.points[:, features], None, origin))
        total = one_hot.none(sums[:, features].shape[1])
        for place in _Plan(n_points, tile, n_points).tiles(0):
            points = centred(place)
            one_hot.labels(len(points))[:] = labels[place]
            one_hot.add(points, rows.weights, place, total)
        sums[:, features] = total.sums

    in_threads(add_features, -(-n_features // width))
    return ClusterTotals(sums, _mass(labels, rows.weights, n_clusters).astype(np.float64))


@update_centroids.override("numpy")
def means_or_old(totals: ClusterTotals, centroids: Floats, **_: Namespace) -> Any:
    """Return the means with half of the portable body's calls."""
    sums, mass = totals
    if sums.dtype != np.float64 or centroids.dtype not in (np.float32, np.float64):
        return NotImplemented
    if centroids.ndim == 3:  # of several runs: each as if it were alone
        runs = zip(sums, mass, centroids, strict=True)
        each = [means_or_old(ClusterTotals(s, m), c) for s, m, c in runs]
        return Update(*map(np.stack, zip(*each, strict=True)))
    column = mass[:, None]
    n_empty = len(mass) - np.count_nonzero(mass > 0.0)
    means = sums / column if n_empty == 0 else _means_with_empty(sums, column, centroids)
    new = means.astype(centroids.dtype, copy=False)
    old = centroids.astype(np.float64, copy=False)
    moved = new - old
    # sum w |x - c|^2 = sum w |x|^2 - (2 c.S - m |c|^2): no second pass over the rows. Not by
    # BLAS: the rounding of its dot products depends on its number of threads.
    explained = (old * (2.0 * sums - column * old)).sum()
    return Update(new, np.array([(moved * moved).sum(), n_empty, explained]))


def _means_with_empty(sums: Floats, mass: Floats, centroids: Floats) -> Floats:
    is_empty = mass <= 0.0
    means: Floats = np.where(is_empty, centroids, sums / np.where(is_empty, 1.0, mass))
    return means


@_override(candidate_potentials, above=_FEW_NUMBERS)
def potentials_by_columns(rows: Rows, closest: Floats, candidates: Floats) -> Floats:
    """Measure all candidates in one product a tile, as an array of candidates x rows."""
    n_candidates, n_features = candidates.shape
    cost = 10.0 + n_features / 2 + n_candidates + n_candidates * n_features / 40
    tile = _streaming_tile(max(n_features, n_candidates))
    plan = _plan(rows.n_points, tile, cost)
    products = _Products(-2.0 * candidates, _sq_norms(candidates))
    centred = _Centring(rows)

    def potentials(task: int) -> Floats:
        total = np.zeros(n_candidates)
        for place in plan.tiles(task):
            points = centred(place)
            nearer = products(points)
            np.add(nearer, _sq_norms_into(points, _vector("norms", points)), out=nearer)
            np.maximum(nearer, 0.0, out=nearer)
            np.minimum(nearer, closest[place], out=nearer)
            total += _weighted_sums(nearer, None if rows.weights is None else rows.weights[place])
        return total

    return merged_in_tree(_run(potentials, plan, gemm=candidates.size, gemv=n_features))


def _vector(name: str, points: Floats) -> Floats:
    return scratch(name, (len(points),), points.dtype)


def _weighted_sums(values: Floats, weights: Floats | None) -> Floats:
    """Return the sum of each row of ``values`` in float64."""
    wide = scratch("wide", values.shape, np.float64)
    np.copyto(wide, values)
    if weights is not None:
        np.multiply(wide, weights, out=wide)
    sums: Floats = wide.sum(axis=1)
    return sums


@_override(closer_of, above=_FEW_NUMBERS)
def fold_in_tiles(rows: Rows, closest: Floats, candidate: Floats) -> Floats:
    """Measure by differences: as fast as the expanded form for one candidate, and exact."""
    folded = np.empty(rows.n_points, candidate.dtype)
    plan, centred = _streaming_plan(rows, 4), _Centring(rows)
    seed = _Row(candidate[0])

    def fold(task: int) -> None:
        for place in plan.tiles(task):
            points = centred(place)
            # Where the points are centred, this writes over them: half of the cache.
            difference = scratch("centred", points.shape, points.dtype)
            _sq_norms_into(seed.subtracted_from(points, difference), folded[place])
            np.minimum(folded[place], closest[place], out=folded[place])

    _run(fold, plan, gemv=rows.n_features)
    return folded


@_override(sq_distances, above=_FEW_NUMBERS)
def float64_products(rows: Rows, centroids: Floats) -> Floats:
    n_clusters, n_features = centroids.shape
    out = np.empty((rows.n_points, n_clusters), centroids.dtype)
    tile = max(64, min(2048, 2**18 // max(n_clusters, n_features)))
    plan = _plan(rows.n_points, tile, 2.0 * _cost(n_clusters, n_features))
    wide = centroids.astype(np.float64, copy=False)
    doubled, norms = np.ascontiguousarray(-2.0 * wide.T), _Row(-_sq_norms(wide))
    centred = _Centring(rows)

    def measure(task: int) -> None:
        for place in plan.tiles(task):
            points = centred(place).astype(np.float64, copy=False)
            expanded = scratch("expanded", (len(points), n_clusters), np.float64)
            np.matmul(points, doubled, out=expanded)
            norms.subtracted_from(expanded, expanded)
            np.add(expanded, _sq_norms(points)[:, None], out=expanded)
            np.maximum(expanded, 0.0, out=expanded)
            nearest = np.argmin(expanded, axis=1)
            difference = points - wide[nearest]
            expanded[np.arange(len(points)), nearest] = _sq_norms(difference)
            out[place] = expanded

    _run(measure, plan, gemm=centroids.size)
    return out
