"""Mean distances to clusters for NumPy without numba: tiles over threads, within the cache."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.blas_threads import one_blas_thread
from kmeans_xp.kernels.for_numpy.measuring import sq_norms
from kmeans_xp.kernels.portable.silhouette import SilhouetteDistances, silhouette_distances
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import in_threads, scratch

__all__: list[str] = []

#: rows and columns of a tile of distances, which fits in a second-level cache
_TILE_ROWS, _TILE_COLUMNS = 128, 512
#: minimum number of rows for which a cluster has its own tiles
_OWN_TILE = 64

Floats = NDArray[np.float64]


@silhouette_distances.override("numpy", rows=DenseRows)
def tiles_in_cache(
    rows: DenseRows,
    labels: NDArray[Any],
    order: NDArray[Any],
    bounds: Sequence[int],
    *,
    xp: Namespace,
) -> Any:
    """Compute products, roots and sums of a tile while it is in the cache."""
    if not rows.n_points:
        return NotImplemented
    # Sort rows by cluster: a cluster's distances are then adjacent.
    points = rows.points[order].astype(np.float64, copy=False)
    limits = np.asarray(bounds)
    within, nearest = np.empty(rows.n_points), np.empty(rows.n_points)
    tiles = list(_row_tiles(bounds))

    def measure(number: int) -> None:
        place = tiles[number]
        sums = _sums(points, place, limits)
        counts, own = np.diff(limits), labels[order[place]]
        at = np.arange(len(own))
        within[order[place]] = sums[own, at] / np.maximum(counts[own] - 1, 1)
        sums[own, at] = np.inf
        sums[counts == 0] = np.inf
        sums /= np.maximum(counts, 1)[:, None]
        nearest[order[place]] = sums.min(axis=0)

    with one_blas_thread():
        in_threads(measure, len(tiles))
    return SilhouetteDistances(within, nearest)


def _row_tiles(bounds: Sequence[int]) -> Iterator[slice]:
    """Split the rows between clusters; small clusters share a tile."""
    start = 0
    for stop, following in zip(bounds[1:], [*bounds[2:], None], strict=True):
        is_shared = following is not None and following - start <= _OWN_TILE
        if is_shared or stop == start:
            continue
        yield from (
            slice(first, min(first + _TILE_ROWS, stop)) for first in range(start, stop, _TILE_ROWS)
        )
        start = stop


def _sums(points: Floats, place: slice, limits: NDArray[Any]) -> Floats:
    """Return the sums of the distances of some rows to each cluster, clusters x rows."""
    here = points[place]
    middle = here.mean(axis=0)  # as in the portable body, to lose fewer digits by cancellation
    here = here - middle
    n_rows, n_features = here.shape
    left = np.empty((n_rows, n_features + 2))
    np.multiply(here, -2.0, out=left[:, :-2])
    left[:, -2], left[:, -1] = _lessened_sq_norms(here), 1.0
    sums = np.zeros((len(limits) - 1, n_rows))
    for start in range(0, len(points), _TILE_COLUMNS):
        stop = min(start + _TILE_COLUMNS, len(points))
        right = scratch("right", (stop - start, n_features + 2), np.float64)
        np.subtract(points[start:stop], middle, out=right[:, :-2])
        right[:, -2], right[:, -1] = 1.0, _lessened_sq_norms(right[:, :-2])
        distances = scratch("distances", (n_rows, stop - start), np.float64)
        np.matmul(left, right.T, out=distances)
        np.maximum(distances, 0.0, out=distances)
        np.sqrt(distances, out=distances)
        same = np.arange(max(start, place.start), min(stop, place.stop))
        distances[same - place.start, same - start] = 0.0
        # The clusters of these columns, without empty ones.
        first, last = np.searchsorted(limits, [start, stop - 1], side="right") - 1
        clusters = np.arange(first, last + 1)
        clusters = clusters[limits[clusters + 1] > limits[clusters]]
        begins = np.maximum(limits[clusters], start) - start
        sums[clusters] += np.add.reduceat(distances, begins, axis=1).T
    return sums


def _lessened_sq_norms(points: Floats) -> Floats:
    """Return squared norms minus the largest rounding error of a squared distance."""
    slack = (points.shape[1] + 4) * np.finfo(np.float64).eps
    norms: Floats = (1.0 - slack) * sq_norms(points)
    return norms
