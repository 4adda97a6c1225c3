"""Heads of rows and centroids, and bounds of scores by them.

A head is the products with some orthonormal axes. The first is a floating-point number. The others
are integers of 16 bits, with three lengths: of the rest, of the integers, and of what rounding took
from the products. docs/design.md has the theory. Scales and lengths are in units of the longest
centroid.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.assignment import Groups
from kmeans_xp.kernels.for_numba.codes import (
    LEAST,
    MOST_SCALE,
    UP,
    coded_width,
    length_of,
    lost_squares,
    scale_of,
    unit_of,
)
from kmeans_xp.kernels.for_numba.compiled import (
    COUNT,
    LABEL_RESULTS,
    NUMBER,
    NUMBERS,
    RESULTS_32,
    ROWS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.code_vectors import (
    CODED_BLOCK,
    CODED_ROWS,
    centre_row,
    code_row,
    score_row,
)
from kmeans_xp.kernels.for_numba.emitted.head_vectors import (
    CHAIN,
    N_BLOCK_NUMBERS,
    PROJECTED,
    add_rests,
    project_rows,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.tiling import Floats, factor_of

__all__ = [
    "CODED",
    "LARGEST",
    "N_ROW_NUMBERS",
    "ROUNDING",
    "WHOLE",
    "Axes",
    "HeadedCentroids",
    "head_tile",
    "head_width",
    "principal_axes",
    "room_for_heads",
]

#: codes of a head beside those of all axes but the first: its lengths
N_LENGTHS = 3
#: places of lengths after the axes; that of the rest has the place of the first axis
CODED, ROUNDING = range(2)
# Columns of the numbers of a row's head, and of the factors of a centroid's.
INVERSE, LARGEST, WHOLE, N_ROW_NUMBERS = range(4)
#: what codes and lengths may be: 4 squares of it are less than 2**31, so sums of products fit
_MOST_PART = 23170.0
#: the length of a row without the first axis, in units of its scale
_TAIL = 23000.0
#: what is added to that length's square for rounding, as a share of the whole row's
_MARGIN = 2.0**-8
_MOST_CODE = 32767.0
#: how often axes are multiplied by the rows' covariance
_MULTIPLIED = 2
#: axes that are computed beside those that are wanted: the wanted ones converge sooner
_MORE_AXES = 8
#: number of axes in memory is a multiple of this: whole vectors of all processors
_WHOLE = 16
#: what axes and their products may lose at most: the proof neglects its square
_MOST_LOST = 2.0**-10
#: number of rows to project together
_ROWS = 8 * CODED_ROWS
assert _ROWS % PROJECTED == 0


class Axes(NamedTuple):
    """Orthonormal axes, up to rounding, and what bounds that rounding.

    Parameters
    ----------
    columns : array of shape (n_features * n_columns,)
        The axes as columns, with zeros up to a multiple of 16 columns.
    rows : array of shape (n_axes * width,)
        The axes as rows, with zeros up to the width of centred rows.
    n_axes : int
    rounding : float
        Bounds the error of a score by all but the rests and the rounding to integers, over the
        product of both lengths.
    slack : float
        Bounds the error of the length of a rest, over the whole length.
    """

    columns: Floats
    rows: Floats
    n_axes: int
    rounding: float
    slack: float

    @classmethod
    def of(cls, columns: Floats) -> "Axes | None":
        """Return the columns as axes; None if rounding takes too much of them."""
        n_features, n_axes = columns.shape
        eps, single = float(np.finfo(columns.dtype).eps), float(np.finfo(np.float32).eps)
        wide = columns.astype(np.float64)
        skew = float(np.linalg.norm(wide.T @ wide - np.eye(n_axes)))
        skew += n_axes * n_features * 2.0**-51
        # finfo's eps is twice the error of a rounding. Heads are rounded to float32.
        chain = 0.51 * eps * (CHAIN + n_features / CHAIN + 4)
        projecting = chain * np.sqrt(n_axes) + 0.51 * single
        if not skew + projecting <= _MOST_LOST:  # nor NaN
            return None
        numbers = np.zeros((n_features, -(-n_axes // _WHOLE) * _WHOLE), columns.dtype)
        numbers[:, :n_axes] = columns
        rows = np.zeros((n_axes, coded_width.py_func(n_features)), columns.dtype)
        rows[:, :n_features] = columns.T
        rounding = 3.1 * skew + 2.1 * projecting + 20 * single
        slack = (n_axes + 5) * (1.0 + np.sqrt(n_axes)) * eps
        return cls(numbers.reshape(-1), rows.reshape(-1), n_axes, rounding, slack)


def principal_axes(points: Floats, n_axes: int) -> Floats:
    """Return approximate principal axes of centred rows as columns.

    Any axes give right bounds: these need not converge.
    """
    columns = points[: min(n_axes + _MORE_AXES, points.shape[1])].T
    for _ in range(_MULTIPLIED):
        columns = points.T @ (points @ np.linalg.qr(columns)[0])
    columns = np.linalg.qr(columns)[0]
    products = points @ columns
    turned = np.linalg.eigh(products.T @ products)[1]
    return np.ascontiguousarray((columns @ turned[:, ::-1])[:, :n_axes])


@inline
def head_width(n_axes):
    """Return the number of codes of a head: of all axes but the first, and three more."""
    return -(-(n_axes - 1 + N_LENGTHS) // 2) * 2


@inline
def room_for_heads(n_rows, n_axes):
    """Return the number of codes of rows, and of the last one's whole vectors."""
    return n_rows * head_width(n_axes) + -(-n_axes // _WHOLE) * _WHOLE


@inline
def head_tile(
    points,
    first,
    n_rows,
    factors,
    factor_at,
    origin,
    unit,
    columns,
    axes,
    n_axes,
    slack,
    centred,
    projected,
    rests,
    sums,
    heads,
    numbers,
    scales,
    lengths,
):
    """Centre rows and write their heads; the scale of those that have none is 0."""
    n_features, dtype = points.shape[1], centred.dtype.type
    width, n_codes = coded_width(n_features), head_width(n_axes)
    n_columns, tiny = len(columns) // n_features, lost_squares(centred)
    for row in range(n_rows):
        factor = factor_of(factors, factor_at + row)
        centre_row(points, first + row, factor, origin, n_features, centred, row * width)
    for start in range(0, n_rows, PROJECTED):
        project_rows(centred, start, width, n_features, columns, n_columns, projected)
        for row in range(start, start + PROJECTED):
            at, place, mine = row * n_columns, row * n_codes, row * N_ROW_NUMBERS
            squares = score_row(centred, row * width, n_features, centred, row * width)
            length = length_of(squares, tiny, unit)
            largest = np.float32(np.float64(projected[at]) / unit)
            tail = length * length - np.float64(largest) * np.float64(largest)
            tail = max(tail, 0.0) + length * length * _MARGIN
            scale = scale_of(np.sqrt(tail), _TAIL, 1.0)
            step = scale * unit
            projected[at] = 0.0
            code_row(
                *(projected, at, n_axes, dtype(step), dtype(1.0 / step), dtype(_MOST_CODE)),
                *(heads, place, sums),
            )
            for number in range(1, n_axes):
                projected[at + number] = np.float64(heads[place + number]) * step
            projected[at] = np.float64(largest) * unit  # as rounded
            rounding, coded = length_of(sums[0], tiny, step), length_of(sums[1], 0.0, 1.0)
            is_headed = length <= MOST_SCALE and rounding <= _MOST_PART and coded <= _MOST_PART
            heads[place + n_codes - 1] = 0  # after an odd number
            heads[place + n_axes + CODED] = np.ceil(coded) if is_headed else 0.0
            heads[place + n_axes + ROUNDING] = np.ceil(rounding) if is_headed else 0.0
            numbers[mine + INVERSE] = 1.0 / scale
            numbers[mine + LARGEST] = np.float64(largest) / scale
            numbers[mine + WHOLE] = length / scale * UP
            scales[row], lengths[row] = scale if is_headed else 0.0, length
        add_rests(
            *(centred, start, width, n_features, axes, n_axes, projected, n_columns, rests),
        )
    for row in range(n_rows):
        if scales[row] > 0.0:
            rest = length_of(rests[row], tiny, scales[row] * unit)
            rest += slack * lengths[row] / scales[row]
            if rest <= _MOST_PART:
                heads[row * n_codes] = np.ceil(rest)
            else:
                scales[row] = 0.0


@compiled(
    *(ROWS, NUMBERS, NUMBER, NUMBERS, NUMBERS, COUNT, NUMBER, NUMBER),
    *(LABEL_RESULTS, RESULTS_32, RESULTS_32),
)
def _head_centroids(
    centroids, given_biases, unit, columns, axes, n_axes, slack, rounding, blocks, numbers, lengths
):
    """Write the heads of centroids in blocks; the length of those that have none is NaN."""
    n_clusters, n_features = centroids.shape
    n_codes, zeros = head_width(n_axes), np.zeros(n_features, centroids.dtype)
    centred = new_numbers(_ROWS * coded_width(n_features), centroids)
    projected = new_numbers(_ROWS * (len(columns) // n_features), centroids)
    rests, sums = new_numbers(_ROWS, centroids), np.zeros(3, centroids.dtype)
    heads = new_numbers(room_for_heads(_ROWS, n_axes), np.int16)
    row_numbers = np.zeros(_ROWS * N_ROW_NUMBERS, np.float32)
    scales, row_lengths = np.zeros(_ROWS), np.zeros(_ROWS)
    for start in range(0, n_clusters, _ROWS):
        n_rows = min(_ROWS, n_clusters - start)
        head_tile(
            *(centroids, start, n_rows, zeros[:0], 0, zeros, unit, columns, axes, n_axes),
            *(slack, centred, projected, rests, sums, heads, row_numbers, scales, row_lengths),
        )
        for row in range(n_rows):
            cluster, place = start + row, row * n_codes
            block, column = cluster // CODED_BLOCK, cluster % CODED_BLOCK
            # What a row has times what the other lost.
            coded, lost = heads[place + n_axes + CODED], heads[place + n_axes + ROUNDING]
            heads[place + n_axes + CODED], heads[place + n_axes + ROUNDING] = lost, coded
            at = block * n_codes // 2 * CODED_BLOCK + column
            for word in range(n_codes // 2):
                low, high = heads[place + 2 * word], heads[place + 2 * word + 1]
                blocks[at + word * CODED_BLOCK] = (np.int64(high) << 16) | (np.int64(low) & 0xFFFF)
            at = block * N_BLOCK_NUMBERS * CODED_BLOCK + column
            bias, length = np.float64(given_biases[cluster]) / (unit * unit), row_lengths[row]
            numbers[at] = scales[row]
            at += CODED_BLOCK
            numbers[at + INVERSE * CODED_BLOCK] = bias + (rounding * abs(bias) + LEAST) * UP
            numbers[at + LARGEST * CODED_BLOCK] = (
                np.float64(row_numbers[row * N_ROW_NUMBERS + LARGEST]) * scales[row]
            )
            numbers[at + WHOLE * CODED_BLOCK] = rounding * length * UP
            lengths[cluster] = length if scales[row] > 0.0 else np.nan


class HeadedCentroids(NamedTuple):
    """Centroids packed for ``_headed_rows``, with the axes of the heads."""

    unit: float
    eps: float
    n_clusters: int
    n_axes: int
    slack: float
    columns: Floats
    axes: Floats
    numbers: Floats
    groups: Floats
    biases: Floats
    heads: NDArray[np.int32]
    head_numbers: Floats
    lengths: Floats

    @classmethod
    def of(cls, centroids: Floats, axes: Axes) -> "HeadedCentroids | None":
        """Return the heads of the centroids; None if heads or float32 cannot hold their lengths."""
        n_clusters, n_features = centroids.shape
        centroids, unit = np.ascontiguousarray(centroids), unit_of(centroids)
        if unit is None:
            return None
        # finfo's eps is twice the error of a rounding: enough for two scores.
        eps = 1.01 * (n_features + 8) * float(np.finfo(centroids.dtype).eps)
        n_padded = -(-n_clusters // CODED_BLOCK) * CODED_BLOCK
        groups = Groups.of(centroids)
        heads = np.zeros(n_padded * head_width.py_func(axes.n_axes) // 2, np.int32)
        numbers = np.zeros((n_padded // CODED_BLOCK, N_BLOCK_NUMBERS, CODED_BLOCK), np.float32)
        # The padding of the last block can never be the best.
        numbers[:, 1 + INVERSE] = -np.inf
        numbers, lengths = numbers.reshape(-1), np.zeros(n_padded, np.float32)
        _head_centroids[centroids.dtype](
            *(centroids, groups.biases, unit, axes.columns, axes.rows, axes.n_axes, axes.slack),
            *(eps + axes.rounding, heads, numbers, lengths),
        )
        if np.isnan(lengths).any():
            return None
        return cls(
            *(unit, eps, n_clusters, axes.n_axes, axes.slack, axes.columns, axes.rows),
            *(centroids.reshape(-1), *groups, heads, numbers, lengths),
        )
