"""Text files as people have them: delimiters, decimals, thousands and encodings."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmeans_xp import KMeans, persistence
from kmeans_xp.cli import inputs, tables
from kmeans_xp.cli.asked import Asked
from kmeans_xp.cli.text_format import TextFormat

Run = Callable[..., Any]

POINTS = np.array([[1.5, 1234567.25], [-2.25, 12.5], [1000.75, 3.0], [7.0, -4321.5], [0.5, 100.0]])
PLACES = ["Köln", "Łódź", "Zürich", "Genève", "Århus"]


def written(
    numbers: np.ndarray, names: list[str], style: TextFormat, *, header: bool = True
) -> bytes:
    """Return a table as text; cells are quoted where they hold the delimiter."""

    def number(value: float) -> str:
        text = f"{value:,}" if style.thousands else str(value)
        return text.translate({ord(","): style.thousands, ord("."): style.decimal})

    def line(cells: list[str]) -> str:
        return delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in cells) + "\n"

    delimiter = style.delimiter or ","
    rows = [[name, *map(number, row)] for name, row in zip(names, numbers.tolist(), strict=True)]
    names_of_columns = [["place", "x", "y"]] if header else []
    return "".join(map(line, names_of_columns + rows)).encode(style.encoding or "utf-8")


STYLES = {
    "plain": TextFormat(",", ".", "", "utf-8"),
    "semicolons": TextFormat(";", ".", "", "utf-8"),
    "decimal commas": TextFormat(";", ",", "", "utf-8"),
    "quoted commas": TextFormat(",", ",", "", "utf-8"),
    "bars": TextFormat("|", ".", "", "utf-8"),
    "tabs": TextFormat("\t", ",", "", "utf-8"),
    "English thousands": TextFormat(";", ".", ",", "utf-8"),
    "quoted thousands": TextFormat(",", ".", ",", "utf-8"),
    "German thousands": TextFormat(";", ",", ".", "utf-8"),
    "French thousands": TextFormat(";", ",", "\u202f", "utf-8"),
    "Swiss thousands": TextFormat(",", ".", "'", "utf-8"),
    "Latin": TextFormat(";", ",", "", "cp1252"),
    "Excel's Unicode text": TextFormat("\t", ",", "", "utf-16"),
    "UTF-16 without a mark": TextFormat(",", ".", "", "utf-16-le"),
    "the other UTF-16 without a mark": TextFormat(",", ".", "", "utf-16-be"),
}
#: what no file tells for certain
TOLD_BY_OPTION = {"Latin": ["--encoding", "cp1252"]}


@pytest.mark.filterwarnings("ignore:.* is read with")
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("kind", STYLES)
def test_every_style_is_read_and_kept(kind: str, suffix: str, run: Run, tmp_path: Path) -> None:
    style = STYLES[kind]
    places = PLACES if style.encoding != "cp1252" else [*PLACES[:1], "Lodz", *PLACES[2:]]
    file, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    file.write_bytes(written(POINTS, places, style))
    options = TOLD_BY_OPTION.get(kind, [])
    done = run("cluster", file, "-k", 2, "--out", out, *options)
    assert done.exit_code == 0, done.output
    is_plain = kind == "plain" and suffix == ".csv"
    assert ("is read with" in done.stderr) == (not is_plain)
    text = TextFormat(encoding=style.encoding) if options else None
    again = tables.read(out, text)
    assert again["place"].to_pylist() == places
    np.testing.assert_array_equal(np.column_stack([again["x"], again["y"]]), POINTS)
    assert [row[:-1] for row in cells(out, style)] == cells(file, style)


def cells(path: Path, style: TextFormat) -> list[list[str]]:
    """Return the cells of a file that is written so, as they are written."""
    lines = path.read_bytes().decode(style.encoding).splitlines()
    return list(csv.reader(lines, delimiter=style.delimiter))


@pytest.mark.parametrize("kind", STYLES)
def test_what_options_say_is_not_looked_for(kind: str, tmp_path: Path) -> None:
    style = STYLES[kind]
    file = tmp_path / "in.csv"
    # "1.234" and "1,234" leave all in doubt; one cell a row does so for delimiters.
    numbers = np.array([[1234.0, 5678.0], [1000.0, 2000.0]])
    file.write_bytes(written(numbers, ["a", "b"], style))
    data = inputs.read(file, Asked(text=style))
    np.testing.assert_array_equal(data.values, numbers)


@pytest.mark.parametrize("kind", ["decimal commas", "German thousands", "Swiss thousands"])
def test_files_without_names(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    text = written(POINTS, PLACES, STYLES[kind], header=False).decode()
    file.write_text(
        "".join(line.partition(STYLES[kind].delimiter)[2] for line in text.splitlines(True))
    )
    with pytest.warns(UserWarning, match="has numbers, not names"):
        table = tables.read(file, STYLES[kind])
    np.testing.assert_array_equal(np.column_stack([table["x0"], table["x1"]]), POINTS)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a;b\n1;2\n", (";", ".", "")),
        ("a;b\n1,5;2\n", (";", ",", "")),
        ("a;b\n1.234;2\n", (";", ".", "")),  # one number or the other: as is usual
        ("a;b\n1,234;2\n", (";", ".", "")),  # text, and the error names the options
        ("a;b\n1,234;2.5\n", (";", ".", "")),
        ("a;b\n1,234,567;2\n", (";", ".", ",")),
        ("a;b\n1.234.567;2\n", (";", ",", ".")),
        ("a;b\n1,5;2.5\n", (";", ".", "")),  # they contradict each other
        ("a;b\n192.168.100.200;2\n10.0.0.1;1.5\n", (";", ".", "")),  # addresses
        ("a;b\n12.03.2021;1.5\n", (";", ".", "")),  # dates
        ("a;b\n+49 123 456;1.5\n", (";", ".", " ")),
        ("a b;c\n1 234;0,5\n", (";", ",", " ")),
        ("a,b\n1,2\n3\n", (",", ".", "")),  # cut off
        ("length; cm\n1\n2\n", (",", ".", "")),
        ("a;b,c\nx;y,3\n", (",", ".", "")),  # the other would cut into text alone
        ("a;b\n1,234,567;0,123\n", (";", ".", "")),  # no thousands begin with 0
        ("a;b\n1.234.567;0.123\n", (";", ".", "")),
        ("a\n1\n", (",", ".", "")),
    ],
)
def test_only_what_is_certain_is_seen(text: str, seen: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert TextFormat().of(tmp_path / "t.csv") == (*seen, "utf-8")


@pytest.mark.filterwarnings("ignore:.* has numbers, not names")
@pytest.mark.parametrize(
    "text",
    [
        "1,5;2,5\n3,5;4,5\n",
        "length, cm;width, cm\n1,5;2,5\n",
        "a;b,c\n1;2,3\n",
    ],
)
def test_numbers_that_two_delimiters_cut_are_an_error(text: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    done = run("cluster", tmp_path / "t.csv", "-k", 1)
    assert done.exit_code == 1
    assert "',' and ';' each split all rows into equally many cells" in " ".join(
        done.stderr.split()
    )
    table = tables.read(tmp_path / "t.csv", TextFormat(";", ",", "", "utf-8"))
    assert not any(map(pa.types.is_string, table.schema.types))


@given(
    st.lists(
        st.lists(st.floats(-1e9, 1e9).map(lambda x: round(x, 2)), min_size=2, max_size=2),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["decimal commas", "German thousands", "English thousands"]),
)
def test_numbers_are_read_or_left_as_text_but_never_as_others(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]], kind: str
) -> None:
    file = tmp_path_factory.mktemp("text") / "t.csv"
    numbers = np.array(rows)
    file.write_bytes(written(numbers, ["a"] * len(rows), STYLES[kind]))
    table = tables.read(file, TextFormat(*STYLES[kind]))
    np.testing.assert_array_equal(np.column_stack([table["x"], table["y"]]), numbers)


@pytest.mark.filterwarnings("ignore:.* is read with")
def test_what_is_in_doubt_is_an_error_that_names_the_options(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a;b\n1,234;2,345\n3,456;1,111\n")
    done = run("cluster", file, "-k", 2)
    assert done.exit_code == 1
    assert "--decimal and --thousands set the number format" in done.stderr
    thousands = inputs.read(file, Asked(text=TextFormat(thousands=",")))
    decimals = inputs.read(file, Asked(text=TextFormat(decimal=",")))
    np.testing.assert_allclose(thousands.values, 1000 * decimals.values)
    file.write_bytes("ä,b\n1,2\n3,4\n".encode("latin-1"))
    done = run("cluster", file, "-k", 2)
    assert done.exit_code == 1
    assert "--encoding (such as cp1252)" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--delimiter", ";;"], "must be one character"),
        (["--delimiter", '"'], "must be one character"),
        (["--decimal", ";"], "must be . or ,"),
        (["--thousands", "."], "'.' is the decimal separator"),
        (["--thousands", "5"], "that numbers do not contain"),
        (["--encoding", "klingon"], "unknown encoding: klingon"),
    ],
)
def test_bad_options_are_usage_errors(
    options: list[str], message: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    for command in (["cluster", tmp_path / "t.csv", "-k", 2], ["choose-k", tmp_path / "t.csv"]):
        done = run(*command, *options)
        assert done.exit_code == 2
        assert message in done.stderr


def test_delimiters_have_names(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a b\tc\n1\t2\n3\t4\n")
    done = run("cluster", tmp_path / "t.csv", "-k", 2, "--delimiter", "tab")
    assert "2 rows x 2 columns" in done.stdout


def test_a_model_predicts_rows_of_another_style(run: Run, tmp_path: Path) -> None:
    file, other, model = (tmp_path / name for name in ("a.csv", "b.csv", "m.safetensors"))
    file.write_bytes(written(POINTS, PLACES, STYLES["plain"]))
    other.write_bytes(written(POINTS, PLACES, STYLES["German thousands"]))
    outs = [tmp_path / "a.npy", tmp_path / "b.npy"]
    assert run("cluster", file, "-k", 2, "--model", model, "--out", outs[0]).exit_code == 0
    assert run("predict", model, other, "--out", outs[1]).exit_code == 0
    np.testing.assert_array_equal(*map(np.load, outs))


@pytest.mark.filterwarnings("ignore:.* is read with")
@pytest.mark.parametrize("kind", STYLES)
def test_a_model_keeps_the_format_of_its_file(kind: str, run: Run, tmp_path: Path) -> None:
    file, new, model = (tmp_path / name for name in ("a.csv", "b.csv", "m.safetensors"))
    style = STYLES[kind]
    numbers = np.array([[1.25, 1234.0], [1.5, 2345.0], [1234.25, 1.0], [2345.5, 2.0]])
    file.write_bytes(written(numbers, ["Köln", "Zürich", "Genève", "Århus"], style))
    options = TOLD_BY_OPTION.get(kind, [])
    fitted = run("cluster", file, "-k", 2, "--model", model, "--out", tmp_path / "a.npy", *options)
    assert fitted.exit_code == 0, fitted.output
    KMeans.load(model)  # without a warning
    # Alone, 1,234 could be 1234 or 1.234.
    text = written(np.array([[1.234, 1234.0]]), ["Genève"], style).decode(style.encoding)
    new.write_bytes(re.sub(r"[.,]0\b", "", text).encode(style.encoding))
    done = run("predict", model, new, "--out", tmp_path / "b.npy")
    assert done.exit_code == 0, done.output
    assert np.load(tmp_path / "b.npy") == np.load(tmp_path / "a.npy")[0]


@pytest.mark.parametrize(
    "parts",
    [
        [",", ".", "", "klingon"],
        ["", ".", "", "utf-8"],
        [",", "x", "", "utf-8"],
        [",", ".", "ab", "utf-8"],
        [",", "."],
        [1.0, 2.0, 3.0, 4.0],
    ],
)
def test_a_damaged_format_is_an_error(parts: list[Any], run: Run, tmp_path: Path) -> None:
    file, model = tmp_path / "a.csv", tmp_path / "m.safetensors"
    file.write_text("a,b\n1,2\n3,4\n")
    fitted = KMeans(2, random_state=0).fit(POINTS)
    persistence.save(fitted, model, {"file_text_format": np.array(parts)})
    done = run("predict", model, file)
    assert done.exit_code == 1
    assert "file_text_format" in done.stderr
