"""Centroids put at rows: only those are read and written that move."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.portable.batches import Placed, placed_at_rows
from kmeans_xp.kernels.rows import Rows

__all__: list[str] = []

Floats = NDArray[Any]

#: numbers of differences at a time, which stay in the cache
_NUMBERS = 2**15


@placed_at_rows.override("numpy")
def copied_but_few(
    rows: Rows,
    centroids: Floats,
    before: Floats,
    chosen: NDArray[np.int64],
    is_placed: NDArray[np.bool],
    *,
    xp: Namespace,
) -> Placed:
    """Make no dense rows of those that are not chosen, and no differences of all centroids."""
    placed, receivers = centroids.copy(), np.flatnonzero(is_placed)
    placed[receivers] = rows.take(chosen[receivers]).points
    sq_shift, size = 0.0, max(1, _NUMBERS // centroids.shape[1])
    for start in range(0, len(placed), size):
        difference = placed[start : start + size] - before[start : start + size]
        difference *= difference
        sq_shift += float(difference.sum())  # not by BLAS, which wakes threads for float64
    return Placed(placed, np.asarray(sq_shift, centroids.dtype))
