"""The command ``choose-k``, from a table to a number with its reason."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("typer")
pytest.importorskip("matplotlib").use("Agg")

from pyarrow import csv, feather, parquet  # noqa: E402
from rich.console import Console  # noqa: E402

from kmeans_xp.cli import choose_k, inputs, progress, tables  # noqa: E402
from kmeans_xp.cli.asked import Asked  # noqa: E402
from kmeans_xp.selection import choose_n_clusters  # noqa: E402
from tests.datasets import blobs  # noqa: E402

WEATHER = Path(__file__).parents[2] / "examples" / "data" / "jfk_weather_2013.csv"
FEW = ("--to", 5, "--n-init", 2, "--references", 3)

Run = Callable[..., Any]


@pytest.fixture
def run(run: Run) -> Run:
    return partial(run, "choose-k")


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """A table of three groups; its columns have names, and one holds text."""
    points, labels = blobs(90, 2, 3)
    path = tmp_path / "table.csv"
    names = [f"row {label}" for label in labels]
    csv.write_csv(pa.table({"name": names, "a": points[:, 0], "b [cm]": points[:, 1]}), path)
    return path


def points_of(path: Path) -> np.ndarray:
    table = csv.read_csv(path)
    return np.column_stack([table["a"].to_numpy(), table["b [cm]"].to_numpy()])


def rows_of(text: str) -> dict[int, list[str]]:
    """Return the cells of the printed table, by the number of clusters."""
    lines = (line.split() for line in text.splitlines() if re.match(r"\s*\d+ ", line))
    return {int(number): cells for number, *cells in lines}


def test_the_real_command_chooses_for_the_real_table(tmp_path: Path) -> None:
    out, plot = tmp_path / "table.csv", tmp_path / "curves.png"
    command = [sys.executable, "-m", "kmeans_xp.cli", "choose-k", WEATHER, "--scale"]
    command += ["--to", "6", "--n-init", "3", "--references", "3", "--out", out, "--plot", plot]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "7,873 rows x 6 columns, scaled" in done.stdout
    assert "Note: columns left out: time_utc (holds times)" in done.stderr
    assert "parts" not in done.stderr  # no spinner in a pipe
    assert "Recommended: 3 clusters" in done.stdout
    assert "Reason: 3 clusters: the mean silhouette is greatest there (0.304)." in done.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert csv.read_csv(out)["n_clusters"].to_pylist() == [1, 2, 3, 4, 5, 6]
    following = re.search(r"Next: kmeans-xp (.*)", done.stdout)
    assert following is not None
    command = [sys.executable, "-m", "kmeans_xp.cli", *following[1].split()]
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert list(rows_of(again.stdout)) == [0, 1, 2]


def test_it_agrees_with_the_library(run: Run, csv_file: Path) -> None:
    out = csv_file.with_name("out.parquet")
    done = run(csv_file, "--seed", 5, *FEW, "--out", out)
    assert done.exit_code == 0, done.output
    expected = choose_n_clusters(
        points_of(csv_file), range(2, 6), n_init=2, n_references=3, random_state=5, device="auto"
    )
    written = parquet.read_table(out)
    assert written.column_names == ["n_clusters", "inertia", "silhouette", "gap", "gap_error"]
    rows = [tuple(row.values()) for row in written.to_pylist()]
    assert rows == [expected.one_cluster, *expected.table]
    assert written.schema.field("silhouette").type == pa.float64()
    assert f"Reason: {expected.reason}" in done.stdout
    assert f"Device: {expected.estimator.device_reason_}" in done.stdout
    told = rows_of(done.stdout)
    assert list(told) == [1, 2, 3, 4, 5]
    assert told[1][1] == "-"
    assert told[2][1] == f"{expected.table[0].silhouette:.3f}"
    assert told[3][4:] == ["silhouette,", "gap,", "elbow"]
    assert "Inertia: in squared units of the columns" in done.stdout


def test_a_sample_is_told(run: Run, csv_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "random sample" not in run(csv_file, *FEW).stdout
    monkeypatch.setattr("kmeans_xp.cli.choose_k.MOST_MEASURED", 50)
    assert "Silhouette and gap: from a random sample of 50 rows" in run(csv_file, *FEW).stdout


def test_the_same_seed_gives_the_same_files(run: Run, csv_file: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("1.csv", "2.csv", "3.csv")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        assert run(csv_file, *FEW, "--seed", seed, "--out", file).exit_code == 0
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


@pytest.mark.parametrize("criterion", ["silhouette", "gap", "elbow"])
def test_the_criterion_decides(criterion: str, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "square.npy"
    np.save(file, np.random.default_rng(0).random((200, 2)))
    done = run(file, *FEW, "--criterion", criterion)
    expected = choose_n_clusters(
        np.load(file), range(2, 6), criterion=criterion, n_init=2, n_references=3, random_state=0
    )
    assert f"Reason: {expected.reason}" in done.stdout
    noun = "cluster" if expected.n_clusters == 1 else "clusters"
    assert f"Recommended: {expected.n_clusters} {noun}\n" in done.stdout
    assert (criterion == "gap") == (expected.n_clusters == 1)
    # Where there is no structure, there is nothing to cluster next.
    assert ("Next: " in done.stdout) == (criterion != "gap")
    assert (f"-k {expected.n_clusters} --n-init 2" in done.stdout) == (criterion != "gap")


def test_columns_and_scale_are_those_asked_for(run: Run, csv_file: Path) -> None:
    out = csv_file.with_name("out.feather")
    done = run(csv_file, *FEW, "--columns", "b [cm]", "--scale", "--references", 0, "--out", out)
    assert done.exit_code == 0, done.output
    column = points_of(csv_file)[:, 1:]
    scaled = (column - column.mean()) / column.std()
    expected = choose_n_clusters(scaled, range(2, 6), n_init=2, n_references=0, random_state=0)
    written = feather.read_table(out)
    np.testing.assert_allclose(
        written["inertia"].to_numpy(), [each.inertia for each in expected.table]
    )
    assert written["n_clusters"].to_pylist() == [2, 3, 4, 5]
    assert written["gap"].null_count == 4
    assert "standard deviations of the columns" in done.stdout
    assert "--columns 'b [cm]' --scale --n-init 2" in done.stdout
    assert "The gap statistic was not measured." in done.stdout


def test_what_the_user_may_not_expect_is_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("metres,millimetres\n1,1000\n2,9000\n3,5000\n4,7000\n")
    done = run(file, "--to", 3)
    assert "column millimetres spreads" in done.stderr
    assert done.exit_code == 0


def test_numbers_may_begin_with_one(run: Run, csv_file: Path) -> None:
    done = run(csv_file, "--from", 1, *FEW)
    assert list(rows_of(done.stdout)) == [1, 2, 3, 4, 5]
    assert "Recommended: 3 clusters" in done.stdout


def test_parts_are_counted_on_a_terminal(monkeypatch: pytest.MonkeyPatch, csv_file: Path) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, record=True)
    monkeypatch.setattr(progress, "messages", lambda: screen)
    data = inputs.read(csv_file, Asked())
    choose_k._chosen(data, range(2, 4), n_init=1, n_references=2, random_state=0)
    assert "Clustering 90 rows x 2 columns: 6 of 6 parts" in screen.export_text()


def assert_one_error(done: Any, message: str, exit_code: int) -> None:
    assert done.exit_code == exit_code, done.output
    assert isinstance(done.exception, SystemExit)  # no traceback
    assert done.stdout == ""
    assert re.search(message, done.stderr), done.stderr
    if exit_code == 1:
        errors = [line for line in done.stderr.splitlines() if not line.startswith("Note: ")]
        assert len(errors) == 1
        assert errors[0].startswith("Error: ")


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (["--to", 91], "90 rows are too few for 91 clusters: --to must be at most 90", 1),
        (["--columns", "depth"], "no column 'depth'. Its columns: name, a, b", 1),
        (["--columns", "name"], "Column 'name' .* holds text, not numbers", 1),
        (["--device", "abacus"], "device 'abacus' is not known", 2),
    ],
)
def test_bad_arguments_are_one_error(
    arguments: list[object], message: str, exit_code: int, run: Run, csv_file: Path
) -> None:
    outputs = ("--out", csv_file.with_name("out.csv"), "--plot", csv_file.with_name("p.png"))
    assert_one_error(run(csv_file, *arguments, *outputs), message, exit_code)
    assert list(csv_file.parent.iterdir()) == [csv_file]


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (["--from", 0], "Invalid value for '--from'", 2),
        (["--from", 5, "--to", 4], "Invalid value for --from: 5 is more than --to 4", 2),
        (["--criterion", "dice"], "Invalid value for '--criterion'", 2),
        (["--criterion", "gap", "--references", 0], "the gap statistic needs at least 1", 2),
        (["--seed", -1], "Invalid value for '--seed'", 2),
        (["--out", "out.npy"], "an .npy file cannot hold a table", 2),
        (["--out", "out.xlsx"], "extension '.xlsx' is not known; known are .csv", 2),
        (["--out", "table.csv"], "table.csv would be overwritten", 2),
        (["--out", "a.csv", "--plot", "a.csv"], "a.csv would be overwritten", 2),
        (["--plot", "p.xlsx"], "No picture can be written as '.xlsx'", 1),
        (["--out", "absent/out.csv"], "No such file or directory: .*absent/out.csv'", 1),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(
    arguments: list[object],
    message: str,
    exit_code: int,
    run: Run,
    csv_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the table was read")

    before = csv_file.read_bytes()
    monkeypatch.setattr(tables, "read", fail)
    monkeypatch.chdir(csv_file.parent)
    assert_one_error(run(csv_file, *arguments), message, exit_code)
    assert csv_file.read_bytes() == before
    assert list(csv_file.parent.iterdir()) == [csv_file]


def test_help(run: Run) -> None:
    done = run("--help")
    assert done.exit_code == 0
    for option in ("--from", "--to", "--criterion", "--references", "--plot", "--out"):
        assert option in done.stdout
