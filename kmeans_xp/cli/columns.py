"""Which columns of a table are clustered, and their values as one matrix."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmeans_xp.cli.labels import LABEL_COLUMN
from kmeans_xp.cli.tables import TableError

__all__ = ["Chosen", "choose", "matrix", "named"]

NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
ROWS_TOLD = 5


class Chosen(NamedTuple):
    """The columns to cluster, and for each other one why not."""

    names: list[str]
    skipped: dict[str, str]


def choose(table: pa.Table, path: Path) -> Chosen:
    """Take the columns of numbers."""
    kinds = {field.name: _kind(field.type) for field in table.schema}
    names = [name for name, kind in kinds.items() if kind == "numbers"]
    skipped = {name: kind for name, kind in kinds.items() if kind != "numbers"}
    for name in skipped:
        _check_not_spoiled(table, name, path)
    if LABEL_COLUMN in names and len(names) > 1:
        names.remove(LABEL_COLUMN)
        skipped[LABEL_COLUMN] = "labels of an earlier run"
    if not names:
        found = ", ".join(f"{name} ({kind})" for name, kind in skipped.items())
        raise TableError(f"{path} has no column of numbers to cluster. Its columns: {found}.")
    return Chosen(names, skipped)


def named(table: pa.Table, names: Sequence[str], path: Path) -> list[str]:
    """Take the columns of these names; true and false count as 1 and 0."""
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise TableError(
            f"{path} has no column {', '.join(map(repr, missing))}. "
            f"Its columns: {', '.join(table.column_names)}."
        )
    for name in names:
        kind = _kind(table.schema.field(name).type)
        if kind not in ("numbers", "true or false", "nothing"):
            _check_not_spoiled(table, name, path)
            raise TableError(f"Column {name!r} of {path} holds {kind}, not numbers.")
    return list(names)


def matrix(table: pa.Table, names: Sequence[str], path: Path) -> np.ndarray[Any, Any]:
    """Return columns as float64, or float32 if all of them are no wider."""
    types = [table.schema.field(name).type for name in names]
    narrow = all(t in (pa.float16(), pa.float32()) for t in types)
    points = np.empty((table.num_rows, len(names)), np.float32 if narrow else np.float64)
    for i, name in enumerate(names):
        column = pc.cast(table.column(name), pa.from_numpy_dtype(points.dtype), safe=False)
        points[:, i] = column.fill_null(np.nan).to_numpy()
    _check_all(~np.isnan(points), "missing values", names, path)
    _check_all(~np.isinf(points), "infinite values", names, path)
    return points


def _kind(dtype: pa.DataType) -> str:
    """Return what a column holds, in words."""
    types = pa.types
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype):
        return "numbers"
    if types.is_boolean(dtype):
        return "true or false"
    if types.is_temporal(dtype):
        return "times"
    if types.is_null(dtype):
        return "nothing"
    return "text" if _is_text(dtype) else str(dtype)


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype))


def _check_not_spoiled(table: pa.Table, name: str, path: Path) -> None:
    """Raise for a column of numbers that a few cells turn into text."""
    column = table.column(name)
    if not _is_text(column.type):
        return
    numeric = pc.fill_null(pc.match_substring_regex(column, NUMBER), True).to_numpy()
    others = np.flatnonzero(~numeric)
    n_numbers = len(column) - column.null_count - len(others)
    if n_numbers > len(others) > 0:
        first = others[0]
        raise TableError(
            f"Column {name!r} of {path} holds numbers, but also text in {len(others):,} of "
            f"{len(column):,} rows, first {column[int(first)].as_py()!r} in row {first + 1}. "
            "Correct or empty these cells, or choose other columns with --columns."
        )


def _check_all(good: np.ndarray[Any, Any], what: str, names: Sequence[str], path: Path) -> None:
    rows = np.flatnonzero(~good.all(axis=1))
    if not len(rows):
        return
    counts = zip(names, np.count_nonzero(~good, axis=0), strict=True)
    where = ", ".join(f"{name} ({count:,})" for name, count in counts if count)
    first = ", ".join(str(row + 1) for row in rows[:ROWS_TOLD])
    raise TableError(
        f"{len(rows):,} of {len(good):,} rows of {path} have {what}, in {where}; "
        f"rows {first}{', ...' if len(rows) > ROWS_TOLD else ''} (the first row of data is 1). "
        "Fill in or delete these rows, or choose other columns with --columns."
    )
