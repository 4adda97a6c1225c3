"""Steps on few sparse rows: several in one call, since calls are what takes the time."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from kmeans_xp.devices import namespace_of
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMNS,
    COUNT,
    FLAG,
    NUMBER,
    NUMBERS,
    RESULTS,
    ROWS,
    STACK,
    STACKED_TOTALS,
    STARTS,
    SUMS,
    TOTALS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import as_rows
from kmeans_xp.kernels.for_numba.sparse_assignment import is_step_of_a_task, label_and_add
from kmeans_xp.kernels.for_numba.sparse_panels import (
    Panel,
    arrays_of,
    origin_of,
    override,
    pack_features,
    weights_of,
)
from kmeans_xp.kernels.for_numba.tiling import Floats
from kmeans_xp.kernels.for_numba.updating import update_clusters
from kmeans_xp.kernels.portable.assignment import ClusterTotals
from kmeans_xp.kernels.portable.steps import (
    LloydSteps,
    Update,
    lloyd_steps,
    means_on_sphere,
)
from kmeans_xp.kernels.sparse_rows import SparseRows

__all__ = ["pack_all", "run_steps"]

_pack_features, _label_and_add, _update_clusters = (
    function.shared for function in (pack_features, label_and_add, update_clusters)
)


@inline
def pack_all(centroids, origin, n_groups, panel, biases):
    """Lay all centroids out, as ``Panel.of`` does in one task."""
    biases[:] = 0.0
    _pack_features(centroids, origin, n_groups, 0, len(origin), panel, biases)
    for place in range(len(biases)):
        biases[place] = -biases[place] if place < len(centroids) else -np.inf


@compiled(
    NUMBERS,
    COLUMNS,
    STARTS,
    COLUMN,
    NUMBERS,
    ROWS,
    NUMBER,
    FLAG,
    RESULTS,
    SUMS,
    COUNT,
    COUNT,
    STACKED_TOTALS,
    TOTALS,
    STACK,
    TOTALS,
    returns=types.int64,
)
def run_steps(
    numbers,
    columns,
    starts,
    weights,
    origin,
    start,
    tol,
    on_sphere,
    panel,
    biases,
    n_units,
    n_groups,
    sums,
    mass,
    centroids,
    signals,
):
    """Take steps until one that ends the run or leaves a cluster empty; return their number."""
    n_clusters, n_features = start.shape
    before, found, added = start, np.empty(n_clusters * n_features), np.empty(n_clusters)
    for number in range(len(signals)):
        pack_all(before, origin, n_groups, panel, biases)
        found[:] = 0.0
        added[:] = 0.0
        _label_and_add(
            numbers,
            columns,
            starts,
            0,
            len(starts) - 1,
            weights,
            panel,
            biases,
            n_units,
            n_groups,
            n_features,
            found,
            added,
        )
        for cluster in range(n_clusters):
            mass[number, cluster] = added[cluster]
            for feature in range(n_features):
                about = added[cluster] * np.float64(origin[feature])
                sums[number, cluster, feature] = found[cluster * n_features + feature] - about
        _update_clusters(
            sums[number], mass[number], before, on_sphere, centroids[number], signals[number]
        )
        before = as_rows(centroids[number])
        if signals[number, 0] <= tol or signals[number, 1] > 0.0:
            return number + 1
    return len(signals)


@override(lloyd_steps)
def steps_in_a_call(
    rows: SparseRows, centroids: Floats, n_steps: int, tol: float, update: Callable[..., Update]
) -> Any:
    """Take all steps in compiled code where Python's part of one would be felt."""
    (n_clusters, n_features), dtype = centroids.shape, centroids.dtype
    if not is_step_of_a_task(rows, n_clusters) or not run_steps.pays(dtype):
        # Not declined: steps of kernels without numba would not have the bits of those here.
        xp = namespace_of(centroids)
        return lloyd_steps.portable(rows, centroids, n_steps, tol, update, xp=xp)
    shape = (n_steps, n_clusters, n_features)
    sums, mass = np.empty(shape), np.empty(shape[:2])
    new, signals = np.empty(shape, dtype), np.empty((n_steps, 3))
    given = (*arrays_of(rows), weights_of(rows), origin_of(rows), centroids, tol)
    on_sphere = update is means_on_sphere
    panel = Panel.empty(n_clusters, n_features, dtype)
    n_done = run_steps[dtype](*given, on_sphere, *panel, sums, mass, new, signals)
    return LloydSteps(
        ClusterTotals(sums[:n_done], mass[:n_done]), Update(new[:n_done], signals[:n_done])
    )
