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
    MATRIX,
    NUMBER,
    STACK,
    STACKED_TOTALS,
    SUMS,
    Parameter,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.memory import (
    matrix_in,
    new_matrix,
    new_numbers,
    numbers_in,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, as_rows, panel_rows
from kmeans_xp.kernels.for_numba.measuring import (
    add_moments,
    measure_rows,
    measure_spread,
    moments_cost,
)
from kmeans_xp.kernels.for_numba.runs import (
    STEPS_IN_A_CALL,
    is_run_in_a_task,
    label_all,
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
    smaller,
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

_add_moments, _choose_rows, _measure_rows = (
    each.shared for each in (add_moments, choose_rows, measure_rows)
)
# Of these a call would be felt.
_sum_lanes, _measure_spread, _add_blocks, _find = (
    inline(each.function) for each in (sum_lanes, measure_spread, add_blocks, find)
)

#: the rows of all problems, their weights, the random numbers of each run, given centroids, and
#: labels
_POINTS, _WEIGHTS, _UNIFORMS, _GIVEN = (
    Parameter(3),
    Parameter(2, None, "C"),
    Parameter(3, types.float64),
    Parameter(3, None, "C"),
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
def _begin(points, tile, filler, origin, weights, uniforms, given, labels, room, closest, chosen):
    """Write the first centroids, and the squared distances to them if they were given.

    If one was drawn, the distances do not count it.
    """
    n_points, n_features = points.shape
    if given.shape[0] > 0:
        for cluster in range(len(given)):
            for feature in range(n_features):
                chosen[cluster, feature] = given[cluster, feature]
        label_all(points, tile, 0, filler, origin, weights, given, labels, room)
        none = new_numbers(0, origin)
        _measure_rows(points, 0, n_points, tile, filler, none, origin, labels, room.flat, closest)
        return
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


@compiled(
    _POINTS,
    _WEIGHTS,
    _UNIFORMS,
    _GIVEN,
    *(COUNT,) * 8,
    *(NUMBER,) * 7,
    STACKED_TOTALS,
    _LABELS,
    STACK,
    MATRIX,
    SUMS,
    _COUNTS,
)
def _solve(
    points,
    weights,
    uniforms,
    given,
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
    least_mass,
    margin,
    slots,
    labels,
    centroids,
    origins,
    inertia,
    n_iter,
):
    _, n_points, n_features = points.shape
    n_clusters = centroids.shape[1]
    origin, numbers = new_numbers(n_features, centroids), new_numbers(3, np.float64)
    start = new_matrix(n_clusters, n_features, centroids)
    own_labels = new_numbers(n_points, np.int32)
    # Rows are chosen after one centroid, the last of those given.
    n_given = given.shape[1]
    n_drawn = 1 - smaller(1, n_given)
    n_chosen = n_clusters - n_given - n_drawn
    closest, chosen = new_numbers(n_points, centroids), new_numbers(n_chosen, np.int64)
    of_run = new_numbers(uniforms.shape[2], np.float64)
    after_first = numbers_in(of_run, n_drawn, len(of_run) - n_drawn)
    after_last = matrix_in(start, (n_given + n_drawn - 1) * n_features, 1 + n_chosen, n_features)
    n_steps, none_kept = min(STEPS_IN_A_CALL, max_iter), new_matrix(0, 3, np.float64)
    room = room_for(n_clusters, n_features, n_steps, slots, centroids)
    for problem in range(first, stop):
        own, own_weights = as_rows(points[problem]), weights[problem]
        own_given = matrix_in(given, problem * n_given * n_features, n_given, n_features)
        n_iter[problem] = 0
        _measure(own, tile, filler, origin, numbers)
        variance = numbers[0]
        if not variance * n_features <= greatest or 0.0 < variance < least:
            continue
        if len(own_weights) > 0:
            mass = own_weights.sum()
            total = variance * mass
            if mass < least_mass:
                continue
            if not least_total <= total or not total * n_features * n_points <= greatest_total:
                continue
        for feature in range(n_features):
            origins[problem, feature] = origin[feature]
        for run in range(uniforms.shape[1]):
            for number in range(len(of_run)):
                of_run[number] = uniforms[problem, run, number]
            _begin(
                *(own, tile, filler, origin, own_weights, of_run, own_given),
                *(own_labels, room, closest, start),
            )
            _choose_rows(
                *(own, tile, filler, keep, fold, origin, own_weights, after_first, n_given > 0),
                *(closest, chosen, after_last),
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
                    centroids[problem, cluster, feature] = start[cluster, feature]


@solved_at_once.override("numpy", rank=1)
def solved_in_threads(
    points: Floats,
    weights: Floats | None,
    uniforms: Floats,
    given: Floats | None,
    options: ProblemOptions,
    *,
    xp: Namespace,
) -> Any:
    """Give each thread some problems, which it solves without Python."""
    n_problems, n_points, n_features = points.shape
    n_clusters, dtype = options.n_clusters, points.dtype
    if given is None:
        given = np.empty((n_problems, 0, n_features), dtype)
    elif given.shape[1] >= n_clusters:
        return None  # compiled code would write beyond the centroids
    n_chosen = n_clusters - max(1, given.shape[1])
    n_trials = uniforms.shape[2] // max(1, n_chosen)
    rows = DenseRows(points[0]) if dtype in PANEL else None
    if rows is None or not _is_one_task(rows, n_clusters, n_chosen, n_trials):
        return None
    if not _solve.pays(dtype, n_problems):
        return None
    solved = Solved(
        np.empty((n_problems, n_points), np.int32),
        # Zeros where a problem is not solved: callers compute with all of them.
        np.zeros((n_problems, n_clusters, n_features), dtype),
        np.zeros((n_problems, n_features), dtype),
        np.zeros(n_problems),
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
        options.least_mass,
        options.margin,
    )
    n_tasks = min(n_problems, _MOST_TASKS)

    def solve(task: int) -> None:
        start, stop = (n_problems * each // n_tasks for each in (task, task + 1))
        slots = slots_of(1, n_clusters, n_features)
        _solve[dtype](points, weights, uniforms, given, start, stop, *shared, slots, *solved)

    in_threads(solve, n_tasks)
    return solved


def _is_one_task(rows: DenseRows, n_clusters: int, n_chosen: int, n_trials: int) -> bool:
    """Return whether a fit of these rows adds up all of them in one task, like here."""
    return (
        is_run_in_a_task(rows, n_clusters)
        and is_chosen_in_a_task(rows, n_chosen, n_trials)
        and n_tasks_for(rows.n_points, moments_cost(rows.n_features)) == 1
    )
