"""Sparse matrices of SciPy and of CuPy, and the arrays that they consist of."""

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse

__all__ = [
    "Csr",
    "SparseMatrix",
    "as_csr",
    "checks_of_columns",
    "copiers_of_rows",
    "csr_parts",
    "dense_rows",
    "dense_types",
    "gathered_parts",
    "is_sparse",
    "own_parts",
    "refuse_unknown_sparse",
    "scaled_data",
    "scipy_csr",
    "sparse_matrix",
    "sparse_to_host",
    "stored",
]

#: a matrix or an array of ``scipy.sparse`` or ``cupyx.scipy.sparse``
SparseMatrix: TypeAlias = Any

#: types known as dense arrays, so not sparse matrices
dense_types: set[type] = {np.ndarray}

_CUDA_MODULE = "cupyx.scipy.sparse"


class Csr(NamedTuple):
    """The arrays of sparse rows, all of one library and on one device.

    Parameters
    ----------
    data : array of shape (n_stored,)
        The stored numbers, row after row.
    indices : array of int32, shape (n_stored,)
        The column of each number; no column occurs twice in a row.
    indptr : array of int64, shape (n_points + 1,)
        Where each row begins in the other two arrays, and where the last one ends.
    n_features : int
        Number of columns.
    """

    data: Any
    indices: Any
    indptr: Any
    n_features: int


def is_sparse(value: object) -> bool:
    """Return whether ``value`` is a sparse matrix or array, in any format."""
    if type(value) in dense_types:
        return False  # SciPy's check takes longer than a step of a small fit
    if scipy.sparse.issparse(value):
        return True
    # A matrix of CuPy can exist only if CuPy is imported.
    cuda = sys.modules.get(_CUDA_MODULE)
    return cuda is not None and bool(cuda.issparse(value))


def refuse_unknown_sparse(value: object) -> None:
    """Raise TypeError for a sparse matrix of another library, which NumPy cannot convert."""
    kind = type(value)
    if not hasattr(kind, "todense") or is_sparse(value):
        return
    raise TypeError(
        f"kmeans_xp got a {kind.__name__} of {kind.__module__.partition('.')[0]}. Sparse rows are "
        "taken as a matrix of scipy.sparse, or of cupyx.scipy.sparse on CUDA; from JAX's BCSR "
        "(BCSR.from_bcoo(X) for a BCOO): scipy.sparse.csr_array((X.data, X.indices, X.indptr), "
        "X.shape). Or pass X.todense()."
    )


def as_csr(matrix: SparseMatrix) -> SparseMatrix:
    """Return the matrix in CSR form; unchanged if it has that form."""
    return matrix if matrix.format == "csr" else matrix.tocsr()


def stored(matrix: SparseMatrix) -> Any:
    """Return an array of the matrix's library, on its device."""
    return np.empty(0) if scipy.sparse.issparse(matrix) else as_csr(matrix).data


def csr_parts(matrix: SparseMatrix) -> Csr:
    """Return the arrays of a matrix in CSR form; copy the numbers only if necessary."""
    is_scipy, n_features = scipy.sparse.issparse(matrix), int(matrix.shape[1])
    if n_features > np.iinfo(np.int32).max:
        raise ValueError(
            f"Sparse rows may have up to {np.iinfo(np.int32).max} features, got {n_features}: "
            "centroids are dense."
        )
    if is_scipy:  # before SciPy uses them, which does not check them
        _check_columns(matrix.indices[: int(matrix.indptr[-1])], n_features)
    if not matrix.has_canonical_format and (not is_scipy or checks_of_columns[-1](matrix)):
        matrix = matrix.copy()  # do not change the user's matrix
        matrix.sum_duplicates()
    data, indices, indptr = matrix.data, matrix.indices, matrix.indptr
    if is_scipy:
        n_stored = int(indptr[-1])  # entries after these belong to no row, and may be anything
        data, indices = data[:n_stored], indices[:n_stored]
    # One dtype for each array, so that kernels need no variants; int32 columns save memory.
    return Csr(
        data.astype(data.dtype, order="C", copy=False),
        indices.astype(np.int32, order="C", copy=False),
        indptr.astype(np.int64, order="C", copy=False),
        n_features,
    )


def _repeats_columns(matrix: SparseMatrix) -> bool:
    """Return whether a row of a SciPy matrix has two numbers for one column."""
    # Transposed, equal columns of a row are neighbours. Bytes stand for the numbers.
    ones = np.ones(int(matrix.indptr[-1]), np.int8)
    stored = (ones, matrix.indices[: len(ones)], matrix.indptr)
    by_columns = scipy.sparse.csr_array(stored, shape=matrix.shape).tocsc()
    rows, starts = by_columns.indices, by_columns.indptr
    is_equal = rows[1:] == rows[:-1]
    begins = starts[(starts > 0) & (starts < len(rows))]
    is_equal[begins - 1] = False  # neighbours in different columns
    return bool(is_equal.any())


#: the last of these is called; kernels that are compiled add a faster one
checks_of_columns: list[Callable[[SparseMatrix], bool]] = [_repeats_columns]


def _check_columns(indices: Any, n_features: int) -> None:
    """Raise for a column that does not exist: SciPy does not check, and kernels would read it."""
    # Read as unsigned, negative ones are very large: one pass checks both ends.
    if indices.size and int(indices.view(f"u{indices.itemsize}").max()) >= n_features:
        raise ValueError(
            f"A sparse matrix of {n_features} columns has numbers in columns from "
            f"{int(indices.min())} to {int(indices.max())}: its indices are damaged."
        )


def sparse_matrix(parts: Csr) -> SparseMatrix:
    """Return the matrix with these arrays."""
    own = own_parts(parts)
    if isinstance(parts.data, np.ndarray):
        return scipy_csr(own)
    shape = (len(own.indptr) - 1, own.n_features)
    matrix = importlib.import_module(_CUDA_MODULE).csr_matrix(tuple(own[:3]), shape=shape)
    matrix.has_canonical_format = True
    return matrix


def scipy_csr(parts: Csr) -> SparseMatrix:
    """Return a SciPy matrix of arrays that are known to be valid, without a check or a copy."""
    # SciPy's constructor checks all of them, and copies those that are a small part of others.
    data, indices, indptr, n_features = parts
    matrix = scipy.sparse.csr_array((len(indptr) - 1, n_features), dtype=data.dtype)
    kind = np.int32 if len(data) <= np.iinfo(np.int32).max else np.int64  # SciPy needs one kind
    matrix.data = data
    matrix.indices, matrix.indptr = (each.astype(kind, copy=False) for each in (indices, indptr))
    return matrix


def sparse_to_host(matrix: SparseMatrix) -> SparseMatrix:
    """Return the matrix as a SciPy matrix."""
    return matrix if scipy.sparse.issparse(matrix) else matrix.get()


def own_parts(parts: Csr) -> Csr:
    """Return arrays with only these rows, where the given ones hold others too."""
    data, indices, indptr, n_features = parts
    first, last = int(indptr[0]), int(indptr[-1])
    if first == 0 and last == len(data):
        return parts
    return Csr(data[first:last], indices[first:last], indptr - first, n_features)


def gathered_parts(parts: Csr, rows: Any) -> Csr:
    """Return the arrays of the rows with these indices; waits for the device."""
    starts = parts.indptr[rows]
    ends = (parts.indptr[rows + 1] - starts).cumsum()
    begins = _joined(parts.indptr[:1] * 0, ends)
    copied = copiers_of_rows[-1 if isinstance(starts, np.ndarray) else 0]
    return Csr(*copied(parts, starts, begins), begins, parts.n_features)


def _copied_place_by_place(parts: Csr, starts: Any, begins: Any) -> tuple[Any, Any]:
    """Return the numbers and columns of rows from where they start, and where copies begin."""
    ends = begins[1:]
    places = _ranges(starts, ends - begins[:-1], ends)
    return parts.data[places], parts.indices[places]


#: the last of these is called for NumPy's arrays; kernels that are compiled add a faster one
copiers_of_rows: list[Callable[[Csr, Any, Any], tuple[Any, Any]]] = [_copied_place_by_place]


def dense_rows(parts: Csr, rows: Any = None) -> Any:
    """Return all rows, or those with these indices, as a dense array; waits for no device."""
    if not isinstance(parts.data, np.ndarray):
        return _dense_on_cuda(parts, rows)
    n_rows = len(parts.indptr) - 1 if rows is None else len(rows)
    if n_rows <= _FEW_ROWS:
        return _few_dense(parts, rows)
    chosen = parts if rows is None else gathered_parts(parts, rows)
    dense: Any = sparse_matrix(chosen).toarray()
    return dense


#: for up to this number of rows, a loop is faster than making a matrix of them
_FEW_ROWS = 32


def _few_dense(parts: Csr, rows: Any) -> Any:
    data, indices, indptr, n_features = parts
    firsts, lasts = indptr[:-1], indptr[1:]
    if rows is not None:
        firsts, lasts = firsts[rows], lasts[rows]
    dense = np.zeros((len(firsts), n_features), data.dtype)
    ends = zip(firsts.tolist(), lasts.tolist(), strict=True)
    for number, (first, last) in enumerate(ends):
        dense[number, indices[first:last]] = data[first:last]
    return dense


def _ranges(starts: Any, lengths: Any, ends: Any) -> Any:
    """Return ``starts[i], starts[i] + 1, ...`` (``lengths[i]`` of them) for each i in turn."""
    shifts = starts - (ends - lengths)
    if isinstance(starts, np.ndarray):
        return np.repeat(shifts, lengths) + np.arange(lengths.sum())
    cupy = importlib.import_module("cupy")
    places = cupy.arange(int(lengths.sum()))
    return places + shifts[cupy.searchsorted(ends, places, side="right")]


def _joined(left: Any, right: Any) -> Any:
    library = np if isinstance(left, np.ndarray) else importlib.import_module("cupy")
    return library.concatenate([left, right])


def _dense_on_cuda(parts: Csr, rows: Any) -> Any:
    cupy = importlib.import_module("cupy")
    n_rows = len(parts.indptr) - 1 if rows is None else len(rows)
    dense = cupy.zeros((n_rows, parts.n_features), parts.data.dtype)
    chosen = cupy.arange(n_rows) if rows is None else rows
    if dense.size:
        _scatter()(
            parts.data,
            parts.indices,
            parts.indptr,
            chosen.astype(np.int64, copy=False),
            parts.n_features,
            dense,
            size=_LANES * n_rows,
        )
    return dense


def scaled_data(parts: Csr, length: float) -> Any:
    """Return the numbers of ``data``, with each row scaled to a length; zeros stay zeros.

    Parameters
    ----------
    parts : Csr
        The rows; where the arrays hold other rows too, the numbers of these stay as they are.
    length : float
        The wanted root of the sum of the squares of a row's numbers.

    Returns
    -------
    array of shape (n_stored,)
    """
    data, _, indptr, _ = parts
    scaled = data.copy()
    if not isinstance(data, np.ndarray):
        if len(indptr) > 1:
            _scale()(data, indptr, length, scaled, size=len(indptr) - 1)
        return scaled
    is_there = indptr[1:] > indptr[:-1]  # for an empty row, reduceat takes the next row's number
    if is_there.any():
        first, last = int(indptr[0]), int(indptr[-1])
        starts, counts = indptr[:-1][is_there] - first, np.diff(indptr)[is_there]
        rows = scaled[first:last]
        # Scale numbers to at most 1 first: squares of others might overflow, or vanish.
        greatest = np.maximum.reduceat(np.abs(rows), starts)
        rows /= np.repeat(np.where(greatest > 0.0, greatest, 1.0).astype(data.dtype), counts)
        lengths = np.sqrt(np.add.reduceat(rows * rows, starts, dtype=np.float64))
        factors = length / np.where(lengths > 0.0, lengths, 1.0)
        rows *= np.repeat(factors.astype(data.dtype), counts)
    return scaled


#: threads for each row
_LANES = 32


@functools.cache
def _scale() -> Any:
    return importlib.import_module("cupy").ElementwiseKernel(
        "raw T data, raw int64 indptr, float64 length",
        "raw T scaled",
        """
        double greatest = 0.0, sq_length = 0.0;
        for (long long at = indptr[i]; at < indptr[i + 1]; ++at) {
            const double number = fabs((double)data[at]);
            // Written so that NaN stays NaN.
            if (!(number <= greatest)) greatest = number;
        }
        for (long long at = indptr[i]; at < indptr[i + 1]; ++at) {
            const double number = (double)data[at] / greatest;
            sq_length += number * number;
        }
        for (long long at = indptr[i]; at < indptr[i + 1]; ++at) {
            const double number = (double)data[at] / greatest;
            scaled[at] = greatest == 0.0 ? (T)0 : (T)(number * (length / sqrt(sq_length)));
        }
        """,
        "kmeans_xp_scale_sparse_rows",
    )


@functools.cache
def _scatter() -> Any:
    # CuPy's own conversion reads on the host where the rows begin, and so waits.
    return importlib.import_module("cupy").ElementwiseKernel(
        "raw T data, raw int32 indices, raw int64 indptr, raw int64 rows, int64 n_features",
        "raw T dense",
        f"""
        const long long number = i / {_LANES}, row = rows[number];
        for (long long at = indptr[row] + i % {_LANES}; at < indptr[row + 1]; at += {_LANES}) {{
            dense[number * n_features + indices[at]] = data[at];
        }}
        """,
        "kmeans_xp_scatter_sparse_rows",
    )
