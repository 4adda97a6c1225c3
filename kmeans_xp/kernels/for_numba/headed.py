"""Labels from heads of principal components, each equal to that of the dense kernel.

docs/design.md has the theory. As codes, heads of rows are computed a few at a time and not kept.
"""

from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.kernels.for_numba.candidates import (
    BLOCKS,
    MEASURED,
    TILE,
    collect_by,
    cost_of,
    error_of_score,
    label_candidates,
    label_tiles_by,
    room_for_candidates,
)
from kmeans_xp.kernels.for_numba.codes import coded_width
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
    LANES,
    lanes_above,
    lowest_bit,
    score_row,
)
from kmeans_xp.kernels.for_numba.emitted.head_vectors import greatest_of, score_heads
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.heads import (
    N_ROW_NUMBERS,
    Axes,
    head_tile,
    head_width,
    principal_axes,
    room_for_heads,
)
from kmeans_xp.kernels.for_numba.tiling import Floats

__all__ = ["N_AXES", "cheapest_axes", "headed_rows", "least_cost", "own_cost"]

#: lengths of heads that are tried
N_AXES = (8, 16, 32)
#: number of blocks of centroids whose likeliest is measured
_FEW_BLOCKS = 1024 // CODED_BLOCK
#: factor that makes a number of float32 less than what it was rounded from
_DOWN = 2.0**-22


class _Centroids(NamedTuple):
    """Centroids packed for both kinds of scores, and the axes of heads."""

    columns: Any
    axes: Any
    numbers: Any
    groups: Any
    biases: Any
    heads: Any
    head_numbers: Any
    reaches: Any
    near_numbers: Any
    near_biases: Any


class _Data(NamedTuple):
    unit: Any
    eps: Any
    n_clusters: Any
    n_axes: Any
    slack: Any


class _Room(NamedTuple):
    projected: Any
    rests: Any
    sums: Any
    heads: Any
    numbers: Any
    candidates: Any


def own_cost(n_clusters: int, n_features: int, n_axes: int) -> int:
    """Return the cost of a row's head and of its scores by heads, in multiply-adds."""
    # Two codes take the time of a multiply-add, and what follows that of eight.
    return n_clusters * (n_axes // 2 + 9) * 5 // 4 + 3 * n_features * n_axes


#: for calls from compiled code
_own_cost = inline(own_cost)


def least_cost(n_clusters: int, n_features: int) -> float:
    """Return what a row costs by the shortest heads if they leave it one candidate."""
    least: float = own_cost(n_clusters, n_features, N_AXES[0]) + cost_of(1, 2, n_features)
    return least


@inline
def _no_error(cluster, numbers, row, bounds):
    """Scores of heads are the greatest that true scores may be."""
    return np.float32(0.0)


_collect = collect_by(_no_error)


@inline
def _column_with(score, tops, scores, row, n_blocks, first, end):
    """Return the number of a column of some blocks with this score."""
    for block in range(first, end):
        mask = lanes_above(tops, (row * n_blocks + block) * LANES, score)
        if mask != 0:
            start = block * CODED_BLOCK + lowest_bit(mask)
            for column in range(start, (block + 1) * CODED_BLOCK, LANES):
                if scores[row * n_blocks * CODED_BLOCK + column] >= score:
                    return column
    return 0


@inline
def _measure_likeliest(n_rows, first_block, n_blocks, n_features, data, centroids, room):
    """Raise what each row's best score is at least, by the likeliest centroid of each few blocks.

    Returns the number of scores.
    """
    n_measured = 0
    centred, scores, tops, least = room.centred, room.scores, room.tops, room.least
    scales, row_lengths, width = room.scales, room.lengths, coded_width(n_features)
    numbers, biases, reaches = centroids.numbers, centroids.biases, centroids.reaches
    for row in range(n_rows):
        if scales[row] == 0.0:
            continue
        for start in range(0, n_blocks, _FEW_BLOCKS):
            end = min(start + _FEW_BLOCKS, n_blocks)
            top = greatest_of(tops, (row * n_blocks + start) * LANES, (end - start) * LANES)
            if top < least[row]:
                continue
            column = _column_with(top, tops, scores, row, n_blocks, start, end)
            cluster = first_block * CODED_BLOCK + column
            product = score_row(centred, row * width, n_features, numbers, cluster * n_features)
            score = np.float64(biases[cluster]) + np.float64(product)
            error = error_of_score(row_lengths[row], reaches[cluster], data)
            low = (score - error) / (scales[row] * data.unit * data.unit)
            least[row] = max(least[row], np.float32(low - abs(low) * _DOWN))
            n_measured += 1
    return n_measured


@inline
def score_headed(points, first_row, n_rows, factors, row, origin, data, centroids, room):
    """Score rows by their heads, and collect the candidates for the best score of each.

    Returns the number of scores in floating-point numbers of all features.
    """
    n_features, n_measured = points.shape[1], 0
    n_all, width = -(-data.n_clusters // CODED_BLOCK), head_width(data.n_axes)
    candidates, heads, numbers = room.candidates, room.heads, room.numbers
    least, n_found = candidates.least, candidates.n_found
    scores, tops = candidates.scores, candidates.tops
    blocks, block_numbers = centroids.heads, centroids.head_numbers
    head_tile(
        *(points, first_row, n_rows, factors, row, origin, data.unit, centroids.columns),
        *(centroids.axes, data.n_axes, data.slack, candidates.centred, room.projected, room.rests),
        *(room.sums, heads, numbers),
        *(candidates.scales, candidates.lengths),
    )
    for number in range(n_rows):
        n_found[number] = 0
        least[number] = -np.inf
    for first in range(0, n_all, BLOCKS):
        n_blocks = min(BLOCKS, n_all - first)
        n_columns = n_blocks * CODED_BLOCK
        for block in range(n_blocks):
            # A block stays in the first-level cache while all rows are scored with it.
            for number in range(0, n_rows, CODED_ROWS):
                score_heads(
                    *(scores, heads, width, number, numbers, blocks, block_numbers),
                    *(first + block, block, n_columns, tops),
                )
        n_measured += _measure_likeliest(
            n_rows, first, n_blocks, n_features, data, centroids, candidates
        )
        _collect(n_rows, first, n_blocks, numbers, numbers, candidates)
    return n_measured


@inline
def _label_headed(
    points, first, n_rows, factors, row, origin, data, centroids, room, labels, counts, doubtful
):
    """Label rows, and write which ones are left in doubt; return their number."""
    counts[MEASURED] += score_headed(
        points, first, n_rows, factors, row, origin, data, centroids, room
    )
    return label_candidates(
        *(points, first, n_rows, factors, row, origin, data, centroids),
        *(room.candidates, labels, counts, doubtful),
    )


_label_tiles = label_tiles_by(_label_headed)


@inline
def head_room(points, n_features, n_axes, n_columns):
    """Return room for the heads and the candidates of a tile."""
    return _Room(
        new_numbers(TILE * n_columns, points),
        new_numbers(TILE, points),
        np.zeros(3, points.dtype),
        new_numbers(room_for_heads(TILE, n_axes), np.int16),
        np.zeros(TILE * N_ROW_NUMBERS, np.float32),
        room_for_candidates(points, n_features),
    )


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, COLUMN),
    *(NUMBER, NUMBER, COUNT, COUNT, NUMBER),
    *(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, COLUMNS, NUMBERS_32, NUMBERS_32),
    *(LABEL_RESULTS, TOTALS, INDICES),
)
def headed_rows(
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
    n_axes,
    slack,
    columns,
    axes,
    numbers,
    groups,
    biases,
    heads,
    head_numbers,
    lengths,
    labels,
    totals,
    counts,
):
    """Label rows by heads, add them up, and count how they got their labels."""
    n_features = points.shape[1]
    n_columns = len(columns) // n_features
    _label_tiles(
        _own_cost(n_clusters, n_features, n_axes),
        *(points, start, stop, tile, filler, factors, origin, weights),
        _Data(unit, eps, n_clusters, n_axes, slack),
        _Centroids(
            *(columns, axes, numbers, groups, biases, heads, head_numbers, lengths),
            *(numbers, biases),
        ),
        head_room(points, n_features, n_axes, n_columns),
        *(labels, totals, counts),
    )


def cheapest_axes(some: Floats, centroids: Floats) -> tuple[Axes | None, float]:
    """Return the axes that should take least, and the cost of a row; None if rounding forbids any.

    It counts the candidates of a few of some centred rows. ``headed_rows`` counts those of all.
    """
    n_clusters, n_features = centroids.shape
    columns = principal_axes(some, N_AXES[-1])
    few = some[::2]
    heads, others = few @ columns, centroids @ columns
    squares, other_squares = (np.square(each).sum(axis=1) for each in (few, centroids))
    biases = other_squares / -2
    ones, best, least = np.ones_like(squares), None, np.inf
    for n_axes in N_AXES:
        head, other = heads[:, :n_axes], others[:, :n_axes]
        rest, other_rest = (
            np.sqrt(np.maximum(whole - np.square(part).sum(axis=1), 0.0))
            for whole, part in ((squares, head), (other_squares, other))
        )
        uppers = np.c_[head, rest, ones] @ np.c_[other, other_rest, biases].T
        likeliest = uppers.argmax(axis=1)
        scores = (few * centroids[likeliest]).sum(axis=1) + biases[likeliest]
        n_found = np.count_nonzero(uppers >= scores[:, None], axis=1)
        # Some rows with very many candidates send their tiles, and later ones, to the dense kernel.
        each = cost_of(n_found, n_found + 1, n_features)
        cost = own_cost(n_clusters, n_features, n_axes) + float(each.mean())
        if cost < least:
            best, least = n_axes, cost
    return (None if best is None else Axes.of(columns[:, :best])), least
