"""k-means++ that rules candidates out by products of bytes: each row measures few of them.

docs/design.md has the theory. Results are bit-identical to those of ``candidate_potentials`` and
``closer_of``.
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.codes import (
    MOST_ROW_CODE,
    coded_width,
    length_of,
    lost_squares,
    scale_of,
    shift_of,
)
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    FLAGS,
    INDICES,
    LABEL_RESULTS,
    LABELS,
    NUMBER,
    NUMBERS,
    NUMBERS_32,
    RESULTS,
    RESULTS_32,
    ROWS,
    SUMS,
    Parameter,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.code_vectors import (
    CENTRE,
    MOST_CODE,
    NEAR,
    centre_row,
    code_row,
    may_be_nearer,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.vectors import add_closest, fold_row, sq_distance
from kmeans_xp.kernels.for_numba.seeding import potentials_cost
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    factor_of,
    filler_of,
    in_parts,
    is_from_zero,
    n_tasks_for,
    origin_of,
    scratch_for,
    tile_of,
    weights_of,
)
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.sphere_rows import RADIUS, SphereRows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = ["CodedRows"]

#: of the longest row: far from where float32 overflows, or a square is below the normal numbers
_LEAST_LENGTH, _MOST_LENGTH = 1e-10, 1e15
#: for what is lost below the normal numbers, and for roundings of float32
_TINY, _ROUNDED = 1e-30, 2.0**-19

# Columns of the numbers of each row, and of each candidate.
_SCALE, _LOST, _CODED, _HALF, _N_NUMBERS = range(5)

_CODES, _CODE_RESULTS = Parameter(1, types.int8, "C"), Parameter(1, types.int8, "C", True)


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, NUMBER, NUMBER),
    *(_CODE_RESULTS, LABEL_RESULTS, RESULTS_32),
)
def _code_rows(
    points, start, stop, filler, factors, origin, unit, most_code, codes, starts, numbers
):
    """Write the codes of rows, their coding errors, and half of each squared length."""
    n_features, dtype = points.shape[1], origin.dtype.type
    width, sums = coded_width(n_features), np.zeros(3, origin.dtype)
    centred, scratch = new_numbers(width, origin), scratch_for(points, 1, filler)
    tiny = lost_squares(centred)
    for row in range(start, stop):
        row_points, at = tile_of(points, row, 1, filler, scratch)
        factor = factor_of(factors, row)
        most = centre_row(row_points, at, factor, origin, n_features, centred, 0)
        step = scale_of(most, most_code, unit) * unit
        code_row(
            *(centred, 0, n_features, dtype(step), dtype(1.0 / step), dtype(most_code)),
            *(codes, row * width, sums),
        )
        sq_length = 0.0
        for feature in range(n_features):
            sq_length += np.float64(centred[feature]) * np.float64(centred[feature])
        lost, length = length_of(sums[0], tiny, 1.0), length_of(sums[1], 0.0, 1.0) * step
        starts[row] = -CENTRE * np.int64(sums[2])
        numbers[row * _N_NUMBERS + _SCALE] = step
        numbers[row * _N_NUMBERS + _LOST] = lost + _ROUNDED * (lost + length)
        numbers[row * _N_NUMBERS + _CODED] = length
        numbers[row * _N_NUMBERS + _HALF] = 0.5 * sq_length * (1.0 - _ROUNDED) - _TINY


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, NUMBERS, NUMBER),
    *(_CODES, LABELS, NUMBERS_32),
    *(NUMBERS, _CODES, NUMBERS_32, FLAGS, SUMS, INDICES),
)
def _fold_coded(
    points,
    start,
    stop,
    filler,
    factors,
    origin,
    weights,
    closest,
    share,
    codes,
    starts,
    row_numbers,
    candidates,
    coded,
    numbers,
    masks,
    sums,
    n_measured,
):
    """Add the inertia that each candidate would leave, and write which may be nearer."""
    n_points, n_features = points.shape
    width, weight, part = coded_width(n_features), 1.0, np.float32(share)
    scratch, unread = scratch_for(points, 1, filler), new_numbers(NEAR, points)
    for row in range(start, stop):
        so_far = closest[row]
        if weights.shape[0] > 0:
            weight = np.float64(weights[row])
        limit = row_numbers[row * _N_NUMBERS + _HALF] - np.float32(so_far) * part
        for group in range(len(sums) // NEAR):
            mask = may_be_nearer(
                row_numbers, row, limit, codes, width, starts[row], coded, numbers, group
            )
            masks[group * n_points + row] = mask
            if mask == 0:
                add_closest(points, NEAR, so_far, weight, sums, group * NEAR)
            else:
                n_measured[0] += 1
                factor = factor_of(factors, row)
                if filler == 0:  # rows as they lie: to give arrays counts references
                    fold_row(
                        *(points, NEAR, row, factor, origin, candidates, group * NEAR, n_features),
                        *(so_far, weight, sums, unread, 0),
                    )
                    continue
                row_points, at = tile_of(points, row, 1, filler, scratch)
                fold_row(
                    *(row_points, NEAR, at, factor, origin, candidates, group * NEAR, n_features),
                    *(so_far, weight, sums, unread, 0),
                )


@compiled(ROWS, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, NUMBERS, FLAGS, COUNT, COUNT, RESULTS)
def _keep_nearer(
    points, start, stop, filler, factors, origin, centroid, masks, first, bit, closest
):
    """Fold a centroid into the distances of those rows that it may be nearer to."""
    n_features, scratch = points.shape[1], scratch_for(points, 1, filler)
    for row in range(start, stop):
        if masks[first + row] >> bit & 1:
            row_points, at = tile_of(points, row, 1, filler, scratch)
            factor = factor_of(factors, row)
            distance = sq_distance(row_points, at, factor, origin, centroid, 0, n_features)
            closest[row] = min(closest[row], distance)


class _Codes(NamedTuple):
    codes: NDArray[np.int8]
    starts: NDArray[np.int32]
    numbers: Floats


def _coded(rows: Dense, about: Floats, unit: float, most_code: float) -> _Codes:
    """Code rows as seen from ``about``."""
    n_points, n_features = rows.points.shape
    dtype, fill = rows.points.dtype, filler_of(rows)
    coded = _Codes(
        np.zeros(n_points * coded_width.py_func(n_features), np.int8),
        np.empty(n_points, np.int32),
        np.empty(n_points * _N_NUMBERS, np.float32),
    )

    def code(start: int, stop: int) -> None:
        _code_rows[dtype](rows.points, start, stop, *fill, about, unit, most_code, *coded)

    in_parts(code, n_points, n_tasks_for(n_points, float(n_features)), dtype)
    return coded


class CodedRows:
    """Rows as bytes, which rule out most candidates.

    Parameters
    ----------
    rows : DenseRows or SphereRows
        Of float32 or float64.
    shift : array of shape (n_features,)
        Codes are of rows and candidates less it. It is zero unless the origin is.
    unit : float
        A power of two, at least the length of every row less the shift.
    """

    def __init__(self, rows: Dense, shift: Floats, unit: float) -> None:
        self.rows, self._shift, self._unit = rows, shift, unit
        self._codes = _coded(rows, origin_of(rows) + shift, unit, MOST_ROW_CODE)
        dtype = rows.points.dtype
        #: squared distance of each row to its centroid; written to
        self.closest: Floats = np.full(rows.n_points, np.inf, dtype)
        self._candidates, self._masks = np.empty((0, 1), dtype), np.empty(0, np.uint8)
        # Bound of the relative error of computed squared distances.
        rounding = (rows.n_features + 8) * float(np.finfo(dtype).eps)
        self._share = 0.5 * (1.0 + 2.0 * rounding) + _ROUNDED
        #: fraction of rows that measured some of the last candidates
        self.measured_part = 1.0

    @classmethod
    def of(cls, rows: Dense, some: Floats) -> "CodedRows | None":
        """Return the coded rows; None if float32 cannot hold their squares.

        ``some`` of the rows, seen from the origin, show whether to code all less a shift.
        """
        length = _longest(rows)
        if not _LEAST_LENGTH < length < _MOST_LENGTH:
            return None
        shift = shift_of(some) if is_from_zero(rows) else np.zeros_like(some[0])
        # A row may be as long as twice the longest, less a shift.
        return cls(rows, shift, float(2.0 ** np.ceil(np.log2(2.0 * length))))

    def potentials(self, candidates: Floats) -> NDArray[np.float64]:
        """Return the inertia for each candidate as the next centroid."""
        rows, (n_candidates, n_features) = self.rows, candidates.shape
        dtype, n_groups = self.closest.dtype, -(-n_candidates // NEAR)
        padded = np.zeros((n_groups * NEAR, n_features), dtype)
        padded[:n_candidates] = candidates
        codes, _, numbers = _coded(DenseRows(padded), self._shift, self._unit, float(MOST_CODE))
        unsigned = (codes.astype(np.int16) + CENTRE).astype(np.uint8).view(np.int8)
        masks = np.empty(n_groups * rows.n_points, np.uint8)
        shared = (*filler_of(rows), origin_of(rows), weights_of(rows), self.closest, self._share)
        of_candidates = _by_group(numbers.reshape(-1, _N_NUMBERS), n_candidates)

        def fold(start: int, stop: int) -> tuple[Floats, int]:
            sums, n_measured = np.zeros(len(padded)), np.zeros(1, np.int64)
            _fold_coded[dtype](
                *(rows.points, start, stop, *shared),
                *self._codes,
                *(padded.reshape(-1), unsigned, of_candidates, masks, sums, n_measured),
            )
            return sums[:n_candidates], int(n_measured[0])

        n_tasks = n_tasks_for(rows.n_points, potentials_cost(n_candidates, n_features))
        parts = in_parts(fold, rows.n_points, n_tasks, dtype)
        self.measured_part = sum(n for _, n in parts) / (rows.n_points * n_groups)
        self._candidates, self._masks = candidates, masks
        total: NDArray[np.float64] = merged_in_tree([sums for sums, _ in parts])
        return total

    def take_in(self, centroid: Floats) -> None:
        """Take one of the last candidates as the next centroid."""
        rows, dtype = self.rows, self.closest.dtype
        fill, origin = filler_of(rows), origin_of(rows)
        number = int((self._candidates == centroid).all(axis=1).argmax())
        group, bit = divmod(number, NEAR)
        flat = np.ascontiguousarray(centroid).reshape(-1)

        def keep(start: int, stop: int) -> None:
            _keep_nearer[dtype](
                *(rows.points, start, stop, *fill, origin, flat, self._masks),
                *(group * rows.n_points, bit, self.closest),
            )

        in_parts(keep, rows.n_points, n_tasks_for(rows.n_points, 2.0), dtype)


def _longest(rows: Dense) -> float:
    """Return a length that no row exceeds."""
    origin = origin_of(rows)
    if isinstance(rows, SphereRows):
        return (RADIUS + float(np.linalg.norm(origin))) * 1.001
    extremes = (rows.points.max(axis=0), rows.points.min(axis=0))
    most = max(float(np.abs(extreme - origin).max()) for extreme in extremes)
    return most * float(np.sqrt(rows.n_features))


def _by_group(numbers: Floats, n_candidates: int) -> Floats:
    """Return the numbers of candidates as ``may_be_nearer`` reads them, flat."""
    table = np.empty((len(numbers) // NEAR, 4, NEAR), np.float32)
    lengths = (numbers[:, _LOST] + numbers[:, _CODED]) * (1.0 + _ROUNDED)
    limits = numbers[:, _HALF].copy()
    limits[n_candidates:] = np.inf  # the padding of the last group is never near
    columns = (numbers[:, _SCALE], lengths, numbers[:, _LOST], limits)
    for place, column in enumerate(columns):
        table[:, place] = column.reshape(-1, NEAR)
    return table.reshape(-1)
