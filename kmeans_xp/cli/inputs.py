"""The rows that a command clusters, and notes about them."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from kmeans_xp.cli import columns, tables
from kmeans_xp.cli.asked import Asked
from kmeans_xp.cli.encoding import Encoding
from kmeans_xp.cli.listing import listed
from kmeans_xp.cli.lists import lengths_of, unnested
from kmeans_xp.cli.missing import Fill, made_whole
from kmeans_xp.cli.paths import DELIMITERS, format_of
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.scaling import Scaling
from kmeans_xp.cli.text_format import TextFormat
from kmeans_xp.estimators.preparation import GREATEST_VARIANCE

__all__ = ["Inputs", "Rows", "chosen", "read", "unit"]

# Above this ratio of spreads, almost only one column decides the distances.
UNEVEN_SPREAD = 10.0

Matrix = np.ndarray[Any, Any]


class Inputs(NamedTuple):
    """The features of a table, and their values as read and as clustered.

    A feature is a column of numbers, or one value of a column of text. Values and points are
    matrices, or rows that are read block by block.
    """

    #: all columns of the table
    schema: pa.Schema
    names: list[str]
    skipped: dict[str, str]
    values: Any
    points: Any
    scaling: Scaling | None
    notes: list[str]
    #: whether each row of the table is clustered; None if all are
    is_kept: Matrix | None = None
    fill: Fill | None = None
    encoding: Encoding | None = None
    text: TextFormat = TextFormat()
    #: the columns that are not features; without rows if they are not needed
    left_out: pa.Table = pa.table({})

    def arrays(self) -> dict[str, Matrix]:
        """Return the arrays that a model file keeps, to treat new rows in the same way."""
        kept = (self.scaling, self.fill, self.encoding, self.text)
        parts = (part for part in kept if part is not None)
        return {name: array for part in parts for name, array in part.to_arrays().items()}

    def of_all_rows(self, labels: Matrix) -> Matrix:
        """Return the labels of all rows of the table, masked for rows that were left out."""
        if self.is_kept is None:
            return labels
        found = np.zeros(len(self.is_kept), labels.dtype)
        found[self.is_kept] = labels
        return np.ma.MaskedArray(found, ~self.is_kept)

    def without_left_out(self) -> Self:
        """Return the same without the columns that are not features, to free their memory."""
        return self._replace(left_out=pa.table({}))

    def without_numbers(self) -> Self:
        """Return the same without values and points, to free their memory."""
        if not isinstance(self.values, np.ndarray):
            return self  # rows that are read block by block
        return self._replace(values=None, points=None)

    def check_range(self, metric: str) -> None:
        """Raise if the squares of a column are too large for its dtype, and name the column."""
        values = self.values
        is_measured = metric == "euclidean" or self.scaling is not None
        if not isinstance(values, np.ndarray) or not is_measured:
            return
        limit = np.finfo(float).max if self.scaling else GREATEST_VARIANCE[values.itemsize]
        if max(values.max(), -values.min()) < 0.5 * limit**0.5:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            variances = [column.var(dtype=np.float64) for column in values.T]
        # The variance is NaN if the differences themselves overflow.
        for name, column, variance in zip(self.names, values.T, variances, strict=True):
            if not variance <= limit:
                largest = column[np.abs(column).argmax()]
                raise ValueError(
                    f"Column {name!r} has values such as {largest:.6g}, whose squares are too "
                    f"large for {values.dtype}. If this value stands for missing data, empty its "
                    "cells. Otherwise divide the column, or leave it out by --exclude."
                )

    @property
    def unit(self) -> str:
        """The unit of distances between the points."""
        return unit(self.scaling)

    def heading(self, file: Path) -> str:
        """Return a line that says what the file holds and whether it is scaled."""
        n_rows, n_columns = self.points.shape
        scaled = ", scaled to mean 0 and standard deviation 1" if self.scaling else ""
        return f"{file.name}: {n_rows:,} rows x {n_columns} columns{scaled}"

    def in_own_units(self, centroids: Matrix) -> Matrix:
        """Return centroids in the units of the table."""
        return self.scaling.undo(centroids) if self.scaling else centroids


def unit(scaling: Scaling | None) -> str:
    """Return the unit of distances between points with this scaling."""
    return "standard deviations" if scaling else "units"


def read(file: Path, asked: Asked) -> Inputs:
    """Read the columns of `file` that the user chose, or all columns of numbers."""
    with progress(f"Reading {file.name}"):
        table = tables.read(file, asked.text)
        names, skipped = chosen(table, asked, file)
        lengths = lengths_of(table, names, file)
        encoding = _encoding(unnested(table, lengths)) if asked.encode else None
        schema, left_out = table.schema, table.drop_columns(names)
        rows = Rows(table.select(names), lengths, encoding)
        del table  # `values` frees it part by part
        names = rows.names
        whole = made_whole(rows.values(file), names, file, asked.missing)
    values, is_kept, fill, note = whole
    notes = [encoding.note()] if encoding else []
    if skipped and asked.names is None:
        told = listed(f"{name} ({reason})" for name, reason in skipped.items())
        notes.append(f"columns left out: {told}")
    notes += [note] if note else []
    notes += _numbering(values, names) if asked.names is None and len(names) > 1 else []
    data = Inputs(
        schema,
        names,
        skipped,
        values,
        values,
        None,
        notes,
        is_kept,
        fill,
        encoding,
        asked.text.of(file) if format_of(file) in DELIMITERS else asked.text,
        left_out,
    )
    if not asked.scale:
        return data._replace(notes=notes + _uneven_spread(values, names))
    with np.errstate(over="ignore", invalid="ignore"):  # `check_range` names the column
        scaling = Scaling.of(values)
    return data._replace(points=scaling.apply(values), scaling=scaling)


class Rows:
    """The rows of a table, from which a matrix of features is made once.

    Parameters
    ----------
    table : pyarrow.Table
        The columns of the features.
    lengths : mapping of str to int or None
        The length of the lists in each column; None for other columns.
    encoding : Encoding or None
        How features are made from columns of text.
    """

    def __init__(
        self, table: pa.Table, lengths: Mapping[str, int | None], encoding: Encoding | None
    ) -> None:
        self._batches, self._n_rows = table.to_batches(), table.num_rows
        self._lengths, self._encoding = lengths, encoding
        self._schema = self._features(table.schema.empty_table()).schema

    @property
    def names(self) -> list[str]:
        """Names of the features."""
        return list(self._schema.names)

    def values(self, file: Path) -> Matrix:
        """Return the matrix; free the memory of the table part by part, unless others use it."""
        parts = map(self._features, columns.drained(self._batches))
        return columns.matrix(parts, self._schema, self._n_rows, file)

    def _features(self, part: pa.Table) -> pa.Table:
        features = unnested(part, self._lengths)
        return self._encoding.apply(features) if self._encoding else features


def _encoding(features: pa.Table) -> Encoding | None:
    return Encoding.of(features, features.column_names)


def chosen(table: pa.Table, asked: Asked, file: Path) -> columns.Chosen:
    """Return the columns to cluster, and why each other column is left out."""
    if asked.names is None:
        return columns.choose(table, file, asked.excluded, encode=asked.encode)
    if not asked.names:
        there = listed(table.column_names)
        raise ValueError(f"--columns names no column. The columns of {file}: {there}.")
    if both := [name for name in asked.names if name in asked.excluded]:
        raise ValueError(f"--columns and --exclude both name {listed(both)}.")
    names = columns.named(table, asked.names, file, encode=asked.encode)
    others = [name for name in table.column_names if name not in names]
    return columns.Chosen(names, dict.fromkeys(others, "not in --columns"))


def _numbering(values: Matrix, names: list[str]) -> list[str]:
    return [
        f"column {name} holds whole numbers that increase from row to row: if they are row "
        f"numbers, leave it out by --exclude {shlex.quote(name)}"
        for name in columns.numbering(values, names)
    ]


def _uneven_spread(values: Matrix, names: list[str]) -> list[str]:
    # Column by column: for the whole matrix, NumPy would make a copy.
    with np.errstate(over="ignore", invalid="ignore"):  # `check_range` names the column
        spreads = np.array([column.std(dtype=np.float64) for column in values.T])
    if not np.isfinite(spreads).all():
        return []
    widest, narrowest = spreads.max(), spreads[spreads > 0].min(initial=np.inf)
    if widest <= UNEVEN_SPREAD * narrowest:
        return []
    return [
        f"column {names[int(spreads.argmax())]} spreads {widest / narrowest:,.0f} times as "
        "wide as the narrowest and dominates the distances; --scale makes spreads equal"
    ]
