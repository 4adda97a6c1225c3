"""Ways to take the steps of Lloyd's algorithm: one after another, or several at a time."""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.devices import Array, Namespace, to_host
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable.assignment import ClusterTotals, nearest_labels
from kmeans_xp.kernels.portable.steps import LloydSteps, Update, lloyd_steps, update_centroids
from kmeans_xp.kernels.rows import Rows

__all__ = ["Step", "Steps", "StepsInOneCall", "batched_steps_of", "steps_of"]

#: most steps in one call, where that is faster, of many centroids and of few. What a call prepares
#: serves all its steps, but they take memory
_STEPS_AHEAD, _MOST_STEPS_AHEAD = 16, 64
#: most numbers of the centroids in a call of more than ``_STEPS_AHEAD`` steps
_NUMBERS_AHEAD = 2**12

Reduce = Callable[..., Any]


class Step(NamedTuple):
    """The result of one step; all of it except ``signals`` is on the device.

    Parameters
    ----------
    before : array
        The centroids before the step.
    totals : ClusterTotals or None
        Of the rows nearest to them. None only if no cluster is empty: they are not needed then.
    update : Update
        The new centroids.
    signals : ndarray
        ``update.signals``, on the host.
    """

    before: Array
    totals: ClusterTotals | None
    update: Update
    signals: np.ndarray[Any, Any]


class Steps:
    """Takes steps one after another; each is a pass over the rows.

    Parameters
    ----------
    reduce : callable
        As in ``Blocks.reduce``, over the rows.
    step : callable
        ``lloyd_step``, or a function that gives the same totals.
    labels : callable
        ``nearest_labels``, or a function that gives the same labels; for the end of the run.
    update : callable
        ``update_centroids``, or ``means_on_sphere``.
    xp : namespace
    """

    def __init__(
        self,
        reduce: Reduce,
        step: Callable[..., Any],
        labels: Callable[..., Array] = nearest_labels,
        update: Callable[..., Update] = update_centroids,
        *,
        xp: Namespace,
    ) -> None:
        self.reduce = reduce
        self.step = step
        self.labels = labels
        self.update = update
        self.xp = xp

    def take(self, centroids: Array, *, n_left: int) -> Step:
        """Take one step from these centroids, of at most ``n_left``; waits for the device once."""
        totals = self.reduce(self.step, centroids)
        update = self.update(totals, centroids, xp=self.xp)
        return Step(centroids, totals, update, to_host(update.signals))

    def kept(self, centroids: Array) -> Array:
        """Return centroids of a step in memory that may outlive the steps."""
        return centroids


class StepsInOneCall(Steps):
    """Takes several steps by one call of ``lloyd_steps``, and returns them one by one.

    Parameters
    ----------
    reduce : callable
        As for ``Steps``; so are ``update``, ``labels`` and ``xp``.
    tol : float
        As for ``steps_of``.
    update : callable
    steps : callable
        ``lloyd_steps``, or a function that gives the same steps.
    labels : callable
    xp : namespace
    """

    def __init__(
        self,
        reduce: Reduce,
        tol: float,
        update: Callable[..., Update],
        steps: Callable[..., LloydSteps] = lloyd_steps,
        labels: Callable[..., Array] = nearest_labels,
        *,
        xp: Namespace,
    ) -> None:
        super().__init__(reduce, steps, labels, update, xp=xp)
        self.tol = tol
        self._ahead: deque[Step] = deque()

    def take(self, centroids: Array, *, n_left: int) -> Step:
        """Return the step from these centroids."""
        # If the run goes on from other centroids, the steps ahead are of no use.
        if not self._ahead or self._ahead[0].before is not centroids:
            n_clusters, n_features = centroids.shape
            n_steps = min(_MOST_STEPS_AHEAD, _NUMBERS_AHEAD // (n_clusters * n_features))
            self._ahead = deque(self._taken(centroids, min(n_left, max(_STEPS_AHEAD, n_steps))))
        return self._ahead.popleft()

    def kept(self, centroids: Array) -> Array:
        """Return a copy: those of all steps of a call lie in one array."""
        return self.xp.asarray(centroids, copy=True)

    def _taken(self, centroids: Array, n_steps: int) -> list[Step]:
        taken: LloydSteps = self.reduce(self.step, centroids, n_steps, self.tol, self.update)
        (sums, mass), (new, signals) = taken
        steps = []
        for number, read in enumerate(to_host(signals)):
            update = Update(new[number, ...], read)
            # Take totals out of the arrays only where they are needed: each slice takes as long
            # as some iterations on few rows.
            has_empty = read[1] > 0.0
            totals = ClusterTotals(sums[number, ...], mass[number, ...]) if has_empty else None
            steps.append(Step(centroids, totals, update, read))
            centroids = update.centroids
        return steps


@kernel()
def steps_of(
    rows: Rows,  # noqa: ARG001 (what overrides look at)
    reduce: Reduce,
    tol: float,
    update: Callable[..., Update],
    *,
    xp: Namespace,
) -> Steps:
    """Return the ``Steps`` of one run over rows on one device, in one piece.

    Parameters
    ----------
    rows : Rows of n_points
    reduce : callable
        As in ``Blocks.reduce``, over these rows.
    tol : float
        The run ends after a step that moves the centroids by at most this (sum of squares).
    update : callable
        ``update_centroids``, or ``means_on_sphere``.
    xp : namespace

    Returns
    -------
    Steps
        Each step has the bits of ``lloyd_step`` and ``update``.
    """
    return StepsInOneCall(reduce, tol, update, xp=xp)


@kernel()
def batched_steps_of(
    rows: Rows,  # noqa: ARG001 (what overrides look at)
    reduce: Reduce,  # noqa: ARG001
    tol: float,  # noqa: ARG001
    *,
    xp: Namespace,  # noqa: ARG001
) -> Steps | None:
    """Return ``Steps`` from several starts at once, or None where single runs are as fast.

    Parameters
    ----------
    rows : Rows of n_points
    reduce : callable
        As in ``Blocks.reduce``, over these rows.
    tol : float
        As in ``steps_of``, for each run.
    xp : namespace

    Returns
    -------
    Steps or None
        Takes centroids of shape (n_restarts, n_clusters, n_features), like
        ``lloyd_step_batched``. Totals of a run after its last step mean nothing.
    """
    return None
