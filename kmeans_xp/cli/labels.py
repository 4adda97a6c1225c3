"""A table with the cluster of each row beside what was read."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kmeans_xp.cli import tables

__all__ = ["LABEL_COLUMN", "check_writable", "write_labelled"]

LABEL_COLUMN = "cluster"


def check_writable(table: pa.Table, temporary: Path) -> None:
    """Raise if the format of the file cannot hold the table's columns."""
    try:
        tables.write(table.slice(0, 0), temporary)
    except pa.ArrowException as error:
        raise ValueError(
            f"The columns cannot be written as {temporary.suffix} ({error}): "
            "name the output .parquet or .npy"
        ) from error


def write_labelled(
    source: Path, table: pa.Table, labels: np.ndarray[Any, Any], target: Path
) -> None:
    """Write the rows of `source`, read as `table`, in their order with a column of labels."""
    delimiter = tables.DELIMITERS.get(target.suffix.lower())
    if delimiter and tables.format_of(source) in tables.DELIMITERS:
        with target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
            writer.writerows(_labelled_text(source, table.column_names, labels))
        return
    if LABEL_COLUMN in table.column_names:
        table = table.drop_columns([LABEL_COLUMN])
    tables.write(table.append_column(LABEL_COLUMN, pa.array(labels)), target)


def _labelled_text(
    source: Path, names: list[str], labels: np.ndarray[Any, Any]
) -> Iterator[list[str]]:
    """Return the cells as they were written, not as numbers printed again."""
    kept = [i for i, name in enumerate(names) if name != LABEL_COLUMN]
    rows = tables.text_rows(source)
    first = next(rows)
    yield [*(names[i] for i in kept), LABEL_COLUMN]
    if first != names:
        rows = itertools.chain([first], rows)
    for row, label in zip(rows, labels.tolist(), strict=True):
        yield [*(row[i] for i in kept), str(label)]
