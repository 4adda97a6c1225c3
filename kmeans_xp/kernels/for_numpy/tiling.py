"""Split rows into tasks and tiles, and prepare the tiles.

The operations on a row depend only on the shapes, never on the number of threads. So results are
bit-identical for every number of threads.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.blas_threads import one_blas_thread
from kmeans_xp.kernels.kernel import Kernel
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import in_threads, scratch

__all__ = [
    "FEW_NUMBERS",
    "Centring",
    "Floats",
    "Labels",
    "Plan",
    "Row",
    "columns",
    "computing",
    "cut",
    "override",
    "run",
    "streaming_plan",
    "streaming_tile",
    "turned",
]

R = TypeVar("R")
Floats = NDArray[Any]
Labels = NDArray[np.int32]

#: below this work, in approximate nanoseconds of one thread, a second thread is not faster
_WORTH_A_TASK = 150_000
#: the number of tasks is a multiple of this, to divide evenly among threads
_TASKS = 8
_MOST_TASKS = 64
#: up to these sizes (the products of all lengths) OpenBLAS on its own uses one thread
SMALL_GEMM = 2**18
_SMALL_GEMV = 2**13
#: up to this number of values, the portable bodies of kernels that read rows once are as fast
FEW_NUMBERS = 2**15
#: numbers in a repeated row: above half of its buffer NumPy broadcasts operands without a copy
_LONG_ROW = 8192

#: dtypes that the overrides take, and the dtypes in which they compute
_COMPUTING: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float64): np.dtype(np.float64),
}


class Plan(NamedTuple):
    """The division of rows into tasks, and of tasks into tiles."""

    n_points: int
    tile: int
    tiles_per_task: int

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return -(-self.n_points // (self.tile * self.tiles_per_task))

    def tiles(self, task: int) -> Iterator[slice]:
        """Yield the places of a task's tiles."""
        first = task * self.tile * self.tiles_per_task
        last = min(first + self.tile * self.tiles_per_task, self.n_points)
        for start in range(first, last, self.tile):
            yield slice(start, min(start + self.tile, last))


def cut(n_points: int, tile_rows: int, cost: float) -> Plan:
    """Split rows of ``cost`` nanoseconds each into tiles of less than twice ``tile_rows``."""
    n_tasks = max(1, min(int(n_points * cost) // _WORTH_A_TASK, _TASKS))
    n_tiles = max(n_tasks, n_points // tile_rows)
    if n_tiles > _TASKS:
        n_tiles -= n_tiles % _TASKS
    tile = -(-n_points // n_tiles)
    per_task = n_tiles if n_tasks == 1 else -(-n_tiles // _MOST_TASKS)
    return Plan(n_points, tile, per_task)


def run(task: Callable[[int], R], plan: Plan, *, gemm: int = 0, gemv: int = 0) -> list[R]:
    """Run the plan's tasks; ``gemm`` and ``gemv`` are the numbers of a product for each row."""
    is_small = plan.tile * gemm <= SMALL_GEMM and plan.tile * gemv <= _SMALL_GEMV
    if plan.n_tasks == 1 and is_small:
        return [task(0)]  # limiting BLAS to one thread would take longer than the task
    with one_blas_thread():
        return in_threads(task, plan.n_tasks)


def override(
    kernel: Kernel[..., Any], *, above: int = 0
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Register a body for more than ``above`` numbers; it is called without the namespace."""

    def register(body: Callable[..., R]) -> Callable[..., R]:
        @kernel.override("numpy", rows=DenseRows)
        @functools.wraps(body)
        def declining(rows: DenseRows, *operands: Any, xp: Namespace) -> Any:
            if rows.points.size <= above or not _takes(rows, operands):
                return NotImplemented
            return body(rows, *operands)

        return body

    return register


def _takes(rows: DenseRows, operands: tuple[Any, ...]) -> bool:
    """Return whether the arrays have dtypes that the overrides support."""
    dtype = _COMPUTING.get(rows.points.dtype)
    if dtype is None:
        return False
    arrays = (operand for operand in operands if isinstance(operand, np.ndarray))
    return all(array.size and array.dtype in (dtype, np.int32, np.int64) for array in arrays)


def computing(points: Floats) -> np.dtype[Any]:
    """Return the dtype of computations with these points."""
    return _COMPUTING[points.dtype]


def columns(name: str, n_rows: int, n_columns: int, dtype: Any) -> Floats:
    """Return scratch of shape (n_rows, n_columns) whose rows are an odd number of lines apart.

    Rows a multiple of 4 KB apart would share a few sets of the cache, and GEMM would take five
    times as long.
    """
    stride = -(-n_columns // 16) | 1
    return scratch(name, (n_rows, stride * 16), dtype)[:, :n_columns]


class Row:
    """A row to subtract from every row of a matrix.

    The row is repeated, since NumPy's broadcast of a short row costs more than the arithmetic.
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


class Centring:
    """Reads tiles of points as C-contiguous rows relative to the origin."""

    def __init__(self, rows: DenseRows) -> None:
        self.points = rows.points
        self.dtype = computing(rows.points)
        self.origin = None if rows.origin is None else Row(rows.origin)

    def __call__(self, place: slice) -> Floats:
        """Return the rows; do not write to them, since they may be the points themselves."""
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


def turned(points: Floats) -> Floats:
    """Return transposed rows in scratch, with a row of ones below them for the bias."""
    n_rows, n_features = points.shape
    out = columns("turned", n_features + 1, n_rows, points.dtype)
    np.copyto(out[:-1], points.T)
    out[-1] = 1.0
    return out


def streaming_tile(width: int) -> int:
    """Return the number of rows of a tile for work that passes over it a few times."""
    return max(256, min(8000, 2**18 // width))


def streaming_plan(rows: DenseRows, n_passes: int) -> Plan:
    """Split rows for work that passes over a tile's features a few times."""
    tile = streaming_tile(rows.n_features)
    return cut(rows.n_points, tile, 5.0 + n_passes * rows.n_features / 8)
