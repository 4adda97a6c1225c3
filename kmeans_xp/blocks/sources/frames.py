"""The kinds of chunks that an iterator may give."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kmeans_xp.blocks.sources.arrow import ArrowColumns, has_lists
from kmeans_xp.blocks.sources.columns import ArrayColumns, Columns
from kmeans_xp.blocks.sources.pandas_frames import PandasColumns, holds_lists
from kmeans_xp.devices import adopted, is_sparse, to_host

__all__ = ["columns_of", "header_of", "library_of", "unnested"]


def library_of(value: Any) -> str:
    """Return the top-level package that defines the type of a value."""
    return type(value).__module__.partition(".")[0]


def columns_of(chunk: Any, columns: Sequence[Any] | None, weight: Any | None, name: str) -> Columns:
    """Return the columns to use from chunks that are like this one."""
    library = library_of(chunk)
    if library == "pandas":
        return PandasColumns(chunk, columns, weight, name)
    if library in ("polars", "pyarrow"):
        return ArrowColumns.of_table(chunk, columns, weight, name)
    if is_sparse(chunk):
        return ArrayColumns(chunk.shape, chunk.dtype, columns, weight, name, is_sparse=True)
    array = np.asarray(to_host(adopted(chunk)))
    return ArrayColumns(array.shape, array.dtype, columns, weight, name)


def unnested(frame: Any) -> tuple[np.ndarray[Any, Any], Any] | None:
    """Return the points and the header of a data frame with a column of lists.

    Parameters
    ----------
    frame : object

    Returns
    -------
    tuple of array and header, or None
        The points, of shape (n_rows, n_features), in float32 or float64, and their `header_of`.
        None if it is not a data frame, or has no column of lists.

    Raises
    ------
    ValueError
        If another column holds no numbers, or lists have unequal lengths.
    """
    library = library_of(frame)
    if library == "pandas":
        has = any(kind == "O" and holds_lists(frame[name]) for name, kind in _kinds(frame))
    else:
        has = library in ("polars", "pyarrow") and has_lists(frame)
    if not has:
        return None
    names = frame.column_names if library == "pyarrow" else list(frame.columns)
    columns = columns_of(frame, names, None, type(frame).__name__)
    points = columns.block(frame).points
    return points, header_of(columns.layout.feature_names, points.shape[1])


def header_of(names: Sequence[str] | None, n_features: int) -> Any:
    """Return a frame or array without rows; scikit-learn reads the features' names from it."""
    if names is None:
        return np.empty((0, n_features))
    try:
        import pyarrow as pa
    except ImportError:
        import pandas as pd

        return pd.DataFrame(columns=list(names))
    return pa.table({name: pa.array([], pa.float64()) for name in names})


def _kinds(frame: Any) -> Iterator[tuple[Any, str]]:
    """Yield name and kind of the columns of a data frame; nothing for a single column."""
    if hasattr(frame, "columns"):
        yield from ((name, dtype.kind) for name, dtype in frame.dtypes.items())
