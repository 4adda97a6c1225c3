"""Moments of dense rows, with and without their weights, from one read of each row.

Overrides return Any because they may return ``NotImplemented``.
"""

from collections.abc import Sequence
from typing import Any

import cupy
import numpy as np

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_cupy.launching import (
    C_TYPES,
    MOST_BLOCKS,
    N_THREADS,
    ManyRows,
    are_plain,
    launch,
    row_arguments,
    types_of,
)
from kmeans_xp.kernels.for_cupy.sums import merged
from kmeans_xp.kernels.portable.moments import (
    BothMoments,
    Moments,
    Spread,
    both_moments,
    column_moments,
    spread,
)
from kmeans_xp.kernels.rows import DenseRows

__all__ = ["spread_of_each"]

#: minimum number of values for a block of threads
_FEWEST_NUMBERS = 2**13


@column_moments.override("cupy", rows=DenseRows)
def moments_in_a_pass(rows: DenseRows, *, xp: Namespace) -> Any:
    """Give every block some of the rows; CuPy's own sums have one block for 16 columns."""
    both = moments_of_both(rows, xp=xp)
    return both if both is NotImplemented else both.weighted


@both_moments.override("cupy", rows=DenseRows)
def moments_of_both(rows: DenseRows, *, xp: Namespace) -> Any:
    """Add up the rows and the weighted rows from one read."""
    types = types_of(rows)
    if types is None or rows.n_features == 0:
        return NotImplemented
    (of_kinds,) = _moments_of_each(rows, types, 1)
    return BothMoments(*(_moments(of_kinds[kind], rows.n_features) for kind in (0, -1)))


@spread.override("cupy")
def spread_in_a_launch(plain: Moments, weighted: Moments, about: Array, *, xp: Namespace) -> Any:
    """Compute it in one block; as operations of CuPy, each would be a launch."""
    given = (*plain, *weighted)
    is_plain = are_plain(*given, about) and all(each.dtype == np.float64 for each in given)
    if not is_plain or about.dtype.name not in ("float32", "float64") or not len(about):
        return NotImplemented
    of_all = _spread(given, 0, about[None, :])
    return Spread(of_all.origin[0], of_all.numbers[0])


def spread_of_each(rows: ManyRows) -> Spread | None:
    """Return the spread of each problem's rows, bit-identical to a fit's start; None to decline.

    The rows' own origin is subtracted meanwhile. The result has a row for each problem: origins
    (n_problems, n_features), and numbers (n_problems, 3).
    """
    types = types_of(rows)
    if types is None:
        return None
    n_problems, n_features = rows.origin.shape
    cells = _moments_of_each(rows, types, n_problems)
    plain, weighted = cells[:, 0, :], cells[:, -1, :]
    parts = [
        of_kind[0, start:]
        for of_kind in (plain, weighted)
        for start in (2 * n_features, 0, n_features)
    ]
    return _spread(parts, cells[0].size, rows.origin)


def _spread(moments: Sequence[Array], stride: int, about: Array) -> Spread:
    """Return the spread from the moments of each problem, which are ``stride`` numbers apart."""
    n_problems, n_features = about.shape
    origin = cupy.empty_like(about)
    numbers = cupy.empty((n_problems, 3), dtype=np.float64)
    launch(
        f"rows_spread<{C_TYPES[about.dtype.name][1]}>",
        "moments.cu",
        n_problems,
        (*moments, np.int64(stride), about, np.int32(n_features), origin, numbers),
    )
    return Spread(origin, numbers)


def _moments_of_each(rows: DenseRows | ManyRows, types: tuple[str, str], n_problems: int) -> Array:
    """Return the cells of each problem, without weights and with them if there are any."""
    n_features = rows.n_features
    rows_per_block = max(-(-rows.n_points // MOST_BLOCKS), -(-_FEWEST_NUMBERS // n_features))
    n_blocks = -(-rows.n_points // rows_per_block)
    n_kinds = 1 if rows.weights is None else 2
    n_cells = 2 * n_features + 1
    partials = cupy.empty((n_blocks, n_problems * n_kinds * n_cells), dtype=np.float64)
    launch(
        f"dense_moments<{types[0]}, {types[1]}>",
        "moments.cu",
        (n_blocks, -(-n_features // N_THREADS), n_problems),
        (
            *row_arguments(rows, with_weights=True),
            np.int64(rows.n_points),
            np.int32(n_features),
            np.int64(rows_per_block),
            partials,
        ),
    )
    return merged(partials).reshape(n_problems, n_kinds, n_cells)


def _moments(cells: Array, n_features: int) -> Moments:
    return Moments(cells[-1], cells[:n_features], cells[n_features : 2 * n_features])
