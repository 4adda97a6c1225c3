"""k-means++ on few rows: all steps in one call, since calls take most of the time.

It uses the same functions as ``drawn``, ``candidate_potentials`` and ``closer_of`` with a single
task. So it chooses each row by the same bits.
"""

from typing import Any

import numpy as np

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.assignment import pack_groups
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    FLAG,
    INDICES,
    MATRIX,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    ROWS,
    SUMS,
    call_at,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.memory import (
    matrix_in,
    new_matrix,
    new_numbers,
    numbers_in,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, as_rows, panel_rows
from kmeans_xp.kernels.for_numba.seeding import (
    DRAWN_BLOCK,
    LONG,
    MANY_FEATURES,
    SOME,
    add_blocks,
    find,
    first_least,
    fold_panels,
    fold_rows,
    keep_nearer_panels,
    keep_nearer_rows,
    potentials_cost,
)
from kmeans_xp.kernels.for_numba.skipped_seeding import may_hold_rows_by_cluster
from kmeans_xp.kernels.for_numba.tiling import (
    LARGE,
    Floats,
    filler_of,
    n_tasks_for,
    origin_of,
    sum_lanes,
    tile_rows,
    weights_of,
)
from kmeans_xp.kernels.portable.seeding import Candidate, chosen_at_once
from kmeans_xp.kernels.rows import DenseRows

__all__ = ["choose_rows", "folds_of", "is_chosen_in_a_task"]

_add_blocks, _find, _first_least = add_blocks.shared, find.shared, first_least.shared
_pack_groups, _sum_lanes = pack_groups.shared, sum_lanes.shared
_fold_panels, _fold_rows = fold_panels.shared, fold_rows.shared

#: functions that fold one centroid into the distances so far, and trials into their potentials
_keep_nearer_at = call_at(
    ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, NUMBERS, RESULTS
)
_FOLD = (ROWS, COUNT, COUNT, NUMBERS, COLUMN, COLUMN, MATRIX, COUNT, RESULTS, SUMS)
_fold_at = call_at(*_FOLD)


@compiled(*_FOLD, is_called=False)
def fold_few_features(
    points, tile, filler, origin, weights, closest, candidates, n_candidates, _nearer, sums
):
    """Write the potentials of candidates, with rows in the lanes of vectors."""
    n_features, panel, none = points.shape[1], panel_rows(origin), new_numbers(0, origin)
    groups = new_numbers((n_candidates + LARGE) * n_features, origin)
    biases = new_numbers(n_candidates + LARGE, origin)
    lanes = new_numbers((n_candidates + LARGE) * panel, sums)
    for lane in range(len(lanes)):
        lanes[lane] = 0.0
    _pack_groups(as_rows(matrix_in(candidates, 0, n_candidates, n_features)), groups, biases)
    _fold_panels(
        *(points, 0, len(points), tile, filler, none, origin, weights, closest),
        *(groups, n_candidates, lanes),
    )
    _sum_lanes(lanes, panel, numbers_in(sums, 0, n_candidates))


@compiled(*_FOLD, is_called=False)
def fold_many_features(
    points, tile, filler, origin, weights, closest, candidates, n_candidates, nearer, sums
):
    """Write the potentials of candidates, with features in the lanes of vectors.

    If ``nearer`` has room, what ``closest`` would be with each candidate is written there.
    """
    for number in range(len(sums)):
        sums[number] = 0.0
    flat, none = numbers_in(candidates, 0, candidates.size), new_numbers(0, origin)
    is_kept = len(nearer) > 0
    written = nearer if is_kept else new_numbers(len(sums), origin)
    _fold_rows(
        *(points, 0, len(points), tile, filler, none, origin, weights, closest, flat),
        *(len(sums) * is_kept, written, sums),
    )


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, COUNT),
    *(NUMBERS, NUMBERS, NUMBERS_64, FLAG, RESULTS, INDICES, MATRIX),
)
def choose_rows(
    points, tile, filler, keep, fold, origin, weights, uniforms, is_folded, closest, found, chosen
):
    """Write indices of rows, and the rows, relative to the origin, after the first in ``chosen``.

    ``is_folded`` says whether ``closest`` counts the first one; this function writes to
    ``closest``. ``keep`` and ``fold`` are addresses from ``folds_of``. As in ``kept_trials``, the
    distances to all candidates are kept where rows are long, and then the best one is not measured
    again.
    """
    n_points, n_features = points.shape
    n_trials, none = len(uniforms) // max(1, len(found)), new_numbers(0, origin)
    totals = new_numbers(-(-n_points // DRAWN_BLOCK), uniforms)
    indices = new_numbers(n_trials, found)
    # The padding of the last vector is zeros.
    n_padded = -(-n_trials // SOME) * SOME
    candidates, sums = new_matrix(n_padded, n_features, origin), new_numbers(n_padded, uniforms)
    for trial in range(n_trials, n_padded):
        for feature in range(n_features):
            candidates[trial, feature] = 0.0
    is_kept = n_features >= MANY_FEATURES and n_features >= LONG * n_padded
    nearer, best = new_numbers(n_points * n_padded * is_kept, origin), 0
    for step in range(len(found)):
        if is_kept and step > 0:
            for row in range(n_points):
                closest[row] = nearer[row * n_padded + best]
        elif step > 0 or not is_folded:
            last = numbers_in(chosen, step * n_features, n_features)
            _keep_nearer_at(
                keep, points, 0, n_points, tile, filler, none, origin, closest, last, closest
            )
        trials = numbers_in(uniforms, step * n_trials, n_trials)
        _add_blocks(closest, weights, 0, len(totals), totals)
        _find(closest, weights, totals, trials, True, indices)
        for trial in range(n_trials):
            for feature in range(n_features):
                candidates[trial, feature] = points[indices[trial], feature] - origin[feature]
        _fold_at(
            *(fold, points, tile, filler, origin, weights, closest, candidates, n_trials),
            *(nearer, sums),
        )
        best = _first_least(numbers_in(sums, 0, n_trials), 1e-12 if origin.itemsize == 8 else 1e-6)
        found[step] = indices[best]
        for feature in range(n_features):
            chosen[step + 1, feature] = candidates[best, feature]


def folds_of(n_features: int, dtype: Any) -> tuple[int, int]:
    """Return the addresses of the two folding functions for this number of features."""
    is_many = n_features >= MANY_FEATURES
    keep = keep_nearer_rows if is_many else keep_nearer_panels
    fold = fold_many_features if is_many else fold_few_features
    return keep.address(dtype, _keep_nearer_at), fold.address(dtype, _fold_at)


def is_chosen_in_a_task(rows: DenseRows, n_chosen: int, n_trials: int) -> bool:
    """Return whether one task has all rows in each step of k-means++."""
    cost = potentials_cost(n_trials, rows.n_features)  # the slowest kernel of a step
    return n_tasks_for(rows.n_points, cost) == 1 and not may_hold_rows_by_cluster(rows, n_chosen)


@chosen_at_once.override("numpy", rows=DenseRows, rank=1)
def chosen_in_a_call(
    rows: DenseRows, closest: Floats, last: Floats | None, trials: Floats, *, xp: Namespace
) -> Any:
    """Take all steps in compiled code if Python's part of a step would take much of the time."""
    points, dtype, n_chosen = rows.points, closest.dtype, len(trials)
    if dtype not in PANEL or points.dtype != dtype or not points.size:
        return NotImplemented
    if not trials.size or not is_chosen_in_a_task(rows, *trials.shape):
        return NotImplemented
    if not choose_rows.pays(dtype):
        return NotImplemented
    found = np.empty(n_chosen, np.int64)
    chosen = np.empty((1 + n_chosen, rows.n_features), dtype)
    if last is not None:
        chosen[:1] = last
    choose_rows[dtype](
        points,
        tile_rows(rows.n_points, rows.n_features, dtype),
        filler_of(rows)[0],
        *folds_of(rows.n_features, dtype),
        origin_of(rows),
        np.ascontiguousarray(weights_of(rows)),
        np.ascontiguousarray(trials).reshape(-1),
        last is None,
        closest.copy(),
        found,
        chosen,
    )
    return Candidate(found, chosen[1:])
