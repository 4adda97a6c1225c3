"""Checks of ``size_min`` and ``size_max``."""

from typing import Any

from kmeans_xp.algorithms import SizeBounds
from kmeans_xp.blocks import Elsewhere

__all__ = ["check_sizes", "size_bounds"]

#: maximum of rows x clusters; the fit holds several copies of their distances, 8 bytes each
_MOST_DISTANCES = 100_000_000


def size_bounds(size_min: int | None, size_max: int | None, n_rows: int) -> SizeBounds | None:
    """Return the bounds of a cluster's size, or None without bounds."""
    if size_min is None and size_max is None:
        return None
    least = 1 if size_min is None else size_min
    return SizeBounds(least, n_rows if size_max is None else min(size_max, n_rows))


def check_sizes(
    size_min: int | None, size_max: int | None, n_clusters: int, points: Any, sample_weight: Any
) -> None:
    """Raise ValueError, before any work, if no labels fit the bounds or they cannot be computed.

    Parameters
    ----------
    size_min : int or None
    size_max : int or None
    n_clusters : int
    points : array, matrix in CSR form, or Elsewhere
        As ``checked_points`` returns them.
    sample_weight : array-like or None
        As the user passed it.
    """
    if size_min is None and size_max is None:
        return
    if isinstance(points, Elsewhere):
        raise ValueError(
            "size_min and size_max need all rows in memory, but these are read by blocks from "
            f"{points.name}. Load them into an array, or set no sizes."
        )
    if sample_weight is not None:
        raise ValueError(
            "size_min and size_max count rows: sample_weight cannot be used with them."
        )
    n_rows = int(points.shape[0])
    if size_min is not None and size_max is not None and size_min > size_max:
        raise ValueError(f"size_min={size_min} is greater than size_max={size_max}.")
    if size_min is not None and size_min * n_clusters > n_rows:
        raise ValueError(
            f"{n_clusters} clusters of at least size_min={size_min} rows need "
            f"{size_min * n_clusters} rows, but X has {n_rows}."
        )
    if size_max is not None and size_max * n_clusters < n_rows:
        raise ValueError(
            f"{n_clusters} clusters of at most size_max={size_max} rows hold "
            f"{size_max * n_clusters} rows, but X has {n_rows}."
        )
    if n_rows * n_clusters > _MOST_DISTANCES:
        raise ValueError(
            f"size_min and size_max need the distance of each row to each cluster: {n_rows:,} x "
            f"{n_clusters:,} numbers; the limit is {_MOST_DISTANCES:,}. Use fewer rows or clusters."
        )
