"""The steps of gpu_check.py; each runs in its own process and writes what it finds at once."""

import contextlib
import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cupy
import numpy as np

import kmeans_xp
from benchmarks.batched import SIZES as PROBLEMS
from benchmarks.batched import Size as Problems
from benchmarks.batched import problems_of
from benchmarks.gpu_answer import Answer, Setting
from benchmarks.gpu_peers import PEERS, UnusableError
from benchmarks.gpu_syncs import WHAT_IS_COUNTED, counted_waits, host_is_ahead
from benchmarks.roofline import GRID, QUICK_GRID, Size, padded_columns, padded_features
from kmeans_xp import k_means, k_means_batched
from kmeans_xp.algorithms import kmeans_plusplus, lloyd
from kmeans_xp.algorithms.lloyd import inertia_of
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import choose, memory, namespace_of
from kmeans_xp.estimators.preparation import prepared
from kmeans_xp.kernels import DenseRows, lloyd_step, nearest_labels, update_centroids
from kmeans_xp.kernels.for_cupy.certified import Labelling, is_certified
from kmeans_xp.kernels.for_cupy.launching import ManyRows, types_of
from kmeans_xp.kernels.for_cupy.stepping import step_and_update
from kmeans_xp.kernels.for_cupy.sums import Zeros

__all__ = ["answer_step"]

ROOT = Path(__file__).resolve().parents[1]
DTYPES = ("float32", "float64")

#: which are not one pass: labels by tensor cores
LARGER_PROBLEMS = Problems(100, 5000, 128, 256)

PEER_SIZES = ("1M x 16, k=100", "200k x 128, k=256", "1M x 128, k=1024")

#: relative difference of the inertia from NumPy's that rounding explains
PARITY = {"float32": 1e-5, "float64": 1e-10}

#: NumPy gets the first rows, as many as take this many operations an iteration
_PARITY_OPERATIONS = 1.5e11

#: iterations after which a small problem is replayed from a recording, and how many at once
_SETTLED, _AT_ONCE = 16, 8


def answer_step(name: str, setting: Setting, answer: Answer) -> None:
    """Run one step."""
    step, _, size = name.partition(": ")
    if step == "size":
        _size(_size_named(size), setting, answer)
    else:
        _STEPS[step](setting, answer)


# ---- environment and rates ----


def _environment(_: Setting, answer: Answer) -> None:
    runtime = cupy.cuda.runtime
    device = cupy.cuda.Device()
    properties = runtime.getDeviceProperties(device.id)
    answer.add(
        gpu=properties["name"].decode(),
        compute_capability=f"{properties['major']}.{properties['minor']}",
        n_multiprocessors=properties["multiProcessorCount"],
        l2_bytes=properties["l2CacheSize"],
        memory_bytes=device.mem_info[1],
        free_bytes=device.mem_info[0],
        driver_cuda=runtime.driverGetVersion(),
        runtime_cuda=runtime.runtimeGetVersion(),
        clock_khz=_attribute(13),
        memory_clock_khz=_attribute(36),
        nvidia_smi=_nvidia_smi(),
        python=platform.python_version(),
        machine=platform.platform(),
        n_processors=os.cpu_count(),
        versions={name: _version(name) for name in ("numpy", "scipy", "scikit-learn")}
        | {"cupy": cupy.__version__, "kmeans_xp": kmeans_xp.__version__},
        settings={key: os.environ.get(key) for key in ("CUPY_ACCELERATORS", "CUPY_TF32")},
    )
    if os.environ.get("CUPY_TF32", "0") not in ("", "0"):
        answer.fail("CUPY_TF32 is set: float32 products are not float32; unset it.")


def _attribute(number: int) -> int | None:
    try:
        value: int = cupy.cuda.runtime.deviceGetAttribute(number, cupy.cuda.Device().id)
    except cupy.cuda.runtime.CUDARuntimeError:
        return None
    return value


def _nvidia_smi() -> dict[str, str] | str:
    fields = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"cannot be asked: {error}"
    values = ran.stdout.splitlines()[0].split(", ")
    return dict(zip(fields.split(","), values, strict=True))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _rates(setting: Setting, answer: Answer) -> None:
    n_bytes = 2**20 if setting.is_quick else 2**30
    answer.add(copy_bytes_per_s=_copy_rate(n_bytes, setting.budget_s(1.0)))
    gemm = {}
    for dtype, size in zip(DTYPES, (64, 64) if setting.is_quick else (8192, 6144), strict=True):
        gemm[dtype] = _gemm_rate(dtype, size, setting.budget_s(2.0))
        answer.add(gemm_per_s=gemm)
    answer.add(launch_s=_launch_s(setting.budget_s(0.5)))


def _copy_rate(n_bytes: int, budget_s: float) -> float:
    """Return the bytes read and written a second by a copy on the device."""
    source = cupy.random.random(n_bytes // 8)
    target = cupy.empty_like(source)
    return 2 * n_bytes / _median_s(lambda: cupy.copyto(target, source), budget_s=budget_s)


def _gemm_rate(dtype: str, size: int, budget_s: float) -> float:
    """Return the operations a second of a product of square matrices."""
    left, right = (cupy.random.random((size, size)).astype(dtype) - 0.5 for _ in range(2))
    out = cupy.empty_like(left)
    return 2 * size**3 / _median_s(lambda: cupy.matmul(left, right, out=out), budget_s=budget_s)


def _launch_s(budget_s: float) -> float:
    """Return what a launch costs in a queue of launches of an empty kernel."""
    kernel = cupy.RawKernel('extern "C" __global__ void nothing() {}', "nothing")
    n_launches = 500

    def work() -> None:
        for _ in range(n_launches):
            kernel((1,), (32,), ())

    return _median_s(work, budget_s=budget_s) / n_launches


# ---- one size of the grid ----


def _size(size: Size, setting: Setting, answer: Answer) -> None:
    host = _points(size)
    for dtype in DTYPES:
        with _reporting(dtype, answer) as found:
            _size_and_dtype(size, host.astype(dtype, copy=False), setting, found, answer)


@contextlib.contextmanager
def _reporting(key: str, answer: Answer) -> Iterator[Callable[..., None]]:
    """Give a function that adds to one part of the result; an error ends that part alone."""
    part: dict[str, Any] = {}

    def found(**values: Any) -> None:
        part.update(values)
        answer.add(**{key: part})

    try:
        yield found
    except Exception as error:  # noqa: BLE001 (the other part goes on)
        traceback.print_exc()
        answer.fail(f"{key}: {type(error).__name__}: {error}")
    # Also where it was memory that ran out.
    cupy.get_default_memory_pool().free_all_blocks()


def _size_and_dtype(
    size: Size, host: Any, setting: Setting, found: Callable[..., None], answer: Answer
) -> None:
    dtype = str(host.dtype)
    budget_s = setting.budget_s(0.5)
    points = cupy.asarray(host)
    centroids = points[: size.n_clusters].copy()
    data = prepared(points, None, choose(points, None))
    blocks = data.blocks
    seen = centroids - data.origin

    iteration_s = _iteration_s(blocks, seen, budget_s)
    found(iteration_s=iteration_s)
    loop_s = _loop_iteration_s(blocks, seen, iteration_s, budget_s)
    found(loop_iteration_s=loop_s)
    found(**_labels(DenseRows(points, None, data.origin), seen, budget_s, answer))

    def seeds() -> Any:
        return kmeans_plusplus(blocks, size.n_clusters, np.random.RandomState(0)).indices

    def begin() -> None:
        prepared(points, None, choose(points, None))

    def finish() -> None:
        inertia_of(blocks, blocks.map_rows(nearest_labels, seen), seen)

    seeding_s = _median_s(seeds, budget_s=budget_s, least=1, most=5)
    ends_s = [_median_s(work, budget_s=budget_s / 4) for work in (begin, finish)]
    found(seeding_s=seeding_s, preparing_s=ends_s[0], finishing_s=ends_s[1])
    n_iter = _fit(points, size.n_clusters, budget_s, found, answer)
    found(fit_parts_s=sum(ends_s) + seeding_s + n_iter * loop_s)

    def bits() -> list[bytes]:
        result = lloyd(blocks, seen, max_iter=15)
        return _bits(seeds(), result.centroids, result.labels.whole(), result.inertia)

    first, second = bits(), bits()
    found(is_bit_equal=first == second)
    if first != second:
        answer.fail(f"{dtype}: two runs differ")
    _parity(host, size, found, answer)


def _labels(rows: DenseRows, centroids: Any, budget_s: float, answer: Answer) -> dict[str, Any]:
    """Return times of labels, and of those of the chain alone; the share of rows without a proof.

    The share is None where labels are not made by tensor cores, as is the rate of their products,
    padding included.
    """
    xp = namespace_of(centroids)
    types = types_of(rows, centroids)
    if types is None:
        raise ValueError("There is no kernel for these rows and centroids.")

    def by_the_chain() -> Any:
        labels = cupy.empty(rows.n_points, dtype=np.int32)
        chain = Labelling(rows, centroids, types, rows.n_points, by_tensor_cores=False)
        chain.write(0, rows, labels)
        return labels

    usual = nearest_labels(rows, centroids, xp=xp)
    if not bool((usual == by_the_chain()).all()):
        answer.fail(f"{rows.points.dtype}: labels are not the chain's")
    share = products = None
    if is_certified(rows, centroids, types):
        labelling = Labelling(rows, centroids, types, rows.n_points, by_tensor_cores=True)
        labelling.write(0, rows, usual)
        share = float(cupy.sum(labelling.counts)) / rows.n_points
        products = 2.0 * rows.n_points * padded_columns(rows.n_features, len(centroids))
        products *= padded_features(rows.n_features)
    labels_s = _median_s(lambda: nearest_labels(rows, centroids, xp=xp), budget_s=budget_s)
    chain_s = _median_s(by_the_chain, budget_s=budget_s)
    return {
        "labels_s": labels_s,
        "chain_labels_s": chain_s,
        "doubtful_share": share,
        "products_per_s": None if products is None else products / labels_s,
    }


def _iteration_s(blocks: Blocks, centroids: Any, budget_s: float) -> float:
    """Return the time of one iteration among many that follow each other without a wait."""

    def iterations(number: int) -> None:
        current = centroids
        for _ in range(number):
            totals = blocks.reduce(lloyd_step, current)
            current = update_centroids(totals, current, xp=blocks.xp).centroids

    once = _median_s(lambda: iterations(1), budget_s=budget_s / 10)
    # Enough that the device, not the first launch, is what is timed.
    number = max(1, min(20, int(budget_s / 20 / once)))
    return _median_s(lambda: iterations(number), budget_s=budget_s) / number


def _loop_iteration_s(blocks: Blocks, centroids: Any, iteration_s: float, budget_s: float) -> float:
    """Return what one more iteration adds to the loop that fit runs, its reads included."""
    more = _AT_ONCE * max(1, min(5, int(budget_s / 10 / iteration_s / _AT_ONCE)))

    def loop(n_iter: int) -> float:
        work = partial(lloyd, blocks, centroids, max_iter=n_iter, tol=-1.0)
        return _median_s(work, budget_s=budget_s, most=10)

    return (loop(_SETTLED + more) - loop(_SETTLED)) / more


def _fit(
    points: Any,
    n_clusters: int,
    budget_s: float,
    found: Callable[..., None],
    answer: Answer,
) -> int:
    """Time a fit and what it gives; return its number of iterations."""
    model = kmeans_xp.KMeans(n_clusters, random_state=0)
    fit_s = _median_s(lambda: model.fit(points), budget_s=3 * budget_s, least=1, most=3)
    found(fit_s=fit_s, fit_n_iter=model.n_iter_, fit_inertia=model.inertia_)
    found(predict_s=_median_s(lambda: model.predict(points), budget_s=budget_s))
    n_other = int((model.predict(points) != model.labels_).sum())
    found(n_predicted_otherwise=n_other)
    if n_other:
        answer.fail(f"{points.dtype}: predict differs from labels_ for {n_other} rows")
    return int(model.n_iter_)


def _parity(host: Any, size: Size, found: Callable[..., None], answer: Answer) -> None:
    """Hold three iterations against NumPy's, from the same centroids."""
    dtype = str(host.dtype)
    operations = 2 * size.n_features * size.n_clusters
    rows = host[: max(size.n_clusters, int(_PARITY_OPERATIONS / operations))]
    begin = rows[: size.n_clusters]
    expected = kmeans_xp.lloyd(rows, begin, max_iter=3).inertia
    inertia = kmeans_xp.lloyd(cupy.asarray(rows), cupy.asarray(begin), max_iter=3).inertia
    difference = abs(inertia - expected) / expected
    found(
        parity={
            "n_points": len(rows),
            "numpy_inertia": expected,
            "cupy_inertia": inertia,
            "relative_difference": difference,
            "limit": PARITY[dtype],
        }
    )
    if not difference <= PARITY[dtype]:
        answer.fail(f"{dtype}: inertia differs from NumPy's by {difference:.2g} of it")


def _batch(setting: Setting, answer: Answer) -> None:
    """Time a step of each of several sets of half-precision rows: in turn, and at once."""
    n_sets, *shape = (2, 300, 80, 20) if setting.is_quick else (32, 131_072, 128, 1000)
    n_points, n_features, n_clusters = shape
    rng = cupy.random.default_rng(0)
    points = rng.standard_normal((n_sets, n_points, n_features), dtype=np.float32)
    points = points.astype(np.float16)
    origins = cupy.zeros((n_sets, n_features), dtype=np.float32)
    sets = ManyRows(points, None, origins, cupy.arange(n_sets, dtype=np.int32))
    starts = points[:, :n_clusters].astype(np.float32)
    zeros, zeros_of_all, xp = Zeros(), Zeros(), namespace_of(starts)

    def in_turn() -> list[Any]:
        return [
            step_and_update(DenseRows(*each), start, zeros, xp=xp)[1].centroids
            for *each, start in zip(points, [None] * n_sets, origins, starts, strict=True)
        ]

    def at_once() -> Any:
        return step_and_update(sets, starts, zeros_of_all, xp=xp)[1].centroids

    is_bit_equal = _bits(*at_once()) == _bits(*in_turn())
    all_s = _median_s(at_once, budget_s=setting.budget_s(2.0))
    in_turn_s = _median_s(in_turn, budget_s=setting.budget_s(2.0))
    products = 2.0 * n_sets * n_points * padded_columns(n_features, n_clusters)
    products *= padded_features(n_features)
    answer.add(
        size=f"{n_sets} x {n_points} x {n_features}, k={n_clusters}, float16",
        all_s=all_s,
        in_turn_s=in_turn_s,
        products_per_s=products / all_s,
        is_bit_equal=is_bit_equal,
    )
    if not is_bit_equal:
        answer.fail("a batch at once and in turn gives other bits")


def _problems(setting: Setting, answer: Answer) -> None:
    """Time many small problems in one call, and some of them one after another."""
    for size in (Problems(6, 60, 3, 4),) if setting.is_quick else (*PROBLEMS, LARGER_PROBLEMS):
        name = f"{size.n_problems} of {size.n_points} x {size.n_features}, k={size.n_clusters}"
        with _reporting(name, answer) as found:
            _problems_of(size, setting, found, answer)


def _problems_of(
    size: Problems, setting: Setting, found: Callable[..., None], answer: Answer
) -> None:
    problems = cupy.asarray(problems_of(size))
    some = problems[: 3 if setting.is_quick else 20]
    budget_s = setting.budget_s(3.0)

    def at_once(n_problems: int) -> Any:
        return k_means_batched(problems[:n_problems], size.n_clusters, random_state=0)

    def in_turn() -> list[Any]:
        return [k_means(rows, size.n_clusters, random_state=0)[0] for rows in some]

    together = at_once(size.n_problems)
    all_s = _median_s(lambda: at_once(size.n_problems), budget_s=budget_s, least=1)
    in_turn_s = _median_s(in_turn, budget_s=budget_s, least=1) / len(some)
    is_bit_equal = _bits(*together.centroids[: len(some)]) == _bits(*in_turn())
    found(
        all_s=all_s,
        each_s=all_s / size.n_problems,
        in_turn_s=in_turn_s,
        most_iterations=int(together.n_iter.max()),
        is_bit_equal=is_bit_equal,
    )
    if not is_bit_equal:
        answer.fail(f"{size}: at once and in turn give other bits")


# ---- waits, memory, peers, tests ----


def _syncs(setting: Setting, answer: Answer) -> None:
    answer.add(what_is_counted=WHAT_IS_COUNTED)
    sizes = (Size("few features", 20_000, 8, 8), Size("many features", 5_000, 100, 8))
    for size in QUICK_GRID if setting.is_quick else sizes:
        with _reporting(size.name, answer) as found:
            _syncs_of(size, setting, found, answer)


def _syncs_of(size: Size, setting: Setting, found: Callable[..., None], answer: Answer) -> None:
    points = cupy.asarray(_points(size))
    data = prepared(points, None, choose(points, None))
    blocks = data.blocks
    centroids = points[: size.n_clusters] - data.origin

    def seeding() -> None:
        kmeans_plusplus(blocks, size.n_clusters, np.random.RandomState(0))

    def step() -> None:
        update_centroids(blocks.reduce(lloyd_step, centroids), centroids, xp=blocks.xp)

    def loop(n_iter: int) -> None:
        lloyd(blocks, centroids, max_iter=n_iter, tol=-1.0)

    more = _AT_ONCE * (1 if setting.is_quick else 3)
    for work in (seeding, step, lambda: loop(_SETTLED + more)):
        work()  # compiled before it is counted
    with counted_waits() as while_seeding:
        seeding()
    counts = []
    for n_iter in (_SETTLED, _SETTLED + more):
        with counted_waits() as waits:
            loop(n_iter)
        counts.append(waits)
    fewer, longer = counts
    by_name = {name: number / more for name, number in (longer.calls - fewer.calls).items()}
    spin_s = 0.001 if setting.is_quick else 0.5
    is_ahead = {work.__name__: host_is_ahead(work, spin_s) for work in (seeding, step)}
    found(
        seeding_waits=dict(while_seeding.calls),
        seeding_bytes_to_host=while_seeding.bytes_to_host,
        iteration_waits=by_name,
        iteration_bytes_to_host=(longer.bytes_to_host - fewer.bytes_to_host) / more,
        host_is_ahead=is_ahead,
    )
    for ok, what in (
        (while_seeding.total == 0, f"seeding waits {while_seeding.total} times"),
        (longer.total - fewer.total <= more, "an iteration waits more than once"),
        (longer.bytes_to_host - fewer.bytes_to_host <= 24 * more, "an iteration reads > 24 bytes"),
        (is_ahead["seeding"] is not False, "seeding waits for the device"),
        (is_ahead["step"] is not False, "the step waits for the device"),
    ):
        if not ok:
            answer.fail(f"{size.name}: {what}")


class _Peak(cupy.cuda.MemoryHook):  # type: ignore[misc]
    """The most bytes that arrays held at one time, rounded up as CuPy's pool does."""

    name = "peak"

    def __init__(self) -> None:
        self.live = 0
        self.most = 0

    def malloc_postprocess(self, **called: Any) -> None:
        self.live += called["mem_size"]
        self.most = max(self.most, self.live)

    def free_postprocess(self, **called: Any) -> None:
        self.live -= called["mem_size"]


def _memory(setting: Setting, answer: Answer) -> None:
    grid = QUICK_GRID if setting.is_quick else GRID
    size = max(grid, key=lambda size: size.n_points * size.n_features)
    points = cupy.asarray(_points(size))
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    free_before = cupy.cuda.Device().mem_info[0]
    with _Peak() as peak:
        model = kmeans_xp.KMeans(size.n_clusters, max_iter=2, random_state=0).fit(points)
    cupy.cuda.get_current_stream().synchronize()
    # Of a row: its label; its distance to the nearest seed before and after one more, with
    # float64 copies and their running sum. Of all: two tiles, and what has a cluster's size.
    labels, seeding = model.labels_.nbytes, 24 * size.n_points
    tiles = 2 * memory._ACCELERATOR_TILE_BYTES
    clusters = 16 * 2**20 + 16 * model.cluster_centers_.nbytes
    stated = labels + max(seeding, tiles) + clusters
    answer.add(
        size=size.name,
        data_bytes=points.nbytes,
        labels_bytes=labels,
        seeding_bytes=seeding,
        tiles_bytes=tiles,
        stated_bytes=stated,
        peak_bytes=peak.most,
        pool_bytes=pool.total_bytes() - before,
        device_bytes=free_before - cupy.cuda.Device().mem_info[0],
    )
    if peak.most > stated:
        answer.fail(f"a fit takes {peak.most} bytes besides the data, more than {stated}")


def _peers(setting: Setting, answer: Answer) -> None:
    sizes = [size for size in GRID if size.name in PEER_SIZES]
    for size in QUICK_GRID[:1] if setting.is_quick else sizes:
        with _reporting(size.name, answer) as found:
            _peers_of(size, setting, found, answer)


def _peers_of(size: Size, setting: Setting, found: Callable[..., None], answer: Answer) -> None:
    points = cupy.asarray(_points(size))
    centroids = points[: size.n_clusters].copy()
    few, many = (1, 3) if setting.is_quick else (_SETTLED, _SETTLED + 2 * _AT_ONCE)
    usable, inertias = {}, {}
    for name, made in PEERS.items():
        try:
            usable[name] = made(points, centroids)
            usable[name].run(few)  # compiled
            inertias[name] = kmeans_xp.inertia(points, usable[name].run(many))
        except UnusableError as why:
            usable.pop(name, None)
            found(**{name: {"unusable": str(why)}})
        except Exception as error:  # noqa: BLE001 (a peer's failure is its own)
            traceback.print_exc()
            usable.pop(name, None)
            found(**{name: {"unusable": f"{type(error).__name__}: {error}"}})
            if name == "kmeans_xp":
                answer.fail(f"{size.name}: {type(error).__name__}: {error}")
    times: dict[str, list[float]] = {name: [] for name in usable}
    for _ in range(2 if setting.is_quick else 5):
        for name, peer in usable.items():
            longer, shorter = (_elapsed_s(partial(peer.run, n_iter)) for n_iter in (many, few))
            times[name].append((longer - shorter) / (many - few))
    for name, peer in usable.items():
        found(
            **{
                name: {
                    "version": peer.version,
                    "remark": peer.remark,
                    "iteration_s": statistics.median(times[name]),
                    "all_iteration_s": times[name],
                    "inertia": inertias[name],
                }
            }
        )


def _tests(setting: Setting, answer: Answer) -> None:
    paths = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if re.search(r"[(,]\s*(library|xp):", path.read_text()) and path.stem != "test_gpu_check"
    ]
    arguments = ["--library", "cupy", "-q", "--maxfail=50", "-p", "no:cacheprovider"]
    # Without pyproject.toml's own, which name a plugin that may be missing here.
    arguments += ["-o", "addopts=-ra", "--continue-on-collection-errors"]
    if setting.is_quick:
        paths, arguments = ["tests/kernels/test_cuda_source.py"], [*arguments, "--collect-only"]
    # At the end of the path: an environment variable would put it before what is installed.
    code = "import sys; sys.path.append(sys.argv.pop(1)); import pytest; sys.exit(pytest.main())"
    command = [sys.executable, "-c", code, setting.vendor, *paths, *arguments]
    with tempfile.TemporaryFile("w+") as output:
        try:
            limit_s = max(1.0, setting.limit_s - 10.0)
            ran = subprocess.run(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, timeout=limit_s
            )
            status: int | str = ran.returncode
        except subprocess.TimeoutExpired:
            status = f"not done in {limit_s:.0f} s"
        output.seek(0)
        text = output.read()
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    counts = {
        word: int(number)
        for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed|tests)", last)
    }
    answer.add(command=command[3:], status=status, counts=counts, tail=text[-6000:])
    if status != 0:
        answer.fail(f"pytest: {status}: {last}")


_STEPS: dict[str, Callable[[Setting, Answer], None]] = {
    "environment": _environment,
    "rates": _rates,
    "batch": _batch,
    "problems": _problems,
    "syncs": _syncs,
    "memory": _memory,
    "peers": _peers,
    "tests": _tests,
}


# ---- data and times ----


def _size_named(name: str) -> Size:
    return next(size for size in (*GRID, *QUICK_GRID) if size.name == name)


def _points(size: Size) -> Any:
    """Return overlapping clusters in float32, so that a run does not end after two iterations."""
    rng = np.random.default_rng(0)
    centers = rng.uniform(-2, 2, (size.n_clusters, size.n_features)).astype(np.float32)
    points = rng.standard_normal((size.n_points, size.n_features), dtype=np.float32)
    points += centers[rng.integers(size.n_clusters, size=size.n_points)]
    return points


def _bits(*results: Any) -> list[bytes]:
    return [cupy.asnumpy(result).tobytes() for result in results]


def _median_s(work: Callable[[], Any], *, budget_s: float, least: int = 3, most: int = 50) -> float:
    """Return the median time of some runs after one that is not counted; of one for no budget."""
    if not budget_s:
        return _elapsed_s(work)
    work()
    times: list[float] = []
    end = time.perf_counter() + budget_s
    while len(times) < least or (len(times) < most and time.perf_counter() < end):
        times.append(_elapsed_s(work))
    return statistics.median(times)


def _elapsed_s(work: Callable[[], Any]) -> float:
    """Return the time between two events about the work, on the current stream."""
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    cupy.cuda.runtime.deviceSynchronize()
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(begin, end)) / 1e3
