"""New centroids: the means of clusters or their directions, and how far they moved."""

from typing import Any

import numpy as np

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.assignment import has_own_totals
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN_64,
    COUNT,
    FLAG,
    MATRIX,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    ROWS,
    ROWS_64,
    SUMS,
    TOTALS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.mean_vectors import UPDATED, write_mean
from kmeans_xp.kernels.for_numba.emitted.memory import matrix_in, new_numbers, numbers_in
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, as_rows
from kmeans_xp.kernels.for_numba.tiling import Floats
from kmeans_xp.kernels.for_numba.uncompiled import directions_of, means_of, uses_of
from kmeans_xp.kernels.portable.assignment import ClusterTotals
from kmeans_xp.kernels.portable.steps import (
    ROUNDINGS,
    Update,
    means_on_sphere,
    update_centroids,
)
from kmeans_xp.kernels.sphere_rows import RADIUS
from kmeans_xp.kernels.threads import in_threads

__all__ = ["end_step", "is_updated_in_lanes", "update_cluster", "update_clusters"]

_EPS_32, _EPS_64 = (float(np.finfo(dtype).eps) for dtype in (np.float32, np.float64))
#: minimum amount of the centroids' numbers for another thread
_MANY_NUMBERS = 2**17


@compiled(ROWS_64, COLUMN_64, ROWS, FLAG, MATRIX, SUMS)
def update_clusters(sums, mass, old, on_sphere, new, signals):
    """Write the means, or their directions, and the signals.

    A cluster without mass, or without a direction, keeps its centroid.
    """
    n_clusters, n_features = old.shape
    sq_shift = n_empty = explained = 0.0
    slack = ROUNDINGS * (_EPS_64 if old.itemsize == 8 else _EPS_32)
    for cluster in range(n_clusters):
        is_kept, factor = mass[cluster] <= 0.0, 1.0
        n_empty += is_kept
        if on_sphere:
            sq_length, is_lost = 0.0, True
            for feature in range(n_features):
                mean = sums[cluster, feature] / mass[cluster]
                sq_length += mean * mean
                is_lost &= abs(mean) <= slack
            is_kept, factor = is_kept or is_lost, RADIUS / np.sqrt(sq_length)
        for feature in range(n_features):
            before, total = np.float64(old[cluster, feature]), sums[cluster, feature]
            # Not times an inverse, which overflows for the least masses.
            mean = new.dtype.type(total / mass[cluster] * factor)
            if is_kept:
                mean = old[cluster, feature]
            new[cluster, feature] = mean
            moved = np.float64(mean) - before
            sq_shift += moved * moved
            # sum w |x - c|^2 = sum w |x|^2 - (2 c.S - m |c|^2): no second pass over the rows.
            explained += before * (2.0 * total - mass[cluster] * before)
    signals[0], signals[1], signals[2] = sq_shift, n_empty, explained


_update = update_clusters.shared


@inline
def end_step(number, totals, before, on_sphere, sums, mass, centroids, signals):
    """Write the results of one of several steps to their places; return the new centroids."""
    n_clusters, n_features = before.shape
    for cluster in range(n_clusters):
        for feature in range(n_features):
            sums[number, cluster, feature] = totals[cluster, feature]
        mass[number, cluster] = totals[cluster, n_features]
    new = matrix_in(centroids, number * n_clusters * n_features, n_clusters, n_features)
    _update(
        matrix_in(sums, number * n_clusters * n_features, n_clusters, n_features),
        numbers_in(mass, number * n_clusters, n_clusters),
        before,
        on_sphere,
        new,
        numbers_in(signals, number * signals.shape[1], signals.shape[1]),
    )
    return as_rows(new)


@inline
def update_cluster(sums, at, mass, old, first, n_features, new, shifts, parts):
    """Update one cluster; return its parts of the shift and of the explained inertia.

    Lanes of vectors hold several features. The cluster's sums begin at ``at``, its centroid at
    ``first``; ``shifts`` and ``parts`` are scratch with one sum for each lane.
    """
    shifts[:] = 0.0
    parts[:] = 0.0
    is_empty, inverse = mass <= 0.0, 1.0 / mass
    write_mean(new, first, n_features, sums, at, old, mass, inverse, is_empty, shifts, parts)
    return shifts.sum(), parts.sum()


@compiled(NUMBERS_64, NUMBERS_64, NUMBERS, COUNT, COUNT, RESULTS, TOTALS)
def _update_many(sums, mass, old, start, stop, new, signals):
    """Update some clusters, and write the signals of each."""
    n_features = len(old) // len(mass)
    shifts, parts = new_numbers(UPDATED, sums), new_numbers(UPDATED, sums)
    for cluster in range(start, stop):
        first = cluster * n_features
        sq_shift, explained = update_cluster(
            sums, first, mass[cluster], old, first, n_features, new, shifts, parts
        )
        signals[cluster, 0], signals[cluster, 2] = sq_shift, explained
        signals[cluster, 1] = mass[cluster] <= 0.0


@update_centroids.override("numpy", rank=1)
def means_in_a_pass(totals: ClusterTotals, centroids: Floats, *, xp: Namespace) -> Any:
    """Do everything in one call: for few clusters, calls take most of the time."""
    sums, mass = totals
    if sums.dtype != np.float64 or centroids.dtype not in PANEL:
        return NotImplemented
    if centroids.ndim == 3:  # several runs: treat each like a single run
        runs = zip(sums, mass, centroids, strict=True)
        each = [means_in_a_pass(ClusterTotals(s, m), c, xp=xp) for s, m, c in runs]
        return Update(*map(np.stack, zip(*each, strict=True)))
    new, signals = np.empty(centroids.shape, centroids.dtype), np.empty(3)
    if is_updated_in_lanes(*centroids.shape):
        return Update(new, _updated_in_threads(totals, centroids, new))
    if not update_clusters.pays(centroids.dtype, uses_of(centroids.size)):
        return Update(*means_of(sums, mass, centroids))
    update_clusters[centroids.dtype](sums, mass, centroids, False, new, signals)
    return Update(new, signals)


@means_on_sphere.override("numpy", rank=1)
def directions_in_a_pass(totals: ClusterTotals, centroids: Floats, *, xp: Namespace) -> Any:
    """Do everything in one call, with squares added in the order of the features.

    Running means of batches are float32. Each is widened, and its direction is rounded once.
    """
    if totals.sums.ndim != 2 or not totals.sums.size or centroids.dtype not in PANEL:
        return NotImplemented
    if any(each.dtype not in PANEL for each in totals):
        return NotImplemented
    sums, mass = (each.astype(np.float64, copy=False) for each in totals)
    if not update_clusters.pays(centroids.dtype, uses_of(centroids.size)):
        return Update(*directions_of(sums, mass, centroids))
    new, signals = np.empty(centroids.shape, centroids.dtype), np.empty(3)
    update_clusters[centroids.dtype](sums, mass, centroids, True, new, signals)
    return Update(new, signals)


def is_updated_in_lanes(n_clusters: int, n_features: int) -> bool:
    """Return whether ``update_cluster`` updates centroids of this size, not ``update_clusters``."""
    return n_features >= UPDATED and not has_own_totals(n_clusters, n_features)


def _updated_in_threads(totals: ClusterTotals, old: Floats, new: Floats) -> Floats:
    """Write the new centroids, and return the signals."""
    n_clusters, n_tasks = len(old), max(1, min(len(old), new.size // _MANY_NUMBERS))
    arrays = [np.ascontiguousarray(each).reshape(-1) for each in (*totals, old)]
    signals = np.empty((n_clusters, 3))

    def update(task: int) -> None:
        start, stop = (n_clusters * each // n_tasks for each in (task, task + 1))
        _update_many[old.dtype](*arrays, start, stop, new.reshape(-1), signals)

    in_threads(update, n_tasks)
    total: Floats = signals.sum(axis=0)
    return total
