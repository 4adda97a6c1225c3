"""Arrow's data sets of files."""

import csv
import io
from typing import TYPE_CHECKING, Any

from kmeans_xp.blocks.sources.files import File

if TYPE_CHECKING:
    from pyarrow import dataset

__all__ = ["csv_dataset", "file_dataset"]

#: bytes of a CSV file that contain its first row
_FIRST_BYTES = 2**20


def file_dataset(files: list[File], name: str, kind: Any, schema: Any = None) -> "dataset.Dataset":
    """Return the data set of some files; their format is a name or an object."""
    import pyarrow as pa
    from pyarrow import dataset

    try:
        made = dataset.dataset(
            [file.path for file in files], schema, kind, filesystem=files[0].filesystem
        )
        list(made.schema.names)  # this decodes the names, which may not be UTF-8
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        kind = getattr(kind, "default_extname", kind)
        raise OSError(
            f"{name} cannot be read as {kind}: {str(error).rstrip('.')}. Is it cut off, or in "
            "another format than its name says?"
        ) from error
    return made


def csv_dataset(files: list[File], name: str, delimiter: str) -> "dataset.Dataset":
    """Return the data set of some CSV files; columns without names become x0, x1, ..."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import dataset

    header = _first_row(files[0], delimiter)
    # Without a header, Arrow would take the first row of numbers as names.
    names = [f"x{i}" for i in range(len(header))] if _are_numbers(header) else None
    kind = dataset.CsvFileFormat(
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        read_options=arrow_csv.ReadOptions(column_names=names),
    )
    # A column that begins with integers may have fractions later.
    fields = [
        field.with_type(pa.float64()) if pa.types.is_integer(field.type) else field
        for field in file_dataset(files, name, kind).schema
    ]
    return file_dataset(files, name, kind, pa.schema(fields))


def _first_row(file: File, delimiter: str) -> list[str]:
    from pyarrow import fs

    with (file.filesystem or fs.LocalFileSystem()).open_input_stream(file.path) as stream:
        text = stream.read(_FIRST_BYTES).decode("utf-8-sig", errors="replace")
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])


def _are_numbers(header: list[str]) -> bool:
    """Return whether cells are numbers, but not pandas' default column names 0, 1, 2, ..."""
    try:
        list(map(float, header))
    except ValueError:
        return False
    return bool(header) and header != [str(i) for i in range(len(header))]
