"""Columns of text as columns of 0 and 1, one for each value (one-hot encoding)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmeans_xp.cli.listing import listed

__all__ = ["FEW_VALUES", "Encoding", "as_text", "counts_of", "is_text"]

Matrix = np.ndarray[Any, Any]

#: maximum of values in a column to encode it, or compare it with clusters, by default
FEW_VALUES = 20
VALUES_TOLD = 5


class Encoding(NamedTuple):
    """The features made from a table's columns: a number, or 1 where the text has a given value.

    Parameters
    ----------
    columns : array of str of shape (n_features,)
        The table's column from which each feature is made.
    values : array of str of shape (n_features,)
        The text for which the feature is 1; "" for an empty cell.
    is_encoded : array of bool of shape (n_features,)
        Whether the column is text; a column of numbers is itself a feature.
    """

    columns: Matrix
    values: Matrix
    is_encoded: Matrix

    @classmethod
    def of(cls, table: pa.Table, names: Sequence[str]) -> Self | None:
        """Return the encoding of these columns; None if all of them hold numbers."""
        features = [
            (name, value, is_text(table.schema.field(name).type))
            for name in names
            for value in _values(table.column(name))
        ]
        columns, values, encoded = zip(*features, strict=True)
        if not any(encoded):
            return None
        found = cls(np.array(columns, object), np.array(values, object), np.array(encoded))
        if twice := {name for name in found.names if found.names.count(name) > 1}:
            raise ValueError(f"Encoded columns would have equal names: {listed(sorted(twice))}.")
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Matrix]) -> Self | None:
        """Rebuild it from `to_arrays`; None if the arrays are missing."""
        if "input_columns" not in arrays:
            return None
        return cls(*(arrays[name] for name in ("input_columns", "input_values", "input_is_text")))

    def to_arrays(self) -> dict[str, Matrix]:
        """Return the arrays that a model file keeps."""
        return {
            "input_columns": self.columns,
            "input_values": self.values,
            "input_is_text": self.is_encoded,
        }

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return [
            f"{column}={value or '(empty)'}" if encoded else column
            for column, value, encoded in zip(*self, strict=True)
        ]

    @property
    def numbers(self) -> list[str]:
        """The columns that hold numbers."""
        return list(self.columns[~self.is_encoded])

    @property
    def texts(self) -> dict[str, list[str]]:
        """The columns of text with their values."""
        found: dict[str, list[str]] = {}
        for column, value, encoded in zip(*self, strict=True):
            if encoded:
                found.setdefault(column, []).append(value)
        return found

    def apply(self, table: pa.Table) -> pa.Table:
        """Return a table of the features; for an unknown value all are 0."""
        texts = {name: as_text(table.column(name)) for name in self.texts}
        # float32, so that the columns of numbers decide the dtype of the computation
        features = [
            pc.equal(texts[column], value).cast(pa.uint8()).cast(pa.float32())
            if encoded
            else table.column(column)
            for column, value, encoded in zip(*self, strict=True)
        ]
        return pa.table(features, names=self.names)

    def note(self) -> str:
        """Return a note that says which columns are encoded."""
        told = "; ".join(f"{name} ({_told(values)})" for name, values in self.texts.items())
        return f"each value of these text columns becomes a column of 0 and 1: {told}"

    def note_of_unknown(self, table: pa.Table) -> str | None:
        """Return a note that says which values of a table are unknown; None if all are known."""
        told = []
        for name, known in self.texts.items():
            counts = counts_of(table.column(name))
            others = {value: count for value, count in counts.items() if value not in known}
            if others:
                told.append(f"{name} ({_told(list(others))}; {sum(others.values()):,} rows)")
        if not told:
            return None
        return f"the model does not know these values, and encodes them as 0: {', '.join(told)}"


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds text, also as a category."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text, "" for missing values."""
    return pc.fill_null(column.cast(pa.string()), "")


def counts_of(column: pa.ChunkedArray) -> dict[str, int]:
    """Return the number of rows with each value of a column; values are text, and sorted."""
    counts = pc.value_counts(as_text(column))
    pairs = zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)
    return dict(sorted(pairs))


def _values(column: pa.ChunkedArray) -> list[str]:
    return list(counts_of(column)) if is_text(column.type) else [""]


def _told(values: Sequence[str]) -> str:
    return listed([value or "(empty)" for value in values], VALUES_TOLD)
