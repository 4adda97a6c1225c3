"""Sparse rows without clusters: each feature's numbers are given to other rows at random."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from kmeans_xp.devices import SparseMatrix, sparse_to_host

__all__ = ["shuffled"]

#: if more than this share of the rows have a feature, a permutation of all rows shuffles it
_MANY = 0.125

Rows = NDArray[np.int64]


def shuffled(matrix: SparseMatrix) -> Callable[[int], SparseMatrix]:
    """Return a function seed -> the matrix with each column's numbers in random rows.

    Each column keeps its numbers, and so its mean and variance. The dependence between columns
    is lost.

    Parameters
    ----------
    matrix : sparse matrix of shape (n_points, n_features)

    Returns
    -------
    callable
        Takes an int; returns a matrix of ``scipy.sparse`` in CSR form.
    """
    by_column = scipy.sparse.csc_array(sparse_to_host(matrix))

    def drawn(seed: int) -> Any:
        rows = _distinct_rows(by_column.indptr, by_column.shape[0], np.random.RandomState(seed))
        parts = (by_column.data, rows, by_column.indptr)
        return scipy.sparse.csc_array(parts, shape=by_column.shape).tocsr()

    return drawn


def _distinct_rows(starts: Rows, n_rows: int, random: np.random.RandomState) -> Rows:
    """Return a random row for each number, with no row twice in a column."""
    lengths = np.diff(starts)
    columns = np.repeat(np.arange(len(lengths)), lengths)
    rows = random.randint(0, n_rows, len(columns))
    for column in np.flatnonzero(lengths > _MANY * n_rows):
        rows[starts[column] : starts[column + 1]] = random.permutation(n_rows)[: lengths[column]]
    while len(again := _taken_already(columns * n_rows + rows)):
        rows[again] = random.randint(0, n_rows, len(again))
    return rows


def _taken_already(cells: Rows) -> Rows:
    """Return the places of cells that also occur earlier."""
    _, first = np.unique(cells, return_index=True)
    is_again = np.ones(len(cells), dtype=bool)
    is_again[first] = False
    return np.flatnonzero(is_again)
