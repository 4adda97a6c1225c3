"""A note names cells that a spreadsheet would run as formulas."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("typer")

from pyarrow import csv, parquet  # noqa: E402

from kmeans_xp.cli import streaming  # noqa: E402
from kmeans_xp.cli.formulas import Formulas  # noqa: E402

Run = Callable[..., Any]

FORMULAS = ["=cmd|' /C calc'!A0", "+SUM(1;2)", "-2+3", "@SUM(1)", "\t=1", "-x"]
OTHERS = ["", "a=b", "-1.5", "+3", "-1.234,5", "-1e-5", "-12 %", "- ", "-", "7"]


def test_formulas_are_told_from_numbers_and_text() -> None:
    by_cells, by_columns = Formulas(), Formulas()
    by_cells.add(FORMULAS + OTHERS)
    for kind in (pa.string(), pa.large_string()):
        by_columns.add_table(pa.table({"a": pa.array([*FORMULAS, None, *OTHERS], kind)}))
    assert by_cells.n_cells == len(FORMULAS)
    assert by_columns.n_cells == 2 * len(FORMULAS)
    assert by_cells.first == by_columns.first == FORMULAS[0]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("by_blocks", [False, True])
@pytest.mark.parametrize("out", ["out.tsv", "out.parquet"])
def test_a_note_names_one(
    kind: str, by_blocks: bool, out: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"name": ["=1+1", "b", "@c", "d"] * 30, "x": [-1.0, 2.0, -30.0, 4.0] * 30})
    file = tmp_path / f"rows.{kind}"
    (csv.write_csv if kind == "csv" else parquet.write_table)(table, file)
    if by_blocks:
        monkeypatch.setattr(streaming, "available_memory", lambda: 1000)
    done = run("cluster", file, "-k", 2, "--out", tmp_path / out)
    assert done.exit_code == 0, done.output
    told = "60 cells begin with =, +, - or @, such as '=1+1'"
    assert (told in done.output) == (out == "out.tsv")
