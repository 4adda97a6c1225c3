"""The comparison with other libraries on a CPU: on tiny sizes, with those that are here."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kmeans_xp
from benchmarks import compare
from benchmarks.comparison import jobs, peers, processes
from benchmarks.comparison.checks import (
    DisagreementError,
    check_centroids,
    check_labels,
    inertia_of,
)
from benchmarks.comparison.data import DTYPES, SIZES, Case, Choice, cases, problem
from benchmarks.comparison.fits import algorithms
from benchmarks.comparison.peers import BASELINE, BLAS_SETTINGS, OURS, PEERS
from benchmarks.comparison.timing import Pace, Run, interleaved, ratio
from benchmarks.roofline import Size
from tests import oracle

JOBS = ("iteration", "fit", "seeding", "predict", "minibatch", "tiny", "converge")
CASE = Case("fit", "small", Size("small", 60, 3, 4), "float64", "overlapping", 5)


@pytest.fixture(autouse=True)
def without_blas_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BLAS_SETTINGS:
        monkeypatch.delenv(name, raising=False)


def run_here(folder: Path, *arguments: str) -> int:
    """Run the command in this process, which other tests share: with no library of its own."""
    return compare.main(
        ["--quick", "--out", str(folder), "--peers", "--dtypes", "float64", *arguments]
    )


def stored(folder: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads((folder / "cpu_comparison.json").read_text())[
        "records"
    ]
    return records


# ---- the command ----


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a quick run in a fresh process, and what the command printed."""
    folder = tmp_path_factory.mktemp("compare")
    chosen = ["--jobs", *JOBS, "--peers", "sklearnex", "faiss", "--out", str(folder)]
    chosen += ["--max-iter", "20"]
    command = [sys.executable, compare.__file__, "--quick", *chosen]
    env = {name: value for name, value in os.environ.items() if name not in BLAS_SETTINGS}
    # With more, OpenMP's threads wait for the scheduler wherever other tests use the processors.
    env["OMP_NUM_THREADS"] = "1"
    ran = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert ran.returncode == 0, ran.stderr
    return folder, ran.stdout


def test_every_case_is_measured_for_both_libraries(measured: tuple[Path, str]) -> None:
    records = stored(measured[0])
    assert {record["job"] for record in records} == set(JOBS)
    assert {record["dtype"] for record in records} == set(DTYPES)
    for record in records:
        ours = [peer for peer in record["peers"] if peer.startswith(OURS)]
        assert ours
        assert record["peers"][BASELINE]["ratio"] == 1.0
        assert all(found["seconds"][0] > 0.0 for found in record["peers"].values())


def test_results_that_must_agree_were_compared(measured: tuple[Path, str]) -> None:
    for record in stored(measured[0]):
        if record["job"] in ("iteration", "fit", "predict") or record["variant"] == "same work":
            assert OURS in record["checked"]
        if record["job"] == "fit" and "faiss" in record["peers"]:
            assert "faiss" in record["checked"]


def test_peers_are_columns_or_named_as_left_out(measured: tuple[Path, str]) -> None:
    folder, printed = measured
    page = (folder / "cpu_comparison.md").read_text()
    for name in ("sklearnex", "faiss"):
        assert f"| {name}, ms (ratio)" in page or f"left out: {name} | cannot be imported" in page
    for name in set(PEERS) - {"sklearnex", "faiss"}:
        assert f"left out: {name}: not asked for" in printed


def test_the_page_has_the_machine_the_command_and_a_line_for_each_case(
    measured: tuple[Path, str],
) -> None:
    folder, printed = measured
    page = (folder / "cpu_comparison.md").read_text()
    for name in (BASELINE, "NumPy", "numpy: openblas" if "openblas" in printed else "CPU"):
        assert name in page
    assert "python benchmarks/compare.py --quick --jobs iteration" in page
    lines = page.splitlines()
    for record in stored(folder):
        assert any(record["name"] in line and record["dtype"] in line for line in lines)
    ours = next(record for record in stored(folder) if record["job"] == "iteration")
    assert f"(**{ours['peers'][OURS]['ratio']:.2f}**, once)" in page


def test_the_page_is_a_table_wherever_there_is_one(measured: tuple[Path, str]) -> None:
    heads = 0
    for block in (measured[0] / "cpu_comparison.md").read_text().split("\n\n"):
        if block.startswith("|"):
            heads += 1
            assert len({line.count("|") for line in block.splitlines()}) == 1, block
    assert heads >= len(JOBS)


def test_a_picture_is_drawn(measured: tuple[Path, str]) -> None:
    pytest.importorskip("matplotlib")
    assert (measured[0] / "cpu_comparison.png").read_bytes().startswith(b"\x89PNG")


def test_redraw_gives_the_same_page_from_the_numbers(measured: tuple[Path, str]) -> None:
    folder = measured[0]
    page, picture = folder / "cpu_comparison.md", folder / "cpu_comparison.png"
    before = page.read_text()
    page.unlink()
    picture.unlink(missing_ok=True)
    numbers = (folder / "cpu_comparison.json").read_bytes()
    assert compare.main(["--redraw", "--out", str(folder)]) == 0
    assert page.read_text() == before
    assert (folder / "cpu_comparison.json").read_bytes() == numbers


def test_commands_add_up_and_replace_what_they_measure_again(tmp_path: Path) -> None:
    assert run_here(tmp_path, "--jobs", "iteration") == 0
    n_first = len(stored(tmp_path))
    assert run_here(tmp_path, "--jobs", "predict", "scaling") == 0
    n_all = len(stored(tmp_path))
    assert run_here(tmp_path, "--jobs", "iteration") == 0
    assert n_all > n_first
    assert len(stored(tmp_path)) == n_all
    assert "growth" in (tmp_path / "cpu_comparison.md").read_text()


def test_nothing_is_written_but_to_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [*(compare.ROOT / "docs").glob("cpu_comparison*")]
    before = [path.stat().st_mtime_ns for path in pages]
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path / "made"))
    arguments = ["--quick", "--jobs", "predict", "--dtypes", "float64", "--peers"]
    assert compare.main(arguments) == 0
    assert stored(tmp_path / "made")
    assert pages == [*(compare.ROOT / "docs").glob("cpu_comparison*")]
    assert before == [path.stat().st_mtime_ns for path in pages]


def test_another_machines_numbers_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(tmp_path, "--jobs", "predict") == 0
    before = stored(tmp_path)
    monkeypatch.setattr(peers, "_cpu", lambda: "another")
    assert run_here(tmp_path, "--jobs", "iteration") == 1
    assert "--anew" in capsys.readouterr().err
    assert stored(tmp_path) == before
    assert run_here(tmp_path, "--jobs", "iteration", "--anew") == 0
    assert {record["job"] for record in stored(tmp_path)} == {"iteration"}


@pytest.mark.parametrize("name", BLAS_SETTINGS)
def test_settings_of_openblas_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "Haswell")
    assert run_here(tmp_path, "--jobs", "predict") == 2
    assert f"env -u {name}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert run_here(tmp_path, "--jobs", "predict", "--keep-blas-settings") == 0


# ---- agreement ----


def test_a_fit_that_disagrees_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong(kmeans_xp.KMeans):
        def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
            super().fit(X)
            self.cluster_centers_ = self.cluster_centers_ + 0.01
            return self

    monkeypatch.setattr(kmeans_xp, "KMeans", Wrong)
    assert run_here(tmp_path, "--jobs", "fit") == 1
    said = capsys.readouterr().err
    assert f"{OURS} disagrees with {BASELINE}" in said
    assert "inertia" in said
    assert not (tmp_path / "cpu_comparison.json").exists()


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_centroids_that_disagree_are_refused(wrong: float) -> None:
    posed = problem(CASE)
    right = {BASELINE: posed.rows, OURS: posed.rows.copy()}
    assert check_centroids(posed, right) == {OURS: 0.0}
    with pytest.raises(DisagreementError, match="fit, small, float64, overlapping: kmeans_xp"):
        check_centroids(posed, right | {OURS: posed.rows + wrong})


def test_faiss_may_differ_by_the_rounding_of_float32() -> None:
    posed = problem(CASE)
    rounded = posed.rows * (1.0 + 1e-5)
    assert check_centroids(posed, {BASELINE: posed.rows, "faiss": rounded})["faiss"] < 1e-4
    with pytest.raises(DisagreementError):
        check_centroids(posed, {BASELINE: posed.rows, OURS: rounded})


def test_labels_that_disagree_are_refused() -> None:
    posed = problem(CASE)
    labels = np.arange(60) % 4
    assert check_labels(posed, {BASELINE: labels, OURS: labels}) == {OURS: 0.0}
    with pytest.raises(DisagreementError, match="labels"):
        check_labels(posed, {BASELINE: labels, OURS: np.roll(labels, 1)})


def test_inertia_is_the_oracles() -> None:
    posed = problem(CASE)
    labels = oracle.nearest_labels(posed.points, posed.rows)
    expected = oracle.inertia(posed.points, np.ones(60), posed.rows, labels)
    assert inertia_of(posed.points, posed.rows) == pytest.approx(expected, rel=1e-12)


# ---- BLAS ----


@pytest.mark.parametrize(
    ("core", "name", "inside"),
    [("SkylakeX", "faiss", "SkylakeX"), ("SkylakeX", "torch", None), ("Haswell", "faiss", None)],
)
def test_only_faiss_is_loaded_with_a_core_of_its_own(
    core: str, name: str, inside: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_blas_cores", lambda: {"numpy": core})
    with peers._avx512_for_old_openblas(name):
        assert os.environ.get("OPENBLAS_CORETYPE") == inside
    assert "OPENBLAS_CORETYPE" not in os.environ


def test_faiss_uses_the_kernels_that_numpy_uses(measured: tuple[Path, str]) -> None:
    blas = json.loads((measured[0] / "cpu_comparison.json").read_text())["machine"]["blas"]
    cores = {name.partition(":")[0]: core for name, core in blas.items()}
    if "faiss_cpu" not in cores or cores.get("numpy") != "SkylakeX":
        pytest.skip("no faiss wheel beside an OpenBLAS with AVX-512")
    assert cores["faiss_cpu"] == "SkylakeX"


# ---- times ----


@pytest.fixture
def run_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Makes runs that take as long as is said, by a clock that only they move."""
    clock = [0.0]
    monkeypatch.setattr("benchmarks.comparison.timing.time.perf_counter", lambda: clock[0])

    def made(name: str, seconds: float, order: list[str] | None = None) -> Run:
        def call() -> None:
            clock[0] += seconds
            if order is not None:
                order.append(name)

        return Run(name, call)

    return made


def test_libraries_take_turns_in_all_orders(run_of: Callable[..., Run]) -> None:
    order: list[str] = []
    interleaved(
        [run_of(name, 1.0, order) for name in "abc"], Pace(seconds=60.0, n_most=6, pause_s=0.0)
    )
    rounds = ["".join(order[place : place + 3]) for place in range(0, len(order), 3)]
    assert rounds[:2] == ["abc", "abc"]  # first calls, and for warmth
    assert sorted(rounds[2:]) == ["abc", "acb", "bac", "bca", "cab", "cba"]


def test_three_rounds_are_made_whatever_the_time(run_of: Callable[..., Run]) -> None:
    order: list[str] = []
    runs = [run_of("a", 1.0, order), run_of("b", 0.5, order)]
    timed = interleaved(runs, Pace(seconds=1.0, n_most=9, pause_s=0.0))
    assert timed["a"].seconds == [1.0] * 3
    assert timed["b"].seconds == [0.5] * 3
    assert "".join(order) == "abab" + "ba" + "ab" + "ab"


def test_short_calls_are_timed_several_at_a_time(run_of: Callable[..., Run]) -> None:
    order: list[str] = []
    timed = interleaved([run_of("a", 0.005, order)], Pace(seconds=1.0, n_most=2, pause_s=0.0))
    assert timed["a"].seconds == pytest.approx([0.005] * 2)
    assert len(order) == 2 + 2 * 4


def test_what_takes_minutes_is_called_once(run_of: Callable[..., Run]) -> None:
    runs = [run_of("quick", 5.0), run_of("slow", 100.0)]
    timed = interleaved(runs, Pace(seconds=30.0, n_most=9, pause_s=0.0))
    assert timed["quick"].seconds == [5.0] * 6
    assert timed["slow"].seconds == [100.0]
    both = interleaved([run_of("a", 200.0), run_of("b", 150.0)], Pace(30.0, 9, 0.0))
    assert len(both["a"].seconds) == len(both["b"].seconds) == 1


def test_ratio_is_of_the_same_round() -> None:
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == 2.0
    assert ratio([6.0], [1.0, 3.0, 4.0]) == 2.0


# ---- data and cases ----


def test_sizes_are_those_of_the_grid() -> None:
    fits = list(cases("fit", Choice(SIZES, DTYPES)))
    assert [case.size for case in fits] == [*SIZES, *SIZES]
    assert all(5 <= case.max_iter <= 300 for case in fits)
    assert fits[0].data == "overlapping"
    assert fits[6].data == "digits"
    assert next(cases("iteration", Choice(SIZES, DTYPES))).data == "uniform"
    assert next(cases("iteration", Choice(SIZES, DTYPES, data="separated"))).data == "separated"


@pytest.mark.parametrize("data", ["separated", "overlapping", "uniform"])
def test_data_are_the_same_each_time(data: str) -> None:
    first, again = (problem(CASE._replace(data=data)) for _ in range(2))
    assert np.array_equal(first.points, again.points)
    assert np.array_equal(first.rows, again.rows)
    assert len(np.unique(first.rows, axis=0)) == 4


def test_separated_blobs_are_tighter_than_overlapping_ones() -> None:
    explained = []
    for data in ("separated", "overlapping"):
        points = problem(CASE._replace(data=data)).points
        fitted = kmeans_xp.KMeans(4, n_init=10, random_state=0).fit(points)
        explained.append(fitted.inertia_ / (points.var(axis=0).sum() * len(points)))
    assert explained[0] < 0.1 < explained[1]


def test_every_algorithm_is_timed_to_convergence() -> None:
    assert algorithms()[0] == "lloyd"
    assert {"lloyd", "elkan"} <= set(algorithms())
    for name in algorithms():
        kmeans_xp.KMeans(2, algorithm=name).fit([[0.0], [1.0], [5.0]])


# ---- fresh processes ----


def test_memory_of_a_fit_is_measured_in_a_fresh_process() -> None:
    size = Size("small", 40_000, 8, 4)
    found = processes.fit_memory(CASE._replace(size=size)._asdict())
    assert set(found) == {BASELINE, OURS}
    for of_peer in found.values():
        # the labels at least, and less than ten times the data
        assert 40_000 * 4 <= of_peer["peak_bytes"] < 10 * 40_000 * 8 * 8


def test_starts_are_timed_with_a_warm_and_an_empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    caches: list[str] = []

    def answer(measurement: str, question: dict[str, Any], **env: str) -> dict[str, float]:
        assert measurement == "start"
        assert Path(env["NUMBA_CACHE_DIR"]).parent.is_dir()
        caches.append(env["NUMBA_CACHE_DIR"])
        return {"import": 1.0, "first fit": 2.0, "second fit": float(len(caches))}

    monkeypatch.setattr(processes, "_answer", answer)
    times = processes.start_times((100, 2, 3), 2)
    assert times[BASELINE]["second fit"] == [4.0, 7.0]  # not that of the first turn
    assert len(set(caches)) == 4
    (record, *_) = jobs.records(
        "import", Choice(SIZES, DTYPES, is_quick=True), peers.Peers({}, {}), Pace(1.0, 2)
    )
    assert record["peers"]["kmeans_xp, empty numba cache"]["ratio"] == 1.0


def test_a_fresh_process_that_fails_is_told_of() -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        processes._answer("start", {"peer": "unknown", "shape": (10, 2, 3)})


def test_a_start_is_timed_in_a_fresh_process() -> None:
    taken = processes._answer("start", {"peer": OURS, "shape": (100, 2, 3)})
    assert set(taken) == {"import", "first fit", "second fit"}
    assert min(taken.values()) > 0.0
