"""Work in threads, of which it is told how much is done."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any

import joblib

from kmeans_xp.devices import Placement

__all__ = ["Progress", "in_order"]

Teller = Callable[[int, int], object]


class Progress:
    """Counts what is done.

    Parameters
    ----------
    progress : bool or callable
        True for a line on stderr, which is written over; a callable is given the number of
        parts that are done, and of all.
    n_parts : int
        Parts of all the work.
    """

    def __init__(self, progress: bool | Teller, n_parts: int) -> None:
        self.n_parts, self.n_done = n_parts, 0
        self.tell: Teller | None = _line if progress is True else (progress or None)

    def step(self) -> None:
        """Count one part."""
        self.n_done += 1
        if self.tell is not None:
            self.tell(self.n_done, self.n_parts)


def in_order(
    tasks: Sequence[Callable[[], Any]], n_jobs: int | None, placement: Placement, progress: Progress
) -> Iterator[Any]:
    """Yield the results of the tasks in their order, computed by so many threads."""

    def run(task: Callable[[], Any]) -> Any:
        # The current device is a thread's own, as are the settings of config_context.
        with placement.working():
            return task()

    calls = (joblib.delayed(copy_context().run)(partial(run, task)) for task in tasks)
    parallel = joblib.Parallel(n_jobs=n_jobs, require="sharedmem", return_as="generator")
    for result in parallel(calls):
        progress.step()
        yield result


def _line(n_done: int, n_parts: int) -> None:
    end = "\n" if n_done == n_parts else ""
    sys.stderr.write(f"\rchoosing the number of clusters: {n_done} of {n_parts} parts{end}")
    sys.stderr.flush()
