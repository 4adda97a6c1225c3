"""Lloyd steps, queued ahead of the host's convergence check; small ones in graphs of eight."""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import cupy
import numpy as np

from kmeans_xp.devices import Array, Namespace, begin_read
from kmeans_xp.kernels.for_cupy.labels import is_kernels_alone, reads_rows_once
from kmeans_xp.kernels.for_cupy.replay import Replay
from kmeans_xp.kernels.for_cupy.sums import Zeros, fused_update, updated_sums
from kmeans_xp.kernels.portable.assignment import ClusterTotals, nearest_labels
from kmeans_xp.kernels.portable.stepping import Step, Steps, batched_steps_of, steps_of
from kmeans_xp.kernels.portable.steps import (
    Update,
    lloyd_step,
    lloyd_step_batched,
    update_centroids,
)
from kmeans_xp.kernels.rows import DenseRows, Rows

__all__ = ["FEW_NUMBERS", "QueuedSteps", "StepsInGraphs", "step_and_update"]

#: amount of numbers that a GPU reads faster than its host launches a few kernels
FEW_NUMBERS = 2**22

#: To make a graph costs as much as some steps, so loops that end soon are faster without one.
_PLAIN_STEPS = 8
#: steps in a graph: each step after the last of a run wastes some ten microseconds
_STEPS_AT_ONCE = 8


@steps_of.override("cupy", rows=object)
def queued_steps(rows: Rows, reduce: Any, tol: float, *, xp: Namespace) -> Steps:
    """Queue the next step while the host waits for the last; small ones eight at a time."""
    if isinstance(rows, DenseRows) and _is_small(rows):
        return StepsInGraphs(rows, reduce, lloyd_step, xp=xp)
    return QueuedSteps(reduce, lloyd_step, xp=xp)


@batched_steps_of.override("cupy", rows=DenseRows)
def batched_while_small(rows: DenseRows, reduce: Any, *, xp: Namespace) -> Any:
    """Take the starts together if one start leaves most of the device idle."""
    return StepsInGraphs(rows, reduce, lloyd_step_batched, xp=xp) if _is_small(rows) else None


class QueuedSteps(Steps):
    """Queues each step before the host has read the signals of the one before it."""

    def __init__(self, reduce: Any, step: Any, *, xp: Namespace) -> None:
        super().__init__(reduce, step, xp=xp)
        self._next: _Begun | None = None
        self._zeros = Zeros()

    def take(self, centroids: Array, *, n_left: int) -> Step:
        """Return the step from these centroids; this waits once."""
        begun = self._next
        # If the loop continues from other centroids, drop the queued step.
        if begun is None or begun.source is not centroids:
            begun = self._begin(centroids)
        # Queue it before the wait below, so that the device does not wait for the host.
        self._next = self._begin(begun.update.centroids) if n_left > 1 else None
        return Step(centroids, begun.totals, begun.update, begun.read_signals())

    def _begin(self, centroids: Array) -> "_Begun":
        totals, update = self._queue(centroids)
        return _Begun(centroids, totals, update, begin_read(update.signals))

    def _queue(
        self, centroids: Array, signals: Array | None = None
    ) -> tuple[ClusterTotals, Update]:
        if self.step is lloyd_step:
            both: tuple[ClusterTotals, Update]
            both = self.reduce(step_and_update, centroids, self._zeros, signals)
            return both
        totals = self.reduce(self.step, centroids)
        return totals, _updated(totals, centroids, signals, xp=self.xp)


class StepsInGraphs(QueuedSteps):
    """Takes eight steps in one launch, after some that are queued, and reads their signals at once.

    Steps after the last one of a run, or after one that left a cluster empty, are dropped. Each
    step depends only on its centroids, so dropped steps do not change the results.
    """

    def __init__(self, rows: DenseRows, reduce: Any, step: Any, *, xp: Namespace) -> None:
        super().__init__(reduce, step, xp=xp)
        self._rows = rows
        self._n_plain = 0
        self._ahead: deque[Step] = deque()
        self._replay = Replay(self._queue_all)

    def take(self, centroids: Array, *, n_left: int) -> Step:
        """Return the step from these centroids; wait only if it is not ready yet."""
        if self._ahead and self._ahead[0].before is centroids:
            return self._ahead.popleft()
        can_record = is_kernels_alone(self._rows, centroids)
        if self._n_plain < _PLAIN_STEPS or n_left == 1 or not can_record:
            self._n_plain += 1
            is_last = can_record and self._n_plain == _PLAIN_STEPS
            return super().take(centroids, n_left=1 if is_last else n_left)
        self._ahead = deque(self._taken(centroids))
        return self._ahead.popleft()

    def _taken(self, centroids: Array) -> list[Step]:
        queued, signals = self._replay(centroids)
        steps = []
        for (totals, update), read in zip(queued, begin_read(signals)(), strict=True):
            steps.append(Step(centroids, totals, update, read))
            centroids = update.centroids
        return steps

    def _queue_all(
        self, centroids: Array
    ) -> tuple[tuple[tuple[ClusterTotals, Update], ...], Array]:
        signals = cupy.empty((_STEPS_AT_ONCE, *centroids.shape[:-2], 3), dtype=np.float64)
        queued = []
        for place in signals:
            queued.append(self._queue(centroids, place))
            centroids = queued[-1][1].centroids
        return tuple(queued), signals


class _Begun(NamedTuple):
    source: Array
    totals: ClusterTotals
    update: Update
    read_signals: Callable[[], np.ndarray[Any, Any]]


def step_and_update(
    rows: Rows,
    centroids: Array,
    zeros: Zeros | None = None,
    signals: Array | None = None,
    *,
    xp: Namespace,
) -> tuple[ClusterTotals, Update]:
    """Return the results of ``lloyd_step`` and ``update_centroids`` with fewer launches.

    The update's signals are written to ``signals`` if it is not None.
    """
    if isinstance(rows, DenseRows) and not reads_rows_once(rows, centroids):
        labels = nearest_labels(rows, centroids, xp=xp)
        both: Any = updated_sums(rows, labels, centroids, zeros or Zeros(), signals)
        if both is not NotImplemented:
            return both[0], both[1]
    totals = lloyd_step(rows, centroids, xp=xp)
    return totals, _updated(totals, centroids, signals, xp=xp)


def _updated(
    totals: ClusterTotals, centroids: Array, signals: Array | None, *, xp: Namespace
) -> Update:
    if signals is not None:
        update: Update = fused_update(totals, centroids, signals=signals, xp=xp)
        return update
    return update_centroids(totals, centroids, xp=xp)


def _is_small(rows: DenseRows) -> bool:
    """Return whether launching a step's kernels takes longer than running them."""
    return bool(rows.points.size <= FEW_NUMBERS)
