"""A step of Lloyd's algorithm that skips rows whose bounds prove their labels."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable.assignment import ClusterTotals
from kmeans_xp.kernels.portable.steps import LloydSteps, Update, lloyd_step, one_step
from kmeans_xp.kernels.rows import Rows

__all__ = [
    "BoundedSteps",
    "Bounds",
    "bounded_step",
    "bounded_steps",
    "keeps_bounds",
    "rules_out_scores",
]


class Bounds:
    """What a step keeps for the next step of the run; only steps write it."""

    def __init__(self) -> None:
        #: labels of the last step, if it kept them; the next step overwrites them
        self.labels: Array | None = None
        #: number of rows for which the last step computed the scores of all centroids
        self.n_visited = 0
        #: whatever the body needs to keep
        self.kept: Any = None

    def forget(self) -> None:
        """Make the next step a first step."""
        self.labels = self.kept = None


@kernel(centroids="kd")
def bounded_step(rows: Rows, centroids: Array, bounds: Bounds, *, xp: Namespace) -> ClusterTotals:
    """Do ``lloyd_step``, skipping rows whose nearest centroid cannot have changed.

    Parameters
    ----------
    rows : Rows of n_points
        The same in every step with these bounds.
    centroids : array of shape (n_clusters, n_features)
        Anywhere: the bounds hold for any move from the last step's centroids.
    bounds : Bounds
        A new one for each run; updated in place.
    xp : namespace

    Returns
    -------
    ClusterTotals
        Bit-equal to ``lloyd_step``: a row is skipped only where its bounds differ by more than
        the rounding of the scores that ``lloyd_step`` compares. If ``bounds.labels`` is not None,
        it is bit-equal to ``nearest_labels``.
    """
    # With an array library, deciding which rows to visit takes as long as visiting them.
    bounds.labels, bounds.n_visited = None, rows.n_points
    return lloyd_step(rows, centroids, xp=xp)


class BoundedSteps(NamedTuple):
    """Steps with bounds.

    Parameters
    ----------
    steps : LloydSteps
    n_visited : list of int
        For each step, the number of rows for which it computed the scores of all centroids.
    """

    steps: LloydSteps
    n_visited: list[int]


@kernel(centroids="kd")
def bounded_steps(
    rows: Rows,
    centroids: Array,
    n_steps: int,  # noqa: ARG001 (a body may take just one step)
    tol: float,  # noqa: ARG001
    update: Callable[..., Update],
    bounds: Bounds,
    most_visited: float,  # noqa: ARG001
    *,
    xp: Namespace,
) -> BoundedSteps:
    """Do ``lloyd_steps`` by steps of ``bounded_step``.

    Parameters
    ----------
    rows : Rows of n_points
        As for ``bounded_step``; so are ``centroids`` and ``bounds``.
    centroids : array of shape (n_clusters, n_features)
    n_steps : int
        As for ``lloyd_steps``; so are ``tol`` and ``update``.
    tol : float
    update : callable
    bounds : Bounds
    most_visited : float
        Stop also after a step, but the first one with these bounds, that visits more rows.
    xp : namespace

    Returns
    -------
    BoundedSteps
        Each step is bit-equal to ``bounded_step`` and ``update``.
    """
    steps = one_step(bounded_step(rows, centroids, bounds, xp=xp), centroids, update, xp=xp)
    return BoundedSteps(steps, [bounds.n_visited])


@kernel()
def keeps_bounds(
    rows: Rows,  # noqa: ARG001 (what overrides look at)
    n_clusters: int,  # noqa: ARG001
    *,
    xp: Namespace,  # noqa: ARG001
) -> bool:
    """Return whether ``bounded_step`` keeps bounds of these rows; if not, its steps are plain.

    Parameters
    ----------
    rows : Rows of n_points
    n_clusters : int
    xp : namespace

    Returns
    -------
    bool
        False if ``bounds.labels`` is None after every step.
    """
    return False


@kernel()
def rules_out_scores(
    rows: Rows,  # noqa: ARG001 (what overrides look at)
    n_clusters: int,  # noqa: ARG001
    *,
    xp: Namespace,  # noqa: ARG001
) -> bool:
    """Return whether ``lloyd_step`` rules out most centroids of a row without their scores.

    ``bounded_step`` computes all scores of a row that it visits. Each visit then takes as long as
    several rows of a plain step.

    Parameters
    ----------
    rows : Rows of n_points
    n_clusters : int
    xp : namespace

    Returns
    -------
    bool
        It affects only the time, not the results.
    """
    return False
