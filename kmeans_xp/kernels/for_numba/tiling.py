"""Split rows into tasks for threads, and tasks into tiles of panels."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.compiled import (
    COUNT,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    ROWS,
    SUMS,
    call_at,
    compiled,
    inline,
    shared,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.sphere_vectors import FACTORS, write_factors
from kmeans_xp.kernels.for_numba.emitted.tiles import (
    FILLED,
    factor_of,
    group_size,
    scratch_for,
    smaller,
    tile_of,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import (
    FEW_FEATURES,
    GROUPS,
    LINE,
    PANEL,
    as_rows,
    pack_panel,
    pack_panel_of_few,
    pack_scaled_panel,
    panel_rows,
)
from kmeans_xp.kernels.kernel import Kernel
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.sphere_rows import RADIUS, SphereRows
from kmeans_xp.kernels.threads import in_threads

__all__ = [
    "LABEL",
    "LARGE",
    "MIDDLE",
    "SMALL",
    "Dense",
    "Floats",
    "Labels",
    "add_totals",
    "are_same",
    "clear_totals",
    "copy",
    "factor_of",
    "filler_of",
    "group_size",
    "in_parts",
    "int32_labels",
    "is_dense",
    "is_from_zero",
    "measure_factors",
    "measured_factors",
    "n_tasks_for",
    "new_labels",
    "nothing",
    "numbers_on_a_line",
    "origin_of",
    "override",
    "pack_tile",
    "rows_of_a_block",
    "scale",
    "scratch_for",
    "smaller",
    "sum_lanes",
    "tile_of",
    "tile_rows",
    "weights_of",
    "zeros_on_a_line",
]

R = TypeVar("R")
#: rows whose points are in one dense array
Dense: TypeAlias = DenseRows | SphereRows
Floats = NDArray[Any]
Labels = NDArray[np.int32]

LARGE, MIDDLE, SMALL = GROUPS

#: dtypes of points, and the dtypes of other arguments that are allowed with them
_TAKEN = {dtype: frozenset({dtype, np.dtype(np.int32), np.dtype(np.int64)}) for dtype in PANEL}

#: below this work, in approximate nanoseconds of one thread, another task is not faster
_WORTH_A_TASK = 100_000
#: the number of tasks is a multiple of this, to divide evenly among threads
_TASKS = 8
_MOST_TASKS = 64
#: minimum work of a task, in nanoseconds, for each of its sums: to clear these, and to add up those
#: of all tasks, takes a twentieth of that
_WORTH_A_CELL = 100
#: bytes of the panels of a tile: half of a small second-level cache
_TILE_BYTES = 2**18
_MOST_TILE_ROWS = 1024
#: bytes of a block of rows, which stay in the first-level cache; and rows, whose sums are few
_BLOCK_BYTES, _FEWEST_ROWS_OF_A_BLOCK, _MOST_ROWS_OF_A_BLOCK = 2**14, 16, 128


def n_tasks_for(n_points: int, cost: float, n_cells: int = 0) -> int:
    """Return the number of tasks for rows that take ``cost`` nanoseconds each.

    Each task has its own ``n_cells`` sums.
    """
    worth = max(_WORTH_A_TASK, _WORTH_A_CELL * n_cells)
    n_tasks = max(1, min(int(n_points * cost) // worth, _MOST_TASKS))
    return n_tasks - n_tasks % _TASKS if n_tasks > _TASKS else n_tasks


def in_parts(task: Callable[[int, int], R], n_points: int, n_tasks: int, dtype: Any) -> list[R]:
    """Return the results of ``task`` for each of ``n_tasks`` parts of the rows."""
    if n_tasks == 1:
        return [task(0, n_points)]
    n_rows = rows_of_a_part(n_points, n_tasks, dtype)
    starts = range(0, n_points, n_rows)

    def part(number: int) -> R:
        start = starts[number]
        return task(start, min(start + n_rows, n_points))

    return in_threads(part, len(starts))


def rows_of_a_part(n_points: int, n_tasks: int, dtype: np.dtype[Any]) -> int:
    """Return the number of rows in each part but the last one, in whole panels."""
    panel = PANEL[dtype]
    return -(-n_points // (n_tasks * panel)) * panel


@inline
def rows_of_a_block(n_features, itemsize):
    """Return how many rows of two clusters are added up from zero, before their sums are added."""
    n_rows = _MOST_ROWS_OF_A_BLOCK
    while n_rows > _FEWEST_ROWS_OF_A_BLOCK and n_rows * n_features * itemsize > _BLOCK_BYTES:
        n_rows //= 2
    return n_rows


def tile_rows(n_points: int, n_features: int, dtype: np.dtype[Any]) -> int:
    """Return the number of rows in a tile, in whole panels and blocks."""
    unit: int = max(PANEL[dtype], rows_of_a_block.py_func(n_features, dtype.itemsize))
    rows = min(_MOST_TILE_ROWS, _TILE_BYTES // (n_features * dtype.itemsize), n_points + unit - 1)
    return max(unit, rows - rows % unit)


def override(
    kernel: Kernel[..., Any],
    *,
    on_sphere: bool = False,
    when: Callable[..., bool] | None = None,
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Register a body for float32 and float64; it is called without the namespace.

    ``on_sphere`` says that it reads tiles by ``tile_of``, and so supports ``SphereRows`` too.
    ``when`` is called first, so that a body which usually declines costs a small fit little.
    """

    def register(body: Callable[..., R]) -> Callable[..., R]:
        @kernel.override("numpy", rows=DenseRows | SphereRows if on_sphere else DenseRows, rank=1)
        @functools.wraps(body)
        def declining(rows: Dense, *operands: Any, xp: Namespace) -> Any:
            if when is not None and not when(rows, *operands):
                return NotImplemented
            return body(rows, *operands) if _takes(rows, operands) else NotImplemented

        return body

    return register


def _takes(rows: Dense, operands: tuple[Any, ...]) -> bool:
    dtypes = _TAKEN.get(rows.points.dtype)
    if dtypes is None or not rows.points.size:
        return False
    for value in (rows.weights, rows.origin, *operands):
        if isinstance(value, np.ndarray) and not (value.size and value.dtype in dtypes):
            return False
    return True


def origin_of(rows: Dense) -> Floats:
    """Return the origin; zeros for none."""
    if rows.origin is None:
        return np.zeros(rows.n_features, rows.points.dtype)
    return np.ascontiguousarray(rows.origin)


def is_from_zero(rows: Dense) -> bool:
    """Return whether rows are measured from zero."""
    return rows.origin is None or not rows.origin.any()


def are_same(rows: Dense, others: Dense) -> bool:
    """Return whether both are of one kind, and of the same arrays."""
    is_kind = type(rows) is type(others)
    return is_kind and all(mine is given for mine, given in zip(rows, others, strict=True))


def weights_of(rows: Dense) -> Floats:
    """Return the weights; an empty array for none."""
    return nothing(rows.points.dtype) if rows.weights is None else rows.weights


@functools.cache
def nothing(dtype: np.dtype[Any]) -> Floats:
    """Return an empty array, for arguments that there are none of."""
    return np.empty(0, dtype)


def filler_of(rows: Dense) -> tuple[int, Floats]:
    """Return the address of what writes a tile of the rows to scratch, and what scales each row.

    The address is 0 where rows are read as they lie. There are no factors where rows are not
    scaled, or where that function scales them, as it does for rows with an origin: what multiplies
    by factors subtracts nothing. What packs rows is compiled.
    """
    points, dtype, factors = rows.points, rows.points.dtype, None
    if isinstance(rows, SphereRows):
        if is_from_zero(rows):
            factors = measured_factors(points) if rows.factors is None else rows.factors
        if factors is None:
            return scale.address(dtype, _fill), nothing(dtype)
    address = 0 if is_dense(points) else _gather.address(dtype, _fill)
    if factors is not None:
        pack_scaled[dtype]
        return address, factors
    if rows.n_features <= FEW_FEATURES:
        pack_few_features[dtype]
    return address, nothing(dtype)


def is_dense(points: Floats) -> bool:
    """Return whether the numbers of a row lie side by side."""
    return points.strides[1] == points.itemsize or points.shape[1] == 1


def measured_factors(points: Floats) -> Floats | None:
    """Return ``RADIUS`` over the length of each row; None if one must be scaled with more care."""
    factors, measure_rows = np.empty(len(points), points.dtype), measure_factors[points.dtype]

    def measure(start: int, stop: int) -> bool:
        if is_dense(points):
            return bool(measure_rows(points, start, stop, factors[start:stop]))
        tile = tile_rows(stop - start, points.shape[1], points.dtype)
        tiles = (slice(row, min(row + tile, stop)) for row in range(start, stop, tile))
        copies = ((np.ascontiguousarray(points[rows]), factors[rows]) for rows in tiles)
        return all(measure_rows(each, 0, len(each), theirs) for each, theirs in copies)

    n_tasks = n_tasks_for(len(points), 4.0 + points.shape[1] / 8)
    return factors if all(in_parts(measure, len(points), n_tasks, points.dtype)) else None


def int32_labels(labels: NDArray[Any]) -> Labels:
    """Return the labels as int32, without a copy if they are."""
    return labels.astype(np.int32, copy=False)


@compiled(*FILLED)
def _gather(points, first, n_rows, scratch):
    """Write rows that are not contiguous."""
    for row in range(n_rows):
        for feature in range(points.shape[1]):
            scratch[row, feature] = points[first + row, feature]


@compiled(ROWS, COUNT, COUNT, RESULTS, returns=types.boolean)
def measure_factors(points, start, stop, factors):
    """Write the factors of contiguous rows from ``start`` on; return whether all have one."""
    n_features, have_all = points.shape[1], True
    for row in range(start, stop, FACTORS):
        n_rows = smaller(FACTORS, stop - row)
        have_all &= write_factors(points, row, n_rows, n_features, factors, row - start)
    return have_all


_measure_factors = measure_factors.shared


@compiled(*FILLED)
def scale(points, first, n_rows, scratch):
    """Write rows at the sphere's radius, of any length; a row of zeros stays one."""
    n_features, factors = points.shape[1], new_numbers(n_rows, scratch)
    for row in range(n_rows):
        for feature in range(n_features):
            scratch[row, feature] = points[first + row, feature]
    _measure_factors(as_rows(scratch), 0, n_rows, factors)
    for row in range(n_rows):
        if factors[row] == 0.0:
            _scale_carefully(points, first + row, scratch, row)
        else:
            for feature in range(n_features):
                scratch[row, feature] *= factors[row]


@inline
def _scale_carefully(points, row, scaled, at):
    """Scale any row: zeros, which stay, or float64 whose squares vanish or overflow."""
    greatest = total = 0.0
    for feature in range(points.shape[1]):
        greatest = max(greatest, abs(np.float64(points[row, feature])))
    top = greatest if greatest != 0.0 else 1.0
    for feature in range(points.shape[1]):
        number = np.float64(points[row, feature]) / top
        total += number * number
        scaled[at, feature] = number
    factor = RADIUS / np.sqrt(total) if total != 0.0 else 1.0
    for feature in range(points.shape[1]):
        scaled[at, feature] *= factor


_fill = call_at(*FILLED)


_FLOAT64 = np.dtype(np.float64)
#: dtype of labels, which begin on a cache line too: JAX copies those that do not
LABEL = np.dtype(np.int32)
_FEW_LABELS = 2**14


def new_labels(n_points: int) -> Labels:
    """Return uninitialised labels, which begin on a cache line if they are many."""
    # JAX copies few wherever they begin, and to find the line takes a tenth of a predict of few.
    few = n_points < _FEW_LABELS
    return np.empty(n_points, LABEL) if few else numbers_on_a_line(n_points, LABEL)


def numbers_on_a_line(n_numbers: int, dtype: np.dtype[Any]) -> Floats:
    """Return uninitialised numbers that begin on a cache line."""
    return _from_a_line(np.empty(n_numbers + LINE // dtype.itemsize, dtype), n_numbers)


def zeros_on_a_line(n_numbers: int, dtype: np.dtype[Any] = _FLOAT64) -> Floats:
    """Return zeros that begin on a cache line."""
    return _from_a_line(np.zeros(n_numbers + LINE // dtype.itemsize, dtype), n_numbers)


def _from_a_line(memory: Floats, n_numbers: int) -> Floats:
    address = memory.__array_interface__["data"][0]  # `ctypes` takes thrice as long
    first = -address % LINE // memory.itemsize
    return memory[first : first + n_numbers]


@inline
def copy(source, n_numbers, target, at):
    """Copy the first numbers to ``target[at]`` and on; slices take numba a second to compile."""
    for number in range(n_numbers):
        target[at + number] = source[number]


@inline
def clear_totals(totals):
    """Write zeros to all totals."""
    for cluster in range(totals.shape[0]):
        for column in range(totals.shape[1]):
            totals[cluster, column] = 0.0


@inline
def add_totals(some, totals):
    """Add the totals of some rows to those of all."""
    for cluster in range(some.shape[0]):
        for column in range(some.shape[1]):
            totals[cluster, column] += some[cluster, column]


@compiled(NUMBERS_64, COUNT, SUMS)
def sum_lanes(lanes, n_lanes, sums):
    """Add up ``n_lanes`` neighbouring lanes to each of the sums; there may be more lanes."""
    for number in range(len(sums)):
        total = 0.0
        for lane in range(number * n_lanes, (number + 1) * n_lanes):
            total += lanes[lane]
        sums[number] = total


_PACKED = (ROWS, COUNT, COUNT, NUMBERS, COUNT, NUMBERS, RESULTS)


@compiled(*_PACKED, is_called=False)
def pack_few_features(points, first, n_rows, _factors, _row, origin, panels):
    """Do as ``pack_tile`` with whole panels of plain rows of few features, one behind another."""
    panel, n_features = panel_rows(panels), points.shape[1]
    for number in range(0, n_rows, panel):
        pack_panel_of_few(points, first + number, origin, n_features, panels, number * n_features)


@compiled(*_PACKED, is_called=False)
def pack_scaled(points, first, n_rows, factors, row, _origin, panels):
    """Do as ``pack_tile`` with rows that have factors."""
    panel, n_features = panel_rows(panels), points.shape[1]
    for number in range(0, n_rows, panel):
        pack_scaled_panel(
            *(points, first + number, n_rows - number, factors, row + number),
            *(n_features, panels, number * n_features),
        )


# Each of the three ways takes a fifth of a second to compile, and most fits need one of them.
_packer_of_few, _packer_of_scaled = pack_few_features.found_if_made(), pack_scaled.found_if_made()
_pack_at = call_at(*_PACKED)


@shared(*_PACKED)
def pack_tile(points, first, n_rows, factors, row, origin, panels):
    """Write a tile's rows as panels, less the origin or scaled by the factors from ``row`` on.

    ``filler_of`` compiles what packs scaled rows, and what packs few features faster.
    """
    panel, n_features, start = panel_rows(panels), points.shape[1], 0
    if factors.shape[0] > 0:
        _pack_at(_packer_of_scaled(points), points, first, n_rows, factors, row, origin, panels)
        return
    packer_of_few = _packer_of_few(points)
    are_side_by_side = points.strides[0] == n_features * points.itemsize
    if packer_of_few != 0 and n_features <= FEW_FEATURES and are_side_by_side:
        start = n_rows - n_rows % panel
        _pack_at(packer_of_few, points, first, start, factors, row, origin, panels)
    for number in range(start, n_rows, panel):
        at = number * n_features
        pack_panel(points, first + number, n_rows - number, origin, n_features, panels, at)
