"""A step of Lloyd's algorithm that leaves out the rows whose label bounds prove."""

from typing import Any

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable.assignment import ClusterTotals
from kmeans_xp.kernels.portable.steps import lloyd_step
from kmeans_xp.kernels.rows import Rows

__all__ = ["Bounds", "bounded_step", "keeps_bounds", "rules_out_scores"]


class Bounds:
    """What one step of a run leaves to the next, written by the step alone."""

    def __init__(self) -> None:
        #: labels of the last step, if they are kept; the next step writes over them
        self.labels: Array | None = None
        #: rows whose scores the last step computed, each for all centroids
        self.n_visited = 0
        #: whatever the body that does the steps needs
        self.kept: Any = None

    def forget(self) -> None:
        """Let the next step begin as the first one does."""
        self.labels = self.kept = None


@kernel(centroids="kd")
def bounded_step(rows: Rows, centroids: Array, bounds: Bounds, *, xp: Namespace) -> ClusterTotals:
    """Do ``lloyd_step``, skipping rows whose nearest centroid cannot have changed.

    Parameters
    ----------
    rows : Rows of n_points
        The same in every step with these bounds.
    centroids : array of shape (n_clusters, n_features)
        Anywhere: bounds hold for any move from those of the last step.
    bounds : Bounds
        Made anew for a run, and updated in place.
    xp : namespace

    Returns
    -------
    ClusterTotals
        Bit-equal to ``lloyd_step``: a row is skipped only where its bounds leave more than the
        rounding of the scores that ``lloyd_step`` would compare. ``bounds.labels``, if not
        None, are bit-equal to ``nearest_labels``.
    """
    # To decide which rows to visit costs an array library about as much as to visit them.
    bounds.labels, bounds.n_visited = None, rows.n_points
    return lloyd_step(rows, centroids, xp=xp)


@kernel()
def keeps_bounds(rows: Rows, *, xp: Namespace) -> bool:  # noqa: ARG001 (what overrides look at)
    """Return whether ``bounded_step`` keeps bounds of these rows; else all its steps are plain.

    Parameters
    ----------
    rows : Rows of n_points
    xp : namespace

    Returns
    -------
    bool
        False if ``bounds.labels`` are None after every step.
    """
    return False


@kernel()
def rules_out_scores(
    rows: Rows,  # noqa: ARG001 (what overrides look at)
    n_clusters: int,  # noqa: ARG001
    *,
    xp: Namespace,  # noqa: ARG001
) -> bool:
    """Return whether ``lloyd_step`` rules most centroids of a row out without their scores.

    A visit of ``bounded_step``, which computes all scores of a row, then takes as long as several
    rows of a plain step.

    Parameters
    ----------
    rows : Rows of n_points
    n_clusters : int
    xp : namespace

    Returns
    -------
    bool
        A matter of time: neither step's results depend on it.
    """
    return False
