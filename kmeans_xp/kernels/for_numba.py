"""Kernels for NumPy that numba compiles: rows in the lanes of vectors, scores in registers.

No matrix of scores or distances ever lies in memory. What is done with a row, and the order in
which sums are added, depends on the shapes alone: results are bit-equal for every number of
threads. Compiled code is kept on disk, so a machine compiles it once.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.kernel import Kernel
from kmeans_xp.kernels.portable import (
    ClusterTotals,
    Nearest,
    assigned_sq_distances,
    candidate_potentials,
    closer_of,
    cluster_sums,
    lloyd_step,
    nearest_centroid,
    nearest_labels,
)
from kmeans_xp.kernels.rows import Rows
from kmeans_xp.kernels.threads import in_threads
from kmeans_xp.kernels.trees import merged_in_tree
from kmeans_xp.kernels.vectors import (
    GROUPS,
    LINE,
    PANEL,
    add_row,
    as_rows,
    fold_group,
    keep_nearer,
    pack_panel,
    panel_rows,
    score_group,
    sq_distance,
    total_width,
)

__all__: list[str] = []

R = TypeVar("R")
Floats = NDArray[Any]
Labels = NDArray[np.int32]

#: work (nanoseconds of one thread, roughly) below which another task does not pay
_WORTH_A_TASK = 100_000
#: tasks are a multiple of this, so that they share out evenly among as many threads
_TASKS = 8
_MOST_TASKS = 64
#: rows of a task for each cluster, at least: adding up what tasks found must not cost much
_ROWS_A_CLUSTER = 4
#: bytes of the panels of a tile: half of a small second-level cache
_TILE_BYTES = 2**18
_MOST_TILE_ROWS = 1024
#: numbers in the totals of a task, from which tasks take features instead of rows
_MOST_PRIVATE = 2**16

_LARGE, _MIDDLE, _SMALL = GROUPS
_score_large, _score_middle, _score_small = score_group
_fold_large, _fold_middle, _fold_small = fold_group

_inline = numba.njit(nogil=True, error_model="numpy")


# The arrays that compiled functions take: NumPy's are converted, whatever their layout is.


def _rows(kind: Any) -> Any:
    return types.Array(kind, 2, "A", readonly=True)


def _column(kind: Any) -> Any:
    return types.Array(kind, 1, "A", readonly=True)


def _labels(_: Any) -> Any:
    return types.Array(types.int32, 1, "A", readonly=True)


def _numbers(kind: Any) -> Any:
    return types.Array(kind, 1, "C", readonly=True)


def _results(kind: Any) -> Any:
    return types.Array(kind, 1, "C")


def _label_results(_: Any) -> Any:
    return types.Array(types.int32, 1, "C")


def _totals(_: Any) -> Any:
    return types.Array(types.float64, 2, "C")


def _sums(_: Any) -> Any:
    return types.Array(types.float64, 1, "C")


def _count(_: Any) -> Any:
    return types.int64


class _Compiled:
    """A function compiled for a floating dtype when that dtype is first met.

    Parameters
    ----------
    function : callable
    *kinds : callable
        From the floating type to each parameter's type. One signature a dtype: otherwise each
        memory layout would be compiled on its own.
    """

    def __init__(self, function: Callable[..., Any], *kinds: Callable[[Any], Any]) -> None:
        self.function, self.kinds = function, kinds
        self.of_dtype: dict[np.dtype[Any], Any] = {}

    def __getitem__(self, dtype: np.dtype[Any]) -> Any:
        """Return the function for arrays of this dtype."""
        made = self.of_dtype.get(dtype)
        if made is None:
            kind = numba.from_dtype(dtype)
            signature = types.void(*(parameter(kind) for parameter in self.kinds))
            options = {"nogil": True, "error_model": "numpy"}
            try:
                made = numba.njit([signature], cache=True, **options)(self.function)
            except RuntimeError:  # no folder that can be written to: compile in each process
                made = numba.njit([signature], **options)(self.function)
            self.of_dtype[dtype] = made
        return made


def _compiled(*kinds: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], _Compiled]:
    return lambda function: _Compiled(function, *kinds)


# How rows are cut up.


def _n_tasks(n_points: int, cost: float, n_clusters: int = 1) -> int:
    """Return into how many tasks to cut rows that take so many nanoseconds each."""
    most = min(_MOST_TASKS, n_points // (_ROWS_A_CLUSTER * n_clusters))
    n_tasks = max(1, min(int(n_points * cost) // _WORTH_A_TASK, most))
    return n_tasks - n_tasks % _TASKS if n_tasks > _TASKS else n_tasks


def _run(task: Callable[[int, int], R], n_points: int, n_tasks: int, dtype: Any) -> list[R]:
    """Return what ``task`` gives for each of so many parts of the rows."""
    panel = PANEL[dtype]
    n_rows = -(-n_points // (n_tasks * panel)) * panel
    starts = range(0, n_points, n_rows)

    def part(number: int) -> R:
        start = starts[number]
        return task(start, min(start + n_rows, n_points))

    return in_threads(part, len(starts))


def _tile_rows(n_points: int, n_features: int, dtype: np.dtype[Any]) -> int:
    """Return how many rows are worked on at a time, whole panels of them."""
    panel = PANEL[dtype]
    rows = min(_MOST_TILE_ROWS, _TILE_BYTES // (n_features * dtype.itemsize), n_points + panel - 1)
    return max(panel, rows - rows % panel)


def _override(kernel: Kernel[..., Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Register a body for float32 and float64; it is called without the namespace."""

    def register(body: Callable[..., R]) -> Callable[..., R]:
        @kernel.override("numpy")
        @functools.wraps(body)
        def declining(rows: Rows, *operands: Any, xp: Namespace) -> Any:
            return body(rows, *operands) if _takes(rows, operands) else NotImplemented

        return body

    return register


def _takes(rows: Rows, operands: tuple[Any, ...]) -> bool:
    dtype = rows.points.dtype
    if dtype not in PANEL or not rows.points.size:
        return False
    arrays = [value for value in (rows.weights, rows.origin) if value is not None]
    arrays += [value for value in operands if isinstance(value, np.ndarray)]
    return all(array.size and array.dtype in (dtype, np.int32, np.int64) for array in arrays)


def _origin(rows: Rows) -> Floats:
    if rows.origin is None:
        return np.zeros(rows.n_features, rows.points.dtype)
    return np.ascontiguousarray(rows.origin)


def _weights(rows: Rows) -> Floats:
    """Return the weights; an empty array for none."""
    return np.empty(0, rows.points.dtype) if rows.weights is None else rows.weights


# Assignment and sums.


@_inline
def _group_size(n_left):
    if n_left > _MIDDLE:
        return _LARGE
    return _MIDDLE if n_left > _SMALL else _SMALL


@_inline
def _tile_of(points, first, n_rows, scratch):
    """Return rows whose numbers lie side by side, and the first of the tile's."""
    if scratch.shape[0] == 0:
        return points, first
    for row in range(n_rows):
        for feature in range(points.shape[1]):
            scratch[row, feature] = points[first + row, feature]
    return as_rows(scratch), 0


@_inline
def _scratch_for(points, tile):
    """Return room for a tile of rows if the numbers of a row lie apart, else none."""
    is_dense = points.strides[1] == points.itemsize or points.shape[1] == 1
    return np.empty((0 if is_dense else tile, points.shape[1]), points.dtype)


@_inline
def _aligned(n_numbers, like):
    """Return uninitialised numbers of the dtype of ``like`` that begin on a cache line."""
    memory = np.empty(n_numbers + LINE // like.itemsize, like.dtype)
    first = -memory.ctypes.data % LINE // like.itemsize
    return memory[first : first + n_numbers]


@_inline
def _pack_tile(points, first, n_rows, origin, panels):
    panel, n_features = panel_rows(panels), points.shape[1]
    for row in range(0, n_rows, panel):
        pack_panel(points, first + row, n_rows - row, origin, n_features, panels, row * n_features)


@_inline
def _label_panels(panels, n_rows, n_features, groups, biases, n_clusters, best, labels):
    """Label rows that have been packed; rows without a number for a score get label 0."""
    panel = panel_rows(panels)
    for row in range(-(-n_rows // panel) * panel):
        best[row] = -np.inf
        labels[row] = 0
    first = 0
    while first < n_clusters:
        size = _group_size(n_clusters - first)
        # A group stays in the first-level cache while all panels of the tile pass by it.
        for row in range(0, n_rows, panel):
            at = row * n_features
            if size == _LARGE:
                _score_large(panels, at, n_features, groups, biases, first, best, labels, row)
            elif size == _MIDDLE:
                _score_middle(panels, at, n_features, groups, biases, first, best, labels, row)
            else:
                _score_small(panels, at, n_features, groups, biases, first, best, labels, row)
        first += size


@_inline
def _add_tile(points, first, n_rows, row, origin, weights, labels, totals):
    """Add the tile that begins at ``first`` of ``points`` and at ``row`` of the weights."""
    n_features, width = points.shape[1], totals.shape[1]
    flat = totals.reshape(-1)
    weight = 1.0
    for number in range(n_rows):
        if weights.shape[0] > 0:
            weight = float(weights[row + number])
        add_row(points, first + number, origin, weight, n_features, flat, labels[number] * width)


@_compiled(_rows, _results, _results)
def _pack_groups(centroids, groups, biases):
    """Lay centroids out as groups; what is missing in the last one can never be the best."""
    n_clusters, n_features = centroids.shape
    first = 0
    while first < n_clusters:
        size = _group_size(n_clusters - first)
        for member in range(size):
            sq_norm = 0.0
            is_there = first + member < n_clusters
            for feature in range(n_features):
                number = centroids[first + member, feature] if is_there else groups.dtype.type(0)
                groups[first * n_features + feature * size + member] = number
                sq_norm += float(number) * float(number)
            # The least |x - c|^2 is the greatest x.c - |c|^2 / 2.
            biases[first + member] = -0.5 * sq_norm if is_there else -np.inf
        first += size


@_compiled(_rows, _count, _count, _count, _numbers, _numbers, _numbers, _count, _label_results)
def _label_rows(points, start, stop, tile, origin, groups, biases, n_clusters, labels):
    n_features = points.shape[1]
    panels, best = _aligned(tile * n_features, points), _aligned(tile, points)
    found, scratch = np.empty(tile, np.int32), _scratch_for(points, tile)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        tile_points, first = _tile_of(points, row, n_rows, scratch)
        _pack_tile(tile_points, first, n_rows, origin, panels)
        _label_panels(panels, n_rows, n_features, groups, biases, n_clusters, best, found)
        labels[row : row + n_rows] = found[:n_rows]


@_compiled(_rows, _count, _count, _count, _numbers, _column, _numbers, _numbers, _totals)
def _label_and_add(points, start, stop, tile, origin, weights, groups, biases, totals):
    n_features, n_clusters = points.shape[1], totals.shape[0]
    panels, best = _aligned(tile * n_features, points), _aligned(tile, points)
    labels, scratch = np.empty(tile, np.int32), _scratch_for(points, tile)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        tile_points, first = _tile_of(points, row, n_rows, scratch)
        _pack_tile(tile_points, first, n_rows, origin, panels)
        _label_panels(panels, n_rows, n_features, groups, biases, n_clusters, best, labels)
        _add_tile(tile_points, first, n_rows, row, origin, weights, labels, totals)


@_compiled(_rows, _count, _count, _count, _numbers, _column, _labels, _totals)
def _add_rows(points, start, stop, tile, origin, weights, labels, totals):
    scratch = _scratch_for(points, tile)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        tile_points, first = _tile_of(points, row, n_rows, scratch)
        _add_tile(tile_points, first, n_rows, row, origin, weights, labels[row:], totals)


@_compiled(_rows, _count, _count, _count, _numbers, _labels, _numbers, _results)
def _measure_rows(points, start, stop, tile, origin, labels, centroids, distances):
    n_features, scratch = points.shape[1], _scratch_for(points, tile)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        tile_points, first = _tile_of(points, row, n_rows, scratch)
        for number in range(n_rows):
            at = labels[row + number] * n_features
            distances[row + number] = sq_distance(
                tile_points, first + number, origin, centroids, at, n_features
            )


class _Groups:
    """Centroids laid out to be scored."""

    def __init__(self, centroids: Floats) -> None:
        n_clusters, n_features = centroids.shape
        n_padded = n_clusters + _LARGE  # the last group may be larger than what is left
        self.n_clusters = n_clusters
        self.numbers = np.empty(n_padded * n_features, centroids.dtype)
        self.biases = np.empty(n_padded, centroids.dtype)
        _pack_groups[centroids.dtype](centroids, self.numbers, self.biases)


def _cost(n_clusters: int, n_features: int) -> float:
    return 2.0 + n_features / 4 + n_clusters / 12 + n_clusters * n_features / 50


@_override(lloyd_step)
def scored_and_added(rows: Rows, centroids: Floats) -> ClusterTotals:
    """Label a tile of rows and add it to its clusters while it is in the cache."""
    points, (n_clusters, n_features) = rows.points, centroids.shape
    if centroids.size > _MOST_PRIVATE:
        return added_by_features(rows, scored(rows, centroids), n_clusters)
    dtype, origin, weights = points.dtype, _origin(rows), _weights(rows)
    groups, tile = _Groups(centroids), _tile_rows(rows.n_points, n_features, points.dtype)

    def totals(start: int, stop: int) -> Floats:
        found = _no_totals(n_clusters, n_features)
        _label_and_add[dtype](
            points, start, stop, tile, origin, weights, groups.numbers, groups.biases, found
        )
        return found

    n_tasks = _n_tasks(rows.n_points, _cost(n_clusters, n_features), n_clusters)
    return _split(merged_in_tree(_run(totals, rows.n_points, n_tasks, dtype)), n_features)


def _no_totals(n_clusters: int, n_features: int) -> Floats:
    """Return zeros for each cluster's sums and mass, from a cache line on."""
    width = total_width(n_features)
    memory = np.zeros(n_clusters * width + LINE // 8)
    first = -memory.ctypes.data % LINE // 8
    return memory[first : first + n_clusters * width].reshape(n_clusters, width)


def _split(totals: Floats, n_features: int) -> ClusterTotals:
    return ClusterTotals(totals[:, :n_features], totals[:, n_features])


@_override(nearest_labels)
def scored(rows: Rows, centroids: Floats) -> Labels:
    """Keep the best score of each row in registers."""
    points, (n_clusters, n_features) = rows.points, centroids.shape
    dtype, origin, groups = points.dtype, _origin(rows), _Groups(centroids)
    tile = _tile_rows(rows.n_points, n_features, dtype)
    labels = np.empty(rows.n_points, np.int32)

    def label(start: int, stop: int) -> None:
        _label_rows[dtype](
            points, start, stop, tile, origin, groups.numbers, groups.biases, n_clusters, labels
        )

    _run(label, rows.n_points, _n_tasks(rows.n_points, _cost(n_clusters, n_features)), dtype)
    return labels


@_override(nearest_centroid)
def scored_then_measured(rows: Rows, centroids: Floats) -> Nearest:
    labels = scored(rows, centroids)
    return Nearest(labels, row_by_row(rows, labels, centroids))


@_override(assigned_sq_distances)
def row_by_row(rows: Rows, labels: Labels, centroids: Floats) -> Floats:
    """Measure each row to its centroid, features in the lanes."""
    points, n_features = rows.points, rows.n_features
    dtype, origin = points.dtype, _origin(rows)
    tile = _tile_rows(rows.n_points, n_features, dtype)
    flat, labels = np.ascontiguousarray(centroids).reshape(-1), _int32(labels)
    distances = np.empty(rows.n_points, dtype)

    def measure(start: int, stop: int) -> None:
        _measure_rows[dtype](points, start, stop, tile, origin, labels, flat, distances)

    _run(measure, rows.n_points, _n_tasks(rows.n_points, 4.0 + n_features / 3), dtype)
    return distances


def _int32(labels: NDArray[Any]) -> Labels:
    return labels.astype(np.int32, copy=False)


@_override(cluster_sums)
def added_row_by_row(rows: Rows, labels: Labels, n_clusters: int) -> ClusterTotals:
    """Add rows to their clusters' totals, features in the lanes and the mass after them."""
    n_features = rows.n_features
    if n_clusters * n_features > _MOST_PRIVATE:
        return added_by_features(rows, labels, n_clusters)
    n_tasks = _n_tasks(rows.n_points, 3.0 + n_features / 4, n_clusters)
    return _added(rows, labels, n_clusters, n_tasks)


def _added(rows: Rows, labels: Labels, n_clusters: int, n_tasks: int) -> ClusterTotals:
    points, n_features, labels = rows.points, rows.n_features, _int32(labels)
    dtype, origin, weights = points.dtype, _origin(rows), _weights(rows)
    tile = _tile_rows(rows.n_points, n_features, dtype)

    def totals(start: int, stop: int) -> Floats:
        found = _no_totals(n_clusters, n_features)
        _add_rows[dtype](points, start, stop, tile, origin, weights, labels, found)
        return found

    return _split(merged_in_tree(_run(totals, rows.n_points, n_tasks, dtype)), n_features)


def added_by_features(rows: Rows, labels: Labels, n_clusters: int) -> ClusterTotals:
    """Add some features of all rows in each task: no task has all sums of its own."""
    n_features, width = rows.n_features, max(8, min(64, _MOST_PRIVATE // n_clusters))
    origin = _origin(rows)

    def totals(task: int) -> ClusterTotals:
        some = slice(task * width, (task + 1) * width)
        part = Rows(rows.points[:, some], rows.weights, origin[some])
        return _added(part, labels, n_clusters, n_tasks=1)

    parts = in_threads(totals, -(-n_features // width))
    return ClusterTotals(np.concatenate([part.sums for part in parts], axis=1), parts[0].mass)


# k-means++.


@_compiled(_rows, _count, _count, _count, _numbers, _column, _column, _numbers, _count, _sums)
def _fold_rows(points, start, stop, tile, origin, weights, closest, groups, n_candidates, lanes):
    n_features = points.shape[1]
    panels, scratch = _aligned(tile * n_features, points), _scratch_for(points, tile)
    nearest, wide = np.zeros(tile, points.dtype), np.ones(tile, np.float64)
    panel = panel_rows(panels)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        tile_points, at = _tile_of(points, row, n_rows, scratch)
        _pack_tile(tile_points, at, n_rows, origin, panels)
        for number in range(n_rows):
            nearest[number] = closest[row + number]
            if weights.shape[0] > 0:
                wide[number] = weights[row + number]
        nearest[n_rows:] = 0.0  # what fills the last panel counts for nothing
        first = 0
        while first < n_candidates:
            size = _group_size(n_candidates - first)
            for number in range(0, n_rows, panel):
                at = number * n_features
                if size == _LARGE:
                    _fold_large(panels, at, n_features, groups, first, nearest, wide, number, lanes)
                elif size == _MIDDLE:
                    _fold_middle(
                        panels, at, n_features, groups, first, nearest, wide, number, lanes
                    )
                else:
                    _fold_small(panels, at, n_features, groups, first, nearest, wide, number, lanes)
            first += size


@_compiled(_rows, _count, _count, _count, _numbers, _column, _numbers, _results)
def _keep_nearer_rows(points, start, stop, tile, origin, closest, candidate, folded):
    n_features = points.shape[1]
    panels, scratch = _aligned(tile * n_features, points), _scratch_for(points, tile)
    nearest, panel = np.zeros(tile, points.dtype), panel_rows(panels)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        tile_points, at = _tile_of(points, row, n_rows, scratch)
        _pack_tile(tile_points, at, n_rows, origin, panels)
        for number in range(n_rows):
            nearest[number] = closest[row + number]
        for number in range(0, n_rows, panel):
            keep_nearer(panels, number * n_features, n_features, candidate, nearest, number)
        folded[row : row + n_rows] = nearest[:n_rows]


@_override(candidate_potentials)
def all_trials_in_a_pass(rows: Rows, closest: Floats, candidates: Floats) -> Floats:
    """Hold the distances to all candidates in registers, by differences."""
    points, (n_candidates, n_features) = rows.points, candidates.shape
    dtype, origin, weights = points.dtype, _origin(rows), _weights(rows)
    groups, tile = _Groups(candidates), _tile_rows(rows.n_points, n_features, dtype)
    panel = PANEL[dtype]

    def potentials(start: int, stop: int) -> Floats:
        lanes = np.zeros(len(groups.biases) * panel)
        _fold_rows[dtype](
            points,
            start,
            stop,
            tile,
            origin,
            weights,
            closest,
            groups.numbers,
            n_candidates,
            lanes,
        )
        sums: Floats = lanes.reshape(-1, panel)[:n_candidates].sum(axis=1)
        return sums

    cost = 2.0 + n_features / 4 + n_candidates * (1.0 + n_features / 25)
    return merged_in_tree(_run(potentials, rows.n_points, _n_tasks(rows.n_points, cost), dtype))


@_override(closer_of)
def folded_in_a_pass(rows: Rows, closest: Floats, candidate: Floats) -> Floats:
    """Measure by differences, as ``candidate_potentials`` does: to the same bits."""
    points, n_features = rows.points, rows.n_features
    dtype, origin = points.dtype, _origin(rows)
    tile = _tile_rows(rows.n_points, n_features, dtype)
    seed = np.ascontiguousarray(candidate).reshape(-1)
    folded = np.empty(rows.n_points, dtype)

    def fold(start: int, stop: int) -> None:
        _keep_nearer_rows[dtype](points, start, stop, tile, origin, closest, seed, folded)

    _run(fold, rows.n_points, _n_tasks(rows.n_points, 2.0 + n_features / 3), dtype)
    return folded
