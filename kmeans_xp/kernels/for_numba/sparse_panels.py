"""Panels of centroids, which score sparse rows, and tasks of sparse rows."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.compiled import (
    COUNT,
    NUMBERS,
    RESULTS,
    ROWS,
    SUMS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.sparse_vectors import (
    LANES,
    MOST_UNITS,
    UNIT,
    add_products,
    pack_unit,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL
from kmeans_xp.kernels.for_numba.tiling import Floats, n_tasks_for, nothing, numbers_on_a_line
from kmeans_xp.kernels.kernel import Kernel
from kmeans_xp.kernels.sparse_rows import SparseRows
from kmeans_xp.kernels.threads import in_threads
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = [
    "Panel",
    "arrays_of",
    "biases_of",
    "first_unit",
    "in_ranges",
    "n_groups_of",
    "n_packing_tasks",
    "origin_of",
    "override",
    "pack_features",
    "row_cost",
    "score_tile",
    "scores_of_row",
    "takes",
    "weights_of",
]

R = TypeVar("R")

#: bytes of a group of centroids: a second-level cache holds it beside the rows
_GROUP_BYTES = 3 * 2**18
#: minimum of units in a group: each group reads all rows once
_FEWEST_UNITS = 4
#: minimum number of tasks for another thread: to wake it takes as long as two or three tasks
_FEWEST_TASKS = 5


class Panel(NamedTuple):
    """Centroids laid out in groups, each feature by feature, and what their scores begin with.

    Parameters
    ----------
    numbers : array
        The groups one after another.
    biases : array of float64
        -|c|^2 / 2 - c . origin: with the product of a row's stored numbers and c it makes the
        score whose greatest is that of the nearest centroid. -inf for what fills vectors.
    n_units, n_groups : int
    """

    numbers: Floats
    biases: NDArray[np.float64]
    n_units: int
    n_groups: int

    @classmethod
    def empty(cls, n_clusters: int, n_features: int, dtype: np.dtype[Any]) -> "Panel":
        """Return room for the panel of n_clusters centroids."""
        n_units = -(-n_clusters // UNIT)
        n_groups, width = n_groups_of(n_units, n_features, dtype), n_units * UNIT
        # A vector that lies across two cache lines takes two reads: in float64, a third more time.
        size = width * n_features
        return cls(numbers_on_a_line(size, dtype), np.empty(width), n_units, n_groups)

    @classmethod
    def of(cls, centroids: Floats, origin: Floats) -> "Panel":
        """Return the centroids as a panel."""
        n_clusters, n_features = centroids.shape
        panel = cls.empty(n_clusters, n_features, centroids.dtype)

        def pack(start: int, stop: int) -> Floats:
            norms = np.zeros(len(panel.biases))
            pack_features[centroids.dtype](
                centroids, origin, panel.n_groups, start, stop, panel.numbers, norms
            )
            return norms

        n_tasks = n_packing_tasks(n_clusters, n_features)
        biases = biases_of(in_ranges(pack, n_features, n_tasks), n_clusters)
        return panel._replace(biases=biases)


def n_groups_of(
    n_units: int, n_features: int, dtype: np.dtype[Any], fewest: int = _FEWEST_UNITS
) -> int:
    """Return the number of groups of a panel; a group has at least ``fewest`` units, if it can."""
    of_unit = n_features * UNIT * dtype.itemsize
    most = min(MOST_UNITS, max(fewest, _GROUP_BYTES // of_unit))
    return -(-n_units // (most - most % 2))


def biases_of(parts: list[Floats], n_clusters: int) -> NDArray[np.float64]:
    """Return what scores begin with, from the norms that each packing task has added up."""
    biases: NDArray[np.float64] = -merged_in_tree(parts)
    biases[n_clusters:] = -np.inf
    return biases


def n_packing_tasks(n_clusters: int, n_features: int) -> int:
    """Return into how many tasks the features of centroids are cut to be laid out."""
    # Half the cost of a number: the numbers of another thread must come to this one's cache later.
    return n_tasks_for(n_features, 0.75 * -(-n_clusters // UNIT) * UNIT)


@inline
def first_unit(group, n_groups, n_units):
    """Return the first unit of a group; the last group alone may end with half a vector."""
    n_vectors = -(-n_units // 2)
    return min(2 * (group * n_vectors // n_groups), n_units)


@inline
def scores_of_row(n_units):
    """Return how far apart the scores of two rows lie: they fill vectors."""
    return -(-n_units * UNIT // LANES) * LANES


@inline
def score_tile(
    numbers, columns, starts, row, n_rows, panel, biases, n_units, n_groups, n_features, scores
):
    """Write the scores of rows, those of a row side by side; -inf for what fills vectors."""
    for group in range(n_groups):
        unit = first_unit(group, n_groups, n_units)
        size = first_unit(group + 1, n_groups, n_units) - unit
        first = unit * UNIT
        for number in range(n_rows):
            add_products(
                panel,
                size,
                first * n_features,
                numbers,
                columns,
                starts[row + number],
                starts[row + number + 1],
                biases,
                first,
                scores,
                number * scores_of_row(n_units) + first,
            )


@compiled(ROWS, NUMBERS, COUNT, COUNT, COUNT, RESULTS, SUMS)
def pack_features(centroids, origin, n_groups, start, stop, numbers, norms):
    """Lay some features out, and add what they have of |c|^2 / 2 + c . origin to ``norms``."""
    n_clusters, n_units = len(centroids), len(norms) // UNIT
    n_lanes = np.uint64(8 * LANES // centroids.itemsize)
    # Places are unsigned: numba looks at each signed one whether it counts from the end.
    start, stop = np.uint64(start), np.uint64(stop)
    is_packed = centroids.strides[1] == centroids.itemsize  # as vectors are read
    whole = start + (stop - start) // n_lanes * n_lanes * np.uint64(is_packed)
    for group in range(n_groups):
        unit, after = first_unit(group, n_groups, n_units), first_unit(group + 1, n_groups, n_units)
        first, width = np.uint64(unit * UNIT), np.uint64((after - unit) * UNIT)
        n_members = np.uint64(min(after * UNIT, n_clusters) - unit * UNIT)
        at = first * np.uint64(centroids.shape[1])
        for feature in range(start, whole, n_lanes):
            place = at + feature * width
            for member in range(np.uint64(0), width, np.uint64(UNIT)):
                pack_unit(
                    *(centroids, first + member, n_members - member, feature, origin),
                    *(numbers, place + member, width, norms),
                )
        for feature in range(whole, stop):
            about, place = np.float64(origin[feature]), at + feature * width
            for member in range(width):
                is_there = member < n_members
                given = centroids[first + member, feature] if is_there else origin.dtype.type(0)
                numbers[place + member] = given
                number = np.float64(given)
                norms[first + member] += number * (0.5 * number + about)


def override(kernel: Kernel[..., Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Register a body for sparse rows of float32 or float64, called without the namespace."""

    def register(body: Callable[..., R]) -> Callable[..., R]:
        @kernel.override("numpy", rows=SparseRows, rank=1)
        @functools.wraps(body)
        def declining(rows: SparseRows, *operands: Any, xp: Namespace) -> Any:
            return body(rows, *operands) if takes(rows, operands) else NotImplemented

        return body

    return register


def takes(rows: SparseRows, operands: tuple[Any, ...]) -> bool:
    """Return whether kernels here compute with these rows and other arguments."""
    dtype = rows.csr.data.dtype
    if dtype not in PANEL or not rows.n_points or not rows.n_features:
        return False
    arrays = [value for value in (rows.weights, rows.origin) if value is not None]
    arrays += [value for value in operands if isinstance(value, np.ndarray)]
    return all(array.size and array.dtype in (dtype, np.int32, np.int64) for array in arrays)


def in_ranges(
    task: Callable[[int, int], R], n: int, n_tasks: int, fewest: int = _FEWEST_TASKS
) -> list[R]:
    """Return what ``task`` gives for each of ``n_tasks`` ranges that cover 0 to ``n``.

    Below ``fewest`` tasks, all run in this thread.
    """
    n_tasks = min(n_tasks, n)

    def numbered(number: int) -> R:
        return task(n * number // n_tasks, n * (number + 1) // n_tasks)

    if n_tasks < fewest:
        return [numbered(number) for number in range(n_tasks)]
    return in_threads(numbered, n_tasks)


def arrays_of(rows: SparseRows) -> tuple[Floats, NDArray[np.int32], NDArray[np.int64]]:
    """Return the stored numbers, their columns, and where rows begin; at least one number."""
    numbers, columns, starts, _ = rows.csr
    if not numbers.size:
        numbers, columns = np.zeros(1, numbers.dtype), np.zeros(1, columns.dtype)
    return numbers, columns, starts


def origin_of(rows: SparseRows) -> Floats:
    """Return the origin; zeros for none."""
    if rows.origin is None:
        return np.zeros(rows.n_features, rows.csr.data.dtype)
    return np.ascontiguousarray(rows.origin)


def weights_of(rows: SparseRows) -> Floats:
    """Return the weights; an empty array for none."""
    return nothing(rows.csr.data.dtype) if rows.weights is None else rows.weights


def row_cost(rows: SparseRows, of_number: float) -> float:
    """Return roughly how many nanoseconds of one thread a row takes, given those of a number."""
    return 5.0 + rows.n_stored * of_number
