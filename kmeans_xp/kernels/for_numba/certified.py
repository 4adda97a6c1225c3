"""Labels from products of bytes, each proved equal to that of the dense kernel, or computed by it.

docs/design.md has the theory. Rows are coded a few at a time, and their codes are not kept. So
this needs no memory for each row, and works on any rows, in memory or not.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.assignment import (
    add_tile,
    added_by_features,
    can_be_cut,
    has_own_totals,
    label_panels,
    n_step_tasks,
    no_totals,
    split_totals,
    step_cost,
)
from kmeans_xp.kernels.for_numba.codes import (
    CODED,
    LEAST,
    LENGTH,
    LOST,
    N_NUMBERS,
    CodedCentroids,
    code_tile,
    coded_width,
    error_of,
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
    chain_scores,
    greatest_lane,
    lanes_above,
    lowest_bit,
    score_codes,
    score_row,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.vectors import pack_chosen, panel_rows
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    Labels,
    copy,
    filler_of,
    in_parts,
    n_tasks_for,
    origin_of,
    override,
    pack_tile,
    scratch_for,
    tile_of,
    tile_rows,
    weights_of,
)
from kmeans_xp.kernels.portable.assignment import nearest_labels
from kmeans_xp.kernels.portable.bounds import rules_out_scores
from kmeans_xp.kernels.portable.steps import lloyd_step
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = ["Counts", "certified_labels"]

#: number of rows to code at a time
_ROWS = 8 * CODED_ROWS
#: number of centroids whose scores of these rows are in memory at a time
_COLUMNS = 1024
#: maximum number of candidates of a row; with more, the dense kernel scores the row
_MOST_CANDIDATES = 512

# Counters.
_DENSE, _CANDIDATES, _MEASURED, _CHAINED, _DOUBTFUL, _DEAR, _N_COUNTS = range(7)

# Costs of a row, in multiply-adds of the dense kernel.
_A_CANDIDATE, _A_MEASURED, _FEATURES_A_MEASURED, _FEATURES_A_CHAIN = 900, 2500, 8, 32
#: below these, coding and proving cost as much as they save
_FEWEST_CLUSTERS, _FEWEST_FEATURES, _FEWEST_ROWS = 64, 48, 4096
#: products of a row, times the numbers that the processor multiplies at a time; for both dtypes
_FEWEST_PRODUCTS, _FEWEST_PRODUCTS_64 = 4 * 40_000, 4 * 14_000
#: sums of more products of bytes might not fit in 32 bits
_MOST_FEATURES = 2**15
#: initial number of tiles to score densely after one whose bounds were too wide
_PAUSE = 8


class _Centroids(NamedTuple):
    """Centroids packed for both kinds of scores."""

    numbers: Any
    groups: Any
    biases: Any
    codes: Any
    scales: Any
    coded_biases: Any
    bounds: Any
    block_bounds: Any


class _Data(NamedTuple):
    unit: Any
    eps: Any
    n_clusters: Any


class _Room(NamedTuple):
    centred: Any
    codes: Any
    sums: Any
    starts: Any
    scales: Any
    bounds: Any
    scores: Any
    tops: Any
    lows: Any
    n_found: Any
    found: Any
    uppers: Any
    values: Any
    rivals: Any
    chains: Any


@inline
def _room(points, n_features):
    width = coded_width(n_features)
    return _Room(
        new_numbers(_ROWS * width, points),
        new_numbers(_ROWS * width, np.int8),
        np.zeros(3, points.dtype),
        np.zeros(_ROWS, np.int32),
        np.zeros(_ROWS),
        np.zeros(_ROWS * N_NUMBERS, np.float32),
        new_numbers(_ROWS * _COLUMNS, np.float32),
        new_numbers(_ROWS * (_COLUMNS // CODED_BLOCK) * LANES, np.float32),
        new_numbers(_ROWS * LANES, np.float32),
        np.zeros(_ROWS, np.int64),
        new_numbers(_ROWS * _MOST_CANDIDATES, np.int32),
        new_numbers(_ROWS * _MOST_CANDIDATES, np.float32),
        new_numbers(_MOST_CANDIDATES, np.float64),
        new_numbers(_MOST_CANDIDATES, np.int32),
        new_numbers(_MOST_CANDIDATES, points),
    )


@inline
def _collect(n_rows, first_block, n_blocks, numbers, room):
    """Append all centroids of some blocks whose score may be the best."""
    # Do this outside the loop: numba counts references to arrays from tuples by atomic operations.
    scores, tops, lows, bounds = room.scores, room.tops, room.lows, room.bounds
    found, uppers, n_found, scales = room.found, room.uppers, room.n_found, room.scales
    n_columns = n_blocks * CODED_BLOCK
    for row in range(n_rows):
        if scales[row] == 0.0:
            continue
        least, number = greatest_lane(lows, row * LANES), n_found[row]
        first = row * _MOST_CANDIDATES
        for block in range(n_blocks):
            if number > _MOST_CANDIDATES:
                break
            mask = lanes_above(tops, (row * n_blocks + block) * LANES, least)
            while mask != 0:
                start = block * CODED_BLOCK + lowest_bit(mask)
                mask &= mask - 1
                for column in range(start, (block + 1) * CODED_BLOCK, LANES):
                    cluster = first_block * CODED_BLOCK + column
                    error = error_of(cluster, numbers, row, bounds)
                    upper = scores[row * n_columns + column] + error
                    if upper >= least:
                        if number < _MOST_CANDIDATES:
                            found[first + number] = cluster
                            uppers[first + number] = upper
                        number += 1
        n_found[row] = number


@inline
def _score_tile(points, first_row, n_rows, factors, row, origin, data, centroids, room):
    """Score coded rows, and collect the candidates for the best score of each."""
    n_features, n_clusters = points.shape[1], data.n_clusters
    n_quads, width = -(-n_features // 4), coded_width(n_features)
    n_all, at_once = -(-n_clusters // CODED_BLOCK), _COLUMNS // CODED_BLOCK
    codes, starts, bounds, lows = room.codes, room.starts, room.bounds, room.lows
    scores, tops, n_found = room.scores, room.tops, room.n_found
    blocks, scales, biases = centroids.codes, centroids.scales, centroids.coded_biases
    block_bounds = centroids.block_bounds
    code_tile(
        *(points, first_row, n_rows, factors, row, origin, data.unit, room.centred),
        *(codes, starts, room.scales, bounds, room.sums),
    )
    for number in range(n_rows):
        n_found[number] = 0
    for number in range(len(lows)):
        lows[number] = -np.inf
    for first in range(0, n_all, at_once):
        n_blocks = min(at_once, n_all - first)
        for block in range(n_blocks):
            # A block stays in the first-level cache while all rows are scored with it.
            for row in range(0, n_rows, CODED_ROWS):
                score_codes(
                    scores,
                    codes,
                    width,
                    n_quads,
                    row,
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
        _collect(n_rows, first, n_blocks, centroids.bounds, room)


@inline
def _likeliest_first(found, uppers, first, n_found, least):
    """Drop candidates that a later one ruled out, and return how many are left."""
    n_left = 0
    for number in range(first, first + n_found):
        cluster, upper = found[number], uppers[number]
        if upper >= least:
            place = first + n_left
            if n_left > 0 and upper > uppers[first]:
                found[place], uppers[place] = found[first], uppers[first]
                place = first
            found[place], uppers[place] = cluster, upper
            n_left += 1
    return n_left


@inline
def _first_of_best(scores, clusters, n_scores):
    """Return the cluster with the largest score; for equal scores, the lowest index."""
    most, best = scores[0], clusters[0]
    for number in range(1, n_scores):
        score, cluster = scores[number], clusters[number]
        if score > most or (score == most and cluster < best):
            most, best = score, cluster
    return best


@inline
def _label_certified(
    points, first, n_rows, factors, row, origin, data, centroids, room, labels, counts, doubtful
):
    """Label rows, and write which ones are left in doubt; return their number."""
    unit, eps, n_features, n_doubtful = data.unit, data.eps, points.shape[1], 0
    _score_tile(points, first, n_rows, factors, row, origin, data, centroids, room)
    width = coded_width(n_features)
    numbers, biases, lengths = centroids.numbers, centroids.biases, centroids.bounds
    centred, lows, found, uppers = room.centred, room.lows, room.found, room.uppers
    n_found, scales, bounds = room.n_found, room.scales, room.bounds
    values, rivals, chains = room.values, room.rivals, room.chains
    n_candidates = n_measured = n_chained = 0
    for place in range(n_rows):
        start, at = place * _MOST_CANDIDATES, place * width
        number = n_found[place]
        if number == 0 or number > _MOST_CANDIDATES:
            doubtful[n_doubtful] = first + place
            n_doubtful += 1
            continue
        number = _likeliest_first(found, uppers, start, number, greatest_lane(lows, place * LANES))
        n_candidates += number
        if number == 1:
            labels[row + place] = found[start]
            continue
        # These equal the dense kernel's scores up to rounding: at first any order of sums is good.
        scale = scales[place] * unit
        length = (bounds[place * N_NUMBERS + LOST] + bounds[place * N_NUMBERS + CODED]) * scale
        in_row_units = 1.0 / (scale * unit)
        least, n_rivals = -np.inf, 0
        for candidate in range(start, start + number):
            if uppers[candidate] >= least * in_row_units:
                cluster = found[candidate]
                bias = np.float64(biases[cluster])
                score = bias + np.float64(
                    score_row(centred, at, n_features, numbers, cluster * n_features)
                )
                reach = length * lengths[cluster * N_NUMBERS + LENGTH] * unit + abs(bias)
                error = eps * reach + LEAST * unit * unit
                least = max(least, score - error)
                values[n_rivals] = score + error
                rivals[n_rivals] = cluster
                n_rivals += 1
        n_measured += n_rivals
        n_left = 0
        for rival in range(n_rivals):
            if values[rival] >= least:
                rivals[n_left] = rivals[rival]
                n_left += 1
        if n_left == 1:
            labels[row + place] = rivals[0]
            continue
        n_chained += n_left
        chain_scores(centred, at, n_features, numbers, biases, rivals, 0, n_left, chains)
        labels[row + place] = _first_of_best(chains, rivals, n_left)
    counts[_CANDIDATES] += n_candidates
    counts[_MEASURED] += n_measured
    counts[_CHAINED] += n_chained
    return n_doubtful


@inline
def _cost(before, counts, n_features):
    """Return the approximate cost of the counted work in multiply-adds, without doubtful rows."""
    cost = (counts[_CANDIDATES] - before[_CANDIDATES]) * _A_CANDIDATE
    a_measured = _A_MEASURED + _FEATURES_A_MEASURED * n_features
    cost += (counts[_MEASURED] - before[_MEASURED]) * a_measured
    return cost + (counts[_CHAINED] - before[_CHAINED]) * _FEATURES_A_CHAIN * n_features


@inline
def _label_densely(
    points, chosen, n_chosen, factors, origin, groups, biases, n_clusters, panels, best, found
):
    """Label some rows by the dense kernel."""
    n_features = points.shape[1]
    for at in range(0, n_chosen, panel_rows(panels)):
        pack_chosen(
            *(points, chosen, at, n_chosen - at, factors, origin, n_features),
            *(panels, at * n_features),
        )
    if n_chosen > 0:
        label_panels(panels, n_chosen, n_features, groups, biases, n_clusters, best, found)


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN, NUMBER, NUMBER, COUNT),
    *(NUMBERS, NUMBERS, NUMBERS, COLUMNS, NUMBERS_32, NUMBERS_32, NUMBERS_32, NUMBERS_32),
    *(LABEL_RESULTS, TOTALS, INDICES),
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
    n_clusters,
    numbers,
    groups,
    biases,
    codes,
    scales,
    coded_biases,
    bounds,
    block_bounds,
    labels,
    totals,
    counts,
):
    centroids = _Centroids(
        numbers, groups, biases, codes, scales, coded_biases, bounds, block_bounds
    )
    data, n_features = _Data(unit, eps, n_clusters), points.shape[1]
    n_products = n_clusters * n_features
    room, scratch = _room(points, n_features), scratch_for(points, max(tile, _ROWS), filler)
    size = max(tile, -(-_ROWS // panel_rows(points)) * panel_rows(points))
    panels, best = new_numbers(size * n_features, points), new_numbers(size, points)
    found, doubtful = new_numbers(size, np.int32), new_numbers(_ROWS, np.int64)
    their_factors = new_numbers(_ROWS if factors.shape[0] > 0 else 0, factors)
    before = np.zeros(_N_COUNTS, np.int64)
    row, n_dense, pause = start, 0, _PAUSE
    while row < stop:
        is_dense = n_dense > 0
        n_rows = min(tile if is_dense else _ROWS, stop - row)
        tile_points, first = tile_of(points, row, n_rows, filler, scratch)
        if is_dense:
            pack_tile(tile_points, first, n_rows, factors, row, origin, panels)
            label_panels(panels, n_rows, n_features, groups, biases, n_clusters, best, found)
            copy(found, n_rows, labels, row)
            n_dense -= n_rows
            counts[_DENSE] += n_rows
        else:
            copy(counts, len(counts), before, 0)
            n_doubtful = _label_certified(
                *(tile_points, first, n_rows, factors, row, origin, data, centroids, room),
                *(labels, counts, doubtful),
            )
            if factors.shape[0] > 0:
                for number in range(n_doubtful):
                    their_factors[number] = factors[row + doubtful[number] - first]
            _label_densely(
                *(tile_points, doubtful, n_doubtful, their_factors, origin, groups, biases),
                *(n_clusters, panels, best, found),
            )
            for number in range(n_doubtful):
                labels[row + doubtful[number] - first] = found[number]
            counts[_DOUBTFUL] += n_doubtful
            saved = n_rows * n_products - n_rows * n_products // PRODUCTS_A_MULTIPLY_ADD
            # Doubtful rows take whole panels.
            n_scored = -(-n_doubtful // panel_rows(panels)) * panel_rows(panels)
            if _cost(before, counts, n_features) + n_scored * n_products > saved:
                n_dense, pause = pause * _ROWS, 2 * pause
                counts[_DEAR] += 1
        if totals.shape[0] > 0:
            add_tile(
                *(tile_points, first, n_rows, row, factors, origin, weights),
                *(labels[row:], totals),
            )
        row += n_rows


class Counts(NamedTuple):
    """Counts of the ways by which rows got their labels.

    Parameters
    ----------
    n_points : int
    n_dense : int
        Rows that the dense kernel scored at once, because others had wide bounds.
    n_candidates : int
        Pairs of a row and a centroid that the bounds did not rule out.
    n_measured : int
        Pairs that were scored in floating-point numbers, in any order.
    n_chained : int
        Near ties: pairs that were scored in the order of the dense kernel.
    n_doubtful : int
        Rows with too many candidates, which the dense kernel scored.
    n_dear : int
        Tiles for which the dense kernel would have been faster.
    """

    n_points: int
    n_dense: int
    n_candidates: int
    n_measured: int
    n_chained: int
    n_doubtful: int
    n_dear: int


@override(rules_out_scores, on_sphere=True)
def has_long_scores(rows: Dense, n_clusters: int) -> bool:
    """Rule centroids out if their scores cost more than codes and proofs."""
    n_features, is_single = rows.n_features, rows.points.dtype == np.float32
    fewest = (_FEWEST_PRODUCTS if is_single else _FEWEST_PRODUCTS_64) // PRODUCTS_A_MULTIPLY_ADD
    return (
        HAS_PRODUCTS
        and n_clusters >= _FEWEST_CLUSTERS
        and _FEWEST_FEATURES <= n_features <= _MOST_FEATURES
        and n_clusters * n_features >= fewest
        and rows.n_points >= _FEWEST_ROWS
    )


def certified_labels(rows: Dense, centroids: Floats) -> tuple[Labels, Counts] | None:
    """Return the same labels as ``nearest_labels``, and the counts of how rows got them.

    None if the centroids cannot be coded.
    """
    coded = CodedCentroids.of(centroids)
    return None if coded is None else _labelled(rows, coded)


def _labelled(rows: Dense, coded: CodedCentroids) -> tuple[Labels, Counts]:
    n_tasks = n_tasks_for(rows.n_points, step_cost(coded.n_clusters, rows.n_features))
    labels, _, counts = _labelled_and_added(rows, coded, n_tasks, n_summed=0)
    return labels, counts


def _labelled_and_added(
    rows: Dense, coded: CodedCentroids, n_tasks: int, n_summed: int
) -> tuple[Labels, list[Floats], Counts]:
    """Return the labels, the totals of each task for ``n_summed`` clusters, and the counts."""
    points, n_features = rows.points, rows.n_features
    dtype, origin, weights = points.dtype, origin_of(rows), weights_of(rows)
    fill, tile = filler_of(rows), tile_rows(rows.n_points, n_features, dtype)
    labels = np.empty(rows.n_points, np.int32)

    def label(start: int, stop: int) -> tuple[Floats, NDArray[np.int64]]:
        totals = no_totals(n_summed, n_features)
        counts = np.zeros(_N_COUNTS, np.int64)
        _certified_rows[dtype](
            points, start, stop, tile, *fill, origin, weights, *coded, labels, totals, counts
        )
        return totals, counts

    parts = in_parts(label, rows.n_points, n_tasks, dtype)
    counts = Counts(rows.n_points, *np.sum([counts for _, counts in parts], axis=0).tolist())
    return labels, [totals for totals, _ in parts], counts


def _coded_if_worth_it(rows: Dense, centroids: Floats) -> CodedCentroids | None:
    """Return the coded centroids, or None if the dense kernel is faster."""
    if not has_long_scores(rows, len(centroids)):
        return None
    coded = CodedCentroids.of(centroids)
    if coded is None:
        return None
    # A task of few rows ends before it could adapt.
    some = rows.points[:: rows.n_points // _ROWS, :][:_ROWS, :]
    _, counts = _labelled(type(rows)(some, None, rows.origin), coded)
    return None if counts.n_dear else coded


def _has_enough(rows: Dense, centroids: Floats) -> bool:
    return len(centroids) >= _FEWEST_CLUSTERS


@override(nearest_labels, on_sphere=True, when=_has_enough)
def proved(rows: Dense, centroids: Floats) -> Any:
    """Rule most centroids out by products of bytes."""
    coded = _coded_if_worth_it(rows, centroids)
    return NotImplemented if coded is None else _labelled(rows, coded)[0]


@override(lloyd_step, on_sphere=True, when=_has_enough)
def proved_and_added(rows: Dense, centroids: Floats) -> Any:
    """Label some rows by products of bytes, and add them to their clusters."""
    n_clusters, n_features = centroids.shape
    n_summed = n_clusters if has_own_totals(n_clusters, n_features) else 0
    if n_summed == 0 and not can_be_cut(rows):
        return NotImplemented
    coded = _coded_if_worth_it(rows, centroids)
    if coded is None:
        return NotImplemented
    n_tasks = n_step_tasks(rows, n_clusters)
    labels, totals, _ = _labelled_and_added(rows, coded, n_tasks, n_summed)
    if n_summed > 0:
        return split_totals(merged_in_tree(totals), n_features)
    return added_by_features(rows, labels, n_clusters)
