"""Lloyd steps, queued ahead of the host's convergence check, and small ones as CUDA graphs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.devices import Array, Namespace, begin_read
from kmeans_xp.kernels.for_cupy.labels import is_kernels_alone, reads_rows_once
from kmeans_xp.kernels.for_cupy.replay import Replay
from kmeans_xp.kernels.for_cupy.sums import Zeros, updated_sums
from kmeans_xp.kernels.portable.assignment import ClusterTotals, nearest_labels
from kmeans_xp.kernels.portable.stepping import Step, Steps, batched_steps_of, steps_of
from kmeans_xp.kernels.portable.steps import (
    Update,
    lloyd_step,
    lloyd_step_batched,
    update_centroids,
)
from kmeans_xp.kernels.rows import DenseRows, Rows

__all__ = ["step_and_update"]

#: numbers that a GPU reads in less time than its host takes to launch a few kernels
_FEW_NUMBERS = 2**22


@steps_of.override("cupy", rows=object)
def queued_steps(rows: Rows, reduce: Any, tol: float, *, xp: Namespace) -> Steps:
    """Queue the next step while the host waits for the last."""
    return QueuedSteps(rows, reduce, lloyd_step, xp=xp)


@batched_steps_of.override("cupy", rows=DenseRows)
def batched_while_small(rows: DenseRows, reduce: Any, *, xp: Namespace) -> Any:
    """Take them together where one start leaves most of the device idle."""
    return QueuedSteps(rows, reduce, lloyd_step_batched, xp=xp) if _is_small(rows) else None


class QueuedSteps(Steps):
    """Queues each step before the host has read the signals of the one before it."""

    def __init__(self, rows: Rows, reduce: Any, step: Any, *, xp: Namespace) -> None:
        super().__init__(reduce, step, xp=xp)
        self._queued: Callable[[Array], tuple[Array, ClusterTotals, Update]] = self._queue
        if isinstance(rows, DenseRows) and _is_small(rows):
            self._queued = Replay(self._queue, lambda given: is_kernels_alone(rows, given))
        self._next: _Begun | None = None
        self._zeros = Zeros()

    def take(self, centroids: Array, *, n_left: int) -> Step:
        """Return the step from these centroids, after the one wait."""
        begun = self._next
        # If these are not the centroids to go on from, what was begun was for nothing.
        if begun is None or begun.source is not centroids:
            begun = self._begin(centroids)
        # Before the wait below, so that the device does not wait for the host.
        self._next = self._begin(begun.update.centroids) if n_left > 1 else None
        return Step(begun.before, begun.totals, begun.update, begun.read_signals())

    def _begin(self, centroids: Array) -> "_Begun":
        before, totals, update = self._queued(centroids)
        return _Begun(centroids, before, totals, update, begin_read(update.signals))

    def _queue(self, centroids: Array) -> tuple[Array, ClusterTotals, Update]:
        if self.step is lloyd_step:
            totals, update = self.reduce(step_and_update, centroids, self._zeros)
        else:
            totals = self.reduce(self.step, centroids)
            update = update_centroids(totals, centroids, xp=self.xp)
        return centroids, totals, update


class _Begun(NamedTuple):
    source: Array
    before: Array  # the source, or the copy of it that a recorded step reads
    totals: ClusterTotals
    update: Update
    read_signals: Callable[[], np.ndarray[Any, Any]]


def step_and_update(
    rows: Rows, centroids: Array, zeros: Zeros | None = None, *, xp: Namespace
) -> tuple[ClusterTotals, Update]:
    """Return what ``lloyd_step`` and ``update_centroids`` give, with their launches as one."""
    if isinstance(rows, DenseRows) and not reads_rows_once(rows, centroids):
        labels = nearest_labels(rows, centroids, xp=xp)
        both: Any = updated_sums(rows, labels, centroids, zeros or Zeros())
        if both is not NotImplemented:
            return both[0], both[1]
    totals = lloyd_step(rows, centroids, xp=xp)
    return totals, update_centroids(totals, centroids, xp=xp)


def _is_small(rows: DenseRows) -> bool:
    """Return whether launching a step's kernels takes longer than running them."""
    return bool(rows.points.size <= _FEW_NUMBERS)
