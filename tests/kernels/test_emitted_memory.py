"""Arrays that compiled code makes for itself, or that are part of others."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

numba = pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels.for_numba.emitted.memory import (  # noqa: E402
    matrix_in,
    new_matrix,
    new_numbers,
    new_stack,
    numbers_in,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import LINE  # noqa: E402

DTYPES = [np.float32, np.float64, np.int8, np.int32, np.int64]


@numba.njit
def twice(values):
    """Return twice the values, by way of an array of whole columns and one of numbers."""
    n_rows, n_columns = values.shape
    made, column = new_matrix(n_rows, n_columns, values), new_numbers(n_rows, values)
    for number in range(n_columns):
        for row in range(n_rows):
            column[row] = 2 * values[row, number]
        for row in range(n_rows):
            made[row, number] = column[row]
    return made, column


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (64, 17), (0, 4)])
def test_new_arrays_are_like_others_and_begin_on_a_line(shape: Any, dtype: Any) -> None:
    values = np.arange(shape[0] * shape[1]).reshape(shape).astype(dtype)
    made, column = twice(values)
    for array, expected in ((made, 2 * values), (column, 2 * values[:, -1])):
        assert (array.dtype, array.nbytes) == (dtype, expected.size * array.itemsize)
        assert array.ctypes.data % LINE == 0
        assert_array_equal(array, expected.astype(dtype))
    assert made.flags.c_contiguous


@pytest.mark.parametrize("like", [np.float32, np.float64])
def test_a_stack_holds_matrices_one_behind_another(like: Any) -> None:
    made = numba.njit(lambda values: new_stack(2, 3, 5, values), nogil=True)(np.zeros(1, like))
    assert (made.shape, made.dtype, made.flags.c_contiguous) == ((2, 3, 5), like, True)
    assert made.ctypes.data % LINE == 0
    made[...] = np.arange(30).reshape(2, 3, 5)
    assert made.ravel().tolist() == list(range(30))


def test_a_dtype_says_what_they_are_too() -> None:
    made = numba.njit(lambda values: new_numbers(3, np.int32), nogil=True)(np.zeros(2))
    assert (made.dtype, made.shape) == (np.int32, (3,))


@numba.njit
def write_parts(values):
    """Write to a line, to some rows as a matrix, and to all numbers."""
    n_rows, n_columns = values.shape
    line = numbers_in(values, n_columns, n_columns)
    rows = matrix_in(values, 2 * n_columns, n_rows - 2, n_columns)
    for number in range(len(line)):
        line[number] += 10
    for row in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            rows[row, column] += 100 * (1 + row)
    whole = numbers_in(values, 0, values.size)
    for number in range(len(whole)):
        whole[number] += 1000
    return line.size, rows.size, whole.size


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_parts_share_the_memory_of_the_whole(dtype: Any) -> None:
    values = np.zeros((4, 3), dtype)
    assert write_parts(values) == (3, 6, 12)
    assert_array_equal(values, np.repeat([1000, 1010, 1100, 1200], 3).reshape(4, 3).astype(dtype))


def test_memory_that_is_too_large_is_an_error() -> None:
    made = numba.njit(lambda n_numbers: new_numbers(n_numbers, np.float64).size)
    assert made(8) == 8
    with pytest.raises(MemoryError):
        made(2**55)
