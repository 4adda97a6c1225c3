"""Runs of Lloyd's algorithm on few sparse rows, from the first step to the labels in one call.

They call the functions of single steps, in the same order, as runs on dense rows do.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMNS,
    COUNT,
    FLAG,
    INDICES,
    NUMBER,
    NUMBERS,
    RESULTS,
    STACK,
    STACKED_TOTALS,
    STARTS,
    SUMS,
    Parameter,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import as_rows
from kmeans_xp.kernels.for_numba.runs import (
    STEPS_IN_A_CALL,
    follow,
    room_for_runs,
    without_cut_runs,
)
from kmeans_xp.kernels.for_numba.small_sparse_steps import pack_all, run_steps
from kmeans_xp.kernels.for_numba.sparse_assignment import is_step_of_a_task, label_rows
from kmeans_xp.kernels.for_numba.sparse_measuring import (
    add_distances,
    n_measuring_tasks,
    write_sq_norms,
)
from kmeans_xp.kernels.for_numba.sparse_panels import (
    Panel,
    arrays_of,
    origin_of,
    override,
    weights_of,
)
from kmeans_xp.kernels.for_numba.tiling import Floats
from kmeans_xp.kernels.portable.runs import runs_at_once, takes_whole_runs
from kmeans_xp.kernels.portable.steps import Update, means_on_sphere
from kmeans_xp.kernels.sparse_rows import SparseRows
from kmeans_xp.kernels.threads import in_threads

__all__: list[str] = []

_run_steps, _label_rows, _write_sq_norms, _add_distances = (
    function.shared for function in (run_steps, label_rows, write_sq_norms, add_distances)
)

_LABELS = Parameter(2, types.int32, "C", True)


@compiled(
    *(NUMBERS, COLUMNS, STARTS, COLUMN, NUMBERS, COUNT, NUMBER, FLAG),
    *(RESULTS, SUMS, COUNT, COUNT, STACK, _LABELS, SUMS, INDICES, STACKED_TOTALS),
)
def _take_run(
    numbers,
    columns,
    starts,
    weights,
    origin,
    run,
    tol,
    on_sphere,
    panel,
    biases,
    n_units,
    n_groups,
    centroids,
    labels,
    inertia,
    n_iter,
    kept,
):
    """Take one run, from ``centroids[run]``, which it moves."""
    n_points, n_most = len(starts) - 1, kept.shape[1]
    n_clusters, n_features = centroids.shape[1], centroids.shape[2]
    n_steps = min(STEPS_IN_A_CALL, n_most)
    sums = np.empty((n_steps, n_clusters, n_features))
    mass, signals = np.empty((n_steps, n_clusters)), np.empty((n_steps, 3))
    steps = np.empty((n_steps, n_clusters, n_features), centroids.dtype)
    own, n_done, is_left, is_done, explained = centroids[run], 0, False, False, -np.inf
    while n_done < n_most and not is_done and not is_left:
        n_taken = _run_steps(
            *(numbers, columns, starts, weights, origin, as_rows(own), tol),
            *(on_sphere, panel, biases, n_units, n_groups, sums, mass, steps),
            signals[: min(n_steps, n_most - n_done)],
        )
        is_done, is_left, explained = follow(
            steps, signals, n_taken, tol, explained, own, kept[run], n_done
        )
        n_done += n_taken
    n_iter[run] = 0 if is_left else n_done
    if is_left:
        return
    pack_all(as_rows(own), origin, n_groups, panel, biases)
    _label_rows(
        *(numbers, columns, starts, 0, n_points),
        *(panel, biases, n_units, n_groups, n_features, labels[run]),
    )
    flat, sq_norms = own.reshape(own.size), np.empty(n_clusters)
    _write_sq_norms(flat, origin, 0, n_clusters, sq_norms)
    inertia[run] = _add_distances(
        *(numbers, columns, starts, 0, n_points, origin, weights, labels[run], flat, sq_norms)
    )


@override(takes_whole_runs)
def if_one_task_has_all_rows(rows: SparseRows, n_clusters: int) -> bool:
    """Take whole runs if Python's part of a run would take much of the time."""
    is_small = is_step_of_a_task(rows, n_clusters) and n_measuring_tasks(rows) == 1
    return is_small and _take_run.pays(rows.dtype)


@override(runs_at_once)
def runs_in_threads(
    rows: SparseRows, starts: Floats, max_iter: int, tol: float, update: Callable[..., Update]
) -> Any:
    """Give each thread some runs, which it takes without Python."""
    n_runs, n_clusters, n_features = starts.shape
    if not if_one_task_has_all_rows(rows, n_clusters):
        return NotImplemented
    dtype, runs = starts.dtype, room_for_runs(starts, rows.n_points, max_iter)
    shared = (*arrays_of(rows), weights_of(rows), origin_of(rows))
    on_sphere = update is means_on_sphere

    def take(run: int) -> None:
        panel = Panel.empty(n_clusters, n_features, dtype)
        _take_run[dtype](*shared, run, tol, on_sphere, *panel, *runs)

    in_threads(take, n_runs)
    return without_cut_runs(runs, max_iter, tol)
