"""k-means++: draw rows by blocks, and measure all trials of a step in one pass."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.assignment import Groups
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    FLAG,
    INDICES,
    NUMBER,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    ROWS,
    SUMS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.vectors import (
    PANEL,
    ROW_CANDIDATES,
    fold_group,
    fold_row,
    keep_nearer,
    panel_rows,
    sq_distance,
)
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    factor_of,
    filler_of,
    group_size,
    in_parts,
    n_tasks_for,
    origin_of,
    override,
    pack_tile,
    scratch_for,
    smaller,
    sum_lanes,
    tile_of,
    tile_rows,
    weights_of,
)
from kmeans_xp.kernels.for_numba.uncompiled import rows_found, uses_of
from kmeans_xp.kernels.portable.seeding import (
    Candidate,
    best_candidate,
    candidate_potentials,
    closer_of,
    drawn,
)
from kmeans_xp.kernels.threads import in_threads
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = [
    "DRAWN_BLOCK",
    "LONG",
    "MANY_FEATURES",
    "N_PARTS",
    "SOME",
    "add_blocks",
    "added_potentials",
    "find",
    "first_least",
    "fold_panels",
    "fold_rows",
    "in_row_lanes",
    "keep_nearer_panels",
    "keep_nearer_rows",
    "padded_to_vectors",
    "potentials_cost",
]

#: number of rows in a block, whose mass is added up before a draw
DRAWN_BLOCK = 4096
#: number of partial sums for the mass of a block
N_PARTS = 32

#: from this number of features, rows are measured one by one, with features in the lanes
MANY_FEATURES = 16
#: features for each candidate from which distances are kept: at most a quarter of the rows' memory
LONG = 4

MANY, SOME = ROW_CANDIDATES


@compiled(NUMBERS, NUMBERS, COUNT, COUNT, SUMS)
def add_blocks(values, weights, first, last, totals):
    """Add up weight * value of each block of rows."""
    # Separate sums, so that additions do not wait for each other.
    parts = new_numbers(N_PARTS, totals)
    for block in range(first, last):
        start, stop = block * DRAWN_BLOCK, min((block + 1) * DRAWN_BLOCK, len(values))
        whole = stop - (stop - start) % N_PARTS
        for part in range(N_PARTS):
            parts[part] = 0.0
        if weights.shape[0] > 0:
            for row in range(start, whole, N_PARTS):
                for part in range(N_PARTS):
                    parts[part] += np.float64(values[row + part] * weights[row + part])
            for row in range(whole, stop):
                parts[0] += np.float64(values[row] * weights[row])
        else:
            for row in range(start, whole, N_PARTS):
                for part in range(N_PARTS):
                    parts[part] += np.float64(values[row + part])
            for row in range(whole, stop):
                parts[0] += np.float64(values[row])
        total = 0.0
        for part in range(N_PARTS):
            total += parts[part]
        totals[block] = total


@inline
def _find_in_a_block(values, weights, whole, uniforms, is_left, indices):
    """Do as ``find`` with all rows in one block: add up the masses once for all uniforms."""
    n_rows, running, last = len(values), 0.0, 0
    sums = new_numbers(n_rows, uniforms)
    for row in range(n_rows):
        mass = np.float64(values[row] * weights[row] if weights.shape[0] > 0 else values[row])
        running += mass
        sums[row] = running
        if mass > 0.0:
            last = row  # the last row with mass, if rounding puts the threshold at the total
    for number in range(len(uniforms)):
        threshold, found, end = uniforms[number] * whole, 0, n_rows
        while found < end:
            middle = (found + end) >> 1
            if sums[middle] >= threshold if is_left else sums[middle] > threshold:
                end = middle
            else:
                found = middle + 1
        indices[number] = found if found < n_rows else last


@compiled(COLUMN, COLUMN, SUMS, NUMBERS_64, FLAG, INDICES)
def find(values, weights, totals, uniforms, is_left, indices):
    """Find the block in which each uniform's share of the mass falls, then the row in it."""
    whole, last_block = 0.0, 0
    for block in range(len(totals)):
        whole += totals[block]
        if totals[block] > 0.0:
            last_block = block
    if len(totals) == 1 and len(uniforms) > 1:
        _find_in_a_block(values, weights, whole, uniforms, is_left, indices)
        return
    for number in range(len(uniforms)):
        threshold, running, block = uniforms[number] * whole, 0.0, 0
        while block < last_block:
            after = running + totals[block]
            if after >= threshold if is_left else after > threshold:
                break
            running, block = after, block + 1
        found = block * DRAWN_BLOCK
        for row in range(found, min(found + DRAWN_BLOCK, len(values))):
            mass = np.float64(values[row] * weights[row] if weights.shape[0] > 0 else values[row])
            running += mass
            if mass > 0.0:
                found = row  # the last row with mass, if rounding puts the threshold at the total
            if running >= threshold if is_left else running > threshold:
                found = row
                break
        indices[number] = found


@drawn.override("numpy", rank=1)
def found_by_blocks(
    values: Floats, weights: Floats | None, uniforms: Floats, side: str, *, xp: Namespace
) -> Any:
    """Add up blocks of rows, and search only the blocks in which a threshold falls."""
    dtype, n_points = values.dtype, len(values)
    if dtype not in PANEL or not n_points or (weights is not None and weights.dtype != dtype):
        return NotImplemented
    values = np.ascontiguousarray(values)
    weighted = np.empty(0, dtype) if weights is None else np.ascontiguousarray(weights)
    uniforms = np.ascontiguousarray(uniforms, np.float64)
    if not add_blocks.pays(dtype, uses_of(n_points)):
        return rows_found(values, weighted, uniforms, side, DRAWN_BLOCK, N_PARTS)
    n_blocks = -(-n_points // DRAWN_BLOCK)
    totals, indices = np.empty(n_blocks), np.empty(len(uniforms), np.int64)
    share = -(-n_blocks // n_tasks_for(n_points, 1.0))

    def add(task: int) -> None:
        last = min((task + 1) * share, n_blocks)
        add_blocks[dtype](values, weighted, task * share, last, totals)

    in_threads(add, -(-n_blocks // share))
    find[dtype](values, weighted, totals, uniforms, side == "left", indices)
    return indices


@compiled(NUMBERS_64, NUMBER, returns=types.int64)
def first_least(potentials, slack):
    """Return the first of those that equal the minimum up to rounding."""
    least = potentials[0]
    for number in range(1, len(potentials)):
        least = min(least, potentials[number])
    for number in range(len(potentials)):
        if potentials[number] <= least * (1.0 + slack):
            return number
    return 0


@best_candidate.override("numpy", rank=1)
def first_of_the_least(
    potentials: Floats, indices: NDArray[Any], candidates: Floats, *, xp: Namespace
) -> Any:
    """Do it in one call: calls take most of the time."""
    if potentials.dtype != np.float64 or candidates.dtype not in PANEL:
        return NotImplemented
    slack = 1e-12 if candidates.dtype == np.float64 else 1e-6
    find_least = first_least.for_turns(len(potentials), candidates.dtype)
    best = find_least(np.ascontiguousarray(potentials), slack)
    return Candidate(indices[best : best + 1], candidates[best : best + 1])


@compiled(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, COLUMN, NUMBERS, COUNT, SUMS)
def fold_panels(
    points,
    start,
    stop,
    tile,
    filler,
    factors,
    origin,
    weights,
    closest,
    groups,
    n_candidates,
    lanes,
):
    """Add the inertia that each candidate would leave, with rows in the lanes of vectors."""
    n_features = points.shape[1]
    panels, scratch = new_numbers(tile * n_features, points), scratch_for(points, tile, filler)
    nearest, wide = new_numbers(tile, points), new_numbers(tile, lanes)
    panel = panel_rows(panels)
    for number in range(tile):
        wide[number] = 1.0
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        tile_points, at = tile_of(points, row, n_rows, filler, scratch)
        pack_tile(tile_points, at, n_rows, factors, row, origin, panels)
        for number in range(n_rows):
            nearest[number] = closest[row + number]
            if weights.shape[0] > 0:
                wide[number] = weights[row + number]
        for number in range(n_rows, tile):
            nearest[number] = 0.0  # the padding of the last panel counts as 0
        first = 0
        while first < n_candidates:
            size = group_size(n_candidates - first)
            for number in range(0, n_rows, panel):
                at = number * n_features
                fold_group(
                    panels, size, at, n_features, groups, first, nearest, wide, number, lanes
                )
            first += size


@compiled(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, NUMBERS, RESULTS)
def keep_nearer_panels(
    points, start, stop, tile, filler, factors, origin, closest, candidate, folded
):
    """Fold a centroid into the distances so far, with rows in the lanes of vectors."""
    n_features = points.shape[1]
    panels, scratch = new_numbers(tile * n_features, points), scratch_for(points, tile, filler)
    nearest, panel = new_numbers(tile, points), panel_rows(panels)
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        tile_points, at = tile_of(points, row, n_rows, filler, scratch)
        pack_tile(tile_points, at, n_rows, factors, row, origin, panels)
        for number in range(n_rows):
            nearest[number] = closest[row + number]
        for number in range(0, n_rows, panel):
            keep_nearer(panels, number * n_features, n_features, candidate, nearest, number)
        for number in range(n_rows):
            folded[row + number] = nearest[number]


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, COLUMN, NUMBERS),
    *(COUNT, RESULTS, SUMS),
)
def fold_rows(
    points,
    start,
    stop,
    tile,
    filler,
    factors,
    origin,
    weights,
    closest,
    candidates,
    width,
    nearer,
    sums,
):
    """Add the inertia that each candidate would leave, with features in the lanes of vectors.

    What ``closest`` of each row would be is written to ``nearer``, which has ``width`` numbers for
    each row, as many as ``sums``; or 0: each row's are then written over those of the row before.
    """
    n_features, scratch, weight = points.shape[1], scratch_for(points, tile, filler), 1.0
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        tile_points, at = tile_of(points, row, n_rows, filler, scratch)
        for number in range(n_rows):
            so_far, factor = closest[row + number], factor_of(factors, row + number)
            if weights.shape[0] > 0:
                weight = np.float64(weights[row + number])
            first = 0
            while first < len(sums):
                size = MANY if len(sums) - first >= MANY else SOME
                fold_row(
                    tile_points,
                    size,
                    at + number,
                    factor,
                    origin,
                    candidates,
                    first,
                    n_features,
                    so_far,
                    weight,
                    sums,
                    nearer,
                    (row + number) * width + first,
                )
                first += size


@compiled(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, NUMBERS, RESULTS)
def keep_nearer_rows(
    points, start, stop, tile, filler, factors, origin, closest, candidate, folded
):
    """Fold a centroid into the distances so far, with features in the lanes of vectors."""
    n_features, scratch = points.shape[1], scratch_for(points, tile, filler)
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        tile_points, at = tile_of(points, row, n_rows, filler, scratch)
        for number in range(n_rows):
            factor = factor_of(factors, row + number)
            distance = sq_distance(
                tile_points, at + number, factor, origin, candidate, 0, n_features
            )
            folded[row + number] = min(closest[row + number], distance)


def potentials_cost(n_candidates: int, n_features: int) -> float:
    """Return the approximate time of one thread for the potentials of a row in nanoseconds."""
    return 2.0 + n_features / 4 + n_candidates * (1.0 + n_features / 25)


@override(candidate_potentials, on_sphere=True)
def all_trials_in_a_pass(rows: Dense, closest: Floats, candidates: Floats) -> Floats:
    """Compute the distances to all candidates in registers, from differences."""
    if rows.n_features < MANY_FEATURES:
        return added_potentials(rows, candidates, _in_panel_lanes(rows, closest, candidates))
    nothing_kept = np.empty((0, 0), rows.points.dtype)
    return added_potentials(rows, candidates, in_row_lanes(rows, closest, candidates, nothing_kept))


def added_potentials(rows: Dense, candidates: Floats, task: Callable[[int, int], Floats]) -> Floats:
    """Return the potentials that a task returns of each part of the rows, added up."""
    n_tasks = n_tasks_for(rows.n_points, potentials_cost(*candidates.shape))
    return merged_in_tree(in_parts(task, rows.n_points, n_tasks, rows.points.dtype))


def _in_panel_lanes(
    rows: Dense, closest: Floats, candidates: Floats
) -> Callable[[int, int], Floats]:
    """Return the task that has rows in the lanes of vectors."""
    points, dtype, n_candidates = rows.points, rows.points.dtype, len(candidates)
    groups, panel, shared = Groups.of(candidates), PANEL[dtype], _shared(rows, closest)

    def potentials(start: int, stop: int) -> Floats:
        lanes = np.zeros(len(groups.biases) * panel)
        fold_panels[dtype](points, start, stop, *shared, groups.numbers, n_candidates, lanes)
        sums = np.empty(n_candidates)
        sum_lanes.for_turns(len(lanes), dtype)(lanes, panel, sums)
        return sums

    return potentials


def in_row_lanes(
    rows: Dense, closest: Floats, candidates: Floats, nearer: Floats
) -> Callable[[int, int], Floats]:
    """Return the task that has features in the lanes, without a transposition of rows.

    It writes to ``nearer``, of shape (n_points, n_padded), unless that is empty.
    """
    points, dtype, (n_candidates, n_features) = rows.points, rows.points.dtype, candidates.shape
    padded = np.zeros((padded_to_vectors(n_candidates), n_features), dtype)
    padded[:n_candidates] = candidates
    shared, width = (*_shared(rows, closest), padded.reshape(-1)), nearer.shape[1]

    def potentials(start: int, stop: int) -> Floats:
        sums = np.zeros(len(padded))
        written = nearer.reshape(-1) if width else np.empty(len(padded), dtype)
        fold_rows[dtype](points, start, stop, *shared, width, written, sums)
        return sums[:n_candidates]

    return potentials


def _shared(rows: Dense, closest: Floats) -> tuple[Any, ...]:
    """Return what all parts of the rows are folded with."""
    tile = tile_rows(rows.n_points, rows.n_features, rows.points.dtype)
    return (tile, *filler_of(rows), origin_of(rows), weights_of(rows), closest)


def padded_to_vectors(n_candidates: int) -> int:
    """Return the number of candidates in whole vectors."""
    return -(-n_candidates // SOME) * SOME


@override(closer_of, on_sphere=True)
def folded_in_a_pass(rows: Dense, closest: Floats, candidate: Floats) -> Floats:
    """Measure from differences, with the same bits as ``candidate_potentials``."""
    points, n_features = rows.points, rows.n_features
    dtype, tile = points.dtype, tile_rows(rows.n_points, n_features, points.dtype)
    n_tasks = n_tasks_for(rows.n_points, 2.0 + n_features / 6)
    if n_features >= MANY_FEATURES and not keep_nearer_rows.pays(dtype, uses_of(points.size)):
        nearer = np.empty((rows.n_points, SOME), dtype)  # the first is of the candidate
        task = in_row_lanes(rows, closest, candidate.reshape(1, n_features), nearer)
        in_parts(task, rows.n_points, n_tasks, dtype)
        return nearer[:, 0].copy()
    shared = (
        tile,
        *filler_of(rows),
        origin_of(rows),
        closest,
        np.ascontiguousarray(candidate).reshape(-1),
    )
    keep_nearer = keep_nearer_rows if n_features >= MANY_FEATURES else keep_nearer_panels
    folded = np.empty(rows.n_points, dtype)

    def fold(start: int, stop: int) -> None:
        keep_nearer[dtype](points, start, stop, *shared, folded)

    in_parts(fold, rows.n_points, n_tasks, dtype)
    return folded
