"""Sparse rows: whether one has two numbers for a column."""

import numpy as np
from numba import types

from kmeans_xp.devices.sparse import SparseMatrix, checks_of_columns
from kmeans_xp.kernels.for_numba.compiled import COLUMNS, COUNT, STARTS, compiled

__all__ = ["repeats_columns"]

#: the code is the same for all dtypes of the numbers
_ANY = np.dtype(np.float64)


@compiled(COLUMNS, STARTS, COUNT, returns=types.boolean)
def _any_twice(columns, starts, n_features):
    # From 2**31 rows on, numbers of rows repeat. The worst that follows is a copy without need.
    seen_in = np.full(n_features, -1, np.int32)
    for row in range(len(starts) - 1):
        number = np.int32(row)
        for place in range(np.uint64(starts[row]), np.uint64(starts[row + 1])):
            column = np.uint64(columns[place])
            if seen_in[column] == number:
                return True
            seen_in[column] = number
    return False


def repeats_columns(matrix: SparseMatrix) -> bool:
    """Note for each column in which row it was last seen."""
    columns = matrix.indices.astype(np.int32, order="C", copy=False)
    starts = matrix.indptr.astype(np.int64, order="C", copy=False)
    found: bool = _any_twice[_ANY](columns, starts, matrix.shape[1])
    return found


checks_of_columns.append(repeats_columns)
