"""Steps of two clusters that read few rows: most labels are proved, and few rows change sums.

Codes of the rows prove most labels (``pair_codes``): they take an eighth or a fourth of the rows'
memory. The products of the codes with an earlier difference of the centroids may do too, without
reading the codes. Rows still in doubt are measured.

Where sums are exact (``exact_sums``), a row that changes its cluster is subtracted from one and
added to the other. Otherwise a task keeps the sums of each block. Those may be exact, as most are
of float32 rows on a sphere. If not, the rows of a block are added again if one of them moves.
"""

from collections.abc import Callable
from typing import Any

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
from kmeans_xp.kernels.for_numba.codes import coded_width, shift_of
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
    add_any_row,
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
    are_same,
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
_PAUSE, _N_PAUSED = range(4, 6)
#: the length of the middle, and a bit more
_FAR, _N_KEPT = range(6, 8)

#: share of rows in doubt from which the reference is replaced: all codes are read for that
_MOST_IN_DOUBT = 0.1
_LONGEST_PAUSE = 7.0
#: the share of a panel from which it takes less time than its rows one by one, as a divisor
_PANEL_OVER_A_ROW = 3
#: rows whose mean is the middle
_N_OF_MIDDLE = 16
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
    n_features, n_unsure = points.shape[1], 0
    found = new_numbers(2 * ROWS_AT_A_TIME, origin)
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
            # No branch: which way is hard to foresee.
            moving[n_moving] = doubtful[n_unsure] = row
            n_moving += is_sure & ((difference > 0.0) != (labels[row] > 0))
            n_unsure += not is_sure
    if n_unsure > 0:
        n_moving = _score_rows(
            *(points, factors, origin, groups, biases, labels),
            *(numbers_in(doubtful, 0, n_unsure), moving, n_moving),
        )
    return n_moving


@inline
def _score_rows(points, factors, origin, groups, biases, labels, chosen, moving, n_moving):
    """Score rows by panels, whose sums hide each other's waits; return how many rows move."""
    n_chosen, n_features, panel = len(chosen), points.shape[1], panel_rows(origin)
    packed, best = new_numbers(panel * n_features, origin), new_numbers(panel, origin)
    own_factors, found = new_numbers(panel, origin), new_numbers(panel, np.int32)
    for first in range(0, n_chosen, panel):
        n_rows = min(panel, n_chosen - first)
        for number in range(n_rows):
            own_factors[number] = factor_of(factors, chosen[first + number])
        if n_rows * _PANEL_OVER_A_ROW < panel:
            for number in range(n_rows):
                row, factor = chosen[first + number], own_factors[number]
                found[number] = is_second_nearer(
                    points, row, factor, origin, groups, biases, n_features
                )
        else:
            here = numbers_in(chosen, first, n_rows)
            theirs = numbers_in(own_factors, 0, n_rows if factors.shape[0] > 0 else 0)
            pack_chosen(points, here, 0, n_rows, theirs, origin, n_features, packed, 0)
            label_panels(packed, n_rows, n_features, groups, biases, 2, best, found)
        for number in range(n_rows):
            row = moving[n_moving] = chosen[first + number]
            n_moving += found[number] != labels[row]
    return n_moving


@inline
def _move_rows(
    points,
    factors,
    origin,
    first,
    size,
    labels,
    moving,
    n_moving,
    totals,
    is_exact,
    blocks,
    are_exact,
    flags,
):
    """Subtract rows from one cluster and add them to the other, where that is exact.

    Where it is not, flag their blocks of ``size`` rows.
    """
    n_features, width = points.shape[1], totals.shape[1]
    # Not one loop that chooses sums: references to arrays would be counted for each row.
    if is_exact:
        for place in range(n_moving):
            row = moving[place]
            before, label = 1 - labels[row], labels[row]
            add_any_row(points, row, factors, origin, -1.0, n_features, totals, before)
            add_any_row(points, row, factors, origin, 1.0, n_features, totals, label)
    else:
        for place in range(n_moving):
            row, block = moving[place], (moving[place] - first) // size
            flags[block] = 1 - are_exact[block]
            if are_exact[block] > 0:
                sums = matrix_in(blocks, block * 2 * width, 2, width)
                before, label = 1 - labels[row], labels[row]
                add_any_row(points, row, factors, origin, -1.0, n_features, sums, before)
                add_any_row(points, row, factors, origin, 1.0, n_features, sums, label)


@inline
def _list_blocks(n_blocks, flags, listed):
    """List the blocks with a flag, and return their number."""
    n_listed = 0
    for block in range(n_blocks):
        listed[n_listed] = block
        n_listed += flags[block]
    return n_listed


@inline
def _add_blocks(
    points, start, stop, size, factors, origin, weights, labels, totals, blocks, listed, n_listed
):
    """Add again the rows of listed blocks, and then all blocks in turn, as a plain step does."""
    n_features, weight, width = points.shape[1], 1.0, totals.shape[1]
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
            add_any_row(points, row, factors, origin, weight, n_features, sums, labels[row])
    clear_totals(totals)
    for block in range(-(-(stop - start) // size)):
        add_totals(matrix_in(blocks, block * 2 * width, 2, width), totals)


@inline
def _step_rows(
    points,
    flat,
    start,
    stop,
    size,
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
    if is_first:
        kept[_IS_EXACT] = adds_exactly(flat, start, n_rows, start, stop, origin)
        # Products with weights, and float64 rows, have too many digits.
        asks_sums = kept[_IS_EXACT] == 0.0 and origin.itemsize == 4 and weights.shape[0] == 0
        n_coded = size if asks_sums else n_rows
        for first in range(start, stop, n_coded):
            last = min(first + n_coded, stop)
            are_exact[(first - start) // size] = code_rows(
                points, first, last, factors, origin, middle, rows, asks_sums
            )
    apart, numbers = new_numbers(n_features, origin), new_numbers(N_NUMBERS, np.float64)
    prepare_pair(groups, biases, n_features, apart, numbers)
    length, n_doubtful, n_moving = length_above(apart), n_rows, 0
    kept[_N_PAUSED] -= 1.0
    if kept[_SQ_REFERENCE] > 0.0 and kept[_N_PAUSED] < 0.0:
        bounds = bounds_for(
            *(apart, middle, kept[_FAR], reference, numbers, length, kept[_SQ_REFERENCE])
        )
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
            bounds = bounds_for(
                *(apart, middle, kept[_FAR], reference, numbers, length, kept[_SQ_REFERENCE])
            )
            measure_codes(start, stop, coded_width(n_features), planes, rows)
            n_doubtful, n_moving = find_doubtful(
                *(start, stop, bounds, kept[_SQ_REFERENCE], rows, doubtful, moving, flags)
            )
        else:
            for number in range(n_rows):
                doubtful[number] = start + number
    kept[_N_MEASURED] = n_doubtful
    if n_doubtful > 0:
        n_moving = _settle_doubtful(
            *(points, factors, origin, groups, biases, apart, numbers, rows.labels),
            *(doubtful, n_doubtful, moving, n_moving),
        )
    is_exact, n_blocks = kept[_IS_EXACT] > 0.0, -(-n_rows // size)
    for place in range(n_moving):
        rows.labels[moving[place]] = 1 - rows.labels[moving[place]]
    if is_first or not is_exact:
        for block in range(n_blocks):
            flags[block] = is_first
    if n_moving > 0 and not is_first:
        _move_rows(
            *(points, factors, origin, start, size, rows.labels, moving, n_moving),
            *(totals, is_exact, blocks, are_exact, flags),
        )
    if is_first or (n_moving > 0 and not is_exact):
        # Rows are settled: their lists are free.
        n_listed = _list_blocks(n_blocks, flags, doubtful)
        _add_blocks(
            *(points, start, stop, size, factors, origin, weights, rows.labels, totals, blocks),
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
    size = rows_of_a_block(points.shape[1], origin.itemsize)
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
            *(points, flat, first, min(first + n_rows, len(points)), size),
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
    """Return a point among rows that all lie far from zero, and zeros for others.

    Rows of a sphere may, and those of a leaf of a tree. Others are measured from their mean.
    """
    if not is_from_zero(rows):
        return np.zeros(rows.n_features, rows.points.dtype)
    some = np.linspace(0, rows.n_points - 1, _N_OF_MIDDLE, dtype=np.int64)
    return shift_of(rows.take(some).points)


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
        far = np.sqrt(np.square(self.middle, dtype=np.float64).sum())
        self.kept[:, _FAR] = far * (1.0 + n_features * 2.0**-52)


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
    if not (isinstance(kept, _Kept) and are_same(kept.rows, rows)):
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
