"""Runs of Lloyd's algorithm on few rows, from the first step to the labels in one call.

They call the functions of single steps, in the same order. So results are bit-identical to those
of runs that take their steps one after another.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.assignment import (
    has_own_totals,
    label_rows,
    n_step_tasks,
    pack_groups,
)
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    FLAG,
    INDICES,
    NUMBER,
    NUMBERS,
    ROWS,
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
    new_stack,
    numbers_in,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, as_rows
from kmeans_xp.kernels.for_numba.measuring import add_distances, inertia_cost
from kmeans_xp.kernels.for_numba.stepping import is_step_short, run_steps, slots_of
from kmeans_xp.kernels.for_numba.tiling import (
    LARGE,
    Dense,
    Floats,
    filler_of,
    n_tasks_for,
    origin_of,
    smaller,
    tile_rows,
    weights_of,
)
from kmeans_xp.kernels.for_numba.two_clusters import pairs_for
from kmeans_xp.kernels.portable.runs import (
    Runs,
    are_steps_short,
    runs_at_once,
    takes_whole_runs,
)
from kmeans_xp.kernels.portable.steps import Update, means_on_sphere
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.sphere_rows import SphereRows
from kmeans_xp.kernels.threads import in_threads

__all__ = [
    "STEPS_IN_A_CALL",
    "Room",
    "follow",
    "is_run_in_a_task",
    "label_all",
    "label_and_measure",
    "room_for",
    "room_for_runs",
    "take_steps",
    "without_cut_runs",
]

#: number of steps in one call, as in a single fit
STEPS_IN_A_CALL = 16
#: maximum number of steps of a run whose signals are kept; a longer run is taken alone
_MOST_KEPT = 512

_run_steps, _label_rows, _pack_groups, _add_distances = (
    function.shared for function in (run_steps, label_rows, pack_groups, add_distances)
)

_LABELS = Parameter(2, types.int32, "C", True)


class Room(NamedTuple):
    """Scratch for the steps of a run."""

    groups: Any
    biases: Any
    slots: Any
    no_sums: Any
    sums: Any
    mass: Any
    steps: Any
    signals: Any
    flat: Any


@inline
def room_for(n_clusters, n_features, n_steps, slots, like):
    """Return scratch for up to ``n_steps`` steps in a call."""
    return Room(
        new_numbers((n_clusters + LARGE) * n_features, like),
        new_numbers(n_clusters + LARGE, like),
        slots,
        new_matrix(0, n_features, np.float64),
        new_stack(n_steps, n_clusters, n_features, np.float64),
        new_matrix(n_steps, n_clusters, np.float64),
        new_stack(n_steps, n_clusters, n_features, like),
        new_matrix(n_steps, 3, np.float64),
        new_numbers(n_clusters * n_features, like),
    )


@inline
def follow(steps, signals, n_taken, tol, explained, centroids, kept, n_done):
    """Move the centroids by the steps of a call, and add the signals to ``kept``, if it has room.

    Return whether the run is done, whether it has to be taken alone, and what it explains.
    """
    if kept.shape[0] > 0:
        for number in range(n_taken):
            for signal in range(3):
                kept[n_done + number, signal] = signals[number, signal]
    is_done, is_left = signals[n_taken - 1, 0] <= tol, signals[n_taken - 1, 1] > 0.0
    for number in range(n_taken - is_done):
        # Centroids may repeat in a cycle: `lloyd` detects that.
        is_left |= signals[number, 2] <= explained
        explained = signals[number, 2]
    for cluster in range(centroids.shape[0]):
        for feature in range(centroids.shape[1]):
            centroids[cluster, feature] = steps[n_taken - 1, cluster, feature]
    return is_done, is_left, explained


@inline
def take_steps(
    points, tile, pairs, filler, origin, weights, tol, on_sphere, max_iter, centroids, room, kept
):
    """Move the centroids; return the number of steps, and whether a separate run is needed.

    The signals of each step are written to ``kept``, if it has room for them.
    """
    steps, signals, none = room.steps, room.signals, new_numbers(0, origin)
    # From a literal 0, numba would compile `follow` for it too.
    n_done, is_left, is_done, explained = np.int64(0), False, False, -np.inf
    while n_done < max_iter and not is_done and not is_left:
        n_more = smaller(len(signals), max_iter - n_done)
        n_taken = _run_steps(
            *(points, len(points), tile, pairs, filler, none, origin, weights, as_rows(centroids)),
            *(tol, on_sphere),
            *(room.groups, room.biases, room.slots, room.sums, room.mass, steps),
            matrix_in(signals, 0, n_more, signals.shape[1]),
        )
        is_done, is_left, explained = follow(
            steps, signals, n_taken, tol, explained, centroids, kept, n_done
        )
        n_done += n_taken
    return n_done, is_left


@inline
def label_all(points, tile, pairs, filler, origin, weights, centroids, labels, room):
    """Write the labels, and the centroids to ``room.flat``."""
    n_points, (n_clusters, n_features) = len(points), centroids.shape
    groups, biases, flat, none = room.groups, room.biases, room.flat, new_numbers(0, origin)
    _pack_groups(as_rows(centroids), groups, biases)
    _label_rows(
        *(points, 0, n_points, tile, pairs, filler, none, origin, weights),
        *(groups, biases, n_clusters, labels, room.no_sums),
    )
    for cluster in range(n_clusters):
        for feature in range(n_features):
            flat[cluster * n_features + feature] = centroids[cluster, feature]


@inline
def label_and_measure(points, tile, pairs, filler, origin, weights, centroids, labels, room):
    """Write the labels, and return the inertia."""
    label_all(points, tile, pairs, filler, origin, weights, centroids, labels, room)
    n_points, none = len(points), new_numbers(0, origin)
    return _add_distances(
        points, 0, n_points, tile, filler, none, origin, weights, labels, room.flat
    )


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, NUMBERS, COLUMN, COUNT, COUNT, NUMBER, FLAG),
    *(STACKED_TOTALS, STACK, _LABELS, SUMS, INDICES, STACKED_TOTALS),
)
def _take_runs(
    points,
    tile,
    pairs,
    filler,
    origin,
    weights,
    first,
    stop,
    tol,
    on_sphere,
    slots,
    centroids,
    labels,
    inertia,
    n_iter,
    signals,
):
    """Take some runs, from ``centroids``, which they move."""
    n_most, n_clusters, n_features = signals.shape[1], centroids.shape[1], centroids.shape[2]
    room = room_for(n_clusters, n_features, smaller(STEPS_IN_A_CALL, n_most), slots, centroids)
    for run in range(first, stop):
        moved = matrix_in(centroids, run * n_clusters * n_features, n_clusters, n_features)
        n_done, is_left = take_steps(
            *(points, tile, pairs, filler, origin, weights, tol, on_sphere, n_most, moved),
            *(room, matrix_in(signals, run * n_most * 3, n_most, 3)),
        )
        n_iter[run] = 0 if is_left else n_done
        if not is_left:
            of_run = numbers_in(labels, run * len(points), len(points))
            inertia[run] = label_and_measure(
                points, tile, pairs, filler, origin, weights, moved, of_run, room
            )


def is_run_in_a_task(rows: DenseRows, n_clusters: int) -> bool:
    """Return whether one task has all rows in each part of a run."""
    return (
        has_own_totals(n_clusters, rows.n_features)
        and n_step_tasks(rows, n_clusters) == 1
        and n_tasks_for(rows.n_points, inertia_cost(rows.n_features)) == 1
    )


@takes_whole_runs.override("numpy", rows=DenseRows, rank=1)
def if_one_task_has_all_rows(rows: DenseRows, n_clusters: int, *, xp: Namespace) -> bool:
    """Take whole runs if Python's part of a run would take much of the time."""
    dtypes = (rows.points.dtype, *(each.dtype for each in rows[1:] if each is not None))
    if len(set(dtypes)) > 1 or dtypes[0] not in PANEL or not rows.points.size:
        return False
    return is_run_in_a_task(rows, n_clusters) and _take_runs.pays(dtypes[0])


@are_steps_short.override("numpy", rows=DenseRows | SphereRows, rank=1)
def if_threads_would_wait(rows: Dense, n_clusters: int, *, xp: Namespace) -> bool:
    """Compare the time of a step with that of a wake-up."""
    return is_step_short(rows.n_points, n_clusters, rows.n_features)


@runs_at_once.override("numpy", rows=DenseRows, rank=1)
def runs_in_threads(
    rows: DenseRows,
    starts: Floats,
    max_iter: int,
    tol: float,
    update: Callable[..., Update],
    *,
    xp: Namespace,
) -> Any:
    """Give each thread some runs, which it takes without Python."""
    n_runs, n_clusters, n_features = starts.shape
    if not takes_whole_runs(rows, n_clusters, xp=xp) or starts.dtype != rows.points.dtype:
        return NotImplemented
    dtype, runs = starts.dtype, room_for_runs(starts, rows.n_points, max_iter)
    on_sphere = update is means_on_sphere
    shared = (
        rows.points,
        tile_rows(rows.n_points, n_features, dtype),
        pairs_for(n_clusters, n_features, dtype),
        filler_of(rows)[0],
        origin_of(rows),
        weights_of(rows),
    )

    def take(run: int) -> None:
        slots = slots_of(1, n_clusters, n_features)
        _take_runs[dtype](*shared, run, run + 1, tol, on_sphere, slots, *runs)

    in_threads(take, n_runs)
    return without_cut_runs(runs, max_iter, tol)


def room_for_runs(starts: Floats, n_points: int, max_iter: int) -> Runs:
    """Return runs that have taken no step."""
    n_runs = len(starts)
    return Runs(
        np.array(starts, order="C"),
        np.zeros((n_runs, n_points), np.int32),
        np.zeros(n_runs),
        np.zeros(n_runs, np.int64),
        np.zeros((n_runs, min(max_iter, _MOST_KEPT), 3)),
    )


def without_cut_runs(runs: Runs, max_iter: int, tol: float) -> Runs:
    """Return the runs; those that have more steps than signals are kept of are taken alone."""
    n_most = runs.signals.shape[1]
    if n_most < max_iter:
        is_cut = (runs.n_iter == n_most) & ~(runs.signals[:, -1, 0] <= tol)
        runs.n_iter[is_cut] = 0
    return runs
