"""Threads that wake too late for a task, or wait for more, keep no array; errors end the call."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kmeans_xp import KMeans, config_context
from kmeans_xp.devices import availability
from kmeans_xp.kernels import threads


def test_a_busy_worker_keeps_no_array_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = threading.Event()
    with ThreadPoolExecutor(1) as worker:
        monkeypatch.setattr(threads, "_workers", lambda n_workers: [worker] * n_workers)
        worker.submit(leave.wait)
        try:
            array = np.ones((2, 3))
            assert threads.in_threads(_sums_of(array), 2) == [3.0, 3.0]
            kept = weakref.ref(array)
            del array
            assert kept() is None
        finally:
            leave.set()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError])
def test_a_task_that_ends_its_thread_ends_the_call_and_not_the_pool(
    error: type[BaseException],
) -> None:
    here = threading.get_ident()
    elsewhere = threading.Event()

    def task(number: int) -> int:
        if threading.get_ident() != here:
            elsewhere.set()
            raise error
        # No task is left to this thread alone.
        assert elsewhere.wait(60.0)
        return number

    with config_context(n_threads=2):
        for _ in range(3):
            elsewhere.clear()
            with pytest.raises(error):
                threads.in_threads(task, 64)
        assert threads.in_threads(lambda number: number, 64) == list(range(64))


class Resting:
    """A way to wait, by which workers rest until a test lets them go on."""

    def __init__(self) -> None:
        self.go_on, self.n_rests = threading.Event(), 0

    def until_done(self, done: np.ndarray) -> bool:
        while not done[0]:
            time.sleep(1e-3)
        return True

    def rest(self, done: np.ndarray, given: np.ndarray, before: int) -> None:
        self.n_rests += 1
        assert given is threads._given
        done[0] = 1
        assert self.go_on.wait(60.0)


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resting]:
    made = Resting()
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setattr(threads, "n_processors", lambda: 2)
    monkeypatch.setattr(threads, "_way", lambda: threads.Waiting(made.until_done, made.rest))
    with ThreadPoolExecutor(1) as worker:
        monkeypatch.setattr(threads, "_workers", lambda n_workers: [worker] * n_workers)
        yield made
        made.go_on.set()


def test_a_worker_that_rests_holds_up_no_call_and_keeps_no_array(resting: Resting) -> None:
    both = threading.Barrier(2, timeout=60.0)
    array = np.ones((2, 3))
    with config_context(n_threads=2):
        assert threads.in_threads(_sums_of(array, both), 2) == [3.0, 3.0]
    assert resting.n_rests == 1
    kept = weakref.ref(array)
    del array
    assert kept() is None


def test_an_error_of_a_worker_that_rests_is_raised(resting: Resting) -> None:
    here, both = threading.get_ident(), threading.Barrier(2, timeout=60.0)

    def task(number: int) -> None:
        both.wait()
        if threading.get_ident() != here:
            raise MemoryError(number)

    with config_context(n_threads=2), pytest.raises(MemoryError):
        threads.in_threads(task, 2)
    assert resting.n_rests == 1


@pytest.mark.parametrize(
    ("policy", "n_processors", "of_container", "waits"),
    [
        ("ACTIVE", 2, None, True),
        ("ACTIVE", 8, 2, True),
        ("ACTIVE", 8, 1, False),
        ("ACTIVE", 1, None, False),
        ("PASSIVE", 2, None, False),
        ("passive", 2, None, False),
    ],
)
def test_threads_sleep_where_they_would_be_in_the_way(
    policy: str,
    n_processors: int,
    of_container: int | None,
    waits: bool,
    resting: Resting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    monkeypatch.setattr(threads, "n_processors", lambda: n_processors)
    monkeypatch.setattr(threads, "processors_of_the_container", lambda: of_container)
    assert (threads._waiting(1) is not None) == waits


@pytest.mark.parametrize(
    ("content", "expected"), [("max 100000", None), ("250000 100000", 2), ("5000 100000", 1)]
)
def test_the_quota_of_a_container_is_read(
    content: str, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text(content)
    monkeypatch.setattr(availability, "_CGROUP_PROCESSORS", str(limit))
    assert availability.processors_of_the_container.__wrapped__() == expected


def test_an_error_keeps_no_array(monkeypatch: pytest.MonkeyPatch) -> None:
    here, both = threading.get_ident(), threading.Barrier(2, timeout=60.0)

    def failing(array: np.ndarray) -> Callable[[int], None]:
        def task(number: int) -> None:
            both.wait()
            if threading.get_ident() != here:
                raise MemoryError(array.shape)

        return task

    gc.disable()
    try:
        array = np.ones(3)
        with config_context(n_threads=2), pytest.raises(MemoryError):
            threads.in_threads(failing(array), 2)
        kept = weakref.ref(array)
        del array
        assert _is_gone(kept)
    finally:
        gc.enable()


def test_a_number_is_looked_at_until_it_changes() -> None:
    waiting = pytest.importorskip("kmeans_xp.kernels.for_numba.waiting")
    a_minute = 10**10  # looks: more than a minute
    any_dtype = np.dtype(np.float64)
    is_changed, rest = waiting.is_changed[any_dtype], waiting.publish_and_rest[any_dtype]
    number, done = np.zeros(1, np.int64), np.zeros(1, np.int64)
    assert not is_changed(number, 0, 100)
    assert is_changed(number, 1, 100)
    rest(done, number, 0, 100, 100)
    assert done[0] == 1
    with ThreadPoolExecutor(2) as workers:
        looking = workers.submit(is_changed, done, 1, a_minute)
        done[0] = 0
        assert looking.result(60.0)
        resting = workers.submit(rest, done, number, 0, a_minute, 100)
        assert is_changed(done, 0, a_minute)
        assert not resting.done()
        number[0] = 5
        resting.result(60.0)


def test_fits_are_the_same_when_threads_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kmeans_xp.kernels.for_numba.waiting")
    points = np.random.default_rng(0).random((30_000, 20), dtype=np.float32)
    way = threads._way()
    assert way is not None
    rests: list[int] = []

    def rest(done: np.ndarray, given: np.ndarray, before: int) -> None:
        rests.append(before)
        way.rest(done, given, before)

    monkeypatch.setattr(threads, "n_processors", lambda: 2)
    monkeypatch.setattr(threads, "processors_of_the_container", lambda: None)
    monkeypatch.setattr(threads, "_way", lambda: way._replace(rest=rest))
    fits = []
    with config_context(n_threads=2):
        for policy in ("PASSIVE", "ACTIVE"):
            monkeypatch.setenv("OMP_WAIT_POLICY", policy)
            fits.append(KMeans(10, random_state=0, max_iter=20).fit(points))
            assert bool(rests) == (policy == "ACTIVE")
    asleep, awake = fits
    assert asleep.inertia_ == awake.inertia_
    np.testing.assert_array_equal(asleep.cluster_centers_, awake.cluster_centers_)


def _is_gone(kept: "weakref.ref[np.ndarray]") -> bool:
    """Return whether an array is freed soon: a worker may hold it for a moment."""
    end = time.monotonic() + 10.0
    while kept() is not None and time.monotonic() < end:
        time.sleep(1e-3)
    return kept() is None


def _sums_of(
    array: np.ndarray, together: threading.Barrier | None = None
) -> Callable[[int], float]:
    def task(row: int) -> float:
        if together is not None:
            together.wait()  # for the other thread
        return float(array[row].sum())

    return task
