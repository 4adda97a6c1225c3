"""k-means++ on sparse rows: all trials of a step in the lanes of vectors."""

from typing import NamedTuple

import numpy as np

from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMNS,
    COUNT,
    FLAG,
    NUMBER,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    STARTS,
    SUMS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.sparse_vectors import UNIT, fold_scores
from kmeans_xp.kernels.for_numba.sparse_measuring import sq_norms_of, write_sq_norms
from kmeans_xp.kernels.for_numba.sparse_panels import (
    Panel,
    arrays_of,
    in_ranges,
    n_packing_tasks,
    origin_of,
    override,
    row_cost,
    score_tile,
    scores_of_row,
    weights_of,
)
from kmeans_xp.kernels.for_numba.tiling import Floats, n_tasks_for
from kmeans_xp.kernels.portable.seeding import candidate_potentials, closer_of
from kmeans_xp.kernels.sparse_rows import SparseRows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = ["fold_rows", "folded_in_a_pass", "is_folded_in_a_task"]

#: numbers that are kept of all rows and candidates
_MOST_KEPT = 2**23
#: nanoseconds of a stored number, for each unit of candidates
_SCORED = 1.0
#: rows that are scored before their scores are looked at
_TILE_ROWS = 64


@inline
def rounding_of(n_numbers, is_double):
    """Return the share of the squares of a row and a candidate that may be rounding error.

    Rows that are chosen are candidates: one that is equal to a row must not be drawn again.
    """
    eps = (0.5 * n_numbers + 4.0) * 2.0**-52
    return eps if is_double else eps + 2.0**-46  # the square of rounding a candidate to float32


@compiled(
    NUMBERS,
    COLUMNS,
    STARTS,
    COUNT,
    COUNT,
    COLUMN,
    COLUMN,
    NUMBERS_64,
    NUMBERS_64,
    NUMBERS,
    NUMBERS_64,
    COUNT,
    COUNT,
    COUNT,
    FLAG,
    RESULTS,
    SUMS,
)
def fold_rows(
    numbers,
    columns,
    starts,
    start,
    stop,
    weights,
    closest,
    row_norms,
    candidate_norms,
    panel,
    biases,
    n_units,
    n_groups,
    n_features,
    is_kept,
    nearer,
    sums,
):
    """Add the potentials of all candidates to ``sums``, and keep what rows would be at."""
    weight, width, apart = 1.0, len(sums), scores_of_row(n_units)
    is_double, scores = numbers.itemsize == 8, np.empty(_TILE_ROWS * apart)
    for tile in range(start, stop, _TILE_ROWS):
        n_rows = min(_TILE_ROWS, stop - tile)
        score_tile(
            numbers,
            columns,
            starts,
            tile,
            n_rows,
            panel,
            biases,
            n_units,
            n_groups,
            n_features,
            scores,
        )
        for row in range(tile, tile + n_rows):
            if weights.shape[0] > 0:
                weight = np.float64(weights[row])
            eps = rounding_of(starts[row + 1] - starts[row], is_double)
            so_far, norm, at = np.float64(closest[row]), row_norms[row], (row - tile) * apart
            fold_scores(
                nearer,
                row * width,
                is_kept,
                scores,
                at,
                width,
                candidate_norms,
                norm,
                eps,
                so_far,
                weight,
                sums,
            )


class _Folded(NamedTuple):
    """The next ``closest`` for each of the candidates, one of which is folded in next."""

    closest: Floats
    candidates: Floats
    nearer: Floats

    def by(self, candidate: Floats, closest: Floats) -> Floats | None:
        """Return the next closest distances for this candidate, if it is one of these."""
        if closest is not self.closest or candidate.base is None:
            return None
        if candidate.base is not self.candidates and candidate.base is not self.candidates.base:
            return None
        offset = candidate.ctypes.data - self.candidates.ctypes.data
        number, rest = divmod(offset, self.candidates.strides[0])
        is_one = rest == 0 and 0 <= number < len(self.candidates)
        return self.nearer[:, number].copy() if is_one else None


@override(candidate_potentials)
def all_trials_in_a_pass(rows: SparseRows, closest: Floats, candidates: Floats) -> Floats:
    """Score each row with all candidates at once."""
    n_candidates, dtype = len(candidates), candidates.dtype
    panel, row_norms = Panel.of(candidates, origin_of(rows)), sq_norms_of(rows)
    norms, nowhere = np.zeros(len(panel.biases)), np.zeros(rows.n_features, dtype)
    flat = np.ascontiguousarray(candidates).reshape(-1)
    write_sq_norms[dtype](flat, nowhere, 0, n_candidates, norms)
    is_kept = _is_kept(rows, panel.n_units)
    nearer = np.empty((rows.n_points if is_kept else 0, len(norms)), dtype)
    given = (weights_of(rows), closest, row_norms, norms, *panel, rows.n_features)
    shared = (*given, is_kept, nearer.reshape(-1))

    def potentials(start: int, stop: int) -> Floats:
        sums = np.zeros(len(panel.biases))
        fold_rows[dtype](*arrays_of(rows), start, stop, *shared, sums)
        return sums[:n_candidates]

    n_tasks = _n_tasks(rows, panel.n_units)
    added = merged_in_tree(in_ranges(potentials, rows.n_points, n_tasks))
    if is_kept:
        rows.kept["folded"] = _Folded(closest, candidates, nearer)
    return added


def is_folded_in_a_task(rows: SparseRows, n_candidates: int) -> bool:
    """Return whether one task packs the candidates, and one folds all rows and keeps them."""
    n_units = -(-n_candidates // UNIT)
    is_packed_in_a_task = n_packing_tasks(n_candidates, rows.n_features) == 1
    return is_packed_in_a_task and _n_tasks(rows, n_units) == 1 and _is_kept(rows, n_units)


def _n_tasks(rows: SparseRows, n_units: int) -> int:
    return n_tasks_for(rows.n_points, row_cost(rows, _SCORED * n_units))


def _is_kept(rows: SparseRows, n_units: int) -> bool:
    return rows.n_points * n_units * UNIT <= _MOST_KEPT


@compiled(
    NUMBERS, COLUMNS, STARTS, COUNT, COUNT, COLUMN, NUMBERS_64, NUMBERS, NUMBER, NUMBER, RESULTS
)
def _keep_nearer_rows(
    numbers, columns, starts, start, stop, closest, row_norms, candidate, bias, sq_norm, folded
):
    is_double = numbers.itemsize == 8
    for row in range(start, stop):
        first, last = starts[row], starts[row + 1]
        whole = last - (last - first) % 4
        one = two = three = four = 0.0
        for place in range(first, whole, 4):  # one sum would wait for its last number each time
            one += np.float64(numbers[place]) * np.float64(candidate[columns[place]])
            two += np.float64(numbers[place + 1]) * np.float64(candidate[columns[place + 1]])
            three += np.float64(numbers[place + 2]) * np.float64(candidate[columns[place + 2]])
            four += np.float64(numbers[place + 3]) * np.float64(candidate[columns[place + 3]])
        for place in range(whole, last):
            one += np.float64(numbers[place]) * np.float64(candidate[columns[place]])
        score = (one + two) + (three + four) + bias
        distance = row_norms[row] - 2.0 * score
        eps = rounding_of(last - first, is_double)
        distance = distance if distance > eps * (row_norms[row] + sq_norm) else 0.0
        folded[row] = min(distance, np.float64(closest[row]))


@override(closer_of)
def folded_in_a_pass(rows: SparseRows, closest: Floats, candidate: Floats) -> Floats:
    """Use the distances from when this was one of several candidates; otherwise measure them."""
    folded = rows.kept.pop("folded", None)
    known: Floats | None = None if folded is None else folded.by(candidate, closest)
    if known is not None:
        return known
    dtype, origin = candidate.dtype, origin_of(rows)
    point, folded = np.ascontiguousarray(candidate).reshape(-1), np.empty(rows.n_points, dtype)
    sq_norm = float(_sq_norms(candidate)[0])
    bias = -0.5 * sq_norm - float(_dots(candidate, origin[None, :])[0])
    operands = (closest, sq_norms_of(rows), point, bias, sq_norm, folded)

    def fold(start: int, stop: int) -> None:
        _keep_nearer_rows[dtype](*arrays_of(rows), start, stop, *operands)

    in_ranges(fold, rows.n_points, n_tasks_for(rows.n_points, row_cost(rows, _SCORED)))
    return folded


def _sq_norms(points: Floats) -> Floats:
    return _dots(points, points)


def _dots(points: Floats, others: Floats) -> Floats:
    """Return the products of rows with other rows in float64."""
    # Not by BLAS: the rounding of its dot products depends on its number of threads.
    products: Floats = np.einsum("ij,ij->i", points, others, dtype=np.float64)
    return products
