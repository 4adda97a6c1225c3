"""Mini-batch k-means: move centroids by the means of small random samples of the rows."""

import copy
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from kmeans_xp.algorithms.drawing import draw_by_weight
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, Namespace, from_host, to_host
from kmeans_xp.kernels import ClusterTotals, Rows, batch_means, means_on_sphere, placed_at_rows

__all__ = [
    "MiniBatchResult",
    "MiniBatchStanding",
    "MiniBatchState",
    "MiniBatchStep",
    "Reassignment",
    "minibatch",
    "minibatch_start",
    "minibatch_step",
]

#: memory for batches that are fetched together, where the rows are not in one piece
_FETCHED_BYTES = 64 * 2**20
_FEWEST_FETCHED = 4

HostArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class MiniBatchState(NamedTuple):
    """The running means.

    Parameters
    ----------
    centroids : array of shape (n_clusters, n_features)
        Relative to the blocks' origin.
    mass : array of shape (n_clusters,)
        Total weight of the rows whose mean each centroid is.
    """

    centroids: Array
    mass: Array


class MiniBatchStep(NamedTuple):
    """What one step did, as numbers on the host.

    Parameters
    ----------
    number : int
        From 1.
    inertia : float
        Mean inertia a row of the batch, before the centroids moved.
    smoothed_inertia : float or None
        Its exponentially weighted average; None at the first step.
    sq_shift : float
        Sum of the squared distances that the centroids moved.
    n_reassigned : int
        Number of centroids that were moved to random rows.
    """

    number: int
    inertia: float
    smoothed_inertia: float | None
    sq_shift: float
    n_reassigned: int


class MiniBatchStanding(NamedTuple):
    """All that later steps depend on, except for the random numbers.

    Parameters
    ----------
    state : MiniBatchState
    steps : sequence of MiniBatchStep
        The steps so far.
    n_seen : int
        As in ``Reassignment``.
    """

    state: MiniBatchState
    steps: Sequence[MiniBatchStep]
    n_seen: int


class MiniBatchResult(NamedTuple):
    """Where mini-batch k-means stopped.

    Parameters
    ----------
    state : MiniBatchState
    steps : tuple of MiniBatchStep
    reason : str
        "max_iter", "small centers change" or "lack of improvement in inertia".
    """

    state: MiniBatchState
    steps: tuple[MiniBatchStep, ...]
    reason: str


class Reassignment:
    """Decides when centroids of little mass move to random rows of the batch, and which ones.

    Parameters
    ----------
    n_clusters : int
    ratio : float
        Move centroids with less than this share of the greatest mass; 0 moves none.
    n_seen : int
        Rows seen since the last reassignment.
    """

    def __init__(self, n_clusters: int, ratio: float, n_seen: int = 0) -> None:
        self.n_clusters = n_clusters
        self.ratio = ratio
        self.n_seen = n_seen

    def is_due(self, mass: HostArray, batch_size: int) -> bool:
        """Count the batch; True every 10 * n_clusters rows, or while a centroid has no mass."""
        self.n_seen += batch_size
        due = bool((mass == 0.0).any()) or self.n_seen >= 10 * self.n_clusters
        if due:
            self.n_seen = 0
        return due

    def low_mass(
        self, mass: HostArray, batch_size: int
    ) -> np.ndarray[tuple[int], np.dtype[np.bool]]:
        """Return which centroids to move: at most half as many as the batch has rows."""
        low: np.ndarray[tuple[int], np.dtype[np.bool]] = mass < self.ratio * mass.max()
        if low.sum() > 0.5 * batch_size:
            low[np.argsort(mass)[int(0.5 * batch_size) :]] = False
        return low


def minibatch_start(blocks: Blocks, centroids: Array) -> MiniBatchStanding:
    """Return the standing before the first step, from these centroids."""
    zeros = np.zeros(int(centroids.shape[0]))
    mass = from_host(zeros, xp=blocks.xp, device=blocks.device)
    return MiniBatchStanding(MiniBatchState(centroids, mass), (), 0)


def minibatch(
    blocks: Blocks,
    standing: MiniBatchStanding,
    random_state: np.random.RandomState,
    *,
    batch_size: int = 1024,
    max_iter: int = 100,
    tol: float = 0.0,
    max_no_improvement: int | None = 10,
    reassignment_ratio: float = 0.01,
    metric: str = "euclidean",
    on_step: Callable[[MiniBatchStanding], bool | None] | None = None,
) -> MiniBatchResult:
    """Run mini-batch k-means from the given standing on.

    Parameters
    ----------
    blocks : Blocks
        The rows; batches are drawn with replacement in proportion to weight.
    standing : MiniBatchStanding
        From ``minibatch_start``, or from ``on_step`` to continue as if never interrupted.
    random_state : RandomState
        Advanced as scikit-learn does.
    batch_size : int
        Rows of a step.
    max_iter : int
        Most passes over the rows.
    tol : float
        If positive: stop when the sum of squared centroid shifts is at most this.
    max_no_improvement : int or None
        Stop after this number of steps without a new minimum of the smoothed inertia.
    reassignment_ratio : float
        As ``ratio`` of ``Reassignment``.
    metric : {"euclidean", "cosine"}
        As in ``minibatch_step``.
    on_step : callable, optional
        Called after each step; returning True stops.

    Returns
    -------
    MiniBatchResult
        O(batch_size * n_clusters * n_features) time a step.

    References
    ----------
    .. [1] D. Sculley, "Web-scale k-means clustering", WWW 2010.
    """
    xp, n_steps = blocks.xp, (max_iter * blocks.n_points) // batch_size
    state, steps = standing.state, list(standing.steps)
    n_clusters = int(state.mass.shape[0])
    host_mass: HostArray = np.zeros(n_clusters)
    if steps:
        host_mass = to_host(state.mass).astype(np.float64)
    reassignment = Reassignment(n_clusters, reassignment_ratio, standing.n_seen)
    improvement = _Improvement(min(1.0, 2.0 * batch_size / (blocks.n_points + 1)), steps)
    end = _End(tol, max_no_improvement)
    batches = _Batches(blocks, random_state, batch_size)
    while end.reason(steps, improvement) is None and len(steps) < n_steps:
        batch = batches.next()
        due = reassignment if reassignment.is_due(host_mass, batch_size) else None
        state, host_mass, step = minibatch_step(
            batch, state, random_state, due, metric=metric, xp=xp
        )
        step = step._replace(number=len(steps) + 1)
        if steps:  # the first inertia is the seeding's
            step = step._replace(smoothed_inertia=improvement.smooth(step.inertia))
        steps.append(step)
        if on_step is not None and on_step(MiniBatchStanding(state, steps, reassignment.n_seen)):
            break
    reason = end.reason(steps, improvement) or "max_iter"
    return MiniBatchResult(state, tuple(steps), reason)


def minibatch_step(
    batch: Rows,
    state: MiniBatchState,
    random_state: np.random.RandomState,
    reassignment: Reassignment | None = None,
    *,
    metric: str = "euclidean",
    xp: Namespace,
) -> tuple[MiniBatchState, HostArray, MiniBatchStep]:
    """Move the centroids by one batch; waits for the device once, twice if it reassigns.

    Parameters
    ----------
    batch : Rows
    state : MiniBatchState
    random_state : RandomState
        Draws the rows that reassigned centroids are moved to.
    reassignment : Reassignment, optional
        Given if the step shall move centroids of little mass.
    metric : {"euclidean", "cosine"}
        "cosine" is for rows and centroids on a sphere: running means are scaled back to it.
    xp : namespace

    Returns
    -------
    MiniBatchState
        The moved centroids.
    array of shape (n_clusters,)
        Their mass, on the host.
    MiniBatchStep
        Numbered 1, without a smoothed inertia.
    """
    centroids, new_mass, signals = batch_means(batch, *state, xp=xp)
    if metric == "cosine":
        # A centroid without a row in the batch keeps its bits, like a cluster without mass.
        is_met = xp.astype(new_mass > state.mass, centroids.dtype)
        update = means_on_sphere(ClusterTotals(centroids, is_met), state.centroids, xp=xp)
        shift = xp.astype(update.signals[:1], signals.dtype, copy=False)
        centroids, signals = update.centroids, xp.concat([signals[:1], shift, signals[2:]])
    moved = MiniBatchState(centroids, new_mass)
    inertia, sq_shift, *host_mass = to_host(signals)
    mass: HostArray = np.asarray(host_mass, dtype=np.float64)
    n_reassigned = 0
    if reassignment is not None and reassignment.ratio > 0.0:
        low = reassignment.low_mass(mass, batch.n_points)
        n_reassigned = int(low.sum())
        if n_reassigned:
            moved, mass, sq_shift = _reassigned(
                batch, moved, state.centroids, mass, low, random_state, metric=metric, xp=xp
            )
    mean_inertia = float(inertia) / batch.n_points
    return moved, mass, MiniBatchStep(1, mean_inertia, None, float(sq_shift), n_reassigned)


class _Batches:
    """Rows drawn at random; several batches at a time where fetching may take a whole pass.

    A copy of the random state predicts the numbers of later batches. Where other draws came in
    between, the prediction is wrong and the fetched rows are dropped. So the batches do not
    depend on where the rows lie.
    """

    def __init__(
        self, blocks: Blocks, random_state: np.random.RandomState, batch_size: int
    ) -> None:
        self._blocks = blocks
        self._random_state = random_state
        self._size = batch_size
        self._fetched: deque[tuple[HostArray, Rows]] = deque()
        self._n_used = 0

    def next(self) -> Rows:
        """Return the next batch."""
        uniforms = self._random_state.random_sample(self._size)
        if self._blocks.whole is not None:
            return self._drawn(uniforms)
        if not self._fetched or not np.array_equal(self._fetched[0][0], uniforms):
            self._fetch(uniforms)
        self._n_used += 1
        return self._fetched.popleft()[1]

    def _fetch(self, uniforms: HostArray) -> None:
        """Fetch a batch and those likely to follow: twice as many as were used last time."""
        row_bytes = self._blocks.n_features * 8
        most = max(1, _FETCHED_BYTES // (self._size * row_bytes))
        n_fetched = min(most, max(_FEWEST_FETCHED, 2 * self._n_used))
        later = copy.deepcopy(self._random_state)
        every = [uniforms, *(later.random_sample(self._size) for _ in range(1, n_fetched))]
        rows = self._drawn(np.concatenate(every))
        parts = (part for _, part in rows.tiles(self._size))
        self._fetched = deque(zip(every, parts, strict=True))
        self._n_used = 0

    def _drawn(self, uniforms: HostArray) -> Rows:
        # Weights decide which rows are drawn; within the batch each row counts once.
        return self._blocks.gathered(draw_by_weight(self._blocks, uniforms)).unweighted()


class _Improvement:
    """An exponentially weighted average, and the steps since its last new minimum."""

    def __init__(self, alpha: float, steps: Sequence[MiniBatchStep] = ()) -> None:
        self.alpha = alpha
        self.average: float | None = None
        self.least = math.inf
        self.n_without = 0
        for step in steps[1:]:
            self.smooth(step.inertia)

    def smooth(self, inertia: float) -> float:
        if self.average is None:
            self.average = inertia
        else:
            self.average = self.average * (1.0 - self.alpha) + inertia * self.alpha
        if self.average < self.least:
            self.least, self.n_without = self.average, 0
        else:
            self.n_without += 1
        return self.average


class _End(NamedTuple):
    """When to stop before the last pass."""

    tol: float
    max_no_improvement: int | None

    def reason(self, steps: Sequence[MiniBatchStep], improvement: _Improvement) -> str | None:
        """Return why to stop after these steps, or None."""
        if len(steps) > 1 and 0.0 < self.tol >= steps[-1].sq_shift:
            return "small centers change"
        most = self.max_no_improvement
        if steps and most is not None and improvement.n_without >= most:
            return "lack of improvement in inertia"
        return None


def _reassigned(
    batch: Rows,
    state: MiniBatchState,
    before: Array,
    mass: HostArray,
    low: np.ndarray[tuple[int], np.dtype[np.bool]],
    random_state: np.random.RandomState,
    *,
    metric: str,
    xp: Namespace,
) -> tuple[MiniBatchState, HostArray, float]:
    """Return the state with some centroids at rows, its mass, and the squared shift of all."""
    from_batch = np.zeros(len(low), dtype=np.int64)
    from_batch[low] = random_state.choice(batch.n_points, replace=False, size=int(low.sum()))
    # With a smaller mass, they would be moved again at once.
    mass = np.where(low, mass[~low].min() if not low.all() else mass, mass)
    indices, is_low, new_mass = (
        from_host(part, xp=xp, device=batch.device) for part in (from_batch, low, mass)
    )
    if metric == "cosine" and batch.weights is not None:
        # A row of weight 0 may be zeros, which no centroid may be.
        is_low = is_low & (xp.take(batch.weights, indices) > 0.0)
    placed = placed_at_rows(batch, state.centroids, before, indices, is_low, xp=xp)
    new = MiniBatchState(placed.centroids, xp.astype(new_mass, state.mass.dtype, copy=False))
    return new, mass, float(placed.sq_shift)
