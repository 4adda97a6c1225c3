"""Columns of lists, such as embeddings, on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet
from sklearn.metrics import adjusted_rand_score

from kmeans_xp import KMeans, persistence
from kmeans_xp.cli import inputs, tables
from kmeans_xp.cli.asked import Asked

Run = Callable[..., Any]

N_ROWS, WIDTH = 60, 4
TRUTH = np.arange(N_ROWS) % 3
POINTS = np.eye(WIDTH, dtype=np.float32)[TRUTH] * 9
POINTS += np.random.default_rng(0).normal(size=POINTS.shape).astype(np.float32)
NAMES = [*(f"e[{i}]" for i in range(WIDTH)), "n"]

KINDS = {
    "lists": pa.list_(pa.float32()),
    "fixed lists": pa.list_(pa.float32(), WIDTH),
    "large lists": pa.large_list(pa.float32()),
    "wider lists": pa.list_(pa.float64(), WIDTH),
}


def table_of(kind: pa.DataType, points: np.ndarray = POINTS) -> pa.Table:
    lists = pa.array(points.tolist(), kind)
    names = [f"row {i}" for i in range(len(points))]
    numbers = pa.array(np.arange(len(points)) % 2, pa.float32())
    return pa.table({"name": names, "e": lists, "n": numbers})


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_list_is_as_many_columns(
    is_streamed: bool,
    kind: str,
    suffix: str,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, out, again = (tmp_path / f"{name}{suffix}" for name in ("in", "out", "again"))
    table = table_of(KINDS[kind])
    (parquet.write_table if suffix == ".parquet" else feather.write_feather)(table, file)
    if is_streamed:
        monkeypatch.setattr("kmeans_xp.cli.streaming.available_memory", lambda: 1000)
    model = tmp_path / "m.safetensors"
    options = ("--seed", 1, "--n-init", 3, "--out", out, "--model", model)
    done = run("cluster", file, "-k", 3, *options)
    assert done.exit_code == 0, done.output
    assert f"{N_ROWS} rows x {WIDTH + 1} columns" in done.stdout
    labelled = tables.read(out)
    assert labelled.drop_columns("cluster").equals(table)
    assert adjusted_rand_score(TRUTH, labelled["cluster"].to_numpy()) == 1.0
    estimator, _ = persistence.load(model, expected=KMeans)
    assert estimator.feature_names_in_.tolist() == NAMES
    is_narrow = kind != "wider lists"
    assert estimator.cluster_centers_.dtype == (np.float32 if is_narrow else np.float64)
    done = run("predict", model, file, "--out", again)
    assert done.exit_code == 0, done.output
    assert tables.read(again).equals(labelled)


def test_lists_beside_encoded_and_scaled_columns(run: Run, tmp_path: Path) -> None:
    file, model = tmp_path / "in.parquet", tmp_path / "m.safetensors"
    table = table_of(KINDS["lists"])
    table = table.set_column(0, "name", pa.array([f"group {i}" for i in TRUTH]))
    parquet.write_table(table, file)
    outs = [tmp_path / "a.npy", tmp_path / "b.npy"]
    files = ("--out", outs[0], "--model", model)
    done = run("cluster", file, "-k", 3, "--encode", "--scale", *files)
    assert done.exit_code == 0, done.output
    done = run("predict", model, file, "--out", outs[1])
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(*map(np.load, outs))


def test_what_a_list_lacks_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "in.arrow"  # pyarrow 17 writes no such lists of one length as Parquet
    lists = [[1.0, 2.0], None, [3.0, None], [5.0, 6.0]]
    for kind in (pa.list_(pa.float64()), pa.list_(pa.float64(), 2)):
        feather.write_feather(pa.table({"e": pa.array(lists, kind)}), file)
        with pytest.raises(tables.TableError, match=r"2 of 4 rows .*e\[0\] \(1\), e\[1\] \(2\)"):
            inputs.read(file, Asked())


def test_lists_of_several_lengths_are_an_error(run: Run, tmp_path: Path) -> None:
    file, other = tmp_path / "in.parquet", tmp_path / "other.parquet"
    parquet.write_table(pa.table({"e": [[1.0, 2.0], [1.0]], "x": [1, 2]}), file)
    done = run("cluster", file, "-k", 2)
    assert done.exit_code == 1
    assert "Column 'e' of" in done.stderr
    assert "lists of 1, 2 numbers, but lists must have equal lengths" in done.stderr
    model = tmp_path / "m.safetensors"
    parquet.write_table(table_of(KINDS["lists"]), file)
    assert run("cluster", file, "-k", 2, "--model", model).exit_code == 0
    parquet.write_table(table_of(KINDS["lists"], POINTS[:, :3]), other)
    done = run("predict", model, other)
    assert done.exit_code == 1
    assert "are its lists of another length?" in done.stderr
