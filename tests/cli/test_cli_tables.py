"""Tables as people have them: row numbers, missing values, names and cells of all kinds."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from kmeans_xp import KMeans, persistence
from kmeans_xp.cli import tables
from kmeans_xp.cli.asked import names_of

Run = Callable[..., Any]
N_ROWS = 60

rng = np.random.default_rng(0)
TRUTH = np.arange(N_ROWS) % 2
#: two clear groups, in no order that row numbers would know
TABLE = pd.DataFrame(
    {
        "width": TRUTH + 0.1 * rng.normal(size=N_ROWS),
        "height": 5.0 * TRUTH + rng.normal(size=N_ROWS),
    }
)


def labels_of(path: Path, column: str = "cluster") -> np.ndarray:
    return tables.read(path)[column].to_numpy()


# Row numbers


def by_pandas(path: Path) -> None:
    TABLE.to_csv(path)


def by_pandas_twice(path: Path) -> None:
    by_pandas(path)
    pd.read_csv(path).to_csv(path, index=False)


def by_r(path: Path) -> None:
    """Write what ``write.csv`` of R writes: numbers from 1, in quotes, under an empty name."""
    lines = ['"","width","height"']
    lines += [f'"{i + 1}",{row.width},{row.height}' for i, row in enumerate(TABLE.itertuples())]
    path.write_text("\n".join([*lines, ""]))


def by_parquet(path: Path) -> None:
    TABLE.set_index(rng.permutation(N_ROWS)).to_parquet(path)


@pytest.mark.sampled(1, numpy=3)
@pytest.mark.parametrize("command", ["cluster", "report", "choose-k"])
@pytest.mark.parametrize(
    ("write", "name"),
    [
        (by_pandas, "table.csv"),
        (by_pandas_twice, "table.csv"),
        (by_r, "table.csv"),
        (by_parquet, "table.parquet"),
    ],
)
def test_row_numbers_are_not_clustered(
    write: Callable[[Path], None], name: str, command: str, run: Run, tmp_path: Path
) -> None:
    file, out = tmp_path / name, tmp_path / "out.html"
    write(file)
    options = {
        "cluster": ["-k", 2, "--out", out.with_suffix(".parquet")],
        "report": ["-k", 2, "--out", out],
        "choose-k": ["--to", 3, "--references", 0],
    }
    done = run(command, file, *options[command])
    assert done.exit_code == 0, done.output
    if command == "report":
        assert "row numbers" in out.read_text()
        return
    assert "(holds row numbers)" in done.stderr
    assert "x 2 columns" in done.stdout
    if command == "cluster":
        assert adjusted_rand_score(TRUTH, labels_of(out.with_suffix(".parquet"))) == 1.0


def test_the_only_column_is_clustered_whatever_its_name(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("\n".join(['""', *map(str, TABLE.width), ""]))
    assert "60 rows x 1 column" in run("cluster", file, "-k", 2).stdout


def test_a_column_that_may_number_the_rows_is_told_and_can_be_excluded(
    run: Run, tmp_path: Path
) -> None:
    file, out = tmp_path / "table.csv", tmp_path / "out.csv"
    TABLE.assign(id=1000 + 3 * np.arange(N_ROWS)).to_csv(file, index=False)
    done = run("cluster", file, "-k", 2)
    assert "column id holds whole numbers that increase from row to row" in done.stderr
    assert "--exclude id" in done.stderr
    done = run("cluster", file, "-k", 2, "--exclude", "id", "--out", out)
    assert "id (excluded)" in done.stderr
    assert adjusted_rand_score(TRUTH, labels_of(out)) == 1.0
    done = run("cluster", file, "-k", 2, "--exclude", "height,ids")
    assert done.exit_code == 1
    assert "has no column 'ids'" in done.stderr
    done = run("cluster", file, "-k", 2, "--columns", "width,height", "--exclude", "height")
    assert done.exit_code == 1
    assert "--columns and --exclude both name height" in done.stderr
    done = run("cluster", file, "-k", 2, "--columns", "")
    assert done.exit_code == 1
    assert "--columns names no column" in done.stderr


# Missing values


@pytest.fixture
def with_gaps(tmp_path: Path) -> Path:
    gaps = TABLE.copy()
    gaps.loc[[3, 17], "width"] = np.nan
    gaps.loc[[17, 40], "height"] = np.nan
    gaps.to_csv(tmp_path / "gaps.csv", index=False)
    return tmp_path / "gaps.csv"


def test_missing_values_are_refused_with_what_to_do(run: Run, with_gaps: Path) -> None:
    done = run("cluster", with_gaps, "-k", 2)
    assert done.exit_code == 1
    assert "3 of 60 rows" in done.stderr
    assert "rows 4, 18, 41" in done.stderr
    assert "--missing drop, mean or median" in done.stderr


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_rows_with_missing_values_are_left_out(
    suffix: str, run: Run, with_gaps: Path, tmp_path: Path
) -> None:
    out, model = tmp_path / f"out{suffix}", tmp_path / "m.safetensors"
    files = ("--out", out, "--model", model)
    done = run("cluster", with_gaps, "-k", 2, "--missing", "drop", *files)
    assert done.exit_code == 0, done.output
    assert "3 of 60 rows have missing values and are left out: in width (2), height (2)" in (
        done.stderr
    )
    assert "57 rows x 2 columns" in done.stdout
    assert_labels_but_of_gaps(out)
    again = tmp_path / f"again{suffix}"
    told = run("predict", model, with_gaps, "--out", again).stderr
    assert "missing values, in width (2), height (2)" in told
    assert "--drop-missing" in told
    assert "--columns" not in told  # which only the fit has
    done = run("predict", model, with_gaps, "--drop-missing", "--out", again)
    assert done.exit_code == 0, done.output
    assert_labels_but_of_gaps(again)


def assert_labels_but_of_gaps(out: Path) -> None:
    has_gap = np.isin(np.arange(N_ROWS), [3, 17, 40])
    if out.suffix == ".npy":
        labels = np.load(out)
        assert (labels[has_gap] == -1).all()
    else:
        column = tables.read(out)["cluster"]
        np.testing.assert_array_equal(column.is_null().to_numpy(), has_gap)
        labels = column.fill_null(-1).to_numpy()
    assert adjusted_rand_score(TRUTH[~has_gap], labels[~has_gap]) == 1.0


@pytest.mark.parametrize("how", ["mean", "median"])
def test_missing_values_are_filled_in_and_the_model_knows_by_what(
    how: str, run: Run, with_gaps: Path, tmp_path: Path
) -> None:
    out, model = tmp_path / "out.csv", tmp_path / "m.safetensors"
    options = ("-k", 2, "--missing", how, "--scale", "--out", out, "--model", model)
    done = run("cluster", with_gaps, *options)
    assert done.exit_code == 0, done.output
    assert f"missing values of 3 rows are replaced by the {how} of their column" in done.stderr
    _, arrays = persistence.load(model, expected=KMeans)
    expected = getattr(pd.read_csv(with_gaps), how)()
    np.testing.assert_allclose(arrays["input_fill"], expected)
    again = tmp_path / "again.csv"
    done = run("predict", model, with_gaps, "--out", again)
    assert done.exit_code == 0, done.output
    assert "replaced by the values in the model" in done.stderr
    assert again.read_text() == out.read_text()


def test_nothing_to_fill_in_by_is_an_error(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    TABLE.assign(empty=np.nan).to_csv(file, index=False)
    columns = ("--columns", "width,empty")
    done = run("cluster", file, "-k", 2, "--missing", "mean", *columns)
    assert "has no values in these columns: empty" in done.stderr
    done = run("cluster", file, "-k", 2, "--missing", "drop", *columns)
    assert "Every row" in done.stderr
    assert done.exit_code == 1


# Names and cells


def test_names_may_be_quoted() -> None:
    assert names_of('a, "b, c",a, d ') == ["a", "b, c", "d"]


def test_names_lose_the_spaces_about_them(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "table.csv", tmp_path / "out.csv"
    rows = [f"{row.width}, {row.height}" for row in TABLE.itertuples()]
    file.write_text("\n".join(["width, height", *rows, ""]))
    done = run("cluster", file, "-k", 2, "--columns", "height", "--out", out)
    assert done.exit_code == 0, done.output
    header, first, *_ = out.read_text().splitlines()
    assert header == "width,height,cluster"
    assert first.rpartition(",")[0] == rows[0]


def test_cells_may_be_long(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "table.csv", tmp_path / "out.csv"
    polygon = f'"POLYGON (({", ".join(["1 2"] * 60_000)}))"'
    file.write_text("\n".join(["x,shape", f"1,{polygon}", f"2,{polygon}", "9,", ""]))
    done = run("cluster", file, "-k", 2, "--out", out)
    assert done.exit_code == 0, done.output
    lines = file.read_text().splitlines()
    assert [len(line) for line in out.read_text().splitlines()[1:]] == [
        len(line) + len(",0") for line in lines[1:]
    ]


@pytest.mark.parametrize("text", ['1,"a', '1,"a\n2,b', '1,"a""\n2,b\n'])
def test_a_quote_that_is_never_closed_is_an_error(text: str, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    rows = "".join(f'{i},"c{i}"\n' for i in range(20))
    file.write_text(f"x,name\n{rows}{text}")
    done = run("cluster", file, "-k", 2)
    assert done.exit_code == 1
    assert "a quote after line 21 that is never closed" in done.stderr


def test_a_quote_within_a_cell_is_none(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text('x,pipe\n1,3" wide\n2,4 cm\n9,a\n')
    assert run("cluster", file, "-k", 2).exit_code == 0


@pytest.mark.sampled(1, numpy=2)
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_may_lack_letters(encoding: str, tmp_path: Path) -> None:
    file, out = tmp_path / "table.csv", tmp_path / "out.csv"
    file.write_text("収入,x\n1,2\n3,4\n9,9\n", encoding="utf-8")
    command = [sys.executable, "-m", "kmeans_xp.cli", "cluster", file, "-k", "2", "--out", out]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert rb"\u53ce\u5165" in done.stdout
    assert out.exists()


LATER = {
    "integers": "7",
    "fractions": "1.5",
    "text": "n/a",
    "nothing": "",
    "true": "true",
    "dates": "2021-03-04",
}


@pytest.mark.parametrize("first", LATER)
@pytest.mark.parametrize("then", LATER)
@pytest.mark.parametrize("has_header", [True, False])
def test_a_large_file_is_read_as_a_small_one(
    has_header: bool, first: str, then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "table.csv"
    rows = [f"{i},{LATER[first if i < 40 else then]}\n" for i in range(80)]
    file.write_text("".join(["id,kind\n", *rows] if has_header else rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = tables.read(file)
        monkeypatch.setattr(tables, "LARGE", 0)
        monkeypatch.setattr(tables, "BLOCK_BYTES", 64)
        large = tables.read(file)
    assert large.schema.equals(small.schema)
    assert large.equals(small)


# Large numbers, and small tables


@pytest.mark.parametrize("options", [[], ["--scale"], ["--missing", "mean"]], ids=str)
@pytest.mark.parametrize("command", ["cluster", "report", "choose-k"])
@pytest.mark.parametrize(
    ("value", "dtype"), [(1e200, "float64"), (-1.7e308, "float64"), (3.4e38, "float32")]
)
def test_a_column_whose_squares_overflow_is_named(
    command: str, options: list[str], value: float, dtype: str, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "t.parquet"
    table = TABLE.astype(dtype)
    table.loc[7, "height"] = value  # as a value of a raster that means "no data"
    table.to_parquet(file)
    number = {"cluster": ["-k", 2], "report": ["-k", 2], "choose-k": ["--to", 3]}[command]
    out = tmp_path / f"out.{'html' if command == 'report' else 'csv'}"
    done = run(command, file, *number, *options, "--out", out)
    if dtype == "float32" and options == ["--scale"]:
        assert done.exit_code == 0, done.output  # its squares are numbers of float64
        return
    assert done.exit_code == 1
    assert f"Column 'height' has values such as {np.asarray(value, dtype)[()]:.6g}" in done.stderr
    assert "overflow" not in done.output
    assert not out.exists()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_large_numbers_whose_squares_are_no_problem_are_clustered(
    metric: str, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "t.csv"
    (TABLE * 1e100).to_csv(file, index=False)
    done = run("cluster", file, "-k", 2, "--metric", metric)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("options", "n_starts"), [([], 10), (["--n-init", 3], 3), (["--n-init", 1], 1)]
)
@pytest.mark.parametrize("n_rows", [60, 600_000])
def test_small_tables_get_ten_starts(
    n_rows: int, options: list[str], n_starts: int, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "t.npy"
    np.save(file, np.random.default_rng(0).normal(size=(n_rows, 2)))
    done = run("cluster", file, "-k", 9, "--max-iter", 1, *options)
    expected = n_starts if options or n_rows == 60 else 1
    told = f" (the best of {expected} starts)" if expected > 1 else ""
    assert f"Iterations: 1{told}\n" in done.stdout
