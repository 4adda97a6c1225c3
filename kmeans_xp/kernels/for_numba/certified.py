"""Labels from products of bytes or of heads, each proved to be that of the dense kernel.

docs/design.md has the theory. Rows are coded a few at a time, and their codes are not kept. So
this needs no memory for each row, and works on any rows, in memory or not.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.kernels.blas_threads import one_blas_thread
from kmeans_xp.kernels.for_numba.assignment import (
    FEWEST_PROVED,
    added_by_features,
    can_be_cut,
    has_own_totals,
    n_step_tasks,
    no_totals,
    split_totals,
    step_cost,
)
from kmeans_xp.kernels.for_numba.candidates import (
    BLOCKS,
    N_COUNTS,
    TILE,
    Counts,
    collect_by,
    cost_of,
    label_candidates,
    label_tiles_by,
    room_for_candidates,
)
from kmeans_xp.kernels.for_numba.codes import (
    CODED,
    LOST,
    MOST_SCALE,
    N_NUMBERS,
    CodedCentroids,
    code_tile,
    coded_width,
    error_of,
    unit_of,
)
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMNS,
    COUNT,
    INDICES,
    LABEL_RESULTS,
    NUMBER,
    NUMBERS,
    NUMBERS_32,
    ROWS,
    TOTALS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.code_vectors import (
    CODED_BLOCK,
    CODED_ROWS,
    HAS_PRODUCTS,
    LANES,
    PRODUCTS_A_MULTIPLY_ADD,
    greatest_lane,
    score_codes,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.headed import cheapest_axes, headed_rows, least_cost
from kmeans_xp.kernels.for_numba.heads import HeadedCentroids
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    Labels,
    filler_of,
    in_parts,
    is_from_zero,
    n_tasks_for,
    new_labels,
    origin_of,
    override,
    tile_rows,
    weights_of,
)
from kmeans_xp.kernels.portable.assignment import nearest_labels
from kmeans_xp.kernels.portable.bounds import rules_out_scores
from kmeans_xp.kernels.portable.steps import lloyd_step
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.sphere_rows import SphereRows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = ["Counts", "Packed", "certified_labels", "headed_below", "labelled", "packed_if_worth_it"]

#: below these, coding and proving cost as much as they save
_FEWEST_FEATURES, _FEWEST_ROWS = 48, 4096
#: products of a row, times the numbers that the processor multiplies at a time; for both dtypes
_FEWEST_PRODUCTS, _FEWEST_PRODUCTS_64 = 4 * 40_000, 4 * 14_000
#: from this number of rows on, a trial of heads takes less than a twentieth of a step
_FEWEST_ROWS_FOR_HEADS = 25_000
#: rows that give the axes of heads
_AXES_ROWS = 256
#: sums of more products of bytes might not fit in 32 bits
_MOST_FEATURES = 2**15


class _Centroids(NamedTuple):
    """Centroids packed for both kinds of scores."""

    numbers: Any
    groups: Any
    biases: Any
    near_numbers: Any
    near_biases: Any
    codes: Any
    scales: Any
    coded_biases: Any
    bounds: Any
    block_bounds: Any
    reaches: Any
    shift: Any


class _Data(NamedTuple):
    unit: Any
    eps: Any
    shift_length: Any
    n_clusters: Any


class _Room(NamedTuple):
    codes: Any
    sums: Any
    starts: Any
    bounds: Any
    lows: Any
    candidates: Any


@inline
def _room(points, n_features):
    return _Room(
        new_numbers(TILE * coded_width(n_features), np.int8),
        np.zeros(3, points.dtype),
        np.zeros(TILE, np.int32),
        np.zeros(TILE * N_NUMBERS, np.float32),
        new_numbers(TILE * LANES, np.float32),
        room_for_candidates(points, n_features),
    )


_collect = collect_by(error_of)


@inline
def _score_tile(points, first_row, n_rows, factors, row, origin, data, centroids, room):
    """Score coded rows, and collect the candidates for the best score of each.

    Where there is a shift, the origin is zero.
    """
    n_features, n_clusters, candidates = points.shape[1], data.n_clusters, room.candidates
    n_quads, width = -(-n_features // 4), coded_width(n_features)
    n_all = -(-n_clusters // CODED_BLOCK)
    codes, starts, bounds, lows = room.codes, room.starts, room.bounds, room.lows
    scores, tops, least = candidates.scores, candidates.tops, candidates.least
    n_found, row_scales, lengths = candidates.n_found, candidates.scales, candidates.lengths
    centred, shift = candidates.centred, centroids.shift
    about = shift if shift.shape[0] > 0 else origin
    blocks, scales, biases = centroids.codes, centroids.scales, centroids.coded_biases
    block_bounds = centroids.block_bounds
    code_tile(
        *(points, first_row, n_rows, factors, row, about, data.unit, centred),
        *(codes, starts, row_scales, bounds, room.sums),
    )
    for number in range(n_rows):
        n_found[number] = 0
        at = number * N_NUMBERS
        length = (bounds[at + LOST] + bounds[at + CODED]) * row_scales[number]
        lengths[number] = length + data.shift_length
    for number in range(len(lows)):
        lows[number] = -np.inf
    for first in range(0, n_all, BLOCKS):
        n_blocks = min(BLOCKS, n_all - first)
        for block in range(n_blocks):
            # A block stays in the first-level cache while all rows are scored with it.
            for number in range(0, n_rows, CODED_ROWS):
                score_codes(
                    scores,
                    codes,
                    width,
                    n_quads,
                    number,
                    starts,
                    bounds,
                    blocks,
                    first + block,
                    scales,
                    biases,
                    block_bounds,
                    block,
                    n_blocks * CODED_BLOCK,
                    tops,
                    lows,
                )
        for number in range(n_rows):
            least[number] = greatest_lane(lows, number * LANES)
        _collect(n_rows, first, n_blocks, centroids.bounds, bounds, candidates)


@inline
def _label_coded(
    points, first, n_rows, factors, row, origin, data, centroids, room, labels, counts, doubtful
):
    """Label rows, and write which ones are left in doubt; return their number."""
    _score_tile(points, first, n_rows, factors, row, origin, data, centroids, room)
    return label_candidates(
        *(points, first, n_rows, factors, row, origin, data, centroids),
        *(room.candidates, labels, counts, doubtful),
    )


_label_tiles = label_tiles_by(_label_coded)


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, NUMBER, NUMBER, NUMBER, COUNT),
    *(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, COLUMNS, NUMBERS_32, NUMBERS_32),
    *(NUMBERS_32, NUMBERS_32, NUMBERS_32, NUMBERS, LABEL_RESULTS, TOTALS, INDICES),
)
def _certified_rows(
    points,
    start,
    stop,
    tile,
    filler,
    factors,
    origin,
    weights,
    unit,
    eps,
    shift_length,
    n_clusters,
    numbers,
    groups,
    biases,
    near_numbers,
    near_biases,
    codes,
    scales,
    coded_biases,
    bounds,
    block_bounds,
    reaches,
    shift,
    labels,
    totals,
    counts,
):
    centroids = _Centroids(
        *(numbers, groups, biases, near_numbers, near_biases, codes, scales, coded_biases),
        *(bounds, block_bounds, reaches, shift),
    )
    _label_tiles(
        n_clusters * points.shape[1] // PRODUCTS_A_MULTIPLY_ADD,
        *(points, start, stop, tile, filler, factors, origin, weights),
        *(_Data(unit, eps, shift_length, n_clusters), centroids, _room(points, points.shape[1])),
        *(labels, totals, counts),
    )


@override(rules_out_scores, on_sphere=True)
def has_long_scores(rows: Dense, n_clusters: int) -> bool:
    """Rule centroids out if their scores cost more than codes and proofs."""
    n_features, is_single = rows.n_features, rows.points.dtype == np.float32
    fewest = (_FEWEST_PRODUCTS if is_single else _FEWEST_PRODUCTS_64) // PRODUCTS_A_MULTIPLY_ADD
    return (
        HAS_PRODUCTS
        and n_clusters >= FEWEST_PROVED
        and _FEWEST_FEATURES <= n_features <= _MOST_FEATURES
        and n_clusters * n_features >= fewest
        and rows.n_points >= _FEWEST_ROWS
    )


def certified_labels(rows: Dense, centroids: Floats) -> tuple[Labels, Counts] | None:
    """Return the same labels as ``nearest_labels``, and the counts of how rows got them.

    None if the centroids cannot be coded.
    """
    coded = CodedCentroids.of(centroids, from_zero=is_from_zero(rows))
    return None if coded is None else labelled(rows, coded)


#: centroids packed for one way to rule out most of them
Packed: TypeAlias = CodedCentroids | HeadedCentroids
#: what labels rows by centroids of each kind
_ROWS_BY = {CodedCentroids: _certified_rows, HeadedCentroids: headed_rows}


def labelled(rows: Dense, packed: Packed) -> tuple[Labels, Counts]:
    """Return the labels of ``nearest_labels``, and the counts of how rows got them."""
    n_tasks = n_tasks_for(rows.n_points, step_cost(packed.n_clusters, rows.n_features))
    labels, _, counts = _labelled_and_added(rows, packed, n_tasks, n_summed=0)
    return labels, counts


def _labelled_and_added(
    rows: Dense, packed: Packed, n_tasks: int, n_summed: int
) -> tuple[Labels, list[Floats], Counts]:
    """Return the labels, the totals of each task for ``n_summed`` clusters, and the counts."""
    points, n_features = rows.points, rows.n_features
    dtype, origin, weights = points.dtype, origin_of(rows), weights_of(rows)
    fill, tile = filler_of(rows), tile_rows(rows.n_points, n_features, dtype)
    labels, label_rows = new_labels(rows.n_points), _ROWS_BY[type(packed)][dtype]

    def label(start: int, stop: int) -> tuple[Floats, NDArray[np.int64]]:
        totals = no_totals(n_summed, n_features)
        counts = np.zeros(N_COUNTS, np.int64)
        label_rows(
            points, start, stop, tile, *fill, origin, weights, *packed, labels, totals, counts
        )
        return totals, counts

    parts = in_parts(label, rows.n_points, n_tasks, dtype)
    counts = Counts(rows.n_points, *np.sum([counts for _, counts in parts], axis=0).tolist())
    return labels, [totals for totals, _ in parts], counts


def packed_if_worth_it(rows: Dense, centroids: Floats) -> Packed | None:
    """Return the centroids coded or with heads, or None if the dense kernel is faster."""
    n_clusters, n_features = centroids.shape
    if not has_long_scores(rows, n_clusters):
        return None
    coded = CodedCentroids.of(centroids, from_zero=is_from_zero(rows))
    if coded is None:
        return None
    # A task of few rows ends before it could adapt.
    _, counts = labelled(_sample_of(rows, TILE), coded)
    n_products, is_worth_it = n_clusters * n_features, counts.n_dear == 0
    n_candidates, n_measured = counts.n_candidates / TILE, counts.n_measured / TILE
    cost, own = cost_of(n_candidates, n_measured, n_features), n_products / PRODUCTS_A_MULTIPLY_ADD
    if rows.n_points >= _FEWEST_ROWS_FOR_HEADS and not (is_worth_it and cost < own):
        headed = headed_below(rows, centroids, own + cost if is_worth_it else n_products)
        if headed is not None:
            return headed
    return coded if is_worth_it else None


def headed_below(rows: Dense, centroids: Floats, cost: float) -> HeadedCentroids | None:
    """Return the centroids with heads that should take less than a cost of a row, if there are."""
    unit = unit_of(centroids)
    if unit is None or least_cost(*centroids.shape) >= cost:
        return None
    some = _sample_of(rows, _AXES_ROWS).centred() / centroids.dtype.type(unit)
    if not np.abs(some).max() < MOST_SCALE:  # nor NaN
        return None
    # Threads of BLAS would spin for a while after the last product, beside those that label.
    with one_blas_thread():
        axes, least = cheapest_axes(some, centroids / centroids.dtype.type(unit))
    return None if axes is None or least >= cost else HeadedCentroids.of(centroids, axes)


def _sample_of(rows: Dense, n_points: int) -> Dense:
    """Return about ``n_points`` rows from all over the rows."""
    step = max(1, rows.n_points // n_points)
    some = rows.points[::step, :][:n_points, :]
    if isinstance(rows, DenseRows) or rows.factors is None:
        return type(rows)(some, None, rows.origin)
    factors = np.ascontiguousarray(rows.factors[::step][:n_points])
    return SphereRows(some, None, rows.origin, factors)


def _has_enough(rows: Dense, centroids: Floats) -> bool:
    return len(centroids) >= FEWEST_PROVED


@override(nearest_labels, on_sphere=True, when=_has_enough)
def proved(rows: Dense, centroids: Floats) -> Any:
    """Rule most centroids out by products of bytes."""
    packed = packed_if_worth_it(rows, centroids)
    return NotImplemented if packed is None else labelled(rows, packed)[0]


@override(lloyd_step, on_sphere=True, when=_has_enough)
def proved_and_added(rows: Dense, centroids: Floats) -> Any:
    """Label some rows by products of bytes, and add them to their clusters."""
    n_clusters, n_features = centroids.shape
    n_summed = n_clusters if has_own_totals(n_clusters, n_features) else 0
    if n_summed == 0 and not can_be_cut(rows):
        return NotImplemented
    packed = packed_if_worth_it(rows, centroids)
    if packed is None:
        return NotImplemented
    n_tasks = n_step_tasks(rows, n_clusters)
    labels, totals, _ = _labelled_and_added(rows, packed, n_tasks, n_summed)
    if n_summed > 0:
        return split_totals(merged_in_tree(totals), n_features)
    return added_by_features(rows, labels, n_clusters)
