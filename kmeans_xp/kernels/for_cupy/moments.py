"""Moments of dense rows, with and without their weights, while each row is read once.

An override's result is Any since it may be ``NotImplemented``.
"""

from typing import Any

import cupy
import numpy as np

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_cupy.launching import (
    MOST_BLOCKS,
    N_THREADS,
    launch,
    row_arguments,
    types_of,
)
from kmeans_xp.kernels.for_cupy.sums import merged
from kmeans_xp.kernels.portable.moments import BothMoments, Moments, both_moments, column_moments
from kmeans_xp.kernels.rows import DenseRows

__all__: list[str] = []

#: numbers that are worth a block of threads
_FEWEST_NUMBERS = 2**13


@column_moments.override("cupy", rows=DenseRows)
def moments_in_a_pass(rows: DenseRows, *, xp: Namespace) -> Any:
    """Give every block a share of the rows: CuPy's own sums have one block for 16 columns."""
    both = moments_of_both(rows, xp=xp)
    return both if both is NotImplemented else both.weighted


@both_moments.override("cupy", rows=DenseRows)
def moments_of_both(rows: DenseRows, *, xp: Namespace) -> Any:
    """Add up the rows and the weighted rows while they are there."""
    types = types_of(rows)
    if types is None or rows.n_features == 0:
        return NotImplemented
    n_features = rows.n_features
    rows_per_block = max(-(-rows.n_points // MOST_BLOCKS), -(-_FEWEST_NUMBERS // n_features))
    n_blocks = -(-rows.n_points // rows_per_block)
    n_kinds = 1 if rows.weights is None else 2
    partials = cupy.empty((n_blocks, n_kinds * (2 * n_features + 1)), dtype=np.float64)
    launch(
        f"dense_moments<{types[0]}, {types[1]}>",
        "moments.cu",
        (n_blocks, -(-n_features // N_THREADS)),
        (
            *row_arguments(rows, with_weights=True),
            np.int64(rows.n_points),
            np.int32(n_features),
            np.int64(rows_per_block),
            partials,
        ),
    )
    each = [_moments(cells, n_features) for cells in merged(partials).reshape(n_kinds, -1)]
    return BothMoments(each[0], each[-1])


def _moments(cells: Array, n_features: int) -> Moments:
    return Moments(cells[-1], cells[:n_features], cells[n_features : 2 * n_features])
