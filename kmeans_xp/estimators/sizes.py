"""What users ask of the sizes of clusters, checked."""

from typing import Any

from kmeans_xp.algorithms import SizeBounds
from kmeans_xp.blocks import Elsewhere

__all__ = ["check_sizes", "size_bounds"]

#: numbers of rows x clusters whose distances fit in memory: 8 bytes each, some times over
_MOST_DISTANCES = 100_000_000


def size_bounds(size_min: int | None, size_max: int | None, n_rows: int) -> SizeBounds | None:
    """Return the bounds of a cluster's size, or None where there are none."""
    if size_min is None and size_max is None:
        return None
    least = 1 if size_min is None else size_min
    return SizeBounds(least, n_rows if size_max is None else min(size_max, n_rows))


def check_sizes(
    size_min: int | None, size_max: int | None, n_clusters: int, points: Any, sample_weight: Any
) -> None:
    """Raise ValueError, before any work, where no labels keep to the sizes or none can be found.

    Parameters
    ----------
    size_min : int or None
    size_max : int or None
    n_clusters : int
    points : array, matrix in CSR form, or Elsewhere
        As ``checked_points`` gives them.
    sample_weight : array-like or None
        As the user gives them.
    """
    if size_min is None and size_max is None:
        return
    if isinstance(points, Elsewhere):
        raise ValueError(
            "size_min and size_max need all rows in memory, and these are read by blocks from "
            f"{points.name}. Load them into an array, or set no sizes."
        )
    if sample_weight is not None:
        raise ValueError(
            "size_min and size_max count rows: sample_weight cannot be given with them."
        )
    n_rows = int(points.shape[0])
    if size_min is not None and size_max is not None and size_min > size_max:
        raise ValueError(f"size_min={size_min} is greater than size_max={size_max}.")
    if size_min is not None and size_min * n_clusters > n_rows:
        raise ValueError(
            f"{n_clusters} clusters of at least size_min={size_min} rows need "
            f"{size_min * n_clusters} rows, and X has {n_rows}."
        )
    if size_max is not None and size_max * n_clusters < n_rows:
        raise ValueError(
            f"{n_clusters} clusters of at most size_max={size_max} rows hold "
            f"{size_max * n_clusters} rows, and X has {n_rows}."
        )
    if n_rows * n_clusters > _MOST_DISTANCES:
        raise ValueError(
            f"size_min and size_max take the distance of each row to each cluster: {n_rows:,} x "
            f"{n_clusters:,} numbers, of at most {_MOST_DISTANCES:,}. Use fewer rows or clusters."
        )
