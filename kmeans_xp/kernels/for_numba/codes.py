"""Rows and centroids as bytes, and error bounds of the products of bytes.

docs/design.md has the theory. Bounds of a row are in units of its own scale, and all scales are in
units of the longest centroid.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.assignment import Groups
from kmeans_xp.kernels.for_numba.compiled import (
    COUNT,
    LABEL_RESULTS,
    NUMBER,
    NUMBERS,
    RESULTS,
    RESULTS_32,
    ROWS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.code_vectors import (
    CENTRE,
    CODED_BLOCK,
    MOST_CODE,
    centre_row,
    code_row,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.tiling import Floats, factor_of, nothing

__all__ = [
    "CODED",
    "LEAST",
    "LENGTH",
    "LOST",
    "MOST_ROW_CODE",
    "MOST_SCALE",
    "N_NUMBERS",
    "UP",
    "CodedCentroids",
    "code_tile",
    "coded_width",
    "error_of",
    "length_of",
    "lost_squares",
    "scale_of",
    "shift_of",
    "unit_of",
]

#: the largest code of a row
MOST_ROW_CODE = 127.0
#: scales of rows and centroids, in units of the longest centroid, and that unit: far from where
#: float32 overflows or is subnormal
_LEAST_SCALE, MOST_SCALE, _MOST_UNIT = 2.0**-60, 2.0**20, 2.0**40
#: what is added to a bound for scores below the normal numbers, in such units
LEAST = 2.0**-56
#: part of the squared lengths of centroids that is their mean's, from which codes are less the mean
_SHIFTED = 0.25
#: factor for the rounding of the bounds themselves
UP = 1.0 + 2.0**-12

# Columns of the numbers that bounds need: of each row, and of each centroid.
INVERSE, LOST, CODED, N_NUMBERS = range(4)
BIAS, LENGTH, CODE_LOST = range(3)


@inline
def coded_width(n_features):
    """Return the distance between the starts of coded rows, in numbers or codes."""
    return -(-n_features // 64) * 64


@inline
def scale_of(most, most_code, unit):
    """Return the scale of a row's or centroid's codes, in units, from its largest number."""
    return np.float64(np.float32(max(np.float64(most) / (most_code * unit), _LEAST_SCALE)))


@inline
def length_of(squares, tiny, step):
    """Return the root of a sum of squares, in steps, rounded up.

    Squares of very small numbers may have been lost below the normal numbers.
    """
    return (np.sqrt(np.float64(squares)) + tiny) / step * UP


@inline
def code_tile(
    points,
    first,
    n_rows,
    factors,
    factor_at,
    origin,
    unit,
    centred,
    codes,
    starts,
    scales,
    bounds,
    sums,
):
    """Centre and code rows; the scale of those that cannot be coded is 0."""
    n_features, dtype = points.shape[1], centred.dtype.type
    width, tiny = coded_width(n_features), lost_squares(centred)
    for row in range(n_rows):
        at, place = row * width, row * N_NUMBERS
        factor = factor_of(factors, factor_at + row)
        most = centre_row(points, first + row, factor, origin, n_features, centred, at)
        scale = scale_of(most, MOST_ROW_CODE, unit)
        step = scale * unit
        code_row(
            *(centred, at, n_features, dtype(step), dtype(1.0 / step), dtype(MOST_ROW_CODE)),
            *(codes, at, sums),
        )
        lost = length_of(sums[0], tiny, step)
        is_coded = scale <= MOST_SCALE and lost < np.inf
        scales[row] = scale if is_coded else 0.0
        # All codes of centroids are greater by CENTRE than they should be.
        starts[row] = -CENTRE * np.int64(sums[2]) if is_coded else 0
        bounds[place + INVERSE] = 1.0 / scale
        bounds[place + LOST] = lost
        bounds[place + CODED] = length_of(sums[1], 0.0, 1.0)


@inline
def lost_squares(centred):
    """Return the root of the largest loss of squares to subnormal numbers."""
    n_features = len(centred)
    return 2.0 * np.sqrt(np.float64(np.finfo(centred.dtype).tiny) * n_features)


@inline
def error_of(cluster, numbers, row, bounds):
    """Return the maximum difference between a coded pair's score and the dense kernel's."""
    at, mine = cluster * N_NUMBERS, row * N_NUMBERS
    error = numbers[at + BIAS] * bounds[mine + INVERSE]
    error += numbers[at + LENGTH] * bounds[mine + LOST]
    return error + numbers[at + CODE_LOST] * bounds[mine + CODED]


@inline
def _made_unsigned(word):
    """Add CENTRE to each of four bytes."""
    if CENTRE == 128:
        return word ^ 0x80808080
    return ((word & 0x7F7F7F7F) + 0x40404040) ^ (word & 0x80808080)


@compiled(
    *(ROWS, NUMBERS, NUMBER, COUNT, NUMBER, NUMBER, NUMBER),
    *(RESULTS, RESULTS, LABEL_RESULTS, RESULTS_32, RESULTS_32, RESULTS_32, RESULTS_32),
)
def _code_centroids(
    centroids,
    shift,
    shift_length,
    n_quads,
    unit,
    eps,
    dense_eps,
    near_numbers,
    near_biases,
    blocks,
    scales,
    biases,
    numbers,
    reaches,
):
    """Write the codes of centroids in blocks, four in one number, and their coding errors.

    ``dense_eps`` is what ``eps`` does not have of the dense kernel's rounding. Centroids less the
    shift are written to ``near_numbers`` unless it is empty.
    """
    n_clusters, n_features = centroids.shape
    width = coded_width(n_features)
    centred = new_numbers(width, centroids)
    codes, sums = np.zeros(width, np.int8), np.zeros(3, centroids.dtype)
    words, dtype, tiny = codes.view(np.int32), centroids.dtype.type, lost_squares(centred)
    most_code, is_shifted = np.float64(MOST_CODE), near_numbers.shape[0] > 0
    for cluster in range(len(scales)):
        scale = lost = length = sq_norm = sq_centred = 0.0
        bias = -np.inf  # the padding of the last block can never be the best
        if cluster < n_clusters:
            most = centre_row(centroids, cluster, dtype(1), shift, n_features, centred, 0)
            scale = scale_of(most, most_code, unit)
            step = scale * unit
            code_row(
                *(centred, 0, n_features, dtype(step), dtype(1.0 / step), dtype(most_code)),
                *(codes, 0, sums),
            )
            lost = length_of(sums[0], tiny, step)
            length = length_of(sums[1], 0.0, 1.0)
            for feature in range(n_features):
                number, left = centroids[cluster, feature], centred[feature]
                sq_norm += np.float64(number) * np.float64(number)
                sq_centred += np.float64(left) * np.float64(left)
                if is_shifted:
                    near_numbers[cluster * n_features + feature] = left
            if is_shifted:
                near_biases[cluster] = -0.5 * sq_centred
            bias = -0.5 * sq_centred / (unit * unit)
        at = cluster // CODED_BLOCK * n_quads * CODED_BLOCK + cluster % CODED_BLOCK
        for quad in range(n_quads):
            blocks[at + quad * CODED_BLOCK] = _made_unsigned(np.int64(words[quad]))
        scales[cluster], biases[cluster] = scale, bias
        first, whole = cluster * N_NUMBERS, length_of(sq_norm, tiny, unit)
        lost, length = lost * scale, (lost + length) * scale
        # A row is as long as its codes and what they lost, or the shift more.
        dense = dense_eps * whole
        fixed = eps * abs(bias) + dense * (shift_length + 0.5 * whole) + LEAST
        numbers[first + BIAS] = fixed * UP if cluster < n_clusters else 0.0
        numbers[first + LENGTH] = (length * (1.0 + eps) + dense) * UP
        numbers[first + CODE_LOST] = (lost + eps * (length + lost) + dense) * UP
        # A score less the shift is rounded, as is the dense kernel's.
        reaches[cluster] = (whole + (lost + length) * is_shifted) * UP


def unit_of(centroids: Floats) -> float | None:
    """Return a power of two, at least the longest length; None if float32 cannot hold lengths."""
    n_features = centroids.shape[1]
    most = max(float(centroids.max()), -float(centroids.min()))
    if not 0.0 < most < _MOST_UNIT / n_features or most < n_features / _MOST_UNIT:
        return None
    # To scale by it is exact.
    return float(2.0 ** np.ceil(np.log2(most * np.sqrt(n_features))))


class CodedCentroids(NamedTuple):
    """Centroids packed for ``_certified_rows``."""

    unit: float
    eps: float
    shift_length: float
    n_clusters: int
    numbers: Floats
    groups: Floats
    biases: Floats
    near_numbers: Floats
    near_biases: Floats
    codes: NDArray[np.int32]
    scales: Floats
    coded_biases: Floats
    bounds: Floats
    block_bounds: Floats
    reaches: Floats
    shift: Floats

    @classmethod
    def of(cls, centroids: Floats, *, from_zero: bool = False) -> "CodedCentroids | None":
        """Return the coded centroids; None if float32 cannot hold their lengths.

        If rows are measured ``from_zero``, codes may be of both less a shift.
        """
        n_clusters, n_features = centroids.shape
        centroids, unit = np.ascontiguousarray(centroids), unit_of(centroids)
        if unit is None:
            return None
        # finfo's eps is twice the error of a rounding: enough for two scores.
        eps = 1.01 * (n_features + 8) * float(np.finfo(centroids.dtype).eps)
        coded_eps = eps + 16 * float(np.finfo(np.float32).eps)
        groups, shift = Groups.of(centroids), np.zeros(n_features, centroids.dtype)
        if from_zero:
            shift = shift_of(centroids)
        is_shifted = bool(shift.any())
        shift_length = float(np.sqrt(np.square(shift, dtype=np.float64).sum())) / unit * UP
        n_padded = -(-n_clusters // CODED_BLOCK) * CODED_BLOCK
        n_quads = -(-n_features // 4)
        codes = np.empty(n_padded * n_quads, np.int32)
        scales, biases = np.empty(n_padded, np.float32), np.empty(n_padded, np.float32)
        bounds, reaches = np.empty(n_padded * N_NUMBERS, np.float32), np.empty_like(scales)
        near_numbers = np.empty(centroids.size * is_shifted, centroids.dtype)
        near_biases = np.empty(n_clusters * is_shifted, centroids.dtype)
        _code_centroids[centroids.dtype](
            *(centroids, shift, shift_length, n_quads, unit, coded_eps, eps * is_shifted),
            *(near_numbers, near_biases, codes, scales, biases, bounds, reaches),
        )
        block_bounds = bounds.reshape(-1, CODED_BLOCK, N_NUMBERS).max(axis=1).reshape(-1)
        numbers = centroids.reshape(-1)
        if not is_shifted:
            near_numbers, near_biases = numbers, groups.biases
        return cls(
            *(unit, eps, shift_length, n_clusters, numbers, groups.numbers, groups.biases),
            *(near_numbers, near_biases, codes, scales, biases, bounds, block_bounds, reaches),
            shift if is_shifted else nothing(centroids.dtype),
        )


def shift_of(vectors: Floats) -> Floats:
    """Return the mean of centroids or rows where that is much of their length, and zeros elsewhere.

    Codes of what is left then lose less. Rows on a sphere are measured from its centre, and may lie
    on one side of it.
    """
    mean: Floats = vectors.mean(axis=0)
    # Not by products: threads of BLAS would spin for a while.
    own, whole = (float(np.square(each, dtype=np.float64).sum()) for each in (mean, vectors))
    return mean if len(vectors) * own > _SHIFTED * whole else np.zeros_like(mean)
