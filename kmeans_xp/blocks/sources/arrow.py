"""Points and weights of Arrow tables, record batches, and data frames of polars."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kmeans_xp.blocks.sources.columns import block_dtype, check_as_wide
from kmeans_xp.blocks.sources.names import chosen_names
from kmeans_xp.blocks.sources.picking import SourceBlock
from kmeans_xp.blocks.sources.source import Layout

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ArrowColumns", "Filling", "has_lists"]

#: number of values in a tile, which is transposed while it is in the processor's cache
_TILE = 2**17

Array = np.ndarray[Any, Any]


class _Field(NamedTuple):
    """A column of points: its name and its number of features."""

    name: str
    width: int
    is_list: bool

    def feature_names(self) -> list[str]:
        if not self.is_list:
            return [self.name]
        return [f"{self.name}[{i}]" for i in range(self.width)]


class ArrowColumns:
    """Columns of an Arrow schema, by name; each position of a list is a feature.

    Parameters
    ----------
    schema : pyarrow.Schema
        Schema of all chunks.
    columns : sequence of str, or None
        Columns of points; None for all columns of numbers except the weight.
    weight : str, or None
        Column of weights.
    name : str
        Name of the source.
    first_row : callable
        Returns a table of the first row of a column, for the length of its lists.
    """

    def __init__(
        self,
        schema: "pa.Schema",
        columns: Sequence[str] | None,
        weight: str | None,
        name: str,
        first_row: Callable[[str], "pa.Table"],
    ) -> None:
        chosen = chosen_names(
            schema.names,
            [field.name for field in schema if _kind(field.type) == "numbers"],
            columns,
            weight,
            name,
            lambda each: _why_not_numbers(schema.field(each).type),
        )
        self._fields = [_field(schema.field(each), first_row, name) for each in chosen]
        self._weight = weight
        types = (_number_type(schema.field(each).type) for each in chosen)
        dtype = block_dtype((each.to_pandas_dtype() for each in types), name)
        names = tuple(each for field in self._fields for each in field.feature_names())
        self.layout = Layout(len(names), dtype, names, weight is not None)

    @classmethod
    def of_table(
        cls, chunk: Any, columns: Sequence[str] | None, weight: str | None, name: str
    ) -> "ArrowColumns":
        """Return the columns of tables with the same schema as this one."""
        table = _as_arrow(chunk)
        return cls(
            table.schema, columns, weight, name, lambda each: table.select([each]).slice(0, 1)
        )

    @property
    def names(self) -> list[str]:
        """The columns to read."""
        return [field.name for field in self._fields] + ([self._weight] if self._weight else [])

    def block(self, chunk: Any) -> SourceBlock:
        """Return the points and weights of a table."""
        table = _as_arrow(chunk)
        filling = Filling(self, table.num_rows)
        for batch in table.to_batches():
            filling.add(batch)
        return filling.block()

    def fill(self, batch: "pa.RecordBatch", points: Array, weights: Array | None) -> None:
        """Write the rows of a record batch to arrays with as many rows."""
        missing = [name for name in self.names if name not in batch.schema.names]
        if missing:
            raise ValueError(f"it has no column {', '.join(map(repr, missing))}")
        parts = [_numbers(batch.column(field.name), field) for field in self._fields]
        check_as_wide(block_dtype((part.dtype for part in parts), "it"), self.layout)
        _write_transposed(parts, points)
        if weights is not None:
            weights[:] = _numbers(batch.column(self._weight), _Field(str(self._weight), 1, False))


class Filling:
    """A block that is filled from record batches, without an intermediate copy.

    Parameters
    ----------
    columns : ArrowColumns
        Columns of the block.
    n_rows : int
        Maximum number of rows.
    """

    def __init__(self, columns: ArrowColumns, n_rows: int) -> None:
        layout = columns.layout
        self._columns = columns
        self._points = np.empty((n_rows, layout.n_features), layout.dtype)
        self._weights = np.empty(n_rows, layout.dtype) if layout.is_weighted else None
        self._n_filled = 0

    @property
    def is_full(self) -> bool:
        """Whether there is no room for more rows."""
        return self._n_filled == len(self._points)

    def add(self, batch: "pa.RecordBatch") -> int:
        """Add as many rows as there is room for, and return their number."""
        n_rows: int = min(batch.num_rows, len(self._points) - self._n_filled)
        here = slice(self._n_filled, self._n_filled + n_rows)
        weights = None if self._weights is None else self._weights[here]
        self._columns.fill(batch.slice(0, n_rows), self._points[here], weights)
        self._n_filled += n_rows
        return n_rows

    def block(self) -> SourceBlock:
        """Return the added rows."""
        if self.is_full:
            return SourceBlock(self._points, self._weights)
        here = slice(0, self._n_filled)  # copy it, to free the rest
        weights = None if self._weights is None else self._weights[here].copy()
        return SourceBlock(self._points[here].copy(), weights)


def has_lists(frame: Any) -> bool:
    """Return whether a table, or a data frame of polars, has a column of lists."""
    if hasattr(frame, "dtypes"):
        return any(hasattr(kind, "inner") for kind in frame.dtypes)
    return any(_is_list(field.type) for field in getattr(frame, "schema", ()))


def _as_arrow(chunk: Any) -> "pa.Table":
    """Convert a table, a record batch or a data frame of polars to a table, without a copy."""
    import pyarrow as pa

    if isinstance(chunk, pa.Table):
        return chunk
    if isinstance(chunk, pa.RecordBatch):
        return pa.Table.from_batches([chunk])
    if not hasattr(chunk, "to_arrow"):
        raise TypeError(f"{type(chunk).__name__} is not a table; collect or read it first.")
    return chunk.to_arrow()


def _write_transposed(parts: list[Array], points: Array) -> None:
    """Write parts of shape (width, n_rows) side by side, as columns of the points."""
    if len(parts) == 1:
        points[:] = parts[0].T
        return
    # A write column by column would load each cache line once for every column.
    n_rows = max(1, _TILE // points.shape[1])
    for start in range(0, len(points), n_rows):
        tile = slice(start, start + n_rows)
        points[tile] = np.concatenate([part[:, tile] for part in parts]).T


def _numbers(column: "pa.Array", field: _Field) -> Array:
    """Return the numbers of a column, of shape (width, n_rows)."""
    _refuse_nulls(column, field.name)
    if not field.is_list:
        return _to_numpy(column)[None, :]
    _check_lengths(column, field)
    numbers = column.flatten()
    _refuse_nulls(numbers, field.name)
    return _to_numpy(numbers).reshape(len(column), field.width).T


def _to_numpy(column: "pa.Array") -> Array:
    numbers: Array = column.to_numpy(zero_copy_only=False)
    return numbers


def _refuse_nulls(column: "pa.Array", name: str) -> None:
    if column.null_count:
        raise ValueError(
            f"column {name!r} has nulls ({column.null_count:,} in these rows); fill them, or drop "
            "those rows first"
        )


def _check_lengths(column: "pa.Array", field: _Field) -> None:
    import pyarrow.compute as pc

    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if lengths != [field.width]:
        raise ValueError(
            f"the lists of column {field.name!r} have {', '.join(map(str, sorted(lengths)))} "
            f"numbers, but the first one has {field.width}; lists must have equal lengths"
        )


def _kind(kind: "pa.DataType") -> str:
    """Return "numbers", "true or false", or the type of a column."""
    import pyarrow.types as types

    if types.is_boolean(kind):
        return "true or false"
    number = _number_type(kind)
    is_number = types.is_integer(number) or types.is_floating(number)
    return "numbers" if is_number else str(kind)


def _why_not_numbers(kind: "pa.DataType") -> str:
    held = _kind(kind)
    return "" if held in ("numbers", "true or false") else held


def _number_type(kind: "pa.DataType") -> "pa.DataType":
    """Return the type of the numbers in a column, or in its lists."""
    return kind.value_type if _is_list(kind) else kind


def _is_list(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    return bool(types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind))


def _field(field: "pa.Field", first_row: Callable[[str], "pa.Table"], name: str) -> _Field:
    if not _is_list(field.type):
        return _Field(field.name, 1, False)
    if hasattr(field.type, "list_size"):
        return _Field(field.name, field.type.list_size, True)
    first = first_row(field.name)
    if not first.num_rows or not first.column(0)[0].as_py():
        raise ValueError(
            f"Column {field.name!r} of {name} has no list in its first row, so the number of "
            "features is unknown."
        )
    return _Field(field.name, len(first.column(0)[0]), True)
