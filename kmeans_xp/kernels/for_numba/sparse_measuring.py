"""Sparse rows: distances to their centroids and to all of them, and how far rows spread.

A row differs from a centroid in the features that it has numbers of, and in all others by what
the centroid has there. The former is a sum of squared differences; the latter is the square of
the whole centroid less that of its part under the row. Where rounding could matter in that, the
row is measured feature by feature.

Places and columns are unsigned in loops over stored numbers. For signed ones, numba looks at each
whether it counts from the end, which takes a quarter of the time.
"""

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMNS,
    COUNT,
    LABELS,
    NUMBER,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    STARTS,
    SUMS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.sparse_vectors import (
    first_greatest,
    write_sq_distances,
)
from kmeans_xp.kernels.for_numba.sparse_assignment import scored_by_panels
from kmeans_xp.kernels.for_numba.sparse_panels import (
    Panel,
    arrays_of,
    in_ranges,
    origin_of,
    override,
    row_cost,
    score_tile,
    scores_of_row,
    weights_of,
)
from kmeans_xp.kernels.for_numba.tiling import (
    Floats,
    Labels,
    int32_labels,
    n_tasks_for,
    zeros_on_a_line,
)
from kmeans_xp.kernels.portable.assignment import (
    Nearest,
    assigned_inertia,
    assigned_sq_distances,
    nearest_centroid,
    sq_distances,
)
from kmeans_xp.kernels.portable.moments import Moments, column_moments
from kmeans_xp.kernels.sparse_rows import SparseRows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = ["add_distances", "inertia_of", "n_measuring_tasks", "sq_norms_of", "write_sq_norms"]

#: nanoseconds of a stored number, roughly
_MEASURED, _ADDED = 3.0, 3.0
#: maximum number of tasks with their own sums of all columns, and numbers for each sum
_MOST_TASKS, _NUMBERS_A_SUM = 8, 8
#: scores of a tile of rows
_TILE_SCORES = 2**17
#: features whose squares are added up before they are added to the others, and sums of a block that
#: lie side by side
_BLOCK, _SUMS = 4096, 64
#: sums of a column, side by side: of the numbers, of their squares, of the weights; and an unused
#: one, so that none lies across two cache lines
_ROOM, _SQUARE, _WEIGHT = (np.uint64(place) for place in (4, 1, 2))
#: roundings of what is not added number by number
_ROUNDINGS = 16.0


@inline
def measured(numbers, columns, start, stop, origin, centroids, at, sq_norm):
    """Return the squared distance of a row to the centroid at ``at``, whose square is given.

    Centroids are measured from the origin, ``sq_norm`` from zero.
    """
    under = apart = 0.0
    for place in range(np.uint64(start), np.uint64(stop)):
        column = np.uint64(columns[place])
        centroid = np.float64(centroids[np.uint64(at) + column])
        # Rounded to the dtype of the rows, as dense rows are: a row may be a centroid.
        difference = np.float64(numbers[place] - origin[column]) - centroid
        apart += difference * difference
        whole = np.float64(origin[column]) + centroid
        under += whole * whole
    distance = apart + max(sq_norm - under, 0.0)
    # Allow the rounding of a sum of all squared differences.
    eps = 2.0**-52 if numbers.itemsize == 8 else 2.0**-23
    least = sq_norm * 2.0**-52 * (stop - start + _ROUNDINGS)
    if distance * eps * (origin.shape[0] + 3) >= least:
        return distance
    return measured_by_features(numbers, columns, start, stop, origin, centroids, at)


@inline
def measured_by_features(numbers, columns, start, stop, origin, centroids, at):
    distance, place = 0.0, start
    for feature in range(origin.shape[0]):
        number = -origin[feature]
        if place < stop and columns[place] == feature:
            number += numbers[place]
            place += 1
        difference = np.float64(number) - np.float64(centroids[at + feature])
        distance += difference * difference
    return distance


@compiled(NUMBERS, NUMBERS, COUNT, COUNT, SUMS)
def write_sq_norms(centroids, origin, start, stop, sq_norms):
    """Write the squares of centroids, which are measured from the origin, from zero."""
    n_features = np.uint64(len(origin))
    lanes = np.empty(_SUMS)
    for cluster in range(np.uint64(start), np.uint64(stop)):
        first, total = cluster * n_features, 0.0
        for block in range(np.uint64(0), n_features, np.uint64(_BLOCK)):
            end = min(block + np.uint64(_BLOCK), n_features)
            lanes[:] = 0.0
            for feature in range(block, end, np.uint64(_SUMS)):
                for lane in range(min(np.uint64(_SUMS), end - feature)):
                    number = np.float64(centroids[first + feature + lane])
                    number += np.float64(origin[feature + lane])
                    lanes[lane] += number * number
            total += lanes.sum()
        sq_norms[cluster] = total


class _Centroids:
    """Centroids row after row, and their squares from zero."""

    def __init__(self, centroids: Floats, origin: Floats) -> None:
        n_clusters, n_features = centroids.shape
        self.flat = np.ascontiguousarray(centroids).reshape(-1)
        self.sq_norms = np.empty(n_clusters)

        def measure(start: int, stop: int) -> None:
            write_sq_norms[centroids.dtype](self.flat, origin, start, stop, self.sq_norms)

        n_tasks = n_tasks_for(n_clusters, n_features * 0.5)
        in_ranges(measure, n_clusters, n_tasks)


@compiled(NUMBERS, COLUMNS, STARTS, COUNT, COUNT, NUMBERS, LABELS, NUMBERS, NUMBERS_64, RESULTS)
def _measure_rows(
    numbers, columns, starts, start, stop, origin, labels, centroids, sq_norms, distances
):
    for row in range(start, stop):
        label = labels[row]
        distances[row] = measured(
            numbers,
            columns,
            starts[row],
            starts[row + 1],
            origin,
            centroids,
            label * origin.shape[0],
            sq_norms[label],
        )


@override(assigned_sq_distances)
def measured_under_the_row(rows: SparseRows, labels: Labels, centroids: Floats) -> Floats:
    """Read only those features of a centroid for which the row has numbers."""
    dtype, origin, labels = centroids.dtype, origin_of(rows), int32_labels(labels)
    given, distances = _Centroids(centroids, origin), np.empty(rows.n_points, centroids.dtype)
    operands = (origin, labels, given.flat, given.sq_norms, distances)

    def measure(start: int, stop: int) -> None:
        _measure_rows[dtype](*arrays_of(rows), start, stop, *operands)

    in_ranges(measure, rows.n_points, n_measuring_tasks(rows))
    return distances


def n_measuring_tasks(rows: SparseRows) -> int:
    """Return the number of tasks that measure each row to one centroid."""
    return n_tasks_for(rows.n_points, row_cost(rows, _MEASURED))


@override(nearest_centroid)
def scored_then_measured(rows: SparseRows, centroids: Floats) -> Nearest[Floats]:
    labels = scored_by_panels(rows, centroids)
    return Nearest(labels, measured_under_the_row(rows, labels, centroids))


@compiled(
    NUMBERS,
    COLUMNS,
    STARTS,
    COUNT,
    COUNT,
    NUMBERS,
    COLUMN,
    LABELS,
    NUMBERS,
    NUMBERS_64,
    returns=types.float64,
)
def add_distances(
    numbers, columns, starts, start, stop, origin, weights, labels, centroids, sq_norms
):
    """Return the weighted sum of the squared distances of some rows to their centroids."""
    total, weight = 0.0, 1.0
    for row in range(start, stop):
        label = labels[row]
        distance = measured(
            numbers,
            columns,
            starts[row],
            starts[row + 1],
            origin,
            centroids,
            label * origin.shape[0],
            sq_norms[label],
        )
        if weights.shape[0] > 0:
            weight = np.float64(weights[row])
        total += weight * distance
    return total


@override(assigned_inertia)
def added_as_measured(rows: SparseRows, labels: Labels, centroids: Floats) -> Floats:
    """Keep no distances in memory."""
    given = _Centroids(centroids, origin_of(rows))
    return np.asarray(inertia_of(rows, int32_labels(labels), given.flat, given.sq_norms))


def inertia_of(rows: SparseRows, labels: Labels, centroids: Floats, sq_norms: Floats) -> float:
    """Return the weighted sum of squared distances; centroids lie row after row."""
    operands = (origin_of(rows), weights_of(rows), labels, centroids, sq_norms)

    def total(start: int, stop: int) -> float:
        added: float = add_distances[centroids.dtype](*arrays_of(rows), start, stop, *operands)
        return added

    return merged_in_tree(in_ranges(total, rows.n_points, n_measuring_tasks(rows)))


@inline
def sq_norm_of(numbers, columns, start, stop, origin, sq_norm):
    """Return the squared distance of a row to the origin, given the origin's squared length."""
    under = apart = 0.0
    for place in range(np.uint64(start), np.uint64(stop)):
        about = np.float64(origin[np.uint64(columns[place])])
        difference = np.float64(numbers[place]) - about
        apart += difference * difference
        under += about * about
    total = apart + max(sq_norm - under, 0.0)
    if total * (origin.shape[0] + 3) >= sq_norm * (stop - start + _ROUNDINGS):
        return total
    total, place = 0.0, start
    for feature in range(origin.shape[0]):
        number = -np.float64(origin[feature])
        if place < stop and columns[place] == feature:
            number += np.float64(numbers[place])
            place += 1
        total += number * number
    return total


@compiled(NUMBERS, COLUMNS, STARTS, COUNT, COUNT, NUMBERS, NUMBER, SUMS)
def _measure_norms(numbers, columns, starts, start, stop, origin, sq_norm, sq_norms):
    for row in range(start, stop):
        first, last = starts[row], starts[row + 1]
        sq_norms[row] = sq_norm_of(numbers, columns, first, last, origin, sq_norm)


def sq_norms_of(rows: SparseRows) -> NDArray[np.float64]:
    """Return the squared distances of the rows to their origin, which the rows keep."""
    kept: NDArray[np.float64] | None = rows.kept.get("sq_norms")
    if kept is not None:
        return kept
    origin, sq_norms = origin_of(rows), np.empty(rows.n_points)
    whole = _sq_norm(origin)

    def measure(start: int, stop: int) -> None:
        _measure_norms[origin.dtype](*arrays_of(rows), start, stop, origin, whole, sq_norms)

    in_ranges(measure, rows.n_points, n_measuring_tasks(rows))
    rows.kept["sq_norms"] = sq_norms
    return sq_norms


def _sq_norm(origin: Floats) -> float:
    return float(_Centroids(np.zeros((1, len(origin)), origin.dtype), origin).sq_norms[0])


@compiled(
    NUMBERS,
    COLUMNS,
    STARTS,
    COUNT,
    COUNT,
    NUMBERS,
    NUMBER,
    NUMBERS,
    NUMBERS_64,
    NUMBERS,
    NUMBERS_64,
    COUNT,
    COUNT,
    RESULTS,
)
def _measure_all(
    numbers,
    columns,
    starts,
    start,
    stop,
    origin,
    sq_norm,
    centroids,
    centroid_norms,
    panel,
    biases,
    n_units,
    n_groups,
    distances,
):
    n_features, n_clusters, width = len(origin), len(centroid_norms), scores_of_row(n_units)
    eps = 2.0**-52 if numbers.itemsize == 8 else 2.0**-23
    tile = max(1, min(_TILE_SCORES // width, stop - start))
    scores = np.empty(tile * width)
    for row in range(start, stop, tile):
        n_rows = min(tile, stop - row)
        score_tile(
            numbers,
            columns,
            starts,
            row,
            n_rows,
            panel,
            biases,
            n_units,
            n_groups,
            n_features,
            scores,
        )
        for number in range(row, row + n_rows):
            first, last, at = starts[number], starts[number + 1], (number - row) * width
            own = sq_norm_of(numbers, columns, first, last, origin, sq_norm)
            # |x|^2 - 2 x.c + |c|^2, of which the score is x.c - |c|^2 / 2.
            write_sq_distances(distances, number * n_clusters, n_clusters, scores, at, own)
            nearest = first_greatest(scores, at, width)
            reach = 2.0 * (own + sq_norm) + centroid_norms[nearest]
            least = reach * 2.0**-52 * (last - first + _ROUNDINGS)
            if (own - 2.0 * scores[at + nearest]) * eps * (n_features + 3) < least:
                distances[number * n_clusters + nearest] = measured(
                    numbers,
                    columns,
                    first,
                    last,
                    origin,
                    centroids,
                    nearest * n_features,
                    centroid_norms[nearest],
                )


@override(sq_distances)
def scored_and_the_nearest_measured(rows: SparseRows, centroids: Floats) -> Floats:
    origin, n_points = origin_of(rows), rows.n_points
    panel, given = Panel.of(centroids, origin), _Centroids(centroids, origin)
    distances = np.empty((n_points, len(centroids)), centroids.dtype)
    operands = (origin, _sq_norm(origin), given.flat, given.sq_norms, *panel, distances.reshape(-1))

    def measure(start: int, stop: int) -> None:
        _measure_all[centroids.dtype](*arrays_of(rows), start, stop, *operands)

    cost = row_cost(rows, 0.5 * panel.n_units + _MEASURED)
    in_ranges(measure, n_points, n_tasks_for(n_points, cost))
    return distances


@compiled(NUMBERS, COLUMNS, STARTS, COUNT, COUNT, NUMBERS, COLUMN, SUMS, returns=types.float64)
def _add_moments(numbers, columns, starts, start, stop, origin, weights, added):
    """Add rows, squares and weights where rows have numbers; return the mass of the rows."""
    mass, weight = 0.0, 1.0
    for row in range(start, stop):
        if weights.shape[0] > 0:
            weight = np.float64(weights[row])
        mass += weight
        for place in range(np.uint64(starts[row]), np.uint64(starts[row + 1])):
            column = np.uint64(columns[place])
            number, at = np.float64(numbers[place]) - np.float64(origin[column]), _ROOM * column
            added[at] += weight * number
            added[at + _SQUARE] += weight * number * number
            added[at + _WEIGHT] += weight
    return mass


@compiled(NUMBER, NUMBERS_64, NUMBERS, SUMS, SUMS)
def _add_zeros(mass, added, origin, sums, squares):
    """Write the sums with what each column has no numbers of: the rest of the mass, at zero."""
    # Taken off column by column, not sum w x^2 - 2 o sum w x + W o^2: nothing cancels.
    for column in range(np.uint64(len(origin))):
        at, about = _ROOM * column, np.float64(origin[column])
        zeros = mass - added[at + _WEIGHT]
        sums[column] = added[at] - zeros * about
        squares[column] = added[at + _SQUARE] + zeros * about * about


@override(column_moments)
def added_where_rows_have_numbers(rows: SparseRows) -> Moments:
    """Add the stored numbers, and at the end the zeros of each column: the rest of the mass."""
    origin, weights, n_features = origin_of(rows), weights_of(rows), rows.n_features

    def moments(start: int, stop: int) -> tuple[Any, Floats]:
        added = zeros_on_a_line(int(_ROOM) * n_features)
        of_dtype = _add_moments[origin.dtype]
        return np.asarray(of_dtype(*arrays_of(rows), start, stop, origin, weights, added)), added

    n_numbers = rows.n_points * rows.n_stored
    n_tasks = n_tasks_for(rows.n_points, row_cost(rows, _ADDED))
    n_tasks = min(_MOST_TASKS, n_tasks, 1 + n_numbers // (_NUMBERS_A_SUM * n_features))
    parts = in_ranges(moments, rows.n_points, n_tasks)
    mass, added = (merged_in_tree(each) for each in zip(*parts, strict=True))
    sums, squares = np.empty(n_features), np.empty(n_features)
    _add_zeros[origin.dtype](float(mass), added, origin, sums, squares)
    return Moments(mass, sums, squares)
