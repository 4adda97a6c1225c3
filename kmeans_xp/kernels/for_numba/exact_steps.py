"""Several steps of two clusters in a call that add only rows that move, where sums are exact.

``exact_sums`` has the reason. Rows are packed once for all steps of a call, and labels are bits.
"""

from typing import Any

import numpy as np
from numba import types

from kmeans_xp.kernels.for_numba.assignment import pack_groups
from kmeans_xp.kernels.for_numba.compiled import (
    NUMBER,
    NUMBERS,
    RESULTS,
    ROWS,
    STACK,
    STACKED_TOTALS,
    TOTALS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.code_vectors import lowest_bit
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.pair_vectors import second_lanes
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, add_row, panel_rows
from kmeans_xp.kernels.for_numba.exact_sums import adds_exactly
from kmeans_xp.kernels.for_numba.tiling import pack_tile
from kmeans_xp.kernels.for_numba.updating import end_step
from kmeans_xp.kernels.rows import DenseRows

__all__ = ["may_step_exactly", "run_exact_steps"]

#: most bytes of packed rows, a copy of all
_PACKED = 2**24
#: rows whose steps in a call save a millisecond
_ROWS_OF_A_USE = 2**14

_pack_centroids = pack_groups.shared


@inline
def _move_rows(points, row, bits, seconds, origin, totals):
    """Subtract the rows of some bits from one cluster, and add them to the other."""
    one, n_features = origin.dtype.type(1), points.shape[1]
    while bits != 0:
        number = lowest_bit(bits)
        to = (seconds >> number) & 1
        add_row(points, row + number, one, origin, -1.0, n_features, totals, 1 - to)
        add_row(points, row + number, one, origin, 1.0, n_features, totals, to)
        bits &= bits - 1


@inline
def _add_all(points, labels, n_lanes, origin, totals):
    """Add all rows to their clusters."""
    one, n_features = origin.dtype.type(1), points.shape[1]
    for row in range(len(points)):
        to = (labels[row // n_lanes] >> (row % n_lanes)) & 1
        add_row(points, row, one, origin, 1.0, n_features, totals, to)


@compiled(
    *(ROWS, NUMBERS, NUMBERS, ROWS, NUMBER, RESULTS, RESULTS),
    *(TOTALS, STACKED_TOTALS, TOTALS, STACK, TOTALS),
    returns=types.int64,
)
def run_exact_steps(
    points, flat, origin, start, tol, groups, biases, totals, sums, mass, centroids, signals
):
    """Take steps as ``run_steps`` does, and return their number; 0 if sums are not exact.

    ``flat`` are the points, and ``totals`` zeros.
    """
    n_points, n_features = points.shape
    if not adds_exactly(flat, 0, n_points, origin):
        return 0
    n_lanes, before, none = 2 * panel_rows(origin), start, new_numbers(0, origin)
    n_parts = -(-n_points // n_lanes)
    panels, labels = (
        new_numbers(n_parts * n_lanes * n_features, origin),
        np.zeros(n_parts, np.int64),
    )
    pack_tile(points, 0, n_points, none, 0, origin, panels)
    for number in range(len(signals)):
        _pack_centroids(before, groups, biases)
        for part in range(n_parts):
            row = part * n_lanes
            seconds = second_lanes(panels, row * n_features, n_features, groups, biases)
            if n_points - row < n_lanes:
                seconds &= (np.int64(1) << (n_points - row)) - 1
            if number > 0:
                _move_rows(points, row, seconds ^ labels[part], seconds, origin, totals)
            labels[part] = seconds
        if number == 0:
            _add_all(points, labels, n_lanes, origin, totals)
        before = end_step(number, totals, before, False, sums, mass, centroids, signals)
        if signals[number, 0] <= tol or signals[number, 1] > 0.0:
            return number + 1
    return len(signals)


def may_step_exactly(rows: DenseRows, n_clusters: int) -> bool:
    """Return whether sums may be exact, and rows are too short for ``label_pairs``."""
    points: Any = rows.points
    return (
        n_clusters == 2
        and points.dtype == np.float32
        and points.shape[1] < PANEL[points.dtype]
        and points.nbytes <= _PACKED
        and rows.weights is None
        and points.flags.c_contiguous
        and run_exact_steps.pays(points.dtype, 1 + len(points) // _ROWS_OF_A_USE)
    )
