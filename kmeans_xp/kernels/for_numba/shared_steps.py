"""Several steps of Lloyd's algorithm in a call of each thread.

Between two steps, threads wait for each other in compiled code: Python takes a fraction of a
millisecond for a step, most of it to find code and data that the rows have put out of the cache.

Threads take the parts of a step in turn. The one that completes a step merges its totals in the
order of ``merged_in_tree``, and opens the next step. So steps have the bits of single ones.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from kmeans_xp.kernels.for_numba.assignment import (
    FEWEST_PROVED,
    Groups,
    has_own_totals,
    label_rows,
    n_step_tasks,
    pack_groups,
    step_cost,
)
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
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
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.memory import matrix_in, new_numbers, numbers_in
from kmeans_xp.kernels.for_numba.emitted.vectors import as_rows, total_width
from kmeans_xp.kernels.for_numba.emitted.watching import look_at, publish, take_next
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    clear_totals,
    filler_of,
    origin_of,
    rows_of_a_part,
    tile_rows,
    weights_of,
    zeros_on_a_line,
)
from kmeans_xp.kernels.for_numba.two_clusters import pairs_for
from kmeans_xp.kernels.for_numba.updating import end_step
from kmeans_xp.kernels.threads import in_threads, n_threads_here, wait_awake

__all__ = [
    "LONG_STEP",
    "cancel_steps",
    "completes_step",
    "end_shared_step",
    "may_share_steps",
    "merge",
    "shared_by_threads",
    "steps_in_threads",
    "take_part",
]

#: places of numbers that threads share, each on a cache line of its own: the next part to take,
#: counted over all steps; parts that are done; the step whose parts may begin; steps taken
_NEXT, _DONE, _OPEN, _TAKEN, _N_SHARED = range(0, 40, 8)
#: the open step after the last one
_NO_STEP = 2**62
#: looks at the open step, each of some tens of nanoseconds, before a thread sleeps, and between two
#: sleeps. Others do a part in that time, unless they have lost their processor
_LOOKS, _FEW_LOOKS = 2_500, 50
#: seconds of sleep
_SLEEP = 5e-5
#: nanoseconds of one thread for a step, up to which Python takes some hundredths of its time. A
#: call cannot be interrupted
LONG_STEP = 10_000_000

_pack_centroids, _label_rows = pack_groups.shared, label_rows.shared


@inline
def take_part(shared, n_parts, n_steps, held):
    """Wait for the next part, or for the part ``held`` if it is not below 0, for some time.

    Return its number, counted over all steps, and whether it may begin. It is -1 after the last.
    """
    part, opened = held if held >= 0 else take_next(numbers_in(shared, _NEXT, 1)), -1
    number, now = part // n_parts, numbers_in(shared, _OPEN, 1)
    if number >= n_steps:
        return -1, False
    for _ in range(_LOOKS if held < 0 else _FEW_LOOKS):
        opened = look_at(now)
        if opened >= number:
            break
    return (-1, False) if opened > number else (part, opened == number)


@inline
def completes_step(shared, number, n_parts):
    """Count a part that is done; return whether it was the last one of its step."""
    return take_next(numbers_in(shared, _DONE, 1)) + 1 == (number + 1) * n_parts


@inline
def merge(slots, n_parts, apart):
    """Add up totals in the first slot, in the order of ``merged_in_tree``.

    Those of ``apart`` neighbours, a power of two, are in the first of their slots already.
    """
    while apart < n_parts:
        for slot in range(0, n_parts - apart, 2 * apart):
            for cluster in range(slots.shape[1]):
                for column in range(slots.shape[2]):
                    slots[slot, cluster, column] += slots[slot + apart, cluster, column]
        apart *= 2


@inline
def end_shared_step(
    number,
    slots,
    start,
    tol,
    on_sphere,
    groups,
    biases,
    sums,
    mass,
    centroids,
    signals,
    is_last,
    shared,
):
    """Write the results of a step from the first slot, and open the next step, or none."""
    (n_clusters, n_features), before = start.shape, start
    if number > 0:
        at = (number - 1) * n_clusters * n_features
        before = as_rows(matrix_in(centroids, at, n_clusters, n_features))
    totals = matrix_in(slots, 0, n_clusters, slots.shape[2])
    after = end_step(number, totals, before, on_sphere, sums, mass, centroids, signals)
    is_last |= signals[number, 0] <= tol or signals[number, 1] > 0.0 or number + 1 == len(signals)
    shared[_TAKEN] = number + 1
    if not is_last:
        _pack_centroids(after, groups, biases)
    publish(numbers_in(shared, _OPEN, 1), _NO_STEP if is_last else number + 1)


@inline
def cancel_steps(shared):
    """Open no step any more; the one that ends here does not count."""
    publish(numbers_in(shared, _OPEN, 1), _NO_STEP)


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, ROWS, NUMBER, FLAG),
    *(RESULTS, RESULTS, STACKED_TOTALS, STACKED_TOTALS, TOTALS, STACK, TOTALS, INDICES, COUNT),
    returns=types.int64,
)
def share_steps(
    points,
    n_rows,
    tile,
    pairs,
    filler,
    factors,
    origin,
    weights,
    start,
    tol,
    on_sphere,
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
    """Take parts of steps until one ends the run or leaves a cluster empty; then return -1.

    Otherwise return the part that could not begin for some time, to be ``held`` in the next call.
    ``groups`` and ``biases`` are those of ``start``, and each part has one of the ``slots``.
    """
    n_points, n_parts, n_clusters = len(points), len(slots), len(start)
    no_labels = new_numbers(0, np.int32)
    while True:
        held, may_begin = take_part(shared, n_parts, len(signals), held)
        if not may_begin:
            return held
        number, part, held = held // n_parts, held % n_parts, np.int64(-1)
        found = matrix_in(slots, part * n_clusters * slots.shape[2], n_clusters, slots.shape[2])
        clear_totals(found)
        row = part * n_rows
        _label_rows(
            *(points, row, min(row + n_rows, n_points), tile, pairs, filler, factors, origin),
            *(weights, groups, biases, n_clusters, no_labels, found),
        )
        if completes_step(shared, number, n_parts):
            merge(slots, n_parts, np.int64(1))
            end_shared_step(
                *(number, slots, start, tol, on_sphere, groups, biases),
                *(sums, mass, centroids, signals, False, shared),
            )


def may_share_steps(rows: Dense, n_clusters: int) -> bool:
    """Return whether several threads take steps together, and Python takes part of their time."""
    cost = rows.n_points * step_cost(n_clusters, rows.n_features)
    return (
        cost < LONG_STEP
        and n_clusters < FEWEST_PROVED  # more may be ruled out by proofs
        and has_own_totals(n_clusters, rows.n_features)
        and n_step_tasks(rows, n_clusters) > 1
        and wait_awake(n_threads_here())
        and share_steps.pays(rows.points.dtype)
    )


def steps_in_threads(
    rows: Dense, centroids: Floats, tol: float, on_sphere: bool, into: tuple[Any, ...]
) -> int:
    """Take steps, write their results, and return their number."""
    points, (n_clusters, n_features), dtype = rows.points, centroids.shape, rows.points.dtype
    n_rows = rows_of_a_part(len(points), n_step_tasks(rows, n_clusters), dtype)
    n_parts, width = -(-len(points) // n_rows), total_width(n_features)
    slots = zeros_on_a_line(n_parts * n_clusters * width).reshape(n_parts, n_clusters, width)
    operands = (
        *(points, n_rows, tile_rows(len(points), n_features, dtype)),
        *(pairs_for(n_clusters, n_features, dtype), *filler_of(rows)),
        *(origin_of(rows), weights_of(rows), centroids, tol, on_sphere),
        *(*Groups.of(centroids), slots, *into),
    )

    return shared_by_threads(share_steps[dtype], operands, n_parts)


def shared_by_threads(share: Callable[..., int], operands: tuple[Any, ...], n_parts: int) -> int:
    """Call a function that takes parts of steps in several threads; return the steps taken.

    ``operands`` are all its arguments but the last two.
    """
    shared = np.zeros(_N_SHARED, np.int64)

    def share_here(_: int) -> None:
        try:
            held = share(*operands, shared, -1)
            while held >= 0:
                time.sleep(_SLEEP)
                held = share(*operands, shared, held)
        except BaseException:
            # Others would wait for a part that this thread has taken. It may be of the next step,
            # which the thread that completes this one still opens: so let none take a further part.
            shared[_NEXT] = _NO_STEP
            shared[_OPEN] = _NO_STEP
            raise

    in_threads(share_here, min(n_threads_here(), n_parts))
    return int(shared[_TAKEN])
