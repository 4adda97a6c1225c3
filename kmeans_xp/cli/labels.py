"""Write a table with the cluster of each row as a further column."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kmeans_xp.cli import tables
from kmeans_xp.cli.console import note
from kmeans_xp.cli.formulas import Formulas
from kmeans_xp.cli.paths import DELIMITERS, format_of
from kmeans_xp.cli.text_format import TextFormat

__all__ = [
    "LABEL_COLUMN",
    "LEFT_OUT",
    "check_writable",
    "label_column",
    "needs_rows",
    "write_labelled",
]

LABEL_COLUMN = "cluster"
#: label of a row that was left out, in formats without empty labels
LEFT_OUT = -1


def label_column(table: pa.Table, asked_for: str | None, *, is_written: bool) -> str:
    """Return a name for the column of labels that the table does not have yet.

    Parameters
    ----------
    table : pyarrow.Table
        Its columns stay as they are.
    asked_for : str or None
        The user's name. None for "cluster", or the first free name of cluster_1, cluster_2, ...
    is_written : bool
        Whether to print a note if the name is not "cluster".
    """
    names = table.column_names
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


def check_writable(table: pa.Table, temporary: Path) -> None:
    """Raise if the file's format cannot hold the table's columns."""
    try:
        tables.write(table.slice(0, 0), temporary)
    except pa.ArrowException as error:
        raise ValueError(
            f"The columns cannot be written as {temporary.suffix} ({error}): "
            "choose a .parquet or .npy file as output"
        ) from error


def needs_rows(source: Path, target: Path) -> bool:
    """Return whether `write_labelled` uses the table's rows, and does not read `source` again."""
    suffix = target.suffix.lower()
    is_copied = suffix in DELIMITERS and format_of(source) in DELIMITERS
    return suffix != ".npy" and not is_copied


def write_labelled(
    source: Path,
    table: pa.Table,
    labels: np.ndarray[Any, Any],
    target: Path,
    column: str,
    text: TextFormat,
) -> None:
    """Write the rows of `source`, read as `table`, in their order with a column of labels.

    Masked labels, of rows that were left out, are written as empty cells. A text file of the
    same format is written like the source, but not compressed.
    """
    suffix, formulas = target.suffix.lower(), Formulas()
    if suffix in DELIMITERS and format_of(source) in DELIMITERS:
        found = text.of(source)
        delimiter = found.delimiter if suffix == format_of(source) else DELIMITERS[suffix]
        errors = "surrogateescape" if found.encoding == "utf-8" else "strict"
        with target.open("w", encoding=found.encoding, errors=errors, newline="") as file:
            writer = csv.writer(file, delimiter=delimiter or ",", lineterminator="\n")
            for row in _labelled_text(source, found, table.column_names, labels, column):
                formulas.add(row)
                writer.writerow(row)
        formulas.tell()
        return
    is_left_out = np.ma.getmask(labels) if np.ma.isMaskedArray(labels) else None
    column_of_labels = pa.array(np.ma.getdata(labels), mask=is_left_out)
    tables.write(table.append_column(column, column_of_labels), target)
    if suffix in DELIMITERS:
        formulas.add([*table.column_names, column])
        formulas.add_table(table)
        formulas.tell()


def _labelled_text(
    source: Path, text: TextFormat, names: list[str], labels: np.ndarray[Any, Any], column: str
) -> Iterator[list[str]]:
    """Return the cells exactly as in the source, not reformatted."""
    rows = tables.text_rows(source, text)
    first = next(rows)
    yield [*names, column]
    if [name.strip() for name in first] != [name.strip() for name in names]:
        rows = itertools.chain([first], rows)
    for row, label in zip(rows, labels.tolist(), strict=True):
        yield [*row, "" if label is None else str(label)]
