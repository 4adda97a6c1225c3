"""Whole runs of Lloyd's algorithm, several at once."""

from collections.abc import Callable
from typing import NamedTuple

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable.steps import Update
from kmeans_xp.kernels.rows import Rows

__all__ = ["Runs", "are_steps_short", "runs_at_once", "takes_whole_runs"]


class Runs(NamedTuple):
    """Where runs ended; ``n_iter`` is 0 where a run has to be taken alone.

    Parameters
    ----------
    centroids : array of shape (n_runs, n_clusters, n_features)
        Relative to the rows' origin.
    labels : array of int32, shape (n_runs, n_points)
        Of these centroids.
    inertia : array of float64, shape (n_runs,)
        Of these labels.
    n_iter : array of int64, shape (n_runs,)
    signals : array of float64, shape (n_runs, at least n_iter, 3)
        As from ``update``, of each step.
    """

    centroids: Array
    labels: Array
    inertia: Array
    n_iter: Array
    signals: Array


@kernel()
def takes_whole_runs(rows: Rows, n_clusters: int, *, xp: Namespace) -> bool:  # noqa: ARG001
    """Return whether ``runs_at_once`` takes runs with this number of centroids.

    Parameters
    ----------
    rows : Rows of n_points
    n_clusters : int
    xp : namespace

    Returns
    -------
    bool
        True where that is faster than single steps.
    """
    return False


@kernel()
def are_steps_short(rows: Rows, n_clusters: int, *, xp: Namespace) -> bool:  # noqa: ARG001
    """Return whether threads had better take a run each than the parts of a step.

    Parameters
    ----------
    rows : Rows of n_points
    n_clusters : int
    xp : namespace

    Returns
    -------
    bool
        True where threads that share a step wait for each other in much of its time.
    """
    return False


@kernel(starts="rkd")
def runs_at_once(
    rows: Rows,  # noqa: ARG001 (what overrides look at)
    starts: Array,  # noqa: ARG001
    max_iter: int,  # noqa: ARG001
    tol: float,  # noqa: ARG001
    update: Callable[..., Update],  # noqa: ARG001
    *,
    xp: Namespace,  # noqa: ARG001
) -> Runs | None:
    """Run Lloyd's algorithm from several starts, or return None.

    Parameters
    ----------
    rows : Rows of n_points
    starts : array of shape (n_runs, n_clusters, n_features)
        Relative to the rows' origin.
    max_iter : int
        Most steps of a run.
    tol : float
        A run ends after a step that moves the centroids by at most this (sum of squares).
    update : callable
        ``update_centroids``, or ``means_on_sphere``.
    xp : namespace

    Returns
    -------
    Runs or None
        Bit-equal to steps one after another. A run has to be taken alone if a cluster became
        empty, or if its inertia did not fall. None where ``takes_whole_runs`` is False.
    """
    return None
