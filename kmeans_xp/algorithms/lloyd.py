"""Lloyd's algorithm: assign each row to its nearest centroid, move centroids to the means."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kmeans_xp.algorithms.bounded import bounds_for
from kmeans_xp.algorithms.circles import n_steps_of_circle
from kmeans_xp.algorithms.constrained import ConstrainedStep
from kmeans_xp.algorithms.relocation import relocated
from kmeans_xp.algorithms.transport import SizeBounds
from kmeans_xp.blocks import Blocks, PerRow
from kmeans_xp.devices import Array
from kmeans_xp.kernels import (
    Step,
    Steps,
    StepsInOneCall,
    Update,
    assigned_inertia,
    lloyd_step,
    means_on_sphere,
    nearest_labels,
    steps_of,
    update_centroids,
)

__all__ = ["METRICS", "UPDATES", "Iteration", "LloydResult", "inertia_of", "lloyd"]

#: how each metric makes new centroids from cluster totals; for cosine distances, the rows lie on
#: a sphere
UPDATES: dict[str, Callable[..., Update]] = {
    "euclidean": update_centroids,
    "cosine": means_on_sphere,
}
METRICS = tuple(UPDATES)


class Iteration(NamedTuple):
    """What one iteration did, as numbers on the host.

    Parameters
    ----------
    number : int
        From 1.
    explained : float
        What the centroids before the update explain of the sum of squares about the origin; the
        inertia is that sum less this.
    sq_shift : float
        Sum of the squared distances that the centroids moved.
    n_empty : int
        Clusters that had lost all their rows, before they got new ones.
    """

    number: int
    explained: float
    sq_shift: float
    n_empty: int


class LloydResult(NamedTuple):
    """Where Lloyd's algorithm stopped.

    Parameters
    ----------
    centroids : array of shape (n_clusters, n_features)
        Relative to the blocks' origin.
    labels : PerRow of int32
        The nearest of these centroids, for each row. With ``sizes``, the labels within the bounds
        that have the smallest inertia.
    inertia : float
        Of these labels and centroids, in squared units of the points; NaN if nobody asked for it.
    iterations : tuple of Iteration
    """

    centroids: Array
    labels: PerRow
    inertia: float
    iterations: tuple[Iteration, ...]


def lloyd(
    blocks: Blocks,
    centroids: Array,
    *,
    max_iter: int = 300,
    tol: float = 0.0,
    algorithm: str = "lloyd",
    metric: str = "euclidean",
    sizes: SizeBounds | None = None,
    before: Sequence[Iteration] = (),
    on_iteration: Callable[[Iteration, Array], bool | None] | None = None,
    with_inertia: bool = True,
) -> LloydResult:
    """Run Lloyd's algorithm from the given centroids.

    Sums are added in a fixed order. So equal labels give equal centroids, and a shift of zero
    means strict convergence. Where rows differ only by rounding, labels may alternate for ever:
    a run also ends where its last iterations repeat those before them, and more steps lead to the
    same centroids.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    centroids : array of shape (n_clusters, n_features)
        The initial ones, relative to the blocks' origin.
    max_iter : int
        At least 1.
    tol : float
        Stop when the sum of squared centroid shifts is at most this (squared units). Below 0, a
        run takes all ``max_iter`` steps.
    algorithm : {"lloyd", "auto", "hamerly", "elkan"}
        Whether to keep bounds of each row's distances ("elkan" is "hamerly"). The result is
        bit-equal; bounds take 12 or 20 bytes a row. For two clusters of many features, they take
        24 or 40, and up to two bytes for each number.
    metric : {"euclidean", "cosine"}
        "cosine" is for rows and centroids on a sphere around zero: the algorithm is then
        spherical k-means [2]_.
    sizes : SizeBounds, optional
        How many rows a cluster may have; the rows must be in one piece. Labels are then those
        within the bounds that have the smallest inertia.
    before : sequence of Iteration
        The iterations that led to these centroids. The run continues as if it had not been
        interrupted.
    on_iteration : callable, optional
        Called with each iteration and its centroids; returning True stops.
    with_inertia : bool
        Whether to measure the inertia, which takes a visit to the rows.

    Returns
    -------
    LloydResult
        O(n_points * n_clusters * n_features) time an iteration.

    References
    ----------
    .. [1] S. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information
       Theory 28 (1982).
    .. [2] I. S. Dhillon and D. S. Modha, "Concept decompositions for large sparse text data using
       clustering", Machine Learning 42 (2001).
    """
    steps = steps_over(blocks, int(centroids.shape[0]), algorithm, tol, metric, sizes)
    iterations = list(before)
    while len(iterations) < max_iter and not has_ended(
        blocks, centroids, iterations, tol, metric, sizes
    ):
        step = steps.take(centroids, n_left=max_iter - len(iterations))
        centroids, iteration = updated(blocks, step, len(iterations) + 1, steps.update)
        iterations.append(iteration)
        if on_iteration is not None and on_iteration(iteration, centroids):
            break
    return finished(blocks, centroids, iterations, steps, with_inertia=with_inertia)


def has_ended(
    blocks: Blocks,
    centroids: Array,
    iterations: Sequence[Iteration],
    tol: float,
    metric: str = "euclidean",
    sizes: SizeBounds | None = None,
) -> bool:
    """Return whether the centroids have converged, or go round in a circle."""
    if not iterations or tol < 0.0:
        return False
    if iterations[-1].sq_shift <= tol:
        return True
    n_steps = n_steps_of_circle(iterations)
    if not n_steps:
        return False
    # Numbers also repeat where a run gains less than rounding shows: only the centroids tell. These
    # steps are no part of the run, so that one that is resumed here takes the same.
    step = lloyd_step if sizes is None else ConstrainedStep(sizes)
    steps, after = Steps(blocks.reduce, step, update=UPDATES[metric], xp=blocks.xp), centroids
    for _ in range(n_steps):
        after, _ = updated(blocks, steps.take(after, n_left=1), 0, steps.update)
        if bool(blocks.xp.all(after == centroids)):
            return True
    return False


def steps_over(
    blocks: Blocks,
    n_clusters: int,
    algorithm: str,
    tol: float,
    metric: str,
    sizes: SizeBounds | None,
) -> Steps:
    """Return the faster way to take steps: with bounds or without, one or several at a time."""
    xp, rows, update = blocks.xp, blocks.whole, UPDATES[metric]
    if sizes is not None:
        if rows is None:
            raise ValueError("Bounds of cluster sizes need all rows in one piece on one device.")
        constrained = ConstrainedStep(sizes)
        return Steps(blocks.reduce, constrained, constrained.labels, update, xp=xp)
    bounded = None if rows is None else bounds_for(rows, n_clusters, algorithm, xp=xp)
    if bounded is not None:
        return StepsInOneCall(blocks.reduce, tol, update, bounded.steps, bounded.labels, xp=xp)
    if rows is None:
        return Steps(blocks.reduce, lloyd_step, nearest_labels, update, xp=xp)
    return steps_of(rows, blocks.reduce, tol, update, xp=xp)


def updated(
    blocks: Blocks, step: Step, number: int, update_by: Callable[..., Update]
) -> tuple[Array, Iteration]:
    """Return the means of the new clusters, after empty ones have got rows."""
    sq_shift, n_empty, explained = step.signals.tolist()
    update = step.update
    if n_empty > 0.0:
        assert step.totals is not None
        totals = relocated(blocks, step.totals, step.before)
        update = update_by(totals, step.before, xp=blocks.xp)
        sq_shift = float(update.signals[0])
    return update.centroids, Iteration(number, explained, sq_shift, int(n_empty))


def finished(
    blocks: Blocks,
    centroids: Array,
    iterations: list[Iteration],
    steps: Steps,
    *,
    with_inertia: bool = True,
) -> LloydResult:
    """Assign the rows to the final centroids, and measure the inertia."""
    centroids = steps.kept(centroids)
    labels = blocks.map_rows(steps.labels, centroids)
    inertia = inertia_of(blocks, labels, centroids) if with_inertia else math.nan
    return LloydResult(centroids, labels, inertia, tuple(iterations))


def inertia_of(blocks: Blocks, labels: PerRow, centroids: Array) -> float:
    """Return the inertia of an assignment, from differences summed in float64.

    The expanded form |x|^2 - 2 x.c + |c|^2 loses all digits where the rows lie close to their
    centroids; the sum of squared differences does not.

    Parameters
    ----------
    blocks : Blocks
    labels : PerRow
        Index of each row's centroid.
    centroids : array of shape (n_clusters, n_features)
        Relative to the blocks' origin.

    Returns
    -------
    float
        In squared units of the points.
    """
    return float(blocks.reduce(assigned_inertia, centroids, per_row=(labels,)))
