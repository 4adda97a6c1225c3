"""Lloyd steps, queued ahead of the host's convergence check; small ones in graphs of eight."""

import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import cupy
import numpy as np

from kmeans_xp.devices import Array, Namespace, begin_read, free_memory
from kmeans_xp.kernels.for_cupy.labels import (
    bytes_of_run,
    is_kernels_alone,
    running_minimum_labels,
    totals_in_a_pass,
)
from kmeans_xp.kernels.for_cupy.launching import NEVER, ManyRows, Stop
from kmeans_xp.kernels.for_cupy.replay import Replay
from kmeans_xp.kernels.for_cupy.sums import Zeros, fused_update, updated_sums
from kmeans_xp.kernels.portable.assignment import ClusterTotals
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
#: steps in a graph: each step after the last of a run wastes the launches of kernels that return
_STEPS_AT_ONCE = 8


@steps_of.override("cupy", rows=object)
def queued_steps(
    rows: Rows, reduce: Any, tol: float, update: Callable[..., Update], *, xp: Namespace
) -> Any:
    """Queue the next step while the host waits for the last; small ones eight at a time."""
    if update is not update_centroids:
        return NotImplemented
    if isinstance(rows, DenseRows) and _is_small(rows):
        return StepsInGraphs(rows, reduce, tol, xp=xp)
    return QueuedSteps(reduce, tol, xp=xp)


@batched_steps_of.override("cupy", rows=DenseRows)
def batched_while_small(rows: DenseRows, reduce: Any, tol: float, *, xp: Namespace) -> Any:
    """Take the starts together if one start leaves most of the device idle."""
    return StepsInGraphs(rows, reduce, tol, xp=xp) if _is_small(rows) else None


class QueuedSteps(Steps):
    """Queues each step before the host has read the signals of the one before it.

    The kernels of a step do nothing for a run that the step before ended: it moved the centroids by
    ``tol`` or less, or left a cluster empty. If a run ends otherwise, the queued step is dropped.

    Parameters
    ----------
    reduce : callable
        As in ``Blocks.reduce``.
    tol : float or ndarray of shape (n_runs,)
        As for ``lloyd``.
    xp : namespace
    """

    def __init__(self, reduce: Any, tol: float | np.ndarray[Any, Any], *, xp: Namespace) -> None:
        super().__init__(reduce, step_and_update, xp=xp)
        self._tol = tol
        self._most_shift: Array | None = None
        self._next: _Begun | None = None
        self._zeros = Zeros()

    def take(self, centroids: Array, *, n_left: int) -> Step:
        """Return the step from these centroids; this waits once."""
        begun = self._next
        # If the loop continues from other centroids, drop the queued step.
        if begun is None or begun.source is not centroids:
            begun = self._begin(centroids, NEVER)
        # Queue it before the wait below, so that the device does not wait for the host.
        update, self._next = begun.update, None
        if n_left > 1:
            self._next = self._begin(update.centroids, self._stop_after(update.signals))
        signals = begun.read_signals()
        if self._has_ended(signals):
            self._next = None  # where it may stop, it did nothing
        return Step(centroids, begun.totals, update, signals)

    def _begin(self, centroids: Array, stop: Stop) -> "_Begun":
        totals, update = self.reduce(self.step, centroids, self._zeros, stop)
        return _Begun(centroids, totals, update, begin_read(update.signals))

    def _stop_after(self, signals: Array) -> Stop:
        if self._most_shift is None:
            self._most_shift = _on_device(self._tol, signals.shape[:-1])
        return Stop(signals, self._most_shift)

    def _has_ended(self, signals: np.ndarray[Any, Any]) -> bool:
        """Return whether all runs end after a step with these signals, as kernels see it."""
        has_stopped = (signals[..., 0] <= self._tol) | (signals[..., 1] > 0.0)
        return bool(has_stopped.all())


class StepsInGraphs(QueuedSteps):
    """Takes eight steps in one launch, after some that are queued, and reads their signals at once.

    Steps after one that ends the run otherwise than by ``tol`` or an empty cluster are dropped.
    Each step depends only on its centroids, so that changes no result.

    Parameters
    ----------
    rows : DenseRows or ManyRows
    reduce : callable
        As in ``Blocks.reduce``, over these rows.
    tol : float or ndarray of shape (n_runs,)
        As for ``lloyd``.
    xp : namespace
    """

    def __init__(
        self,
        rows: DenseRows | ManyRows,
        reduce: Any,
        tol: float | np.ndarray[Any, Any],
        *,
        xp: Namespace,
    ) -> None:
        super().__init__(reduce, tol, xp=xp)
        self._rows = rows
        self._n_plain = 0
        self._has_room: bool | None = None
        self._ahead: deque[Step] = deque()
        self._replay = Replay(self._queue_all)

    def take(self, centroids: Array, *, n_left: int) -> Step:
        """Return the step from these centroids; wait only if it is not ready yet."""
        if self._ahead and self._ahead[0].before is centroids:
            return self._ahead.popleft()
        can_record = is_kernels_alone(self._rows, centroids) and self._has_room_for(centroids)
        if self._n_plain < _PLAIN_STEPS or n_left == 1 or not can_record:
            self._n_plain += 1
            is_last = can_record and self._n_plain == _PLAIN_STEPS
            return super().take(centroids, n_left=1 if is_last else n_left)
        if self._most_shift is None:
            self._most_shift = _on_device(self._tol, centroids.shape[:-2])
        self._ahead = deque(self._taken(centroids))
        return self._ahead.popleft()

    def _has_room_for(self, centroids: Array) -> bool:
        """Return whether two records, whose pools free nothing, fit beside the plain steps."""
        if self._has_room is None:
            *runs, n_clusters, n_features = centroids.shape
            of_a_step = math.prod(runs) * bytes_of_run(self._rows.n_points, n_clusters, n_features)
            free = free_memory(self.xp, centroids.device)
            self._has_room = free is None or 3 * of_a_step <= free
        return self._has_room

    def _stop_after(self, signals: Array) -> Stop:
        """Stop none of the first steps: to copy the tolerance takes as long as a small step."""
        return NEVER

    def kept(self, centroids: Array) -> Array:
        """Copy them: as long as they live, so does the scratch of eight steps."""
        return centroids.copy() if self._replay.records else centroids

    def _taken(self, centroids: Array) -> list[Step]:
        queued, signals = self._replay(centroids)
        steps = []
        for (totals, update), read in zip(queued, begin_read(signals)(), strict=True):
            steps.append(Step(centroids, totals, update, read))
            if self._has_ended(read):
                break  # the kernels of later steps did nothing
            centroids = update.centroids
        return steps

    def _queue_all(
        self, centroids: Array
    ) -> tuple[tuple[tuple[ClusterTotals, Update], ...], Array]:
        signals = cupy.empty((_STEPS_AT_ONCE, *centroids.shape[:-2], 3), dtype=np.float64)
        queued, stop = [], NEVER
        for place in signals:
            both = self.reduce(stopping_step, centroids, self._zeros, place, stop)
            queued.append(both)
            centroids, stop = both[1].centroids, Stop(place, self._most_shift)
        return tuple(queued), signals


class _Begun(NamedTuple):
    source: Array
    totals: ClusterTotals
    update: Update
    read_signals: Callable[[], np.ndarray[Any, Any]]


def step_and_update(
    rows: Rows | ManyRows,
    centroids: Array,
    zeros: Zeros | None = None,
    stop: Stop = NEVER,
    *,
    xp: Namespace,
) -> tuple[ClusterTotals, Update]:
    """Return the results of ``lloyd_step`` and ``update_centroids`` with fewer launches.

    If centroids begin with an axis of runs, so do the results, as of ``lloyd_step_batched``. If a
    run has to stop, its results may be those of ``stopping_step``.
    """
    if isinstance(rows, ManyRows) or (
        isinstance(rows, DenseRows) and is_kernels_alone(rows, centroids)
    ):
        return stopping_step(rows, centroids, zeros or Zeros(), stop=stop, xp=xp)
    step = lloyd_step if centroids.ndim == 2 else lloyd_step_batched
    totals = step(rows, centroids, xp=xp)
    return totals, update_centroids(totals, centroids, xp=xp)


def stopping_step(
    rows: DenseRows | ManyRows,
    centroids: Array,
    zeros: Zeros,
    signals: Array | None = None,
    stop: Stop = NEVER,
    *,
    xp: Namespace,
) -> tuple[ClusterTotals, Update]:
    """Return the results of ``step_and_update`` where it only launches kernels.

    The update's signals are written to ``signals`` if it is not None. If a run has to stop, these
    are the signals of the step before, its centroids are those given, and its totals mean nothing.
    """
    totals = totals_in_a_pass(rows, centroids, stop)
    if totals is not None:
        return totals, fused_update(totals, centroids, signals, stop, xp=xp)
    labels = running_minimum_labels(rows, centroids, stop, xp=xp)
    both: tuple[ClusterTotals, Update]
    both = updated_sums(rows, labels, centroids, zeros, signals, stop)
    return both


def _on_device(tol: float | np.ndarray[Any, Any], shape: tuple[int, ...]) -> Array:
    """Return the tolerance of each run; copy nothing from the host if it is one number."""
    if isinstance(tol, np.ndarray):
        return cupy.asarray(tol, dtype=np.float64)
    return cupy.full(shape, tol, dtype=np.float64)


def _is_small(rows: DenseRows) -> bool:
    """Return whether launching a step's kernels takes longer than running them."""
    return bool(rows.points.size <= FEW_NUMBERS)
