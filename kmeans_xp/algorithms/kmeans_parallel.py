"""K-means||: many candidates in a few visits of the rows, k-means++ on the candidates."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from kmeans_xp import blocks as making
from kmeans_xp.algorithms.drawing import draw_by_weight
from kmeans_xp.algorithms.restarts import is_better, runs_from
from kmeans_xp.algorithms.seeding import Seeds, kmeans_plusplus, more_rows
from kmeans_xp.blocks import Blocks, PerRow
from kmeans_xp.devices import (
    Array,
    Namespace,
    accumulation_dtype,
    from_host,
    namespace_of,
    tile_shape,
    to_host,
)
from kmeans_xp.kernels import (
    DenseRows,
    Rows,
    cluster_sums,
    merged_in_tree,
    nearest_centroid,
    places_of_least,
    row_uniforms,
)

__all__ = ["kmeans_parallel"]

#: rows that a visit brings back, beyond twice those that it is expected to find
_MORE_KEPT = 16

#: One choice among the candidates ends, on average, at 3 % more inertia than the best of so many.
_MOST_CHOICES = 8

#: Iterations that tell which choice is best: as good as all of them, and these are few.
_ITERATIONS_A_CHOICE = 5

#: Rows for each cluster and each choice: all choices then take no longer than the rounds.
_ROWS_A_CHOICE = 16

#: Candidates times clusters times features, of all choices: about a second on two processors.
#: The candidates of a cluster's rows are in one process, while its workers wait.
_MOST_WORK = 2**31


class Draw(NamedTuple):
    """Which random numbers decide a round, and how many rows a visit brings back.

    Parameters
    ----------
    key : tuple of two int
    round : int
    n_kept : int
    """

    key: tuple[int, int]
    round: int
    n_kept: int


class Found(NamedTuple):
    """The rows most likely to be candidates: those of least key, in the order of their keys.

    Parameters
    ----------
    potential : accumulated 0-d array
        Weighted sum of all rows' squared distances, not of these rows' alone.
    keys : accumulated array of shape (n_found,)
    indices : integer array of shape (n_found,)
    points : array of shape (n_found, n_features)
    """

    potential: Array
    keys: Array
    indices: Array
    points: Array


class Standing(NamedTuple):
    """What a visit leaves for each row of a block, and ``found`` for the block.

    Parameters
    ----------
    sq_distances : array of shape (n_points,)
        To the nearest candidate.
    labels : array of int32, shape (n_points,)
        Which candidate that is, the first of several.
    found : Found or None
    """

    sq_distances: Array
    labels: Array
    found: Found | None


def kmeans_parallel(
    blocks: Blocks,
    n_clusters: int,
    random_state: np.random.RandomState,
    *,
    oversampling: float = 2.0,
    n_rounds: int = 5,
) -> Seeds:
    """Choose rows that are far apart, by k-means||.

    In each round every row becomes a candidate by a chance of its own: the expected number times
    its share in the sum of weighted squared distances to the candidates so far. The random
    number of a row follows from its index, so that the same rows become candidates however
    they are cut into blocks. Of the candidates, weighted by the mass of the rows nearest to
    each, greedy k-means++ chooses the centroids; up to eight times, since candidates are few, and
    those are taken from which Lloyd's algorithm on the candidates gets farthest.

    The rows are visited ``n_rounds + 1`` times, once more if they are weighted; k-means++ visits
    them twice for each centroid.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    n_clusters : int
        Rows to choose, at most the number of rows.
    random_state : RandomState
        Source of the random numbers; advanced.
    oversampling : float
        Candidates that a round is expected to find, for each cluster.
    n_rounds : int
        At least 1.

    Returns
    -------
    Seeds
        O(n_points * n_clusters * n_features * oversampling * n_rounds) time.

    References
    ----------
    .. [1] B. Bahmani, B. Moseley, A. Vattani, R. Kumar and S. Vassilvitskii, "Scalable
       k-means++", PVLDB 5 (2012).
    """
    xp = blocks.xp
    found, mass = _candidates(blocks, oversampling * n_clusters, n_rounds, random_state)
    # A row that equals an earlier candidate is nearest to that one, and none is nearest to it.
    (kept,) = np.nonzero(to_host(mass) > 0.0)
    places = from_host(kept, xp=xp, device=blocks.device)
    candidates = Seeds(*(xp.take(part, places, axis=0) for part in found))
    if len(kept) < n_clusters:
        more = more_rows(blocks, candidates.centroids, n_clusters, random_state)
        return Seeds(*(xp.concat(parts) for parts in zip(candidates, more, strict=True)))
    if len(kept) == n_clusters:
        return candidates
    weights = xp.astype(xp.take(mass, places), blocks.dtype, copy=False)
    weighted = making.of_rows(DenseRows(candidates.centroids, weights), xp=xp)
    n_choices = _n_choices(blocks, len(kept), n_clusters)
    chosen = _best_choice(weighted, n_clusters, random_state, n_choices)
    return Seeds(chosen.centroids, xp.take(candidates.indices, chosen.indices))


def _n_choices(blocks: Blocks, n_candidates: int, n_clusters: int) -> int:
    """Return how many choices take little time beside the rounds; of sizes alone."""
    affordable = min(
        blocks.n_points // (_ROWS_A_CHOICE * n_clusters),
        _MOST_WORK // (n_candidates * n_clusters * blocks.n_features),
    )
    return max(1, min(affordable, _MOST_CHOICES))


def _best_choice(
    weighted: Blocks, n_clusters: int, random_state: np.random.RandomState, n_choices: int
) -> Seeds:
    choices = [kmeans_plusplus(weighted, n_clusters, random_state) for _ in range(n_choices)]
    if n_choices == 1:
        return choices[0]
    starts = [choice.centroids for choice in choices]
    ends = list(runs_from(weighted, starts, max_iter=_ITERATIONS_A_CHOICE))
    best = 0
    for number, end in enumerate(ends):
        if is_better(end, ends[best]):
            best = number
    return choices[best]


def _candidates(
    blocks: Blocks, n_wanted: float, n_rounds: int, random_state: np.random.RandomState
) -> tuple[Seeds, Array]:
    """Return the candidates in the order that they were found, and the mass nearest to each."""
    index = draw_by_weight(blocks, random_state.random_sample(1))
    new = Seeds(blocks.take(index).points, index)
    key = _drawn_key(random_state)
    rounds, n_before = [new], 0
    standing: PerRow | None = None
    for number in range(n_rounds):
        draw = Draw(key, number, 2 * math.ceil(n_wanted) + _MORE_KEPT)
        standing, new = _next_round(blocks, standing, new, n_before, draw, n_wanted)
        n_before = sum(map(_count, rounds))
        rounds.append(new)
    n_all = n_before + _count(new)
    assert standing is not None
    mass = blocks.reduce(_mass, new.centroids, n_before, n_all, per_row=(standing,))
    return Seeds(*(blocks.xp.concat(parts) for parts in zip(*rounds, strict=True))), mass


def _next_round(
    blocks: Blocks,
    standing: PerRow | None,
    new: Seeds,
    n_before: int,
    draw: Draw,
    n_wanted: float,
) -> tuple[PerRow, Seeds]:
    """Measure the rows to the new candidates, and return those of the next round.

    A row with weighted squared distance m is a candidate if u < n_wanted * m / potential, where
    the potential is the sum of all m and u its uniform number: that is, if its key u / m is less
    than n_wanted / potential. The potential is known after the visit, the points are at hand
    during it. So each block gives its ``n_kept`` rows of least key, and of two such sets the
    n_kept of least key are kept: in the end, those of least key of all rows. If the greatest of
    these keys is not less than n_wanted / potential, no row that is missing has a key that is:
    the candidates are among those kept. If it is less, some may be missing, and the rows are
    visited again for twice as many; the number of candidates has mean n_wanted at most, and at
    2 * n_wanted + 16 that is less likely than one in a million.
    """
    function = _measured_first if standing is None else _measured
    given = (blocks.starts,) if standing is None else (blocks.starts, standing)
    standing = blocks.map_rows(function, new.centroids, n_before, draw, per_row=given)
    found = standing.reduce(_found_in, merge=partial(_least, draw.n_kept))
    keys, indices = to_host(found.keys), to_host(found.indices)
    potential = float(found.potential)
    n_chosen = int(np.count_nonzero(keys < n_wanted / potential)) if potential > 0.0 else 0
    if n_chosen == draw.n_kept < blocks.n_points:
        more = draw._replace(n_kept=2 * draw.n_kept)
        return _next_round(blocks, standing, new, n_before, more, n_wanted)
    # In the order of the rows, which no key can change.
    order = from_host(np.argsort(indices[:n_chosen]), xp=blocks.xp, device=blocks.device)
    taken = (blocks.xp.take(part, order, axis=0) for part in (found.points, found.indices))
    return standing, Seeds(*taken)


def _measured_first(
    rows: Rows, start: int, candidates: Array, n_before: int, draw: Draw, *, xp: Namespace
) -> Standing:
    sq_distances = xp.full((rows.n_points,), xp.inf, dtype=rows.dtype, device=rows.device)
    labels = xp.zeros((rows.n_points,), dtype=xp.int32, device=rows.device)
    nowhere = Standing(sq_distances, labels, None)
    return _measured(rows, start, nowhere, candidates, n_before, draw, xp=xp)


def _measured(
    rows: Rows,
    start: int,
    standing: Standing,
    candidates: Array,
    n_before: int,
    draw: Draw,
    *,
    xp: Namespace,
) -> Standing:
    """Fold new candidates into the distances, and find the rows of least key."""
    sq_distances, labels = _closer(rows, standing, candidates, n_before, xp=xp)
    size, _ = tile_shape(DenseRows(sq_distances[:, None]), 1, xp=xp)
    found = merged_in_tree(
        (
            _likeliest(tile, start + place.start, sq_distances[place], draw, xp=xp)
            for place, tile in rows.tiles(size)
        ),
        partial(_least, draw.n_kept),
    )
    return Standing(sq_distances, labels, found)


def _closer(
    rows: Rows, standing: Standing, candidates: Array, n_before: int, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return the squared distance to the nearest candidate so far, and which that is."""
    if int(candidates.shape[0]) == 0:
        return standing.sq_distances, standing.labels
    new_labels, new_sq_distances = nearest_centroid(rows, candidates, xp=xp)
    is_closer = new_sq_distances < standing.sq_distances  # a tie stays with the lower index
    return (
        xp.where(is_closer, new_sq_distances, standing.sq_distances),
        xp.where(is_closer, new_labels + n_before, standing.labels),
    )


def _likeliest(tile: Rows, start: int, sq_distances: Array, draw: Draw, *, xp: Namespace) -> Found:
    dtype = accumulation_dtype(tile.device, xp=xp)
    mass = xp.astype(sq_distances, dtype, copy=False)
    if tile.weights is not None:
        mass = mass * xp.astype(tile.weights, dtype, copy=False)
    uniforms = row_uniforms(tile, start, draw.key, draw.round, xp=xp)
    has_mass = mass > 0.0
    keys = uniforms / xp.where(has_mass, mass, xp.ones_like(mass))
    keys = xp.where(has_mass, keys, xp.full_like(keys, xp.inf))
    places = places_of_least(keys, draw.n_kept, xp=xp)
    return Found(xp.sum(mass), xp.take(keys, places), places + start, tile.take(places).points)


def _least(n_kept: int, left: Found, right: Found) -> Found:
    xp = namespace_of(left.keys)
    keys = xp.concat([left.keys, right.keys])
    places = places_of_least(keys, n_kept, xp=xp)
    indices, points = (
        xp.take(xp.concat(pair), places, axis=0) for pair in zip(left[2:], right[2:], strict=True)
    )
    return Found(left.potential + right.potential, xp.take(keys, places), indices, points)


def _found_in(standing: Standing, *, xp: Namespace) -> Found | None:  # noqa: ARG001 (as all partials)
    return standing.found


def _mass(
    rows: Rows,
    standing: Standing,
    candidates: Array,
    n_before: int,
    n_candidates: int,
    *,
    xp: Namespace,
) -> Array:
    """Return the mass of the rows nearest to each candidate, after a last fold."""
    _, labels = _closer(rows, standing, candidates, n_before, xp=xp)
    # The sums of the rows themselves are not asked for, and may be large.
    nothing = xp.zeros((rows.n_points, 1), dtype=rows.dtype, device=rows.device)
    return cluster_sums(DenseRows(nothing, rows.weights), labels, n_candidates, xp=xp).mass


def _count(seeds: Seeds) -> int:
    return int(seeds.indices.shape[0])


def _drawn_key(random_state: np.random.RandomState) -> tuple[int, int]:
    halves = random_state.randint(0, 2**32, size=4, dtype=np.uint32).tolist()
    return halves[0] << 32 | halves[1], halves[2] << 32 | halves[3]
