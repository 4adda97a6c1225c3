"""Heads of rows and centroids, and bounds of scores by them.

A head is the products with some orthonormal axes, followed by the length of the rest and by the
whole length. docs/design.md has the theory. All numbers are in units of the longest centroid.
"""

from typing import NamedTuple

import numpy as np

from kmeans_xp.kernels.for_numba.assignment import Groups
from kmeans_xp.kernels.for_numba.codes import (
    LEAST,
    MOST_SCALE,
    UP,
    coded_width,
    length_of,
    lost_squares,
    unit_of,
)
from kmeans_xp.kernels.for_numba.compiled import (
    COUNT,
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
    score_row,
)
from kmeans_xp.kernels.for_numba.emitted.head_vectors import (
    CHAIN,
    PROJECTED,
    add_rests,
    project_rows,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.tiling import Floats, factor_of

__all__ = ["N_LENGTHS", "Axes", "HeadedCentroids", "head_tile", "principal_axes"]

#: numbers of a head beside its products: the length of the rest, and the whole length
N_LENGTHS = 2
#: how often axes are multiplied by the rows' covariance
_MULTIPLIED = 2
#: axes that are computed beside those that are wanted: the wanted ones converge sooner
_MORE_AXES = 8
#: number of axes in memory is a multiple of this: whole vectors of all processors
_WHOLE = 16
#: what axes and their products may lose at most: the proof neglects its square
_MOST_LOST = 2.0**-8
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
        Bounds the error of a score by all but the rests, over the product of both lengths.
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
        rounding = 3.1 * skew + 2.1 * projecting + 1.2 * (n_axes + 4) * single
        slack = (n_axes + 4) * (1.0 + np.sqrt(n_axes)) * eps
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
    heads,
    scales,
    lengths,
):
    """Centre rows and write their heads; the scale of those that have none is 0, of others 1."""
    n_features, width, n_numbers = points.shape[1], coded_width(points.shape[1]), n_axes + N_LENGTHS
    n_columns, tiny = len(columns) // n_features, lost_squares(centred)
    for row in range(n_rows):
        factor = factor_of(factors, factor_at + row)
        centre_row(points, first + row, factor, origin, n_features, centred, row * width)
    for start in range(0, n_rows, PROJECTED):
        project_rows(centred, start, width, n_features, columns, n_columns, projected)
        for row in range(start, start + PROJECTED):
            for number in range(n_axes):
                at, place = row * n_columns + number, row * n_numbers + number
                heads[place] = np.float64(projected[at]) / unit
                projected[at] = np.float64(heads[place]) * unit  # as rounded
        add_rests(
            *(centred, start, width, n_features, axes, n_axes, projected, n_columns, rests),
        )
    for row in range(n_rows):
        at, place = row * width, row * n_numbers + n_axes
        length = length_of(score_row(centred, at, n_features, centred, at), tiny, unit)
        heads[place] = length_of(rests[row], tiny, unit) + slack * length
        heads[place + 1] = length
        scales[row] = 1.0 if length <= MOST_SCALE else 0.0
        lengths[row] = length


@compiled(
    *(ROWS, NUMBERS, NUMBER, NUMBERS, NUMBERS, COUNT, NUMBER, NUMBER),
    *(RESULTS_32, RESULTS_32, RESULTS_32),
)
def _head_centroids(
    centroids, given_biases, unit, columns, axes, n_axes, slack, rounding, blocks, biases, lengths
):
    """Write the heads of centroids in blocks, so that a chain of products is a greatest score."""
    n_clusters, n_features = centroids.shape
    n_numbers, zeros = n_axes + N_LENGTHS, np.zeros(n_features, centroids.dtype)
    centred = new_numbers(_ROWS * coded_width(n_features), centroids)
    projected = new_numbers(_ROWS * (len(columns) // n_features), centroids)
    rests = new_numbers(_ROWS, centroids)
    heads = np.zeros(_ROWS * n_numbers, np.float32)
    scales, row_lengths = np.zeros(_ROWS), np.zeros(_ROWS)
    for start in range(0, n_clusters, _ROWS):
        n_rows = min(_ROWS, n_clusters - start)
        head_tile(
            *(centroids, start, n_rows, zeros[:0], 0, zeros, unit, columns, axes, n_axes),
            *(slack, centred, projected, rests, heads, scales, row_lengths),
        )
        for row in range(n_rows):
            cluster = start + row
            at = cluster // CODED_BLOCK * n_numbers * CODED_BLOCK + cluster % CODED_BLOCK
            for number in range(n_axes + 1):
                blocks[at + number * CODED_BLOCK] = heads[row * n_numbers + number]
            blocks[at + (n_axes + 1) * CODED_BLOCK] = rounding * row_lengths[row] * UP
            bias = np.float64(given_biases[cluster]) / (unit * unit)
            biases[cluster] = bias + (rounding * abs(bias) + LEAST) * UP
            lengths[cluster] = row_lengths[row]


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
    heads: Floats
    head_biases: Floats
    lengths: Floats

    @classmethod
    def of(cls, centroids: Floats, axes: Axes) -> "HeadedCentroids | None":
        """Return the heads of the centroids; None if float32 cannot hold their lengths."""
        n_clusters, n_features = centroids.shape
        centroids, unit = np.ascontiguousarray(centroids), unit_of(centroids)
        if unit is None:
            return None
        # finfo's eps is twice the error of a rounding: enough for two scores.
        eps = 1.01 * (n_features + 8) * float(np.finfo(centroids.dtype).eps)
        n_padded = -(-n_clusters // CODED_BLOCK) * CODED_BLOCK
        groups = Groups.of(centroids)
        heads = np.zeros(n_padded * (axes.n_axes + N_LENGTHS), np.float32)
        # The padding of the last block can never be the best.
        biases, lengths = np.full(n_padded, -np.inf, np.float32), np.zeros(n_padded, np.float32)
        _head_centroids[centroids.dtype](
            *(centroids, groups.biases, unit, axes.columns, axes.rows, axes.n_axes, axes.slack),
            *(eps + axes.rounding, heads, biases, lengths),
        )
        return cls(
            *(unit, eps, n_clusters, axes.n_axes, axes.slack, axes.columns, axes.rows),
            *(centroids.reshape(-1), *groups, heads, biases, lengths),
        )
