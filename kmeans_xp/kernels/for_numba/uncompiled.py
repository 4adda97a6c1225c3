"""What compiled functions do, by NumPy and with the same bits, while compiling takes longer.

NumPy adds along an axis that is not the last one in the order of the numbers, and ``cumsum`` along
any axis. So both add as a loop does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.tiling import Floats

__all__ = ["moments_in_lanes", "rows_found", "uses_of"]

#: numbers for which NumPy takes about as long as for a few calls
_NUMBERS_OF_A_USE = 2**13


def uses_of(n_numbers: int) -> int:
    """Return how many uses of a compiled function a call with that many numbers counts for."""
    return 1 + n_numbers // _NUMBERS_OF_A_USE


def moments_in_lanes(points: Floats, origin: Floats, weights: Floats, panel: int) -> Floats:
    """Return what ``add_moments`` adds to: lanes of sums, and lanes of squares.

    Shape (2, n_features * panel).
    """
    n_points, n_features = points.shape
    added = np.zeros((2, -(-n_points // panel) * panel, n_features))
    weighted, squares = added[:, :n_points]
    values = (points - origin).astype(np.float64)
    np.multiply(values, weights[:, None] if len(weights) else 1.0, out=weighted)
    np.multiply(weighted, values, out=squares)
    lanes: Floats = added.reshape(2, -1, panel, n_features).sum(axis=1)
    return lanes.transpose(0, 2, 1).reshape(2, -1)


def rows_found(
    values: Floats, weights: Floats, uniforms: Floats, side: Any, size: int, n_parts: int
) -> NDArray[np.int64]:
    """Return what ``find`` writes after ``add_blocks``, for blocks of ``size`` rows."""
    masses = (values * weights if len(weights) else values).astype(np.float64)
    blocks = [masses[first : first + size] for first in range(0, len(masses), size)]
    totals = np.array([_added_in_parts(block, n_parts) for block in blocks])
    ends, last_block = np.cumsum(totals), _last_with_mass(totals)
    indices = np.empty(len(uniforms), np.int64)
    for number, threshold in enumerate(uniforms * ends[-1]):
        block = int(np.searchsorted(ends[:last_block], threshold, side))
        before = ends[block - 1] if block else 0.0
        running = np.cumsum(np.append(before, blocks[block]))[1:]
        row = int(np.searchsorted(running, threshold, side))
        if row == len(running):  # rounding puts the threshold at the total
            row = _last_with_mass(blocks[block])
        indices[number] = block * size + row
    return indices


def _added_in_parts(masses: Floats, n_parts: int) -> Any:
    n_whole = len(masses) - len(masses) % n_parts
    parts = masses[:n_whole].reshape(-1, n_parts).sum(axis=0)
    parts[0] = np.cumsum(np.append(parts[:1], masses[n_whole:]))[-1]
    return np.cumsum(parts)[-1]


def _last_with_mass(masses: Floats) -> int:
    """Return the index of the last number above 0; 0 if there is none."""
    return int(np.flatnonzero(masses > 0.0)[-1:].sum())
