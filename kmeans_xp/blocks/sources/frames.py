"""Which kind of chunk an iterator gives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from kmeans_xp.blocks.sources.arrow import ArrowColumns
from kmeans_xp.blocks.sources.columns import ArrayColumns, Columns
from kmeans_xp.blocks.sources.pandas_frames import PandasColumns
from kmeans_xp.devices import adopted

__all__ = ["columns_of", "library_of"]


def library_of(value: Any) -> str:
    """Return the top-level package that defines the type of a value."""
    return type(value).__module__.partition(".")[0]


def columns_of(chunk: Any, columns: Sequence[Any] | None, weight: Any | None, name: str) -> Columns:
    """Return which columns are used, of chunks that are like this one."""
    library = library_of(chunk)
    if library == "pandas":
        return PandasColumns(chunk, columns, weight, name)
    if library in ("polars", "pyarrow"):
        return ArrowColumns.of_table(chunk, columns, weight, name)
    if sparse.issparse(chunk):
        return ArrayColumns(chunk.shape, chunk.dtype, columns, weight, name, is_sparse=True)
    array = np.asarray(adopted(chunk))
    return ArrayColumns(array.shape, array.dtype, columns, weight, name)
