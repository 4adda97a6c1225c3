"""Read the rows of files that do not fit in memory, block by block."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from sklearn.preprocessing import StandardScaler

from kmeans_xp.blocks import RowSource, open_rows
from kmeans_xp.cli import columns, tables
from kmeans_xp.cli.asked import Asked, Missing
from kmeans_xp.cli.inputs import Inputs, chosen
from kmeans_xp.cli.lists import lengths_of, unnested
from kmeans_xp.cli.missing import Fill
from kmeans_xp.cli.paths import DELIMITERS, format_of, is_compressed
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.scaling import Scaling
from kmeans_xp.cli.text_format import TextFormat
from kmeans_xp.devices import available_memory, readable_size

__all__ = [
    "batches",
    "filled",
    "is_needed",
    "open_columns",
    "read",
    "refuse_encoding",
    "refuse_missing",
    "refuse_style",
    "sample",
    "scaled",
    "table_without_rows",
    "why",
]

Matrix = np.ndarray[Any, Any]

#: ratio of memory to file size: for the table, and for a matrix of float64 beside it
_GROWTH = {".npy": 3.0, ".csv": 3.0, ".tsv": 3.0, ".parquet": 5.0, ".pq": 5.0}
_GROWTH_OF_OTHERS = 3.0
_GROWTH_OF_COMPRESSED = 10.0

#: number of rows in a picture
_ROWS_DRAWN = 20_000


def is_needed(file: Path) -> bool:
    """Return whether a file would take more than half of the available memory."""
    suffix = format_of(file)
    if suffix == ".npz":
        return False  # a compressed file is unpacked as a whole
    growth = _GROWTH.get(suffix, _GROWTH_OF_OTHERS)
    if is_compressed(file):
        growth = _GROWTH_OF_COMPRESSED
    available, size = available_memory(), file.stat().st_size * growth
    if suffix in (".parquet", ".pq"):
        size = max(size, _unpacked(file))
    return available is not None and size > available / 2


def _unpacked(file: Path) -> int:
    """Return the size in memory of a Parquet file's numbers; on disk it may be far smaller."""
    try:
        metadata = parquet.read_metadata(file)
    except Exception:  # noqa: BLE001 (whoever reads it says what is wrong)
        return 0
    return 2 * 8 * int(metadata.num_rows) * int(metadata.num_columns)


def read(file: Path, asked: Asked) -> Inputs:
    """Open the columns of a file that the user chose, or all columns of numbers."""
    refuse_missing(file, asked.missing, "--missing")
    if asked.encode:
        refuse_encoding(file, "--encode")
    refuse_style(file, asked.text)
    table = table_without_rows(file)
    names, skipped = chosen(table, asked, file)
    rows = open_columns(file, table, names)
    names = list(rows.feature_names or names)
    text = asked.text.of(file) if format_of(file) in DELIMITERS else asked.text
    scaling = _scaling_of(rows, file) if asked.scale else None
    points = scaled(rows, scaling) if scaling else rows
    return Inputs(table.schema, names, skipped, rows, points, scaling, [why(file)], text=text)


def refuse_missing(file: Path, missing: Missing, option: str) -> None:
    """Raise if the user wants to drop or fill in missing values, which needs all rows."""
    if missing is not Missing.fail:
        raise ValueError(
            f"{why(file)}, but {option} needs all rows at once: fill in missing values first."
        )


def refuse_encoding(file: Path, what: str) -> None:
    """Raise, since to find the values of a column of text needs all rows."""
    raise ValueError(f"{why(file)}, but {what} needs all rows at once: encode the columns first.")


def refuse_style(file: Path, text: TextFormat, usual: TextFormat | None = None) -> None:
    """Raise for a text file whose format differs from what its name says."""
    if format_of(file) in DELIMITERS and (seen := text.of(file, usual).seen(file)):
        raise ValueError(f"{why(file)}, but {seen}: save it as Parquet, or as plain CSV, first.")


def why(file: Path) -> str:
    """Return the reason for reading by blocks, as part of a message."""
    size = readable_size(file.stat().st_size)
    return f"{file.name} ({size}) may not fit in memory: its rows are read block by block"


def open_columns(file: Path, table: pa.Table, names: list[str]) -> RowSource:
    """Open some columns of a file, by their names."""
    if format_of(file) != ".npy":
        return open_rows(file, columns=names)
    return open_rows(file, columns=[table.column_names.index(name) for name in names])


def filled(file: Path, names: list[str], fill: Fill) -> RowSource:
    """Open some columns of a file, by their names; fill in missing values while reading."""

    def read_filled() -> Iterator[Matrix]:
        for batch in batches(file):
            part = pa.Table.from_batches([batch])
            features = unnested(part, lengths_of(part, names, file))
            values = columns.matrix([features], features.schema, batch.num_rows, file)
            yield fill.apply(values)

    read_filled.__qualname__ = os.fspath(file)  # the name in messages
    return open_rows(read_filled)


def scaled(rows: RowSource, scaling: Scaling) -> RowSource:
    """Return the same rows, scaled while they are read."""

    def read_scaled() -> Iterator[Matrix]:
        return (scaling.apply(block.points) for block in rows.read())

    read_scaled.__qualname__ = rows.name  # the name in messages
    return open_rows(read_scaled)


def sample(rows: RowSource, *others: Matrix) -> list[Matrix]:
    """Return random rows, and the same rows of the other matrices."""
    n_rows = rows.shape[0]
    drawn = np.random.default_rng(0).permutation(n_rows)[:_ROWS_DRAWN]
    return [rows.take(drawn).points, *(each[drawn] for each in others)]


def table_without_rows(file: Path) -> pa.Table:
    """Return a table with the columns of a file, without its rows."""
    rows = open_rows(file)
    schema = getattr(rows, "schema", None)
    if schema is None:  # an array
        names = tables.numbered(rows.n_features)
        schema = pa.schema([(name, pa.from_numpy_dtype(rows.dtype)) for name in names])
    return schema.empty_table()


def _scaling_of(rows: RowSource, file: Path) -> Scaling:
    scaler = StandardScaler()
    with progress(f"Measuring {file.name}"):
        for block in rows.read():
            scaler.partial_fit(block.points)
    return Scaling(scaler.mean_, scaler.scale_)


def batches(source: Path) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file, block by block."""
    rows = open_rows(source)
    if hasattr(rows, "batches"):
        yield from rows.batches()
        return
    names = tables.numbered(rows.n_features)
    array, start = np.load(source, mmap_mode="r"), 0
    for size in rows.sizes():
        block = array[start : start + size]
        start += size
        yield pa.record_batch([np.ascontiguousarray(c) for c in block.T], names)
