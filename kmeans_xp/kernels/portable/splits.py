"""A whole split of few rows: the run of Lloyd's algorithm, and what a tree needs of its halves."""

from collections.abc import Callable
from typing import NamedTuple

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable.halves import Halves
from kmeans_xp.kernels.portable.steps import Update
from kmeans_xp.kernels.rows import Rows

__all__ = ["Split", "split_at_once"]


class Split(NamedTuple):
    """Two clusters.

    Parameters
    ----------
    centroids : array of shape (2, n_features)
        Relative to the rows' origin.
    sq_shift : float
        Sum of the squared distances that they moved in the last step.
    halves : Halves
        As from ``halves_of``.
    places : integer array of shape (n_points,)
        As from ``places_by_half``.
    """

    centroids: Array
    sq_shift: float
    halves: Halves
    places: Array


@kernel(start="kd")
def split_at_once(
    rows: Rows,  # noqa: ARG001 (what overrides look at)
    start: Array,  # noqa: ARG001
    max_iter: int,  # noqa: ARG001
    tol: float,  # noqa: ARG001
    update: Callable[..., Update],  # noqa: ARG001
    *,
    xp: Namespace,  # noqa: ARG001
) -> Split | None:
    """Run Lloyd's algorithm with two centroids, and return the halves; or return None.

    Parameters
    ----------
    rows : Rows of n_points
    start : array of shape (2, n_features)
        Relative to the rows' origin.
    max_iter : int
        Most steps.
    tol : float
        At least 0. The run ends after a step that moves the centroids by at most this (sum of
        squares).
    update : callable
        ``update_centroids``, or ``means_on_sphere``.
    xp : namespace

    Returns
    -------
    Split or None
        Bit-equal to steps one after another. None where that is not faster, if a cluster became
        empty, or if the inertia did not fall.
    """
    return None
