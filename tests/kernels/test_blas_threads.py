"""BLAS uses one thread while kernels need that; the limit always ends, also after errors."""

import threading

import pytest

from kmeans_xp.kernels import blas_threads


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
    monkeypatch.setattr(blas_threads, "_blas_libraries", lambda: [made])
    monkeypatch.setattr(blas_threads, "_limit", blas_threads._BlasLimit())
    return made


def test_an_interrupt_leaves_blas_as_it_was(blas: Blas) -> None:
    try:
        with blas_threads.one_blas_thread():
            assert blas.num_threads == 1
    except KeyboardInterrupt:
        assert blas.interrupted_at > 0
    assert blas.num_threads == 4
    blas.interrupted_at = -1
    with blas_threads.one_blas_thread(), blas_threads.one_blas_thread():
        assert blas.num_threads == 1
    assert blas.num_threads == 4


def test_the_last_thread_restores_the_number(blas: Blas) -> None:
    blas.interrupted_at = -1
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with blas_threads.one_blas_thread():
            inside.set()
            leave.wait()

    other = threading.Thread(target=hold)
    other.start()
    inside.wait()
    with blas_threads.one_blas_thread():
        pass
    assert blas.num_threads == 1
    leave.set()
    other.join()
    assert blas.num_threads == 4
