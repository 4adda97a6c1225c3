"""Distances of rows to their centroids, and the spread of rows."""

from typing import Any

import numpy as np
from numba import types

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.assignment import scored
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMN_64,
    COUNT,
    FLAGS,
    LABELS,
    NUMBER,
    NUMBERS,
    RESULTS,
    ROWS,
    SUMS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, panel_rows, sq_distance
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    Labels,
    factor_of,
    filler_of,
    in_parts,
    int32_labels,
    n_tasks_for,
    origin_of,
    override,
    pack_tile,
    scratch_for,
    smaller,
    sum_lanes,
    tile_of,
    tile_rows,
    weights_of,
)
from kmeans_xp.kernels.for_numba.uncompiled import added_moments, uses_of
from kmeans_xp.kernels.portable.assignment import (
    Nearest,
    assigned_inertia,
    assigned_sq_distances,
    nearest_centroid,
)
from kmeans_xp.kernels.portable.directions import without_direction
from kmeans_xp.kernels.portable.moments import Moments, Spread, column_moments, spread
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.sphere_rows import SphereRows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = [
    "add_distances",
    "add_moments",
    "inertia_cost",
    "measure_rows",
    "measure_spread",
    "moments_cost",
]


@compiled(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, LABELS, NUMBERS, RESULTS)
def measure_rows(points, start, stop, tile, filler, factors, origin, labels, centroids, distances):
    """Write the squared distance of each row to its centroid."""
    n_features, scratch = points.shape[1], scratch_for(points, tile, filler)
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        tile_points, first = tile_of(points, row, n_rows, filler, scratch)
        for number in range(n_rows):
            at, factor = labels[row + number] * n_features, factor_of(factors, row + number)
            distances[row + number] = sq_distance(
                tile_points, first + number, factor, origin, centroids, at, n_features
            )


@override(nearest_centroid, on_sphere=True)
def scored_then_measured(rows: Dense, centroids: Floats) -> Nearest[Any]:
    labels = scored(rows, centroids)
    return Nearest(labels, row_by_row(rows, labels, centroids))


@override(assigned_sq_distances, on_sphere=True)
def row_by_row(rows: Dense, labels: Labels, centroids: Floats) -> Floats:
    """Measure each row to its centroid, with features in the lanes."""
    points, n_features = rows.points, rows.n_features
    dtype, fill, origin = points.dtype, filler_of(rows), origin_of(rows)
    tile = tile_rows(rows.n_points, n_features, dtype)
    flat, labels = np.ascontiguousarray(centroids).reshape(-1), int32_labels(labels)
    distances = np.empty(rows.n_points, dtype)

    def measure(start: int, stop: int) -> None:
        measure_rows[dtype](points, start, stop, tile, *fill, origin, labels, flat, distances)

    in_parts(measure, rows.n_points, n_tasks_for(rows.n_points, 4.0 + n_features / 3), dtype)
    return distances


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, LABELS, NUMBERS),
    returns=types.float64,
)
def add_distances(points, start, stop, tile, filler, factors, origin, weights, labels, centroids):
    """Return the weighted sum of squared distances of rows to their centroids."""
    n_features, scratch, total = points.shape[1], scratch_for(points, tile, filler), 0.0
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        tile_points, first = tile_of(points, row, n_rows, filler, scratch)
        for number in range(n_rows):
            at, factor = labels[row + number] * n_features, factor_of(factors, row + number)
            distance = np.float64(
                sq_distance(tile_points, first + number, factor, origin, centroids, at, n_features)
            )
            weight = np.float64(weights[row + number]) if weights.shape[0] > 0 else 1.0
            total += weight * distance
    return total


def inertia_cost(n_features: int) -> float:
    """Return the approximate time of one thread for the distance of a row in nanoseconds."""
    return 4.0 + n_features / 3


@override(assigned_inertia, on_sphere=True)
def added_as_measured(rows: Dense, labels: Labels, centroids: Floats) -> Floats:
    """Add distances without storing them."""
    points, n_features = rows.points, rows.n_features
    dtype, weights = points.dtype, weights_of(rows)
    fill, origin = filler_of(rows), origin_of(rows)
    tile = tile_rows(rows.n_points, n_features, dtype)
    flat, labels = np.ascontiguousarray(centroids).reshape(-1), int32_labels(labels)

    def total(start: int, stop: int) -> float:
        added: float = add_distances[dtype](
            points, start, stop, tile, *fill, origin, weights, labels, flat
        )
        return added

    n_tasks = n_tasks_for(rows.n_points, inertia_cost(n_features))
    return np.asarray(merged_in_tree(in_parts(total, rows.n_points, n_tasks, dtype)))


@compiled(ROWS, COUNT, COUNT, NUMBERS, FLAGS)
def _find_origins(points, start, stop, origin, is_origin):
    for row in range(start, stop):
        is_origin[row] = 1
        for feature in range(points.shape[1]):
            if points[row, feature] != origin[feature]:
                is_origin[row] = 0
                break


@override(without_direction)
def looked_at_until_one_differs(rows: DenseRows) -> Floats:
    """Read few numbers of each row: most differ in the first one."""
    points, origin = rows.points, origin_of(rows)
    found = np.empty(rows.n_points, np.uint8)

    def find(start: int, stop: int) -> None:
        _find_origins[points.dtype](points, start, stop, origin, found)

    in_parts(find, rows.n_points, n_tasks_for(rows.n_points, 2.0), points.dtype)
    return found.view(np.bool_)


@compiled(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, SUMS, SUMS)
def add_moments(points, start, stop, tile, filler, factors, origin, weights, sums, squares):
    """Add rows and their squares to float64 lanes, one for each number of a panel."""
    n_features = points.shape[1]
    panels, scratch = new_numbers(tile * n_features, points), scratch_for(points, tile, filler)
    panel = panel_rows(panels)
    lanes = new_numbers(panel, sums)
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        tile_points, first = tile_of(points, row, n_rows, filler, scratch)
        pack_tile(tile_points, first, n_rows, factors, row, origin, panels)
        for number in range(0, n_rows, panel):
            for lane in range(panel):
                is_there = number + lane < n_rows  # the padding of the last panel counts as 0
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


def moments_cost(n_features: int) -> float:
    """Return the approximate time of one thread for the moments of a row in nanoseconds."""
    return 2.0 + n_features / 2


@override(column_moments, on_sphere=True)
def added_in_lanes(rows: Dense) -> Moments:
    """Add rows and squares in one pass; merge the lanes of a panel only at the end."""
    points, n_features = rows.points, rows.n_features
    dtype, weights = points.dtype, weights_of(rows)
    fill, origin = filler_of(rows), origin_of(rows)
    tile, panel = tile_rows(rows.n_points, n_features, dtype), PANEL[dtype]
    is_scaled = isinstance(rows, SphereRows)
    is_compiled = is_scaled or add_moments.pays(dtype, uses_of(rows.n_points * n_features))

    def moments(start: int, stop: int) -> Moments:
        if is_compiled:
            lanes, added = np.zeros((2, n_features * panel)), np.empty((2, n_features))
            add_moments[dtype](points, start, stop, tile, *fill, origin, weights, *lanes)
            sum_lanes[dtype](lanes.reshape(-1), panel, added.reshape(-1))
        else:
            added = added_moments(points[start:stop], origin, weights[start:stop], panel)
        mass = float(stop - start) if rows.weights is None else _mass(weights[start:stop])
        return Moments(np.asarray(mass), *added)

    n_tasks = n_tasks_for(rows.n_points, moments_cost(n_features))
    return merged_in_tree(in_parts(moments, rows.n_points, n_tasks, dtype))


@compiled(NUMBER, COLUMN_64, COLUMN_64, NUMBER, COLUMN_64, COLUMN_64, COLUMN, RESULTS, SUMS)
def measure_spread(
    mass, sums, squares, weighted_mass, weighted_sums, weighted_squares, about, origin, numbers
):
    """Write the mean, and the numbers of a ``Spread``."""
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


@spread.override("numpy", rank=1)
def spread_in_a_call(plain: Moments, weighted: Moments, about: Floats, *, xp: Namespace) -> Any:
    """Do it in one call: calls take most of the time."""
    if about.dtype not in PANEL or plain.sums.dtype != np.float64:
        return NotImplemented
    origin, numbers = np.empty(len(about), about.dtype), np.empty(3)
    parts = (float(plain.mass), plain.sums, plain.sq_sums, float(weighted.mass))
    measure = measure_spread.for_turns(len(about), about.dtype)
    measure(*parts, weighted.sums, weighted.sq_sums, about, origin, numbers)
    return Spread(origin, numbers)


def _mass(weights: Floats) -> float:
    return float(weights.sum(dtype=np.float64))
