"""Memory: a table and the matrix of its numbers are not held together, and output is copied."""

import importlib
import subprocess
import sys
import tracemalloc
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("typer")

from pyarrow import csv, feather, parquet  # noqa: E402

from kmeans_xp.cli import inputs, labelled, tables  # noqa: E402
from kmeans_xp.cli.asked import Asked  # noqa: E402

Run = Callable[..., Any]

N_ROWS = 300

MEASURED = """
import sys
from pathlib import Path
from kmeans_xp.cli import inputs, tables
from kmeans_xp.cli.asked import Asked

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

tables.LARGE = 0
small, large = map(Path, sys.argv[1:])
inputs.read(small, Asked())
before = memory("VmRSS")
values = inputs.read(large, Asked()).values
print((memory("VmHWM") - before) / values.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to measure memory")
@pytest.mark.skipif(pa.__version__.startswith("17."), reason="it keeps the memory that is freed")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_reading_needs_little_memory_beside_the_numbers(kind: str, tmp_path: Path) -> None:
    write = {"csv": csv.write_csv, "parquet": parquet.write_table}[kind]
    files = [tmp_path / f"{size}.{kind}" for size in ("small", "large")]
    for file, n_rows in zip(files, (100, 2_000_000), strict=True):
        columns = np.random.default_rng(0).integers(0, 9, (10, n_rows))
        write(pa.table({f"c{i}": column for i, column in enumerate(columns)}), file)
    command = [sys.executable, "-c", MEASURED, *files]
    ratio = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # 1.0 are the numbers themselves. A table and a matrix together would take 2.0, and more.
    assert 0.9 < ratio < 1.9


def test_a_fit_needs_little_memory_beside_the_numbers(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="without it, draws keep a running total of all rows")
    files = [tmp_path / f"{size}.parquet" for size in ("small", "large")]
    for file, n_rows in zip(files, (100_000, 1_000_000), strict=True):
        columns = np.random.default_rng(0).normal(size=(10, n_rows))
        parquet.write_table(pa.table({f"c{i}": column for i, column in enumerate(columns)}), file)
    command = ("-k", 3, "--n-init", 1, "--max-iter", 2, "--out", tmp_path / "labels.npy")
    run("cluster", files[0], *command)  # compiles
    tracemalloc.start()  # counts NumPy's arrays, of which Arrow's tables are none
    try:
        result = run("cluster", files[1], *command)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.exit_code == 0, result.output
    # 0.2 are two distances for each row, old and new, while k-means++ chooses; 0.05 labels.
    assert 1.0 < peak / columns.nbytes < 1.25


@pytest.mark.parametrize("target", ["csv", "parquet", "npy"])
def test_numbers_are_freed_before_rows_are_written(
    target: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, kept = tmp_path / "rows.csv", tmp_path / f"out.{target}", []
    csv.write_csv(_table(), source)
    command = importlib.import_module("kmeans_xp.cli.cluster")

    def read(*arguments: Any) -> inputs.Inputs:
        data = inputs_read(*arguments)
        kept.append(weakref.ref(data.values))
        return data

    def write(*arguments: Any) -> None:
        kept.append(kept[0]() is None)
        write_labelled(*arguments)

    inputs_read, write_labelled = inputs.read, command.write_labelled
    monkeypatch.setattr(inputs, "read", read)
    monkeypatch.setattr(command, "write_labelled", write)
    options = ("--out", out, "--model", tmp_path / "m.safetensors")
    result = run("cluster", source, "-k", 3, "--columns", "width,n", *options)
    assert result.exit_code == 0, result.output
    assert kept[1:] == [True]
    assert out.exists()


def _table() -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "width": rng.normal(size=N_ROWS).round(3),
            "n": rng.integers(0, 50_000, N_ROWS),
            "nothing": pa.nulls(N_ROWS),
            "text": [None if i % 7 == 0 else f"a, {i}" for i in range(N_ROWS)],
            "yes": rng.random(N_ROWS) < 0.5,
            "day": rng.integers(0, 9999, N_ROWS).astype("datetime64[D]"),
        }
    )


def _written_with_thousands(table: pa.Table, path: Path) -> None:
    rows = zip(*(table[name].to_pylist() for name in ("width", "n", "text")), strict=True)
    lines = [f"{width:.3f};{n:,};{text or ''}\n" for width, n, text in rows]
    path.write_text("".join(["width; n ;text\n", *lines]))


def _written_with_categories(table: pa.Table, path: Path) -> None:
    table = table.drop_columns(["nothing"])
    text = table.column_names.index("text")
    table = table.set_column(text, "text", table["text"].dictionary_encode())
    parquet.write_table(table, path, row_group_size=90)  # each group with its own categories


CODECS = {"gz": "gzip", "zst": "zstd"}

SOURCES: dict[str, Callable[[pa.Table, Path], Any]] = {
    "csv": csv.write_csv,
    "parquet": lambda table, path: parquet.write_table(table, path, row_group_size=70),
    "feather": lambda table, path: feather.write_feather(table, str(path), chunksize=50),
    "thousands.csv": _written_with_thousands,
    "categories.parquet": _written_with_categories,
}


@pytest.mark.parametrize("target", ["parquet", "feather", "tsv"])
@pytest.mark.parametrize("kind", SOURCES)
def test_rows_are_written_part_by_part_as_all_at_once(
    kind: str, target: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / f"rows.{kind}", tmp_path / f"out.{target}"
    SOURCES[kind](_table(), source)
    expected = _read(source)
    for module, name, value in (
        (tables, "LARGE", 0),
        (tables, "BLOCK_BYTES", 700),
        (tables, "ROWS_A_BATCH", 40),
        (labelled, "GROUP_BYTES", 2000),
    ):
        monkeypatch.setattr(module, name, value)
    options = ["--thousands", ","] if "thousands" in kind else []
    result = run("cluster", source, "-k", 3, "--columns", "width,n", *options, "--out", out)
    assert result.exit_code == 0, result.output
    found = _read(out)
    assert set(found["cluster"].to_pylist()) == {0, 1, 2}
    if target == "tsv" and kind.endswith("csv"):  # cells stay as they are
        assert [row[:-1] for row in _cells(out)][1:] == _cells(source)[1:]
    else:
        tables.write(
            expected.append_column("cluster", found["cluster"]), again := out.with_stem("a")
        )
        assert found.equals(_read(again))


def _read(path: Path) -> pa.Table:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning for each format that was detected
        thousands = "," if "thousands" in path.name else None
        return tables.read(path, tables.TextFormat(thousands=thousands))


def _cells(path: Path) -> list[list[str]]:
    return list(tables.text_rows(path, tables.TextFormat().of(path)))


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_compressed_text_is_read_block_by_block(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BLOCK_BYTES", 700)
    plain, packed = tmp_path / "rows.csv", tmp_path / f"rows.csv.{suffix}"
    csv.write_csv(_table(), plain)
    with pa.output_stream(packed, compression=CODECS.get(suffix, suffix)) as file:
        file.write(plain.read_bytes())
    found = tables.read(packed)
    assert found.column(0).num_chunks > 1
    assert found.equals(tables.read(plain))


@pytest.mark.parametrize("large", [2**26, 0])
def test_a_cell_may_be_longer_than_a_block(
    large: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "LARGE", large)
    source, out = tmp_path / "rows.csv", tmp_path / "out.parquet"
    cells = ["x" * 5_000_000, *(f"a{i}" for i in range(9))]
    csv.write_csv(pa.table({"width": np.arange(10.0), "text": cells}), source)
    result = run("cluster", source, "-k", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert parquet.read_table(out)["text"].to_pylist() == cells


@pytest.mark.parametrize("n_more", [-1, 1])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_that_changed_is_an_error(kind: str, n_more: int, tmp_path: Path) -> None:
    source = tmp_path / f"rows.{kind}"
    SOURCES[kind](_table(), source)
    data = inputs.read(source, Asked("width"))
    labels = np.zeros(N_ROWS + n_more, np.int32)
    with pytest.raises(ValueError, match="changed while the command ran"):
        labelled.write_labelled(source, data, labels, tmp_path / f"out.{kind}")
