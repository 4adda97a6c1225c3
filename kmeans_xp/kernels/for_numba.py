"""Kernels for NumPy that numba compiles: rows in the lanes of vectors, scores in registers.

No matrix of scores or distances ever lies in memory. What is done with a row, and the order in
which sums are added, depends on the shapes alone: results are bit-equal for every number of
threads. Compiled code is kept on disk, so a machine compiles it once.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.drawing import Candidate, best_candidate, drawn
from kmeans_xp.kernels.inertia import assigned_inertia
from kmeans_xp.kernels.kernel import Kernel
from kmeans_xp.kernels.moments import Moments, Spread, column_moments, spread
from kmeans_xp.kernels.portable import (
    ClusterTotals,
    LloydRun,
    Nearest,
    Update,
    assigned_sq_distances,
    candidate_potentials,
    closer_of,
    cluster_sums,
    lloyd_run,
    lloyd_step,
    nearest_centroid,
    nearest_labels,
    update_centroids,
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
#: rows whose mass is added up before one is drawn
_DRAWN_BLOCK = 4096
#: numbers in the totals of a task, from which tasks take features instead of rows
_MOST_PRIVATE = 2**16

_LARGE, _MIDDLE, _SMALL = GROUPS
_score_large, _score_middle, _score_small = score_group
_fold_large, _fold_middle, _fold_small = fold_group

# In compiled code float() of a float32 is a float32: np.float64() is what widens.
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


def _stacked_totals(_: Any) -> Any:
    return types.Array(types.float64, 3, "C")


def _matrix(kind: Any) -> Any:
    return types.Array(kind, 2, "C")


def _stack(kind: Any) -> Any:
    return types.Array(kind, 3, "C")


def _number(_: Any) -> Any:
    return types.float64


def _flag(_: Any) -> Any:
    return types.boolean


def _indices(_: Any) -> Any:
    return types.Array(types.int64, 1, "C")


def _rows64(_: Any) -> Any:
    return types.Array(types.float64, 2, "A", readonly=True)


def _sums64(_: Any) -> Any:
    return types.Array(types.float64, 1, "A", readonly=True)


def _numbers_of_float64(_: Any) -> Any:
    return types.Array(types.float64, 1, "C", readonly=True)


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
    returns : type
        Of numba.
    """

    def __init__(
        self, function: Callable[..., Any], *kinds: Callable[[Any], Any], returns: Any
    ) -> None:
        self.function, self.kinds, self.returns = function, kinds, returns
        self.of_dtype: dict[np.dtype[Any], Any] = {}
        #: the function as other compiled code calls it
        self.inline = _inline(function)

    def __getitem__(self, dtype: np.dtype[Any]) -> Any:
        """Return the function for arrays of this dtype."""
        made = self.of_dtype.get(dtype)
        if made is None:
            kind = numba.from_dtype(dtype)
            signature = self.returns(*(parameter(kind) for parameter in self.kinds))
            options = {"nogil": True, "error_model": "numpy"}
            try:
                made = numba.njit([signature], cache=True, **options)(self.function)
            except RuntimeError:  # no folder that can be written to: compile in each process
                made = numba.njit([signature], **options)(self.function)
            self.of_dtype[dtype] = made
        return made


def _compiled(
    *kinds: Callable[[Any], Any], returns: Any = types.void
) -> Callable[[Callable[..., Any]], _Compiled]:
    return lambda function: _Compiled(function, *kinds, returns=returns)


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
            weight = np.float64(weights[row + number])
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
                sq_norm += np.float64(number) * np.float64(number)
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


@_compiled(_rows64, _sums64, _rows, _matrix, _sums)
def _update(sums, mass, old, new, signals):
    """Write the means and the signals; a cluster without mass keeps its centroid."""
    n_clusters, n_features = old.shape
    sq_shift = n_empty = explained = 0.0
    for cluster in range(n_clusters):
        is_empty = mass[cluster] <= 0.0
        n_empty += is_empty
        for feature in range(n_features):
            before, total = np.float64(old[cluster, feature]), sums[cluster, feature]
            mean = old[cluster, feature] if is_empty else new.dtype.type(total / mass[cluster])
            new[cluster, feature] = mean
            moved = np.float64(mean) - before
            sq_shift += moved * moved
            # sum w |x - c|^2 = sum w |x|^2 - (2 c.S - m |c|^2): no second pass over the rows.
            explained += before * (2.0 * total - mass[cluster] * before)
    signals[0], signals[1], signals[2] = sq_shift, n_empty, explained


_pack_centroids, _label_add, _update_step = (
    function.inline for function in (_pack_groups, _label_and_add, _update)
)


@_compiled(
    _rows,
    _count,
    _numbers,
    _column,
    _rows,
    _number,
    _results,
    _results,
    _totals,
    _stacked_totals,
    _totals,
    _stack,
    _totals,
    returns=types.int64,
)
def _run_steps(
    points, tile, origin, weights, start, tol, groups, biases, found, sums, mass, centroids, signals
):
    """Take steps until one that ends the run or leaves a cluster empty; return their number."""
    n_points, n_features = points.shape
    before = start
    for number in range(len(signals)):
        _pack_centroids(before, groups, biases)
        found[:] = 0.0
        _label_add(points, 0, n_points, tile, origin, weights, groups, biases, found)
        sums[number, :, :] = found[:, :n_features]
        mass[number, :] = found[:, n_features]
        _update_step(sums[number], mass[number], before, centroids[number], signals[number])
        before = as_rows(centroids[number])
        if signals[number, 0] <= tol or signals[number, 1] > 0.0:
            return number + 1
    return len(signals)


class _Groups(NamedTuple):
    """Centroids laid out to be scored."""

    numbers: Floats
    biases: Floats

    @classmethod
    def empty(cls, n_clusters: int, n_features: int, dtype: np.dtype[Any]) -> "_Groups":
        n_padded = n_clusters + _LARGE  # the last group may be larger than what is left
        return cls(np.empty(n_padded * n_features, dtype), np.empty(n_padded, dtype))

    @classmethod
    def of(cls, centroids: Floats) -> "_Groups":
        groups = cls.empty(*centroids.shape, centroids.dtype)
        _pack_groups[centroids.dtype](centroids, *groups)
        return groups


def _cost(n_clusters: int, n_features: int) -> float:
    return 2.0 + n_features / 4 + n_clusters / 12 + n_clusters * n_features / 50


def _n_step_tasks(rows: Rows, n_clusters: int) -> int:
    return _n_tasks(rows.n_points, _cost(n_clusters, rows.n_features), n_clusters)


@_override(lloyd_step)
def scored_and_added(rows: Rows, centroids: Floats) -> ClusterTotals:
    """Label a tile of rows and add it to its clusters while it is in the cache."""
    points, (n_clusters, n_features) = rows.points, centroids.shape
    if centroids.size > _MOST_PRIVATE:
        return added_by_features(rows, scored(rows, centroids), n_clusters)
    dtype, origin, weights = points.dtype, _origin(rows), _weights(rows)
    groups, tile = _Groups.of(centroids), _tile_rows(rows.n_points, n_features, points.dtype)

    def totals(start: int, stop: int) -> Floats:
        found = _no_totals(n_clusters, n_features)
        _label_and_add[dtype](
            points, start, stop, tile, origin, weights, groups.numbers, groups.biases, found
        )
        return found

    n_tasks = _n_step_tasks(rows, n_clusters)
    return _split(merged_in_tree(_run(totals, rows.n_points, n_tasks, dtype)), n_features)


def _no_totals(n_clusters: int, n_features: int) -> Floats:
    """Return zeros for each cluster's sums and mass, from a cache line on."""
    width = total_width(n_features)
    memory = np.zeros(n_clusters * width + LINE // 8)
    first = -memory.ctypes.data % LINE // 8
    return memory[first : first + n_clusters * width].reshape(n_clusters, width)


def _split(totals: Floats, n_features: int) -> ClusterTotals:
    return ClusterTotals(totals[:, :n_features], totals[:, n_features])


@_override(lloyd_run)
def steps_in_a_call(rows: Rows, centroids: Floats, n_steps: int, tol: float) -> LloydRun:
    """Take all steps in compiled code where Python's part of one would be felt."""
    points, (n_clusters, n_features) = rows.points, centroids.shape
    if centroids.size > _MOST_PRIVATE or _n_step_tasks(rows, n_clusters) > 1:
        return NotImplemented
    dtype, tile = points.dtype, _tile_rows(rows.n_points, n_features, points.dtype)
    shape, groups = (n_steps, n_clusters, n_features), _Groups.empty(n_clusters, n_features, dtype)
    sums, new = np.empty(shape), np.empty(shape, dtype)
    mass, signals = np.empty(shape[:2]), np.empty((n_steps, 3))
    n_done = _run_steps[dtype](
        points,
        tile,
        _origin(rows),
        _weights(rows),
        centroids,
        tol,
        *groups,
        _no_totals(n_clusters, n_features),
        sums,
        mass,
        new,
        signals,
    )
    return LloydRun(
        ClusterTotals(sums[:n_done], mass[:n_done]), Update(new[:n_done], signals[:n_done])
    )


@update_centroids.override("numpy")
def means_in_a_pass(totals: ClusterTotals, centroids: Floats, *, xp: Namespace) -> Any:
    """Do all of it in one call: for few clusters, calls are what takes the time."""
    sums, mass = totals
    if sums.dtype != np.float64 or centroids.dtype not in PANEL:
        return NotImplemented
    if centroids.ndim == 3:  # of several runs: each as if it were alone
        runs = zip(sums, mass, centroids, strict=True)
        each = [means_in_a_pass(ClusterTotals(s, m), c, xp=xp) for s, m, c in runs]
        return Update(*map(np.stack, zip(*each, strict=True)))
    new, signals = np.empty(centroids.shape, centroids.dtype), np.empty(3)
    _update[centroids.dtype](sums, mass, centroids, new, signals)
    return Update(new, signals)


@_override(nearest_labels)
def scored(rows: Rows, centroids: Floats) -> Labels:
    """Keep the best score of each row in registers."""
    points, (n_clusters, n_features) = rows.points, centroids.shape
    dtype, origin, groups = points.dtype, _origin(rows), _Groups.of(centroids)
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


@_compiled(
    _rows, _count, _count, _count, _numbers, _column, _labels, _numbers, returns=types.float64
)
def _add_distances(points, start, stop, tile, origin, weights, labels, centroids):
    n_features, scratch, total = points.shape[1], _scratch_for(points, tile), 0.0
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        tile_points, first = _tile_of(points, row, n_rows, scratch)
        for number in range(n_rows):
            at = labels[row + number] * n_features
            distance = np.float64(
                sq_distance(tile_points, first + number, origin, centroids, at, n_features)
            )
            weight = np.float64(weights[row + number]) if weights.shape[0] > 0 else 1.0
            total += weight * distance
    return total


@_override(assigned_inertia)
def added_as_measured(rows: Rows, labels: Labels, centroids: Floats) -> Floats:
    """Hold no distance in memory."""
    points, n_features = rows.points, rows.n_features
    dtype, origin, weights = points.dtype, _origin(rows), _weights(rows)
    tile = _tile_rows(rows.n_points, n_features, dtype)
    flat, labels = np.ascontiguousarray(centroids).reshape(-1), _int32(labels)

    def total(start: int, stop: int) -> float:
        added: float = _add_distances[dtype](
            points, start, stop, tile, origin, weights, labels, flat
        )
        return added

    n_tasks = _n_tasks(rows.n_points, 4.0 + n_features / 3)
    return np.asarray(merged_in_tree(_run(total, rows.n_points, n_tasks, dtype)))


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


# Mean and spread.


@_compiled(_rows, _count, _count, _count, _numbers, _column, _sums, _sums)
def _add_moments(points, start, stop, tile, origin, weights, sums, squares):
    """Add rows and their squares to lanes of float64, as many as a panel has numbers."""
    n_features = points.shape[1]
    panels, scratch = _aligned(tile * n_features, points), _scratch_for(points, tile)
    panel = panel_rows(panels)
    lanes = np.ones(panel)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        tile_points, first = _tile_of(points, row, n_rows, scratch)
        _pack_tile(tile_points, first, n_rows, origin, panels)
        for number in range(0, n_rows, panel):
            for lane in range(panel):
                is_there = number + lane < n_rows  # what fills the last panel counts for nothing
                weight = 1.0 if is_there else 0.0
                if is_there and weights.shape[0] > 0:
                    weight = np.float64(weights[row + number + lane])
                lanes[lane] = weight
            for feature in range(n_features):
                for lane in range(panel):
                    value = np.float64(panels[number * n_features + feature * panel + lane])
                    weighted = lanes[lane] * value
                    sums[feature * panel + lane] += weighted
                    squares[feature * panel + lane] += weighted * value


@_override(column_moments)
def added_in_lanes(rows: Rows) -> Moments:
    """Add rows and squares in one pass, each lane of a panel on its own until the end."""
    points, n_features = rows.points, rows.n_features
    dtype, origin, weights = points.dtype, _origin(rows), _weights(rows)
    tile, panel = _tile_rows(rows.n_points, n_features, dtype), PANEL[dtype]

    def moments(start: int, stop: int) -> Moments:
        sums, squares = np.zeros(n_features * panel), np.zeros(n_features * panel)
        _add_moments[dtype](points, start, stop, tile, origin, weights, sums, squares)
        mass = float(stop - start) if rows.weights is None else _mass(weights[start:stop])
        added = (lanes.reshape(n_features, panel).sum(axis=1) for lanes in (sums, squares))
        return Moments(np.asarray(mass), *added)

    n_tasks = _n_tasks(rows.n_points, 2.0 + n_features / 2)
    return merged_in_tree(_run(moments, rows.n_points, n_tasks, dtype))


@_compiled(_number, _sums64, _sums64, _number, _sums64, _sums64, _column, _results, _sums)
def _measure_spread(
    mass, sums, squares, weighted_mass, weighted_sums, weighted_squares, about, origin, numbers
):
    n_features, variance, total_sq = len(about), 0.0, 0.0
    for feature in range(n_features):
        mean = sums[feature] / mass
        variance += squares[feature] / mass - mean * mean
        origin[feature] = about[feature] + mean
        step = np.float64(origin[feature]) - np.float64(about[feature])
        # sum w |x - o|^2, where o = about + step: no second pass over the rows.
        total_sq += weighted_squares[feature] - 2.0 * step * weighted_sums[feature]
        total_sq += weighted_mass * step * step
    numbers[0], numbers[1], numbers[2] = variance / n_features, total_sq, weighted_mass


@spread.override("numpy")
def spread_in_a_call(plain: Moments, weighted: Moments, about: Floats, *, xp: Namespace) -> Any:
    """Do it in one call: calls are what takes the time."""
    if about.dtype not in PANEL or plain.sums.dtype != np.float64:
        return NotImplemented
    origin, numbers = np.empty(len(about), about.dtype), np.empty(3)
    parts = (float(plain.mass), plain.sums, plain.sq_sums, float(weighted.mass))
    _measure_spread[about.dtype](*parts, weighted.sums, weighted.sq_sums, about, origin, numbers)
    return Spread(origin, numbers)


def _mass(weights: Floats) -> float:
    return float(weights.sum(dtype=np.float64))


# k-means++.


@_compiled(_column, _column, _count, _count, _sums)
def _add_blocks(values, weights, first, last, totals):
    """Add up weight * value of each block of rows."""
    for block in range(first, last):
        start, stop = block * _DRAWN_BLOCK, min((block + 1) * _DRAWN_BLOCK, len(values))
        if weights.shape[0] > 0:
            total = 0.0
            for row in range(start, stop):
                total += np.float64(values[row] * weights[row])
            totals[block] = total
            continue
        # In four parts, since each addition waits for the last.
        one = two = three = four = 0.0
        whole = stop - (stop - start) % 4
        for row in range(start, whole, 4):
            one += np.float64(values[row])
            two += np.float64(values[row + 1])
            three += np.float64(values[row + 2])
            four += np.float64(values[row + 3])
        for row in range(whole, stop):
            one += np.float64(values[row])
        totals[block] = (one + two) + (three + four)


@_compiled(_column, _column, _sums, _numbers_of_float64, _flag, _indices)
def _find(values, weights, totals, uniforms, is_left, indices):
    """Find the block that each uniform's part of the whole lies in, then the row in there."""
    whole, last_block = 0.0, 0
    for block in range(len(totals)):
        whole += totals[block]
        if totals[block] > 0.0:
            last_block = block
    for number in range(len(uniforms)):
        threshold, running, block = uniforms[number] * whole, 0.0, 0
        while block < last_block:
            after = running + totals[block]
            if after >= threshold if is_left else after > threshold:
                break
            running, block = after, block + 1
        found = block * _DRAWN_BLOCK
        for row in range(found, min(found + _DRAWN_BLOCK, len(values))):
            mass = np.float64(values[row] * weights[row] if weights.shape[0] > 0 else values[row])
            running += mass
            if mass > 0.0:
                found = row  # where rounding puts a threshold at the whole: the last with mass
            if running >= threshold if is_left else running > threshold:
                found = row
                break
        indices[number] = found


@drawn.override("numpy")
def found_by_blocks(
    values: Floats, weights: Floats | None, uniforms: Floats, side: str, *, xp: Namespace
) -> Any:
    """Add up blocks of rows, and look into those only that a threshold lies in."""
    dtype, n_points = values.dtype, len(values)
    if dtype not in PANEL or not n_points or (weights is not None and weights.dtype != dtype):
        return NotImplemented
    weighted = np.empty(0, dtype) if weights is None else weights
    n_blocks = -(-n_points // _DRAWN_BLOCK)
    totals, indices = np.empty(n_blocks), np.empty(len(uniforms), np.int64)
    share = -(-n_blocks // _n_tasks(n_points, 1.0))

    def add(task: int) -> None:
        last = min((task + 1) * share, n_blocks)
        _add_blocks[dtype](values, weighted, task * share, last, totals)

    in_threads(add, -(-n_blocks // share))
    uniforms = np.ascontiguousarray(uniforms, np.float64)
    _find[dtype](values, weighted, totals, uniforms, side == "left", indices)
    return indices


@_compiled(_numbers_of_float64, _number, returns=types.int64)
def _first_least(potentials, slack):
    least = potentials[0]
    for number in range(1, len(potentials)):
        least = min(least, potentials[number])
    for number in range(len(potentials)):
        if potentials[number] <= least * (1.0 + slack):
            return number
    return 0


@best_candidate.override("numpy")
def first_of_the_least(
    potentials: Floats, indices: NDArray[Any], candidates: Floats, *, xp: Namespace
) -> Any:
    """Do it in one call: calls are what takes the time."""
    if potentials.dtype != np.float64 or candidates.dtype not in PANEL:
        return NotImplemented
    slack = 1e-12 if candidates.dtype == np.float64 else 1e-6
    best = _first_least[candidates.dtype](np.ascontiguousarray(potentials), slack)
    return Candidate(indices[best : best + 1], candidates[best : best + 1])


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
    groups, tile = _Groups.of(candidates), _tile_rows(rows.n_points, n_features, dtype)
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
