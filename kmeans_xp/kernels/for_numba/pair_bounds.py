"""Steps of two clusters that read few rows: most labels are proved, and few rows change sums.

The label of a row x is the sign of ``x . (c1 - c0)``, up to a constant. Each task keeps that
product of its rows for one direction e, the *reference*. For other centroids, ``c1 - c0`` is
``a e + r``, where r is orthogonal to e. So ``x . r``, the only unknown part, is at most ``|r|``
times the length of x across e. Lengths are measured from the mean of the task's rows. Where that
proves no label, the row is measured. If too many rows are in doubt, all of them are measured, and
the difference of the centroids is the new reference.

Sums in float64 of float32 numbers are exact where all are multiples of a number that is not too
small. Then the order of additions changes no bit, and a row that changes its cluster is subtracted
from one and added to the other. Otherwise a task in which a row moves adds all rows again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.assignment import (
    Groups,
    has_own_totals,
    n_step_tasks,
    split_totals,
)
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    INDICES,
    LABEL_RESULTS,
    NUMBERS,
    RESULTS,
    ROWS,
    SUMS,
    TOTALS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers, numbers_in
from kmeans_xp.kernels.for_numba.emitted.pair_vectors import (
    is_second_nearer,
    measure_chosen,
    measure_pair,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import add_row, panel_rows, total_width
from kmeans_xp.kernels.for_numba.tiling import (
    Floats,
    in_parts,
    is_dense,
    nothing,
    numbers_on_a_line,
    origin_of,
    override,
    weights_of,
    zeros_on_a_line,
)
from kmeans_xp.kernels.for_numba.two_clusters import (
    BASE,
    LANE_OPERATIONS,
    LIMIT,
    N_NUMBERS,
    ROWS_AT_A_TIME,
    SHIFT,
    SLOPE,
    are_pairs,
    prepare_pair,
)
from kmeans_xp.kernels.portable.bounds import Bounds, bounded_step
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.trees import merged_in_tree

__all__: list[str] = []

#: numbers that a task keeps: its steps so far; 1.0 where its sums are exact, and where it has a
#: reference; the squared length of that; the rows that its last step measured
_N_STEPS, _IS_EXACT, _HAS_REFERENCE, _SQ_REFERENCE, _N_MEASURED, _N_KEPT = range(6)

#: share of rows in doubt from which all rows are measured: they are read in the order of memory
_MOST_IN_DOUBT = 0.4
#: rows that are added in float32; from the first of them a task estimates its sums, to choose the
#: unit that all numbers must be multiples of
_N_FIRST = 32
#: bits by which sums may exceed that estimate
_MORE_BITS = 2
#: limits of a feature's sum: outside, units leave the range of normal numbers
_LEAST_SUM, _GREATEST_SUM = 2.0**-40, 2.0**80
_UNIT = (2.0**-24, 2.0**-53)
_LEAST_NORMAL = (2.0**-126, 2.0**-1022)
#: makes up for rounding of the bounds themselves
_SLACK = 1.0 + 2.0**-20
#: of a residual that is computed in float64
_RESIDUAL = 2.0**-40


@inline
def _power_above(number):
    """Return a power of two, at least the number and at most twice as large."""
    power = 1.0
    while power < number:
        power *= 2.0
    while power * 0.5 >= number:
        power *= 0.5
    return power


@inline
def _adds_exactly(numbers, start, stop, origin):
    """Return whether float64 sums of any of the rows are exact, in any order.

    ``numbers`` are those of all rows; there are none where that is not known.
    """
    n_features, kind = len(origin), origin.dtype.type
    if numbers.shape[0] == 0 or origin.itemsize == 8:
        return False
    sums, some = np.zeros(n_features), np.zeros(n_features, origin.dtype)
    scales, lost = new_numbers(n_features, origin), np.zeros(n_features, origin.dtype)
    n_first, zero = min(_N_FIRST, stop - start), kind(0.0)
    for row in range(start, start + n_first):
        here = numbers_in(numbers, row * n_features, n_features)
        for feature in range(n_features):
            some[feature] += abs(here[feature] - origin[feature])
    for feature in range(n_features):
        estimate = np.float64(some[feature]) * (stop - start) / n_first
        estimate = min(max(estimate, _LEAST_SUM), _GREATEST_SUM)
        # Below this scale, adding it rounds a number to a multiple of the unit: 2**-23 of it.
        scales[feature] = kind(_power_above(estimate) * 2.0 ** (_MORE_BITS - 52 + 23))
        some[feature] = zero
    for first in range(start, stop, _N_FIRST):
        for row in range(first, min(first + _N_FIRST, stop)):
            here = numbers_in(numbers, row * n_features, n_features)
            for feature in range(n_features):
                number, scale = abs(here[feature] - origin[feature]), scales[feature]
                # Of a number that is not one, the comparison is False.
                lost[feature] += zero if number >= scale else abs((number + scale) - scale - number)
                some[feature] += number
        for feature in range(n_features):
            sums[feature] += np.float64(some[feature])
            some[feature] = zero
    are_exact = True
    for feature in range(n_features):
        # No sum of some rows is greater than that of all absolute numbers. That is rounded, but
        # by less than the bit that is left.
        unit = np.float64(scales[feature]) * 2.0**-23
        are_exact &= (lost[feature] == zero) & (sums[feature] <= unit * 2.0**52)
    return are_exact


@inline
def _residual_of(n_features):
    """Return a bound of the rounding of two sums in float64 and their quotient."""
    return max(_RESIDUAL, 4.0 * n_features * 2.0**-53)


@inline
def _from_the_mean(numbers, apart, about, origin):
    """Change the numbers of a pair to those of rows that are measured from ``about``."""
    kind = 1 if origin.itemsize == 8 else 0
    unit, product, sq_moved, sq_apart = _UNIT[kind], 0.0, 0.0, 0.0
    for feature in range(len(apart)):
        step = np.float64(about[feature]) - np.float64(origin[feature])
        product += step * np.float64(apart[feature])
        sq_moved += step * step
        sq_apart += np.float64(apart[feature]) * np.float64(apart[feature])
    lost, residual = len(apart) * _LEAST_NORMAL[1], _residual_of(len(apart))
    moved, length = np.sqrt(sq_moved + lost), np.sqrt(sq_apart + lost)
    # The row less the origin, and the row less the mean, are both rounded.
    numbers[SHIFT] += product
    numbers[SLOPE] = _SLACK * (numbers[SLOPE] + 2.1 * unit * length)
    numbers[BASE] += _SLACK * (numbers[SLOPE] + residual * length) * moved
    # Both squared lengths stay below the limit.
    numbers[LIMIT] = min(numbers[LIMIT], numbers[LIMIT] / 4.0 - sq_moved)
    return length


@inline
def _measure_all(points, start, stop, about, apart, products, sq_lengths):
    """Write products and squared lengths of all rows of a task."""
    n_features, none = points.shape[1], new_numbers(0, about)
    found, row = new_numbers(2 * ROWS_AT_A_TIME, about), start
    while row < stop:
        # The last rows are measured with some before them.
        first = min(row, stop - ROWS_AT_A_TIME)
        measure_pair(points, first, none, 0, about, apart, n_features, found)
        for number in range(row - first, ROWS_AT_A_TIME):
            products[first + number - start] = found[number]
            sq_lengths[first + number - start] = found[ROWS_AT_A_TIME + number]
        row = first + ROWS_AT_A_TIME


@inline
def _keep_reference(apart, reference, products, lengths, across, kept):
    """Make the difference of the centroids the reference; ``lengths`` are squared before."""
    n_features, kind, sq_reference = len(apart), 1 if apart.itemsize == 8 else 0, 0.0
    for feature in range(n_features):
        reference[feature] = apart[feature]
        sq_reference += np.float64(apart[feature]) * np.float64(apart[feature])
    loss = _SLACK * (n_features // (panel_rows(apart) // 2) + LANE_OPERATIONS) * _UNIT[kind]
    least, inverse = 2.0 * n_features * _LEAST_NORMAL[kind], 1.0 / np.sqrt(sq_reference)
    lost = least * inverse  # products below normal numbers
    for row in range(len(products)):
        sq_length = np.float64(lengths[row]) * (1.0 + 2.0 * loss) + least
        length = np.sqrt(sq_length)
        # The least part of the length that lies along the reference.
        share = abs(np.float64(products[row])) * inverse - _SLACK * loss * length - lost
        share = max(share, 0.0)
        rest = max(sq_length - share * share, 0.0) + _RESIDUAL * sq_length
        lengths[row], across[row] = length * _SLACK, np.sqrt(rest) * _SLACK
    kept[_SQ_REFERENCE] = sq_reference
    # A direction of length 0, or not of a number, is no reference.
    kept[_HAS_REFERENCE] = 2.0**-900 < sq_reference < np.inf


@inline
def _find_doubtful(
    apart, reference, numbers, length, labels, products, lengths, across, kept, doubtful, moving
):
    """List the rows in doubt, and those that move without one; return how many there are."""
    n_features, kind, along, sq_rest = len(apart), 1 if apart.itemsize == 8 else 0, 0.0, 0.0
    for feature in range(n_features):
        along += np.float64(apart[feature]) * np.float64(reference[feature])
    along /= kept[_SQ_REFERENCE]
    for feature in range(n_features):
        part = np.float64(apart[feature]) - along * np.float64(reference[feature])
        sq_rest += part * part
    scale = abs(along) * np.sqrt(kept[_SQ_REFERENCE])
    rest = _SLACK * np.sqrt(sq_rest + n_features * _LEAST_NORMAL[1])
    n_operations = n_features // (panel_rows(apart) // 2) + LANE_OPERATIONS
    of_product = n_operations * _UNIT[kind] * scale + _residual_of(n_features) * (length + scale)
    slope = _SLACK * (numbers[SLOPE] + of_product)
    base = numbers[BASE] + 8.0 * n_features * _LEAST_NORMAL[kind] * (1.0 + abs(along))
    shift, most = numbers[SHIFT], np.sqrt(max(numbers[LIMIT], 0.0)) * kept[_HAS_REFERENCE]
    n_doubtful = n_moving = 0
    for row in range(len(labels)):
        size = np.float64(lengths[row])
        difference = along * np.float64(products[row]) + shift
        doubt = rest * np.float64(across[row]) + slope * size + base
        # Comparisons with what is not a number are False. No branch: which way is hard to foresee.
        is_sure = (doubt < abs(difference)) & (abs(difference) < np.inf) & (size < most)
        doubtful[n_doubtful] = moving[n_moving] = row
        n_doubtful += not is_sure
        n_moving += is_sure & ((difference > 0.0) != (labels[row] > 0))
    return n_doubtful, n_moving


@inline
def _settle_doubtful(
    points,
    start,
    origin,
    groups,
    biases,
    about,
    apart,
    numbers,
    labels,
    doubtful,
    n_doubtful,
    moving,
    n_moving,
    are_measured,
):
    """Measure rows in doubt, or score them where that was in vain; return how many rows move."""
    n_features, one = points.shape[1], origin.dtype.type(1)
    found = new_numbers(2 * ROWS_AT_A_TIME, origin)
    for place in range(n_doubtful):
        doubtful[place] += start
    for place in range(n_doubtful, -(-n_doubtful // ROWS_AT_A_TIME) * ROWS_AT_A_TIME):
        doubtful[place] = doubtful[n_doubtful - 1]
    for place in range(0, n_doubtful, ROWS_AT_A_TIME):
        if not are_measured:
            measure_chosen(points, doubtful, place, about, apart, n_features, found)
        for number in range(min(ROWS_AT_A_TIME, n_doubtful - place)):
            row = doubtful[place + number]
            difference = np.float64(found[number]) + numbers[SHIFT]
            sq_length = np.float64(found[ROWS_AT_A_TIME + number])
            doubt = numbers[SLOPE] * np.sqrt(sq_length) + numbers[BASE]
            is_sure = doubt < abs(difference) < np.inf and sq_length <= numbers[LIMIT]
            is_second = difference > 0.0
            if are_measured or not is_sure:
                is_second = is_second_nearer(points, row, one, origin, groups, biases, n_features)
            moving[n_moving] = row - start
            n_moving += is_second != (labels[row - start] > 0)
    return n_moving


@inline
def _move_rows(points, start, origin, labels, moving, n_moving, totals, changes_totals):
    """Give rows their other label, and subtract them from one cluster and add them to the other."""
    one, n_features = origin.dtype.type(1), points.shape[1]
    for place in range(n_moving):
        before = labels[moving[place]]
        labels[moving[place]] = 1 - before
        if changes_totals:
            row = start + moving[place]
            add_row(points, row, one, origin, -1.0, n_features, totals, before)
            add_row(points, row, one, origin, 1.0, n_features, totals, 1 - before)


@inline
def _add_again(points, start, stop, origin, weights, labels, totals):
    """Add all rows in their order, as a plain step does."""
    n_features, weight, one = points.shape[1], 1.0, origin.dtype.type(1)
    for cluster in range(2):
        for column in range(totals.shape[1]):
            totals[cluster, column] = 0.0
    for row in range(start, stop):
        if weights.shape[0] > 0:
            weight = np.float64(weights[row])
        add_row(points, row, one, origin, weight, n_features, totals, labels[row - start])


@compiled(
    *(ROWS, NUMBERS, COUNT, COUNT, NUMBERS, COLUMN, NUMBERS, NUMBERS, RESULTS, RESULTS),
    *(LABEL_RESULTS, RESULTS, RESULTS, RESULTS, INDICES, INDICES, TOTALS, SUMS),
)
def _step_rows(
    points,
    flat,
    start,
    stop,
    origin,
    weights,
    groups,
    biases,
    about,
    reference,
    labels,
    products,
    lengths,
    across,
    doubtful,
    moving,
    totals,
    kept,
):
    """Take a step of the task with these rows; all arrays after ``biases`` are its own.

    ``flat`` are the points, if they may add exactly; otherwise it is empty.
    """
    n_rows, n_features, is_first = stop - start, points.shape[1], kept[_N_STEPS] == 0.0
    if is_first:
        kept[_IS_EXACT] = _adds_exactly(flat, start, stop, origin)
    apart, numbers = new_numbers(n_features, origin), new_numbers(N_NUMBERS, np.float64)
    prepare_pair(groups, biases, n_features, apart, numbers)
    length = _from_the_mean(numbers, apart, about, origin)
    n_doubtful, n_moving, are_measured = n_rows, 0, False
    if kept[_HAS_REFERENCE] > 0.0:
        n_doubtful, n_moving = _find_doubtful(
            *(apart, reference, numbers, length, labels, products, lengths, across, kept),
            *(doubtful, moving),
        )
    kept[_N_MEASURED] = n_doubtful
    if n_doubtful > _MOST_IN_DOUBT * n_rows:
        _measure_all(points, start, stop, about, apart, products, lengths)
        _keep_reference(apart, reference, products, lengths, across, kept)
        n_doubtful, n_moving = _find_doubtful(
            *(apart, reference, numbers, length, labels, products, lengths, across, kept),
            *(doubtful, moving),
        )
        kept[_N_MEASURED], are_measured = n_rows, True
    n_moving = _settle_doubtful(
        *(points, start, origin, groups, biases, about, apart, numbers, labels),
        *(doubtful, n_doubtful, moving, n_moving, are_measured),
    )
    is_exact = kept[_IS_EXACT] > 0.0
    _move_rows(points, start, origin, labels, moving, n_moving, totals, is_exact and not is_first)
    if is_first or (n_moving > 0 and not is_exact):
        _add_again(points, start, stop, origin, weights, labels, totals)
    mass = totals[0, n_features] + totals[1, n_features]
    if is_first and mass > 0.0:
        # From now on rows are measured from their mean: that needs other products.
        for feature in range(n_features):
            mean = (totals[0, feature] + totals[1, feature]) / mass
            about[feature] = np.float64(origin[feature]) + mean
        kept[_HAS_REFERENCE] = 0.0
    kept[_N_STEPS] += 1.0


class _Kept:
    """What the tasks of a run keep; they have the rows of a plain step's tasks."""

    def __init__(self, rows: DenseRows) -> None:
        dtype, n_points = rows.points.dtype, rows.n_points
        self.rows = rows
        self.n_tasks = n_step_tasks(rows, 2)
        self.labels = np.zeros(n_points, np.int32)
        self.products, self.lengths, self.across = np.empty((3, n_points), dtype)
        self.tasks: dict[int, tuple[NDArray[Any], ...]] = {}

    def fits(self, rows: DenseRows) -> bool:
        """Return whether this is of the same rows."""
        return all(mine is given for mine, given in zip(self.rows, rows, strict=True))

    def task(self, start: int, stop: int) -> tuple[NDArray[Any], ...]:
        """Return the arrays of the task with these rows."""
        if start not in self.tasks:
            n_features, dtype = self.rows.n_features, self.rows.points.dtype
            width, mine = total_width(n_features), slice(start, stop)
            reference = numbers_on_a_line(n_features, dtype)
            self.tasks[start] = (
                *(origin_of(self.rows).copy(), reference, self.labels[mine]),
                *(self.products[mine], self.lengths[mine], self.across[mine]),
                *np.empty((2, stop - start + ROWS_AT_A_TIME), np.int64),
                zeros_on_a_line(2 * width).reshape(2, width),
                np.zeros(_N_KEPT),
            )
        return self.tasks[start]


@override(bounded_step)
def reading_few_rows(rows: DenseRows, centroids: Floats, bounds: Bounds) -> Any:
    """Read rows whose product with the last direction proves no label, and those that move."""
    points = rows.points
    if not are_pairs(len(centroids), rows.n_features, points.dtype) or not is_dense(points):
        return NotImplemented
    if len(points) < ROWS_AT_A_TIME or not has_own_totals(2, rows.n_features):
        return NotImplemented
    kept = bounds.kept
    if not (isinstance(kept, _Kept) and kept.fits(rows)):
        kept = _Kept(rows)
    bounds.forget()  # after an error, sums and labels would belong to different centroids
    shared = (origin_of(rows), weights_of(rows), *Groups.of(np.ascontiguousarray(centroids)))
    dtype = points.dtype
    # Products with weights have more digits than float64 can add without rounding.
    may_be_exact = rows.weights is None and points.flags.c_contiguous
    flat = points.reshape(-1) if may_be_exact else nothing(dtype)

    def step(start: int, stop: int) -> Floats:
        task = kept.task(start, stop)
        _step_rows[dtype](points, flat, start, stop, *shared, *task)
        return task[-2]

    parts = in_parts(step, len(points), kept.n_tasks, dtype)
    bounds.kept, bounds.labels = kept, kept.labels
    bounds.n_visited = sum(int(task[-1][_N_MEASURED]) for task in kept.tasks.values())
    merged = parts[0].copy() if len(parts) == 1 else merged_in_tree(parts)
    return split_totals(merged, rows.n_features)
