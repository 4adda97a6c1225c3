"""The column of labels that a command adds to a table."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from kmeans_xp.cli import tables
from kmeans_xp.cli.console import note

__all__ = ["LABEL_COLUMN", "check_writable", "label_column"]

LABEL_COLUMN = "cluster"


def label_column(names: Sequence[str], asked_for: str | None, *, is_written: bool) -> str:
    """Return a name for the column of labels that the table does not have yet.

    Parameters
    ----------
    names : sequence of str
        Names of the table's columns, which stay as they are.
    asked_for : str or None
        The user's name. None for "cluster", or the first free name of cluster_1, cluster_2, ...
    is_written : bool
        Whether to print a note if the name is not "cluster".
    """
    if asked_for is not None:
        if asked_for in names:
            raise ValueError(
                f"--label-column {asked_for!r} already is a column: choose another name."
            )
        return asked_for
    numbered = (f"{LABEL_COLUMN}_{i}" for i in itertools.count(1))
    name = next(n for n in itertools.chain([LABEL_COLUMN], numbered) if n not in names)
    if is_written and name != LABEL_COLUMN:
        note(f"the table already has a column {LABEL_COLUMN}: the labels are in {name}")
    return name


def check_writable(schema: pa.Schema, temporary: Path) -> None:
    """Raise if the file's format cannot hold the table's columns."""
    try:
        tables.write(schema.empty_table(), temporary)
    except pa.ArrowException as error:
        raise ValueError(
            f"The columns cannot be written as {temporary.suffix} ({error}): "
            "choose a .parquet or .npy file as output"
        ) from error
