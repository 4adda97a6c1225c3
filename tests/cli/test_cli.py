"""The command line, from files to files."""

import importlib
import io
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

pa = pytest.importorskip("pyarrow")
pytest.importorskip("typer")

from pyarrow import csv, feather, ipc, parquet  # noqa: E402
from rich.console import Console  # noqa: E402

import kmeans_xp  # noqa: E402
from kmeans_xp import BisectingKMeans, Checkpoint, KMeans, devices, persistence  # noqa: E402
from kmeans_xp.cli import progress, summary, tables  # noqa: E402
from kmeans_xp.plotting import ClustersDisplay  # noqa: E402
from tests.estimators.test_callbacks import Recording  # noqa: E402

#: the module, beside which the package has a command of its name
clustering = importlib.import_module("kmeans_xp.cli.cluster")

WEATHER = Path(__file__).parents[2] / "examples" / "data" / "jfk_weather_2013.csv"

Run = Callable[..., Any]


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [50, 30, 20])
    rng.shuffle(truth)
    points = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])[truth]
    return points + rng.normal(size=points.shape), truth


@pytest.fixture
def table(blobs: tuple[np.ndarray, np.ndarray]) -> pa.Table:
    points, truth = blobs
    names = [f"row {i}, {group}" for i, group in enumerate(truth)]
    return pa.table({"name": names, "width [cm]": points[:, 0], "height": points[:, 1]})


@pytest.fixture
def csv_file(table: pa.Table, tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    csv.write_csv(table, path)
    return path


def write_stream(table: pa.Table, path: Path) -> None:
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def points_of(table: pa.Table) -> np.ndarray:
    return np.column_stack([table["width [cm]"].to_numpy(), table["height"].to_numpy()])


def test_the_real_command_clusters_the_real_table(tmp_path: Path) -> None:
    out, model, plot = (tmp_path / name for name in ("out.csv", "m.safetensors", "clusters.png"))
    command = [sys.executable, "-m", "kmeans_xp.cli", "cluster", WEATHER, "-k", "4", "--scale"]
    command += ["--out", out, "--model", model, "--plot", plot]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "7,873 rows x 6 columns, scaled" in done.stdout
    assert "Note: columns left out: time_utc (holds times)" in done.stderr
    assert "Clustering" not in done.stderr  # no spinner in a pipe
    written, read = out.read_text().splitlines(), WEATHER.read_text().splitlines()
    assert [line.rpartition(",")[0] for line in written] == read
    labels = [line.rpartition(",")[2] for line in written]
    assert labels[0] == "cluster"
    saved = persistence.load(model, expected=KMeans)
    assert saved.estimator.labels_.tolist() == [int(label) for label in labels[1:]]
    assert saved.estimator.feature_names_in_.tolist() == read[0].split(",")[1:]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_it_agrees_with_the_library(run: Run, csv_file: Path, table: pa.Table) -> None:
    model = csv_file.with_name("m")
    done = run("cluster", csv_file, "-k", 3, "--seed", 5, "--model", model)
    assert done.exit_code == 0, done.output
    expected = KMeans(3, random_state=5, n_init=1).fit(points_of(table))
    saved = KMeans.load(model)
    np.testing.assert_array_equal(saved.labels_, expected.labels_)
    np.testing.assert_array_equal(saved.cluster_centers_, expected.cluster_centers_)
    assert saved.random_state == 5


def test_sizes_are_kept(run: Run, csv_file: Path) -> None:
    model = csv_file.with_name("m")
    done = run("cluster", csv_file, "-k", 4, "--size-min", 20, "--size-max", 30, "--model", model)
    assert done.exit_code == 0, done.output
    sizes = np.bincount(KMeans.load(model).labels_)
    assert sizes.min() >= 20
    assert sizes.max() <= 30
    done = run("cluster", csv_file, "-k", 4, "--size-min", 26)
    assert done.exit_code == 1
    assert "at least --size-min 26 rows need 104 rows" in done.stderr
    done = run("cluster", csv_file, "-k", 4, "--size-min", 20, "--size-max", 10)
    assert "--size-min 20 is greater than --size-max 10" in done.stderr
    done = run("cluster", csv_file, "-k", 4, "--size-min", 20, "--mini-batch")
    assert done.exit_code == 2
    assert "--mini-batch cannot be used with --size-min" in done.stderr


def test_the_same_seed_gives_the_same_files(run: Run, csv_file: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("1.csv", "2.csv")]
    for file in files:
        assert run("cluster", csv_file, "-k", 5, "--out", file).exit_code == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_table_of_clusters(run: Run, csv_file: Path, table: pa.Table) -> None:
    out = csv_file.with_name("out.parquet")
    done = run("cluster", csv_file, "-k", 3, "--out", out)
    labels = parquet.read_table(out)["cluster"].to_numpy()
    points = points_of(table)
    header, *rows = (
        line.split()
        for line in done.stdout.splitlines()
        if line.strip()[:1].isdigit() or line.strip().startswith("cluster ")
    )
    assert " ".join(header) == "cluster size share mean distance width [cm] height"
    for cluster, row in enumerate(rows):
        members = points[labels == cluster]
        distances = np.linalg.norm(members - members.mean(axis=0), axis=1)
        assert row[:3] == [str(cluster), str(len(members)), f"{len(members)}.0%"]
        values = [float(cell) for cell in row[3:]]
        np.testing.assert_allclose(values, [distances.mean(), *members.mean(axis=0)], atol=0.06)
    assert "Mean distance: to the cluster's centre, in units of the columns" in done.stdout


def test_scaling_equals_scaled_data(run: Run, table: pa.Table, tmp_path: Path) -> None:
    points = points_of(table) * [1000.0, 1.0] + [5.0, 0.0]
    wide = pa.table({"a": points[:, 0], "b": points[:, 1], "constant": [0.1] * len(points)})
    file, model = tmp_path / "wide.parquet", tmp_path / "m"
    parquet.write_table(wide, file)
    done = run("cluster", file, "-k", 3, "--scale", "--model", model)
    assert done.exit_code == 0, done.output
    saved = persistence.load(model, expected=KMeans)
    np.testing.assert_allclose(saved.arrays["input_mean"], [*points.mean(axis=0), 0.1])
    np.testing.assert_allclose(saved.arrays["input_scale"], [*points.std(axis=0), 1.0])
    scaled = (points - points.mean(axis=0)) / points.std(axis=0)
    expected = KMeans(3, random_state=0).fit(scaled)
    assert adjusted_rand_score(saved.estimator.labels_, expected.labels_) == 1.0
    assert saved.estimator.inertia_ == pytest.approx(expected.inertia_)
    # The printed centres are in the data's own units, thousands in the first column.
    centres = saved.estimator.cluster_centers_ * saved.arrays["input_scale"]
    largest = (centres + saved.arrays["input_mean"])[:, 0].max()
    assert f" {largest:,.0f} " in done.stdout
    assert "in standard deviations of the columns" in done.stdout


def write_tabs(table: pa.Table, path: Path) -> None:
    csv.write_csv(table, path, csv.WriteOptions(delimiter="\t"))


def write_compressed(table: pa.Table, path: Path) -> None:
    with pa.output_stream(path) as stream:
        csv.write_csv(table, stream)


def write_feather(table: pa.Table, path: Path) -> None:
    feather.write_feather(table, str(path))


def write_npy(table: pa.Table, path: Path) -> None:
    np.save(path, points_of(table))


def write_npz(table: pa.Table, path: Path) -> None:
    np.savez(path, X=points_of(table), y=np.zeros(table.num_rows))


def write_npz_of_columns(table: pa.Table, path: Path) -> None:
    np.savez(path, width=table["width [cm]"].to_numpy(), height=table["height"].to_numpy())


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "table.csv": csv.write_csv,
    "upper.CSV": csv.write_csv,
    "table.tsv": write_tabs,
    "table.csv.gz": write_compressed,
    "table.parquet": parquet.write_table,
    "table.arrow": write_feather,
    "stream.arrow": write_stream,
    "table.feather": write_feather,
    "array.npy": write_npy,
    "array.npz": write_npz,
    "columns.npz": write_npz_of_columns,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_clusters(
    name: str, run: Run, table: pa.Table, blobs: Any, tmp_path: Path
) -> None:
    file, out = tmp_path / name, tmp_path / "labels.npy"
    WRITERS[name](table, file)
    done = run("cluster", file, "-k", 3, "--out", out)
    assert done.exit_code == 0, done.output
    assert adjusted_rand_score(np.load(out), blobs[1]) == 1.0


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.parquet", "out.arrow", "out.feather"])
@pytest.mark.parametrize("source", ["table.csv", "table.csv.gz", "table.parquet"])
def test_labelled_rows_keep_order_and_columns(
    source: str, name: str, run: Run, table: pa.Table, blobs: Any, tmp_path: Path
) -> None:
    file, out = tmp_path / source, tmp_path / name
    WRITERS[source](table, file)
    assert run("cluster", file, "-k", 3, "--out", out).exit_code == 0
    written = tables.read(out)
    assert written.column_names == [*table.column_names, "cluster"]
    assert written.drop_columns(["cluster"]).equals(table)
    assert adjusted_rand_score(written["cluster"].to_numpy(), blobs[1]) == 1.0


def test_cells_of_a_csv_file_are_copied_as_written(run: Run, tmp_path: Path) -> None:
    lines = ['time,x,"a, b",note', '2013-01-01T06:00:00Z,1.50,0010,"say ""hi"""', "n/a,2.,1e3,"]
    file, out = tmp_path / "in.csv", tmp_path / "out.csv"
    file.write_bytes("\ufeff".encode() + "\r\n".join([*lines, ""]).encode())
    done = run("cluster", file, "-k", 2, "--out", out)
    assert done.exit_code == 0, done.output
    header, *rows = out.read_text().splitlines()
    assert header == lines[0] + ",cluster"
    assert [row.rpartition(",")[0] for row in rows] == lines[1:]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_earlier_cluster_column_is_kept_not_clustered(
    suffix: str, run: Run, csv_file: Path, tmp_path: Path
) -> None:
    once, twice, thrice = (tmp_path / f"{name}{suffix}" for name in ("once", "twice", "thrice"))
    run("cluster", csv_file, "-k", 3, "--out", once)
    done = run("cluster", once, "-k", 3, "--out", twice)
    assert done.exit_code == 0, done.output
    assert "cluster (holds labels of an earlier run)" in done.stderr
    assert "already has a column cluster: the labels are in cluster_1" in done.stderr
    found = tables.read(twice)
    assert found.column_names == [*tables.read(once).column_names, "cluster_1"]
    assert found["cluster"] == found["cluster_1"] == tables.read(once)["cluster"]
    done = run("cluster", twice, "-k", 3, "--out", thrice, "--label-column", "again")
    assert done.exit_code == 0, done.output
    assert tables.read(thrice).column_names[-2:] == ["cluster_1", "again"]
    assert "cluster_1 (holds labels of an earlier run)" in done.stderr
    done = run("cluster", twice, "-k", 3, "--out", thrice, "--label-column", "height")
    assert done.exit_code == 1
    assert "--label-column 'height' already is a column" in done.stderr


@pytest.mark.parametrize(
    ("header", "names", "n_rows"), [("", "x0 x1", 4), ("0,1\n", "0 1", 4), ("a,b\n", "a b", 4)]
)
def test_a_csv_file_without_names_loses_no_row(
    header: str, names: str, n_rows: int, run: Run, tmp_path: Path
) -> None:
    file, out = tmp_path / "in.csv", tmp_path / "out.csv"
    file.write_text(header + "1.5,2\n3,4\n8,9\n8,9.5\n")
    done = run("cluster", file, "-k", 2, "--out", out)
    assert f"{n_rows} rows x 2 columns" in done.stdout
    assert ("has numbers, not names" in done.stderr) == (header == "")
    assert out.read_text().splitlines()[0] == ",".join([*names.split(), "cluster"])
    assert len(out.read_text().splitlines()) == n_rows + 1


def test_a_missing_line_break_at_the_end_is_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("a,b\n1,2\n3,4")
    done = run("cluster", file, "-k", 1)
    assert done.exit_code == 0
    assert "does not end with a line break" in done.stderr


def test_columns_are_those_asked_for(run: Run, csv_file: Path) -> None:
    model = csv_file.with_name("m")
    done = run("cluster", csv_file, "-k", 2, "--columns", "height", "--model", model)
    assert done.exit_code == 0, done.output
    assert KMeans.load(model).feature_names_in_.tolist() == ["height"]
    assert KMeans.load(model).cluster_centers_.shape == (2, 1)


def test_left_out_columns_are_told_with_the_reason(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mixed.parquet"
    mixed = {
        "x": pa.array([1, 2, 3], pa.int8()),
        "price": pa.array(["1.5", "2.5", "3.5"]).cast(pa.decimal128(5, 2)),
        "text": ["a", "b", "c"],
        "day": pa.array([1, 2, 3], pa.date32()),
        "flag": [True, False, True],
        "empty": pa.nulls(3),
        "list": [["a"], ["b"], ["c"]],
    }
    parquet.write_table(pa.table(mixed), file)
    done = run("cluster", file, "-k", 2)
    assert "3 rows x 2 columns" in done.stdout
    reasons = "text (holds text), day (holds times), flag (holds true or false)"
    assert f"{reasons}, empty (holds nothing), list (holds list" in done.stderr
    flagged = run("cluster", file, "-k", 2, "--columns", "x,flag")
    assert "3 rows x 2 columns" in flagged.stdout


@pytest.mark.parametrize(
    ("types", "dtype"),
    [
        ((pa.float32(), pa.float32()), np.float32),
        ((pa.float32(), pa.float64()), np.float64),
        ((pa.int64(), pa.float32()), np.float64),
    ],
)
def test_only_float32_is_clustered_in_float32(
    types: tuple[pa.DataType, pa.DataType], dtype: type, run: Run, tmp_path: Path
) -> None:
    file, model = tmp_path / "in.parquet", tmp_path / "m"
    columns = [pa.array([0, 1, 9, 8]).cast(dtype) for dtype in types]
    parquet.write_table(pa.Table.from_arrays(columns, ["a", "b"]), file)
    for scale in ([], ["--scale"]):
        assert run("cluster", file, "-k", 2, "--model", model, *scale).exit_code == 0
        loaded = persistence.load(model, expected=KMeans).estimator
        assert loaded.cluster_centers_.dtype == dtype


@pytest.mark.parametrize("scale", [(), ("--scale",)])
@pytest.mark.parametrize("extra", [(), ("--mini-batch",)])
def test_predict_gives_the_labels_of_the_fit(
    scale: tuple[str, ...], extra: tuple[str, ...], run: Run, csv_file: Path, tmp_path: Path
) -> None:
    model, fitted, predicted = (tmp_path / name for name in ("m", "fitted.csv", "predicted.csv"))
    run("cluster", csv_file, "-k", 3, "--model", model, "--out", fitted, *scale, *extra)
    done = run("predict", model, csv_file, "--out", predicted)
    assert done.exit_code == 0, done.output
    assert predicted.read_text() == fitted.read_text()
    assert "100 rows, nearest of 3 clusters" in done.stdout
    unit = "standard deviations" if scale else "units"
    assert f"Mean distance: to the cluster's centre, in {unit} of the columns" in done.stdout


def test_predict_matches_columns_by_name(run: Run, csv_file: Path, tmp_path: Path) -> None:
    model, labels, out = tmp_path / "m", tmp_path / "labels.npy", tmp_path / "out.npy"
    run("cluster", csv_file, "-k", 3, "--scale", "--model", model, "--out", labels)
    shuffled = tables.read(csv_file).select(["height", "name", "width [cm]"])
    parquet.write_table(shuffled.append_column("more", shuffled["height"]), tmp_path / "p.parquet")
    assert run("predict", model, tmp_path / "p.parquet", "--out", out).exit_code == 0
    np.testing.assert_array_equal(np.load(out), np.load(labels))


def test_predict_by_a_model_without_names(run: Run, csv_file: Path, table: pa.Table) -> None:
    model, out = csv_file.with_name("m"), csv_file.with_name("out.npy")
    fitted = KMeans(3, random_state=0).fit(points_of(table))
    fitted.save(model)
    assert run("predict", model, csv_file, "--out", out).exit_code == 0
    np.testing.assert_array_equal(np.load(out), fitted.labels_)


def test_devices_says_what_is_usable_and_why_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = (
        devices.DeviceReport("numpy", "cpu", True, "NumPy 2"),
        devices.DeviceReport("other", "cuda", False, "install it: pip install 'kmeans_xp[cuda12]'"),
    )
    monkeypatch.setattr(devices, "available", lambda: reports)
    lines = [" ".join(line.split()) for line in run("devices").stdout.splitlines()]
    assert "numpy cpu yes NumPy 2" in lines
    assert "other cuda no install it: pip install 'kmeans_xp[cuda12]'" in lines


def test_devices_compiles_ahead(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_ahead(on_each: Any) -> int:
        on_each(1, 1)
        return 1

    module = sys.modules["kmeans_xp.cli.devices"]
    monkeypatch.setattr(module, "compile_ahead", compile_ahead)
    assert "1 functions are compiled" in run("devices", "--compile").stderr


def test_the_user_is_told_what_a_first_run_waits_for(
    run: Run, csv_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = KMeans.fit

    def compiling(*args: Any, **kwargs: Any) -> KMeans:
        logging.getLogger("kmeans_xp.kernels").info("Compiling kernels")
        return fit(*args, **kwargs)

    monkeypatch.setattr(KMeans, "fit", compiling)
    assert "Note: Compiling kernels" in run("cluster", csv_file, "-k", 2).stderr


def test_the_device_and_the_reason_are_told(run: Run, csv_file: Path) -> None:
    points = points_of(tables.read(csv_file))
    reason = KMeans(2, device="cpu", random_state=0).fit(points).device_reason_
    assert f"Device: {reason}" in run("cluster", csv_file, "-k", 2, "--device", "cpu").stdout


def test_the_environment_chooses_the_device(
    run: Run, csv_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMEANS_XP_DEVICE", "abacus")
    done = run("cluster", csv_file, "-k", 2)
    assert done.exit_code == 2
    assert "device 'abacus' is not known" in done.stderr


@pytest.mark.since_sklearn("1.9")
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_fit_tells_how_it_goes(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=is_terminal, width=200, record=True)
    monkeypatch.setattr(progress, "messages", lambda: screen)
    monkeypatch.setattr(progress, "SECONDS_A_LOOK", 0.0)
    monkeypatch.setattr(progress, "SECONDS_A_LINE", 0.0)
    points = np.random.default_rng(0).normal(size=(200, 2))
    estimator, recording = KMeans(5, random_state=0), Recording()
    with progress.fit_progress(estimator, "Clustering", recording):
        estimator.fit(points)
    told = (
        rf"Clustering: iteration {estimator.n_iter_} of 300 at most, "
        r"inertia [\d.]+, [\d,]+ rows a second, \d:\d\d:\d\d left at most"
    )
    assert re.search(told, screen.export_text())
    assert recording.events
    assert "_skl_callbacks" not in vars(estimator)


def test_a_short_fit_tells_nothing_to_a_file(run: Run, csv_file: Path) -> None:
    assert run("cluster", csv_file, "-k", 2, "--columns", "height").stderr == ""


class Killed(BaseException):
    """As an interrupt from the keyboard."""


@pytest.mark.since_sklearn("1.9")
@pytest.mark.parametrize("options", [(), ("--mini-batch",), ("--n-init", 3, "--scale")], ids=str)
def test_what_was_killed_goes_on(
    options: tuple[Any, ...], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("cluster", WEATHER, "-k", 4, "--max-iter", 40, *options)
    out, whole, kept = (tmp_path / name for name in ("out.csv", "whole.csv", "fit.ckpt"))
    assert run(*command, "--out", whole).exit_code == 0
    offer, n_left = Checkpoint._offer, [6]

    def offer_and_die(checkpoint: Checkpoint, *args: Any, **kwargs: Any) -> None:
        offer(checkpoint, *args, **kwargs)
        n_left[0] -= 1
        if n_left[0] == 0:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(clustering, "SECONDS_A_CHECKPOINT", 0.0)
        patch.setattr(Checkpoint, "_offer", offer_and_die)
        with pytest.raises(Killed):
            run(*command, "--out", out, "--checkpoint", kept)
    assert kept.exists()
    assert not out.exists()
    done = run(*command, "--out", out, "--checkpoint", kept)
    assert done.exit_code == 0
    assert re.search(rf"continued from {re.escape(str(kept))}, (iteration|step) \d+", done.stderr)
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [out, whole]


@pytest.mark.since_sklearn("1.9")
def test_a_fit_whose_files_cannot_be_written_is_kept(
    run: Run, csv_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    kept = tmp_path / "fit.ckpt"
    command = ("cluster", csv_file, "-k", 2, "--checkpoint", kept, *outputs(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", fail)
        assert_one_error(run(*command), "disk full")
    assert kept.exists()
    done = run(*command)
    assert done.exit_code == 0
    assert "continued from" in done.stderr
    assert not kept.exists()


@pytest.mark.since_sklearn("1.9")
def test_the_checkpoint_of_another_command_is_refused(
    run: Run, csv_file: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "fit.ckpt"
    kept.write_text("a,b\n")
    assert_one_error(run("cluster", csv_file, "-k", 2, "--checkpoint", kept), "not a safetensors")
    assert kept.read_text() == "a,b\n"
    done = run("cluster", csv_file, "-k", 2, "--checkpoint", csv_file)
    assert_one_error(done, "would be overwritten", 2)


def test_stopping_early_is_told(run: Run) -> None:
    done = run("cluster", WEATHER, "-k", 4, "--max-iter", 2)
    assert done.exit_code == 0
    assert "stopped by --max-iter 2" in done.stderr


def test_duplicates_are_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("a\n" + "1\n" * 5)
    done = run("cluster", file, "-k", 3)
    assert done.exit_code == 0
    assert "Number of distinct clusters (1) found smaller than n_clusters (3)" in done.stderr


def test_uneven_columns_are_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("metres,millimetres\n1,1000\n2,9000\n3,5000\n")
    done = run("cluster", file, "-k", 2)
    assert "column millimetres spreads 4,000 times as wide" in done.stderr
    assert "spreads" not in run("cluster", file, "-k", 2, "--scale").stderr


def test_version(run: Run) -> None:
    assert run("--version").stdout.strip() == f"kmeans_xp {kmeans_xp.__version__}"


@pytest.mark.parametrize("command", ["cluster", "choose-k", "predict", "report", "devices"])
def test_help(command: str, run: Run) -> None:
    done = run(command, "--help")
    assert f"Example: kmeans-xp {command} " in done.output
    assert run(command, "-h").output == done.output
    assert done.exit_code == 0
    assert command in done.stdout


@pytest.mark.sampled(1, numpy=4)
@pytest.mark.parametrize("absent", ["typer", "rich", "pyarrow", "PIL"])
def test_without_the_extra_it_says_what_to_install(absent: str) -> None:
    code = f"import sys; sys.modules[{absent!r}] = None\nimport kmeans_xp.cli; kmeans_xp.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("kmeans-xp needs ")
    assert done.stderr.strip().endswith(": pip install 'kmeans_xp[cli]'")


# name of the file: what is in it, and what is said of it
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "empty.csv is empty"),
    "blank.csv": (b"\n\n", "blank.csv cannot be read as .csv"),
    "header.csv": (b"a,b\n", "header.csv has no rows"),
    "cut.csv": (
        b"a,b\n1,2\n3",
        "cannot be read as .csv: CSV parse error: Expected 2 columns.*cut off",
    ),
    "ragged.csv": (b"a,b\n1,2\n3,4,5\n", "Expected 2 columns, got 3"),
    "text.csv": (
        b"a,b\nx,y\n",
        r"no column of numbers to cluster. Its columns: a \(holds text\), b",
    ),
    "twice.csv": (b"a,a\n1,2\n", "columns of the same name: a"),
    "spoiled.csv": (
        b"a,b\n1,2\n3,4\n5,1e\n",
        "Column 'b' of .* holds numbers, but also text in 1 of 3 rows, first '1e' in row 3",
    ),
    "missing.csv": (
        b"a,b\n1,2\n,4\nNaN,6\n7,\n",
        r"3 of 4 rows of .* have missing values, in a \(2\), b \(1\); rows 2, 3, 4 .*--columns",
    ),
    "infinite.csv": (b"a\n1\ninf\n", r"1 of 2 rows of .* have infinite values, in a \(1\); rows 2"),
    "latin.csv": (b"\xe4,b\n1,2\n", "latin.csv cannot be read as .csv"),
    "cut.parquet": (b"PAR1\x00\x01", "cut.parquet cannot be read as .parquet"),
    "cut.arrow": (b"ARROW1\x00\x00\xff", "cut.arrow cannot be read as .arrow"),
    "cut.npy": (b"\x93NUMPY\x01\x00v\x00", "cut.npy cannot be read as .npy"),
    "cut.npz": (b"PK\x03\x04\x14\x00", "cut.npz cannot be read as .npz"),
    "cut.csv.gz": (b"\x1f\x8b\x08\x00", "cut.csv.gz cannot be read as .csv"),
}


@pytest.fixture
def _nothing_written(tmp_path: Path) -> Iterator[None]:
    """After the test the folder holds what the command did not write."""
    yield
    names = {path.name for path in tmp_path.iterdir()}
    assert names.isdisjoint({"out.csv", "m.safetensors", "p.png"})
    assert not [name for name in names if name.startswith(".")]


def outputs(folder: Path) -> list[object]:
    return [
        *("--out", folder / "out.csv"),
        *("--model", folder / "m.safetensors"),
        *("--plot", folder / "p.png"),
    ]


def assert_one_error(done: Any, message: str, exit_code: int = 1) -> None:
    assert done.exit_code == exit_code, done.output
    assert isinstance(done.exception, SystemExit)  # no traceback
    assert done.stdout == ""
    assert re.search(message, done.stderr), done.stderr
    assert "[Errno" not in done.stderr
    if exit_code == 1:
        errors = [line for line in done.stderr.splitlines() if not line.startswith("Note: ")]
        assert len(errors) == 1
        assert errors[0].startswith("Error: ")


@pytest.mark.usefixtures("_nothing_written")
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_one_error(name: str, run: Run, tmp_path: Path) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    done = run("cluster", tmp_path / name, "-k", 1, *outputs(tmp_path))
    assert_one_error(done, message)


@pytest.mark.usefixtures("_nothing_written")
@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("a.npy", [np.zeros((2, 2, 2))], r"shape \(2, 2, 2\): it must be 2-D"),
        ("a.npy", [np.zeros(3, dtype=complex)], "complex128: it must be of real numbers"),
        ("a.npy", [np.array([{}, 1])], "Object arrays cannot be loaded"),
        ("a.npy", [np.zeros((0, 2))], "has no rows"),
        ("a.npz", [np.zeros((2, 2)), np.zeros((3, 2))], r"arr_0 \(2, 2\), arr_1 \(3, 2\)"),
        ("a.npz", [np.zeros(2), np.zeros(3)], "1-D arrays of equal length"),
        ("a.npz", [], "it holds none"),
    ],
)
def test_bad_arrays_are_one_error(
    name: str, arrays: list[np.ndarray], message: str, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, arrays[0])
    else:
        np.savez(path, *arrays)
    assert_one_error(run("cluster", path, "-k", 1, *outputs(tmp_path)), message)


@pytest.mark.usefixtures("_nothing_written")
@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (["-k", 101], "100 rows are too few for 101 clusters", 1),
        (["-k", 2, "--columns", "height,depth"], "no column 'depth'. Its columns: name, width", 1),
        (["-k", 2, "--columns", "name"], "Column 'name' .* holds text, not numbers", 1),
        (["-k", 2, "--device", "abacus"], "device 'abacus' is not known", 2),
        *(
            (["-k", 2, "--device", name], f"device '{name}' is not known.* a GPU is cuda", 2)
            for name in ("gpu", "GPU", "nvidia")
        ),
        (["-k", 0], "Invalid value for '-k'", 2),
        (["-k", 2, "--seed", -1], "Invalid value for '--seed'", 2),
        ([], "Missing option '-k'", 2),
    ],
)
def test_bad_arguments_are_one_error(
    arguments: list[object], message: str, exit_code: int, run: Run, csv_file: Path, tmp_path: Path
) -> None:
    done = run("cluster", csv_file, *arguments, *outputs(tmp_path))
    assert_one_error(done, message, exit_code)


@pytest.mark.skipif(
    any(report.usable and report.device.startswith("cuda") for report in devices.available()),
    reason="CUDA is usable here",
)
@pytest.mark.usefixtures("_nothing_written")
def test_cuda_without_cuda_is_one_error(run: Run, csv_file: Path, tmp_path: Path) -> None:
    done = run("cluster", csv_file, "-k", 2, "--device", "cuda", *outputs(tmp_path))
    assert_one_error(done, "'cuda(:0)?' was asked for, but ")


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (["--out", "out.xlsx"], "extension '.xlsx' is not known; known are .csv", 2),
        (["--out", "out.npz"], "extension '.npz' is not known", 2),
        (["--plot", "p.xlsx"], "No picture can be written as '.xlsx'", 1),
        (["--plot", "p"], "No picture can be written as ''", 1),
        (["--out", "absent/out.csv"], "No such file or directory: .*absent/out.csv'", 1),
        (["--model", "."], "Is a directory", 1),
        (["--out", "table.csv"], "table.csv would be overwritten", 2),
        (["--model", "same.csv", "--out", "same.csv"], "same.csv would be overwritten", 2),
    ],
)
def test_bad_outputs_are_refused_before_any_work(
    arguments: list[str],
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
    done = run("cluster", csv_file, "-k", 2, *arguments)
    assert_one_error(done, message, exit_code)
    assert csv_file.read_bytes() == before
    assert list(csv_file.parent.iterdir()) == [csv_file]


def test_columns_that_no_csv_file_can_hold_are_refused(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "in.parquet", tmp_path / "out.csv"
    parquet.write_table(pa.table({"x": [1.0, 2.0], "list": [[1], [2]]}), file)
    done = run("cluster", file, "-k", 2, "--out", out)
    assert_one_error(done, "cannot be written as .csv .*choose a .parquet")
    assert list(tmp_path.iterdir()) == [file]


def test_a_name_may_hold_a_delimiter(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("length; cm\n1\n2\n")
    done = run("cluster", tmp_path / "t.csv", "-k", 1)
    assert done.exit_code == 0
    assert done.stderr == ""


def test_unknown_extensions_list_the_known(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "table.xlsx"
    file.write_bytes(b"PK")
    done = run("cluster", file, "-k", 2)
    assert_one_error(done, "extension '.xlsx' is not known; known are .csv, .tsv, .parquet", 2)


def test_an_absent_file_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    assert_one_error(run("cluster", tmp_path / "absent.csv", "-k", 2), "does not exist", 2)


def test_a_failed_picture_leaves_no_other_output(
    run: Run, csv_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    (tmp_path / "out.csv").write_text("older")
    monkeypatch.setattr(Figure, "savefig", fail)
    done = run("cluster", csv_file, "-k", 2, *outputs(tmp_path))
    assert_one_error(done, "disk full")
    assert (tmp_path / "out.csv").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "table.csv"]


@pytest.fixture
def model(run: Run, csv_file: Path) -> Path:
    path = csv_file.with_name("model.safetensors")
    assert run("cluster", csv_file, "-k", 3, "--model", path).exit_code == 0
    return path


@pytest.mark.usefixtures("_nothing_written")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("height\n1\n", r"no column 'width \[cm\]'. Its columns: height"),
        ("height,width [cm]\n1,\n", r"missing values, in width \[cm\] \(1\)"),
        ("height,width [cm]\n1,a\n", r"Column 'width \[cm\]' of .* holds text"),
    ],
)
def test_predict_refuses_tables_that_do_not_fit(
    content: str, message: str, run: Run, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new.csv"
    file.write_text(content)
    assert_one_error(run("predict", model, file, "--out", tmp_path / "out.csv"), message)


@pytest.mark.usefixtures("_nothing_written")
def test_predict_refuses_what_is_no_model(run: Run, csv_file: Path, tmp_path: Path) -> None:
    done = run("predict", csv_file, csv_file.rename(tmp_path / "t.csv"))
    assert_one_error(done, "does not exist", 2)
    done = run("predict", tmp_path / "t.csv", tmp_path / "t.csv", "--out", tmp_path / "out.csv")
    assert_one_error(done, "would be overwritten", 2)


@pytest.mark.usefixtures("_nothing_written")
def test_predict_refuses_damaged_models(
    run: Run, model: Path, csv_file: Path, tmp_path: Path
) -> None:
    model.write_bytes(model.read_bytes()[:-7])
    done = run("predict", model, csv_file, "--out", tmp_path / "out.csv")
    assert_one_error(done, "is truncated, or not a safetensors file")


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (KMeans(3), "holds a KMeans that was not fitted"),
        (KMeans(2, random_state=0).fit(np.eye(4)), "4 columns without names; .* has 2"),
    ],
)
def test_predict_refuses_models_that_do_not_fit(
    estimator: KMeans, message: str, run: Run, csv_file: Path
) -> None:
    model = csv_file.with_name("m")
    estimator.save(model)
    assert_one_error(run("predict", model, csv_file), message)


def summary_lines(width: int, n_clusters: int, n_columns: int) -> list[str]:
    rng = np.random.default_rng(0)
    centroids = 100 * rng.normal(size=(n_clusters, n_columns))
    labels = np.arange(n_clusters)
    names = [f"column [{i}]" for i in range(n_columns)]
    clusters = summary.summarize(centroids, labels, centroids, centroids, names)
    console = Console(width=width, record=True, markup=False, file=io.StringIO())
    summary.print_summary(console, clusters)
    return console.export_text().splitlines()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1990, 1991, 2004, 2005], "1990.5"),
        ([1994, 1994, 1999, 1999], "1994.00"),
        ([1850.5, 1851, 2010.5, 2011], "1851"),
        ([9990, 9991, 9998, 9999], "9990.50"),
        ([19900, 19910, 20040, 20050], "19,905"),
    ],
)
def test_years_have_no_thousands_separator(
    values: list[float], expected: str, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "t.csv"
    csv.write_csv(pa.table({"year": values}), file)
    done = run("cluster", file, "-k", 2)
    assert done.exit_code == 0, done.output
    assert expected in done.stdout
    assert run("report", file, "-k", 2, "--out", tmp_path / "r.html").exit_code == 0
    assert f">{expected}<" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.sampled(1, numpy=3)
@pytest.mark.parametrize("width", [60, 100, 1000])
@pytest.mark.parametrize(("n_clusters", "n_columns"), [(3, 2), (50, 4), (4, 20), (50, 20)])
def test_the_summary_fits_any_width_uncut(width: int, n_clusters: int, n_columns: int) -> None:
    lines = summary_lines(width, n_clusters, n_columns)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    for name in ("cluster", "size", "share", "mean distance", f"column [{n_columns - 1}]"):
        assert name in text


def test_the_summary_says_how_many_columns_it_leaves_out() -> None:
    assert summary_lines(1000, 3, 300)[-1] == "Centres in 280 more columns are not shown."


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i2", "?", "longdouble", "f2"])
def test_numbers_of_any_kind_in_npy_are_read(dtype: str, tmp_path: Path) -> None:
    host = (np.arange(40).reshape(20, 2) % 17 > 8).astype(dtype)
    np.save(tmp_path / "rows.npy", host)
    plain = tables.read(tmp_path / "rows.npy")
    np.testing.assert_array_equal(np.column_stack(plain.columns), host.astype(float))


def test_metric_is_that_of_the_library_and_kept_by_the_model(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    directions = np.eye(3)[np.arange(90) % 3] + 0.1 * rng.normal(size=(90, 3))
    rows = directions * 10.0 ** rng.uniform(-3, 3, size=(90, 1))
    file, model = tmp_path / "rows.npy", tmp_path / "model.safetensors"
    np.save(file, rows)
    labels, again = tmp_path / "labels.npy", tmp_path / "again.npy"
    options = ["--metric", "cosine", "--out", str(labels), "--model", str(model)]
    told = run("cluster", str(file), "-k", "3", *options).output
    expected = KMeans(3, random_state=0, metric="cosine").fit(rows)
    np.testing.assert_array_equal(np.load(labels), expected.labels_)
    assert f"Inertia: {expected.inertia_:.6g}"[:14] in told
    assert "(sum of 1 - cos)" in told
    told_of_centres = "to the cluster's centre, 1 - cos; centres are of length 1, in units of the"
    assert told_of_centres in " ".join(told.split())
    told = run("predict", str(model), str(file), "--out", str(again)).output
    np.testing.assert_array_equal(np.load(again), expected.labels_)
    assert "1 - cos" in told
    told = run("choose-k", str(file), "--to", "5", "--references", "2", "--metric", "cosine").output
    assert "Inertia: in cosine distances" in told
    assert "--metric cosine" in told


def test_centroids_that_are_directions_are_drawn_among_their_rows(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = np.eye(2)[np.arange(60) % 2] * rng.uniform(50.0, 99.0, size=(60, 1)) + 0.1
    np.save(tmp_path / "rows.npy", rows)
    drawn: list[np.ndarray] = []
    from_predictions = ClustersDisplay.from_predictions

    def spied(X: Any, labels: Any, *, centroids: Any, **options: Any) -> Any:
        drawn.append(centroids)
        return from_predictions(X, labels, centroids=centroids, **options)

    monkeypatch.setattr(ClustersDisplay, "from_predictions", spied)
    for options in ([], ["--scale"]):
        picture = ["--metric", "cosine", "--plot", str(tmp_path / "picture.png")]
        done = run("cluster", str(tmp_path / "rows.npy"), "-k", "2", *picture, *options)
        assert done.exit_code == 0, done.output
    means = np.stack([rows[0::2].mean(axis=0), rows[1::2].mean(axis=0)])
    for centroids in drawn:
        found = centroids[np.argsort(-centroids[:, 0])]
        np.testing.assert_allclose(found, means, atol=0.1 * means.max())


@pytest.mark.since_sklearn("1.9")
@pytest.mark.parametrize("has_checkpoint", [False, True])
def test_an_interrupt_says_what_is_kept(has_checkpoint: bool, tmp_path: Path) -> None:
    file, checkpoint, out = tmp_path / "t.npy", tmp_path / "c.safetensors", tmp_path / "out.npy"
    np.save(file, np.random.default_rng(0).normal(size=(1000, 2)))
    # The interrupt of a terminal, at the third iteration.
    code = (
        "import signal, sys\n"
        "from kmeans_xp.cli import progress\n"
        "progress.SECONDS_A_LINE = 0.0\n"
        "from kmeans_xp import ProgressLine\n"
        "end = ProgressLine.on_fit_task_end\n"
        "def interrupted(self, estimator, context, *, metadata=None):\n"
        "    if metadata and metadata['iteration'] == 3: signal.raise_signal(signal.SIGINT)\n"
        "    return end(self, estimator, context, metadata=metadata)\n"
        "ProgressLine.on_fit_task_end = interrupted\n"
        "from kmeans_xp.cli import main\n"
        "main()\n"
    )
    words = ["cluster", file, "-k", "20", "--n-init", "1", "--out", out]
    words += ["--checkpoint", checkpoint] if has_checkpoint else []
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    last = done.stderr.splitlines()[-1]
    if has_checkpoint:
        expected = f"{checkpoint} holds the state so far; the same command continues from there."
        assert last == f"Stopped: {expected}"
    else:
        assert last == "Stopped: no file was written."
    assert not out.exists()
    assert checkpoint.exists() == has_checkpoint


def test_lines_about_many_columns_are_short(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "wide.csv"
    names = [f"a column with number {i}" for i in range(500)]
    rows = [["text" if j % 2 else str(i * j) for j in range(500)] for i in range(3)]
    file.write_text("\n".join(",".join(row) for row in [names, *rows]) + "\n")
    done = run("cluster", file, "-k", 2)
    assert "238 more" in done.stderr
    assert max(map(len, done.output.splitlines())) < 500
    done = run("cluster", file, "-k", 2, "--columns", "a column with numbr 17")
    assert "Do you mean 'a column with number 17'? Its columns: " in done.stderr
    assert max(map(len, done.output.splitlines())) < 600


def test_predict_takes_a_model_of_splits(
    run: Run, csv_file: Path, table: pa.Table, tmp_path: Path
) -> None:
    fitted, out = BisectingKMeans(5, random_state=0).fit(points_of(table)), tmp_path / "out.npy"
    fitted.save(tmp_path / "model")
    done = run("predict", tmp_path / "model", csv_file, "--out", out)
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(np.load(out), fitted.labels_)
