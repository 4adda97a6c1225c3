"""Steps that several threads share in one call have the bits of single steps."""

import itertools
import threading
import time
from typing import Any

import numpy as np
import pytest

from kmeans_xp import config_context
from kmeans_xp.kernels import update_centroids
from tests.kernels.single_steps import assert_bits_of_single_steps, of_each_kind, rows_of

pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels import threads
from kmeans_xp.kernels.for_numba import assignment, shared_steps, stepping


@pytest.fixture(autouse=True)
def _waits_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share steps also where threads have no processor of their own, and at the first use."""
    monkeypatch.setattr(shared_steps, "wait_awake", lambda n_threads: n_threads > 1)
    monkeypatch.setattr(shared_steps.share_steps, "pays", lambda *_: True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_tasks", [2, 3, 5, 7, 16])
@of_each_kind
def test_steps_have_the_bits_of_single_ones(
    updated: Any,
    kind: Any,
    n_tasks: int,
    order: Any,
    is_weighted: bool,
    dtype: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = kind(rows_of(dtype, is_weighted=is_weighted, order=order))
    centroids = rows.take(np.arange(7)).points
    for module in (assignment, stepping, shared_steps):
        monkeypatch.setattr(module, "n_step_tasks", lambda *_: n_tasks)
    for n_threads in (2, 3):
        with config_context(n_threads=n_threads):
            taken = stepping.steps_in_a_call(rows, centroids, 20, 1e-3, updated)
        n_steps = assert_bits_of_single_steps(taken, rows, centroids, updated)
        assert n_steps > 3
        assert n_steps == 20 or taken.update.signals[-1, 0] <= 1e-3
        assert (taken.update.signals[:-1, 0] > 1e-3).all()


def test_a_step_that_leaves_a_cluster_empty_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of("float64")
    for module in (assignment, stepping, shared_steps):
        monkeypatch.setattr(module, "n_step_tasks", lambda *_: 4)
    centroids = np.concatenate((rows.points[:3], np.full((1, 5), 1e3)))
    with config_context(n_threads=2):
        taken = stepping.steps_in_a_call(rows, centroids, 20, 0.0, update_centroids)
    assert taken.update.signals[:, 1].tolist() == [1.0]


def test_an_error_of_one_thread_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that was taken, and is not done, would keep the others waiting."""
    rows = rows_of("float64")
    for module in (assignment, stepping, shared_steps):
        monkeypatch.setattr(module, "n_step_tasks", lambda *_: 8)
    share, calls = shared_steps.share_steps[np.dtype("float64")], itertools.count()
    has_taken = threading.Event()

    def failing(*operands: Any) -> int:
        if next(calls) == 0:
            operands[-2][shared_steps._NEXT] += 1  # as if it had taken a part
            has_taken.set()
            raise MemoryError("no room")
        assert has_taken.wait(60)
        return int(share(*operands))

    monkeypatch.setitem(shared_steps.share_steps.of_dtype, np.dtype("float64"), failing)
    centroids = rows.points[:4].copy()
    with config_context(n_threads=2), pytest.raises(MemoryError, match="no room"):
        stepping.steps_in_a_call(rows, centroids, 20, 0.0, update_centroids)


def test_an_error_of_a_thread_that_waits_for_the_next_step_ends_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The step that others are in is completed after it, and opens the next one."""
    rows, n_parts = rows_of("float64"), 4
    for module in (assignment, stepping, shared_steps):
        monkeypatch.setattr(module, "n_step_tasks", lambda *_: n_parts)
    share, calls = shared_steps.share_steps[np.dtype("float64")], itertools.count()
    has_begun, waits_for_ever = threading.Event(), threading.Event()

    def failing(*operands: Any) -> int:
        shared, number = operands[-2], next(calls)
        if number == 0:
            shared[shared_steps._NEXT] = n_parts + 1  # all parts of this step, and one of the next
            assert has_begun.wait(60)
            raise KeyboardInterrupt
        if number == 1000:
            waits_for_ever.set()
            raise AssertionError
        if number == 1:
            has_begun.set()
            while shared[shared_steps._OPEN] != shared_steps._NO_STEP:
                time.sleep(0.001)
            shared[shared_steps._DONE], shared[shared_steps._OPEN] = n_parts, 1
        return int(share(*operands))

    monkeypatch.setitem(shared_steps.share_steps.of_dtype, np.dtype("float64"), failing)
    centroids = rows.points[:4].copy()
    with config_context(n_threads=2), pytest.raises(KeyboardInterrupt):
        stepping.steps_in_a_call(rows, centroids, 20, 0.0, update_centroids)
    assert not waits_for_ever.is_set()


def test_a_thread_that_waits_for_long_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on with the part that it has taken."""
    rows = rows_of("float64")
    for module in (assignment, stepping, shared_steps):
        monkeypatch.setattr(module, "n_step_tasks", lambda *_: 2)
    n_sleeps, share = [0], shared_steps.share_steps[np.dtype("float64")]

    def slow(*operands: Any) -> int:
        if operands[-1] < 0 and not first:
            first.append(int(operands[-2][shared_steps._NEXT]))
            operands[-2][shared_steps._NEXT] += 1
            has_taken.set()
            real_sleep(0.02)
            return int(share(*operands[:-1], first[0]))  # the part that the others wait for
        assert has_taken.wait(60)
        return int(share(*operands))

    def counted(seconds: float) -> None:
        n_sleeps[0] += 1
        real_sleep(seconds)

    first: list[int] = []
    has_taken = threading.Event()
    real_sleep = shared_steps.time.sleep
    monkeypatch.setattr(shared_steps.time, "sleep", counted)
    monkeypatch.setitem(shared_steps.share_steps.of_dtype, np.dtype("float64"), slow)
    centroids = rows.points[:4].copy()
    with config_context(n_threads=2):
        taken = stepping.steps_in_a_call(rows, centroids, 20, 0.0, update_centroids)
    assert n_sleeps[0] > 0
    assert assert_bits_of_single_steps(taken, rows, centroids) > 0


@pytest.mark.parametrize("n_threads", [1, 4096])
def test_threads_without_a_processor_do_not_share(n_threads: int) -> None:
    """Those that sleep while they wait would take longer than single steps."""
    assert not threads.wait_awake(n_threads)
