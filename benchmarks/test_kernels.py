"""Each kernel's portable body against its overrides.

Run by ``pytest benchmarks --benchmark-enable --benchmark-group-by=param:kernel_name,param:size``;
without ``--benchmark-enable`` each case runs once, so that it cannot rot. ``KMEANS_XP_BENCHMARK``
set to ``large`` adds sizes that take minutes.
"""

import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from kmeans_xp.kernels import (
    Bounds,
    ClusterTotals,
    DenseRows,
    Moments,
    ProblemOptions,
    Room,
    kernels,
    update_centroids,
)


class Size(NamedTuple):
    """What a kernel's time depends on."""

    n_points: int
    n_features: int
    n_clusters: int


SMALL = [Size(500, 4, 5), Size(20_000, 16, 8), Size(20_000, 3, 64), Size(4000, 64, 128)]
LARGE = [
    Size(100_000, 16, 8),
    Size(1_000_000, 2, 10),
    Size(1_000_000, 16, 100),
    Size(500_000, 3, 64),
    Size(200_000, 128, 256),
    Size(100_000, 768, 1000),
]
SIZES = SMALL + (LARGE if os.environ.get("KMEANS_XP_BENCHMARK") == "large" else [])

N_CANDIDATES = 5

#: rows of which each pair is measured
N_PAIRED = 1000

#: problems that are solved at once
N_PROBLEMS = 8

#: kernels that say how work is done, and do none
SAYING_HOW = {
    *("are_steps_short", "batched_steps_of", "keeps_bounds", "labels_each_row_alone"),
    *("rules_out_scores", "steps_of", "takes_whole_runs"),
}


def arguments(kernel_name: str, size: Size, library: Any) -> tuple[Any, ...]:
    """Return what the kernel is called with, for uniform points seen from their mean."""
    rng = np.random.default_rng(0)
    host = rng.random((size.n_points, size.n_features), dtype=np.float32)
    origin = host.mean(axis=0)
    centroids = host[: size.n_clusters] - origin
    labels = library.asarray(rng.integers(0, size.n_clusters, size.n_points, dtype=np.int32))
    closest = library.asarray(rng.random(size.n_points, dtype=np.float32))
    rows = DenseRows(library.asarray(host), None, library.asarray(origin))
    uniforms = library.asarray(rng.random(N_CANDIDATES))
    sums = np.asarray(centroids, dtype=np.float64)
    mass = library.asarray(np.ones(size.n_clusters))
    totals = ClusterTotals(library.asarray(sums), mass)
    moments = Moments(library.asarray(np.float64(1.0)), *map(library.asarray, sums[:2]))
    placed = library.asarray(centroids)
    trials = rng.random((size.n_clusters - 1, N_CANDIDATES))
    problems = library.xp.stack([rows.points] * N_PROBLEMS)
    draws = np.tile(np.append(trials.reshape(-1), 0.5), (N_PROBLEMS, 1, 1))
    options = ProblemOptions(size.n_clusters, 3, 0.0, *(0.0, np.inf), *(0.0, np.inf), 0.0, 0.0)
    infinite = library.asarray(np.full(size.n_points, np.inf, dtype=np.float32))
    n_paired = min(N_PAIRED, size.n_points)
    order = library.asarray(np.arange(n_paired))
    clusters = library.asarray(np.repeat([0, 1], [1, n_paired - 1]).astype(np.int32))
    halves = library.asarray(rng.integers(0, 2, size.n_points, dtype=np.int32))
    starts = rng.random((2, 1 + trials.size))
    is_placed = library.asarray(np.arange(size.n_clusters) == 1)
    of_kernel: dict[str, tuple[Any, ...]] = {
        "assigned_inertia": (rows, labels, placed),
        "assigned_sq_distances": (rows, labels, placed),
        "batch_means": (rows, placed, mass),
        "best_candidate": (closest[: size.n_clusters], labels[: size.n_clusters], placed),
        "both_moments": (rows,),
        "bounded_step": (rows, placed, Bounds()),
        "bounded_steps": (rows, placed, 3, 0.0, update_centroids, Bounds(), math.inf),
        "candidate_potentials": (rows, closest, placed[:N_CANDIDATES, :]),
        "chosen_at_once": (rows, infinite, placed[:1, :], library.asarray(trials)),
        "closer_of": (rows, closest, placed[:1, :]),
        "cluster_sums": (rows, labels, size.n_clusters),
        "column_moments": (rows,),
        "drawn": (closest, None, uniforms, "left"),
        "gathered_rows": (rows, library.asarray(np.arange(0, size.n_points, 2)), Room()),
        "halves_of": (rows, halves, None, placed[:2, :]),
        "in_places": (halves, library.asarray(rng.permutation(size.n_points))),
        "lloyd_steps": (rows, placed, 3, 0.0, update_centroids),
        "lloyd_step_batched": (rows, library.xp.stack([placed, placed])),
        "placed_at_rows": (rows, placed, placed, order[: size.n_clusters], is_placed),
        "means_on_sphere": (totals, placed),
        "measured_on_sphere": (rows.seen_from(None),),
        "on_sphere": (placed,),
        "places_by_half": (halves,),
        "places_of_least": (closest, N_CANDIDATES),
        "row_uniforms": (rows, 0, (1, 2), 0),
        "runs_at_once": (rows, library.xp.stack([placed, placed]), 3, 0.0, update_centroids),
        "silhouette_distances": (rows.part(0, n_paired), clusters, order, (0, 1, n_paired)),
        "solved_at_once": (problems, None, draws, None, options),
        "sphere_factors": (rows,),
        "split_at_once": (rows, placed[:2, :], 3, 0.0, update_centroids),
        "spread": (moments, moments, rows.origin),
        "starts_at_once": (rows, starts, size.n_clusters),
        "update_centroids": (totals, placed),
        "without_direction": (rows,),
    }
    return of_kernel.get(kernel_name, (rows, placed))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("body", ["portable", "override"])
@pytest.mark.parametrize("kernel_name", sorted(set(kernels) - SAYING_HOW))
@pytest.mark.needs("float64")
def test_kernel(
    kernel_name: str, body: str, size: Size, library: Any, benchmark: Callable[..., Any]
) -> None:
    """Time one body; what is no body for this size or this library is skipped."""
    kernel = kernels[kernel_name]
    overrides = kernel.overrides(library.name)
    if body == "override" and not overrides:
        pytest.skip(f"{kernel_name} has no override for {library.name}")
    bodies = (kernel.portable,) if body == "portable" else overrides
    # The first that takes these sizes, as the kernel would choose it; None says that others do it.
    for run in bodies:
        given = arguments(kernel_name, size, library)
        result = run(*given, xp=library.xp)
        if result is not NotImplemented and result is not None:
            break
    else:
        pytest.skip(f"{kernel_name} has no {body} for this size")
    result = benchmark(run, *arguments(kernel_name, size, library), xp=library.xp)
    assert all(np.isfinite(library.to_host(part)).all() for part in _arrays_in(result))


def _arrays_in(result: Any) -> list[Any]:
    """Return the arrays in (nested) tuples."""
    if isinstance(result, tuple):
        return [array for part in result for array in _arrays_in(part)]
    # Rows may have no weights, and counts are no arrays.
    return [] if result is None or isinstance(result, list) else [result]
