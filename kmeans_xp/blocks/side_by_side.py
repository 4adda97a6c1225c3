"""Apply a function to many items, several at a time, with the results in order."""

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from contextvars import copy_context
from typing import Any, Generic, NamedTuple, TypeVar

from kmeans_xp.blocks.reading_ahead import Failed
from kmeans_xp.kernels.threads import threads_each

__all__ = ["side_by_side"]

T = TypeVar("T")
R = TypeVar("R")


class _Job(NamedTuple, Generic[T]):
    number: int
    item: T


def side_by_side(
    function: Callable[[int, T], R], items: Generator[T], n_lanes: int, n_threads: int
) -> Generator[R]:
    """Yield ``function(number, item)`` for each item in order.

    A kernel that splits one block into tasks waits for its last task, and a reader beside it
    makes that wait longer. With one block for each thread, no thread waits for another.

    Parameters
    ----------
    function : callable
        Called in any lane, and never twice at once for the same item.
    items : generator
        One lane at a time advances it; it is closed at the end.
    n_lanes : int
        Number of items to work on at a time, including that of this thread; at least 1.
    n_threads : int
        Number of threads of a kernel in each lane.

    Yields
    ------
    object
        The results. The first error of ``items`` or of the function, in the order of the items,
        is raised here. When this generator ends or is closed, its threads have ended.
    """
    with closing(items):
        lanes = _Lanes(function, items, n_lanes, n_threads)
        try:
            yield from lanes.results()
        finally:
            lanes.stop()


class _Lanes(Generic[T, R]):
    def __init__(
        self, function: Callable[[int, T], R], items: Generator[T], n_lanes: int, n_threads: int
    ) -> None:
        self._function = function
        self._items = items
        self._n_threads = n_threads
        self._reading = threading.Lock()
        self._n_begun = 0
        self._is_over = False  # when set, no lane begins another item
        self._done = threading.Condition()
        self._results: dict[int, R | Failed] = {}
        # Bound the number of waiting results too: each may be large.
        self._room = threading.Semaphore(2 * n_lanes)
        self._threads = [
            # One context for each: contexts carry this thread's settings, and cannot be shared.
            threading.Thread(
                target=copy_context().run, args=(self._lane,), name="kmeans_xp-lane", daemon=True
            )
            for _ in range(n_lanes - 1)
        ]
        for thread in self._threads:
            thread.start()

    def results(self) -> Generator[R]:
        """Yield the results in order, and compute items in between."""
        number = 0
        while True:
            with self._done:
                has_result = number in self._results
            if not has_result:
                if self._room.acquire(blocking=False) and (job := self._begun()) is not None:
                    self._work(job)
                    continue
                if self._is_past_the_last(number):
                    return
                self._wait_for(number)
            yield self._taken(number)
            number += 1

    def stop(self) -> None:
        """Stop beginning items, and wait for the threads."""
        self._is_over = True
        for thread in self._threads:
            self._room.release()
            thread.join()

    def _lane(self) -> None:
        while self._room.acquire() and (job := self._begun()) is not None:
            self._work(job)

    def _begun(self) -> _Job[T] | None:
        """Return the next item; None after the last, or after an error."""
        with self._reading:
            if self._is_over:
                return None
            number = self._n_begun
            try:
                job = _Job(number, next(self._items))
            except StopIteration:
                self._is_over = True
                return None
            except BaseException as error:  # noqa: BLE001 (raised in the caller, in its turn)
                self._n_begun += 1
                self._is_over = True
                self._finish(number, Failed(error))
                return None
            self._n_begun += 1
            return job

    def _is_past_the_last(self, number: int) -> bool:
        with self._reading:
            return self._is_over and number >= self._n_begun

    def _work(self, job: _Job[T]) -> None:
        try:
            with threads_each(self._n_threads):
                result: R | Failed = self._function(job.number, job.item)
        except BaseException as error:  # noqa: BLE001 (raised in the caller, in its turn)
            self._is_over = True
            result = Failed(error)
        self._finish(job.number, result)

    def _finish(self, number: int, result: R | Failed) -> None:
        with self._done:
            self._results[number] = result
            self._done.notify()

    def _wait_for(self, number: int) -> None:
        with self._done:
            self._done.wait_for(lambda: number in self._results)

    def _taken(self, number: int) -> R:
        with self._done:
            result: Any = self._results.pop(number)
        self._room.release()
        if isinstance(result, Failed):
            raise result.error
        return result  # type: ignore[no-any-return]
