"""Read and write tables; the file's extension names the format."""

import csv
import itertools
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from pyarrow import feather, ipc, parquet

from kmeans_xp.cli.listing import listed
from kmeans_xp.cli.paths import DELIMITERS, format_of, is_compressed, opened_bytes, opened_text
from kmeans_xp.cli.text_format import TextFormat, pattern_of
from kmeans_xp.devices import available_memory, readable_size

__all__ = [
    "READABLE",
    "WRITABLE",
    "TableError",
    "batches",
    "numbered",
    "read",
    "text_rows",
    "write",
]

# Allow cells longer than the default 131,072 characters, such as a polygon as text.
csv.field_size_limit(2**31 - 1)

#: size of text files that are read block by block, and of a block, in bytes
LARGE = 64 * 2**20
BLOCK_BYTES = 4 * 2**20
#: size of a block that holds any row, in bytes
LONGEST_ROW = 2**31 - 1
#: number of blocks that are joined: the buffers of each may be larger than its values
BLOCKS_JOINED = 4
#: number of rows of Parquet files that are decoded at once
ROWS_A_BATCH = 2**16


_TEXT_ADVICE = (
    " --delimiter, --decimal, --thousands and --encoding (such as cp1252) set its format."
)


class TableError(ValueError):
    """A file that cannot be read as a table in the format of its name."""


def read(path: Path, text: TextFormat | None = None, usual: TextFormat | None = None) -> pa.Table:
    """Read a table; columns without names become x0, x1, ...

    Parameters
    ----------
    path : Path
    text : TextFormat or None
        Format of a text file; None to detect it.
    usual : TextFormat or None
        The format that a text file has if it does not show another one.
    """
    if path.stat().st_size == 0:
        raise TableError(f"{path} is empty.")
    is_text = format_of(path) in DELIMITERS
    try:
        table = _read_text(path, text, usual) if is_text else READABLE[format_of(path)](path)
        names = table.column_names  # this decodes the names, which may not be UTF-8
    except TableError:
        raise
    except Exception as e:  # each format's reader raises other errors
        raise TableError(
            f"{path} cannot be read as {format_of(path)}: {str(e).rstrip('.')}. "
            "Is it cut off, or in another format than its name says?"
            + (_TEXT_ADVICE if is_text else "")
        ) from e
    if table.num_rows == 0:
        raise TableError(f"{path} has no rows.")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise TableError(f"{path} has several columns of the same name: {listed(sorted(twice))}.")
    return table


def batches(path: Path, text: TextFormat, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file that `read` has read, part by part where the format allows it.

    Parameters
    ----------
    path : Path
    text : TextFormat
        Format of a text file, as for `read`.
    schema : pyarrow.Schema
        The schema of the table that `read` returned.
    """
    kind = format_of(path)
    if kind in _PARQUET:
        yield from _batches_of_parquet(parquet.ParquetFile(path, pre_buffer=False))
        return
    if kind not in DELIMITERS:
        yield from READABLE[kind](path).to_batches()
        return
    text = text.of(path)
    options: dict[str, Any] = {"autogenerate_column_names": not _has_names(path, text)}
    if text.thousands:
        whole = _with_thousands_read(_parsed_text(path, text, **options), text)
        yield from whole.rename_columns(schema.names).to_batches()
        return
    with _opened_text(path, text, **options) as reader:
        names = reader.schema.names
    types, n_rows = dict(zip(names, schema.types, strict=True)), 0
    try:
        with _opened_text(path, text, types=types, **options) as reader:
            for batch in reader:
                n_rows += batch.num_rows
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
    except pa.ArrowInvalid as error:
        if not _is_long_cell(error):
            raise
        rest = _parsed_text(path, text, **options).slice(n_rows)
        yield from rest.rename_columns(schema.names).cast(schema).to_batches()


def write(table: pa.Table, path: Path) -> None:
    """Write a table; an .npy file gets only the last column."""
    WRITABLE[path.suffix.lower()](table, path)


def _check_room(path: Path, n_bytes: int) -> None:
    """Raise if the content does not fit in memory; a small compressed file may hold much."""
    available = available_memory()
    if available is not None and n_bytes > available / 2:
        raise TableError(
            f"{path} holds {readable_size(n_bytes)} or more, but only {readable_size(available)} "
            "of memory are free. Save it as Parquet or .npy, which can be read block by block."
        )


def text_rows(path: Path, text: TextFormat) -> Iterator[list[str]]:
    """Return the rows of a text file, with the header first if it has one; cells stay unparsed."""
    with opened_text(path, text.encoding or "utf-8") as file:
        yield from filter(None, csv.reader(file, delimiter=text.delimiter or ","))


def _read_text(
    path: Path, asked: TextFormat | None = None, usual: TextFormat | None = None
) -> pa.Table:
    if is_compressed(path):
        _check_unpacked(path)
    asked = asked or TextFormat()
    text = asked.of(path, usual)
    if (seen := text.seen(path)) is not None and text != asked:
        warnings.warn(seen, stacklevel=2)
    if _has_names(path, text):
        table = _parsed_text(path, text)
        table = table.rename_columns([name.strip() for name in table.column_names])
    else:
        warnings.warn(
            f"the first row of {path.name} has numbers, not names: the columns become x0, x1, ...",
            stacklevel=2,
        )
        table = _parsed_text(path, text, autogenerate_column_names=True)
        table = table.rename_columns(numbered(table.num_columns))
    _check_end(path, text)
    return _with_thousands_read(table, text) if text.thousands else table


def _check_unpacked(path: Path) -> None:
    n_bytes = 0
    with opened_bytes(path) as file:
        for part in iter(lambda: file.read(2**20), b""):
            n_bytes += len(part)
            _check_room(path, n_bytes)


def _check_end(path: Path, text: TextFormat) -> None:
    """Raise if a quote is never closed: the rest of the file would be one cell."""
    n_quotes, end = 0, b""
    with opened_bytes(path) as file:
        for part in iter(lambda: file.read(2**20), b""):
            n_quotes += part.count(b'"')
            end = part[-2:]
    if n_quotes % 2:
        _check_quotes(path, text)
    is_wide = (text.encoding or "").startswith("utf-16")
    if (end.strip(b"\0") if is_wide else end[-1:]) not in (b"\n", b"\r"):
        warnings.warn(
            f"{path.name} does not end with a line break: "
            "if it was cut off, the last value of its last row may be wrong",
            stacklevel=3,
        )


def _check_quotes(path: Path, text: TextFormat) -> None:
    with opened_text(path, text.encoding or "utf-8") as file:
        rows, line = csv.reader(file, delimiter=text.delimiter or ",", strict=True), 0
        try:
            for _ in rows:
                line = rows.line_num
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise TableError(
                    f"{path} has a quote after line {line:,} that is never closed: "
                    "the rest of the file would be one cell."
                ) from error


def _has_names(path: Path, text: TextFormat) -> bool:
    """Return whether the first row of a text file holds the names of the columns."""
    header = next(text_rows(path, text), [])
    return _numbers_columns(header) or not all(_is_number(cell, text) for cell in header)


def _parsed_text(path: Path, text: TextFormat, **options: Any) -> pa.Table:
    if path.stat().st_size >= LARGE or is_compressed(path):
        # Block by block, the parser needs little memory beside the table; `read_csv` needs as
        # much as the table again.
        try:
            with _opened_text(path, text, **options) as reader:
                return _joined(reader, reader.schema)
        except pa.ArrowInvalid:
            pass  # a later block has another type than the first: read all rows at once
    read = pa.csv.ReadOptions(encoding=text.encoding, **options)
    try:
        return pa.csv.read_csv(path, read, *_parsing(text))
    except pa.ArrowInvalid as error:
        if not _is_long_cell(error):
            raise
        read.block_size = LONGEST_ROW
        return pa.csv.read_csv(path, read, *_parsing(text))


def _is_long_cell(error: pa.ArrowInvalid) -> bool:
    """Return whether a row did not fit in a block."""
    return "straddl" in str(error)


def _opened_text(
    path: Path, text: TextFormat, types: Mapping[str, pa.DataType] | None = None, **options: Any
) -> Any:
    """Return a reader of record batches; the first block gives the types that are not given."""
    read = pa.csv.ReadOptions(encoding=text.encoding, block_size=BLOCK_BYTES, **options)
    return pa.csv.open_csv(path, read, *_parsing(text, types))


def _parsing(
    text: TextFormat, types: Mapping[str, pa.DataType] | None = None
) -> tuple[pa.csv.ParseOptions, pa.csv.ConvertOptions]:
    parse = pa.csv.ParseOptions(delimiter=text.delimiter, newlines_in_values=True)
    return parse, pa.csv.ConvertOptions(decimal_point=text.decimal, column_types=types)


def _joined(parts: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Return a table; join a few parts each, and give back the memory that they do not need."""
    joined: list[pa.RecordBatch] = []
    parts = iter(parts)
    while few := list(itertools.islice(parts, BLOCKS_JOINED)):
        try:  # not by concat_batches, which pyarrow has from 19 on
            joined += pa.Table.from_batches(few, schema).combine_chunks().to_batches()
        except pa.ArrowInvalid:  # more than 2 GiB of text in lists do not fit in one array
            joined += few
        del few
        pa.default_memory_pool().release_unused()
    return pa.Table.from_batches(joined, schema)


def _with_thousands_read(table: pa.Table, text: TextFormat) -> pa.Table:
    """Return a table; convert columns of text that hold numbers with thousands separators."""
    pattern = f"^(?:{pattern_of(text.decimal or '.', text.thousands)}|\\s*)$"
    for i, field in enumerate(table.schema):
        column = table.column(i)
        if not pa.types.is_string(field.type) or not _all(
            pc.match_substring_regex(column, pattern)
        ):
            continue
        plain = pc.replace_substring(column, text.thousands, "")
        plain = pc.utf8_trim_whitespace(pc.replace_substring(plain, text.decimal, "."))
        numbers = pc.if_else(pc.equal(plain, ""), None, plain).cast(pa.float64())
        table = table.set_column(i, field.name, numbers)
    return table


def _all(found: pa.ChunkedArray) -> bool:
    return pc.all(found).as_py() is not False


def _numbers_columns(header: list[str]) -> bool:
    """Return whether cells are the default column names of pandas, 0, 1, 2, ..."""
    return header == [str(i) for i in range(len(header))]


def _is_number(cell: str, text: TextFormat) -> bool:
    try:
        float(cell.replace(text.thousands or "", "").replace(text.decimal or ".", "."))
    except ValueError:
        return False
    return True


def numbered(n_columns: int) -> list[str]:
    """Return names for columns without names."""
    return [f"x{i}" for i in range(n_columns)]


def _read_ipc(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        try:
            return ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            return ipc.open_stream(source).read_all()


def _read_numpy(path: Path) -> pa.Table:
    """Read the only array, the only two-dimensional array, or arrays that are columns."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            _check_room(path, sum(each.file_size for each in packed.infolist()))
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
    tables = [array for array in arrays.values() if array.ndim == 2]
    if len(arrays) == 1 or len(tables) == 1:
        return _from_array((tables or list(arrays.values()))[0], path)
    if not tables and len({array.shape for array in arrays.values()}) == 1:
        return pa.table({name: _column(array, path) for name, array in arrays.items()})
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    raise TableError(
        f"{path} must hold one 2-D array, or 1-D arrays of equal length; it holds "
        f"{shapes or 'none'}. Save the array to cluster as an .npy file."
    )


def _from_array(array: np.ndarray[Any, Any], path: Path) -> pa.Table:
    if array.ndim not in (1, 2):
        raise TableError(f"{path} holds an array of shape {array.shape}: it must be 2-D.")
    columns = array.T if array.ndim == 2 else [array]
    return pa.Table.from_arrays([_column(c, path) for c in columns], numbered(len(columns)))


def _column(numbers: np.ndarray[Any, Any], path: Path) -> pa.Array:
    """Convert an array to Arrow, which allows only native byte order and no long double."""
    dtype = numbers.dtype
    if dtype.kind not in "biuf":
        raise TableError(f"{path} holds an array of {dtype}: it must be of real numbers.")
    if dtype.kind == "b":
        return pa.array(numbers.view(np.uint8))
    if dtype.kind == "f" and dtype.itemsize > 8:
        with np.errstate(over="ignore"):
            narrowed = numbers.astype(np.float64)
        if np.isinf(narrowed).sum() > np.isinf(numbers).sum():
            raise TableError(f"{path} holds {dtype} numbers that float64 cannot hold.")
        return pa.array(narrowed)
    return pa.array(numbers.astype(dtype.newbyteorder("="), copy=False))


def _write_csv(table: pa.Table, path: Path) -> None:
    delimiter = DELIMITERS[path.suffix.lower()]
    pa.csv.write_csv(table, path, pa.csv.WriteOptions(delimiter=delimiter))


def _write_ipc(table: pa.Table, path: Path) -> None:
    feather.write_feather(table, str(path), compression="uncompressed")


def _write_npy(table: pa.Table, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, table.column(table.num_columns - 1).to_numpy())


def _read_parquet(path: Path) -> pa.Table:
    file = parquet.ParquetFile(path, pre_buffer=False)
    if any(map(differs_by_batch, file.schema_arrow.types)):
        return pa.Table.from_batches(_batches_of_parquet(file), file.schema_arrow)
    return _joined(_batches_of_parquet(file), file.schema_arrow)


def _batches_of_parquet(file: parquet.ParquetFile) -> Iterator[pa.RecordBatch]:
    yield from file.iter_batches(ROWS_A_BATCH)


def differs_by_batch(kind: pa.DataType) -> bool:
    """Return whether values of a type refer to something that differs from batch to batch."""
    if pa.types.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType):
        return True
    return any(differs_by_batch(kind.field(i).type) for i in range(kind.num_fields))


_PARQUET = (".parquet", ".pq")
READABLE: dict[str, Callable[[Path], pa.Table]] = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".arrow": _read_ipc,
    ".feather": _read_ipc,
    ".ipc": _read_ipc,
    ".npy": _read_numpy,
    ".npz": _read_numpy,
}
WRITABLE: dict[str, Callable[[pa.Table, Path], None]] = {
    ".csv": _write_csv,
    ".tsv": _write_csv,
    ".parquet": parquet.write_table,
    ".pq": parquet.write_table,
    ".arrow": _write_ipc,
    ".feather": _write_ipc,
    ".ipc": _write_ipc,
    ".npy": _write_npy,
}
