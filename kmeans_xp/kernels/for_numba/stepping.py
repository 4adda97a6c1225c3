"""Several steps of Lloyd's algorithm in a call, by one thread.

They call the functions of single steps, in the same order. So each step has the same bits.
``shared_steps`` takes them by several threads.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from kmeans_xp.devices import namespace_of
from kmeans_xp.kernels.for_numba.assignment import (
    FEWEST_PROVED,
    Groups,
    add_tile,
    has_own_totals,
    label_panels,
    label_rows,
    n_step_tasks,
    pack_groups,
    step_cost,
)
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    FLAG,
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
from kmeans_xp.kernels.for_numba.emitted.vectors import total_width
from kmeans_xp.kernels.for_numba.exact_steps import (
    exact_steps_in_threads,
    may_be_packed,
    may_step_exactly,
)
from kmeans_xp.kernels.for_numba.packed_steps import packed_steps_in_threads, share_packed_steps
from kmeans_xp.kernels.for_numba.shared_steps import may_share_steps, steps_in_threads
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    clear_totals,
    filler_of,
    origin_of,
    override,
    pack_tile,
    rows_of_a_part,
    smaller,
    tile_rows,
    weights_of,
    zeros_on_a_line,
)
from kmeans_xp.kernels.for_numba.two_clusters import pairs_for
from kmeans_xp.kernels.for_numba.updating import end_step
from kmeans_xp.kernels.portable.assignment import ClusterTotals
from kmeans_xp.kernels.portable.steps import (
    LloydSteps,
    Update,
    lloyd_steps,
    means_on_sphere,
)
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import n_threads_here

__all__ = ["is_step_short", "run_steps", "slots_of"]

#: bytes of rows that are packed once for several steps: they stay in the cache
_PACKED = 2**22
#: nanoseconds of a step. A thread of the pool begins some 0.1 ms late in a virtual machine, and the
#: one that waits for it wakes as late
_SHORT_STEP = 2_000_000

_pack_centroids, _label_rows = pack_groups.shared, label_rows.shared


@inline
def _label_packed(
    points,
    panels,
    start,
    stop,
    tile,
    factors,
    origin,
    weights,
    groups,
    biases,
    n_clusters,
    best,
    labels,
    totals,
):
    """Add up rows that have been packed."""
    n_features = points.shape[1]
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        packed = numbers_in(panels, row * n_features, tile * n_features)
        label_panels(packed, n_rows, n_features, groups, biases, n_clusters, best, labels)
        add_tile(points, row, n_rows, row, factors, origin, weights, labels, totals)


@inline
def _add_part(slots, slot, height, heights):
    """Add a part to those before it that are as high, as ``merged_in_tree``; return its slot."""
    while slot > 0 and heights[slot - 1] == height:
        _add_slot(slots, slot - 1, slot)
        slot, height = slot - 1, height + 1
    heights[slot] = height
    return slot


@inline
def _add_slot(slots, to, other):
    for cluster in range(slots.shape[1]):
        for column in range(slots.shape[2]):
            slots[to, cluster, column] += slots[other, cluster, column]


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, ROWS, NUMBER, FLAG),
    *(RESULTS, RESULTS, STACKED_TOTALS, STACKED_TOTALS, TOTALS, STACK, TOTALS),
    returns=types.int64,
)
def run_steps(
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
):
    """Take steps until one ends the run or leaves a cluster empty; return their number.

    Each step adds up ``n_rows`` rows at a time, in one of the ``slots``.
    """
    n_points, n_features = points.shape
    n_clusters, before = slots.shape[1], start
    no_labels, heights = new_numbers(0, np.int32), new_numbers(len(slots), np.int64)
    # Few rows stay in the cache as panels, which are the same in each step.
    is_packed = pairs == 0 and filler == 0 and n_points * n_features * origin.itemsize <= _PACKED
    panels = new_numbers((n_points + tile) * n_features * is_packed, origin)
    best, labels = new_numbers(tile * is_packed, origin), new_numbers(tile * is_packed, np.int32)
    if is_packed:
        for row in range(0, n_points, tile):
            packed = numbers_in(panels, row * n_features, tile * n_features)
            pack_tile(points, row, smaller(tile, n_points - row), factors, row, origin, packed)
    for number in range(len(signals)):
        _pack_centroids(before, groups, biases)
        slot = np.int64(-1)  # from a literal, numba would compile `_add_slot` for it too
        for row in range(0, n_points, n_rows):
            slot += 1
            found = matrix_in(slots, slot * n_clusters * slots.shape[2], n_clusters, slots.shape[2])
            clear_totals(found)
            stop = min(row + n_rows, n_points)
            if is_packed:
                _label_packed(
                    *(points, panels, row, stop, tile, factors, origin, weights),
                    *(groups, biases, n_clusters, best, labels, found),
                )
            else:
                _label_rows(
                    points,
                    row,
                    stop,
                    tile,
                    pairs,
                    filler,
                    factors,
                    origin,
                    weights,
                    groups,
                    biases,
                    n_clusters,
                    no_labels,
                    found,
                )
            slot = _add_part(slots, slot, 0, heights)
        while slot > 0:
            _add_slot(slots, slot - 1, slot)
            slot -= 1
        totals = matrix_in(slots, 0, n_clusters, slots.shape[2])
        before = end_step(number, totals, before, on_sphere, sums, mass, centroids, signals)
        if signals[number, 0] <= tol or signals[number, 1] > 0.0:
            return number + 1
    return len(signals)


def slots_of(n_tasks: int, n_clusters: int, n_features: int) -> Floats:
    """Return room for the totals that wait to be merged, and for one more."""
    n_slots, width = n_tasks.bit_length() + 1 if n_tasks > 1 else 1, total_width(n_features)
    return zeros_on_a_line(n_slots * n_clusters * width).reshape(n_slots, n_clusters, width)


def is_step_short(n_points: int, n_clusters: int, n_features: int) -> bool:
    """Return whether threads and Python would take much of the time of a step."""
    return n_points * step_cost(n_clusters, n_features) < _SHORT_STEP


def _takes_steps_alone(rows: Dense, n_clusters: int) -> bool:
    """Return whether one thread takes the steps, and Python would take much of their time."""
    n_features = rows.n_features
    if not has_own_totals(n_clusters, n_features):
        return False
    if n_step_tasks(rows, n_clusters) == 1:
        return True
    is_plain = n_clusters < FEWEST_PROVED and is_step_short(rows.n_points, n_clusters, n_features)
    return is_plain and n_threads_here() == 1


def _steps_alone(
    rows: Dense, centroids: Floats, tol: float, on_sphere: bool, into: tuple[Any, ...]
) -> int:
    """Take steps by one thread, write their results, and return their number."""
    points, (n_clusters, n_features), dtype = rows.points, centroids.shape, rows.points.dtype
    n_tasks = n_step_tasks(rows, n_clusters)
    n_done: int = run_steps[dtype](
        points,
        rows_of_a_part(rows.n_points, n_tasks, dtype),
        tile_rows(rows.n_points, n_features, dtype),
        pairs_for(n_clusters, n_features, dtype),
        *filler_of(rows),
        origin_of(rows),
        weights_of(rows),
        centroids,
        tol,
        on_sphere,
        *Groups.empty(n_clusters, n_features, dtype),
        slots_of(n_tasks, n_clusters, n_features),
        *into,
    )
    return n_done


def _taken(
    take: Callable[..., int], rows: Dense, centroids: Floats, n_steps: int, *options: Any
) -> LloydSteps | None:
    """Return the steps that ``take`` writes, at most ``n_steps``; None if it takes no step."""
    shape, dtype = (n_steps, *centroids.shape), rows.points.dtype
    sums, new = np.empty(shape), np.empty(shape, dtype)
    mass, signals = np.empty(shape[:2]), np.empty((n_steps, 3))
    n_done = take(rows, centroids, *options, (sums, mass, new, signals))
    totals = ClusterTotals(sums[:n_done], mass[:n_done])
    return LloydSteps(totals, Update(new[:n_done], signals[:n_done])) if n_done else None


@override(lloyd_steps, on_sphere=True)
def steps_in_a_call(
    rows: Dense, centroids: Floats, n_steps: int, tol: float, update: Callable[..., Update]
) -> Any:
    """Take all steps in compiled code if Python's part of a step would take much of the time."""
    n_clusters, on_sphere, steps = len(centroids), update is means_on_sphere, None
    if isinstance(rows, DenseRows) and not on_sphere and may_step_exactly(rows, n_clusters):
        steps = _taken(exact_steps_in_threads, rows, centroids, n_steps, tol)
    if steps is not None:
        return steps
    if may_be_packed(rows, n_clusters, share_packed_steps):
        return _taken(packed_steps_in_threads, rows, centroids, n_steps, tol, on_sphere)
    if _takes_steps_alone(rows, n_clusters) and run_steps.pays(rows.points.dtype):
        return _taken(_steps_alone, rows, centroids, n_steps, tol, on_sphere)
    if may_share_steps(rows, n_clusters):
        return _taken(steps_in_threads, rows, centroids, n_steps, tol, on_sphere)
    # Do not decline: kernels without numba would give other bits.
    xp = namespace_of(centroids)
    return lloyd_steps.portable(rows, centroids, n_steps, tol, update, xp=xp)
