"""The rows that a command clusters, and what the user should know of them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from kmeans_xp.cli import columns, tables
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.scaling import Scaling

__all__ = ["Inputs", "read", "unit"]

# Above this ratio of spreads, one column decides the distances almost alone.
UNEVEN_SPREAD = 10.0

Matrix = np.ndarray[Any, Any]


class Inputs(NamedTuple):
    """A table, its columns to cluster, and their values as read and as clustered.

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


def read(file: Path, column_names: str | None, *, scale: bool) -> Inputs:
    """Read the columns of `file` that are asked for, or else all that hold numbers."""
    with progress(f"Reading {file.name}"):
        table = tables.read(file)
        names, skipped = _chosen(table, column_names, file)
        values = columns.matrix(table, names, file)
    notes = []
    if skipped and column_names is None:
        told = ", ".join(f"{name} ({reason})" for name, reason in skipped.items())
        notes.append(f"columns left out: {told}")
    if scale:
        scaling = Scaling.of(values)
        return Inputs(table, names, skipped, values, scaling.apply(values), scaling, notes)
    notes += _uneven_spread(values, names)
    return Inputs(table, names, skipped, values, values, None, notes)


def _chosen(
    table: pa.Table, column_names: str | None, file: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the columns to cluster, and for each other one why it is left out."""
    if column_names is None:
        names, kinds = columns.choose(table, file)
        return names, {name: f"holds {kind}" for name, kind in kinds.items()}
    asked_for = [name.strip() for name in column_names.split(",")]
    names = columns.named(table, list(dict.fromkeys(asked_for)), file)
    others = [name for name in table.column_names if name not in names]
    return names, dict.fromkeys(others, "not asked for")


def _uneven_spread(values: Matrix, names: list[str]) -> list[str]:
    spreads = values.std(axis=0, dtype=np.float64)
    widest, narrowest = spreads.max(), spreads[spreads > 0].min(initial=np.inf)
    if widest <= UNEVEN_SPREAD * narrowest:
        return []
    return [
        f"column {names[int(spreads.argmax())]} spreads {widest / narrowest:,.0f} times as "
        "wide as the narrowest and weighs more in every distance; --scale makes them equal"
    ]
