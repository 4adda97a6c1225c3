"""Whether sums of rows in float64 are exact, so that the order of additions changes no bit."""

import numpy as np

from kmeans_xp.kernels.for_numba.compiled import inline
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers, numbers_in

__all__ = ["adds_exactly"]

#: rows that are added in float32; from the first of them each part estimates the sums of all, to
#: choose the unit that all numbers must be multiples of
_N_FIRST = 32
#: bits by which sums may exceed that estimate
_MORE_BITS = 2
#: limits of a feature's sum: outside, units leave the range of normal numbers
_LEAST_SUM, _GREATEST_SUM = 2.0**-40, 2.0**80


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
def adds_exactly(numbers, first, n_rows, start, stop, origin):
    """Return whether float64 sums of any rows are exact, in any order.

    Those are the ``n_rows`` rows from ``first`` on, if it is true of all parts of them. This looks
    at the part from ``start`` to ``stop``. ``numbers`` are those of all rows; there are none where
    that is not known.
    """
    n_features, kind, share = len(origin), origin.dtype.type, (stop - start) / n_rows
    if numbers.shape[0] == 0 or origin.itemsize == 8:
        return False
    sums, some = np.zeros(n_features), np.zeros(n_features, origin.dtype)
    scales, lost = new_numbers(n_features, origin), np.zeros(n_features, origin.dtype)
    n_first, zero = min(_N_FIRST, n_rows), kind(0.0)
    for row in range(first, first + n_first):
        here = numbers_in(numbers, row * n_features, n_features)
        for feature in range(n_features):
            some[feature] += abs(here[feature] - origin[feature])
    for feature in range(n_features):
        estimate = np.float64(some[feature]) * n_rows / n_first
        estimate = min(max(estimate, _LEAST_SUM), _GREATEST_SUM)
        # Below this scale, adding it rounds a number to a multiple of the unit: 2**-23 of it.
        scales[feature] = kind(_power_above(estimate) * 2.0 ** (_MORE_BITS - 52 + 23))
        some[feature] = zero
    for some_row in range(start, stop, _N_FIRST):
        for row in range(some_row, min(some_row + _N_FIRST, stop)):
            here = numbers_in(numbers, row * n_features, n_features)
            for feature in range(n_features):
                number, scale = abs(here[feature] - origin[feature]), scales[feature]
                # Of a number that is not one, the comparison is False.
                lost[feature] += zero if number >= scale else abs((number + scale) - scale - number)
                some[feature] += number
        is_lost = False
        for feature in range(n_features):
            sums[feature] += np.float64(some[feature])
            some[feature] = zero
            is_lost |= lost[feature] != zero  # also of what is not a number
        if is_lost:
            return False
    are_exact = True
    for feature in range(n_features):
        # No sum of some rows is greater than that of all absolute numbers, of which each part has
        # at most its share. That is rounded, but by less than the bit that is left.
        unit = np.float64(scales[feature]) * 2.0**-23
        are_exact &= sums[feature] <= unit * 2.0**52 * share
    return are_exact
