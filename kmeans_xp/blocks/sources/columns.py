"""Points and weights of a chunk that is an array or a CSR matrix."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from kmeans_xp.blocks.sources.picking import SourceBlock
from kmeans_xp.blocks.sources.source import Layout
from kmeans_xp.devices import adopted, sparse_to_host, to_host

__all__ = ["ArrayColumns", "Columns", "block_dtype", "check_as_wide"]

#: dtypes that are read as float32; all other real numbers are read as float64
_NARROW = ("float16", "bfloat16", "float32")


class Columns(Protocol):
    """The columns of points and the column of weights in a chunk."""

    @property
    def layout(self) -> Layout:
        """What the blocks have in common."""

    def block(self, chunk: Any) -> SourceBlock:
        """Return the points and weights of a chunk."""


def block_dtype(dtypes: Iterable[Any], name: str) -> np.dtype[Any]:
    """Return the dtype for columns of these dtypes: float32 if none is wider, otherwise float64."""
    is_narrow = True
    for dtype in map(np.dtype, dtypes):
        if dtype.name in _NARROW:
            continue
        if dtype.kind not in "biuf":
            raise ValueError(f"{name} holds {dtype}: rows must be of real numbers.")
        is_narrow = False
    return np.dtype(np.float32 if is_narrow else np.float64)


def check_as_wide(found: np.dtype[Any], layout: Layout) -> None:
    """Raise if a later chunk has a wider dtype than the first: it would silently lose digits."""
    if found.itemsize > layout.dtype.itemsize:
        raise ValueError(
            f"its dtype is {found}, but that of the first chunk is {layout.dtype}. Give all chunks "
            "the same dtype."
        )


class ArrayColumns:
    """Columns of a 2-D array or a CSR matrix, by index.

    Parameters
    ----------
    shape : tuple of int
        Shape of the whole array, or of a first chunk.
    dtype : dtype
        Dtype of the array.
    columns : sequence of int, or None
        Columns of points; None for all except the weight.
    weight : int, or None
        Column of weights.
    name : str
        Name of the source.
    is_sparse : bool
        Whether chunks are CSR matrices.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        columns: Sequence[int] | None,
        weight: int | None,
        name: str,
        *,
        is_sparse: bool = False,
    ) -> None:
        if len(shape) != 2:
            raise ValueError(
                f"{name} is a {len(shape)}D array of shape {tuple(shape)}: it must be a 2D array "
                "of shape (n_rows, n_features)."
            )
        self._n_columns = int(shape[1])
        self._weight = None if weight is None else self._checked([weight], name)[0]
        if columns is not None:
            self._points: list[int] | None = self._checked(columns, name)
        elif weight is None:
            self._points = None  # all columns, without a copy
        else:
            self._points = [i for i in range(self._n_columns) if i != self._weight]
        n_features = self._n_columns if self._points is None else len(self._points)
        if n_features == 0:
            raise ValueError(f"{name} has no columns to cluster (shape {tuple(shape)}).")
        numbers = block_dtype([dtype], name)
        self._layout = Layout(n_features, numbers, None, weight is not None, is_sparse)

    @property
    def layout(self) -> Layout:
        """What the blocks have in common."""
        return self._layout

    def block(self, chunk: Any) -> SourceBlock:
        """Return the points and weights of some rows."""
        if self._layout.is_sparse:
            return self._sparse_block(chunk)
        chunk = np.asarray(to_host(adopted(chunk)))
        self._check(chunk)
        points = chunk if self._points is None else chunk[:, self._points]
        weights = None if self._weight is None else chunk[:, self._weight]
        return SourceBlock(
            self._numbers(points), None if weights is None else self._numbers(weights)
        )

    def _sparse_block(self, chunk: Any) -> SourceBlock:
        chunk = sparse_to_host(chunk).tocsr()
        self._check(chunk)
        points = chunk if self._points is None else chunk[:, self._points]
        points = points.astype(self._layout.dtype, copy=False)
        if self._weight is None:
            return SourceBlock(points)
        return SourceBlock(points, self._numbers(chunk[:, [self._weight]].toarray()[:, 0]))

    def _check(self, chunk: Any) -> None:
        if chunk.ndim != 2 or chunk.shape[1] != self._n_columns:
            raise ValueError(
                f"it has shape {tuple(chunk.shape)}, but rows have {self._n_columns} columns."
            )
        check_as_wide(block_dtype([chunk.dtype], "it"), self._layout)

    def _numbers(self, values: Any) -> np.ndarray[Any, Any]:
        return np.ascontiguousarray(values, dtype=self._layout.dtype)

    def _checked(self, columns: Any, name: str) -> list[int]:
        if not isinstance(columns, Iterable):
            raise TypeError(f"columns must be a sequence of int, got {type(columns).__name__}.")
        for column in columns:
            if isinstance(column, bool) or not isinstance(column, (int, np.integer)):
                raise TypeError(f"{name} has columns without names: give the index of {column!r}.")
            if not -self._n_columns <= column < self._n_columns:
                raise ValueError(f"{name} has columns 0 to {self._n_columns - 1}, not {column}.")
        return [int(column) % self._n_columns for column in columns]
