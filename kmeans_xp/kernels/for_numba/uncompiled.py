"""What compiled functions do, by NumPy and with the same bits, while compiling takes longer.

NumPy adds along an axis that is not the last one in the order of the numbers, and ``cumsum`` along
any axis. So both add as a loop does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.emitted.vectors import GROUPS
from kmeans_xp.kernels.for_numba.tiling import Floats
from kmeans_xp.kernels.portable.steps import ROUNDINGS
from kmeans_xp.kernels.sphere_rows import RADIUS

__all__ = ["added_moments", "directions_of", "means_of", "rows_found", "uses_of", "write_groups"]

#: numbers for which NumPy takes a two-hundredth of the time to compile a function
_NUMBERS_OF_A_USE = 2**17
#: numbers to work on at a time: what is computed of them stays in the cache
_AT_A_TIME = 2**15


def uses_of(n_numbers: int) -> int:
    """Return how many uses of a compiled function a call with that many numbers counts for."""
    return 1 + n_numbers // _NUMBERS_OF_A_USE


@np.errstate(all="ignore")  # as compiled code
def added_moments(points: Floats, origin: Floats, weights: Floats, panel: int) -> Floats:
    """Return the sums and those of squares that ``add_moments`` adds to lanes, of each feature."""
    n_points, n_features = points.shape
    n_rows = max(1, _AT_A_TIME // (panel * n_features)) * panel
    lanes = np.zeros((2, panel, n_features))
    for start in range(0, n_points, n_rows):
        rows = points[start : start + n_rows]
        added = np.zeros((2, -(-len(rows) // panel) * panel, n_features))
        weighted, squares = added[:, : len(rows)]
        values = (rows - origin).astype(np.float64)
        of_rows = weights[start : start + n_rows, None] if len(weights) else 1.0
        np.multiply(values, of_rows, out=weighted)
        np.multiply(weighted, values, out=squares)
        in_panels = added.reshape(2, -1, panel, n_features)
        in_panels[:, 0] += lanes
        lanes = in_panels.sum(axis=1)
    return np.cumsum(lanes, axis=1)[:, -1]


@np.errstate(all="ignore")
def write_groups(centroids: Floats, groups: Floats, biases: Floats) -> None:
    """Do what ``pack_groups`` does."""
    (n_clusters, n_features), first = centroids.shape, 0
    squares = np.square(centroids, dtype=np.float64)
    biases[:n_clusters] = -0.5 * np.cumsum(squares, axis=1)[:, -1]
    while first < n_clusters:
        size = min((size for size in GROUPS if size >= n_clusters - first), default=GROUPS[0])
        there = centroids[first : first + size].T
        group = groups[first * n_features : (first + size) * n_features].reshape(n_features, size)
        group[:, : there.shape[1]], group[:, there.shape[1] :] = there, 0.0
        first += size
    biases[n_clusters:first] = -np.inf


@np.errstate(all="ignore")
def means_of(sums: Floats, mass: Floats, old: Floats) -> tuple[Floats, Floats]:
    """Return what ``update_clusters`` writes: new centroids, and the signals."""
    is_empty = mass <= 0.0
    return _moved(sums, mass, old, sums / mass[:, None], is_empty, is_empty)


@np.errstate(all="ignore")
def directions_of(sums: Floats, mass: Floats, old: Floats) -> tuple[Floats, Floats]:
    """Return what ``update_clusters`` writes on a sphere."""
    is_empty, means = mass <= 0.0, sums / mass[:, None]
    slack = ROUNDINGS * float(np.finfo(old.dtype).eps)
    is_lost = is_empty | (np.abs(means) <= slack).all(axis=1)
    lengths = np.sqrt(np.cumsum(means * means, axis=1)[:, -1:])
    return _moved(sums, mass, old, means * (RADIUS / lengths), is_lost, is_empty)


def _moved(
    sums: Floats, mass: Floats, old: Floats, new: Floats, is_kept: Any, is_empty: Any
) -> tuple[Floats, Floats]:
    before, new = old.astype(np.float64), np.where(is_kept[:, None], old, new.astype(old.dtype))
    moved = new - before
    explained = before * (2.0 * sums - mass[:, None] * before)
    totals = np.cumsum([(moved * moved).ravel(), explained.ravel()], axis=1)[:, -1]
    # Loops begin at 0.0, so none of theirs is -0.0.
    return new, np.array([totals[0], is_empty.sum(), totals[1] + 0.0])


@np.errstate(all="ignore")
def rows_found(
    values: Floats, weights: Floats, uniforms: Floats, side: Any, size: int, n_parts: int
) -> NDArray[np.int64]:
    """Return what ``find`` writes after ``add_blocks``, for blocks of ``size`` rows."""

    def masses_of(block: int) -> Floats:
        rows = slice(block * size, (block + 1) * size)
        masses = values[rows] * weights[rows] if len(weights) else values[rows]
        return masses.astype(np.float64, copy=False)

    n_blocks = -(-len(values) // size)
    totals = np.array([_added_in_parts(masses_of(block), n_parts) for block in range(n_blocks)])
    ends, last_block = np.cumsum(totals), _last_with_mass(totals)
    indices, in_block = np.empty(len(uniforms), np.int64), {}
    for number, threshold in enumerate(uniforms * ends[-1]):
        block = int(np.searchsorted(ends[:last_block], threshold, side))
        if block not in in_block:
            before = ends[block - 1] if block else 0.0
            in_block[block] = np.cumsum(np.append(before, masses_of(block)))[1:]
        running = in_block[block]
        row = int(np.searchsorted(running, threshold, side))
        if row == len(running):  # rounding puts the threshold at the total
            row = _last_with_mass(masses_of(block))
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
