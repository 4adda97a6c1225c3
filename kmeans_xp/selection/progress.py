"""Run tasks in threads, and report how much is done."""

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
    """Counts and reports the parts that are done.

    Parameters
    ----------
    progress : bool or callable
        True writes one line to stderr and updates it; a callable gets the number of parts done
        and the number of all parts.
    n_parts : int
        Number of all parts.
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
    """Yield the results of the tasks in their order; ``n_jobs`` threads compute them."""

    def run(task: Callable[[], Any]) -> Any:
        # Each thread has its own current device and settings of config_context: set them.
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
