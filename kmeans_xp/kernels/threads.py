"""Threads for kernels on a CPU: a pool, with scratch memory in each."""

import contextlib
import ctypes
import functools
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kmeans_xp.devices.availability import n_processors, n_threads, processors_of_the_container

__all__ = [
    "Waiting",
    "in_threads",
    "in_threads_alone",
    "n_threads_here",
    "scratch",
    "threads_each",
    "wait_awake",
    "wait_by",
]

R = TypeVar("R")

_n_threads_here: ContextVar[int | None] = ContextVar("n_threads_here", default=None)


@contextmanager
def threads_each(n: int) -> Iterator[None]:
    """Use at most ``n`` threads inside, where the caller computes several things at a time."""
    token = _n_threads_here.set(n)
    try:
        yield
    finally:
        _n_threads_here.reset(token)


def n_threads_here() -> int:
    """Return the number of threads that calls of this thread use."""
    return _n_threads_here.get() or n_threads()


def in_threads(task: Callable[[int], R], n_tasks: int) -> list[R]:
    """Return ``[task(0), ..., task(n_tasks - 1)]``, computed by the configured number of threads.

    The tasks must not depend on the number of threads; then the results do not either. If tasks
    multiply by BLAS, call this inside ``blas_threads.one_blas_thread``.

    Parameters
    ----------
    task : callable
        Takes its number. The first error is raised, and no further task begins.
    n_tasks : int
        At least 1. A single task runs in the calling thread; so do some of several.

    Returns
    -------
    list
        In the order of the tasks.
    """
    n_workers = min(n_threads_here(), n_tasks) if n_tasks > 1 else 1
    if n_workers == 1:
        return [task(number) for number in range(n_tasks)]
    results: dict[int, R] = {}
    numbers = deque(range(n_tasks))

    def work() -> None:
        while (number := _next(numbers)) is not None:
            try:
                results[number] = task(number)
            except BaseException:
                numbers.clear()
                raise

    _run_beside(work, n_workers - 1)
    return [results[number] for number in range(n_tasks)]


def in_threads_alone(task: Callable[[int], R], n_tasks: int) -> list[R]:
    """Do as ``in_threads``, but let each of several tasks use only the thread that it runs in."""
    if n_tasks == 1:
        return [task(0)]

    def alone(number: int) -> R:
        with threads_each(1):
            return task(number)

    return in_threads(alone, n_tasks)


def _next(numbers: deque[int]) -> int | None:
    try:
        return numbers.popleft()
    except IndexError:
        return None


class Waiting(NamedTuple):
    """How threads wait for each other for some time before they sleep.

    A thread that sleeps wakes late: after some 0.05 ms, which is much of a short step.

    Parameters
    ----------
    until_done : callable
        From ``done`` to whether it became 1 in time.
    rest : callable
        Sets ``done`` to 1, and returns when ``given`` is not ``before`` any more, or after a time.
    """

    until_done: Callable[[NDArray[np.int64]], bool]
    rest: Callable[[NDArray[np.int64], NDArray[np.int64], int], None]


def wait_by(way: Callable[[], Waiting | None]) -> None:
    """Ask ``way`` in each call how threads are to wait; None means that they sleep."""
    global _way
    _way = way


def _no_way() -> Waiting | None:
    return None


_way: Callable[[], Waiting | None] = _no_way
#: the number of the last call that had work for the pool
_given, _numbers = np.zeros(1, np.int64), itertools.count(1)


def _waiting(n_others: int) -> Waiting | None:
    """Return how to wait; threads without a processor of their own sleep."""
    is_passive = os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive"
    n_free = min(n_processors(), processors_of_the_container() or n_others + 1)
    return None if is_passive or n_others >= n_free else _way()


def wait_awake(n_threads: int) -> bool:
    """Return whether this number of threads wait for each other without sleep."""
    return n_threads > 1 and _waiting(n_threads - 1) is not None


class _Beside:
    """Work that a thread of the pool does beside its caller."""

    def __init__(self, work: Callable[[], None], waiting: Waiting | None, number: int) -> None:
        # Emptied at the end: a cancelled call waits in the queue of a worker, and keeps no array.
        self.held = [work]
        self.error: BaseException | None = None
        self._waiting, self._number = waiting, number
        self._done = np.zeros(1, np.int64)
        self._future: Future[None]

    def submitted_to(self, worker: ThreadPoolExecutor) -> "_Beside":
        # Each thread needs its own copy of the context, which holds np.errstate.
        self._future = worker.submit(copy_context().run, self._run)
        return self

    def is_cancelled(self) -> bool:
        """Cancel it, if it has not begun."""
        return self._future.cancel()

    def join(self) -> None:
        if self._waiting is None or not self._waiting.until_done(self._done):
            self._waiting = None  # it need not wait for more when it is done
            wait([self._future])

    def _run(self) -> None:
        try:
            self.held[0]()
        except BaseException as error:  # noqa: BLE001 (raised again by the caller)
            self.error = error
        self.held.clear()
        waiting = self._waiting
        if waiting is not None:
            waiting.rest(self._done, _given, self._number)


def _run_beside(work: Callable[[], None], n_others: int) -> None:
    """Run ``work`` here and in ``n_others`` threads of the pool until all have returned."""
    others: list[_Beside] = []
    waiting, number = _waiting(n_others), next(_numbers)
    try:
        # While the interpreter ends, no thread can start: run the work in this one.
        with contextlib.suppress(RuntimeError):
            others.extend(
                _Beside(work, waiting, number).submitted_to(worker) for worker in _workers(n_others)
            )
        _given[0] = number
        work()
    finally:
        error = _joined(others)
    if error is not None:
        try:
            raise error
        finally:
            del error


def _joined(others: list[_Beside]) -> BaseException | None:
    """Wait for all that have begun, cancel the rest, and return the first error."""
    begun = [other for other in others if not other.is_cancelled()]
    for other in begun:
        other.join()
    errors = [other.error for other in begun if other.error is not None]
    for other in others:
        other.held.clear()
        other.error = None  # its traceback has the frame that has `other`
    return errors[0] if errors else None


def _workers(n_workers: int) -> list[ThreadPoolExecutor]:
    """Return an executor for each of ``n_workers`` threads beside this one.

    Where they use all processors, each worker is pinned to its own. Linux wakes a thread on the
    processor of the thread that wakes it. After a pause both stay there for longer than most
    calls take: two threads then took twice the time.
    """
    if _this_processor is not None:
        others = os.sched_getaffinity(0) - {_this_processor()}
        if n_workers == len(others):
            return [_worker_on(processor) for processor in sorted(others)]
    return [_pool(n_workers)] * n_workers


@functools.cache
def _pool(n_workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_workers, thread_name_prefix="kmeans_xp")


@functools.cache
def _worker_on(processor: int) -> ThreadPoolExecutor:
    def settle() -> None:
        with contextlib.suppress(OSError):  # this process may have lost the processor
            os.sched_setaffinity(0, {processor})

    return ThreadPoolExecutor(1, thread_name_prefix="kmeans_xp", initializer=settle)


def _processor_function() -> Callable[[], int] | None:
    """Return a function that gives the number of the caller's processor, or None without one."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    function: Callable[[], int] | None = getattr(ctypes.CDLL(None), "sched_getcpu", None)
    return function


_this_processor = _processor_function()


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[tuple[str, np.dtype[Any]], NDArray[Any]] = {}


_scratch = _Scratch()


def scratch(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return memory that this thread keeps for ``name``; its content is arbitrary."""
    # New memory would cost a page fault every 4 KB: more time than the arithmetic on it.
    dtype = np.dtype(dtype)
    size = 1
    for length in shape:
        size *= length
    buffer = _scratch.buffers.get((name, dtype))
    if buffer is None or buffer.size < size:
        buffer = _scratch.buffers[name, dtype] = np.empty(size, dtype)
    return buffer[:size].reshape(shape)


def _after_fork() -> None:
    _pool.cache_clear()
    _worker_on.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
