"""Faults during work: estimators stay unchanged, processes survive, files are complete."""

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from conftest import Library
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans, config_context, open_rows
from kmeans_xp.devices import memory
from kmeans_xp.kernels.kernel import Kernel
from tests.datasets import blobs

HOST = blobs(400, 4, 5)[0].astype(np.float32)
ESTIMATORS = (
    KMeans(6, random_state=0, tol=0.0),
    KMeans(6, random_state=0, init="random", n_init=3, max_iter=4),
    KMeans(6, random_state=0, metric="cosine", max_iter=4),
    MiniBatchKMeans(6, random_state=0, max_iter=2, batch_size=100),
    BisectingKMeans(6, random_state=0, max_iter=4),
)
#: calls of kernels at which a fit has the fault, evenly spread over all of them
N_FAULTS = {"numpy": 12}
FEW_FAULTS = 4

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about Linux")


def as_array(library: Library) -> Any:
    return library.asarray(HOST)


def as_csr(library: Library) -> Any:
    if library.name != "numpy":
        pytest.skip("sparse rows are SciPy's here")
    return sparse.csr_array(HOST * (HOST > 0))


def as_blocks(library: Library) -> Any:
    if library.name not in ("numpy", "cupy"):
        pytest.skip("blocks are read to NumPy or CuPy")
    return open_rows(HOST, block_rows=150)


class Faults:
    """Has kernels raise at one of their calls."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error, self.n_calls, self.at = error, 0, 0

    def begin(self, at: int = 0) -> None:
        """Begin to count the calls; raise at the one of this number, or at none for 0."""
        self.n_calls, self.at = 0, at

    def called(self) -> None:
        self.n_calls += 1
        if self.n_calls == self.at:
            raise self.error


@pytest.fixture(params=[KeyboardInterrupt, MemoryError, RuntimeError])
def faults(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Faults:
    made, run = Faults(request.param), Kernel.__call__

    def called(kernel: Kernel[..., Any], *arguments: Any, **options: Any) -> Any:
        made.called()
        return run(kernel, *arguments, **options)

    monkeypatch.setattr(Kernel, "__call__", called)
    monkeypatch.setattr(memory, "_n_halvings", 0)
    return made


def bits_of(fitted: Any, library: Library) -> tuple[Any, ...]:
    arrays = (fitted.cluster_centers_, fitted.labels_)
    return (*(library.to_host(array).tobytes() for array in arrays), fitted.inertia_)


@pytest.mark.sampled(1, numpy=2, cupy=4)
@pytest.mark.parametrize("form", [as_array, as_csr, as_blocks])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_a_fault_at_any_kernel_leaves_the_estimator_as_it_was(
    estimator: Any, form: Callable[[Library], Any], faults: Faults, library: Library
) -> None:
    X = form(library)
    faults.begin()
    fitted = type(estimator)(**estimator.get_params()).fit(X)
    expected, n_calls = bits_of(fitted, library), faults.n_calls
    n_raised = 0
    places = np.linspace(1, n_calls, N_FAULTS.get(library.name, FEW_FAULTS))
    for at in np.unique(places.astype(int)).tolist():
        before = dict(vars(fitted))
        faults.begin(at)
        try:
            fitted.fit(X)  # memory that ran out once is asked for again, by halves
        except (faults.error, RuntimeError) as error:
            assert isinstance(error, faults.error) or "cannot be read" in str(error)  # noqa: PT017
            n_raised += 1
            after = vars(fitted)
            assert after.keys() == before.keys()
            assert all(after[name] is before[name] for name in before)
        memory._n_halvings = 0
        faults.begin()
        assert bits_of(fitted.fit(X), library) == expected
    assert n_raised or faults.error is MemoryError
    assert library.to_host(fitted.predict(X)).tobytes() == expected[1]


@on_linux
def test_memory_that_runs_out_anywhere_is_an_error_or_no_matter(tmp_path: Path) -> None:
    done = printed("""
        import json, resource, warnings
        import numpy as np
        from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans, config_context
        warnings.simplefilter("ignore")
        rows = np.random.default_rng(0).normal(size=(40_000, 16)).astype(np.float32)
        told = {"cases": 0, "raised": 0, "wrong": []}
        free = resource.getrlimit(resource.RLIMIT_AS)

        def size():
            return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

        for make in (KMeans, MiniBatchKMeans, BisectingKMeans):
            estimator = make(8, random_state=0, max_iter=3)
            expected = estimator.fit(rows).labels_.copy()
            for room in [2**k * 2**10 for k in range(2, 16)]:
                before = dict(vars(estimator))
                told["cases"] += 1
                resource.setrlimit(resource.RLIMIT_AS, (size() + room, free[1]))
                try:
                    estimator.fit(rows)
                except MemoryError:
                    told["raised"] += 1
                    is_good = all(vars(estimator)[name] is before[name] for name in before)
                else:
                    is_good = True
                finally:
                    resource.setrlimit(resource.RLIMIT_AS, free)
                if not (is_good and np.array_equal(estimator.fit(rows).labels_, expected)):
                    told["wrong"].append([make.__name__, room])
        print(json.dumps(told))
    """)
    assert done["cases"] == 42
    assert 0 < done["raised"] < 42
    assert done["wrong"] == []


def printed(program: str, *arguments: str) -> Any:
    """Return what a program prints as JSON."""
    words = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    return json.loads(subprocess.run(words, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skip_library(
    "numpy", "array_api_strict", "torch", "jax", "dpnp", reason="about CuPy's memory pool"
)
def test_a_pool_that_has_too_little_is_an_error_or_no_matter(library: Library) -> None:
    import cupy

    # Not the default pool: other tests leave chunks there that are partly in use. What is free in
    # them, megabytes, cannot be given back, and a fit takes it without new memory.
    pool, n_raised = cupy.cuda.MemoryPool(), 0
    estimators = ESTIMATORS[1 :: 1 if "KMEANS_XP_FUZZ" in os.environ else 4]  # of few iterations
    with cupy.cuda.using_allocator(pool.malloc):
        X = library.asarray(HOST)
        for estimator in estimators:
            fitted = type(estimator)(**estimator.get_params()).fit(X)
            expected = bits_of(fitted, library)
            before = dict(vars(fitted))
            for room in [2**k for k in range(9, 24, 3)]:
                pool.free_all_blocks()
                pool.set_limit(size=pool.used_bytes() + room)
                try:
                    fitted.fit(X)
                except MemoryError:
                    n_raised += 1
                    assert all(vars(fitted)[name] is before[name] for name in before)
                finally:
                    pool.set_limit(size=0)
                    memory._n_halvings = 0
                if all(vars(fitted)[name] is before[name] for name in before):
                    fitted.fit(X)  # what raised leaves all as it was
                assert bits_of(fitted, library) == expected
                before = dict(vars(fitted))
    assert n_raised >= len(estimators)


@on_linux
def test_files_are_whole_whenever_a_process_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("typer")
    words = [sys.executable, "-m", "tests.killed", str(tmp_path)]
    told = json.loads(subprocess.run(words, capture_output=True, check=True, text=True).stdout)
    assert set(told) == {"save", "predict(out=)", "--out"}
    for each in told.values():
        assert each["torn"] == []
        assert each["killed"] > 3
        assert each["new"] < each["killed"]
        assert len(each["beside"]) == 1


def fit_in_a_worker(seed: int) -> tuple[Any, ...]:
    kmeans = KMeans(6, random_state=seed).fit(HOST)
    return kmeans.labels_.tobytes(), kmeans.cluster_centers_.tobytes(), kmeans.inertia_


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_pool_of_processes_finds_what_this_one_does(method: str) -> None:
    expected = [fit_in_a_worker(seed) for seed in range(6)]
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(fit_in_a_worker, range(6), timeout=120)) == expected


@pytest.fixture
def eight() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def test_eight_threads_fit_and_predict_by_one_estimator(
    eight: ThreadPoolExecutor, library: Library
) -> None:
    X, bad = library.asarray(HOST), library.asarray(HOST * np.nan)
    kmeans = KMeans(6, random_state=0).fit(X)
    expected = bits_of(kmeans, library)

    def one(number: int) -> bytes:
        if number % 4 == 0:
            kmeans.fit(X)
        elif number % 4 == 1:
            with pytest.raises(ValueError, match="NaN"):
                kmeans.fit(bad)
        return library.to_host(kmeans.predict(X)).tobytes()

    assert set(eight.map(one, range(64))) == {expected[1]}
    assert bits_of(kmeans, library) == expected


def fit_of(number: int) -> tuple[Any, ...]:
    """Return the bits of one of many fits, which is like no other."""
    rng = np.random.default_rng(number)
    n_points, n_features = int(rng.choice([60, 500, 3000])), int(rng.choice([2, 4, 16, 64]))
    n_clusters, dtype = int(rng.choice([2, 5, 16])), rng.choice(["float32", "float64"])
    points: Any = rng.normal(size=(n_points, n_features)).astype(dtype)
    kinds = (KMeans, partial(KMeans, n_init=3), partial(KMeans, metric="cosine"))
    kind = (*kinds, MiniBatchKMeans, BisectingKMeans)[number % 5]
    if number % 2:
        points[:, 1:] *= points[:, 1:] > 0.5
        points = sparse.csr_array(points)
    with config_context(n_threads=int(rng.choice([1, 2, 4]))):
        fitted = kind(n_clusters, random_state=number, max_iter=5).fit(points)
        labels = fitted.predict(points)
    return fitted.cluster_centers_.tobytes(), fitted.labels_.tobytes(), labels.tobytes()


def test_eight_threads_fit_each_its_own_rows(eight: ThreadPoolExecutor) -> None:
    numbers = np.random.default_rng(0).permutation(np.repeat(np.arange(40), 3)).tolist()
    found = list(eight.map(fit_of, numbers))
    expected = [fit_of(number) for number in range(40)]
    assert found == [expected[number] for number in numbers]
