"""What a tree of splits needs: inertia, places and rows of two clusters, labels of all."""

from typing import Any, NamedTuple

from kmeans_xp.devices import Array, Namespace, accumulation_dtype
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable.assignment import assigned_sq_distances
from kmeans_xp.kernels.rows import Rows

__all__ = [
    "Halves",
    "Room",
    "gathered_rows",
    "halves_of",
    "in_places",
    "labels_each_row_alone",
    "places_by_half",
]


class Halves(NamedTuple):
    """Two clusters: each array has one number for each.

    Parameters
    ----------
    inertia : accumulated array of shape (2,)
        Weighted sums of the squared distances of rows to the centroids of their clusters.
    n_rows : integer array of shape (2,)
    n_weighted : integer array of shape (2,)
        Rows that have a positive weight.
    """

    inertia: Array
    n_rows: Array
    n_weighted: Array


@kernel(labels="n", is_member="n", centroids="kd")
def halves_of(
    rows: Rows, labels: Array, is_member: Array | None, centroids: Array, *, xp: Namespace
) -> Halves:
    """Return the inertia and the counts of two clusters.

    Parameters
    ----------
    rows : Rows of n_points
    labels : array of int32, shape (n_points,)
        0 or 1.
    is_member : array of bool, shape (n_points,), or None
        Which rows count; None for all.
    centroids : array of shape (2, n_features)
        Relative to the rows' origin.
    xp : namespace

    Returns
    -------
    Halves
        Distances come from differences, and are added in the accumulating dtype.
    """
    dtype = accumulation_dtype(rows.device, xp=xp)
    squared = assigned_sq_distances(rows, labels, centroids, xp=xp)
    squared = xp.astype(squared, dtype, copy=False)
    is_weighted = None
    if rows.weights is not None:
        squared = squared * xp.astype(rows.weights, dtype, copy=False)
        is_weighted = rows.weights > 0.0
    zeros = xp.zeros_like(squared)
    inertia, n_rows, n_weighted = [], [], []
    for side in (0, 1):
        is_mine = labels == side
        is_mine = is_mine if is_member is None else is_mine & is_member
        inertia.append(xp.sum(xp.where(is_mine, squared, zeros)))
        n_rows.append(xp.count_nonzero(is_mine))
        n_weighted.append(
            n_rows[-1] if is_weighted is None else xp.count_nonzero(is_mine & is_weighted)
        )
    return Halves(xp.stack(inertia), xp.stack(n_rows), xp.stack(n_weighted))


@kernel(labels="n")
def places_by_half(labels: Array, *, xp: Namespace) -> Array:
    """Return the places of the zeros, then those of the ones, each in their order.

    Parameters
    ----------
    labels : array of int32, shape (n,)
        0 or 1.
    xp : namespace

    Returns
    -------
    integer array of shape (n,)
    """
    return xp.argsort(xp.astype(labels, xp.int8), stable=True)


class Room:
    """Memory for rows of calls in turn: to use new memory takes as long as to copy rows."""

    def __init__(self) -> None:
        #: whatever the body keeps
        self.kept: Any = None


@kernel(places="m")
def gathered_rows(
    rows: Rows,
    places: Array,
    room: Room,  # noqa: ARG001 (for overrides)
    *,
    xp: Namespace,  # noqa: ARG001
) -> Rows:
    """Return some rows with their weights, as they are stored and measured from the same point.

    Parameters
    ----------
    rows : Rows of n_points
    places : integer array of shape (m,)
        Each from 0 to n_points - 1, in any order.
    room : Room
        The rows of an earlier call with it must not be used any more.
    xp : namespace

    Returns
    -------
    Rows
        Dense rows have their origin subtracted.
    """
    return rows.gathered(places)


@kernel(values="n", places="n")
def in_places(values: Array, places: Array, *, xp: Namespace) -> Array:
    """Return an array that has each value at its place.

    Parameters
    ----------
    values : array of shape (n,)
    places : integer array of shape (n,)
        Each of 0 to n - 1 once, in any order.
    xp : namespace

    Returns
    -------
    array of shape (n,)
    """
    return xp.take(values, xp.argsort(places))


@kernel(centroids="kd")
def labels_each_row_alone(
    rows: Rows,  # noqa: ARG001 (what overrides look at)
    centroids: Array,  # noqa: ARG001
    *,
    xp: Namespace,  # noqa: ARG001
) -> bool:
    """Return whether ``nearest_labels`` gives a row the same label among any other rows.

    Parameters
    ----------
    rows : Rows of n_points
        Those of which others are parts or copies, in any order.
    centroids : array of shape (n_clusters, n_features)
        Like those of the labels.
    xp : namespace

    Returns
    -------
    bool
        False where scores round as the shapes of matrices have it.
    """
    return False
