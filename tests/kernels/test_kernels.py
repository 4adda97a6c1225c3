"""Every body of every kernel against the loop oracle.

A new override or kernel is found in the registry. A kernel needs an entry in ``CONTRACTS``,
which says what its docstring promises; an override needs nothing.
"""

import dataclasses
import functools
import importlib
import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import kmeans_xp.kernels as kernels_package
from conftest import Library
from kmeans_xp import config_context
from kmeans_xp.algorithms import kmeans_plusplus
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.devices import device_of, namespace_of, record_of, tile_shape, to_host
from kmeans_xp.kernels import (
    RADIUS,
    BatchMeans,
    BothMoments,
    Bounds,
    Candidate,
    ClusterTotals,
    DenseRows,
    Kernel,
    LloydSteps,
    Moments,
    Nearest,
    Placed,
    ProblemOptions,
    Room,
    SilhouetteDistances,
    Spread,
    Step,
    Steps,
    Update,
    assigned_inertia,
    batched_steps_of,
    bounded_step,
    chosen_at_once,
    halves_of,
    keeps_bounds,
    kernels,
    lloyd_step,
    lloyd_step_batched,
    means_on_sphere,
    nearest_labels,
    rows_on_sphere,
    runs_at_once,
    sphere_factors,
    starts_at_once,
    steps_of,
    update_centroids,
)
from tests import oracle
from tests.strategies import (
    KINDS,
    LAYOUTS,
    WEIGHTS,
    Problem,
    Tiles,
    laid_out,
    library_without_float64,
    problem_of,
    problems,
    tiled,
)

Host = NDArray[Any]
Labels = NDArray[Any]

DTYPES = [
    "float32",
    pytest.param("float64", marks=pytest.mark.needs("float64")),
]
HALF_DTYPES = [
    pytest.param("float16", marks=pytest.mark.needs("float16")),
    pytest.param(
        "bfloat16",
        marks=pytest.mark.skip_library(
            "numpy", "array_api_strict", "dpnp", "cupy", reason="has no bfloat16"
        ),
    ),
]

#: libraries that compile every operation for every shape
COMPILED = ("jax",)

#: (n_points, n_features, n_clusters) that fill tiles of a usual size, and that do not
FIXED_SHAPES = [
    (1, 1, 1),
    (2, 300, 3),
    (700, 2, 70),
    (9001, 3, 5),
    (55001, 2, 2),
    (300, 40, 33),
    (401, 3, 200),
    (60, 33, 2100),
]

#: one for bodies that are for many features and clusters: it takes the oracle too long
WIDE_SHAPE = (4100, 300, 140)

#: More rows are cut into more blocks of threads, but not in another way: up to 262,144 of them
MOST_EMULATED = 10_000

#: rows of which each pair is measured, at most
MOST_PAIRED = 1000

#: shares of a whole that no dtype rounds
UNIFORMS = np.arange(64) / 64


class Declined(Exception):
    """An override returned NotImplemented."""


class Trial:
    """A body of a kernel, and a problem as arrays of a library."""

    def __init__(
        self,
        body: Callable[..., Any],
        library: Library,
        problem: Problem,
        labels_dtype: str = "int32",
    ) -> None:
        self.body = body
        self.labels_dtype = labels_dtype
        self.library = library
        self.problem = problem
        self.xp = library.xp
        self.rows = DenseRows(
            self.placed(problem.points, problem.dtype),
            None if problem.weights is None else self.placed(problem.weights),
            None if problem.origin is None else self.placed(problem.origin),
        )
        self.centroids = self.placed(problem.centroids)
        self.accumulated = accumulation_name(library)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of points, features and clusters."""
        return (*self.problem.points.shape, len(self.problem.centroids))

    @functools.cached_property
    def labels(self) -> Labels:
        """Labels in range, of near and of far clusters; some have no rows."""
        labels = self.problem.sq_distances.argmin(axis=1)
        labels[::3] = self.problem.sq_distances[::3].argmax(axis=1)
        return labels

    @functools.cached_property
    def closest(self) -> Host:
        """Distances so far: to the last centroid, some of them less, some infinite."""
        closest = rounded(self.problem.sq_distances[:, -1], self.problem.computing)
        closest[1::4] = np.inf
        closest[2::4] = np.floor(closest[2::4] / 2.0)
        return closest

    @functools.cached_property
    def chances(self) -> Host:
        """What rows are drawn by: distances to the last centroid, some of them zero."""
        chances = rounded(self.problem.sq_distances[:, -1], self.problem.computing)
        chances[::3] = 0.0
        return chances

    @property
    def side(self) -> str:
        """Where a draw falls that hits a running total."""
        return ("left", "right")[len(self.problem.points) % 2]

    @functools.cached_property
    def potentials(self) -> Host:
        """Potentials of candidates; some equal the least up to rounding."""
        potentials = rounded(self.problem.sq_distances.sum(axis=0), self.accumulated)
        potentials[1::3] = potentials.min() * (1.0 + 4 * np.finfo(self.accumulated).eps)
        return rounded(potentials, self.accumulated)

    @property
    def about(self) -> Host:
        """A row to take moments about."""
        return self.problem.centred[0]

    @functools.cached_property
    def moments(self) -> tuple[Moments, Moments]:
        """Moments about a row, without weights and with them, as ``totals`` are."""
        points = self.problem.centred.astype(float) - self.about
        both = (np.ones(len(points)), self.problem.weights_or_ones)
        plain, weighted = (
            Moments(*(rounded(part, self.accumulated) for part in moments_of(points, weights)))
            for weights in both
        )
        return plain, weighted

    @functools.cached_property
    def totals(self) -> ClusterTotals:
        """Totals of the nearest rows, in float64 but of the accumulation dtype's precision."""
        totals = self.problem.cluster_sums(self.problem.sq_distances.argmin(axis=1))
        return ClusterTotals(*(rounded(total, self.accumulated) for total in totals))

    def placed(self, values: NDArray[Any], dtype: str | None = None) -> Any:
        """Return host values on the device, laid out as the problem says."""
        return laid_out(values, dtype or self.problem.computing, self.problem.layout, self.library)

    @functools.cached_property
    def restarts(self) -> "list[Trial]":
        """Trials of the same rows, with centroids of several starts."""
        return [Trial(self.body, self.library, problem) for problem in self.problem.restarts]

    def run(self, contract: "Contract", *arguments: Any) -> Any:
        """Return what comes of the body's result; its arguments must be as they were."""
        before = [to_host(array).copy() for array in arrays_in(arguments)]
        result = self.body(*arguments, xp=self.xp)
        if result is NotImplemented:
            raise Declined
        result = contract.outcome(result, self)
        for array, values in zip(arrays_in(arguments), before, strict=True):
            np.testing.assert_array_equal(to_host(array), values, err_msg="an input changed")
        return result

    def read(self, array: Any, dtype: str, shape: tuple[int, ...]) -> Host:
        """Return a result in float64, after a look at what it is and where."""
        assert namespace_of(array) is namespace_of(self.rows.points)
        assert device_of(array) == device_of(self.rows.points)
        assert array.dtype == getattr(self.xp, dtype)
        assert tuple(array.shape) == shape
        return self.library.to_host(array).astype(np.float64)


class Truth:
    """What the oracle finds, and how far rounding may lead away from it.

    A sum of n products in any order is off by at most n roundings of the sum of magnitudes. A
    rounding is half an ``eps``; the other half is for the oracle, which rounds in float64.
    """

    def __init__(self, trial: Trial) -> None:
        problem = trial.problem
        self.is_exact = problem.is_exact
        self.points = problem.centred.astype(np.float64)
        self.weights = problem.weights_or_ones
        self.centroids = problem.centroids.astype(np.float64)
        self.sq_distances = problem.sq_distances
        self.closest = self.sq_distances.min(axis=1)
        self.eps = 0.0 if self.is_exact else float(np.finfo(problem.computing).eps)
        self.accumulated_eps = 0.0 if self.is_exact else float(np.finfo(trial.accumulated).eps)
        reach = np.linalg.norm(self.points, axis=1)[:, None]
        reach = reach + np.linalg.norm(self.centroids, axis=1)
        #: roundings of |x|^2 - 2 x.c + |c|^2, in units of eps
        self.roundings = (self.points.shape[1] + 4) * reach**2

    @property
    def slack(self) -> Host:
        """How far a squared distance in expanded form may be off."""
        return self.eps * self.roundings

    def of_differences(self, sq_distances: Host) -> Host:
        """Return how far sums of squared differences may be off."""
        return (self.points.shape[1] + 3) * self.eps * sq_distances

    def of_sums(self, magnitudes: Host) -> Host:
        """Return how far accumulated sums over rows may be off."""
        return (len(magnitudes) + 3) * self.accumulated_eps * magnitudes.sum(axis=0)


def as_it_is(result: Any, trial: Trial) -> Any:
    return result


class Contract(NamedTuple):
    """What a kernel is given, what comes of its result, and what that must be."""

    arguments: Callable[[Trial], tuple[Any, ...]]
    verify: Callable[[Any, Trial, Truth], None]
    outcome: Callable[[Any, Trial], Any] = as_it_is


def accumulation_name(library: Library) -> str:
    dtypes = library.xp.__array_namespace_info__().dtypes(device=library.device)
    return "float64" if "float64" in dtypes else "float32"


def moments_of(points: Host, weights: Host) -> Moments:
    return Moments(weights.sum(), weights @ points, weights @ points**2)


def rounded(values: Host, dtype: str) -> Host:
    return values.astype(dtype).astype(np.float64)


def arrays_in(value: Any) -> list[Any]:
    """Return the arrays in (nested) tuples."""
    if isinstance(value, tuple):
        return [array for item in value for array in arrays_in(item)]
    return [value] if hasattr(value, "shape") else []


def stacked(*arrays: Any) -> Any:
    return namespace_of(*arrays).stack(arrays)


def assert_within(actual: Host, expected: Host, tolerance: Host | float) -> None:
    excess = np.abs(actual - expected) - tolerance
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    assert excess[worst] <= 0.0, (
        f"{actual[worst]!r} at {worst} should be {expected[worst]!r}, off by {excess[worst]:g} "
        "more than rounding explains"
    )


def rows_and_centroids(trial: Trial) -> tuple[Any, ...]:
    return trial.rows, trial.centroids


def verify_nearest_labels(result: Any, trial: Trial, truth: Truth) -> None:
    """Each label is that of a nearest centroid up to rounding; if exact, of the first."""
    labels = trial.read(result, "int32", trial.shape[:1]).astype(int)
    assert ((labels >= 0) & (labels < trial.shape[2])).all()
    chosen = np.take_along_axis(truth.sq_distances, labels[:, None], axis=1)[:, 0]
    assert_within(chosen, truth.closest, truth.slack.max(axis=1))
    if truth.is_exact:
        np.testing.assert_array_equal(labels, truth.sq_distances.argmin(axis=1))


def rows_labels_and_centroids(trial: Trial) -> tuple[Any, ...]:
    return trial.rows, trial.placed(trial.labels, trial.labels_dtype), trial.centroids


def verify_assigned_inertia(result: Any, trial: Trial, truth: Truth) -> None:
    actual = trial.read(result, trial.accumulated, ())
    of_rows = np.take_along_axis(truth.sq_distances, trial.labels[:, None], axis=1)[:, 0]
    weighted = truth.weights * of_rows
    slack = truth.of_differences(weighted).sum()
    assert_within(actual, weighted.sum(), slack + truth.of_sums(weighted))


def verify_assigned_sq_distances(result: Any, trial: Trial, truth: Truth) -> None:
    verify_distances(result, trial.labels, trial, truth)


def verify_distances(result: Any, labels: Labels, trial: Trial, truth: Truth) -> None:
    actual = trial.read(result, trial.problem.computing, labels.shape)
    expected = np.take_along_axis(truth.sq_distances, labels[:, None], axis=1)[:, 0]
    assert_within(actual, expected, truth.of_differences(expected))


def verify_nearest_centroid(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, Nearest)
    verify_nearest_labels(result.labels, trial, truth)
    labels = trial.library.to_host(result.labels).astype(np.int64)
    verify_distances(result.sq_distances, labels, trial, truth)


def verify_cluster_sums(result: Any, trial: Trial, truth: Truth) -> None:
    verify_totals(result, trial.labels, trial, truth)


def verify_totals(result: Any, labels: Labels, trial: Trial, truth: Truth) -> None:
    sums, mass = read_totals(result, trial)
    expected = trial.problem.cluster_sums(labels)
    mine = (labels == np.arange(len(mass))[:, None]).astype(float)
    roundings = (mine.sum(axis=1) + 3) * truth.accumulated_eps
    magnitudes = mine @ (truth.weights[:, None] * np.abs(truth.points))
    assert_within(sums, expected[0], roundings[:, None] * magnitudes)
    assert_within(mass, expected[1], 0.0 if trial.problem.weights is None else roundings * mass)


def read_totals(result: Any, trial: Trial) -> ClusterTotals:
    _, n_features, n_clusters = trial.shape
    assert isinstance(result, ClusterTotals)
    return ClusterTotals(
        trial.read(result.sums, trial.accumulated, (n_clusters, n_features)),
        trial.read(result.mass, trial.accumulated, (n_clusters,)),
    )


def verify_lloyd_step(result: Any, trial: Trial, truth: Truth) -> None:
    gaps = truth.sq_distances - truth.closest[:, None]
    eligible = gaps <= truth.slack.max(axis=1)[:, None]
    is_sure = eligible.sum(axis=1) == 1
    if truth.is_exact or is_sure.all():
        verify_totals(result, truth.sq_distances.argmin(axis=1), trial, truth)
        return
    # Rounding decides where some rows go, so a cluster's totals lie between two bounds.
    sums, mass = read_totals(result, trial)
    sure, maybe = (eligible & is_sure[:, None]).T, (eligible & ~is_sure[:, None]).T
    weighted = truth.weights[:, None] * truth.points
    for actual, values in ((sums, weighted), (mass, truth.weights)):
        rounding = truth.of_sums(np.abs(values))
        assert_within(actual, sure @ values, maybe @ np.abs(values) + rounding)
        assert_within(actual.sum(axis=0), values.sum(axis=0), 2 * rounding)


def rows_centroids_and_bounds(trial: Trial) -> tuple[Any, ...]:
    """Bounds of a step from other centroids, where the body keeps any."""
    bounds = Bounds()
    trial.body(trial.rows, trial.restarts[1].centroids, bounds, xp=trial.xp)
    return trial.rows, trial.centroids, bounds


def verify_bounded_step(result: Any, trial: Trial, truth: Truth) -> None:
    """The result of ``lloyd_step``, to the bit."""
    verify_lloyd_step(result, trial, truth)
    plain = lloyd_step(trial.rows, trial.centroids, xp=trial.xp)
    for part, expected in zip(result, plain, strict=True):
        assert to_host(part).tobytes() == to_host(expected).tobytes()


def rows_bounds_and_ends(trial: Trial) -> tuple[Any, ...]:
    ends = (5, 0.0, update_for(trial.shape[2]))
    return trial.rows, trial.centroids, *ends, Bounds(), math.inf


def verify_bounded_steps(result: Any, trial: Trial, truth: Truth) -> None:
    verify_lloyd_steps(result.steps, trial, truth)
    assert len(result.n_visited) == result.steps.update.signals.shape[0]
    assert all(0 <= n_visited <= trial.shape[0] for n_visited in result.n_visited)


def verify_is_a_choice(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, bool)


def verify_keeps_bounds(result: Any, trial: Trial, truth: Truth) -> None:
    """Whether a step of the same library leaves bounds."""
    assert isinstance(result, bool)
    if trial.body is keeps_bounds.portable:
        assert not result
        return
    bounds = Bounds()
    beside(trial.body, bounded_step, trial.library)(
        trial.rows, trial.centroids, bounds, xp=trial.xp
    )
    assert (bounds.labels is not None) == result


def rows_and_restarts(trial: Trial) -> tuple[Any, ...]:
    return trial.rows, stacked(*(restart.centroids for restart in trial.restarts))


def verify_lloyd_step_batched(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, ClusterTotals)
    assert {int(part.shape[0]) for part in result} == {len(trial.restarts)}
    runs = [of_run(result, run) for run in range(len(trial.restarts))]
    for run, restart in zip(runs, trial.restarts, strict=True):
        verify_lloyd_step(run, restart, Truth(restart))
    for one, other in zip(runs[0], runs[-1], strict=True):
        np.testing.assert_array_equal(trial.library.to_host(one), trial.library.to_host(other))


def of_run(result: Any, run: int) -> Any:
    """Return one of the results that were made together."""
    return type(result)(*(part[run, ...] for part in result))


def totals_and_centroids(trial: Trial) -> tuple[Any, ...]:
    totals = ClusterTotals(*(trial.placed(total, trial.accumulated) for total in trial.totals))
    return totals, trial.centroids


def verify_update_centroids(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, Update)
    sums, mass = trial.totals
    old, is_empty, eps = truth.centroids, mass == 0.0, np.finfo(trial.problem.computing).eps
    new = trial.read(result.centroids, trial.problem.computing, old.shape)
    means = np.where(is_empty[:, None], old, sums / np.where(is_empty, 1.0, mass)[:, None])
    assert_within(new, means, np.where(is_empty[:, None], 0.0, 2 * eps * np.abs(means)))
    assert_moved(result, new, trial, truth)


def verify_means_on_sphere(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, Update)
    sums, mass = trial.totals
    old, eps = truth.centroids, np.finfo(trial.problem.computing).eps
    new = trial.read(result.centroids, trial.problem.computing, old.shape)
    lengths = np.linalg.norm(sums, axis=1)[:, None]
    directions = np.where(lengths > 0.0, RADIUS * sums / np.where(lengths > 0.0, lengths, 1.0), old)
    # Shorter means may count as lost.
    is_short = lengths < 100.0 * eps * np.sqrt(old.shape[1]) * mass[:, None]
    expected = np.where(is_short & (lengths > 0.0), new, directions)
    assert_within(new, expected, old.shape[1] * eps * np.ones_like(old))
    assert_moved(result, new, trial, truth)


def assert_moved(result: Update, new: Host, trial: Trial, truth: Truth) -> None:
    """Check the signals of an update to these centroids."""
    sums, mass = trial.totals
    old, is_empty = truth.centroids, mass == 0.0
    accumulated_eps = np.finfo(trial.accumulated).eps
    sq_shift, n_empty, explained = trial.read(result.signals, trial.accumulated, (3,))
    assert n_empty == is_empty.sum()
    roundings = (old.size + 6) * accumulated_eps
    shifts = (new - old) ** 2
    assert_within(sq_shift, shifts.sum(), roundings * shifts.sum())
    column = mass[:, None]
    magnitudes = np.abs(old) * (2.0 * np.abs(sums) + column * np.abs(old))
    expected = (old * (2.0 * sums - column * old)).sum()
    assert_within(explained, expected, roundings * magnitudes.sum())


def old_mass_of(trial: Trial) -> Host:
    """Return the weights of the rows whose means the centroids are so far; some are 0."""
    return np.arange(trial.shape[2]) % 3 * 4.0


def rows_centroids_and_mass(trial: Trial) -> tuple[Any, ...]:
    return trial.rows, trial.centroids, trial.placed(old_mass_of(trial), trial.accumulated)


def verify_batch_means(result: Any, trial: Trial, truth: Truth) -> None:
    """Means of what was there and of the rows that the library says are nearest."""
    assert isinstance(result, BatchMeans)
    nearest = nearest_labels(trial.rows, trial.centroids, xp=trial.xp)
    labels = trial.library.to_host(nearest).astype(np.int64)
    sums, added = trial.problem.cluster_sums(labels)
    old, before = truth.centroids, old_mass_of(trial)
    is_met, mass = added > 0.0, before + added
    eps, accumulated_eps = np.finfo(trial.problem.computing).eps, np.finfo(trial.accumulated).eps
    roundings = (len(labels) + 5) * accumulated_eps
    assert_within(trial.read(result.mass, trial.accumulated, mass.shape), mass, roundings * mass)

    new = trial.read(result.centroids, trial.problem.computing, old.shape)
    met, weight = is_met[:, None], np.where(is_met, mass, 1.0)[:, None]
    mine = (labels == np.arange(len(mass))[:, None]).astype(float)
    magnitudes = mine @ (truth.weights[:, None] * np.abs(truth.points))
    magnitudes += np.abs(old) * before[:, None]
    means = np.where(met, (old * before[:, None] + sums) / weight, old)
    slack = np.where(met, 2 * eps * np.abs(means) + 3 * roundings * magnitudes / weight, 0.0)
    assert_within(new, means, slack)

    signals = trial.read(result.signals, trial.accumulated, (2 + len(mass),))
    np.testing.assert_array_equal(
        signals[2:], trial.read(result.mass, trial.accumulated, mass.shape)
    )
    weighted = truth.weights * truth.sq_distances[np.arange(len(labels)), labels]
    inertia_slack = truth.of_differences(weighted).sum() + truth.of_sums(weighted)
    assert_within(signals[0], weighted.sum(), inertia_slack)
    shifts = (new - old) ** 2
    moved = (slack * (2 * np.abs(new - old) + slack)).sum()
    assert_within(signals[1], shifts.sum(), moved + (old.size + 6) * accumulated_eps * shifts.sum())


def places_to_put_centroids_at(trial: Trial) -> tuple[Host, Host]:
    """Return a row for each centroid, and which ones are put there: every other, not the first."""
    n_points, _, n_clusters = trial.shape
    numbers = np.arange(n_clusters)
    return numbers * 7 % n_points, numbers % 2 == 1


def rows_centroids_and_places(trial: Trial) -> tuple[Any, ...]:
    chosen, is_placed = places_to_put_centroids_at(trial)
    before = trial.centroids[:1, :] + trial.xp.zeros_like(trial.centroids)
    given = trial.placed(chosen, "int64"), trial.placed(is_placed, "bool")
    return trial.rows, trial.centroids, before, *given


def verify_placed_at_rows(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, Placed)
    chosen, is_placed = places_to_put_centroids_at(trial)
    old, computing = truth.centroids, trial.problem.computing
    rows = trial.library.to_host(trial.rows.take(trial.placed(chosen, "int64")).points)
    expected = np.where(is_placed[:, None], rows.astype(np.float64), old)
    new = trial.read(result.centroids, computing, old.shape)
    np.testing.assert_array_equal(new, expected)
    sq_shift = ((expected - old[:1]) ** 2).sum()
    slack = (old.size + 6) * np.finfo(computing).eps * sq_shift
    assert_within(trial.read(result.sq_shift, computing, ()), sq_shift, slack)


def rows_centroids_and_ends(trial: Trial) -> tuple[Any, ...]:
    return trial.rows, trial.centroids, 5, 0.0, update_for(trial.shape[2])


def update_for(number: int) -> Any:
    """Return each of the two updates for half of the numbers."""
    return means_on_sphere if number % 2 else update_centroids


def verify_lloyd_steps(result: Any, trial: Trial, truth: Truth) -> None:
    """Each step is, to the bit, what single steps give: for a library, those of the same set."""
    assert isinstance(result, LloydSteps)
    step = beside(trial.body, lloyd_step, trial.library)
    n_steps = int(result.update.signals.shape[0])
    assert 1 <= n_steps <= 5
    before, updated = trial.centroids, update_for(trial.shape[2])
    for number in range(n_steps):
        totals = step(trial.rows, before, xp=trial.xp)
        update = updated(totals, before, xp=trial.xp)
        run = (part[number, ...] for pair in result for part in pair)
        for actual, expected in zip(run, (*totals, *update), strict=True):
            np.testing.assert_array_equal(to_host(actual), to_host(expected))
        sq_shift, n_empty, _ = trial.library.to_host(update.signals)
        # Only the last step may be one to stop at.
        assert number == n_steps - 1 or (sq_shift > 0.0 and n_empty == 0.0)
        before = update.centroids


def beside(body: Callable[..., Any], kernel: Kernel[..., Any], library: Library) -> Any:
    """Return what runs the kernel's overrides in the folder of another's; of a portable, all."""
    folder = body.__module__.rpartition(".")[0]
    overrides = () if folder.endswith("portable") else kernel.overrides(library.name)
    mine = [each for each in overrides if each.__module__.startswith(folder)]

    def first_that_takes(*arguments: Any, xp: Any) -> Any:
        results = (each(*arguments, xp=xp) for each in (*mine, kernel))
        return next(result for result in results if result is not NotImplemented)

    return first_that_takes


#: how many steps, at most, each step of a walk says are left: the fourth and the last are
#: from centroids that the step before did not offer
WALK = (5, 4, 1, 3, 2, 1, 9)


def rows_reduce_and_tol(trial: Trial) -> tuple[Any, ...]:
    return trial.rows, functools.partial(reduced, trial), 0.0


def rows_reduce_tol_and_update(trial: Trial) -> tuple[Any, ...]:
    return *rows_reduce_and_tol(trial), update_centroids


def reduced(trial: Trial, partial: Callable[..., Any], *operands: Any) -> Any:
    return partial(trial.rows, *operands, xp=trial.xp)


class Taken(NamedTuple):
    """A step that was taken, and what the library's own kernels give from the same centroids."""

    step: Step
    plain: Step


def walked(steps: Steps, trial: Trial) -> tuple[Any, ...]:
    """Take the steps of a run and of another from elsewhere; give the labels at their end too."""
    *walk, centroids = walk_of(steps, lloyd_step, trial.centroids, trial.restarts[1].centroids)
    labels = (each(trial.rows, centroids, xp=trial.xp) for each in (steps.labels, nearest_labels))
    return (*walk, tuple(labels))


def walked_together(steps: Steps | None, trial: Trial) -> tuple[Any, ...]:
    """Take steps from all starts, if the library takes them together."""
    if steps is None:
        if trial.body in batched_steps_of.overrides(trial.library.name):
            raise Declined
        return ()
    starts = rows_and_restarts(trial)[1]
    *walk, _ = walk_of(steps, lloyd_step_batched, starts, trial.xp.flip(starts, axis=0))
    return tuple(walk)


def walk_of(steps: Steps, step: Any, start: Any, elsewhere: Any) -> Iterator[Any]:
    """Yield the steps of ``WALK``, then the centroids after the last."""
    centroids, walk = start, walk_from(start)
    for number, n_left in enumerate(walk):
        if number == 3:
            centroids = elsewhere
        elif number == len(walk) - 1:
            centroids = steps.xp.asarray(centroids, copy=True)
        taken = steps.take(centroids, n_left=n_left)
        totals = steps.reduce(step, centroids)
        update = update_centroids(totals, centroids, xp=steps.xp)
        # Read at once: later steps may write where these lie.
        yield Taken(on_host(taken), on_host(Step(centroids, totals, update, update.signals)))
        centroids = taken.update.centroids
    yield centroids


def walk_from(centroids: Any) -> tuple[int, ...]:
    """Return the walk from these centroids: from many, two steps, the last from a copy."""
    # An emulated GPU takes seconds a step from thousands of centroids.
    return WALK if math.prod(centroids.shape) < 2**14 else WALK[:2]


def on_host(value: Any) -> Any:
    """Return copies of the arrays in (nested) named tuples."""
    if isinstance(value, tuple):
        return type(value)(*map(on_host, value))
    return None if value is None else np.array(to_host(value))


def verify_steps_of(result: Any, trial: Trial, truth: Truth) -> None:
    """Each step is, to the bit, what the library's kernels give; and so are the labels."""
    *walk, (labels, expected) = result
    assert_plain_steps(walk)
    assert_same_bits(labels, expected)


def verify_batched_steps_of(result: Any, trial: Trial, truth: Truth) -> None:
    if trial.body is batched_steps_of.portable:
        assert result == ()  # no library is known to be faster so
    else:
        assert_plain_steps(result)


def assert_same_step(taken: Step, plain: Step) -> None:
    """Each array has the same bits; totals may be left out where no cluster is empty."""
    if taken.totals is None and plain.signals[1] == 0.0:
        plain = plain._replace(totals=None)
    for ours, theirs in zip(arrays_in(taken), arrays_in(plain), strict=True):
        assert_same_bits(ours, theirs)


def assert_plain_steps(walk: Sequence[Taken]) -> None:
    assert len(walk) == len(walk_from(walk[0].plain.before))
    for taken, plain in walk:
        assert isinstance(taken, Step)
        assert_same_step(taken, plain)


def assert_same_bits(actual: Any, expected: Any) -> None:
    actual, expected = to_host(actual), to_host(expected)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    assert actual.tobytes() == expected.tobytes()


def rows_closest_and_centroids(trial: Trial) -> tuple[Any, ...]:
    return trial.rows, trial.placed(trial.closest), trial.centroids


def potentials_indices_and_candidates(trial: Trial) -> tuple[Any, ...]:
    n_clusters = trial.shape[2]
    potentials = trial.placed(trial.potentials, trial.accumulated)
    return potentials, trial.placed(np.arange(n_clusters)[::-1], "int32"), trial.centroids


def verify_best_candidate(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, Candidate)
    index = trial.read(result.index, "int32", (1,))
    point = trial.read(result.point, trial.problem.computing, (1, trial.shape[1]))
    slack = 1e-12 if trial.problem.computing == "float64" else 1e-6
    least = trial.potentials.min()
    best = np.flatnonzero(trial.potentials <= least * (1.0 + slack))[0]
    assert index == trial.shape[2] - 1 - best
    np.testing.assert_array_equal(point, truth.centroids[[best]])


def verify_candidate_potentials(result: Any, trial: Trial, truth: Truth) -> None:
    actual = trial.read(result, trial.accumulated, trial.shape[2:])
    assert (actual >= 0.0).all()
    column = truth.weights[:, None]
    weighted = column * np.minimum(trial.closest[:, None], truth.sq_distances)
    slack = (column * truth.slack).sum(axis=0)
    assert_within(actual, weighted.sum(axis=0), slack + truth.of_sums(weighted + column * slack))


def rows_closest_last_and_trials(trial: Trial) -> tuple[Any, ...]:
    """Three rows to choose, of four candidates each; distances so far may be infinite."""
    trials = trial.placed(chosen_by(trial), trial.accumulated)
    return trial.rows, trial.placed(trial.closest), trial.centroids[:1, :], trials


def chosen_by(trial: Trial) -> Host:
    trials = np.random.default_rng(trial.shape[0]).random((3, 4))
    trials[1, 0] = 0.0
    return rounded(trials, trial.accumulated)


def verify_chosen_at_once(result: Any, trial: Trial, truth: Truth) -> None:
    """Each row is one that a number draws, and the best of those up to rounding."""
    if trial.body is chosen_at_once.portable:
        assert result is None  # no library is known to be faster so
        return
    if result is None:
        raise Declined
    trials = chosen_by(trial)
    indices = trial.read(result.index, "int64", (len(trials),)).astype(int)
    chosen = trial.read(result.point, trial.problem.computing, (len(trials), trial.shape[1]))
    np.testing.assert_array_equal(chosen, truth.points[indices])
    eps, accumulated_eps = (np.finfo(d).eps for d in (trial.problem.computing, trial.accumulated))
    relative = (trial.shape[1] + 6) * eps + 2 * (trial.shape[0] + 3) * accumulated_eps
    closest = np.minimum(trial.closest, truth.sq_distances[:, 0])
    off = (truth.weights * truth.slack[:, 0]).sum()
    for uniforms, index in zip(trials, indices, strict=True):
        mass = truth.weights * closest
        reached = np.cumsum(mass)
        slack = relative * reached[-1] + off
        is_first = index == 0 and uniforms.min() == 0.0  # whatever its mass
        assert mass[index] > 0.0 or is_first or reached[-1] <= slack
        drawable = [
            (reached >= uniform * reached[-1] - slack)
            & (reached - mass <= uniform * reached[-1] + slack)
            for uniform in uniforms
        ]
        assert any(rows[index] for rows in drawable)
        potentials = potentials_of(truth, closest, np.flatnonzero(np.any(drawable, axis=0)))
        least = min(max(potentials[row] for row in np.flatnonzero(rows)) for rows in drawable)
        is_least = 1e-12 if trial.problem.computing == "float64" else 1e-6
        assert potentials[index] <= least * (1.0 + is_least + 2 * relative) + 2 * off
        closest = np.minimum(closest, sq_distances_to(truth, index))


def sq_distances_to(truth: Truth, index: int) -> Host:
    return ((truth.points - truth.points[index]) ** 2).sum(axis=1)


def potentials_of(truth: Truth, closest: Host, indices: NDArray[Any]) -> dict[int, float]:
    return {
        index: float(truth.weights @ np.minimum(closest, sq_distances_to(truth, index)))
        for index in indices.tolist()
    }


def verify_closer_of(result: Any, trial: Trial, truth: Truth) -> None:
    actual = trial.read(result, trial.problem.computing, trial.shape[:1])
    distances, slack = truth.sq_distances[:, 0], truth.slack[:, 0]
    assert_within(actual, np.minimum(trial.closest, distances), slack)
    assert ((actual >= 0.0) & (actual <= trial.closest)).all()
    is_kept = trial.closest < distances - slack
    np.testing.assert_array_equal(actual[is_kept], trial.closest[is_kept])


def verify_column_moments(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, Moments)
    column, shape = truth.weights[:, None], truth.points.shape[1:]
    mass = trial.read(result.mass, trial.accumulated, ())
    sums, sq_sums = (trial.read(part, trial.accumulated, shape) for part in result[1:])
    magnitudes = column * np.abs(truth.points)
    assert_within(sums, (column * truth.points).sum(axis=0), truth.of_sums(magnitudes))
    squares = column * truth.points**2
    assert_within(sq_sums, squares.sum(axis=0), truth.of_sums(squares))
    is_count = trial.problem.weights is None
    rounding = 0.0 if is_count else truth.of_sums(truth.weights)
    assert_within(mass, truth.weights.sum(), rounding)


def verify_both_moments(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, BothMoments)
    verify_column_moments(result.weighted, trial, truth)
    unweighted = Trial(trial.body, trial.library, dataclasses.replace(trial.problem, weights=None))
    verify_column_moments(result.plain, unweighted, Truth(unweighted))


def moments_about(trial: Trial) -> tuple[Any, ...]:
    plain, weighted = (
        Moments(*(trial.placed(part, trial.accumulated) for part in moments))
        for moments in trial.moments
    )
    return plain, weighted, trial.placed(trial.about)


def verify_spread(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, Spread)
    (n, sums, sq_sums), (mass, weighted_sums, weighted_sq_sums) = trial.moments
    about, mean = trial.about.astype(float), sums / n
    accumulated_eps = np.finfo(trial.accumulated).eps

    origin = trial.read(result.origin, trial.problem.computing, about.shape)
    eps = np.finfo(trial.problem.computing).eps + accumulated_eps
    assert_within(origin, about + mean, 2 * eps * (np.abs(about) + np.abs(mean)))

    mean_variance, total_sq, given_mass = trial.read(result.numbers, trial.accumulated, (3,))
    assert given_mass == mass
    roundings = (len(about) + 6) * accumulated_eps
    magnitudes = (sq_sums / n + mean**2).mean()
    assert_within(mean_variance, (sq_sums / n - mean**2).mean(), roundings * magnitudes)
    step = origin - about
    terms = np.array([weighted_sq_sums, -2.0 * step * weighted_sums, mass * step**2])
    assert_within(total_sq, terms.sum(), roundings * np.abs(terms).sum())


def values_weights_and_uniforms(trial: Trial) -> tuple[Any, ...]:
    uniforms = trial.placed(UNIFORMS, trial.accumulated)
    return trial.placed(trial.chances), trial.rows.weights, uniforms, trial.side


def verify_drawn(result: Any, trial: Trial, truth: Truth) -> None:
    assert trial.xp.isdtype(result.dtype, "integral")
    indices = trial.read(result, str(result.dtype).rpartition(".")[2], UNIFORMS.shape).astype(int)
    mass = truth.weights * trial.chances
    reached = mass.cumsum()
    thresholds = UNIFORMS * reached[-1]
    if truth.is_exact:
        expected = np.searchsorted(reached, thresholds, side=trial.side)
        last = np.searchsorted(reached, reached[-1])
        np.testing.assert_array_equal(indices, np.minimum(expected, last))
        return
    assert ((indices >= 0) & (indices < len(mass))).all()
    slack = truth.of_sums(mass) + truth.eps * reached[-1]
    assert_within(
        np.clip(thresholds, (reached - mass)[indices], reached[indices]), thresholds, slack
    )
    assert (mass[indices] > 0.0)[thresholds > 0.0].all()


def verify_sq_distances(result: Any, trial: Trial, truth: Truth) -> None:
    actual = trial.read(result, trial.problem.computing, truth.sq_distances.shape)
    slack = truth.accumulated_eps * truth.roundings
    assert_within(actual, truth.sq_distances, truth.of_differences(truth.sq_distances) + slack)
    assert (actual >= 0.0).all()
    # On a centroid, and so far from others that rounding cannot make one of them the nearest.
    rivals = (truth.sq_distances > 0.0) & (truth.sq_distances <= slack.max(axis=1)[:, None])
    on_centroid = (truth.closest == 0.0) & ~rivals.any(axis=1)
    assert (actual[on_centroid].min(axis=1, initial=np.inf) == 0.0).all()


def rows_in_clusters(trial: Trial) -> tuple[Any, ...]:
    """Some rows: what is promised of all pairs is looked up for each."""
    labels = trial.labels[:MOST_PAIRED]
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(trial.shape[2] + 1)).tolist()
    placed = (trial.placed(each, trial.labels_dtype) for each in (labels, order))
    return trial.rows.part(0, len(labels)), *placed, tuple(bounds)


def verify_silhouette_distances(result: Any, trial: Trial, truth: Truth) -> None:
    assert isinstance(result, SilhouetteDistances)
    points, labels = truth.points[:MOST_PAIRED], trial.labels[:MOST_PAIRED]
    n_points, n_features = points.shape
    within, nearest = (trial.read(part, trial.accumulated, (n_points,)) for part in result)
    mine = (labels[:, None] == np.arange(trial.shape[2])).astype(float)
    counts = mine.sum(axis=0)
    squares = sum((column[:, None] - column) ** 2 for column in points.T)
    distances = np.sqrt(squares)
    # |x - y|^2 may be off by roundings of the squares of lengths, as an expanded form has them,
    # and x and y by a rounding each.
    reach = np.linalg.norm(points, axis=1).max()
    eps, accumulated_eps = (np.finfo(d).eps for d in (trial.problem.computing, trial.accumulated))
    off = 16 * (n_features + 4) * accumulated_eps * reach**2
    slack = off / np.maximum(distances, np.sqrt(off) or 1.0)
    slack += (n_features + 6) * eps * distances + 2 * eps * reach

    own_count = np.maximum(counts[labels] - 1, 1)
    own, own_slack = (each @ mine for each in (distances, slack))
    rows = np.arange(n_points)
    expected = own[rows, labels] / own_count
    rounding = (n_points + 3) * accumulated_eps
    assert_within(within, expected, own_slack[rows, labels] / own_count + rounding * expected)
    is_rival = (mine == 0.0) & (counts > 0.0)
    if not is_rival.any():
        assert np.isinf(nearest).all()
        return
    rivals = is_rival.any(axis=1)
    means, mean_slack = (each / np.maximum(counts, 1) for each in (own, own_slack))
    expected = np.where(is_rival, means, np.inf).min(axis=1)
    slack = np.where(is_rival, mean_slack, 0.0).max(axis=1) + rounding * expected
    assert_within(nearest[rivals], expected[rivals], slack[rivals])


#: of a draw: the key, and which numbers of it
KEY, STREAM = (2**64 - 59, 12345678901234567890), 3


def first_row_of(trial: Trial) -> int:
    """Return the index of the first row: near the begin of a block of four numbers, or far on."""
    n_points = trial.shape[0]
    return n_points % 5 if n_points % 2 else 2**40 + n_points


def rows_and_their_numbers(trial: Trial) -> tuple[Any, ...]:
    return trial.rows, first_row_of(trial), KEY, STREAM


def verify_row_uniforms(result: Any, trial: Trial, truth: Truth) -> None:
    """The bits of the published cipher, whatever NumPy does."""
    actual = trial.read(result, trial.accumulated, trial.shape[:1])[:MOST_PAIRED]
    first = first_row_of(trial)
    expected = [oracle.philox_uniform(first + at, KEY, STREAM) for at in range(len(actual))]
    np.testing.assert_array_equal(actual, rounded(np.asarray(expected), trial.accumulated))


def distances_and_a_half(trial: Trial) -> tuple[Any, ...]:
    """Of one row or so, all; some of them equal, or infinite."""
    return trial.placed(trial.closest), -(-trial.shape[0] // 2) + (trial.shape[0] < 3)


def rows_in_halves(trial: Trial) -> tuple[Any, ...]:
    """Return the rows, labels 0 and 1, half of the rows as members or all, and two centroids."""
    labels = trial.placed(trial.labels % 2, "int32")
    pair = trial.problem.centroids[[0, -1]]
    is_member = members_of(trial)
    given = None if is_member.all() else trial.library.asarray(is_member, "bool")
    return trial.rows, labels, given, trial.placed(pair)


def members_of(trial: Trial) -> Any:
    n_points = trial.shape[0]
    return np.arange(n_points) % 2 == 0 if n_points % 2 else np.ones(n_points, bool)


def verify_halves_of(result: Any, trial: Trial, truth: Truth) -> None:
    labels, is_member = trial.labels % 2, members_of(trial)
    ends = truth.sq_distances[:, [0, -1]]
    of_rows = np.take_along_axis(ends, labels[:, None], axis=1)[:, 0]
    inertia = trial.read(result.inertia, trial.accumulated, (2,))
    for side in (0, 1):
        mine = (labels == side) & is_member
        weighted = (truth.weights * of_rows)[mine]
        slack = truth.of_differences(weighted).sum()
        assert_within(inertia[side], weighted.sum(), slack + truth.of_sums(weighted))
        assert int(result.n_rows[side]) == mine.sum()
        assert int(result.n_weighted[side]) == (mine & (truth.weights > 0.0)).sum()


def zeros_and_ones(trial: Trial) -> tuple[Any, ...]:
    return (trial.placed(trial.labels % 2, "int32"),)


def verify_places_by_half(result: Any, trial: Trial, truth: Truth) -> None:
    assert trial.xp.isdtype(result.dtype, "integral")
    places = trial.read(result, str(result.dtype).rpartition(".")[2], trial.shape[:1]).astype(int)
    np.testing.assert_array_equal(places, np.argsort(trial.labels % 2, kind="stable"))


def rows_and_pair(trial: Trial) -> tuple[Any, ...]:
    start = trial.placed(trial.problem.centroids[[0, -1]])
    return trial.rows, start, 3, 0.0, update_for(trial.shape[1])


def verify_split_at_once(result: Any, trial: Trial, truth: Truth) -> None:
    """Compare with the run of the same folder, and with its halves, where there is a split."""
    if result is None:
        return
    xp, (_, start, *ends) = trial.xp, rows_and_pair(trial)
    at_once = beside(trial.body, runs_at_once, trial.library)
    run = at_once(trial.rows, start[None, :, :], *ends, xp=xp)
    n_iter, (labels,) = int(run.n_iter[0]), run.labels
    np.testing.assert_array_equal(result.centroids, run.centroids[0])
    assert result.sq_shift == run.signals[0, n_iter - 1, 0]
    halves = beside(trial.body, halves_of, trial.library)
    of_two = halves(trial.rows, labels, None, run.centroids[0], xp=xp)
    for found, expected in zip(result.halves, of_two, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(result.places, np.argsort(labels, kind="stable"))


def rows_and_some_places(trial: Trial) -> tuple[Any, ...]:
    return trial.rows, trial.library.asarray(some_places(trial), trial.labels_dtype), Room()


def some_places(trial: Trial) -> Any:
    return permuted(trial)[: -(-2 * trial.shape[0] // 3)]


def verify_gathered_rows(result: Any, trial: Trial, truth: Truth) -> None:
    expected = trial.rows.part(0, trial.shape[0]).centred()
    places = some_places(trial)
    read = trial.library.to_host
    np.testing.assert_array_equal(read(result.centred()), read(expected)[places])
    assert (result.weights is None) == (trial.rows.weights is None)
    if result.weights is not None:
        np.testing.assert_array_equal(read(result.weights), read(trial.rows.weights)[places])


def values_and_places(trial: Trial) -> tuple[Any, ...]:
    places = trial.library.asarray(permuted(trial), trial.labels_dtype)
    return trial.placed(trial.labels, "int32"), places


def permuted(trial: Trial) -> Any:
    return np.random.default_rng(0).permutation(trial.shape[0])


def verify_in_places(result: Any, trial: Trial, truth: Truth) -> None:
    found = trial.read(result, "int32", trial.shape[:1])
    np.testing.assert_array_equal(found[permuted(trial)], trial.labels)


def verify_labels_each_row_alone(result: Any, trial: Trial, truth: Truth) -> None:
    """Compare the labels of all rows with those of some in another order, if it says so."""
    assert isinstance(result, bool)
    if not result:
        return
    nearest = beside(trial.body, nearest_labels, trial.library)
    some = trial.library.asarray(permuted(trial)[: -(-trial.shape[0] // 2)], "int64")
    of_all = nearest(trial.rows, trial.centroids, xp=trial.xp)
    of_some = nearest(trial.rows.gathered(some), trial.centroids, xp=trial.xp)
    np.testing.assert_array_equal(of_some, of_all[some])


def verify_places_of_least(result: Any, trial: Trial, truth: Truth) -> None:
    n = min(distances_and_a_half(trial)[1], trial.shape[0])
    assert trial.xp.isdtype(result.dtype, "integral")
    places = trial.read(result, str(result.dtype).rpartition(".")[2], (n,)).astype(int)
    np.testing.assert_array_equal(places, np.argsort(trial.closest, kind="stable")[:n])


class Drawn(NamedTuple):
    """Gives numbers that are drawn already."""

    uniforms: Host

    def random_sample(self, n_drawn: int) -> Host:
        assert self.uniforms.shape == (n_drawn,)
        return self.uniforms


def rows_and_uniforms(trial: Trial) -> tuple[Any, ...]:
    n_clusters = min(trial.shape[0], trial.shape[2], 9)
    n_drawn = 1 + (n_clusters - 1) * (2 + int(math.log(n_clusters)))
    return trial.rows, np.random.default_rng(1).random((3, n_drawn)), n_clusters


def verify_starts_at_once(result: Any, trial: Trial, truth: Truth) -> None:
    """The rows of each start are those that its numbers choose alone."""
    if result is None:
        return
    rows, uniforms, n_clusters = rows_and_uniforms(trial)
    blocks = InMemory(rows, xp=trial.xp)
    for start, of_run in zip(result, uniforms, strict=True):
        alone = kmeans_plusplus(blocks, n_clusters, Drawn(of_run)).centroids
        np.testing.assert_array_equal(to_host(start), to_host(alone))


def two_problems(trial: Trial) -> tuple[Any, ...]:
    """Return the rows, and the same backwards."""
    points, weights = trial.problem.points, trial.problem.weights
    placed = trial.placed(points, trial.problem.dtype)
    both = trial.xp.stack([placed, trial.xp.flip(placed, axis=0)])
    if weights is not None:
        weights = trial.library.asarray(np.stack([weights, weights[::-1]]) + 1.0, weights.dtype)
    n_clusters = min(len(trial.problem.centroids), len(points))
    uniforms = np.random.default_rng(0).random((2, 2, 1 + (n_clusters - 1) * 3))
    return (
        both,
        weights,
        uniforms,
        None,
        ProblemOptions(n_clusters, 4, 1e-4, 1e-30, 1e30, 1e-60, 1e60, 0.0, 1e-6),
    )


def verify_solved_at_once(result: Any, trial: Trial, truth: Truth) -> None:
    """Each problem has labels of the nearest of its centroids, and their inertia."""
    if result is None:
        return
    n_points, n_features = trial.problem.points.shape
    weights = np.ones(n_points) if trial.problem.weights is None else trial.problem.weights + 1.0
    result = result._replace(centroids=result.centroids + result.origins[:, None, :])
    found = (trial.library.to_host(each) for each in result)
    for backwards, labels, centroids, _, inertia, n_iter in zip((1, -1), *found, strict=True):
        if n_iter == 0:
            continue
        points = trial.problem.points[::backwards].astype(np.float64)
        assert 1 <= n_iter <= 4
        distances = oracle_distances(points, centroids)
        own = np.take_along_axis(distances, labels[:, None].astype(int), axis=1)[:, 0]
        # Centroids are rounded where the mean is added to them.
        off = 8.0 * np.finfo(centroids.dtype).eps * np.abs(points).max() * np.sqrt(n_features)
        assert (np.sqrt(own) <= np.sqrt(distances.min(axis=1)) + 64.0 * off).all()
        total = (weights[::backwards] * own).sum()
        assert np.sqrt(inertia) == pytest.approx(
            np.sqrt(total), rel=1e-5, abs=8.0 * off * np.sqrt(weights.sum())
        )


def rows_and_starts(trial: Trial) -> tuple[Any, ...]:
    """Return starts from the centroids, and from these in another order."""
    starts = trial.xp.stack([trial.centroids, trial.xp.flip(trial.centroids, axis=0)])
    return trial.rows, starts, 3, 0.0, update_for(trial.shape[2])


def verify_runs_at_once(result: Any, trial: Trial, truth: Truth) -> None:
    """Runs have the bits of their steps, one after another."""
    if result is None:
        return
    rows, starts, max_iter, _, updated = rows_and_starts(trial)
    step, update, label = (
        beside(trial.body, each, trial.library) for each in (lloyd_step, updated, nearest_labels)
    )
    for centroids, *ended, n_iter, signals in zip(starts, *result, strict=True):
        assert 0 <= n_iter <= max_iter
        for number in range(int(n_iter)):
            totals = step(rows, centroids, xp=trial.xp)
            centroids, expected = update(totals, centroids, xp=trial.xp)
            np.testing.assert_array_equal(signals[number, ...], expected)
        if n_iter > 0:
            labels = label(rows, centroids, xp=trial.xp)
            np.testing.assert_array_equal(ended[0], centroids)
            np.testing.assert_array_equal(ended[1], labels)
            inertia = beside(trial.body, assigned_inertia, trial.library)
            assert ended[2] == inertia(rows, labels, centroids, xp=trial.xp)


def oracle_distances(points: Host, centroids: Host) -> Host:
    wide = centroids.astype(np.float64)
    return np.array([((points - centroid) ** 2).sum(axis=1) for centroid in wide]).T


def rows_of_which_some_are_the_origin(trial: Trial) -> tuple[Any, ...]:
    """Measure from the last row, which others may equal."""
    points = trial.problem.points.astype(trial.problem.computing)
    return (trial.rows.seen_from(trial.placed(points[-1:])[0, :]),)


def verify_without_direction(result: Any, trial: Trial, truth: Truth) -> None:
    points = trial.problem.points.astype(trial.problem.computing)
    found = trial.read(result, "bool", trial.shape[:1])
    np.testing.assert_array_equal(found, (points == points[-1]).all(axis=1))


def verify_sphere_factors(result: Any, trial: Trial, truth: Truth) -> None:
    if result is None:
        return
    points = trial.problem.points.astype(trial.problem.computing).astype(np.float64)
    found = trial.read(result, trial.problem.computing, trial.shape[:1])
    np.testing.assert_allclose(found, RADIUS / np.linalg.norm(points, axis=1), rtol=1e-6)


def verify_measured_on_sphere(result: Any, trial: Trial, truth: Truth) -> None:
    if result is None:
        return
    given, computing = trial.rows.seen_from(None), trial.problem.computing
    read = rows_on_sphere(given, sphere_factors(given, xp=trial.xp)).centred()
    assert_same_bits(result.rows.centred(), read)
    points = trial.read(read, computing, trial.shape[:2]).astype(np.float64)
    ones = np.ones(trial.shape[0])
    weights = ones if trial.rows.weights is None else to_host(trial.rows.weights).astype(float)
    for (mass, sums, sq_sums), each in zip(result.moments, (ones, weights), strict=True):
        assert float(mass) == pytest.approx(each.sum())
        np.testing.assert_allclose(to_host(sums), each @ points, atol=1e-12 * each.sum())
        np.testing.assert_allclose(to_host(sq_sums), each @ points**2, rtol=1e-12)


def vectors_and_a_zero(trial: Trial) -> tuple[Any, ...]:
    return (trial.placed(host_vectors_and_a_zero(trial)),)


def host_vectors_and_a_zero(trial: Trial) -> Host:
    vectors = trial.problem.points.astype(trial.problem.computing)
    vectors[-1:] = 0.0
    return vectors


def verify_on_sphere(result: Any, trial: Trial, truth: Truth) -> None:
    vectors = host_vectors_and_a_zero(trial).astype(np.float64)
    found = trial.read(result, trial.problem.computing, vectors.shape)
    lengths = np.linalg.norm(vectors, axis=1)[:, None]
    expected = RADIUS * vectors / np.where(lengths > 0.0, lengths, 1.0)
    eps = np.finfo(trial.problem.computing).eps
    assert_within(found, expected, vectors.shape[1] * eps * np.ones_like(expected))


CONTRACTS = {
    "are_steps_short": Contract(lambda trial: (trial.rows, trial.shape[2]), verify_is_a_choice),
    "assigned_inertia": Contract(rows_labels_and_centroids, verify_assigned_inertia),
    "assigned_sq_distances": Contract(
        rows_labels_and_centroids,
        verify_assigned_sq_distances,
    ),
    "batch_means": Contract(rows_centroids_and_mass, verify_batch_means),
    "batched_steps_of": Contract(rows_reduce_and_tol, verify_batched_steps_of, walked_together),
    "best_candidate": Contract(potentials_indices_and_candidates, verify_best_candidate),
    "both_moments": Contract(lambda trial: (trial.rows,), verify_both_moments),
    "bounded_step": Contract(rows_centroids_and_bounds, verify_bounded_step),
    "bounded_steps": Contract(rows_bounds_and_ends, verify_bounded_steps),
    "candidate_potentials": Contract(rows_closest_and_centroids, verify_candidate_potentials),
    "chosen_at_once": Contract(rows_closest_last_and_trials, verify_chosen_at_once),
    "closer_of": Contract(
        lambda trial: (trial.rows, trial.placed(trial.closest), trial.centroids[:1, :]),
        verify_closer_of,
    ),
    "cluster_sums": Contract(
        lambda trial: (trial.rows, trial.placed(trial.labels, trial.labels_dtype), trial.shape[2]),
        verify_cluster_sums,
    ),
    "column_moments": Contract(lambda trial: (trial.rows,), verify_column_moments),
    "drawn": Contract(values_weights_and_uniforms, verify_drawn),
    "gathered_rows": Contract(rows_and_some_places, verify_gathered_rows),
    "halves_of": Contract(rows_in_halves, verify_halves_of),
    "in_places": Contract(values_and_places, verify_in_places),
    "keeps_bounds": Contract(lambda trial: (trial.rows, trial.shape[2]), verify_keeps_bounds),
    "labels_each_row_alone": Contract(rows_and_centroids, verify_labels_each_row_alone),
    "lloyd_steps": Contract(rows_centroids_and_ends, verify_lloyd_steps),
    "lloyd_step": Contract(rows_and_centroids, verify_lloyd_step),
    "lloyd_step_batched": Contract(rows_and_restarts, verify_lloyd_step_batched),
    "means_on_sphere": Contract(totals_and_centroids, verify_means_on_sphere),
    "measured_on_sphere": Contract(
        lambda trial: (trial.rows.seen_from(None),), verify_measured_on_sphere
    ),
    "nearest_centroid": Contract(rows_and_centroids, verify_nearest_centroid),
    "nearest_labels": Contract(rows_and_centroids, verify_nearest_labels),
    "on_sphere": Contract(vectors_and_a_zero, verify_on_sphere),
    "placed_at_rows": Contract(rows_centroids_and_places, verify_placed_at_rows),
    "places_by_half": Contract(zeros_and_ones, verify_places_by_half),
    "places_of_least": Contract(distances_and_a_half, verify_places_of_least),
    "row_uniforms": Contract(rows_and_their_numbers, verify_row_uniforms),
    "rules_out_scores": Contract(lambda trial: (trial.rows, trial.shape[2]), verify_is_a_choice),
    "runs_at_once": Contract(rows_and_starts, verify_runs_at_once),
    "silhouette_distances": Contract(rows_in_clusters, verify_silhouette_distances),
    "sphere_factors": Contract(lambda trial: (trial.rows.seen_from(None),), verify_sphere_factors),
    "split_at_once": Contract(rows_and_pair, verify_split_at_once),
    "spread": Contract(moments_about, verify_spread),
    "sq_distances": Contract(rows_and_centroids, verify_sq_distances),
    "starts_at_once": Contract(rows_and_uniforms, verify_starts_at_once),
    "steps_of": Contract(rows_reduce_tol_and_update, verify_steps_of, walked),
    "takes_whole_runs": Contract(lambda trial: (trial.rows, trial.shape[2]), verify_is_a_choice),
    "update_centroids": Contract(totals_and_centroids, verify_update_centroids),
    "solved_at_once": Contract(two_problems, verify_solved_at_once),
    "without_direction": Contract(rows_of_which_some_are_the_origin, verify_without_direction),
}


def contract_of(name: str) -> Contract:
    if name not in CONTRACTS:
        pytest.fail(f"kernel {name} has no entry in CONTRACTS: say there what it promises")
    return CONTRACTS[name]


def bodies_of(name: str, library: Library) -> list[Callable[..., Any]]:
    return [kernels[name].portable, *kernels[name].overrides(library.name)]


def check_bodies(
    name: str, library: Library, problem: Problem, labels_dtype: str = "int32"
) -> None:
    contract = contract_of(name)
    with tiled(problem.tiles, problem.points.shape[1]):
        for body in bodies_of(name, library):
            trial = Trial(body, library, problem, labels_dtype)
            try:
                result = trial.run(contract, *contract.arguments(trial))
                contract.verify(result, trial, Truth(trial))
            except Declined:
                assert body is not kernels[name].portable, "a portable body may not decline"
            except Exception as error:
                error.add_note(f"body: {body.__module__}.{body.__name__}")
                raise


@functools.cache
def fixed_problems(dtype: str) -> list[Problem]:
    """Return problems of different shapes, kinds and weights."""
    return [
        problem_of(
            shape,
            dtype,
            kind=KINDS[seed % len(KINDS)],
            weights=WEIGHTS[seed % len(WEIGHTS)],
            has_origin=bool(seed % 2),
            seed=seed,
        )
        for seed, shape in enumerate(FIXED_SHAPES)
    ]


def bytes_of(
    body: Callable[..., Any], name: str, library: Library, problem: Problem
) -> list[bytes]:
    """Return the bytes of the arrays that a body gives for a problem."""
    trial, contract = Trial(body, library, problem), contract_of(name)
    result = trial.run(contract, *contract.arguments(trial))
    return [to_host(array).tobytes() for array in arrays_in((result,))]


every_kernel = pytest.mark.parametrize("name", sorted(kernels))


def test_no_contract_is_of_a_kernel_that_is_gone() -> None:
    assert set(CONTRACTS) <= set(kernels)


@every_kernel
@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_bodies_agree_with_the_oracle(
    name: str, dtype: str, library: Library, data: st.DataObject
) -> None:
    check_bodies(name, library, data.draw(problems(dtype, few_shapes=library.name in COMPILED)))


@every_kernel
@pytest.mark.parametrize("dtype", HALF_DTYPES)
@given(data=st.data())
def test_bodies_compute_half_precision_in_float32(
    name: str, dtype: str, library: Library, data: st.DataObject
) -> None:
    few_shapes = library.name in COMPILED
    check_bodies(name, library, data.draw(problems(dtype, max_points=60, few_shapes=few_shapes)))


@pytest.mark.sampled(5, numpy=4, cupy=20)
@pytest.mark.skip_library("array_api_strict-device1", reason="drawn shapes show its device")
@every_kernel
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", range(len(FIXED_SHAPES)), ids=map(str, FIXED_SHAPES))
def test_bodies_agree_with_the_oracle_at_fixed_shapes(
    name: str, dtype: str, index: int, library: Library
) -> None:
    n_points, _, n_clusters = FIXED_SHAPES[index]
    if library.name == "cupy" and "steps_of" in name and n_clusters > 1000:
        pytest.skip("an emulated GPU takes a minute for steps that are tried one by one too")
    if library.name == "cupy" and n_points > MOST_EMULATED:
        pytest.skip("an emulated GPU takes as long for these as for all others")
    check_bodies(name, library, fixed_problems(dtype)[index])


@pytest.mark.sampled(1, jax=2, dpnp=3)
@every_kernel
def test_bodies_agree_with_the_oracle_across_tile_borders(name: str, library: Library) -> None:
    problem = problem_of((53, 3, 11), "float32", weights="zeros", tiles=Tiles(5, 4))
    with tiled(problem.tiles, 3):
        rows = DenseRows(library.asarray(problem.points))
        assert tile_shape(rows, 11, xp=library.xp) == (5, 4)
    check_bodies(name, library, problem)


@pytest.mark.sampled(2, jax=5, dpnp=5, cupy=4)
@every_kernel
@pytest.mark.parametrize("layout", LAYOUTS)
def test_bodies_read_any_memory_layout(name: str, layout: str, library: Library) -> None:
    shape = (37, 4, 5)
    for has_origin in (False, True):
        problem = problem_of(
            shape, "float32", layout=layout, has_origin=has_origin, weights="random"
        )
        check_bodies(name, library, problem)


@pytest.mark.sampled(2, jax=5, dpnp=5)
@every_kernel
def test_a_row_between_equal_centroids_goes_to_the_first(name: str, library: Library) -> None:
    problem = problem_of((24, 2, 3), "float32", kind="grid", tiles=Tiles(24, 4))
    points = problem.points
    # Copies of a centroid fall into three tiles of centroids.
    centroids = np.concatenate([points[:2], points[:2], points[2:7], points[:2]])
    check_bodies(name, library, replace(problem, centroids=centroids))


@pytest.mark.sampled(1, cupy=3)
@pytest.mark.parametrize("name", ["lloyd_step", "nearest_centroid", "nearest_labels"])
def test_the_nearest_of_thousands_of_centroids_is_found(name: str, library: Library) -> None:
    problem = problem_of((40, 2, 4500), "float32", kind="grid")
    # None of the first is near, and those that are near come many times.
    centroids = problem.centroids.copy()
    centroids[:3000] += 50.0
    check_bodies(name, library, replace(problem, centroids=centroids))


@pytest.mark.parametrize(
    "name", ["assigned_inertia", "assigned_sq_distances", "cluster_sums", "silhouette_distances"]
)
@pytest.mark.parametrize(
    "dtype", ["int32", pytest.param("int64", marks=pytest.mark.needs("float64"))]
)
def test_labels_may_be_of_any_integer_dtype(name: str, dtype: str, library: Library) -> None:
    for shape in ((1, 1, 1), (2, 300, 3), (401, 3, 200)):
        problem = problem_of(shape, "float32", weights="zeros", has_origin=True)
        check_bodies(name, library, problem, labels_dtype=dtype)


def test_silhouettes_do_not_look_at_the_origin(library: Library) -> None:
    # Subtracting it would round what is then measured in the accumulation dtype.
    problem = problem_of((200, 3, 4), "float32", kind="scaled")
    moved = replace(problem, origin=np.array([0.1, 20.3, 300.7], np.float32))
    for body in bodies_of("silhouette_distances", library):
        plain, seen = Trial(body, library, problem), Trial(body, library, moved)
        arguments = rows_in_clusters(plain)[1:]
        results = [body(trial.rows, *arguments, xp=library.xp) for trial in (plain, seen)]
        if results[0] is NotImplemented:
            continue
        for ours, theirs in zip(*results, strict=True):
            assert_same_bits(ours, theirs)


def test_steps_of_restarts_are_bit_equal_to_steps_of_their_own(library: Library) -> None:
    xp = library.xp
    for problem in fixed_problems("float32"):
        if library.name == "cupy" and len(problem.points) * len(problem.centroids) > 60_000:
            continue  # an emulated GPU takes as long for these as for all others
        trial = Trial(lloyd_step_batched, library, problem)
        together = lloyd_step_batched(*rows_and_restarts(trial), xp=xp)
        for run, restart in enumerate(trial.restarts):
            alone = lloyd_step(trial.rows, restart.centroids, xp=xp)
            for part, expected in zip(of_run(together, run), alone, strict=True):
                assert to_host(part).tobytes() == to_host(expected).tobytes()


@pytest.mark.parametrize("tol", [0.0, 0.05])
@pytest.mark.parametrize("updated", [update_centroids, means_on_sphere], ids=lambda u: u.__name__)
def test_the_steps_of_a_long_run_are_plain_ones(updated: Any, tol: float, library: Library) -> None:
    # Longer than what is taken in one call, and than what is launched one by one.
    problem = problem_of((300, 3, 20), "float32", weights="zeros", has_origin=True)
    trial = Trial(steps_of, library, problem)
    steps = steps_of(*rows_reduce_and_tol(trial)[:2], tol, updated, xp=library.xp)
    centroids, n_steps = trial.centroids, 36
    for number in range(n_steps):
        taken = steps.take(centroids, n_left=n_steps - number)
        totals = lloyd_step(trial.rows, centroids, xp=library.xp)
        update = updated(totals, centroids, xp=library.xp)
        assert_same_step(taken, Step(centroids, totals, update, to_host(update.signals)))
        centroids = taken.update.centroids


def test_restarts_are_updated_each_from_its_own_totals(library: Library) -> None:
    # As many restarts as clusters and features: nothing but the order tells them apart.
    problem = problem_of((50, 3, 3), "float32", weights="random")
    for body in bodies_of("update_centroids", library):
        trial = Trial(body, library, problem)
        given = [totals_and_centroids(restart) for restart in trial.restarts]
        totals = ClusterTotals(*map(stacked, *(totals for totals, _ in given)))
        centroids = stacked(*(centroids for _, centroids in given))
        result = trial.run(CONTRACTS["update_centroids"], totals, centroids)
        for run, restart in enumerate(trial.restarts):
            verify_update_centroids(of_run(result, run), restart, Truth(restart))


only_numpy_promises = pytest.mark.skip_library(
    "array_api_strict",
    "torch",
    "jax",
    "dpnp",
    "cupy",
    reason="threads are those of NumPy's kernels",
)


@every_kernel
def test_bodies_are_bit_equal_from_call_to_call(
    name: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_pairs = {"numpy": math.inf, "cupy": 12_000}.get(library.name, 60_000)
    for problem in fixed_problems("float32"):
        if len(problem.points) * len(problem.centroids) > most_pairs:
            continue  # tried on NumPy, which is fast
        for body in bodies_of(name, library):
            try:
                expected = bytes_of(body, name, library, problem)
            except Declined:
                continue
            with monkeypatch.context() as patch:
                # An emulated GPU then runs its last block first, and the last thread of each.
                patch.setenv("CUPY_ON_CPU_ORDER", "reverse")
                assert bytes_of(body, name, library, problem) == expected


@only_numpy_promises
@every_kernel
@pytest.mark.parametrize("n_threads", [2, 3])
def test_results_do_not_depend_on_the_number_of_threads(
    name: str, n_threads: int, library: Library
) -> None:
    for problem in fixed_problems("float32"):
        with config_context(n_threads=1):
            expected = bytes_of(kernels[name], name, library, problem)
        with config_context(n_threads=n_threads):
            assert bytes_of(kernels[name], name, library, problem) == expected


#: overrides for what no problem here has, and the tests that try them: seedings of 48 rows or more
#: (tests/algorithms/test_skipped_seeding.py), pairs of wide centroids (test_pair_bounds.py)
TRIED_ELSEWHERE = {"chosen_by_clusters", "reading_few_rows", "reading_few_rows_in_a_call"}


@every_kernel
def test_every_override_takes_some_problem(name: str, library: Library) -> None:
    wide = [problem_of(WIDE_SHAPE, "float32")] if library.name == "numpy" else []
    for body in kernels[name].overrides(library.name):
        if body.__name__ in TRIED_ELSEWHERE:
            continue
        each_dtype = fixed_problems("float32") + fixed_problems(accumulation_name(library))
        for problem in each_dtype + wide:
            try:
                bytes_of(body, name, library, problem)
            except Declined:
                continue
            break
        else:
            pytest.fail(f"{body.__name__} declines all of FIXED_SHAPES, so no test runs it")


@every_kernel
def test_bodies_run_on_a_device_without_float64(name: str) -> None:
    for problem in fixed_problems("float32"):
        check_bodies(name, library_without_float64(), problem)


@every_kernel
def test_no_body_waits_for_the_device(name: str, library: Library) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs counters of copies and waits")
    if name == "solved_at_once":
        pytest.skip("reads whether runs have ended: test_cuda_problems.py counts that")
    problem = problem_of((50, 3, 4), "float32", weights="zeros", has_origin=True)
    counters = ("h2d_count", "d2h_count", "stream_syncs", "device_syncs", "event_syncs")
    for body in bodies_of(name, library):
        trial = Trial(body, library, problem)
        arguments = contract_of(name).arguments(trial)
        body(*arguments, xp=library.xp)  # compiles
        before = stats.read()
        body(*arguments, xp=library.xp)
        after = stats.read()
        expected = dict.fromkeys(counters, 0)
        if body is kernels["row_uniforms"].portable:
            expected["h2d_count"] = 1  # it makes the numbers on the host
        if name == "starts_at_once" and body is not starts_at_once.portable:
            expected["h2d_count"] = 2  # the random numbers, and the first rows
        assert {key: after[key] - before[key] for key in counters} == expected


def doubled(array: Any, *, xp: Any) -> Any:
    """Return twice the array."""
    return 2 * array


def test_a_kernel_looks_like_its_portable_body() -> None:
    assert vars(Kernel(doubled))["__name__"] == "doubled"
    assert Kernel(doubled).__doc__ == "Return twice the array."


def test_a_kernel_without_override_runs_its_portable_body(library: Library) -> None:
    result = Kernel(doubled)(library.asarray([1.0, 2.0], "float32"), xp=library.xp)
    np.testing.assert_array_equal(library.to_host(result), [2.0, 4.0])


def test_an_override_is_used_for_its_library_alone(library: Library) -> None:
    kernel = Kernel(doubled)
    kernel.override(library.name)(lambda array, *, xp: "override")
    assert kernel(library.asarray([1.0], "float32"), xp=library.xp) == "override"
    assert kernel(3, xp=ModuleType("another")) == 6


def test_an_override_counts_when_registered_after_the_first_call(library: Library) -> None:
    kernel = Kernel(doubled)
    array = library.asarray([1.0], "float32")
    assert library.to_host(kernel(array, xp=library.xp))[0] == 2.0
    kernel.override(library.name)(lambda array, *, xp: "late")
    assert kernel(array, xp=library.xp) == "late"


def test_the_newest_override_is_tried_first_and_may_decline() -> None:
    kernel, xp = Kernel(doubled), ModuleType("some")
    tried: list[str] = []

    @kernel.override("some")
    def older(array: Any, *, xp: Any) -> Any:
        tried.append("older")
        return "older" if array > 1 else NotImplemented

    @kernel.override("some")
    def newer(array: Any, *, xp: Any) -> Any:
        tried.append("newer")
        return "newer" if array > 2 else NotImplemented

    assert [kernel(array, xp=xp) for array in (1, 2, 3)] == [2, "older", "newer"]
    assert tried == ["newer", "older", "newer", "older", "newer"]
    assert kernel.overrides("some") == (newer, older)


class OtherRows(NamedTuple):
    """Rows of a kind of their own, on which doubled works."""

    value: int

    def __rmul__(self, factor: int) -> int:
        return factor * self.value


class SpecialRows(DenseRows):
    """Dense rows all the same."""


def test_an_override_never_sees_another_kind_of_rows() -> None:
    kernel, xp = Kernel(doubled), ModuleType("some")

    @kernel.override("some", rows=OtherRows)
    def for_others(rows: Any, *, xp: Any) -> Any:
        assert isinstance(rows, OtherRows)
        return "others"

    assert kernel(OtherRows(1), xp=xp) == "others"

    @kernel.override("some", rows=DenseRows)
    def for_dense(rows: Any, *, xp: Any) -> Any:
        assert isinstance(rows, DenseRows)
        return "dense"

    points = np.zeros((2, 1))
    assert kernel(OtherRows(1), xp=xp) == "others"
    assert [kernel(kind(points), xp=xp) for kind in (DenseRows, SpecialRows)] == ["dense"] * 2
    assert kernel(3, xp=xp) == 6
    assert kernel.overrides("some") == kernel.overrides("some", SpecialRows) == (for_dense,)
    assert kernel.overrides("some", OtherRows) == (for_others,)
    assert kernel.overrides("some", int) == ()


def test_an_override_for_any_rows_comes_with_those_for_one_kind() -> None:
    kernel = Kernel(doubled)
    for_dense = kernel.override("some", rows=DenseRows)(lambda rows, *, xp: NotImplemented)
    for_any = kernel.override("some")(lambda rows, *, xp: "any")
    assert kernel.overrides("some") == (for_any, for_dense)
    assert kernel.overrides("some", OtherRows) == (for_any,)
    assert kernel(OtherRows(1), xp=ModuleType("some")) == "any"


def test_rows_without_an_override_of_their_kind_run_the_portable_body() -> None:
    kernel = Kernel(doubled)
    kernel.override("some", rows=DenseRows)(lambda rows, *, xp: "dense")
    assert kernel(OtherRows(4), xp=ModuleType("some")) == 8


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_the_override_of_the_highest_rank_is_tried_first(order: tuple[int, ...]) -> None:
    kernel, tried = Kernel(doubled), []
    for rank in order:

        @kernel.override("some", rank=rank)
        def declining(array: Any, *, xp: Any, rank: int = rank) -> Any:
            tried.append(rank)
            return NotImplemented

    assert kernel(3, xp=ModuleType("some")) == 6
    assert tried == [2, 1, 0]


def test_of_equal_rank_the_newest_override_is_tried_first() -> None:
    kernel = Kernel(doubled)
    first, low, second = (
        kernel.override("some", rank=rank)(lambda array, *, xp: NotImplemented)
        for rank in (1, 0, 1)
    )
    assert kernel.overrides("some") == (second, first, low)


@every_kernel
def test_a_kernel_pickles_to_itself(name: str) -> None:
    assert pickle.loads(pickle.dumps(kernels[name])) is kernels[name]
    bound = pickle.loads(pickle.dumps(functools.partial(kernels[name], n_clusters=3)))
    assert bound.func is kernels[name]


def test_another_process_has_the_kernel_with_its_overrides() -> None:
    code = (
        "import pickle, sys; kernel = pickle.load(sys.stdin.buffer);"
        "print(len(kernel.overrides('numpy')))"
    )
    command = [sys.executable, "-c", code]
    pickled = pickle.dumps(lloyd_step)
    printed = subprocess.run(command, input=pickled, capture_output=True, check=True)
    assert int(printed.stdout) == len(lloyd_step.overrides("numpy")) > 0


def test_an_override_stays_a_plain_function() -> None:
    assert Kernel(doubled).override("some")(doubled) is doubled


def test_an_error_in_an_override_is_raised() -> None:
    kernel = Kernel(doubled)

    @kernel.override("some")
    def broken(array: Any, *, xp: Any) -> Any:
        raise ZeroDivisionError("in the override")

    with pytest.raises(ZeroDivisionError, match="in the override"):
        kernel(1, xp=ModuleType("some"))


@pytest.fixture
def override_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the overrides of a library called "probed" are looked for."""
    registry = importlib.import_module("kmeans_xp.kernels.kernel")
    monkeypatch.setattr(kernels_package, "__path__", [*kernels_package.__path__, str(tmp_path)])
    record = record_of("probed")
    monkeypatch.setattr(record, "kernels", ("for_probed",))
    monkeypatch.setitem(registry.kernels, "doubled", Kernel(doubled))
    monkeypatch.delitem(sys.modules, "kmeans_xp.kernels.for_probed", raising=False)
    registry._load_overrides.cache_clear()
    importlib.invalidate_caches()
    return tmp_path / "for_probed.py"


def test_a_module_of_overrides_is_imported_on_first_use(override_module: Path) -> None:
    override_module.write_text(
        "from kmeans_xp.kernels import kernels\n"
        "@kernels['doubled'].override('probed')\n"
        "def fast(array, *, xp):\n"
        "    return 'fast'\n"
    )
    name = "kmeans_xp.kernels.for_probed"
    assert kernels["doubled"](1, xp=ModuleType("another")) == 2
    assert name not in sys.modules
    assert kernels["doubled"](1, xp=ModuleType("probed")) == "fast"
    assert name in sys.modules


def test_an_error_in_a_module_of_overrides_is_raised_at_every_call(override_module: Path) -> None:
    override_module.write_text("import a_module_that_does_not_exist\n")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="a_module_that_does_not_exist"):
            kernels["doubled"](1, xp=ModuleType("probed"))


def test_tiles_of_rows_cover_them_in_order(library: Library) -> None:
    problem = problem_of((7, 2, 1), "float32", weights="zeros", has_origin=True)
    rows = Trial(doubled, library, problem).rows
    parts = list(rows.tiles(3))
    assert [place for place, _ in parts] == [slice(0, 3), slice(3, 6), slice(6, 7)]
    centred = [library.to_host(part.centred()) for _, part in parts]
    np.testing.assert_array_equal(np.concatenate(centred), problem.centred)
    weights = [library.to_host(part.weights) for _, part in parts]
    np.testing.assert_array_equal(np.concatenate(weights), problem.weights)


@pytest.mark.skip_library("array_api_strict", "jax", "dpnp", reason="as torch, and slower")
@pytest.mark.parametrize(
    "shape", [(6000, 16, 500), (6000, 32, 300), (6000, 8, 900), (6000, 40, 90)]
)
def test_a_step_counts_rows_where_their_labels_say(
    shape: tuple[int, int, int], library: Library
) -> None:
    """Rows on a grid of tenths: up to rounding, many are halfway between centroids."""
    n_points, n_features, n_clusters = shape
    rng = np.random.default_rng(0)
    host = (rng.integers(0, 10, (n_points, n_features)) / 10).astype(np.float32)
    rows, centroids = DenseRows(library.asarray(host)), library.asarray(host[:n_clusters])
    labels = library.to_host(nearest_labels(rows, centroids, xp=library.xp))
    mass = library.to_host(lloyd_step(rows, centroids, xp=library.xp).mass)
    np.testing.assert_array_equal(mass, np.bincount(labels, minlength=n_clusters))
