"""Columns of lists of numbers, such as embeddings: each position becomes a column."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from kmeans_xp.cli.tables import TableError

__all__ = ["are_lists_of_numbers", "lengths_of", "sources_of", "unnested"]

_ELEMENT = re.compile(r"(?P<column>.+)\[\d+\]", re.DOTALL)


def are_lists_of_numbers(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds lists of numbers."""
    types = pa.types
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return False
    return bool(types.is_integer(kind.value_type) or types.is_floating(kind.value_type))


def lengths_of(table: pa.Table, names: Iterable[str], path: Path) -> dict[str, int | None]:
    """Return the length of the lists in each of these columns; None for other columns."""
    columns = {name: table.column(name) for name in names}
    return {
        name: _length(column, name, path) if are_lists_of_numbers(column.type) else None
        for name, column in columns.items()
    }


def unnested(table: pa.Table, lengths: Mapping[str, int | None]) -> pa.Table:
    """Return these columns; columns of lists become ``name[0]``, ``name[1]``, ..."""
    features: dict[str, pa.ChunkedArray] = {}
    for name, length in lengths.items():
        column = table.column(name)
        if length is None:
            features[name] = column
            continue
        for i in range(length):
            features[f"{name}[{i}]"] = pc.list_element(column, i)
    return pa.table(features)


def sources_of(features: Iterable[str], table: pa.Table) -> list[str]:
    """Return the columns of a table from which features with these names are made."""
    found = []
    for name in features:
        element = _ELEMENT.fullmatch(name)
        is_nested = name not in table.column_names and element is not None
        found.append(element["column"] if is_nested and element else name)
    return list(dict.fromkeys(found))


def _length(column: pa.ChunkedArray, name: str, path: Path) -> int:
    if pa.types.is_fixed_size_list(column.type):
        return int(column.type.list_size)
    lengths = pc.unique(pc.list_value_length(column)).drop_null().to_pylist()
    if len(lengths) != 1 or lengths == [0]:
        told = ", ".join(map(str, sorted(lengths)[:5])) or "no"
        raise TableError(
            f"Column {name!r} of {path} holds lists of {told} numbers, but lists must have equal "
            "lengths. Leave it out by --exclude."
        )
    return int(lengths[0])
