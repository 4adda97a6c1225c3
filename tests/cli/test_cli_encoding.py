"""Columns of text: as columns of 0 and 1, and beside the clusters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import OneHotEncoder

from kmeans_xp import KMeans, persistence
from kmeans_xp.cli import inputs, tables
from kmeans_xp.cli.asked import Asked
from tests.cli.test_cli_report import page_of

Run = Callable[..., Any]

N_ROWS = 60
rng = np.random.default_rng(0)
COLOURS = np.array(["red", "green", "", "blue"])[np.arange(N_ROWS) % 4]
TABLE = pd.DataFrame(
    {
        "name": [f"row {i}" for i in range(N_ROWS)],
        "width": rng.normal(size=N_ROWS).astype(np.float32),
        "colour": COLOURS,
        "is new": np.arange(N_ROWS) % 2 == 0,
        "unit": "cm",
    }
)
FEATURES = ["width", "colour=(empty)", "colour=blue", "colour=green", "colour=red", "is new"]


def as_csv(path: Path, table: pd.DataFrame) -> Path:
    table.to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def as_parquet(path: Path, table: pd.DataFrame) -> Path:
    table.to_parquet(path.with_suffix(".parquet"), index=False)
    return path.with_suffix(".parquet")


def as_categories(path: Path, table: pd.DataFrame) -> Path:
    return as_parquet(path, table.astype({"colour": "category"}))


def as_nulls(path: Path, table: pd.DataFrame) -> Path:
    return as_parquet(path, table.assign(colour=table["colour"].replace("", None)))


@pytest.mark.parametrize("write", [as_csv, as_parquet, as_categories, as_nulls])
def test_features_are_those_of_a_one_hot_encoder(
    write: Callable[[Path, pd.DataFrame], Path], tmp_path: Path
) -> None:
    data = inputs.read(write(tmp_path / "t", TABLE), Asked(encode=True))
    assert data.names == FEATURES
    assert data.skipped == {
        "name": "holds 60 different texts",
        "unit": "holds the same text in all rows",
    }
    encoded = OneHotEncoder(sparse_output=False).fit_transform(TABLE[["colour"]])
    np.testing.assert_array_equal(data.values[:, 1:5], encoded)
    np.testing.assert_allclose(data.values[:, 0], TABLE["width"], rtol=1e-6)
    np.testing.assert_array_equal(data.values[:, 5], TABLE["is new"])


def test_columns_that_are_named_may_have_many_values(tmp_path: Path) -> None:
    data = inputs.read(as_csv(tmp_path / "t", TABLE), Asked("name,width", encode=True))
    assert data.names == [*(f"name={name}" for name in sorted(TABLE["name"])), "width"]
    long = pd.DataFrame({"x": range(1001), "name": [f"n{i}" for i in range(1001)]})
    with pytest.raises(tables.TableError, match=r"1,001 different texts.* at most 1,000"):
        inputs.read(as_csv(tmp_path / "long", long), Asked("x,name", encode=True))


def test_text_without_encode_is_an_error_that_says_how(run: Run, tmp_path: Path) -> None:
    done = run("cluster", as_csv(tmp_path / "t", TABLE), "-k", 2, "--columns", "width,colour")
    assert done.exit_code == 1
    assert "Column 'colour' of" in done.stderr
    assert "holds text, not numbers; --encode turns it into columns of 0 and 1" in done.stderr


def test_numbers_among_which_is_text_are_not_encoded(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("x,y\n1,1\n2,1\n1,\n2,n/e\n1,2\n2,2\n")
    done = run("cluster", file, "-k", 2, "--encode")
    assert "holds numbers, but also text in 2 of 6 rows" in done.stderr


def test_features_of_one_name_are_an_error(run: Run, tmp_path: Path) -> None:
    table = TABLE[["colour"]].assign(**{"colour=red": 1.0})
    done = run("cluster", as_csv(tmp_path / "t", table), "-k", 2, "--encode")
    assert done.exit_code == 1
    assert "would have equal names: colour=red" in done.stderr


@pytest.mark.parametrize("options", [[], ["--scale"], ["--missing", "mean"]])
def test_the_model_encodes_new_rows_alike(options: list[str], run: Run, tmp_path: Path) -> None:
    file, out, again = as_csv(tmp_path / "t", TABLE), tmp_path / "a.csv", tmp_path / "b.csv"
    model = tmp_path / "m.safetensors"
    files = ("--out", out, "--model", model)
    done = run("cluster", file, "-k", 4, "--encode", *options, *files)
    assert done.exit_code == 0, done.output
    assert "becomes a column of 0 and 1: colour ((empty), blue, green, red)" in done.stderr
    assert "colour=green" in done.stdout
    assert run("predict", model, file, "--out", again).exit_code == 0
    assert again.read_text() == out.read_text()


def test_values_that_the_model_does_not_know_are_zeros(run: Run, tmp_path: Path) -> None:
    model, out = tmp_path / "m.safetensors", tmp_path / "b.csv"
    columns = ("--columns", "colour,width", "--encode")
    known = TABLE[TABLE["colour"].isin(["red", "green"])]
    done = run("cluster", as_csv(tmp_path / "t", known), "-k", 2, *columns, "--model", model)
    assert done.exit_code == 0, done.output
    new = pd.DataFrame({"colour": ["red", "teal", "green", "pink"], "width": [0.0, 0.0, 0.0, 9.0]})
    done = run("predict", model, as_csv(tmp_path / "new", new), "--out", out)
    assert "does not know these values, and encodes them as 0: colour (pink, teal; 2 rows)" in (
        done.stderr
    )
    estimator, _ = persistence.load(model, expected=KMeans)
    del estimator.feature_names_in_
    rows = [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 9]]  # green, red, width
    expected = estimator.predict(np.array(rows, estimator.cluster_centers_.dtype))
    np.testing.assert_array_equal(tables.read(out)["cluster"].to_numpy(), expected)
    done = run("predict", model, as_csv(tmp_path / "lacks", new[["width"]]))
    assert done.exit_code == 1
    assert "has no column 'colour'" in done.stderr


def test_encoded_columns_are_clustered(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    file = as_csv(tmp_path / "t", TABLE)
    done = run("cluster", file, "-k", 4, "--columns", "colour", "--encode", "--out", out)
    assert done.exit_code == 0, done.output
    assert adjusted_rand_score(COLOURS, tables.read(out)["cluster"].to_numpy()) == 1.0


@pytest.mark.parametrize("command", ["choose-k", "report"])
def test_the_command_that_is_shown_encodes(command: str, run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    options = ["--to", 3, "--references", 0] if command == "choose-k" else ["-k", 2, "-o", page]
    done = run(command, as_csv(tmp_path / "t", TABLE), "--encode", *options)
    assert done.exit_code == 0, done.output
    assert " --encode " in (done.stdout if command == "choose-k" else page_of(page).command)


def test_the_report_compares_clusters_with_what_was_left_out(run: Run, tmp_path: Path) -> None:
    table = TABLE.assign(width=TABLE["width"] + 100 * (TABLE["colour"] == "red"))
    table.loc[3, "width"] = np.nan
    page = tmp_path / "page.html"
    file = as_csv(tmp_path / "t", table)
    done = run("report", file, "-k", 2, "--missing", "drop", "--out", page)
    assert done.exit_code == 0, done.output
    (heading, *rows) = page_of(page).table("Number of rows of each colour in each cluster")
    assert heading == ["colour", "0", "1"]
    assert [row[0] for row in rows] == ["(empty)", "blue", "green", "red"]
    reds, others = {"15 (100%)", "0 (0%)"}, {"15 (34%)", "14 (32%)", "0 (0%)"}
    assert set(rows[3][1:]) == reds
    assert {cell for row in rows[:3] for cell in row[1:]} == others
    assert (
        sum(caption.startswith("Number of rows of each") for caption in page_of(page).tables) == 2
    )
