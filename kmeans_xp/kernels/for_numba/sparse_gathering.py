"""Sparse rows: copies of some of them, side by side."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices.sparse import Csr, copiers_of_rows
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMNS,
    LABEL_RESULTS,
    NUMBERS,
    RESULTS,
    STARTS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL

__all__ = ["copied_row_by_row"]


@compiled(NUMBERS, COLUMNS, STARTS, STARTS, RESULTS, LABEL_RESULTS)
def _copy_rows(numbers, columns, starts, begins, new_numbers, new_columns):
    """Copy rows from where they start to where they begin; the last of ``begins`` is an end."""
    for row in range(np.uint64(len(starts))):
        first, place = np.uint64(starts[row]), np.uint64(begins[row])
        for number in range(np.uint64(begins[row + np.uint64(1)]) - place):
            new_numbers[place + number] = numbers[first + number]
            new_columns[place + number] = columns[first + number]


def copied_row_by_row(
    parts: Csr, starts: NDArray[np.int64], begins: NDArray[np.int64]
) -> tuple[Any, Any]:
    """Make no list of the places to copy from."""
    numbers, columns, _, _ = parts
    if numbers.dtype not in PANEL or not _copy_rows.pays(numbers.dtype):
        return copiers_of_rows[0](parts, starts, begins)
    copies = (np.empty(int(begins[-1]), kind) for kind in (numbers.dtype, np.int32))
    new_numbers, new_columns = copies
    _copy_rows[numbers.dtype](numbers, columns, starts, begins, new_numbers, new_columns)
    return new_numbers, new_columns


copiers_of_rows.append(copied_row_by_row)
