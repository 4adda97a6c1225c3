"""Points and weights of a chunk as its library holds it: an array, or a CSR matrix."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from kmeans_xp.blocks.sources.picking import SourceBlock
from kmeans_xp.blocks.sources.source import Layout
from kmeans_xp.devices import adopted

__all__ = ["ArrayColumns", "Columns", "block_dtype", "check_as_wide"]

#: read as float32; all other real numbers as float64
_NARROW = ("float16", "bfloat16", "float32")


class Columns(Protocol):
    """Which columns of a chunk are points, and which are weights."""

    @property
    def layout(self) -> Layout:
        """What the blocks have in common."""

    def block(self, chunk: Any) -> SourceBlock:
        """Return the points and weights of a chunk."""


def block_dtype(dtypes: Iterable[Any], name: str) -> np.dtype[Any]:
    """Return what columns of these dtypes are read as: float32 if none is wider, else float64."""
    is_narrow = True
    for dtype in map(np.dtype, dtypes):
        if dtype.name in _NARROW:
            continue
        if dtype.kind not in "biuf":
            raise ValueError(f"{name} holds {dtype}: rows must be of real numbers.")
        is_narrow = False
    return np.dtype(np.float32 if is_narrow else np.float64)


def check_as_wide(found: np.dtype[Any], layout: Layout) -> None:
    """Raise if later chunks are wider than the first, which would lose digits unseen."""
    if found.itemsize > layout.dtype.itemsize:
        raise ValueError(
            f"it is to be read as {found}, and the first chunk as {layout.dtype}. Give all chunks "
            "one dtype."
        )


class ArrayColumns:
    """Columns of a 2-D array or a CSR matrix, by their index.

    Parameters
    ----------
    shape : tuple of int
        Of the whole, or of a first chunk.
    dtype : dtype
        Of the array.
    columns : sequence of int, or None
        Those that are points; None takes all but the weight.
    weight : int, or None
        The one that holds weights.
    name : str
        Of the source.
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
                f"{name} is a {len(shape)}D array of shape {tuple(shape)}: rows are a 2D array "
                "of shape (n_rows, n_features)."
            )
        self._n_columns = int(shape[1])
        self._weight = None if weight is None else self._checked([weight], name)[0]
        if columns is not None:
            self._points: list[int] | None = self._checked(columns, name)
        elif weight is None:
            self._points = None  # all, without a copy
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
        chunk = np.asarray(adopted(chunk))
        self._check(chunk)
        points = chunk if self._points is None else chunk[:, self._points]
        weights = None if self._weight is None else chunk[:, self._weight]
        return SourceBlock(
            self._numbers(points), None if weights is None else self._numbers(weights)
        )

    def _sparse_block(self, chunk: Any) -> SourceBlock:
        chunk = chunk.tocsr()
        self._check(chunk)
        points = chunk if self._points is None else chunk[:, self._points]
        points = points.astype(self._layout.dtype, copy=False)
        if self._weight is None:
            return SourceBlock(points)
        return SourceBlock(points, self._numbers(chunk[:, [self._weight]].toarray()[:, 0]))

    def _check(self, chunk: Any) -> None:
        if chunk.ndim != 2 or chunk.shape[1] != self._n_columns:
            raise ValueError(
                f"it has shape {tuple(chunk.shape)}, and rows have {self._n_columns} columns."
            )
        check_as_wide(block_dtype([chunk.dtype], "it"), self._layout)

    def _numbers(self, values: Any) -> np.ndarray[Any, Any]:
        return np.ascontiguousarray(values, dtype=self._layout.dtype)

    def _checked(self, columns: Any, name: str) -> list[int]:
        if not isinstance(columns, Iterable):
            raise TypeError(f"columns must be a sequence of int, got {type(columns).__name__}.")
        for column in columns:
            if isinstance(column, bool) or not isinstance(column, (int, np.integer)):
                raise TypeError(f"{name} has columns without names: take {column!r} by its index.")
            if not -self._n_columns <= column < self._n_columns:
                raise ValueError(f"{name} has columns 0 to {self._n_columns - 1}, not {column}.")
        return [int(column) % self._n_columns for column in columns]
