"""Splits of few rows in one call: the run, its labels, and inertia and rows of both halves.

It calls the functions of a run and of halves, in the same order. So results are bit-identical.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    FLAG,
    INDICES,
    MATRIX,
    NUMBER,
    NUMBERS,
    ROWS,
    STACKED_TOTALS,
    SUMS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_matrix, new_numbers
from kmeans_xp.kernels.for_numba.halves import N_NUMBERS, as_halves, measure_halves
from kmeans_xp.kernels.for_numba.runs import (
    STEPS_IN_A_CALL,
    is_run_in_a_task,
    label_all,
    room_for,
    take_steps,
)
from kmeans_xp.kernels.for_numba.stepping import slots_of
from kmeans_xp.kernels.for_numba.tiling import (
    Floats,
    filler_of,
    origin_of,
    override,
    tile_rows,
    weights_of,
)
from kmeans_xp.kernels.for_numba.two_clusters import pairs_for
from kmeans_xp.kernels.portable.splits import Split, split_at_once
from kmeans_xp.kernels.portable.steps import Update, means_on_sphere
from kmeans_xp.kernels.rows import DenseRows

__all__: list[str] = []

_measure_halves = measure_halves.shared


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, NUMBERS, COLUMN, COUNT, NUMBER, FLAG),
    *(STACKED_TOTALS, MATRIX, SUMS, INDICES),
    returns=types.float64,
)
def _split(
    points,
    tile,
    pairs,
    filler,
    origin,
    weights,
    max_iter,
    tol,
    on_sphere,
    slots,
    centroids,
    numbers,
    places,
):
    """Move the centroids, write the rest, and return the last shift; below 0 for a run alone."""
    n_points, n_features = points.shape
    room = room_for(2, n_features, min(STEPS_IN_A_CALL, max_iter), slots, centroids)
    n_done, is_left = take_steps(
        *(points, tile, pairs, filler, origin, weights, tol, on_sphere, max_iter, centroids, room),
        new_matrix(0, 3, np.float64),
    )
    if is_left:
        return -1.0
    labels, none = new_numbers(n_points, np.int32), new_numbers(0, origin)
    label_all(points, tile, pairs, filler, origin, weights, centroids, labels, room)
    _measure_halves(
        *(points, 0, n_points, tile, filler, none, origin, weights, labels, room.flat, numbers)
    )
    left, right = 0, np.int64(numbers[1])
    for row in range(n_points):
        if labels[row] == 0:
            places[left] = row
            left += 1
        else:
            places[right] = row
            right += 1
    return room.signals[(n_done - 1) % len(room.signals), 0]


@override(split_at_once)
def split_in_a_call(
    rows: DenseRows, start: Floats, max_iter: int, tol: float, update: Callable[..., Update]
) -> Any:
    """Split in compiled code if Python's part of a split would take much of the time."""
    points, n_features = rows.points, rows.n_features
    dtype = points.dtype
    if len(start) != 2 or start.dtype != dtype or not is_run_in_a_task(rows, 2):
        return NotImplemented
    if not _split.pays(dtype):
        return NotImplemented
    centroids, places = np.array(start, order="C"), np.empty(rows.n_points, np.int64)
    numbers = np.zeros(2 * N_NUMBERS)
    sq_shift = _split[dtype](
        points,
        tile_rows(rows.n_points, n_features, dtype),
        pairs_for(2, n_features, dtype),
        filler_of(rows)[0],
        origin_of(rows),
        weights_of(rows),
        max_iter,
        tol,
        update is means_on_sphere,
        slots_of(1, 2, n_features),
        centroids,
        numbers,
        places,
    )
    return None if sq_shift < 0.0 else Split(centroids, sq_shift, as_halves(numbers), places)
