"""Write the rows of a table with the cluster of each as a further column."""

import csv
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import ipc, parquet

from kmeans_xp.blocks import RowSource
from kmeans_xp.cli import streaming, tables
from kmeans_xp.cli.formulas import Formulas
from kmeans_xp.cli.inputs import Inputs
from kmeans_xp.cli.labels import LABEL_COLUMN
from kmeans_xp.cli.paths import DELIMITERS, format_of
from kmeans_xp.cli.text_format import TextFormat

__all__ = ["write_labelled"]

Matrix = np.ndarray[Any, Any]

#: label of a row that was left out, in formats without empty labels
LEFT_OUT = -1
#: minimum size of a row group of a Parquet file, in bytes in memory
GROUP_BYTES = 32 * 2**20
#: maximum number of rows of a row group, as in the files of pyarrow
GROUP_ROWS = 2**20


def write_labelled(
    source: Path, data: Inputs, labels: Matrix, target: Path, column: str = LABEL_COLUMN
) -> None:
    """Write the rows of `source`, read again part by part, in their order with their labels.

    Masked labels, of rows that were left out, are written as empty cells. A text file of the
    same format is written like the source, but not compressed. A .npy file gets only labels.
    """
    suffix, labels = target.suffix.lower(), data.of_all_rows(labels)
    if suffix == ".npy":
        np.save(target, np.ma.filled(labels, LEFT_OUT))
        return
    formulas = Formulas()
    if {suffix, format_of(source)} <= DELIMITERS.keys():
        rows = _copied_text(source, data, labels, column)
        _write_text(rows, data.text.of(source), source, target, formulas)
    else:
        schema = data.schema.append(pa.field(column, pa.from_numpy_dtype(labels.dtype)))
        _write_batches(_labelled(source, data, labels, schema), schema, target, formulas)
    if suffix in DELIMITERS:
        formulas.tell()


def _copied_text(source: Path, data: Inputs, labels: Matrix, column: str) -> Iterator[list[str]]:
    """Yield the header and the cells exactly as in the source, not reformatted."""
    rows, names = tables.text_rows(source, data.text.of(source)), data.schema.names
    first = next(rows)
    yield [*names, column]
    if [name.strip() for name in first] != [name.strip() for name in names]:
        rows = itertools.chain([first], rows)
    try:
        for row, label in zip(rows, _as_list(labels), strict=True):
            yield [*row, "" if label is None else str(label)]
    except ValueError as error:  # of zip
        raise _changed(source) from error


def _as_list(labels: Matrix) -> Iterator[int | None]:
    """Yield the labels as integers of Python; not all at once, since each takes much memory."""
    for start in range(0, len(labels), GROUP_ROWS):
        yield from labels[start : start + GROUP_ROWS].tolist()


def _write_text(
    rows: Iterable[list[str]], text: TextFormat, source: Path, target: Path, formulas: Formulas
) -> None:
    suffix = target.suffix.lower()
    delimiter = text.delimiter if suffix == format_of(source) else DELIMITERS[suffix]
    errors = "surrogateescape" if text.encoding == "utf-8" else "strict"
    with target.open("w", encoding=text.encoding, errors=errors, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter or ",", lineterminator="\n")
        for row in rows:
            formulas.add(row)
            writer.writerow(row)


def _labelled(
    source: Path, data: Inputs, labels: Matrix, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the source as record batches, with the labels as last column."""
    if isinstance(data.points, RowSource):
        batches = streaming.batches(source)
    else:
        batches = tables.batches(source, data.text, data.schema)
    start = 0
    for batch in batches:
        here = labels[start : start + batch.num_rows]
        start += batch.num_rows
        if start > len(labels):
            break
        is_left_out = np.ma.getmask(here) if np.ma.isMaskedArray(here) else None
        column = pa.array(np.ma.getdata(here), mask=is_left_out)
        yield pa.RecordBatch.from_arrays([*batch.columns, column], schema=schema)
    if start != len(labels):
        raise _changed(source)


def _changed(source: Path) -> ValueError:
    return ValueError(f"{source} changed while the command ran: it has another number of rows.")


def _write_batches(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, target: Path, formulas: Formulas
) -> None:
    suffix = target.suffix.lower()
    if suffix in (".parquet", ".pq"):
        with parquet.ParquetWriter(target, schema) as writer:
            for group in _groups(batches):
                writer.write_table(group, row_group_size=GROUP_ROWS)
    elif suffix in DELIMITERS:
        formulas.add(schema.names)
        options = arrow_csv.WriteOptions(delimiter=DELIMITERS[suffix])
        with arrow_csv.CSVWriter(target, schema, write_options=options) as writer:
            for batch in batches:
                writer.write(batch)
                formulas.add_table(batch)
    elif any(map(tables.differs_by_batch, schema.types)):
        # A file has one dictionary for all batches: they must be known together.
        tables.write(pa.Table.from_batches(batches, schema), target)
    else:
        with ipc.new_file(os.fspath(target), schema) as writer:
            for batch in batches:
                writer.write(batch)


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Join batches to tables that are large enough for a row group of a Parquet file."""
    joined: list[pa.RecordBatch] = []
    for batch in batches:
        joined.append(batch)
        if sum(each.nbytes for each in joined) >= GROUP_BYTES:
            yield pa.Table.from_batches(joined)
            joined = []
            pa.default_memory_pool().release_unused()
    if joined:
        yield pa.Table.from_batches(joined)
