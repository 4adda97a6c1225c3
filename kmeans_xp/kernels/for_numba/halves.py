"""Inertia and counts of the two clusters of a split, in one pass; labels of rows, each alone."""

from typing import Any

import numpy as np

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    LABELS,
    NUMBERS,
    ROWS,
    SUMS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import sq_distance
from kmeans_xp.kernels.for_numba.measuring import inertia_cost
from kmeans_xp.kernels.for_numba.tiling import (
    LABEL,
    Dense,
    Floats,
    Labels,
    factor_of,
    filler_of,
    in_parts,
    int32_labels,
    n_tasks_for,
    new_labels,
    origin_of,
    override,
    scratch_for,
    smaller,
    tile_of,
    tile_rows,
    weights_of,
)
from kmeans_xp.kernels.portable.halves import (
    Halves,
    halves_of,
    in_places,
    labels_each_row_alone,
)
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = ["N_NUMBERS", "as_halves", "measure_halves"]

#: numbers of a half: its inertia, its rows, and those that have weight
N_NUMBERS = 3


@compiled(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, LABELS, NUMBERS, SUMS)
def measure_halves(
    points, start, stop, tile, filler, factors, origin, weights, labels, centroids, numbers
):
    """Add the inertia of some rows, their number, and that of rows with weight, for each half."""
    n_features, scratch = points.shape[1], scratch_for(points, tile, filler)
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        tile_points, first = tile_of(points, row, n_rows, filler, scratch)
        for number in range(n_rows):
            label, factor = labels[row + number], factor_of(factors, row + number)
            distance = np.float64(
                sq_distance(
                    *(tile_points, first + number, factor, origin),
                    *(centroids, label * n_features, n_features),
                )
            )
            weight = np.float64(weights[row + number]) if weights.shape[0] > 0 else 1.0
            at = label * N_NUMBERS
            numbers[at] += weight * distance
            numbers[at + 1] += 1.0
            numbers[at + 2] += weight > 0.0


@override(halves_of, on_sphere=True)
def halves_in_a_pass(rows: Dense, labels: Labels, is_member: Any, centroids: Floats) -> Any:
    """Add distances and count as rows are read: a split of few rows takes few calls."""
    if is_member is not None or len(centroids) != 2:
        return NotImplemented
    points, n_features = rows.points, rows.n_features
    dtype, weights = points.dtype, weights_of(rows)
    fill, origin = filler_of(rows), origin_of(rows)
    tile = tile_rows(rows.n_points, n_features, dtype)
    flat, labels = np.ascontiguousarray(centroids).reshape(-1), int32_labels(labels)

    def measured(start: int, stop: int) -> Floats:
        numbers = np.zeros(2 * N_NUMBERS)
        measure_halves[dtype](
            points, start, stop, tile, *fill, origin, weights, labels, flat, numbers
        )
        return numbers

    n_tasks = n_tasks_for(rows.n_points, inertia_cost(n_features))
    parts = in_parts(measured, rows.n_points, n_tasks, dtype)
    return as_halves(merged_in_tree(parts))


def as_halves(numbers: Floats) -> Halves:
    """Return the numbers of compiled code by their names."""
    inertia, *counts = numbers.reshape(2, N_NUMBERS).T
    return Halves(inertia, *(each.astype(np.int64) for each in counts))


@override(labels_each_row_alone, on_sphere=True)
def by_scores_of_their_own(rows: Dense, centroids: Floats) -> bool:
    """Say so: a row's scores add up its features in turn, whatever proves its label."""
    return True


@in_places.override("numpy", rank=1)
def labels_in_places(values: Labels, places: Any, *, xp: Namespace) -> Any:
    """Write labels where JAX takes them without a copy."""
    if values.dtype != LABEL:
        return NotImplemented
    put = new_labels(len(values))
    put[places] = values
    return put
