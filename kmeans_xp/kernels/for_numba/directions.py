"""Rows scaled to one length: what scales each, their moments, and copies of few rows."""

from typing import Any

import numpy as np
from numba import types

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    MATRIX,
    RESULTS,
    ROWS,
    STACKED_TOTALS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers, numbers_in
from kmeans_xp.kernels.for_numba.emitted.sphere_vectors import (
    add_moments_of_rows,
    moments_width,
    scale_row,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL
from kmeans_xp.kernels.for_numba.measuring import moments_cost
from kmeans_xp.kernels.for_numba.tiling import (
    Floats,
    in_parts,
    is_dense,
    measure_factors,
    measured_factors,
    n_tasks_for,
    numbers_on_a_line,
    override,
    scale,
    weights_of,
)
from kmeans_xp.kernels.portable.directions import (
    MeasuredOnSphere,
    measured_on_sphere,
    sphere_factors,
)
from kmeans_xp.kernels.portable.moments import BothMoments, Moments
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.sphere_rows import SphereRows, on_sphere
from kmeans_xp.kernels.trees import merged_in_tree

__all__: list[str] = []

#: maximum number of bytes of rows that are copied to be scaled: as many as are packed once for
#: several steps
_COPIED = 2**22
#: number of rows that stay in the first-level cache between their two visits
_AT_A_TIME = 256
#: number of rows that are added while sums stay in registers
_TOGETHER = 8

_measure_factors = measure_factors.shared


@compiled(ROWS, COUNT, COUNT, COLUMN, RESULTS, MATRIX, STACKED_TOTALS, returns=types.boolean)
def _measure_directions(points, start, stop, weights, factors, scaled, moments):
    """Write factors, add up scaled rows and their squares, and write scaled rows if there is room.

    Return whether all rows have a factor. Moments are sums and squares, without weights and then
    with them.
    """
    n_features, width = points.shape[1], moments.shape[2]
    theirs = new_numbers(_TOGETHER, np.float64)
    for first in range(start, stop, _AT_A_TIME):
        last = min(first + _AT_A_TIME, stop)
        if not _measure_factors(points, first, last, numbers_in(factors, first, last - first)):
            return False
        for row in range(first, last, _TOGETHER):
            end = min(row + _TOGETHER, last)
            for which in range(moments.shape[0]):
                for number in range(end - row):
                    theirs[number] = weights[row + number] if which > 0 else 1.0
                add_moments_of_rows(
                    *(points, row, end, factors, theirs, n_features),
                    *(moments, which * 2 * width, width),
                )
        if scaled.shape[0] > 0:
            for row in range(first, last):
                scale_row(points, row, factors[row], n_features, scaled)
    return True


@override(sphere_factors)
def measured_once(rows: DenseRows) -> Floats | None:
    """Measure the lengths of rows for all passes over them."""
    return measured_factors(rows.points)


@override(measured_on_sphere)
def measured_together(rows: DenseRows) -> Any:
    """Measure lengths and moments in a pass; copy few rows, for kernels that take whole runs."""
    points, weights, (n_points, n_features) = rows.points, weights_of(rows), rows.points.shape
    if not is_dense(points):
        return None
    dtype, width, n_weighted = points.dtype, moments_width(n_features), min(1, len(weights))
    n_copied = n_points if points.nbytes <= _COPIED else 0
    factors = np.empty(n_points, dtype)
    scaled = numbers_on_a_line(n_copied * n_features, dtype).reshape(n_copied, n_features)

    def moments(start: int, stop: int) -> BothMoments | None:
        sums = np.zeros((1 + n_weighted, 2, width))
        measured = _measure_directions[dtype](points, start, stop, weights, factors, scaled, sums)
        if not measured:
            return None
        plain = Moments(np.asarray(float(stop - start)), *sums[0, :, :n_features])
        if not n_weighted:
            return BothMoments(plain, plain)
        mass = np.asarray(weights[start:stop].sum(dtype=np.float64))
        return BothMoments(plain, Moments(mass, *sums[1, :, :n_features]))

    n_tasks = n_tasks_for(n_points, moments_cost(n_features))
    in_each = in_parts(moments, n_points, n_tasks, dtype)
    parts = [part for part in in_each if part is not None]
    if len(parts) < len(in_each):
        return None
    read = SphereRows(points, rows.weights, factors=factors)
    moved = DenseRows(scaled, rows.weights) if n_copied else read
    return MeasuredOnSphere(moved, merged_in_tree(parts))


@on_sphere.override("numpy", rank=1)
def scaled_as_rows(vectors: Floats, *, xp: Namespace) -> Any:
    """Scale by the factors of rows: a row that is taken has the bits of one that is read."""
    dtype = vectors.dtype
    if dtype not in PANEL or not vectors.size:
        return NotImplemented
    vectors, factors = np.ascontiguousarray(vectors), np.empty(len(vectors), dtype)
    if measure_factors[dtype](vectors, 0, len(vectors), factors):  # they are few: in one thread
        return vectors * factors[:, None]
    scaled = np.empty(vectors.shape, dtype)
    scale[dtype](vectors, 0, len(vectors), scaled)
    return scaled
