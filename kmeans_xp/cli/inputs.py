"""The rows that a command clusters, and what the user should know of them."""

import shlex
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from kmeans_xp.cli import columns, tables
from kmeans_xp.cli.asked import Asked
from kmeans_xp.cli.encoding import Encoding
from kmeans_xp.cli.listing import listed
from kmeans_xp.cli.lists import unnested
from kmeans_xp.cli.missing import Fill, made_whole
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.scaling import Scaling
from kmeans_xp.cli.text_format import TextFormat

__all__ = ["Inputs", "chosen", "read", "unit"]

# Above this ratio of spreads, one column decides the distances almost alone.
UNEVEN_SPREAD = 10.0

Matrix = np.ndarray[Any, Any]


class Inputs(NamedTuple):
    """A table, the names of its features, and their values as read and as clustered.

    A feature is a column of numbers, or stands for a value of a column of text.
    Values and points are matrices, or rows that are read block by block, of which the table has
    none.
    """

    table: pa.Table
    names: list[str]
    skipped: dict[str, str]
    values: Any
    points: Any
    scaling: Scaling | None
    notes: list[str]
    #: for each row of the table whether it is clustered; None for all
    is_kept: Matrix | None = None
    fill: Fill | None = None
    encoding: Encoding | None = None
    text: TextFormat = TextFormat()

    def arrays(self) -> dict[str, Matrix]:
        """Return what a model file keeps, so that new rows are treated alike."""
        kept = (self.scaling, self.fill, self.encoding)
        parts = (part for part in kept if part is not None)
        return {name: array for part in parts for name, array in part.to_arrays().items()}

    def of_all_rows(self, labels: Matrix) -> Matrix:
        """Return the labels of all rows of the table, masked where a row was left out."""
        if self.is_kept is None:
            return labels
        found = np.zeros(len(self.is_kept), labels.dtype)
        found[self.is_kept] = labels
        return np.ma.MaskedArray(found, ~self.is_kept)

    def without_table(self) -> Self:
        """Return the same without the rows of the table, which may take as much as the values."""
        return self._replace(table=self.table.schema.empty_table())

    @property
    def unit(self) -> str:
        """The unit of distances between the points."""
        return unit(self.scaling)

    def heading(self, file: Path) -> str:
        """Return what the file holds and how it is taken, as a line."""
        n_rows, n_columns = self.points.shape
        scaled = ", scaled to mean 0 and standard deviation 1" if self.scaling else ""
        return f"{file.name}: {n_rows:,} rows x {n_columns} columns{scaled}"

    def in_own_units(self, centroids: Matrix) -> Matrix:
        """Return centroids in the units of the table."""
        return self.scaling.undo(centroids) if self.scaling else centroids


def unit(scaling: Scaling | None) -> str:
    """Return the unit of distances between points that were so scaled."""
    return "standard deviations" if scaling else "units"


def read(file: Path, asked: Asked) -> Inputs:
    """Read the columns of `file` that are asked for, or all that hold numbers."""
    with progress(f"Reading {file.name}"):
        table = tables.read(file, asked.text)
        names, skipped = chosen(table, asked, file)
        features = unnested(table, names, file)
        encoding = Encoding.of(features, features.column_names) if asked.encode else None
        features = encoding.apply(features) if encoding else features
        names = features.column_names
        whole = made_whole(columns.matrix(features, names, file), names, file, asked.missing)
    values, is_kept, fill, note = whole
    notes = [encoding.note()] if encoding else []
    if skipped and asked.names is None:
        told = listed(f"{name} ({reason})" for name, reason in skipped.items())
        notes.append(f"columns left out: {told}")
    notes += [note] if note else []
    notes += _numbering(values, names) if asked.names is None and len(names) > 1 else []
    data = Inputs(
        table, names, skipped, values, values, None, notes, is_kept, fill, encoding, asked.text
    )
    if not asked.scale:
        return data._replace(notes=notes + _uneven_spread(values, names))
    scaling = Scaling.of(values)
    return data._replace(points=scaling.apply(values), scaling=scaling)


def chosen(table: pa.Table, asked: Asked, file: Path) -> columns.Chosen:
    """Return the columns to cluster, and for each other one why it is left out."""
    if asked.names is None:
        return columns.choose(table, file, asked.excluded, encode=asked.encode)
    if not asked.names:
        there = listed(table.column_names)
        raise ValueError(f"--columns names no column. Those of {file}: {there}.")
    if both := [name for name in asked.names if name in asked.excluded]:
        raise ValueError(f"--columns and --exclude both name {listed(both)}.")
    names = columns.named(table, asked.names, file, encode=asked.encode)
    others = [name for name in table.column_names if name not in names]
    return columns.Chosen(names, dict.fromkeys(others, "not asked for"))


def _numbering(values: Matrix, names: list[str]) -> list[str]:
    return [
        f"column {name} holds a greater whole number in each row: if it numbers the rows, "
        f"leave it out by --exclude {shlex.quote(name)}"
        for name in columns.numbering(values, names)
    ]


def _uneven_spread(values: Matrix, names: list[str]) -> list[str]:
    # Column by column: of the whole, NumPy would make a second matrix.
    spreads = np.array([column.std(dtype=np.float64) for column in values.T])
    widest, narrowest = spreads.max(), spreads[spreads > 0].min(initial=np.inf)
    if widest <= UNEVEN_SPREAD * narrowest:
        return []
    return [
        f"column {names[int(spreads.argmax())]} spreads {widest / narrowest:,.0f} times as "
        "wide as the narrowest and weighs more in every distance; --scale makes them equal"
    ]
