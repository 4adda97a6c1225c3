"""Tables from the standard input, and compressed ones."""

import bz2
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, ipc, parquet

from kmeans_xp import open_rows
from kmeans_xp.cli import tables

Run = Callable[..., Any]

POINTS = np.arange(12.0).reshape(6, 2) ** 2
TABLE = pa.table({"x": POINTS[:, 0], "y": POINTS[:, 1]})


def as_text(delimiter: str = ",") -> bytes:
    lines = [f"{x}{delimiter}{y}\n" for x, y in [("x", "y"), *POINTS.tolist()]]
    return "".join(lines).encode()


def written(write: Callable[[Any], Any]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def as_stream(file: Any) -> None:
    with ipc.new_stream(file, TABLE.schema) as writer:
        writer.write_table(TABLE)


def by_zstandard(content: bytes) -> bytes:
    file = pa.BufferOutputStream()
    with pa.CompressedOutputStream(file, "zstd") as stream:
        stream.write(content)
    return file.getvalue().to_pybytes()


FORMATS: dict[str, Callable[[], bytes]] = {
    "csv": as_text,
    "semicolons": lambda: as_text(";"),
    "csv.gz": lambda: gzip.compress(as_text()),
    "csv.bz2": lambda: bz2.compress(as_text()),
    "csv.zst": lambda: by_zstandard(as_text()),
    "parquet": lambda: written(lambda file: parquet.write_table(TABLE, file)),
    "feather": lambda: written(lambda file: feather.write_feather(TABLE, file)),
    "stream": lambda: written(as_stream),
    "npy": lambda: written(lambda file: np.save(file, POINTS)),
    "npz": lambda: written(lambda file: np.savez(file, POINTS)),
}


@pytest.fixture
def give() -> Run:
    """Return what runs a command with a standard input."""
    typer = pytest.importorskip("typer.testing")
    from kmeans_xp.cli.app import app

    runner = typer.CliRunner(env={"COLUMNS": "500", "TERMINAL_WIDTH": "500"})
    return lambda content, *words: runner.invoke(app, list(map(str, words)), input=content)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_from_the_standard_input(kind: str, give: Run, tmp_path: Path) -> None:
    content, out, again = FORMATS[kind](), tmp_path / "out.csv", tmp_path / "again.csv"
    model = tmp_path / "m.safetensors"
    files = ("--out", out, "--model", model)
    done = give(content, "cluster", "-", "-k", 2, *files)
    assert done.exit_code == 0, done.output
    assert ": 6 rows x 2 columns" in done.stdout
    assert give(content, "predict", model, "-", "--out", again).exit_code == 0
    assert again.read_bytes() == out.read_bytes()
    delimiter = ";" if kind == "semicolons" else ","
    found = np.genfromtxt(out, delimiter=delimiter, skip_header=1)
    np.testing.assert_array_equal(found[:, :2], POINTS)
    assert sorted(tmp_path.iterdir()) == sorted([out, again, model])


def test_the_command_that_is_shown_reads_it_too(give: Run, tmp_path: Path) -> None:
    done = give(as_text(), "choose-k", "-", "--to", 3, "--references", 0)
    assert "Next: kmeans-xp cluster - -k " in done.stdout
    done = give(as_text(), "report", "-", "-k", 2, "-o", tmp_path / "r.html")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("content", [b"", b"\n", b"x,y\n"])
def test_an_input_without_rows_is_an_error(content: bytes, give: Run) -> None:
    done = give(content, "cluster", "-", "-k", 2)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize("kind", ["csv.gz", "csv.bz2", "csv.zst"])
def test_compressed_text_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{kind}"
    path.write_bytes(FORMATS[kind]())
    assert tables.read(path).equals(TABLE)
    if kind != "csv.zst":  # which Arrow's data sets do not read
        np.testing.assert_array_equal(next(open_rows(path).read()).points, POINTS)
