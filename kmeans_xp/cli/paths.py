"""What the names of table files say: format, compression and delimiter."""

import bz2
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

__all__ = ["COMPRESSED", "DELIMITERS", "format_of", "is_compressed", "opened_bytes", "opened_text"]

DELIMITERS = {".csv": ",", ".tsv": "\t"}


def _opened_zstandard(path: Path) -> Any:
    return io.BufferedReader(pa.input_stream(path, compression="zstd"))


COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".zst": _opened_zstandard,
}


def format_of(path: Path) -> str:
    """Return the extension that names the format: ".csv" for ``a.CSV`` and ``a.csv.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_compressed(path: Path) -> bool:
    """Return whether the name says that the whole file is compressed."""
    return path.suffix.lower() in COMPRESSED


def opened_bytes(path: Path) -> Any:
    """Open a file for reading, and decompress it."""
    return COMPRESSED[path.suffix.lower()](path) if is_compressed(path) else path.open("rb")


def opened_text(path: Path, encoding: str) -> io.TextIOWrapper:
    """Open a text file for reading; bytes that cannot be decoded become surrogates."""
    # A byte order mark is not part of the first name.
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
    return io.TextIOWrapper(opened_bytes(path), encoding, errors, newline="")
