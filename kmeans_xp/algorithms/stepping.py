"""Steps of Lloyd's algorithm, some of them begun before the host has seen the last."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, begin_read
from kmeans_xp.kernels import (
    ClusterTotals,
    LloydRun,
    Update,
    lloyd_run,
    lloyd_step,
    update_centroids,
)

__all__ = ["Step", "Steps"]

#: steps that are taken in one call, where that is cheaper: more would only hold more memory
_STEPS_AHEAD = 16


class Step(NamedTuple):
    """One step: on the device, but for its signals.

    Parameters
    ----------
    before : array
        The centroids that the rows were assigned to.
    totals : ClusterTotals
        Of the rows nearest to them.
    update : Update
        The new centroids.
    signals : ndarray
        ``update.signals``, on the host.
    """

    before: Array
    totals: ClusterTotals
    update: Update
    signals: np.ndarray[Any, Any]


class Steps:
    """Takes steps, and begins some before they are asked for where that pays.

    On an asynchronous device the next step is queued while the host waits for the last. Small
    problems on a host take several steps in one call of compiled code.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    kernel : callable
        ``lloyd_step`` or ``lloyd_steps``.
    tol : float
        A step that moves the centroids by no more is the last that is asked for.
    """

    def __init__(
        self, blocks: Blocks, kernel: Callable[..., ClusterTotals], *, tol: float = 0.0
    ) -> None:
        self.blocks = blocks
        self.kernel = kernel
        self.tol = tol
        self._step = blocks.repeated(self._queued)
        self._ahead: deque[_Begun] = deque()

    def take(self, centroids: Array, *, n_left: int) -> Step:
        """Return the step from these centroids, one of at most ``n_left``, after the one wait."""
        if not self._ahead or self._ahead[0].source is not centroids:
            # If these are not the centroids to go on from, what was begun was for nothing.
            self._ahead.clear()
            self._begin(centroids, n_left)
        begun = self._ahead.popleft()
        if self.blocks.is_asynchronous and n_left > 1:
            # Before the wait below, so that the device does not wait for the host.
            self._begin(begun.update.centroids, n_left - 1)
        return Step(begun.before, begun.totals, begun.update, begun.read_signals())

    def _begin(self, centroids: Array, n_left: int) -> None:
        if self.kernel is lloyd_step and self.blocks.is_whole:
            self._run_ahead(centroids, min(n_left, _STEPS_AHEAD))
            return
        before, totals, update = self._step(centroids)
        self._ahead.append(_Begun(centroids, before, totals, update, begin_read(update.signals)))

    def _run_ahead(self, centroids: Array, n_steps: int) -> None:
        run: LloydRun = self.blocks.reduce(lloyd_run, centroids, n_steps, self.tol)
        (sums, mass), (new, signals) = run
        for number, read in enumerate(begin_read(signals)()):
            totals = ClusterTotals(sums[number, ...], mass[number, ...])
            update = Update(new[number, ...], signals[number, ...])
            self._ahead.append(_Begun(centroids, centroids, totals, update, partial(_same, read)))
            centroids = update.centroids

    def _queued(self, centroids: Array) -> tuple[Array, ClusterTotals, Update]:
        totals = self.blocks.reduce(self.kernel, centroids)
        return centroids, totals, update_centroids(totals, centroids, xp=self.blocks.xp)


def _same(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return value


class _Begun(NamedTuple):
    source: Array
    before: Array  # the source, or the copy of it that a recorded step reads
    totals: ClusterTotals
    update: Update
    read_signals: Callable[[], np.ndarray[Any, Any]]
