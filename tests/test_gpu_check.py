"""The check for a GPU: its formulas, its steps on tiny sizes, and what it does when they fail."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks import gpu_check, roofline
from benchmarks.roofline import GRID, H100, QUICK_GRID, Size, binding, design_of, floor_s
from conftest import Library
from kmeans_xp import lloyd

with_cupy_alone = pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp"), reason="is of CUDA"
)

#: what must be known of each size and dtype
OF_A_SIZE = {
    "binds",
    "chain_labels_s",
    "doubtful_share",
    "fit_inertia",
    "finishing_s",
    "fit_n_iter",
    "fit_parts_s",
    "fit_s",
    "floor_s",
    "is_bit_equal",
    "iteration_over_floor",
    "iteration_s",
    "labels_s",
    "loop_iteration_s",
    "n_predicted_otherwise",
    "parity",
    "predict_s",
    "preparing_s",
    "products_per_s",
    "seeding_s",
}


# ---- the floor ----


@pytest.mark.parametrize(
    ("shape", "itemsize", "rates", "seconds", "binds"),
    [
        # 2 * 10 * 3 * 2 = 120 operations at 60 a second; 10 * 2 * 4 = 80 bytes at 100
        ((10, 2, 3), 4, (60.0, 100.0), 2.0, "GEMM"),
        ((10, 2, 3), 4, (600.0, 100.0), 0.8, "bandwidth"),
        ((10, 2, 3), 8, (60.0, 64.0), 2.5, "bandwidth"),
        # 3.2e9 operations at 67e12; 64e6 bytes at 3.35e12
        ((1_000_000, 16, 100), 4, (67e12, 3.35e12), 47.7611940e-6, "GEMM"),
        ((10_000_000, 16, 16), 4, (67e12, 3.35e12), 191.044776e-6, "bandwidth"),
    ],
)
def test_the_floor_is_the_longer_of_products_and_reading(
    shape: tuple[int, int, int],
    itemsize: int,
    rates: tuple[float, float],
    seconds: float,
    binds: str,
) -> None:
    assert floor_s(*shape, itemsize, *rates) == pytest.approx(seconds, rel=1e-8)
    assert binding(*shape, itemsize, *rates) == binds


def test_few_features_take_three_launches_and_one_reading() -> None:
    assert design_of(1_000_000, 2, 10, 4) == ("one pass", 3, 8_000_000)


def test_many_features_take_four_launches_and_read_the_rows_twice() -> None:
    n_bytes = 2 * 102_400_000 + 2_400_000
    assert design_of(200_000, 128, 256, 4) == ("certified", 4, n_bytes)
    assert design_of(200_000, 128, 256, 8) == ("chain", 4, n_bytes + 2 * 102_400_000)
    assert design_of(20_000_000, 128, 256, 4).n_launches == 5


def test_an_iteration_of_every_size_takes_four_launches_at_most() -> None:
    for itemsize in (4, 8):
        assert max(design_of(*size.shape, itemsize).n_launches for size in GRID) == 4


@pytest.mark.parametrize(
    ("shape", "least_us", "most_us"),
    [
        # 268 GFLOP at 350 TFLOP/s are 767 us; the rows are read twice in 2 * 180
        ((1_000_000, 128, 1024), 1000, 1250),
        ((200_000, 128, 256), 75, 100),
        ((100_000, 768, 1000), 750, 1050),
    ],
)
def test_tensor_cores_should_reach_what_their_design_expects(
    shape: tuple[int, int, int], least_us: float, most_us: float
) -> None:
    assert least_us < roofline.reach_s(Size("", *shape), 4, H100) * 1e6 < most_us


def test_every_size_should_take_at_most_a_third_longer_than_was_aimed_at() -> None:
    found = roofline.aimed_at()
    assert len(found) == 8
    assert all(reach <= 1.3 * least for least, reach in found.values())


def test_columns_are_padded_as_the_kernels_multiply_them() -> None:
    # By 16 where rows stay in registers, by 128 where rows and centroids pass by.
    assert [roofline.padded_columns(*each) for each in ((16, 100), (128, 257))] == [112, 272]
    assert [roofline.padded_columns(*each) for each in ((129, 100), (768, 1000))] == [128, 1024]


def test_more_launches_than_the_floor_is_long_bind_a_tiny_problem() -> None:
    tiny = Size("tiny", 500, 4, 5)
    assert roofline.reach_s(tiny, 4, H100) == pytest.approx(3 * 3.75e-6)
    assert roofline.reach_s(tiny, 4, H100, 100) == roofline.reach_s(tiny, 4, H100)


def test_problems_at_once_take_their_work_and_the_launches_of_one() -> None:
    size = Size("", 1_000_000, 128, 1024)
    assert roofline.reach_s(size, 4, H100, 3) == pytest.approx(3 * roofline.reach_s(size, 4, H100))
    in_turn = [n * roofline.reach_s(size, 4, H100) for n, size in roofline.PROBLEMS]
    at_once = [roofline.reach_s(size, 4, H100, n) for n, size in roofline.PROBLEMS]
    assert all(one < other for one, other in zip(at_once, in_turn, strict=True))


def test_the_page_has_the_tables_as_computed() -> None:
    page = roofline.PAGE.read_text()
    assert roofline.page_tables() in page, "run: python benchmarks/roofline.py --write"
    assert "not measured on a GPU" in page


class OfShape(NamedTuple):
    """Rows of which only their numbers are asked for."""

    n_points: int
    n_features: int
    points: Any


@with_cupy_alone
def test_the_formula_knows_what_the_kernels_do(library: Library) -> None:
    from kmeans_xp.kernels.for_cupy import certified
    from kmeans_xp.kernels.for_cupy import labels as for_cupy

    others = (Size("16 and 200", 10, 16, 200), Size("33", 10, 33, 2), Size("", 300_000, 15, 99))
    for size in (*GRID, *QUICK_GRID, *others):
        for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
            points = np.lib.stride_tricks.as_strided(np.empty(1, dtype), size.shape[:2], (0, 0))
            rows = OfShape(*size.shape[:2], points)
            centroids = np.empty((size.n_clusters, size.n_features), dtype)
            types = ("float", "float") if dtype.itemsize == 4 else ("double", "double")
            few = for_cupy._one_pass(rows, centroids, types)
            path = design_of(*size.shape, dtype.itemsize).path
            assert (path == "one pass") == (few is not None), size
    assert certified.PART_ROWS == roofline._PART_ROWS
    bounds = ("_DEPTHS", "_WIDE_DEPTH", "_COLUMNS")
    for name in (*bounds, "_LEAST_FEATURES", "_LEAST_CLUSTERS", "_LEAST_WORK"):
        assert getattr(certified, name) == getattr(roofline, name), name
    for name in ("_WIDTHS", "_MOST_BYTES_OF_TWO", "_LEAST_SORTED", "_MOST_BATCHED"):
        assert getattr(for_cupy, name) == getattr(roofline, name), name


@with_cupy_alone
@pytest.mark.parametrize(
    "size", [*QUICK_GRID, Size("certified", 700, 80, 160), Size("wide", 400, 140, 160)]
)
def test_the_formula_counts_the_launches(
    size: Size, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")
    from kmeans_xp.kernels import DenseRows
    from kmeans_xp.kernels.for_cupy import certified
    from kmeans_xp.kernels.for_cupy.stepping import step_and_update
    from kmeans_xp.kernels.for_cupy.sums import Zeros

    for module in (certified, roofline):
        monkeypatch.setattr(module, "_LEAST_WORK", 2**22)
    points = library.asarray(np.random.default_rng(0).random((size.n_points, size.n_features)))
    points = library.xp.astype(points, library.xp.float32)
    rows = DenseRows(points, None, points[0, :])
    centroids = library.xp.zeros((size.n_clusters, size.n_features), dtype=points.dtype)

    zeros = Zeros()

    def iteration() -> None:
        step_and_update(rows, centroids, zeros, xp=library.xp)

    iteration()
    stats.reset()
    iteration()
    counted = stats.read()
    n_launches = sum(counted[name] for name in ("kernel_launches", "library_calls", "memset_count"))
    assert n_launches == design_of(*size.shape, 4).n_launches


@with_cupy_alone
@pytest.mark.parametrize(("n_points", "is_shared"), [(700, True), (300, False)])
def test_rows_without_a_proof_are_told_where_tensor_cores_make_labels(
    n_points: int,
    is_shared: bool,
    library: Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks.gpu_answer import Answer
    from benchmarks.gpu_steps import _labels
    from kmeans_xp.kernels import DenseRows
    from kmeans_xp.kernels.for_cupy import certified

    monkeypatch.setattr(certified, "_LEAST_WORK", 2**22)
    rng = np.random.default_rng(0)
    points = library.asarray(rng.standard_normal((n_points, 80)), "float32")
    answer = Answer(tmp_path / "answer.json")
    found = _labels(DenseRows(points), points[:160, :], 0.0, answer)
    assert answer.failures == []
    assert found["labels_s"] > 0
    assert found["chain_labels_s"] > 0
    if is_shared:
        assert 0 < found["doubtful_share"] < 0.1
        # 80 features are multiplied as 128.
        operations = 2 * 700 * 128 * 160
        assert found["products_per_s"] == pytest.approx(operations / found["labels_s"])
    else:
        assert found["doubtful_share"] is None
        assert found["products_per_s"] is None


# ---- peers and waits ----


@pytest.mark.skip_library(
    *("numpy", "array_api_strict", "jax", "dpnp", "cupy"), reason="is the loop of another"
)
def test_the_loop_that_is_compared_with_is_lloyds(library: Library) -> None:
    from benchmarks.gpu_peers import torch_lloyd

    rng = np.random.default_rng(0)
    host = rng.standard_normal((500, 3))
    begin = np.concatenate([host[:4], [[50.0, 50.0, 50.0]]])
    theirs = torch_lloyd(library.asarray(host), library.asarray(begin[:4]), 5)
    np.testing.assert_allclose(library.to_host(theirs), lloyd(host, begin[:4], max_iter=5)[0])
    # A centroid without rows stays.
    alone = library.to_host(torch_lloyd(library.asarray(host), library.asarray(begin), 1))
    np.testing.assert_array_equal(alone[4], begin[4])


@with_cupy_alone
def test_waits_are_counted_once_each_and_not_afterwards(library: Library) -> None:
    import cupy

    from benchmarks.gpu_syncs import counted_waits

    array = cupy.arange(5)
    with counted_waits() as waits:
        if array[1]:
            array.get()
        float(array[0])
        array[2].item()
        array.tolist()
        cupy.nonzero(array)
        cupy.asnumpy(array)
        cupy.cuda.get_current_stream().synchronize()
        cupy.cuda.Event().record()
    assert waits.calls == {
        "__bool__": 1,
        "get": 2,
        "__float__": 1,
        "item": 1,
        "tolist": 1,
        "__int__": 1,  # nonzero reads how many there are
        "Stream.synchronize": 1,
    }
    before = waits.total
    array.get()
    cupy.cuda.get_current_stream().synchronize()
    assert waits.total == before


@with_cupy_alone
def test_a_read_that_is_not_waited_for_counts_its_bytes_alone(library: Library) -> None:
    import cupy
    import cupyx

    from benchmarks.gpu_syncs import counted_waits

    array = cupy.zeros(3)
    pinned = cupyx.empty_pinned(array.shape, dtype=array.dtype)
    with counted_waits() as waits:
        array.get(out=pinned, blocking=False)
    assert (waits.total, waits.bytes_to_host) == (0, 24)


@with_cupy_alone
def test_reads_of_the_loop_are_all_counted(library: Library) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of copies and waits")
    from benchmarks.gpu_syncs import counted_waits

    points = library.asarray(np.random.default_rng(0).random((300, 3)))
    lloyd(points, points[:5, :], max_iter=4)
    stats.reset()
    with counted_waits() as waits:
        lloyd(points, points[:5, :], max_iter=4)
    counted = stats.read()
    assert waits.bytes_to_host == counted["d2h_bytes"]
    assert (
        0
        < waits.total
        <= sum(counted[name] for name in ("stream_syncs", "device_syncs", "event_syncs"))
    )


@with_cupy_alone
def test_who_is_done_first_is_told_where_it_can_be(library: Library) -> None:
    import cupy

    from benchmarks.gpu_syncs import host_is_ahead

    stream = cupy.cuda.get_current_stream()
    assert host_is_ahead(lambda: None, 0.05) is not False
    assert host_is_ahead(stream.synchronize, 0.05) is not True


# ---- the command ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the whole check on tiny sizes, all in this process, which has all imported."""
    folder = tmp_path_factory.mktemp("results")

    def ended(command: list[str], log: Path, limit_s: float) -> int:
        log.touch()
        return gpu_check.main(command[2:])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_check, "_ended", ended)
        assert gpu_check.main(["--quick", "--out", str(folder)]) in (0, 1)
    return folder


@pytest.fixture
def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


@with_cupy_alone
def test_every_step_passes_on_tiny_sizes(library: Library, report: dict[str, Any]) -> None:
    wanted = [step.name for step in gpu_check.steps(QUICK_GRID)]
    assert list(report["steps"]) == wanted
    went = {name: (step["status"], step["failures"]) for name, step in report["steps"].items()}
    assert went == dict.fromkeys(wanted, ("passed", []))


@with_cupy_alone
def test_every_size_is_measured(library: Library, report: dict[str, Any]) -> None:
    for size in QUICK_GRID:
        result = report["steps"][f"size: {size.name}"]["result"]
        assert set(result) == {"float32", "float64"}
        for dtype, found in result.items():
            assert set(found) == OF_A_SIZE
            assert found["iteration_s"] > 0
            in_loop = found["fit_n_iter"] * found["loop_iteration_s"]
            ends = found["preparing_s"] + found["seeding_s"] + found["finishing_s"]
            assert found["fit_parts_s"] == pytest.approx(in_loop + ends)
            rates = report["steps"]["rates"]["result"]
            by = (rates["gemm_per_s"][dtype], rates["copy_bytes_per_s"])
            assert found["floor_s"] == floor_s(*size.shape, gpu_check.ITEMSIZES[dtype], *by)
            assert found["is_bit_equal"]
            assert found["n_predicted_otherwise"] == 0
            assert found["parity"]["relative_difference"] <= found["parity"]["limit"]


@with_cupy_alone
def test_the_environment_rates_memory_and_peers_are_told(
    library: Library, report: dict[str, Any]
) -> None:
    result = {name: step["result"] for name, step in report["steps"].items()}
    environment = result["environment"]
    assert environment["gpu"]
    assert environment["memory_bytes"] > 0
    assert {"driver_cuda", "runtime_cuda", "clock_khz", "nvidia_smi"} <= set(environment)
    assert result["rates"]["launch_s"] > 0
    assert 0 < result["memory"]["peak_bytes"] <= result["memory"]["stated_bytes"]
    (peers,) = result["peers"].values()
    assert set(peers) == {"kmeans_xp", "torch", "cuml", "flash_kmeans"}
    assert all("unusable" in each or each["iteration_s"] for each in peers.values())
    assert result["batch"]["products_per_s"] > 0
    assert result["batch"]["in_turn_s"] > 0
    assert result["batch"]["is_bit_equal"]
    (problems,) = result["problems"].values()
    assert problems["is_bit_equal"]
    assert problems["each_s"] == pytest.approx(problems["all_s"] / 6)
    assert problems["in_turn_s"] > 0
    assert result["tests"]["counts"]["tests"] > 0  # collected


@with_cupy_alone
def test_nothing_waits_in_seeding_and_one_read_in_eight_small_iterations(
    library: Library, report: dict[str, Any]
) -> None:
    found = dict(report["steps"]["syncs"]["result"])
    assert "Not counted" in found.pop("what_is_counted")
    assert set(found) == {size.name for size in QUICK_GRID}
    for each in found.values():
        assert each["seeding_waits"] == {}
        assert each["iteration_waits"] == {"Event.synchronize": 1 / 8}
        assert each["iteration_bytes_to_host"] == 24


@with_cupy_alone
def test_the_table_has_every_step_and_size(library: Library, folder: Path) -> None:
    table = (folder / "results.md").read_text()
    for step in gpu_check.steps(QUICK_GRID):
        assert f"| {step.name} | passed |" in table
    for size in QUICK_GRID:
        assert f"| {size.name} | float64 |" in table
    assert "| 6 of 60 x 3, k=4 |" in table
    assert "the times mean nothing" in table
    assert sorted(path.name for path in folder.iterdir()) == ["results.json", "results.md"]


def test_without_time_no_step_is_run_and_that_is_a_failure(tmp_path: Path) -> None:
    assert gpu_check.main(["--quick", "--minutes", "0", "--out", str(tmp_path)]) == 1
    report = json.loads((tmp_path / "results.json").read_text())
    assert {step["status"] for step in report["steps"].values()} == {"not run"}
    page = (tmp_path / "results.md").read_text()
    assert "the time for all steps was over" in page
    # What to change is on the page, whatever was measured.
    _, _, advice = page.partition("## What to change if a number is off\n")
    for what in ("`STAGES`", "`_BYTES_OF_TWO`", "*seeding*"):
        assert what in advice


#: what a step does, in a process of its own
STEPS_THAT_END = {
    "environment": "answer.add(gpu='of a test')",
    "fails": "answer.add(found=1); answer.fail('a number is off')",
    "dies": "answer.add(found=2); os.kill(os.getpid(), signal.SIGKILL)",
    "hangs": "answer.add(found=3); (results.parent / 'begun').touch(); time.sleep(3600)",
    "reads": "answer.add(written=list(json.loads(results.read_text())['steps']))",
}


def test_what_steps_found_is_kept_and_written_whatever_becomes_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results.json"

    def command(step: gpu_check.Step, limit_s: float, answer: Path, _: Any) -> list[str]:
        code = f"""
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(gpu_check.ROOT)!r})
from benchmarks.gpu_answer import Answer
answer, results = Answer(Path({str(answer)!r})), Path({str(results)!r})
{STEPS_THAT_END[step.name]}
"""
        return [sys.executable, "-c", code]

    class Timed(subprocess.Popen[bytes]):
        """Begins to count when the step that hangs has begun, which may take a while."""

        def wait(self, timeout: float | None = None) -> int:
            begun = tmp_path / "begun"
            while timeout == limits["hangs"] and not begun.exists() and self.poll() is None:
                time.sleep(0.02)
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Timed)
    limits = {"hangs": 1.0}
    steps = [gpu_check.Step(name, limits.get(name, 60.0)) for name in STEPS_THAT_END]
    monkeypatch.setattr(gpu_check, "steps", lambda grid: steps)
    monkeypatch.setattr(gpu_check, "_command", command)
    assert gpu_check.main(["--quick", "--out", str(tmp_path)]) == 1
    found = json.loads(results.read_text())["steps"]
    ended = {name: (step["status"], step["failures"]) for name, step in found.items()}
    assert ended == {
        "environment": ("passed", []),
        "fails": ("failed", ["a number is off"]),
        "dies": ("failed", ["the process ended with signal SIGKILL"]),
        "hangs": ("timed out", ["not done in 1 s"]),
        "reads": ("passed", []),
    }
    assert [found[name]["result"] for name in ("fails", "dies", "hangs")] == [
        {"found": number} for number in (1, 2, 3)
    ]
    # Each step is on the page before the next one begins.
    assert found["reads"]["result"]["written"] == ["environment", "fails", "dies", "hangs"]
    assert "| hangs | timed out |" in (tmp_path / "results.md").read_text()


def test_a_step_that_fails_leaves_its_reason(tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    assert gpu_check.main(["--step", "no such step", "--answer", str(answer)]) == 0
    (failure,) = json.loads(answer.read_text())["failures"]
    assert "no such step" in failure or "cupy" in failure  # where CuPy is missing


def is_alive(state: Path) -> bool:
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_step_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    sleep = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(3600)"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleep!r}])"
    assert gpu_check._ended([sys.executable, "-c", start], tmp_path / "log", 2.0) is None
    state = Path(f"/proc/{pid.read_text()}/stat")
    for _ in range(1000):  # a signal takes effect in a while
        if is_alive(state):
            time.sleep(0.05)
    assert not is_alive(state)


def test_a_step_whose_process_dies_is_told_by_its_signal(tmp_path: Path) -> None:
    die = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    code = gpu_check._ended([sys.executable, "-c", die], tmp_path / "log", 30.0)
    assert code is not None
    assert gpu_check._said(code) == "signal SIGSEGV"


def test_times_are_held_against_the_floor_of_the_measured_rates() -> None:
    (few, _) = QUICK_GRID
    report = {
        "is_quick": True,
        "steps": {
            "rates": {"result": {"gemm_per_s": {"float32": 1e4}, "copy_bytes_per_s": 1e6}},
            f"size: {few.name}": {"result": {"float32": {"iteration_s": 4.0}, "float64": {}}},
        },
    }
    gpu_check.with_floors(report)
    found = report["steps"][f"size: {few.name}"]["result"]
    assert found["float32"]["floor_s"] == 2.0  # 2 * 500 * 4 * 5 operations
    assert (found["float32"]["binds"], found["float32"]["iteration_over_floor"]) == ("GEMM", 2.0)
    assert found["float64"] == {"floor_s": None, "binds": None, "iteration_over_floor": None}


def test_a_folder_of_packages_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_check.main(["--vendor", str(tmp_path / "none"), "--minutes", "0"]) == 2
    assert "there is no folder" in capsys.readouterr().err
