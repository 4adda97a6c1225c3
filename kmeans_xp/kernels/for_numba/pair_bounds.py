"""Steps of two clusters that read few rows: most labels are proved, and few rows change sums.

Codes of the rows prove most labels (``pair_codes``): they take an eighth or a fourth of the rows'
memory. The products of the codes with an earlier difference of the centroids may do too, without
reading the codes. Rows still in doubt are measured.

Where sums are exact (``exact_sums``), a row that changes its cluster is subtracted from one and
added to the other. Otherwise a task keeps the sums of each block. Those may be exact, as most are
of float32 rows on a sphere. If not, the rows of a block are added again if one of them moves.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types

from kmeans_xp.devices import namespace_of
from kmeans_xp.kernels.for_numba.assignment import (
    Groups,
    can_be_cut,
    has_own_totals,
    label_panels,
    n_step_tasks,
    step_cost,
)
from kmeans_xp.kernels.for_numba.codes import coded_width
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    FLAG,
    FLAGS,
    INDICES,
    LABEL_RESULTS,
    NUMBER,
    NUMBERS,
    RESULTS,
    RESULTS_32,
    ROWS,
    STACK,
    STACKED_TOTALS,
    SUMS,
    TOTALS,
    Parameter,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.memory import matrix_in, new_numbers, numbers_in
from kmeans_xp.kernels.for_numba.emitted.pair_vectors import (
    fetch_row,
    is_second_nearer,
    measure_chosen,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import (
    add_row,
    pack_chosen,
    panel_rows,
    total_width,
)
from kmeans_xp.kernels.for_numba.exact_sums import adds_exactly
from kmeans_xp.kernels.for_numba.pair_codes import (
    CodedRows,
    bounds_for,
    code_rows,
    find_doubtful,
    keep_reference,
    length_above,
    measure_codes,
)
from kmeans_xp.kernels.for_numba.shared_steps import (
    LONG_STEP,
    completes_step,
    end_shared_step,
    merge,
    shared_by_threads,
    take_part,
)
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    add_totals,
    clear_totals,
    factor_of,
    is_dense,
    is_from_zero,
    nothing,
    numbers_on_a_line,
    origin_of,
    override,
    rows_of_a_block,
    rows_of_a_part,
    weights_of,
    zeros_on_a_line,
)
from kmeans_xp.kernels.for_numba.two_clusters import (
    BASE,
    LIMIT,
    N_NUMBERS,
    ROWS_AT_A_TIME,
    SHIFT,
    SLOPE,
    are_pairs,
    prepare_pair,
)
from kmeans_xp.kernels.portable.assignment import ClusterTotals
from kmeans_xp.kernels.portable.bounds import (
    BoundedSteps,
    Bounds,
    bounded_step,
    bounded_steps,
)
from kmeans_xp.kernels.portable.steps import LloydSteps, Update, means_on_sphere
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.sphere_rows import SphereRows
from kmeans_xp.kernels.threads import n_threads_here, wait_awake

__all__: list[str] = []

#: numbers that a task keeps: its steps so far; 1.0 where its sums are exact; the squared length of
#: its reference, or 0.0; the rows that its last step measured
_N_STEPS, _IS_EXACT, _SQ_REFERENCE, _N_MEASURED = range(4)
#: how many steps do not try the last reference after it proved too little, and how many are left
_PAUSE, _N_PAUSED, _N_KEPT = range(4, 7)

#: share of rows in doubt from which the reference is replaced: all codes are read for that
_MOST_IN_DOUBT = 0.1
_LONGEST_PAUSE = 7.0
#: the share of a panel from which it takes less time than its rows one by one, as a divisor
_PANEL_OVER_A_ROW = 3
#: rows whose mean is the middle
_N_OF_MIDDLE = 64
#: numbers of rows whose step saves half a millisecond
_NUMBERS_OF_A_USE = 2**22
_CODES = Parameter(1, types.int8, "C", True)


@inline
def _settle_doubtful(
    points,
    factors,
    origin,
    groups,
    biases,
    apart,
    numbers,
    labels,
    doubtful,
    n_doubtful,
    moving,
    n_moving,
):
    """Measure rows in doubt, and score them where that is in vain; return how many rows move."""
    n_features, panel = points.shape[1], panel_rows(origin)
    found = new_numbers(2 * ROWS_AT_A_TIME, origin)
    unsure, n_unsure = new_numbers(panel, np.int64), 0
    room = _ScoringRoom(
        new_numbers(panel * n_features, origin),
        *(new_numbers(panel, origin), new_numbers(panel, origin), new_numbers(panel, np.int32)),
    )
    for place in range(n_doubtful, -(-n_doubtful // ROWS_AT_A_TIME) * ROWS_AT_A_TIME):
        doubtful[place] = doubtful[n_doubtful - 1]
    for place in range(0, n_doubtful, ROWS_AT_A_TIME):
        measure_chosen(points, doubtful, place, factors, origin, apart, n_features, found)
        for number in range(min(ROWS_AT_A_TIME, n_doubtful - place)):
            row = doubtful[place + number]
            difference = np.float64(found[number]) + numbers[SHIFT]
            sq_length = np.float64(found[ROWS_AT_A_TIME + number])
            doubt = numbers[SLOPE] * np.sqrt(sq_length) + numbers[BASE]
            is_sure = doubt < abs(difference) < np.inf and sq_length <= numbers[LIMIT]
            moving[n_moving] = unsure[n_unsure] = row
            n_moving += is_sure and (difference > 0.0) != (labels[row] > 0)
            n_unsure += not is_sure
        # Rows that were just measured are still in the cache.
        is_last = place + ROWS_AT_A_TIME >= n_doubtful
        if n_unsure > panel - ROWS_AT_A_TIME or (is_last and n_unsure > 0):
            n_moving = _score_rows(
                *(points, factors, origin, groups, biases, labels),
                *(unsure, n_unsure, room, moving, n_moving),
            )
            n_unsure = 0
    return n_moving


class _ScoringRoom(NamedTuple):
    """Scratch to score a panel."""

    packed: Any
    factors: Any
    best: Any
    found: Any


@inline
def _score_rows(
    points, factors, origin, groups, biases, labels, chosen, n_chosen, room, moving, n_moving
):
    """Score up to a panel of rows; return how many rows move."""
    n_features = points.shape[1]
    for number in range(n_chosen):
        room.factors[number] = factor_of(factors, chosen[number])
    if n_chosen * _PANEL_OVER_A_ROW < panel_rows(origin):
        for number in range(n_chosen):
            row, factor = chosen[number], room.factors[number]
            room.found[number] = is_second_nearer(
                points, row, factor, origin, groups, biases, n_features
            )
    else:
        # A panel's sums hide each other's waits.
        theirs = numbers_in(room.factors, 0, n_chosen if factors.shape[0] > 0 else 0)
        pack_chosen(points, chosen, 0, n_chosen, theirs, origin, n_features, room.packed, 0)
        label_panels(room.packed, n_chosen, n_features, groups, biases, 2, room.best, room.found)
    for number in range(n_chosen):
        row = moving[n_moving] = chosen[number]
        n_moving += room.found[number] != labels[row]
    return n_moving


@inline
def _move_rows(
    points, factors, origin, first, labels, moving, n_moving, totals, is_exact, blocks, are_exact
):
    """Subtract rows from one cluster and add them to the other, where that is exact."""
    n_features, width = points.shape[1], totals.shape[1]
    size = rows_of_a_block(n_features, origin.itemsize)
    for place in range(n_moving):
        row = moving[place]
        block, label, factor = (row - first) // size, labels[row], factor_of(factors, row)
        sums = totals if is_exact else matrix_in(blocks, block * 2 * width, 2, width)
        if is_exact or are_exact[block] > 0:
            add_row(points, row, factor, origin, -1.0, n_features, sums, 1 - label)
            add_row(points, row, factor, origin, 1.0, n_features, sums, label)


@inline
def _list_blocks(first, n_blocks, size, moving, n_moving, is_first, are_exact, flags, listed):
    """List the blocks to add again, or all, and return their number."""
    for block in range(n_blocks):
        flags[block] = is_first
    for place in range(n_moving):
        flags[(moving[place] - first) // size] |= 1 - are_exact[(moving[place] - first) // size]
    n_listed = 0
    for block in range(n_blocks):
        listed[n_listed] = block
        n_listed += flags[block]
    return n_listed


@inline
def _add_blocks(
    points, start, stop, factors, origin, weights, labels, totals, blocks, listed, n_listed
):
    """Add again the rows of listed blocks, and then all blocks in turn, as a plain step does."""
    n_features, weight = points.shape[1], 1.0
    size, width = rows_of_a_block(n_features, origin.itemsize), totals.shape[1]
    for place in range(n_listed):
        first = start + listed[place] * size
        following = start + listed[min(place + 1, n_listed - 1)] * size
        sums = matrix_in(blocks, listed[place] * 2 * width, 2, width)
        clear_totals(sums)
        for row in range(first, min(first + size, stop)):
            if weights.shape[0] > 0:
                weight = np.float64(weights[row])
            # A processor foresees reads up to the end of a page, which long rows soon come to.
            fetch_row(points, following + row - first, n_features)
            factor = factor_of(factors, row)
            add_row(points, row, factor, origin, weight, n_features, sums, labels[row])
    clear_totals(totals)
    for block in range(-(-(stop - start) // size)):
        add_totals(matrix_in(blocks, block * 2 * width, 2, width), totals)


@inline
def _step_rows(
    points,
    flat,
    start,
    stop,
    factors,
    origin,
    middle,
    weights,
    groups,
    biases,
    rows,
    reference,
    planes,
    totals,
    blocks,
    are_exact,
    kept,
    doubtful,
    moving,
    flags,
):
    """Take a step of the task with these rows."""
    n_rows, n_features, is_first = stop - start, points.shape[1], kept[_N_STEPS] == 0.0
    size = rows_of_a_block(n_features, origin.itemsize)
    n_blocks = -(-n_rows // size)
    if is_first:
        kept[_IS_EXACT] = adds_exactly(flat, start, n_rows, start, stop, origin)
        # Products with weights, and float64 rows, have too many digits.
        asks_sums = kept[_IS_EXACT] == 0.0 and origin.itemsize == 4 and weights.shape[0] == 0
        for block in range(n_blocks):
            first = start + block * size
            last = min(first + size, stop)
            are_exact[block] = code_rows(
                points, first, last, factors, origin, middle, rows, asks_sums
            )
    apart, numbers = new_numbers(n_features, origin), new_numbers(N_NUMBERS, np.float64)
    prepare_pair(groups, biases, n_features, apart, numbers)
    length, n_doubtful, n_moving = length_above(apart), n_rows, 0
    kept[_N_PAUSED] -= 1.0
    if kept[_SQ_REFERENCE] > 0.0 and kept[_N_PAUSED] < 0.0:
        bounds = bounds_for(apart, middle, reference, numbers, length, kept[_SQ_REFERENCE])
        n_doubtful, n_moving = find_doubtful(
            *(start, stop, bounds, kept[_SQ_REFERENCE], rows, doubtful, moving, flags)
        )
        is_in_vain = n_doubtful > _MOST_IN_DOUBT * n_rows
        kept[_PAUSE] = min(2.0 * kept[_PAUSE] + 1.0, _LONGEST_PAUSE) if is_in_vain else 0.0
        kept[_N_PAUSED] = kept[_PAUSE]
    if n_doubtful > _MOST_IN_DOUBT * n_rows:
        kept[_SQ_REFERENCE] = keep_reference(apart, length, reference, planes)
        n_doubtful, n_moving = n_rows, 0
        if kept[_SQ_REFERENCE] > 0.0:
            bounds = bounds_for(apart, middle, reference, numbers, length, kept[_SQ_REFERENCE])
            measure_codes(start, stop, coded_width(n_features), planes, rows)
            n_doubtful, n_moving = find_doubtful(
                *(start, stop, bounds, kept[_SQ_REFERENCE], rows, doubtful, moving, flags)
            )
        else:
            for number in range(n_rows):
                doubtful[number] = start + number
    kept[_N_MEASURED] = n_doubtful
    n_moving = _settle_doubtful(
        *(points, factors, origin, groups, biases, apart, numbers, rows.labels),
        *(doubtful, n_doubtful, moving, n_moving),
    )
    is_exact = kept[_IS_EXACT] > 0.0
    for place in range(n_moving):
        rows.labels[moving[place]] = 1 - rows.labels[moving[place]]
    if not is_first:
        _move_rows(
            *(points, factors, origin, start, rows.labels, moving, n_moving),
            *(totals, is_exact, blocks, are_exact),
        )
    if is_first or (n_moving > 0 and not is_exact):
        # Rows are settled: their lists are free.
        n_listed = _list_blocks(
            *(start, n_blocks, size, moving, n_moving, np.uint8(is_first)),
            *(are_exact, flags, doubtful),
        )
        _add_blocks(
            *(points, start, stop, factors, origin, weights, rows.labels, totals, blocks),
            *(doubtful, n_listed),
        )
    kept[_N_STEPS] += 1.0


@compiled(
    *(ROWS, NUMBERS, COUNT, NUMBERS, NUMBERS, NUMBERS, COLUMN),
    *(LABEL_RESULTS, _CODES, LABEL_RESULTS),
    *(RESULTS, RESULTS, RESULTS, RESULTS, RESULTS_32, SUMS, SUMS, FLAGS, SUMS),
    *(ROWS, NUMBER, FLAG, NUMBER, SUMS, RESULTS, RESULTS),
    *(STACKED_TOTALS, STACKED_TOTALS, TOTALS, STACK, TOTALS, INDICES, COUNT),
    returns=types.int64,
)
def _step_tasks(
    points,
    flat,
    n_rows,
    factors,
    origin,
    middle,
    weights,
    labels,
    codes,
    code_sums,
    scales,
    lengths,
    lost,
    products,
    references,
    totals,
    blocks,
    are_exact,
    kept,
    start,
    tol,
    on_sphere,
    most_visited,
    visited,
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
    """Take steps of tasks, of ``n_rows`` rows each, as ``share_steps`` does.

    ``flat`` are the points, if they may add exactly; otherwise it is empty.
    """
    rows = CodedRows(labels, codes, code_sums, scales, lengths, lost, products)
    n_tasks, width = len(slots), slots.shape[2]
    n_numbers, n_summed = len(references) // n_tasks, len(blocks) // n_tasks
    n_blocks = len(are_exact) // n_tasks
    planes, flags = new_numbers(2 * n_numbers, np.uint8), new_numbers(n_rows, np.uint8)
    doubtful = new_numbers(n_rows + ROWS_AT_A_TIME, np.int64)
    moving = new_numbers(n_rows + ROWS_AT_A_TIME, np.int64)
    while True:
        held, may_begin = take_part(shared, n_tasks, len(signals), held)
        if not may_begin:
            return held
        number, task, held = held // n_tasks, held % n_tasks, np.int64(-1)
        first = task * n_rows
        _step_rows(
            *(points, flat, first, min(first + n_rows, len(points))),
            *(factors, origin, middle, weights),
            *(groups, biases, rows, numbers_in(references, task * n_numbers, n_numbers), planes),
            matrix_in(totals, task * 2 * width, 2, width),
            numbers_in(blocks, task * n_summed, n_summed),
            numbers_in(are_exact, task * n_blocks, n_blocks),
            *(numbers_in(kept, task * _N_KEPT, _N_KEPT), doubtful, moving, flags),
        )
        if completes_step(shared, number, n_tasks):
            visited[number] = 0.0
            for each in range(n_tasks):
                visited[number] += kept[each * _N_KEPT + _N_MEASURED]
            _merge_totals(totals, slots)
            is_last = visited[number] > most_visited and kept[_N_STEPS] > 1.0
            end_shared_step(
                *(number, slots, start, tol, on_sphere, groups, biases),
                *(sums, mass, centroids, signals, is_last, shared),
            )


@inline
def _merge_totals(totals, slots):
    """Write the sum of the tasks' totals to the first slot."""
    n_numbers = slots.shape[1] * slots.shape[2]
    for task in range(0, len(slots), 2):
        into = numbers_in(slots, task * n_numbers, n_numbers)
        for place in range(n_numbers):
            into[place] = totals[task * n_numbers + place]
        if task + 1 < len(slots):
            for place in range(n_numbers):
                into[place] += totals[(task + 1) * n_numbers + place]
    merge(slots, len(slots), np.int64(2))


def _middle_of(rows: Dense) -> Floats:
    """Return a point among rows that are measured from zero, and zeros for others.

    Rows of a sphere, and of a leaf of a tree, may all be far from zero.
    """
    if not is_from_zero(rows):
        return np.zeros(rows.n_features, rows.points.dtype)
    some = rows.take(np.linspace(0, rows.n_points - 1, _N_OF_MIDDLE, dtype=np.int64)).points
    middle: Floats = some.mean(axis=0, dtype=np.float64).astype(some.dtype)
    return middle


class _Kept:
    """What the tasks of a run keep; they have the rows of a plain step's tasks."""

    def __init__(self, rows: Dense) -> None:
        n_features, dtype = rows.n_features, rows.points.dtype
        self.rows = rows
        n_tasks = n_step_tasks(rows, 2)
        self.n_rows = rows.n_points
        if n_tasks > 1:
            self.n_rows = rows_of_a_part(rows.n_points, n_tasks, dtype)
        self.n_tasks = -(-rows.n_points // self.n_rows)
        self.of_rows, self.middle = CodedRows.of(rows), _middle_of(rows)
        width, itemsize = total_width(n_features), dtype.itemsize
        n_blocks = -(-self.n_rows // rows_of_a_block.py_func(n_features, itemsize))
        self.totals = zeros_on_a_line(self.n_tasks * 2 * width)
        self.slots = zeros_on_a_line(len(self.totals)).reshape(self.n_tasks, 2, width)
        self.references = np.zeros(self.n_tasks * coded_width.py_func(n_features), np.float32)
        # Untouched memory costs nothing: tasks whose sums are exact write these once.
        self.blocks = numbers_on_a_line(self.n_tasks * n_blocks * 2 * width, self.totals.dtype)
        self.are_exact = np.zeros(self.n_tasks * n_blocks, np.uint8)
        self.kept = np.zeros((self.n_tasks, _N_KEPT))

    def fits(self, rows: Dense) -> bool:
        """Return whether this is of the same rows."""
        return all(mine is given for mine, given in zip(self.rows, rows, strict=True))


def _take(
    rows: Dense,
    centroids: Floats,
    bounds: Bounds,
    n_steps: int,
    tol: float,
    on_sphere: bool,
    most_visited: float,
) -> Any:
    """Take steps, if this is for such rows; return None if it is too early to compile for them."""
    points, (n_clusters, n_features) = rows.points, centroids.shape
    if not are_pairs(n_clusters, n_features, points.dtype) or not is_dense(points):
        return NotImplemented
    if len(points) < ROWS_AT_A_TIME or not has_own_totals(2, n_features) or not can_be_cut(rows):
        return NotImplemented
    if not _step_tasks.pays(points.dtype, 1 + points.size // _NUMBERS_OF_A_USE):
        return None
    kept = bounds.kept
    if not (isinstance(kept, _Kept) and kept.fits(rows)):
        kept = _Kept(rows)
    bounds.forget()  # after an error, sums and labels would belong to different centroids
    dtype = points.dtype
    # Products with weights or factors have more digits than float64 can add without rounding.
    factors = rows.factors if isinstance(rows, SphereRows) else nothing(dtype)
    is_plain = isinstance(rows, DenseRows) and rows.weights is None
    may_be_exact = is_plain and points.flags.c_contiguous
    flat = points.reshape(-1) if may_be_exact else nothing(dtype)
    shape, visited = (n_steps, n_clusters, n_features), np.empty(n_steps)
    sums, new = np.empty(shape), np.empty(shape, dtype)
    mass, signals = np.empty(shape[:2]), np.empty((n_steps, 3))
    operands = (
        *(points, flat, kept.n_rows, factors, origin_of(rows), kept.middle, weights_of(rows)),
        *kept.of_rows,
        *(kept.references, kept.totals, kept.blocks, kept.are_exact, kept.kept.reshape(-1)),
        *(centroids, tol, on_sphere, most_visited, visited),
        *(*Groups.of(np.ascontiguousarray(centroids)), kept.slots, sums, mass, new, signals),
    )
    n_done = shared_by_threads(_step_tasks[dtype], operands, kept.n_tasks)
    bounds.kept, bounds.labels = kept, kept.of_rows.labels
    n_visited = visited[:n_done].astype(int).tolist()
    bounds.n_visited = n_visited[-1]
    totals, update = (
        ClusterTotals(sums[:n_done], mass[:n_done]),
        Update(new[:n_done], signals[:n_done]),
    )
    return BoundedSteps(LloydSteps(totals, update), n_visited)


@override(bounded_step, on_sphere=True)
def reading_few_rows(rows: Dense, centroids: Floats, bounds: Bounds) -> Any:
    """Read rows whose product with the last direction proves no label, and those that move."""
    taken = _take(rows, centroids, bounds, 1, 0.0, False, np.inf)
    if taken is NotImplemented:
        return NotImplemented
    if taken is None:
        return bounded_step.portable(rows, centroids, bounds, xp=namespace_of(centroids))
    (sums,), (mass,) = taken.steps.totals
    return ClusterTotals(sums, mass)


@override(bounded_steps, on_sphere=True)
def reading_few_rows_in_a_call(
    rows: Dense,
    centroids: Floats,
    n_steps: int,
    tol: float,
    update: Callable[..., Update],
    bounds: Bounds,
    most_visited: float,
) -> Any:
    """Take several steps in a call of each thread, if they are short and threads wait awake."""
    n_threads = n_threads_here()
    cost = rows.n_points * step_cost(2, rows.n_features)
    if cost > LONG_STEP or not (n_threads == 1 or wait_awake(n_threads)):
        n_steps = 1
    taken = _take(rows, centroids, bounds, n_steps, tol, update is means_on_sphere, most_visited)
    if taken is None:
        steps = (rows, centroids, n_steps, tol, update, bounds, most_visited)
        return bounded_steps.portable(*steps, xp=namespace_of(centroids))
    return taken
