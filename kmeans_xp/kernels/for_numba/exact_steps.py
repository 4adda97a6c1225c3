"""Several steps of two clusters in a call that add only rows that move, where sums are exact.

``exact_sums`` has the reason. Rows are packed once for all steps of a call, and labels are bits.
Threads take parts of a step as in ``shared_steps``. Each adds what its rows change, in any order.
"""

from typing import Any

import numpy as np
from numba import types

from kmeans_xp.kernels.for_numba.assignment import Groups, can_be_cut, n_step_tasks
from kmeans_xp.kernels.for_numba.compiled import (
    COUNT,
    INDICES,
    NUMBER,
    NUMBERS,
    RESULTS,
    ROWS,
    STACK,
    STACKED_TOTALS,
    TOTALS,
    Compiled,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.code_vectors import lowest_bit
from kmeans_xp.kernels.for_numba.emitted.memory import matrix_in, new_numbers, numbers_in
from kmeans_xp.kernels.for_numba.emitted.pair_vectors import second_lanes
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, add_row, panel_rows, total_width
from kmeans_xp.kernels.for_numba.exact_sums import adds_exactly
from kmeans_xp.kernels.for_numba.shared_steps import (
    cancel_steps,
    completes_step,
    end_shared_step,
    shared_by_threads,
    take_part,
)
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    filler_of,
    is_dense,
    numbers_on_a_line,
    origin_of,
    pack_tile,
    zeros_on_a_line,
)
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import n_threads_here, wait_awake

__all__ = ["exact_steps_in_threads", "may_be_packed", "may_step_exactly", "share_exact_steps"]

#: most bytes of packed rows, a copy of all
_PACKED_BYTES = 2**24
#: rows whose steps in a call save a millisecond
_ROWS_OF_A_USE = 2**14
#: fewest rows of a part of a step, which takes some 10 microseconds; and most parts for each thread
_ROWS_OF_A_PART, _PARTS_OF_A_THREAD = 2**12, 4


@inline
def _move_rows(points, row, bits, seconds, origin, totals):
    """Subtract the rows of some bits from one cluster, and add them to the other."""
    one, n_features = origin.dtype.type(1), points.shape[1]
    while bits != 0:
        number = lowest_bit(bits)
        to = (seconds >> number) & 1
        add_row(points, row + number, one, origin, -1.0, n_features, totals, 1 - to)
        add_row(points, row + number, one, origin, 1.0, n_features, totals, to)
        bits &= bits - 1


@inline
def _add_all(points, first, stop, labels, n_lanes, origin, totals):
    """Add rows to their clusters."""
    one, n_features = origin.dtype.type(1), points.shape[1]
    for row in range(first, stop):
        to = (labels[row // n_lanes] >> (row % n_lanes)) & 1
        add_row(points, row, one, origin, 1.0, n_features, totals, to)


@compiled(
    *(ROWS, NUMBERS, COUNT, NUMBERS, ROWS, NUMBER, RESULTS, INDICES),
    *(INDICES, RESULTS, RESULTS, STACKED_TOTALS, STACKED_TOTALS, TOTALS, STACK, TOTALS),
    *(INDICES, COUNT),
    returns=types.int64,
)
def share_exact_steps(
    points,
    flat,
    n_rows,
    origin,
    start,
    tol,
    panels,
    labels,
    are_exact,
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

    They end without a step if sums are not exact. ``flat`` are the points, ``panels`` and
    ``labels`` get all rows, and ``slots`` are zeros: the totals, and what each part changes.
    """
    n_points, n_features = points.shape
    n_lanes, n_parts, none = 2 * panel_rows(origin), len(slots) - 1, new_numbers(0, origin)
    width = slots.shape[2]
    while True:
        held, may_begin = take_part(shared, n_parts, len(signals), held)
        if not may_begin:
            return held
        number, part, held = held // n_parts, held % n_parts, np.int64(-1)
        first = part * n_rows
        stop = min(first + n_rows, n_points)
        changes = matrix_in(slots, (1 + part) * 2 * width, 2, width)
        if number == 0:
            # Other parts need not look at their rows after one has failed.
            if are_exact[0] and not adds_exactly(flat, 0, n_points, first, stop, origin):
                are_exact[0] = 0
            if are_exact[0]:
                n_numbers = -(-(stop - first) // n_lanes) * n_lanes * n_features
                packed = numbers_in(panels, first * n_features, n_numbers)
                pack_tile(points, first, stop - first, none, 0, origin, packed)
        if are_exact[0]:
            for row in range(first, stop, n_lanes):
                seconds = second_lanes(panels, row * n_features, n_features, groups, biases)
                if n_points - row < n_lanes:
                    seconds &= (np.int64(1) << (n_points - row)) - 1
                if number > 0:
                    moving = seconds ^ labels[row // n_lanes]
                    _move_rows(points, row, moving, seconds, origin, changes)
                labels[row // n_lanes] = seconds
            if number == 0:
                _add_all(points, first, stop, labels, n_lanes, origin, changes)
        if completes_step(shared, number, n_parts):
            if not are_exact[0]:
                cancel_steps(shared)
                continue
            _add_changes(slots)
            end_shared_step(
                *(number, slots, start, tol, False, groups, biases),
                *(sums, mass, centroids, signals, False, shared),
            )


@inline
def _add_changes(slots):
    """Add what all parts change to the totals, in the first slot, and forget it."""
    for part in range(1, len(slots)):
        for cluster in range(2):
            for column in range(slots.shape[2]):
                slots[0, cluster, column] += slots[part, cluster, column]
                slots[part, cluster, column] = 0.0


def may_be_packed(rows: Dense, n_clusters: int, steps: Compiled) -> bool:
    """Return whether rows of two clusters are too short for ``label_pairs``, and few to be copied.

    Also whether they can be read as they lie, threads need not be woken for each step, and
    ``steps`` are worth to be compiled.
    """
    points, n_threads = rows.points, n_threads_here()
    return (
        n_clusters == 2
        and points.shape[1] < PANEL[points.dtype]
        and points.nbytes <= _PACKED_BYTES
        and rows.weights is None
        and is_dense(points)
        and can_be_cut(rows)
        and (n_threads == 1 or wait_awake(n_threads) or n_step_tasks(rows, n_clusters) == 1)
        and steps.pays(points.dtype, 1 + len(points) // _ROWS_OF_A_USE)
    )


def may_step_exactly(rows: DenseRows, n_clusters: int) -> bool:
    """Return whether sums of rows that are packed may be exact."""
    points: Any = rows.points
    is_single = points.dtype == np.float32 and points.flags.c_contiguous
    return is_single and may_be_packed(rows, n_clusters, share_exact_steps)


def exact_steps_in_threads(
    rows: DenseRows, centroids: Floats, tol: float, into: tuple[Any, ...]
) -> int:
    """Take steps, write their results, and return their number; 0 if sums are not exact."""
    points, n_points, n_features = rows.points, rows.n_points, rows.n_features
    n_lanes, width, n_threads = 2 * PANEL[points.dtype], total_width(n_features), n_threads_here()
    filler_of(rows)  # it compiles what packs the rows
    n_parts = 1
    if wait_awake(n_threads):
        n_parts = max(1, min(_PARTS_OF_A_THREAD * n_threads, n_points // _ROWS_OF_A_PART))
    n_rows = -(-n_points // (n_parts * n_lanes)) * n_lanes
    n_parts, n_groups = -(-n_points // n_rows), -(-n_points // n_lanes)
    operands = (
        *(points, points.reshape(-1), n_rows, origin_of(rows), centroids, tol),
        numbers_on_a_line(n_groups * n_lanes * n_features, points.dtype),
        *(np.zeros(n_groups, np.int64), np.ones(1, np.int64), *Groups.of(centroids)),
        zeros_on_a_line((1 + n_parts) * 2 * width).reshape(1 + n_parts, 2, width),
        *into,
    )
    return shared_by_threads(share_exact_steps[points.dtype], operands, n_parts)
