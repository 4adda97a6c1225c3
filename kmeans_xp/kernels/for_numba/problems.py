"""Small problems, each solved completely in compiled code, without Python between its steps.

It calls the same functions as a single fit of such a problem, in the same order. So results are
bit-identical to those of single fits.
"""

from typing import Any

import numpy as np
from numba import types

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.compiled import (
    COUNT,
    NUMBER,
    STACK,
    STACKED_TOTALS,
    SUMS,
    Parameter,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_matrix, new_numbers, numbers_in
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, as_rows, panel_rows
from kmeans_xp.kernels.for_numba.measuring import add_moments, measure_spread, moments_cost
from kmeans_xp.kernels.for_numba.runs import (
    STEPS_IN_A_CALL,
    is_run_in_a_task,
    label_and_measure,
    room_for,
    take_steps,
)
from kmeans_xp.kernels.for_numba.seeding import DRAWN_BLOCK, add_blocks, find
from kmeans_xp.kernels.for_numba.small_seeding import choose_rows, folds_of, is_chosen_in_a_task
from kmeans_xp.kernels.for_numba.stepping import slots_of
from kmeans_xp.kernels.for_numba.tiling import (
    Floats,
    filler_of,
    n_tasks_for,
    sum_lanes,
    tile_rows,
)
from kmeans_xp.kernels.for_numba.two_clusters import pairs_for
from kmeans_xp.kernels.portable.problems import ProblemOptions, Solved, solved_at_once
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import in_threads

__all__: list[str] = []

#: divides problems evenly for every number of threads
_MOST_TASKS = 64

_add_moments, _choose_rows = add_moments.shared, choose_rows.shared
# Of these a call would be felt.
_sum_lanes, _measure_spread, _add_blocks, _find = (
    inline(each.function) for each in (sum_lanes, measure_spread, add_blocks, find)
)

#: the rows of all problems, their weights, the random numbers of each run, and labels
_POINTS, _WEIGHTS, _UNIFORMS = (
    Parameter(3),
    Parameter(2, None, "C"),
    Parameter(2, types.float64, "C"),
)
_LABELS = Parameter(2, types.int32, "C", True)
_COUNTS = Parameter(1, types.int64, "C", True)


@inline
def _measure(points, tile, filler, origin, numbers):
    """Write the mean of the rows and their variance, like a fit."""
    n_points, n_features = points.shape
    first, none = new_numbers(n_features, origin), new_numbers(0, origin)
    for feature in range(n_features):
        first[feature] = points[0, feature]
    panel = panel_rows(origin)
    lanes, square_lanes = np.zeros(n_features * panel), np.zeros(n_features * panel)
    _add_moments(points, 0, n_points, tile, filler, none, first, none, lanes, square_lanes)
    sums, squares = new_numbers(n_features, np.float64), new_numbers(n_features, np.float64)
    _sum_lanes(lanes, panel, sums)
    _sum_lanes(square_lanes, panel, squares)
    mass = np.float64(n_points)
    _measure_spread(mass, sums, squares, mass, sums, squares, first, origin, numbers)


@inline
def _choose(points, tile, filler, keep, fold, origin, weights, uniforms, closest, found, chosen):
    """Write rows, relative to the origin, that greedy k-means++ chooses."""
    n_points, n_features = points.shape
    if weights.shape[0] > 0:
        none, first = new_numbers(0, origin), new_numbers(1, np.int64)
        totals = new_numbers(-(-n_points // DRAWN_BLOCK), np.float64)
        _add_blocks(weights, none, 0, len(totals), totals)
        _find(weights, none, totals, numbers_in(uniforms, 0, 1), False, first)
        row = first[0]
    else:
        row = np.int64(min(uniforms[0] * n_points, n_points - 1))
    for feature in range(n_features):
        chosen[0, feature] = points[row, feature] - origin[feature]
    for other in range(n_points):
        closest[other] = np.inf
    rest = numbers_in(uniforms, 1, len(uniforms) - 1)
    _choose_rows(points, tile, filler, keep, fold, origin, weights, rest, closest, found, chosen)


@compiled(
    _POINTS,
    _WEIGHTS,
    _UNIFORMS,
    *(COUNT,) * 8,
    *(NUMBER,) * 6,
    STACKED_TOTALS,
    _LABELS,
    STACK,
    SUMS,
    _COUNTS,
)
def _solve(
    points,
    weights,
    uniforms,
    first,
    stop,
    tile,
    pairs,
    filler,
    keep,
    fold,
    max_iter,
    tol,
    least,
    greatest,
    least_total,
    greatest_total,
    margin,
    slots,
    labels,
    centroids,
    inertia,
    n_iter,
):
    _, n_points, n_features = points.shape
    n_clusters = centroids.shape[1]
    origin, numbers = new_numbers(n_features, centroids), new_numbers(3, np.float64)
    start = new_matrix(n_clusters, n_features, centroids)
    own_labels = new_numbers(n_points, np.int32)
    closest, chosen = new_numbers(n_points, centroids), new_numbers(n_clusters - 1, np.int64)
    n_steps, none_kept = min(STEPS_IN_A_CALL, max_iter), new_matrix(0, 3, np.float64)
    room = room_for(n_clusters, n_features, n_steps, slots, centroids)
    for problem in range(first, stop):
        own, own_weights = as_rows(points[problem]), weights[problem]
        n_iter[problem] = 0
        _measure(own, tile, filler, origin, numbers)
        variance = numbers[0]
        if not variance * n_features <= greatest or 0.0 < variance < least:
            continue
        if len(own_weights) > 0:
            total = variance * own_weights.sum()
            if not least_total <= total or not total * n_features * n_points <= greatest_total:
                continue
        for run in range(len(uniforms)):
            _choose(
                *(own, tile, filler, keep, fold, origin, own_weights, uniforms[run]),
                *(closest, chosen, start),
            )
            n_done, is_left = take_steps(
                *(own, tile, pairs, filler, origin, own_weights, tol * variance, False),
                *(max_iter, start, room, none_kept),
            )
            if is_left:
                n_iter[problem] = 0
                break
            total = label_and_measure(
                own, tile, pairs, filler, origin, own_weights, start, own_labels, room
            )
            if run > 0 and not total < inertia[problem] * (1.0 - margin):
                continue
            inertia[problem], n_iter[problem] = total, n_done
            for row in range(n_points):
                labels[problem, row] = own_labels[row]
            for cluster in range(n_clusters):
                for feature in range(n_features):
                    centroids[problem, cluster, feature] = start[cluster, feature] + origin[feature]


@solved_at_once.override("numpy", rank=1)
def solved_in_threads(
    points: Floats,
    weights: Floats | None,
    uniforms: Floats,
    options: ProblemOptions,
    *,
    xp: Namespace,
) -> Any:
    """Give each thread some problems, which it solves without Python."""
    n_problems, n_points, n_features = points.shape
    n_clusters, dtype = options.n_clusters, points.dtype
    n_trials = (uniforms.shape[1] - 1) // max(1, n_clusters - 1)
    rows = DenseRows(points[0]) if dtype in PANEL else None
    if rows is None or not _is_one_task(rows, n_clusters, n_trials):
        return None
    if not _solve.pays(dtype, n_problems):
        return None
    solved = Solved(
        np.empty((n_problems, n_points), np.int32),
        np.empty((n_problems, n_clusters, n_features), dtype),
        np.empty(n_problems),
        np.zeros(n_problems, np.int64),
    )
    if weights is None:
        weights = np.empty((n_problems, 0), dtype)
    shared = (
        tile_rows(n_points, n_features, dtype),
        pairs_for(n_clusters, n_features, dtype),
        filler_of(rows)[0],
        *folds_of(n_features, dtype),
        options.max_iter,
        options.tol,
        options.least_variance,
        options.greatest_variance,
        options.least_total,
        options.greatest_total,
        options.margin,
    )
    n_tasks = min(n_problems, _MOST_TASKS)

    def solve(task: int) -> None:
        start, stop = (n_problems * each // n_tasks for each in (task, task + 1))
        slots = slots_of(1, n_clusters, n_features)
        _solve[dtype](points, weights, uniforms, start, stop, *shared, slots, *solved)

    in_threads(solve, n_tasks)
    return solved


def _is_one_task(rows: DenseRows, n_clusters: int, n_trials: int) -> bool:
    """Return whether a fit of these rows adds up all of them in one task, like here."""
    return (
        is_run_in_a_task(rows, n_clusters)
        and is_chosen_in_a_task(rows, n_clusters - 1, n_trials)
        and n_tasks_for(rows.n_points, moments_cost(rows.n_features)) == 1
    )
