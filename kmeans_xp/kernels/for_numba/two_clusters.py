"""Labels of two clusters by one score for each row, where that proves the label.

The scores of two centroids are compared by their difference, ``x . (c1 - c0)``, with features in
the lanes of vectors. So rows are not transposed, and two products do instead of four: the second,
``x . x``, bounds the rounding, which is in another order than that of the scores that define a
label. Where the difference is less than the rounding of both, the row gets those scores.
"""

from typing import Any

import numpy as np

from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    FLAG,
    LABEL_RESULTS,
    NUMBERS,
    RESULTS,
    ROWS,
    SUMS,
    TOTALS,
    call_at,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_matrix, new_numbers, numbers_in
from kmeans_xp.kernels.for_numba.emitted.pair_vectors import (
    ROWS_AT_A_TIME,
    add_chosen,
    is_second_nearer,
    measure_pair,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, add_row, panel_rows
from kmeans_xp.kernels.for_numba.tiling import (
    add_totals,
    clear_totals,
    factor_of,
    group_size,
    rows_of_a_block,
)

__all__ = [
    "BASE",
    "LANE_OPERATIONS",
    "LIMIT",
    "N_DONE",
    "N_NUMBERS",
    "ROWS_AT_A_TIME",
    "SHIFT",
    "SLOPE",
    "are_pairs",
    "label_pairs",
    "label_pairs_at",
    "pairs_for",
    "prepare_pair",
]

#: places of a pair's numbers: x.(c1 - c0) + SHIFT is the difference of the scores. It differs from
#: what their own arithmetic gives by at most SLOPE * |x| + BASE, for |x|^2 up to LIMIT. N_DONE rows
#: got labels, until too many were in doubt
SHIFT, SLOPE, BASE, LIMIT, N_DONE, N_NUMBERS = range(6)

#: most features: up to there, a bound of rounding in float32 is far below 1
_MOST_FEATURES = 2**16
#: bytes of rows that are labelled and then added: a block, or a part of it
_PART_BYTES = 2**14
#: rows by other ways that take the time of one in doubt
_ROWS_A_DOUBT = 16
#: makes up for rounding of the bounds themselves
_SLACK = 1.01
#: operations on a lane beside the multiply-adds: the difference, sums of lanes, the shift
LANE_OPERATIONS = 10
_UNIT = (2.0**-24, 2.0**-53)
_LEAST_NORMAL = (2.0**-126, 2.0**-1022)
_GREATEST = (2.0**127, 2.0**1023)


@inline
def prepare_pair(groups, biases, n_features, apart, numbers):
    """Write the difference of two packed centroids, and the numbers of the pair."""
    size, kind = group_size(2), 1 if apart.itemsize == 8 else 0
    unit, least = _UNIT[kind], _LEAST_NORMAL[kind]
    sq_left = sq_right = sq_apart = 0.0
    for feature in range(n_features):
        left, right = groups[feature * size], groups[feature * size + 1]
        apart[feature] = right - left
        sq_left += np.float64(left) * np.float64(left)
        sq_right += np.float64(right) * np.float64(right)
        sq_apart += np.float64(apart[feature]) * np.float64(apart[feature])
    # Squares below normal numbers are lost: lengths are then taken for longer than they are.
    lost = n_features * _LEAST_NORMAL[1]
    length_left, length_right = np.sqrt(sq_left + lost), np.sqrt(sq_right + lost)
    left_bias, right_bias = np.float64(biases[0]), np.float64(biases[1])
    lanes = panel_rows(apart) // 2
    # A score is a chain that rounds once for each feature; without fused multiply-adds, once more.
    # Lanes round more seldom.
    of_scores = (n_features + 2) * unit * (length_left + length_right)
    of_lanes = (n_features // lanes + LANE_OPERATIONS) * unit * np.sqrt(sq_apart + lost)
    slope = _SLACK * (of_scores + of_lanes)
    base = _SLACK * (n_features + 4) * unit * (abs(left_bias) + abs(right_bias))
    # Below normal numbers, products and squares lose more.
    base += slope * np.sqrt(n_features * least) + 8.0 * n_features * least
    numbers[SHIFT], numbers[SLOPE], numbers[BASE] = right_bias - left_bias, slope, base
    # No score overflows if squared lengths stay below this.
    limit = _GREATEST[kind] / 16.0
    is_small = abs(left_bias) + abs(right_bias) < limit
    numbers[LIMIT] = limit if is_small else -1.0


@inline
def _label_measured(products, squares, pair, labels, flags):
    """Write the labels of a part's rows; flag those in doubt, and return their number."""
    shift, slope, base, limit = pair[SHIFT], pair[SLOPE], pair[BASE], pair[LIMIT]
    n_rows, n_doubtful = len(labels), 0
    products = numbers_in(products, ROWS_AT_A_TIME, n_rows)
    squares = numbers_in(squares, ROWS_AT_A_TIME, n_rows)
    # Simple enough that vectors hold several rows.
    for row in range(n_rows):
        difference, sq_length = np.float64(products[row]) + shift, np.float64(squares[row])
        doubt, size = slope * np.sqrt(sq_length) + base, abs(difference)
        # Comparisons with what is not a number are False.
        is_sure = (doubt < size) & (size < np.inf) & (sq_length <= limit)
        labels[row] = difference > 0.0
        flags[row] = not is_sure
        n_doubtful += not is_sure
    return n_doubtful


_PAIRS = (
    *(ROWS, COUNT, COUNT, NUMBERS, COUNT, NUMBERS, COLUMN, NUMBERS, NUMBERS),
    *(FLAG, FLAG, FLAG, RESULTS, SUMS, LABEL_RESULTS, TOTALS),
)
#: Most fits have other numbers of clusters: called by its address, it is compiled for those of two.
label_pairs_at = call_at(*_PAIRS)


@compiled(*_PAIRS)
def label_pairs(
    points,
    first,
    n_rows,
    factors,
    row,
    origin,
    weights,
    groups,
    biases,
    is_first,
    finds_labels,
    adds,
    apart,
    pair,
    labels,
    totals,
):
    """Label rows from ``first`` of points and ``row`` of factors and weights; add them to totals.

    Either is done if it is asked for. The first call writes what it needs of the centroids to
    ``apart`` and ``pair``. Where too many rows are in doubt, other ways are faster: ``pair`` says
    before which row it stopped.
    """
    # One function: with parts of it in functions of their own, a step takes 1.25 of the time.
    n_features, n_in_doubt, weight = points.shape[1], 0, 1.0
    is_plain = factors.shape[0] == 0 and weights.shape[0] == 0
    if is_first:
        prepare_pair(groups, biases, n_features, apart, pair)
    size = block = rows_of_a_block(n_features, points.itemsize)
    while size > ROWS_AT_A_TIME and size * n_features * points.itemsize > _PART_BYTES:
        size //= 2
    size = min(size, n_rows)
    # Allocated once: a part takes only about a microsecond.
    sums = new_matrix(2 * adds, totals.shape[1] if adds else 0, np.float64)
    products = new_numbers(size + ROWS_AT_A_TIME, points)
    squares, flags = new_numbers(size + ROWS_AT_A_TIME, points), new_numbers(size, np.uint8)
    left, right = new_numbers(size, np.int64), new_numbers(size, np.int64)
    # A part stays in the first-level cache until it is added.
    for start in range(0, n_rows, size):
        stop = min(start + size, n_rows)
        if finds_labels:
            for row_here in range(start, stop, ROWS_AT_A_TIME):
                # The last rows are measured with some before them.
                at = min(row_here, stop - ROWS_AT_A_TIME)
                measure_pair(
                    *(points, first + at, factors, row + at, origin, apart, n_features),
                    *(products, squares, at - start + ROWS_AT_A_TIME),
                )
            found = numbers_in(labels, start, stop - start)
            n_doubtful = _label_measured(products, squares, pair, found, flags)
            if n_doubtful > 0:
                n_doubtful = 0
                for number in range(stop - start):
                    left[n_doubtful] = start + number
                    n_doubtful += flags[number]
            n_in_doubt += n_doubtful
            if n_in_doubt * _ROWS_A_DOUBT > n_rows:
                # Labels of half a block come again: its rows are added in one go.
                pair[N_DONE] = start - start % block
                return
            for place in range(n_doubtful):
                number = left[place]
                factor = factor_of(factors, row + number)
                labels[number] = is_second_nearer(
                    points, first + number, factor, origin, groups, biases, n_features
                )
        if adds:
            if start % block == 0:
                clear_totals(sums)
            if is_plain:
                n_left = n_right = 0
                for number in range(start, stop):
                    # No branch: which cluster is hard to foresee.
                    left[n_left] = right[n_right] = first + number
                    n_left += labels[number] == 0
                    n_right += labels[number] != 0
                add_chosen(points, left, n_left, origin, n_features, sums, 0)
                add_chosen(points, right, n_right, origin, n_features, sums, 1)
            else:
                for number in range(start, stop):
                    if weights.shape[0] > 0:
                        weight = np.float64(weights[row + number])
                    factor, label = factor_of(factors, row + number), labels[number]
                    add_row(points, first + number, factor, origin, weight, n_features, sums, label)
            if stop % block == 0 or stop == n_rows:
                add_totals(sums, totals)
    pair[N_DONE] = n_rows


def are_pairs(n_clusters: int, n_features: int, dtype: np.dtype[Any]) -> bool:
    """Return whether two clusters have features to fill the lanes of vectors.

    Steps then add up blocks of rows, and the sums of these: one that changes few labels need not
    read the other blocks.
    """
    return n_clusters == 2 and PANEL[dtype] <= n_features <= _MOST_FEATURES


def pairs_for(n_clusters: int, n_features: int, dtype: np.dtype[Any]) -> int:
    """Return the address of ``label_pairs`` if there are features to fill its lanes; else 0."""
    if not are_pairs(n_clusters, n_features, dtype):
        return 0
    address: int = label_pairs.address(dtype, label_pairs_at)
    return address
