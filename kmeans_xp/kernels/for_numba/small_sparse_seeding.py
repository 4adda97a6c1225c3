"""k-means++ on few sparse rows: all steps in one call, since calls take most of the time.

It uses the same functions as ``drawn``, ``candidate_potentials`` and ``closer_of`` with a single
task. So it chooses each row by the same bits.
"""

from typing import Any

import numpy as np

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMNS,
    COUNT,
    INDICES,
    MATRIX,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    STARTS,
    SUMS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import as_rows
from kmeans_xp.kernels.for_numba.seeding import DRAWN_BLOCK, add_blocks, find, first_least
from kmeans_xp.kernels.for_numba.sparse_measuring import sq_norms_of, write_sq_norms
from kmeans_xp.kernels.for_numba.sparse_panels import (
    Panel,
    arrays_of,
    origin_of,
    pack_features,
    takes,
    weights_of,
)
from kmeans_xp.kernels.for_numba.sparse_seeding import (
    fold_rows,
    folded_in_a_pass,
    is_folded_in_a_task,
)
from kmeans_xp.kernels.for_numba.tiling import Floats
from kmeans_xp.kernels.portable.seeding import Candidate, chosen_at_once
from kmeans_xp.kernels.sparse_rows import SparseRows

__all__: list[str] = []

_add_blocks, _find, _first_least = add_blocks.shared, find.shared, first_least.shared
_pack_features, _fold_rows = pack_features.shared, fold_rows.shared
_write_sq_norms = write_sq_norms.shared


@compiled(
    *(NUMBERS, COLUMNS, STARTS, NUMBERS, NUMBERS, NUMBERS_64, NUMBERS_64),
    *(RESULTS, RESULTS, SUMS, COUNT, COUNT, INDICES, MATRIX),
)
def _choose_rows(
    numbers,
    columns,
    starts,
    weights,
    origin,
    row_norms,
    uniforms,
    closest,
    panel,
    biases,
    n_units,
    n_groups,
    found,
    chosen,
):
    """Write indices of rows, and the rows, relative to the origin; this writes to ``closest``."""
    n_points, n_features, width = len(closest), len(origin), len(biases)
    n_trials, zero = len(uniforms) // len(found), numbers.dtype.type(0)
    totals, indices = np.empty(-(-n_points // DRAWN_BLOCK)), np.empty(n_trials, np.int64)
    candidates = np.empty((n_trials, n_features), origin.dtype)
    sums, norms, nowhere = np.empty(width), np.zeros(width), np.zeros(n_features, origin.dtype)
    nearer = np.empty(n_points * width, origin.dtype)
    for step in range(len(found)):
        trials = uniforms[step * n_trials : (step + 1) * n_trials]
        _add_blocks(closest, weights, 0, len(totals), totals)
        _find(closest, weights, totals, trials, True, indices)
        for trial in range(n_trials):
            row = indices[trial]
            for feature in range(n_features):
                candidates[trial, feature] = zero
            for place in range(starts[row], starts[row + 1]):
                candidates[trial, columns[place]] = numbers[place]
            for feature in range(n_features):
                candidates[trial, feature] -= origin[feature]
        biases[:] = 0.0
        _pack_features(as_rows(candidates), origin, n_groups, 0, n_features, panel, biases)
        for place in range(width):
            biases[place] = -biases[place] if place < n_trials else -np.inf
        _write_sq_norms(candidates.reshape(candidates.size), nowhere, 0, n_trials, norms)
        sums[:] = 0.0
        _fold_rows(
            *(numbers, columns, starts, 0, n_points, weights, closest, row_norms, norms),
            *(panel, biases, n_units, n_groups, n_features, True, nearer, sums),
        )
        best = _first_least(sums[:n_trials], 1e-12 if origin.itemsize == 8 else 1e-6)
        found[step] = indices[best]
        for feature in range(n_features):
            chosen[step, feature] = candidates[best, feature]
        for row in range(n_points):
            closest[row] = nearer[row * width + best]


@chosen_at_once.override("numpy", rows=SparseRows, rank=1)
def chosen_in_a_call(
    rows: SparseRows, closest: Floats, last: Floats | None, trials: Floats, *, xp: Namespace
) -> Any:
    """Take all steps in compiled code if Python's part of a step would take much of the time."""
    if last is None or not trials.size or not takes(rows, (closest, last)):
        return NotImplemented
    n_chosen, n_trials = trials.shape
    dtype = closest.dtype
    if not is_folded_in_a_task(rows, n_trials) or not _choose_rows.pays(dtype):
        return NotImplemented
    found, chosen = np.empty(n_chosen, np.int64), np.empty((n_chosen, rows.n_features), dtype)
    _choose_rows[dtype](
        *arrays_of(rows),
        np.ascontiguousarray(weights_of(rows)),
        origin_of(rows),
        sq_norms_of(rows),
        np.ascontiguousarray(trials).reshape(-1),
        folded_in_a_pass(rows, closest, last),
        *Panel.empty(n_trials, rows.n_features, dtype),
        found,
        chosen,
    )
    return Candidate(found, chosen)
