"""BLAS uses one thread while kernels need that; the limit always ends, also after errors.

A thread that wakes too late for a task keeps none of its arrays.
"""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kmeans_xp import config_context
from kmeans_xp.kernels import threads

pytestmark = pytest.mark.skip_library(
    "array_api_strict", "torch", "jax", "dpnp", "cupy", reason="about NumPy's BLAS"
)


class Blas:
    """A library that can be set to some number of threads."""

    def __init__(self, interrupted_at: int = -1) -> None:
        self.num_threads = 4
        self.n_calls, self.interrupted_at = 0, interrupted_at

    def set_num_threads(self, number: int) -> None:
        self.num_threads = number
        self.n_calls += 1
        if self.n_calls == self.interrupted_at:
            raise KeyboardInterrupt


@pytest.fixture(params=[-1, 1, 2])
def blas(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Blas:
    made = Blas(request.param)
    monkeypatch.setattr(threads, "_blas_libraries", lambda: [made])
    monkeypatch.setattr(threads, "_limit", threads._BlasLimit())
    return made


def test_an_interrupt_leaves_blas_as_it_was(blas: Blas) -> None:
    try:
        with threads.one_blas_thread():
            assert blas.num_threads == 1
    except KeyboardInterrupt:
        assert blas.interrupted_at > 0
    assert blas.num_threads == 4
    blas.interrupted_at = -1
    with threads.one_blas_thread(), threads.one_blas_thread():
        assert blas.num_threads == 1
    assert blas.num_threads == 4


def test_the_last_thread_restores_the_number(blas: Blas) -> None:
    blas.interrupted_at = -1
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with threads.one_blas_thread():
            inside.set()
            leave.wait()

    other = threading.Thread(target=hold)
    other.start()
    inside.wait()
    with threads.one_blas_thread():
        pass
    assert blas.num_threads == 1
    leave.set()
    other.join()
    assert blas.num_threads == 4


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


def _sums_of(array: np.ndarray) -> Callable[[int], float]:
    return lambda row: float(array[row].sum())
