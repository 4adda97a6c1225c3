"""Steps of Lloyd's algorithm, the next one queued while the host waits for the last."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, begin_read
from kmeans_xp.kernels import ClusterTotals, Update, update_centroids

__all__ = ["Step", "Steps"]


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
    """Takes steps, and on an asynchronous device begins each before it is asked for.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    kernel : callable
        ``lloyd_step`` or ``lloyd_steps``.
    """

    def __init__(self, blocks: Blocks, kernel: Callable[..., ClusterTotals]) -> None:
        self.blocks = blocks
        self.kernel = kernel
        self._step = blocks.repeated(self._queued)
        self._ahead: _Begun | None = None

    def take(self, centroids: Array, *, is_last: bool) -> Step:
        """Return the step from these centroids, after the one wait of an iteration."""
        begun, self._ahead = self._ahead, None
        if begun is None or begun.source is not centroids:
            begun = self._begun(centroids)
        if self.blocks.is_asynchronous and not is_last:
            # Before the wait below, so that the device does not wait for the host. If these
            # are not the centroids to go on from, the work was for nothing.
            self._ahead = self._begun(begun.update.centroids)
        return Step(begun.before, begun.totals, begun.update, begun.read_signals())

    def _begun(self, centroids: Array) -> "_Begun":
        before, totals, update = self._step(centroids)
        return _Begun(centroids, before, totals, update, begin_read(update.signals))

    def _queued(self, centroids: Array) -> tuple[Array, ClusterTotals, Update]:
        totals = self.blocks.reduce(self.kernel, centroids)
        return centroids, totals, update_centroids(totals, centroids, xp=self.blocks.xp)


class _Begun(NamedTuple):
    source: Array
    before: Array  # the source, or the copy of it that a recorded step reads
    totals: ClusterTotals
    update: Update
    read_signals: Callable[[], np.ndarray[Any, Any]]
