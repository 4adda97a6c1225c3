"""Copy a table from the standard input to a temporary file while a command runs."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["STANDARD_INPUT", "readable"]

#: its name on a command line
STANDARD_INPUT = Path("-")

#: first bytes of formats; everything else is text
_BEGINNINGS = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\xff\xff\xff\xff": ".arrow",  # a stream
    b"\x93NUMPY": ".npy",
    b"PK\x03\x04": ".npz",
    b"\x1f\x8b": ".csv.gz",
    b"BZh": ".csv.bz2",
    b"\x28\xb5\x2f\xfd": ".csv.zst",
}
_LONGEST = max(map(len, _BEGINNINGS))


@contextmanager
def readable(file: Path) -> Iterator[Path]:
    """Yield the file to read: `file`, or a temporary copy of the standard input."""
    if file != STANDARD_INPUT:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="kmeans_xp-") as folder:
        begin = sys.stdin.buffer.read(_LONGEST)
        suffixes = (name for mark, name in _BEGINNINGS.items() if begin.startswith(mark))
        path = Path(folder) / f"stdin{next(suffixes, '.csv')}"
        with path.open("wb") as copy:
            copy.write(begin)
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield path
