"""Many small k-means problems, each with its own rows, in one call."""

from typing import NamedTuple

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.kernel import kernel

__all__ = ["ProblemOptions", "Solved", "solved_at_once"]


class ProblemOptions(NamedTuple):
    """The parameters of each problem.

    Parameters
    ----------
    n_clusters : int
        At most n_points.
    max_iter : int
    tol : float
        Multiplied by the mean variance of a problem's features.
    least_variance, greatest_variance : float
        A problem is left unsolved if its mean variance is above 0 and below the least, or above
        the greatest divided by n_features.
    least_total, greatest_total : float
        Bounds of the sum of a problem's weights times its mean variance. A problem is left
        unsolved if that is below the least. So it is if that times the numbers of features and
        rows is above the greatest.
    least_mass : float
        A problem is left unsolved if the sum of its weights is less.
    margin : float
        A later run is better if its inertia is less by more than this share.
    """

    n_clusters: int
    max_iter: int
    tol: float
    least_variance: float
    greatest_variance: float
    least_total: float
    greatest_total: float
    least_mass: float
    margin: float


class Solved(NamedTuple):
    """The results of all problems; ``n_iter`` is 0 where a problem was not solved.

    Parameters
    ----------
    labels : array of int32, shape (n_problems, n_points)
    centroids : array of shape (n_problems, n_clusters, n_features)
        Relative to ``origins``.
    origins : array of shape (n_problems, n_features)
        The mean of each problem's rows.
    inertia : array of float64, shape (n_problems,)
    n_iter : array of int64, shape (n_problems,)
        Iterations of the run that was kept.
    """

    labels: Array
    centroids: Array
    origins: Array
    inertia: Array
    n_iter: Array


@kernel(points="bnd", weights="bn", uniforms="bru", given="bgd")
def solved_at_once(
    points: Array,  # noqa: ARG001 (what overrides look at)
    weights: Array | None,  # noqa: ARG001
    uniforms: Array,  # noqa: ARG001
    given: Array | None,  # noqa: ARG001
    options: ProblemOptions,  # noqa: ARG001
    *,
    xp: Namespace,  # noqa: ARG001
) -> Solved | None:
    """Solve many small problems by k-means++ and Lloyd's algorithm, or return None.

    Parameters
    ----------
    points : array of shape (n_problems, n_points, n_features)
        Finite.
    weights : array of shape (n_problems, n_points), or None
        In the points' dtype; each problem has some positive weights.
    uniforms : ndarray of float64, shape (n_problems, n_init, 1 + (n_clusters - 1) * n_trials)
        On the host: the numbers that ``kmeans_plusplus`` draws in each run; with ``given``, the
        (n_clusters - n_given) * n_trials numbers that ``more_centroids`` draws.
    given : array of shape (n_problems, n_given, n_features), or None
        Centroids relative to the mean of the problem's rows, to which each run adds rows; fewer
        than n_clusters, and at least 1. None for none.
    options : ProblemOptions
    xp : namespace

    Returns
    -------
    Solved or None
        Bit-equal to fits of the problems one after another. A problem is left unsolved if its
        range needs a warning or an error, if a cluster became empty, or if its inertia did not
        fall. None where one call for all would not be faster, or not bit-equal.
    """
    return None
