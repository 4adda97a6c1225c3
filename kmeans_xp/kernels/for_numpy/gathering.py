"""Some rows side by side, by several threads: memory takes most of the time."""

from typing import Any

import numpy as np

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numpy.tiling import FEW_NUMBERS, Floats, Row, cut, run
from kmeans_xp.kernels.portable.halves import Room, gathered_rows
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.sphere_rows import SphereRows

__all__: list[str] = []

_DTYPES = (np.float32, np.float64)
#: bytes that are copied, and then scaled and centred: they stay in the second-level cache
_TILE_BYTES = 2**17
#: nanoseconds to copy and change a row, and for each of its bytes
_A_ROW, _A_BYTE = 5.0, 0.1


@gathered_rows.override("numpy", rows=DenseRows | SphereRows)
def gathered_in_threads(
    rows: DenseRows | SphereRows, places: np.ndarray[Any, Any], room: Room, *, xp: Namespace
) -> DenseRows | Any:
    """Copy rows, and scale and centre some of them while they are in the cache."""
    points, n_features, factors = rows.points, rows.n_features, None
    if isinstance(rows, SphereRows) and (factors := rows.factors) is None:
        return NotImplemented
    # `take` would copy all of an array that is not contiguous, for each tile.
    if points.dtype not in _DTYPES or not points.flags.c_contiguous:
        return NotImplemented
    if len(places) * n_features <= FEW_NUMBERS:
        return NotImplemented
    found = _memory(room, len(places), n_features, points.dtype)
    origin = None if rows.origin is None else Row(rows.origin.astype(points.dtype, copy=False))
    row_bytes = n_features * points.itemsize
    plan = cut(len(places), max(1, _TILE_BYTES // row_bytes), _A_ROW + row_bytes * _A_BYTE)

    def gather(task: int) -> None:
        for tile in plan.tiles(task):
            # To raise an error, NumPy would write to a copy of the result first.
            np.take(points, places[tile], axis=0, out=found[tile], mode="clip")
            if factors is not None:
                # Repeated, since NumPy's broadcast along short rows costs more than the products.
                flat = found[tile].reshape(-1)
                flat *= np.repeat(factors[places[tile]], n_features)
            if origin is not None:
                origin.subtracted_from(found[tile], out=found[tile])

    run(gather, plan)
    return DenseRows(found, None if rows.weights is None else rows.weights[places])


def _memory(room: Room, n_rows: int, n_features: int, dtype: np.dtype[Any]) -> Floats:
    """Return memory of the room, which gets more if that is too little."""
    if room.kept is None or len(room.kept) < n_rows:
        room.kept = None  # before there is more
        room.kept = np.empty((n_rows, n_features), dtype)
    memory: Floats = room.kept[:n_rows]
    return memory
