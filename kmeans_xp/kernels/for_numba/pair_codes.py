"""What the codes of rows prove of two clusters: labels that are sure, and rows in doubt.

Rows are coded as bytes: ``x = scale * code + lost``. Products of the codes with one direction, the
*reference*, are kept. For two centroids, ``c1 - c0`` is ``a e + r``, where e is the reference, and
r is orthogonal to it. So ``x . r`` is at most ``|r|`` times the length of x across e, and ``x . e``
is known up to ``|lost| |e|``.
"""

from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.kernels.for_numba.codes import (
    MOST_ROW_CODE,
    UP,
    coded_width,
    length_of,
    lost_squares,
)
from kmeans_xp.kernels.for_numba.compiled import inline
from kmeans_xp.kernels.for_numba.emitted.code_vectors import (
    CENTRE,
    PLANE_ROWS,
    centre_row,
    code_row,
    least_number,
    measure_planes,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers, numbers_in
from kmeans_xp.kernels.for_numba.tiling import LABEL, Dense, factor_of, zeros_on_a_line
from kmeans_xp.kernels.for_numba.two_clusters import BASE, LIMIT, SHIFT, SLOPE

__all__ = [
    "CodedRows",
    "bounds_for",
    "code_rows",
    "find_doubtful",
    "keep_reference",
    "length_above",
    "measure_codes",
]

#: a reference has whole numbers up to the most, in two planes of unsigned bytes
_PLANE, _MOST_NUMBER = 2 * CENTRE, 2 * CENTRE**2 - 1
_UNIT = (2.0**-24, 2.0**-53)
_LEAST_NORMAL = (2.0**-126, 2.0**-1022)
#: makes up for rounding of the bounds themselves
_SLACK = 1.0 + 2.0**-20
#: Multiples of u have exact sums in float64 up to 2^53 u, and a number whose last bit is u is below
#: 2^24 u: the number over the greatest sum. One bit is left, for rounding.
_BITS_MORE = 2.0 ** (24 - 53 + 1)
#: of a residual that is computed in float64
_RESIDUAL = 2.0**-40


class CodedRows(NamedTuple):
    """What is kept of each row: its label, codes, bounds, and product with the reference."""

    labels: Any
    codes: Any
    sums: Any
    scales: Any
    lengths: Any
    lost: Any
    products: Any

    @classmethod
    def of(cls, rows: Dense) -> "CodedRows":
        """Return room for rows, and for the last group of them."""
        dtype, labels = rows.points.dtype, zeros_on_a_line(rows.n_points, LABEL)
        n_points = rows.n_points + PLANE_ROWS
        codes = np.empty(n_points * coded_width.py_func(rows.n_features), np.int8)
        sums = np.empty(n_points, np.int32)
        return cls(labels, codes, sums, *np.empty((4, n_points), dtype))


@inline
def _residual_of(n_features):
    """Return a bound of the rounding of two sums in float64 and their quotient."""
    return max(_RESIDUAL, 4.0 * n_features * 2.0**-53)


@inline
def length_above(numbers):
    """Return the length of numbers, and a bit more, which squares may have lost."""
    squares = 0.0
    for number in numbers:
        squares += np.float64(number) * np.float64(number)
    return np.sqrt(squares + len(numbers) * _LEAST_NORMAL[1])


@inline
def code_rows(points, start, stop, factors, origin, middle, rows, asks_sums):
    """Write the codes of rows, their scales, and bounds of their lengths and of what is lost.

    They are of rows less the origin or the middle, one of which is 0. Return whether float64 sums
    of any of them are exact, in any order; False if not asked.
    """
    n_features, dtype, one = points.shape[1], origin.dtype.type, origin.dtype.type(1)
    unit, width = _UNIT[1 if origin.itemsize == 8 else 0], coded_width(n_features)
    centred, sums = new_numbers(width, origin), new_numbers(3, origin)
    centre = new_numbers(n_features, origin)
    for feature in range(n_features):
        centre[feature] = origin[feature] + middle[feature]
    tiny, most_code = lost_squares(centred), dtype(MOST_ROW_CODE)
    greatest, least, are_numbers = 0.0, np.inf, asks_sums
    for row in range(start, stop):
        if asks_sums:
            factor = factor_of(factors, row)
            most = centre_row(points, row, factor, origin, n_features, centred, 0)
            greatest = max(greatest, np.float64(most))
            least = min(least, np.float64(least_number(centred, n_features)))
        # Two calls, because compilers leave out what multiplies by 1.
        if factors.shape[0] > 0:
            most = centre_row(points, row, factors[row], centre, n_features, centred, 0)
        else:
            most = centre_row(points, row, one, centre, n_features, centred, 0)
        scale = dtype(most / most_code)
        code_row(
            *(centred, 0, n_features, scale, dtype(one / scale), most_code),
            *(rows.codes, row * width, sums),
        )
        lost = length_of(sums[0], tiny, 1.0)
        length = np.float64(scale) * length_of(sums[1], 0.0, 1.0) + lost
        # Without fused multiply-adds, what is left is rounded twice; so is the middle's difference.
        lost += 5.0 * unit * length
        rows.scales[row], rows.lengths[row], rows.lost[row] = scale, length * UP, lost * UP
        rows.sums[row] = np.int64(sums[2])
        are_numbers &= length < np.inf
    # All are multiples of the least one's last bit, and no sum has more bits than float64.
    return are_numbers and (stop - start) * greatest * _BITS_MORE <= least


@inline
def keep_reference(apart, length, reference, planes):
    """Make the direction of ``apart`` the reference, and write its planes; return its square.

    That is 0 where ``apart`` has no direction.
    """
    most, width, sq_reference = 0.0, coded_width(len(apart)), 0.0
    for number in apart:
        most = max(most, abs(np.float64(number)))
    # Comparisons with what is not a number are False.
    has_direction = (most > 0.0) & (length < np.inf)
    for place in range(2 * width):
        planes[place] = 0
    for feature in range(len(apart)):
        number = np.float64(apart[feature]) / most * _MOST_NUMBER if has_direction else 0.0
        number = np.rint(number)
        reference[feature] = number
        sq_reference += number * number
        unsigned = np.int64(number) + _MOST_NUMBER + 1
        planes[feature], planes[width + feature] = unsigned // _PLANE, unsigned % _PLANE
    return sq_reference


@inline
def bounds_for(apart, middle, far, reference, numbers, length, sq_reference):
    """Return what bounds the doubt about a row, and the part of ``apart`` along the reference.

    The doubt is ``rest`` times the length of the row across the reference, ``scale`` times what its
    codes lose, ``slope`` times its length, and ``base``. Lengths are of rows less the middle, up to
    ``most``; the middle is ``far`` from zero. ``shift`` is the difference of its scores.
    """
    n_features, kind, along, sq_rest = len(apart), 1 if apart.itemsize == 8 else 0, 0.0, 0.0
    for feature in range(n_features):
        along += np.float64(apart[feature]) * np.float64(reference[feature])
    along /= sq_reference
    for feature in range(n_features):
        part = np.float64(apart[feature]) - along * np.float64(reference[feature])
        sq_rest += part * part
    scale = _SLACK * abs(along) * np.sqrt(sq_reference)
    rest = _SLACK * np.sqrt(sq_rest + n_features * _LEAST_NORMAL[1])
    # Products with the reference are rounded as they are kept.
    slope = numbers[SLOPE] + 2.0 * _UNIT[kind] * scale + _residual_of(n_features) * (length + scale)
    base = numbers[BASE] + 8.0 * n_features * _LEAST_NORMAL[kind] * (1.0 + abs(along))
    shift = numbers[SHIFT]
    if far > 0.0:
        for feature in range(n_features):
            shift += np.float64(middle[feature]) * np.float64(apart[feature])
    # A row is as long as it is less the middle, and as that is far. The slope bounds rounding of
    # the middle's product too.
    most = np.sqrt(max(numbers[LIMIT], 0.0)) - far
    return along, rest, scale, _SLACK * slope, _SLACK * (base + slope * far), shift, most


@inline
def measure_codes(start, stop, width, planes, rows):
    """Keep the products of coded rows and the reference."""
    for row in range(start, stop, PLANE_ROWS):
        measure_planes(rows.products, rows.codes, row, width, rows.scales, rows.sums, planes)


@inline
def find_doubtful(start, stop, bounds, sq_reference, rows, doubtful, moving, flags):
    """List the rows in doubt, and those that move without one; return how many there are.

    ``bounds`` are those of ``bounds_for``; ``flags`` is scratch with a byte for each row.
    """
    along, rest, scale, slope, base, shift, most = bounds
    n_rows, inverse, n_doubtful, n_moving = stop - start, 1.0 / np.sqrt(sq_reference), 0, 0
    lengths, losts = numbers_in(rows.lengths, start, n_rows), numbers_in(rows.lost, start, n_rows)
    products = numbers_in(rows.products, start, n_rows)
    labels = numbers_in(rows.labels, start, n_rows)
    # The lists have a loop of their own, so that vectors hold several rows here.
    for row in range(n_rows):
        size, lost = np.float64(lengths[row]), np.float64(losts[row])
        product = np.float64(products[row])
        # The least part of the length that lies along the reference.
        share = max(abs(product) * inverse - _SLACK * (lost + 2.0 * _UNIT[0] * size), 0.0)
        across = np.sqrt(max(size * size * (1.0 + _RESIDUAL) - share * share, 0.0))
        difference = along * product + shift
        doubt = rest * across + scale * lost + slope * size + base
        # Comparisons with what is not a number are False.
        is_sure = (doubt < abs(difference)) & (abs(difference) < np.inf) & (size < most)
        moves = (difference > 0.0) != (labels[row] > 0)
        flags[row] = np.uint8(not is_sure) + np.uint8(2) * np.uint8(is_sure & moves)
    for row in range(n_rows):
        # No branch: which way is hard to foresee.
        doubtful[n_doubtful] = moving[n_moving] = start + row
        n_doubtful += flags[row] & 1
        n_moving += flags[row] >> 1
    return n_doubtful, n_moving
