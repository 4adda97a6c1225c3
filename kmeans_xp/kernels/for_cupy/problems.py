"""Small problems as one grid: every launch of a fit does its work for all of them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cupy
import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Array, Namespace, is_out_of_memory, to_host, within_budget
from kmeans_xp.kernels.for_cupy.labels import (
    bytes_of_run,
    is_kernels_alone,
    running_minimum_labels,
)
from kmeans_xp.kernels.for_cupy.launching import MOST_RUNS, ManyRows, are_plain
from kmeans_xp.kernels.for_cupy.moments import spread_of_each
from kmeans_xp.kernels.for_cupy.seeding import added_to_runs, batched_inertia, starts_of_runs
from kmeans_xp.kernels.for_cupy.stepping import FEW_NUMBERS, QueuedSteps, StepsInGraphs
from kmeans_xp.kernels.portable.problems import ProblemOptions, Solved, solved_at_once
from kmeans_xp.kernels.rows import DenseRows

__all__: list[str] = []

Host = NDArray[Any]

#: memory of a group of problems beside its rows
_GROUP_BYTES = 2**30


class _Runs(NamedTuple):
    """Results of runs; those with an empty cluster or a cycle have 0 iterations."""

    centroids: Array
    n_iter: Host


@solved_at_once.override("cupy")
def solved_in_one_grid(
    points: Array,
    weights: Array | None,
    uniforms: Host,
    given: Array | None,
    options: ProblemOptions,
    *,
    xp: Namespace,
) -> Any:
    """Take each step of all problems in the same launches, with one read for all of them.

    These are the kernels of a single fit, and each run has its own blocks. So results are
    bit-identical to those of single fits.
    """
    n_clusters, n_starts = options.n_clusters, uniforms.shape[1]
    if not _is_small(points, weights, given, n_clusters) or n_starts > MOST_RUNS:
        return None
    try:
        return _solved_in_groups(points, weights, uniforms, given, options)
    except Exception as error:
        if not is_out_of_memory(error, xp=xp):
            raise
        return None  # problems one after another are faster


def _solved_in_groups(
    points: Array,
    weights: Array | None,
    uniforms: Host,
    given: Array | None,
    options: ProblemOptions,
) -> Solved | None:
    found = []
    for group in _groups(points, uniforms, given, options.n_clusters):
        own_weights, own_given = (
            None if each is None else each[group] for each in (weights, given)
        )
        of_group = _solved(points[group], own_weights, uniforms[group], own_given, options)
        if of_group is None:
            return None
        found.append(of_group)
    return Solved(*(cupy.concatenate(results) for results in zip(*found, strict=True)))


def _computed(points: Array) -> Any:
    return np.float64 if points.dtype == np.float64 else np.float32


def _is_small(points: Array, weights: Array | None, given: Array | None, n_clusters: int) -> bool:
    """Return whether a problem leaves most of the device idle, and needs only kernels here."""
    arrays = (each for each in (points, weights, given) if each is not None)
    if not are_plain(*arrays) or points[0].size > FEW_NUMBERS:
        return False
    one = DenseRows(points[0], None if weights is None else weights[0])
    return is_kernels_alone(one, cupy.empty((1, n_clusters, points.shape[2]), _computed(points)))


def _groups(points: Array, uniforms: Host, given: Array | None, n_clusters: int) -> Iterator[slice]:
    """Yield groups of problems whose runs go together."""
    n_problems, n_points, n_features = points.shape
    _, n_runs, n_drawn = uniforms.shape
    n_trials = n_drawn // max(1, n_clusters - (1 if given is None else given.shape[1]))
    # For each row the distances to the candidates, two to the nearest, and labels; the sums of a
    # few blocks of rows, and what a step takes.
    n_numbers = n_points * (n_trials + 3) + 4 * n_clusters * (n_features + 1)
    n_bytes = 8 * n_numbers + bytes_of_run(n_points, n_clusters, n_features)
    most = within_budget(_GROUP_BYTES) // (n_bytes * n_runs)
    size = max(1, min(most, MOST_RUNS // n_runs))
    for start in range(0, n_problems, size):
        yield slice(start, start + size)


def _solved(
    points: Array,
    weights: Array | None,
    uniforms: Host,
    given: Array | None,
    options: ProblemOptions,
) -> Solved | None:
    n_problems, n_starts, n_drawn = uniforms.shape
    about = points[:, 0, :].astype(_computed(points))
    problems = cupy.repeat(cupy.arange(n_problems, dtype=np.int32), n_starts)
    rows = ManyRows(points, weights, about, problems)
    spread = spread_of_each(rows)
    if spread is None:
        return None
    rows = rows._replace(origin=spread.origin)
    variance, _, mass = to_host(spread.numbers).T
    of_runs = uniforms.reshape(n_problems * n_starts, n_drawn)
    if given is None:
        starts = starts_of_runs(rows, of_runs, options.n_clusters)
    else:
        starts = _added(rows, of_runs, cupy.repeat(given, n_starts, axis=0), options.n_clusters)
    if starts is None:
        return None
    is_in_range = _is_in_range(variance, points.shape[2], options)
    if weights is not None:
        is_in_range &= _has_room(variance, mass, points[0].size, options)
    tol = options.tol * np.where(is_in_range, variance, 0.0)
    tol[~is_in_range] = np.inf  # take only one step, and drop it
    runs = _walked(rows, starts, np.repeat(tol, n_starts), options.max_iter)
    labels = running_minimum_labels(rows, runs.centroids, xp=cupy)
    inertia = to_host(batched_inertia(rows, labels, runs.centroids)).reshape(n_problems, n_starts)
    n_iter = runs.n_iter.reshape(n_problems, n_starts)
    best = _first_best(inertia, options.margin)
    numbers = np.arange(n_problems)
    is_solved = is_in_range & (n_iter > 0).all(axis=1)
    kept = cupy.asarray(numbers * n_starts + best)
    return Solved(
        labels[kept],
        runs.centroids[kept],
        rows.origin,
        cupy.asarray(inertia[numbers, best]),
        cupy.asarray(np.where(is_solved, n_iter[numbers, best], 0)),
    )


def _added(rows: ManyRows, uniforms: Host, given: Array, n_clusters: int) -> Array | None:
    """Return the given centroids of each run, and the rows that are added to them."""
    n_runs, n_given, _ = given.shape
    labels = running_minimum_labels(rows, given, xp=cupy)
    trials = uniforms.reshape(n_runs, n_clusters - n_given, -1)
    return None if labels is NotImplemented else added_to_runs(rows, trials, given, labels)


def _is_in_range(variance: Host, n_features: int, options: ProblemOptions) -> Host:
    """Return which problems need neither a warning nor an error."""
    # The variance is NaN if the differences themselves overflow.
    is_too_large = ~(variance <= options.greatest_variance / n_features)
    is_too_small = (variance > 0.0) & (variance < options.least_variance)
    found: Host = ~is_too_large & ~is_too_small
    return found


def _has_room(variance: Host, mass: Host, n_numbers: int, options: ProblemOptions) -> Host:
    """Return which problems' weights times squared distances need no warning and no error."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = variance * mass
        is_small_enough = total * n_numbers <= options.greatest_total
    is_large_enough = (total >= options.least_total) & (mass >= options.least_mass)
    found: Host = is_large_enough & is_small_enough
    return found


def _first_best(inertia: Host, margin: float) -> Host:
    """Return the best run of each problem; a later run must be better by the margin."""
    best = np.zeros(len(inertia), dtype=np.int64)
    least = inertia[:, 0].copy()
    for run in range(1, inertia.shape[1]):
        is_better = inertia[:, run] < least * (1.0 - margin)
        best[is_better] = run
        least[is_better] = inertia[is_better, run]
    return best


def _walked(rows: ManyRows, starts: Array, tol: Host, max_iter: int) -> _Runs:
    """Take steps from all starts until each run has ended.

    Ended runs are computed together with the others until only half of the runs continue.
    """
    centroids, ended = starts, starts.copy()
    n_iter = np.zeros(len(starts), dtype=np.int64)
    runs, goes_on = np.arange(len(starts)), np.ones(len(starts), dtype=bool)
    explained = np.full(len(starts), -np.inf)
    steps = _steps_over(rows, tol)
    for number in range(1, max_iter + 1):
        step = steps.take(centroids, n_left=max_iter - number + 1)
        sq_shift, n_empty, now_explained = step.signals.T
        centroids = step.update.centroids
        is_done = sq_shift <= tol[runs]
        # Centroids may repeat in a cycle: `lloyd` detects that.
        is_left = (n_empty > 0.0) | ~is_done & (now_explained <= explained)
        is_last = is_done | (number == max_iter)
        explained = now_explained.copy()
        ends = goes_on & ~is_left & is_last
        if ends.any():
            (places,) = np.nonzero(ends)
            ended[cupy.asarray(runs[places])] = centroids[cupy.asarray(places)]
            n_iter[runs[places]] = number
        goes_on &= ~is_left & ~is_last
        if not goes_on.any():
            break
        if 2 * np.count_nonzero(goes_on) <= len(runs):
            (places,) = np.nonzero(goes_on)
            runs, goes_on, explained = runs[places], goes_on[places], explained[places]
            centroids = centroids[cupy.asarray(places)]
            of_runs = rows.problems[cupy.asarray(runs)]
            steps = _steps_over(rows._replace(problems=of_runs), tol[runs])
    return _Runs(ended, n_iter)


def _steps_over(rows: ManyRows, tol: Host) -> QueuedSteps:
    def reduce(step: Callable[..., Any], *operands: Any) -> Any:
        return step(rows, *operands, xp=cupy)

    if len(rows.problems) * rows.points[0].size > FEW_NUMBERS:
        return QueuedSteps(reduce, tol, xp=cupy)
    return StepsInGraphs(rows, reduce, tol, xp=cupy)
