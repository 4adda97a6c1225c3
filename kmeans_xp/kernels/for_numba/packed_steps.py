"""Several steps of two clusters in a call that pack rows once, where features are few.

Labels are bits, and rows are added in their order: ``exact_steps`` adds only rows that move, but
sums of rows on a sphere, and of float64 rows, are hardly ever exact. Threads take the parts of a
plain step as in ``shared_steps``. So steps have the bits of single ones.
"""

from typing import Any

import numpy as np
from numba import types

from kmeans_xp.kernels.for_numba.assignment import Groups, n_step_tasks
from kmeans_xp.kernels.for_numba.compiled import (
    COUNT,
    FLAG,
    INDICES,
    NUMBER,
    NUMBERS,
    RESULTS,
    ROWS,
    STACK,
    STACKED_TOTALS,
    TOTALS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.memory import matrix_in, numbers_in
from kmeans_xp.kernels.for_numba.emitted.pair_vectors import add_marked, second_lanes
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, panel_rows, total_width
from kmeans_xp.kernels.for_numba.shared_steps import (
    completes_step,
    end_shared_step,
    merge,
    shared_by_threads,
    take_part,
)
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    clear_totals,
    filler_of,
    numbers_on_a_line,
    origin_of,
    pack_tile,
    rows_of_a_part,
    zeros_on_a_line,
)

__all__ = ["packed_steps_in_threads", "share_packed_steps"]


@compiled(
    *(ROWS, COUNT, NUMBERS, NUMBERS, ROWS, NUMBER, FLAG, RESULTS),
    *(RESULTS, RESULTS, STACKED_TOTALS, STACKED_TOTALS, TOTALS, STACK, TOTALS, INDICES, COUNT),
    returns=types.int64,
)
def share_packed_steps(
    points,
    n_rows,
    factors,
    origin,
    start,
    tol,
    on_sphere,
    panels,
    groups,
    biases,
    slots,
    sums,
    mass,
    centroids,
    signals,
    shared,
    held,
):
    """Take parts of steps, of ``n_rows`` rows each, as ``share_steps`` does.

    The first step writes the rows to ``panels``, those of each part to whole pairs of panels.
    """
    (n_points, n_features), n_parts, width = points.shape, len(slots), slots.shape[2]
    n_lanes = 2 * panel_rows(origin)
    n_packed = -(-n_rows // n_lanes) * n_lanes * n_features
    while True:
        held, may_begin = take_part(shared, n_parts, len(signals), held)
        if not may_begin:
            return held
        number, part, held = held // n_parts, held % n_parts, np.int64(-1)
        first, at = part * n_rows, part * n_packed
        stop = min(first + n_rows, n_points)
        if number == 0:
            packed = numbers_in(panels, at, n_packed)
            pack_tile(points, first, stop - first, factors, first, origin, packed)
        totals = matrix_in(slots, part * 2 * width, 2, width)
        clear_totals(totals)
        for row in range(first, stop, n_lanes):
            seconds = second_lanes(panels, at, n_features, groups, biases)
            n_here = min(n_lanes, stop - row)
            if n_here < n_lanes:
                seconds &= (np.int64(1) << n_here) - 1
            add_marked(points, row, n_here, seconds, factors, origin, n_features, totals)
            at += n_lanes * n_features
        if completes_step(shared, number, n_parts):
            merge(slots, n_parts, np.int64(1))
            end_shared_step(
                *(number, slots, start, tol, on_sphere, groups, biases),
                *(sums, mass, centroids, signals, False, shared),
            )


def packed_steps_in_threads(
    rows: Dense, centroids: Floats, tol: float, on_sphere: bool, into: tuple[Any, ...]
) -> int:
    """Take steps, write their results, and return their number."""
    points, (n_points, n_features) = rows.points, rows.points.shape
    dtype, n_lanes, width = points.dtype, 2 * PANEL[points.dtype], total_width(n_features)
    n_tasks = n_step_tasks(rows, 2)
    n_rows = rows_of_a_part(n_points, n_tasks, dtype)
    n_parts, n_groups = -(-n_points // n_rows), -(-n_rows // n_lanes)
    operands = (
        *(points, n_rows, filler_of(rows)[1], origin_of(rows), centroids, tol, on_sphere),
        numbers_on_a_line(n_parts * n_groups * n_lanes * n_features, dtype),
        *(*Groups.of(centroids), zeros_on_a_line(n_parts * 2 * width).reshape(n_parts, 2, width)),
        *into,
    )
    return shared_by_threads(share_packed_steps[dtype], operands, n_parts)
