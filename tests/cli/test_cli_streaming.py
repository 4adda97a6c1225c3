"""The command line on files that do not fit in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

pa = pytest.importorskip("pyarrow")
pytest.importorskip("typer")

from pyarrow import csv, feather, parquet  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from kmeans_xp.blocks.sources import source  # noqa: E402
from kmeans_xp.cli import streaming, tables  # noqa: E402
from kmeans_xp.cli.app import app  # noqa: E402
from kmeans_xp.devices import available_memory, memory, readable_size  # noqa: E402

N_ROWS = 300

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _several_blocks_of_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_BLOCK_BYTES", 1000)


@pytest.fixture
def run(run: Run) -> Run:
    def succeed(*arguments: object) -> Any:
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        return result

    return succeed


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(streaming, "available_memory", lambda: 1000)


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, N_ROWS)
    points = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 40.0]])[truth] + rng.normal(size=(N_ROWS, 2))
    names = [f"row {i}, {group}" for i, group in enumerate(truth)]
    return pa.table({"name": names, "width": points[:, 0], "height": points[:, 1]})


WRITERS: dict[str, Callable[[pa.Table, Path], Any]] = {
    "csv": csv.write_csv,
    "parquet": parquet.write_table,
    "feather": lambda t, path: feather.write_feather(t, str(path)),
    "npy": lambda t, path: np.save(path, np.column_stack([t["width"], t["height"]])),
}


def shown(result: Any) -> list[str]:
    """Return what is printed, times apart."""
    lines = (line for line in result.stdout.splitlines() if not line.startswith("Time"))
    return [line for line in lines if not line.startswith("Device")]


def clusters_of(result: Any) -> list[list[str]]:
    """Return size, share, distance and centre of each cluster, whose order is one of chance."""
    lines = (line.split() for line in result.stdout.splitlines() if "%" in line)
    return sorted(cells[1:] for cells in lines)


def assert_same_rows(found: pa.Table, expected: pa.Table) -> None:
    """Compare tables whose last column is the cluster; clusters may be numbered otherwise."""
    assert found.schema == expected.schema
    *columns, last = found.column_names
    assert found.select(columns).equals(expected.select(columns))
    assert adjusted_rand_score(found[last].to_numpy(), expected[last].to_numpy()) == 1.0


@pytest.mark.sampled(1, numpy=3)
@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("options", [[], ["--scale"], ["--mini-batch"]])
def test_cluster_prints_and_writes_the_same(
    kind: str, options: list[str], run: Run, tmp_path: Path, little_memory: Any
) -> None:
    file = tmp_path / f"rows.{kind}"
    WRITERS[kind](table(), file)
    out = tmp_path / "out.csv"
    arguments = ("cluster", file, "-k", 3, "--out", out, *options)
    expected, written = run(*arguments), out.read_text()
    assert "block by block" not in expected.output
    little_memory()
    found = run(*arguments, "--plot", tmp_path / "plot.png")
    size = readable_size(file.stat().st_size)
    assert f"rows.{kind} ({size}) may not fit in memory: its rows are read block" in found.output
    assert clusters_of(found) == clusters_of(expected)
    assert f"/rows.{kind} are read block by block" in found.stdout.split("Device:")[1]
    assert_same_rows(tables.read(out), _read_text(written, tmp_path))
    assert (tmp_path / "plot.png").stat().st_size > 1000


def _read_text(text: str, folder: Path) -> pa.Table:
    (folder / "expected.csv").write_text(text)
    return tables.read(folder / "expected.csv")


@pytest.mark.parametrize("kind", ["parquet", "feather", "npy", "tsv"])
def test_labels_are_written_beside_the_rows(
    kind: str, run: Run, tmp_path: Path, little_memory: Any
) -> None:
    parquet.write_table(table(), tmp_path / "rows.parquet", row_group_size=70)
    out = tmp_path / f"out.{kind}"
    run("cluster", tmp_path / "rows.parquet", "-k", 3, "--out", out)
    expected = tables.read(out)
    little_memory()
    run("cluster", tmp_path / "rows.parquet", "-k", 3, "--out", out)
    assert_same_rows(tables.read(out), expected)


@pytest.mark.parametrize("options", [[], ["--scale"]])
def test_predict_and_choose_k_read_by_blocks_too(
    options: list[str], run: Run, tmp_path: Path, little_memory: Any
) -> None:
    file, model, out = (tmp_path / name for name in ("rows.parquet", "m.safetensors", "out.csv"))
    parquet.write_table(table(), file)
    run("cluster", file, "-k", 3, "--model", model, *options)
    expected, written = run("predict", model, file, "--out", out), out.read_text()
    chosen = run("choose-k", file, "--to", 5, "--references", 0, *options)
    little_memory()
    found = run("predict", model, file, "--out", out)
    assert shown(found) == shown(expected)
    assert out.read_text() == written
    assert "block by block" in found.output
    streamed = run("choose-k", file, "--to", 5, "--references", 0, *options)
    assert "block by block" in streamed.output
    assert [line for line in shown(streamed) if "Next" in line] == [
        line for line in shown(chosen) if "Next" in line
    ]


def test_columns_are_chosen_by_the_same_rules(run: Run, tmp_path: Path, little_memory: Any) -> None:
    np.save(tmp_path / "rows.npy", np.column_stack([table()["height"], table()["width"]]))
    little_memory()
    result = run("cluster", tmp_path / "rows.npy", "-k", 2, "--columns", "x1")
    assert "300 rows x 1 columns" in result.stdout
    runner = CliRunner()
    bad = runner.invoke(app, ["cluster", str(tmp_path / "rows.npy"), "-k", "2", "--columns", "y"])
    assert bad.exit_code == 1
    assert "no column 'y'" in bad.output


def test_missing_values_are_not_looked_for_block_by_block(
    run: Run, tmp_path: Path, little_memory: Any
) -> None:
    file, model = tmp_path / "rows.parquet", tmp_path / "m.safetensors"
    parquet.write_table(table(), file)
    run("cluster", file, "-k", 3, "--model", model)
    little_memory()
    commands = {
        "--missing": ["cluster", file, "-k", 3, "--missing", "drop"],
        "--drop-missing": ["predict", model, file, "--drop-missing"],
    }
    runner = CliRunner(env={"COLUMNS": "500", "TERMINAL_WIDTH": "500", "NO_COLOR": "1"})
    for option, words in commands.items():
        bad = runner.invoke(app, [str(word) for word in words])
        assert bad.exit_code == 1
        assert f"{option} needs all rows at once" in bad.output


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("options", [[], ["--scale"]])
def test_a_model_fills_in_what_rows_lack_block_by_block(
    kind: str, options: list[str], run: Run, tmp_path: Path, little_memory: Any
) -> None:
    names = ["x0", "x1"] if kind == "npy" else ["width", "height"]
    width = table()["width"].to_pylist()
    width[::7] = [np.nan if kind == "npy" else None] * len(width[::7])
    gaps = pa.table({names[0]: pa.array(width), names[1]: table()["height"]})
    if kind == "npy":
        np.save(tmp_path / "rows.npy", np.column_stack(gaps.columns))
    else:
        WRITERS[kind](gaps, tmp_path / f"rows.{kind}")
    file, model, out = tmp_path / f"rows.{kind}", tmp_path / "m.safetensors", tmp_path / "out.tsv"
    run("cluster", file, "-k", 3, "--missing", "mean", "--model", model, *options)
    expected, written = run("predict", model, file, "--out", out), out.read_text()
    assert "missing values of 43 rows are replaced by" in expected.output
    little_memory()
    found = run("predict", model, file, "--out", out)
    assert (
        "missing values, if there are any, are replaced by the values in the model" in found.output
    )
    assert shown(found) == shown(expected)
    assert out.read_text() == written


def test_a_gap_that_nothing_fills_in_is_told_once(
    run: Run, tmp_path: Path, little_memory: Any
) -> None:
    file, model = tmp_path / "rows.csv", tmp_path / "m.safetensors"
    csv.write_csv(table(), file)
    run("cluster", file, "-k", 3, "--model", model, "--scale")
    csv.write_csv(pa.table({"width": [1.0, None] * 200, "height": [1.0, 2.0] * 200}), file)
    little_memory()
    bad = CliRunner(env={"COLUMNS": "500"}).invoke(app, ["predict", str(model), str(file)])
    assert bad.exit_code == 1
    assert bad.output.count("cannot be read") == 1
    assert "column 'width' has nulls" in bad.output


def test_a_file_that_fits_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.npy"
    file.write_bytes(b"0" * 1000)
    for available, needed in ((1000 * 3 * 2, False), (1000 * 3 * 2 - 1, True), (None, False)):
        monkeypatch.setattr(streaming, "available_memory", lambda found=available: found)
        assert streaming.is_needed(file) is needed
    packed = tmp_path / "rows.npz"
    packed.write_bytes(b"0" * 1000)
    monkeypatch.setattr(streaming, "available_memory", lambda: 1)
    assert not streaming.is_needed(packed)
    assert streaming.is_needed(file.rename(tmp_path / "rows.csv.gz"))


def test_the_memory_that_is_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_of_the_system", lambda: 5000)
    monkeypatch.setattr(memory, "_CGROUP", str(tmp_path / "memory."))
    assert available_memory() == 5000
    (tmp_path / "memory.max").write_text("4000\n")
    (tmp_path / "memory.current").write_text("1500\n")
    assert available_memory() == 2500
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == 5000


def test_dropping_rows_needs_all_of_them(run: Run, tmp_path: Path, little_memory: Any) -> None:
    file, model = tmp_path / "rows.csv", tmp_path / "m.safetensors"
    csv.write_csv(table(), file)
    run("cluster", file, "-k", 3, "--model", model)
    little_memory()
    done = CliRunner().invoke(app, ["predict", str(model), str(file), "--drop-missing"])
    assert done.exit_code == 1
    assert "--drop-missing needs all rows at once" in " ".join(done.output.split())
