"""Assignment, and steps of Lloyd's algorithm."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Namespace, namespace_of
from kmeans_xp.kernels.blas_threads import one_blas_thread
from kmeans_xp.kernels.for_numpy.measuring import distances_into, small_points, sq_norms
from kmeans_xp.kernels.for_numpy.scoring import assigner, assigning_cost
from kmeans_xp.kernels.for_numpy.small import SmallTile, is_small_product, is_small_tile
from kmeans_xp.kernels.for_numpy.sums import OneHotSums, one_hot_product, split, sums_are_shared
from kmeans_xp.kernels.for_numpy.tiling import (
    SMALL_GEMM,
    Centring,
    Floats,
    Labels,
    computing,
    cut,
    override,
    run,
)
from kmeans_xp.kernels.portable.assignment import (
    ClusterTotals,
    Nearest,
    nearest_centroid,
    nearest_labels,
)
from kmeans_xp.kernels.portable.steps import (
    LloydSteps,
    Update,
    lloyd_step,
    lloyd_steps,
    update_centroids,
)
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.trees import merged_in_tree

__all__: list[str] = []

#: up to this number of rows, and with a small GEMM, a few calls on all rows are faster than tiles
_FEW_ROWS = 2048


@override(lloyd_step)
def assign_and_sum_tiles(rows: DenseRows, centroids: Floats) -> ClusterTotals:
    """Assign and sum each tile while it is in the cache."""
    n_clusters, n_features = centroids.shape
    if sums_are_shared(n_clusters, n_features):
        return one_hot_product(rows, assigned_tiles(rows, centroids), n_clusters)
    if is_small_tile(rows, centroids):
        with _one_thread_for(rows, centroids):
            return SmallTile(rows, n_clusters).totals(centroids)
    make = assigner(n_clusters, n_features)
    cost = assigning_cost(n_clusters, n_features)
    plan = cut(rows.n_points, make.tile(n_clusters, n_features), cost)
    assign, centred = make(centroids), Centring(rows)
    sums = OneHotSums(n_clusters, n_features, rows.weights)

    def totals(task: int) -> Floats:
        total = sums.none()
        for place in plan.tiles(task):
            points = centred(place)
            assign(points, sums.labels(len(points)))
            sums.add(points, place, total)
        return total

    return split(merged_in_tree(run(totals, plan, gemm=centroids.size)))


def _one_thread_for(rows: DenseRows, centroids: Floats) -> AbstractContextManager[None]:
    return nullcontext() if is_small_product(rows, *centroids.shape) else one_blas_thread()


@override(lloyd_steps)
def steps_on_a_small_tile(
    rows: DenseRows, centroids: Floats, n_steps: int, tol: float, update: Callable[..., Update]
) -> Any:
    """Take all steps on rows that are centred, transposed and cast only once."""
    if not is_small_tile(rows, centroids):
        return NotImplemented
    tile, xp = SmallTile(rows, len(centroids)), namespace_of(centroids)
    steps: list[tuple[Floats, ...]] = []
    with _one_thread_for(rows, centroids):
        while len(steps) < n_steps:
            totals = tile.totals(centroids)
            updated = update(totals, centroids, xp=xp)
            steps.append((*totals, *updated))
            sq_shift, n_empty, _ = updated.signals.tolist()
            if sq_shift <= tol or n_empty > 0.0:
                break
            centroids = updated.centroids
    sums, mass, new, signals = map(np.stack, zip(*steps, strict=True))
    return LloydSteps(ClusterTotals(sums, mass), Update(new, signals))


@override(nearest_labels)
def assigned_tiles(rows: DenseRows, centroids: Floats) -> Labels:
    return _nearest(rows, centroids, None)


@override(nearest_centroid)
def assigned_tiles_with_distances(rows: DenseRows, centroids: Floats) -> Nearest[Any]:
    distances = np.empty(rows.n_points, computing(rows.points))
    return Nearest(_nearest(rows, centroids, distances), distances)


def _nearest(rows: DenseRows, centroids: Floats, distances: Floats | None) -> Labels:
    n_clusters, n_features = centroids.shape
    if rows.n_points <= _FEW_ROWS and rows.points.size * n_clusters <= SMALL_GEMM:
        return _small_nearest(rows, centroids, distances)
    labels = np.empty(rows.n_points, dtype=np.int32)
    make = assigner(n_clusters, n_features)
    cost = assigning_cost(n_clusters, n_features)
    plan = cut(rows.n_points, make.tile(n_clusters, n_features), cost)
    assign, centred = make(centroids), Centring(rows)

    def label(task: int) -> None:
        for place in plan.tiles(task):
            points = centred(place)
            assign(points, labels[place])
            if distances is not None:
                distances_into(points, centroids, labels[place], distances[place])

    run(label, plan, gemm=centroids.size, gemv=n_features)
    return labels


def _small_nearest(rows: DenseRows, centroids: Floats, distances: Floats | None) -> Labels:
    points = small_points(rows)
    scores = points @ centroids.T
    scores -= 0.5 * sq_norms(centroids)
    labels: NDArray[np.int32] = scores.argmax(axis=1).astype(np.int32)
    if distances is not None:
        distances[:] = sq_norms(points - centroids[labels])
    return labels


@update_centroids.override("numpy")
def means_or_old(totals: ClusterTotals, centroids: Floats, **_: Namespace) -> Any:
    """Return the means with half as many calls as the portable body."""
    sums, mass = totals
    if sums.dtype != np.float64 or centroids.dtype not in (np.float32, np.float64):
        return NotImplemented
    if centroids.ndim == 3:  # several runs: treat each like a single run
        runs = zip(sums, mass, centroids, strict=True)
        each = [means_or_old(ClusterTotals(s, m), c) for s, m, c in runs]
        return Update(*map(np.stack, zip(*each, strict=True)))
    column = mass[:, None]
    n_empty = len(mass) - np.count_nonzero(mass > 0.0)
    means = sums / column if n_empty == 0 else _means_with_empty(sums, column, centroids)
    new = means.astype(centroids.dtype, copy=False)
    old = centroids.astype(np.float64, copy=False)
    moved = new - old
    # sum w |x - c|^2 = sum w |x|^2 - (2 c.S - m |c|^2): no second pass over the rows. Do not use
    # BLAS: the rounding of its dot products depends on its number of threads.
    explained = _total_product(old, 2.0 * sums - column * old)
    return Update(new, np.array([_total_product(moved, moved), n_empty, explained]))


def _total_product(one: Floats, other: Floats) -> Any:
    return np.einsum("ij,ij->", one, other)


def _means_with_empty(sums: Floats, mass: Floats, centroids: Floats) -> Floats:
    is_empty = mass <= 0.0
    means: Floats = np.where(is_empty, centroids, sums / np.where(is_empty, 1.0, mass))
    return means
