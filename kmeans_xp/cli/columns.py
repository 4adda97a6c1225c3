"""Choose the columns of a table to cluster, and make one matrix of their values."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmeans_xp.cli.encoding import FEW_VALUES, as_text, counts_of, is_text
from kmeans_xp.cli.labels import LABEL_COLUMN
from kmeans_xp.cli.listing import listed
from kmeans_xp.cli.lists import are_lists_of_numbers
from kmeans_xp.cli.tables import TableError
from kmeans_xp.cli.text_format import perhaps_a_number

__all__ = [
    "Chosen",
    "check_all",
    "check_there",
    "choose",
    "drained",
    "matrix",
    "named",
    "numbering",
]

NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
#: name that pandas gives the row numbers in a file
INDEX = re.compile(r"__index_level_\d+__")
#: names of the labels of an earlier run
LABELS = re.compile(rf"{LABEL_COLUMN}(_\d+)?")
ROWS_TOLD = 5
_ADVICE = "Fill in or delete these rows, or choose other columns with --columns or --exclude"
#: number of rows to check whether text may be numbers
ROWS_SEEN = 1_000
_STYLE_ADVICE = "; --decimal and --thousands set the number format of a text file"
#: with at most this number of rows, a column does not count as row numbers
FEW_ROWS = 10
#: maximum of values in a column of text that the user names: each value becomes a column
MOST_VALUES = 1_000


class Chosen(NamedTuple):
    """The columns to cluster, and the reason why each other column is left out."""

    names: list[str]
    skipped: dict[str, str]


def choose(
    table: pa.Table, path: Path, excluded: Sequence[str] = (), *, encode: bool = False
) -> Chosen:
    """Choose the columns of numbers, except excluded ones and row numbers.

    With `encode`, also choose columns of true and false, and columns of text with few values.
    """
    check_there(table, excluded, path)
    skipped = {
        name: f"holds {kind}" for name in table.column_names if (kind := _other(table, name))
    }
    skipped |= dict.fromkeys(excluded, "excluded")
    for name in skipped:
        if name not in excluded:
            _check_not_spoiled(table, name, path)
    if encode:
        for name in [name for name in skipped if name not in excluded]:
            if (why := _why_not_encoded(table, name)) is None:
                del skipped[name]
            else:
                skipped[name] = why
    names = [name for name in table.column_names if name not in skipped]
    for name in list(names):
        if (kind := _no_feature(name, table.column_names)) and len(names) > 1:
            names.remove(name)
            skipped[name] = f"holds {kind}"
    if not names:
        found = listed(f"{name} ({kind})" for name, kind in skipped.items())
        if any(_perhaps_numbers(table, name) for name in table.column_names):
            found += _STYLE_ADVICE
        raise TableError(f"{path} has no column of numbers to cluster. Its columns: {found}.")
    return Chosen(
        names, {name or "the column without a name": why for name, why in skipped.items()}
    )


def _other(table: pa.Table, name: str) -> str | None:
    """Return what a column holds if it does not hold numbers."""
    kind = _kind(table.schema.field(name).type)
    return None if kind == "numbers" else kind


def _why_not_encoded(table: pa.Table, name: str) -> str | None:
    """Return why a column without numbers cannot be encoded; None if it can."""
    kind = _other(table, name)
    if kind != "text":
        return None if kind == "true or false" else f"holds {kind}"
    n_values = len(counts_of(table.column(name)))
    if n_values < 2:
        return "holds the same text in all rows"
    if n_values > min(FEW_VALUES, table.num_rows // 2):
        return f"holds {n_values:,} different texts"
    return None


def _no_feature(name: str, names: Sequence[str]) -> str | None:
    """Return what a column of numbers holds if its name shows that it is not a feature."""
    # R and pandas write row names or numbers as the first column, without a name. Pandas reads
    # that as "Unnamed: 0", and uses a special name in Parquet.
    is_first = name == names[0]
    if (is_first and name.strip() in ("", "Unnamed: 0")) or INDEX.fullmatch(name):
        return "row numbers"
    if LABELS.fullmatch(name):
        return "labels of an earlier run"
    return None


def numbering(values: np.ndarray[Any, Any], names: Sequence[str]) -> list[str]:
    """Return the columns of whole numbers that increase from each row to the next."""
    if len(values) < FEW_ROWS:
        return []
    with np.errstate(invalid="ignore"):
        return [
            name
            for name, column in zip(names, values.T, strict=True)
            if np.all(np.diff(column) > 0) and np.all(column == np.floor(column))
        ]


def named(table: pa.Table, names: Sequence[str], path: Path, *, encode: bool = False) -> list[str]:
    """Choose the columns with these names; true and false count as 1 and 0.

    With `encode`, they may also hold text.
    """
    check_there(table, names, path)
    for name in names:
        kind = _kind(table.schema.field(name).type)
        if kind in ("numbers", "true or false", "nothing"):
            continue
        _check_not_spoiled(table, name, path)
        if kind != "text" or not encode:
            advice = "; --encode turns it into columns of 0 and 1" if kind == "text" else ""
            if _perhaps_numbers(table, name):
                advice = _STYLE_ADVICE
            raise TableError(f"Column {name!r} of {path} holds {kind}, not numbers{advice}.")
        if (n_values := len(counts_of(table.column(name)))) > MOST_VALUES:
            raise TableError(
                f"Column {name!r} of {path} holds {n_values:,} different texts, and each would "
                f"become a column: --encode allows at most {MOST_VALUES:,}."
            )
    return list(names)


def check_there(table: pa.Table, names: Iterable[str], path: Path) -> None:
    """Raise if the table has no column of one of these names."""
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise TableError(
            f"{path} has no column {listed(map(repr, missing))}. {_alike(missing, table)}"
            f"Its columns: {listed(table.column_names)}."
        )


def drained(batches: list[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Take the batches out of a list, and yield each as a table.

    If nobody else holds a batch, its memory is free again for what is made of the next ones.
    """
    batches.reverse()
    while batches:
        yield pa.Table.from_batches([batches.pop()])
        pa.default_memory_pool().release_unused()


def matrix(
    parts: Iterable[pa.Table], schema: pa.Schema, n_rows: int, path: Path
) -> np.ndarray[Any, Any]:
    """Return the rows as float64, or float32 if no column is wider; missing values become NaN.

    Parameters
    ----------
    parts : iterable of pyarrow.Table
        The rows of the file, in parts.
    schema : pyarrow.Schema
        The schema of each part: columns of numbers.
    n_rows : int
        Number of rows of all parts.
    path : Path
        The file, for messages.
    """
    narrow = all(kind in (pa.float16(), pa.float32()) for kind in schema.types)
    points = np.empty((n_rows, len(schema)), np.float32 if narrow else np.float64)
    start, is_finite = 0, True
    for part in parts:
        here = points[start : start + part.num_rows]
        start += part.num_rows
        _write_numbers(part, here)
        is_finite &= not np.isinf(here).any()
        del part  # before the next one is made
    if not is_finite:
        check_all(~np.isinf(points), "infinite values", schema.names, path)
    return points


def _write_numbers(part: pa.Table, points: np.ndarray[Any, Any]) -> None:
    for i, column in enumerate(part.columns):
        numbers = pc.cast(column, pa.from_numpy_dtype(points.dtype), safe=False)
        points[:, i] = numbers.fill_null(np.nan).to_numpy()


def _alike(missing: Sequence[str], table: pa.Table) -> str:
    """Return a sentence that names columns with similar names, or "" without any."""
    found = [
        name for each in missing for name in difflib.get_close_matches(each, table.column_names, 1)
    ]
    return f"Do you mean {listed(map(repr, found))}? " if found else ""


def _kind(dtype: pa.DataType) -> str:
    """Describe the content of a column."""
    types = pa.types
    if (
        are_lists_of_numbers(dtype)
        or types.is_integer(dtype)
        or types.is_floating(dtype)
        or types.is_decimal(dtype)
    ):
        return "numbers"
    if types.is_boolean(dtype):
        return "true or false"
    if types.is_temporal(dtype):
        return "times"
    if types.is_null(dtype):
        return "nothing"
    return "text" if is_text(dtype) else str(dtype)


def _check_not_spoiled(table: pa.Table, name: str, path: Path) -> None:
    """Raise if a column holds numbers, but also text in a few cells."""
    column = table.column(name)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return
    numeric = pc.fill_null(pc.match_substring_regex(column, NUMBER), True).to_numpy()
    others = np.flatnonzero(~numeric)
    n_numbers = len(column) - column.null_count - len(others)
    if n_numbers > len(others) > 0:
        first = others[0]
        raise TableError(
            f"Column {name!r} of {path} holds numbers, but also text in {len(others):,} of "
            f"{len(column):,} rows, first {column[int(first)].as_py()!r} in row {first + 1}. "
            "Correct or empty these cells, or choose other columns with --columns"
            f"{_STYLE_ADVICE if _perhaps_numbers(table, name) else ''}."
        )


def _perhaps_numbers(table: pa.Table, name: str) -> bool:
    """Return whether text may be numbers in another number format."""
    column = table.column(name)
    if not is_text(column.type):
        return False
    return any(map(perhaps_a_number, as_text(column.slice(0, ROWS_SEEN)).to_pylist()))


def check_all(
    good: np.ndarray[Any, Any], what: str, names: Sequence[str], path: Path, advice: str = _ADVICE
) -> None:
    """Raise if some rows are not good in all columns, and say what to do."""
    rows = np.flatnonzero(~good.all(axis=1))
    if not len(rows):
        return
    counts = zip(names, np.count_nonzero(~good, axis=0), strict=True)
    where = listed(f"{name} ({count:,})" for name, count in counts if count)
    first = ", ".join(str(row + 1) for row in rows[:ROWS_TOLD])
    raise TableError(
        f"{len(rows):,} of {len(good):,} rows of {path} have {what}, in {where}; "
        f"rows {first}{', ...' if len(rows) > ROWS_TOLD else ''} (the first row of data is 1). "
        f"{advice}."
    )
