"""Labels from candidates: the few centroids that bounds of scores do not rule out for a row.

docs/design.md has the theory. ``label_tiles_by`` labels rows a few at a time, by a function that
rules centroids out, or by the dense kernel after one that left too many.
"""

from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.kernels.for_numba.assignment import add_tile, label_panels
from kmeans_xp.kernels.for_numba.codes import LEAST, coded_width
from kmeans_xp.kernels.for_numba.compiled import inline
from kmeans_xp.kernels.for_numba.emitted.code_vectors import (
    CODED_BLOCK,
    CODED_ROWS,
    FEW,
    LANES,
    centre_row,
    chain_scores,
    lanes_above,
    lowest_bit,
    score_few,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.vectors import pack_chosen, panel_rows
from kmeans_xp.kernels.for_numba.tiling import copy, factor_of, pack_tile, scratch_for, tile_of

__all__ = [
    "BLOCKS",
    "MEASURED",
    "N_COUNTS",
    "TILE",
    "Candidates",
    "Counts",
    "collect_by",
    "cost_of",
    "error_of_score",
    "label_candidates",
    "label_tiles_by",
    "room_for_candidates",
]

#: number of rows whose candidates are found at a time
TILE = 8 * CODED_ROWS
#: number of blocks of centroids whose scores of these rows are in memory at a time: the best of
#: them rules others out
BLOCKS = 4096 // CODED_BLOCK
#: maximum number of candidates of a row; with more, the dense kernel scores the row
_MOST_CANDIDATES = 512

# Counters.
_DENSE, _CANDIDATES, MEASURED, _CHAINED, _DOUBTFUL, _DEAR, N_COUNTS = range(7)

# Costs of a row, in multiply-adds of the dense kernel.
_A_CANDIDATE, _A_MEASURED, _FEATURES_A_MEASURED, _FEATURES_A_CHAIN = 900, 2500, 8, 32
#: initial number of tiles to score densely after one whose bounds were too wide
_PAUSE = 8


class Candidates(NamedTuple):
    """Rows of a tile, bounds of their scores, and the centroids that these leave.

    Bounds of a row are in units of ``scales[row]`` times the square of all numbers' unit; a scale
    of 0 marks a row without bounds. ``lengths`` are those of whole rows, in units.
    """

    centred: Any
    scales: Any
    lengths: Any
    least: Any
    scores: Any
    tops: Any
    n_found: Any
    found: Any
    uppers: Any
    values: Any
    rivals: Any
    few: Any
    chains: Any


@inline
def room_for_candidates(points, n_features):
    """Return room for the rows of a tile and their candidates."""
    return Candidates(
        new_numbers(TILE * coded_width(n_features), points),
        np.zeros(TILE),
        np.zeros(TILE),
        new_numbers(TILE, np.float32),
        new_numbers(TILE * BLOCKS * CODED_BLOCK, np.float32),
        new_numbers(TILE * BLOCKS * LANES, np.float32),
        np.zeros(TILE, np.int64),
        new_numbers(TILE * _MOST_CANDIDATES, np.int32),
        new_numbers(TILE * _MOST_CANDIDATES, np.float32),
        new_numbers(_MOST_CANDIDATES, np.float64),
        new_numbers(_MOST_CANDIDATES, np.int32),
        new_numbers(FEW, points),
        new_numbers(_MOST_CANDIDATES, points),
    )


def collect_by(error_of: Any) -> Any:
    """Return what collects candidates, for scores that may be greater by ``error_of``."""

    @inline
    def collect(n_rows, first_block, n_blocks, numbers, bounds, room):
        """Append all centroids of some blocks whose score may be the best."""
        # Outside the loop: numba counts references to arrays from tuples by atomic operations.
        scores, tops, all_least, scales = room.scores, room.tops, room.least, room.scales
        found, uppers, n_found = room.found, room.uppers, room.n_found
        n_columns = n_blocks * CODED_BLOCK
        for row in range(n_rows):
            if scales[row] == 0.0:
                continue
            least, number = all_least[row], n_found[row]
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

    return collect


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
def error_of_score(length, reach, data):
    """Return how far a score, summed in any order, may be from the dense kernel's.

    ``length`` is the row's, in units. ``reach`` is the length of all that is multiplied by the row.
    """
    unit = data.unit
    return (data.eps * (length + 0.5 * reach) * reach + LEAST) * unit * unit


@inline
def label_candidates(
    points, first, n_rows, factors, row, origin, data, centroids, room, labels, counts, doubtful
):
    """Label rows by their candidates, and write which ones are left in doubt; return their number.

    ``room`` has the candidates of the rows from ``first`` on, and ``labels`` their labels from
    ``row`` on.
    """
    unit, n_doubtful, n_features = data.unit, 0, points.shape[1]
    width = coded_width(n_features)
    near_numbers, near_biases = centroids.near_numbers, centroids.near_biases
    numbers, biases, reaches = centroids.numbers, centroids.biases, centroids.reaches
    centred, all_least, found, uppers = room.centred, room.least, room.found, room.uppers
    n_found, scales, row_lengths = room.n_found, room.scales, room.lengths
    values, rivals, few, chains = room.values, room.rivals, room.few, room.chains
    n_candidates = n_measured = n_chained = 0
    for place in range(n_rows):
        start, at = place * _MOST_CANDIDATES, place * width
        number = n_found[place]
        if number == 0 or number > _MOST_CANDIDATES:
            doubtful[n_doubtful] = first + place
            n_doubtful += 1
            continue
        number = _likeliest_first(found, uppers, start, number, all_least[place])
        n_candidates += number
        if number == 1:
            labels[row + place] = found[start]
            continue
        # These equal the dense kernel's scores up to rounding and one number for all of a row's: at
        # first any order of sums is good.
        in_row_units = 1.0 / (scales[place] * unit * unit)
        length, least, n_rivals = row_lengths[place], -np.inf, 0
        candidate, n_few = start, 1  # the likeliest alone: it rules most others out
        while candidate < start + number:
            n_next = n_rivals
            while candidate < start + number and n_next < n_rivals + n_few:
                if uppers[candidate] >= least * in_row_units:
                    rivals[n_next] = found[candidate]
                    n_next += 1
                candidate += 1
            if n_next > n_rivals:
                n_new = n_next - n_rivals
                score_few(
                    *(centred, at, n_features, near_numbers, rivals, n_rivals, n_new, few),
                )
            for rival in range(n_rivals, n_next):
                cluster = rivals[rival]
                score = np.float64(near_biases[cluster]) + np.float64(few[rival - n_rivals])
                error = error_of_score(length, reaches[cluster], data)
                least = max(least, score - error)
                values[rival] = score + error
            n_rivals, n_few = n_next, FEW
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
        # Chains are of whole rows: what was scored may be less a shift.
        factor = factor_of(factors, row + place)
        centre_row(points, first + place, factor, origin, n_features, centred, at)
        chain_scores(centred, at, n_features, numbers, biases, rivals, 0, n_left, chains)
        labels[row + place] = _first_of_best(chains, rivals, n_left)
    counts[_CANDIDATES] += n_candidates
    counts[MEASURED] += n_measured
    counts[_CHAINED] += n_chained
    return n_doubtful


def cost_of(n_candidates: Any, n_measured: Any, n_features: int) -> Any:
    """Return the approximate cost of candidates in multiply-adds, without those of chains."""
    a_measured = _A_MEASURED + _FEATURES_A_MEASURED * n_features
    return n_candidates * _A_CANDIDATE + n_measured * a_measured


#: for calls from compiled code
_cost_of = inline(cost_of)


@inline
def _cost(before, counts, n_features):
    """Return the approximate cost of the counted work in multiply-adds, without doubtful rows."""
    n_candidates = counts[_CANDIDATES] - before[_CANDIDATES]
    cost = _cost_of(n_candidates, counts[MEASURED] - before[MEASURED], n_features)
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


def label_tiles_by(label: Any) -> Any:
    """Return what labels all rows by ``label``, which returns how many it leaves in doubt."""
    # An argument that is a function would keep numba from keeping the code on disk.

    @inline
    def label_tiles(
        n_own,
        points,
        start,
        stop,
        tile,
        filler,
        factors,
        origin,
        weights,
        data,
        centroids,
        room,
        labels,
        totals,
        counts,
    ):
        """Label rows, ``n_own`` multiply-adds each, or by the dense kernel; add them up."""
        n_features, n_clusters = points.shape[1], data.n_clusters
        groups, biases, n_products = centroids.groups, centroids.biases, n_clusters * n_features
        scratch = scratch_for(points, max(tile, TILE), filler)
        size = max(tile, -(-TILE // panel_rows(points)) * panel_rows(points))
        panels, best = new_numbers(size * n_features, points), new_numbers(size, points)
        found, doubtful = new_numbers(size, np.int32), new_numbers(TILE, np.int64)
        their_factors = new_numbers(TILE if factors.shape[0] > 0 else 0, factors)
        before = np.zeros(N_COUNTS, np.int64)
        row, n_dense, pause = start, 0, _PAUSE
        while row < stop:
            is_dense = n_dense > 0
            n_rows = min(tile if is_dense else TILE, stop - row)
            tile_points, first = tile_of(points, row, n_rows, filler, scratch)
            if is_dense:
                pack_tile(tile_points, first, n_rows, factors, row, origin, panels)
                label_panels(panels, n_rows, n_features, groups, biases, n_clusters, best, found)
                copy(found, n_rows, labels, row)
                n_dense -= n_rows
                counts[_DENSE] += n_rows
            else:
                copy(counts, len(counts), before, 0)
                n_doubtful = label(
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
                # Doubtful rows take whole panels.
                n_scored = -(-n_doubtful // panel_rows(panels)) * panel_rows(panels)
                saved = n_rows * (n_products - n_own)
                if _cost(before, counts, n_features) + n_scored * n_products > saved:
                    n_dense, pause = pause * TILE, 2 * pause
                    counts[_DEAR] += 1
            if totals.shape[0] > 0:
                add_tile(
                    *(tile_points, first, n_rows, row, factors, origin, weights),
                    *(labels[row:], totals),
                )
            row += n_rows

    return label_tiles


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
