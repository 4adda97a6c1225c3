"""K-means||: find many candidates in a few passes over the rows, then run k-means++ on them."""

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

#: rows that a pass brings back, beyond twice the expected number of candidates
_MORE_KEPT = 16

#: most choices among the candidates; a single choice has 3 % more inertia on average
_MOST_CHOICES = 8

#: Iterations before choices are compared: these few find the best as well as whole runs do.
_ITERATIONS_A_CHOICE = 5

#: Rows for each cluster and choice: all choices together then take no longer than the rounds.
_ROWS_A_CHOICE = 16

#: Candidates times clusters times features, over all choices: about a second on two processors.
#: On a cluster, one process chooses among the candidates while the workers wait.
_MOST_WORK = 2**31


class Draw(NamedTuple):
    """Which random numbers a round uses, and how many rows a pass brings back.

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
    """The rows most likely to be candidates: those with the smallest keys, in that order.

    Parameters
    ----------
    potential : accumulated 0-d array
        Weighted sum of the squared distances of all rows, not only of these.
    keys : accumulated array of shape (n_found,)
    indices : integer array of shape (n_found,)
    points : array of shape (n_found, n_features)
    """

    potential: Array
    keys: Array
    indices: Array
    points: Array


class Standing(NamedTuple):
    """What a pass keeps for each row of a block, and ``found`` for the whole block.

    Parameters
    ----------
    sq_distances : array of shape (n_points,)
        To the nearest candidate.
    labels : array of int32, shape (n_points,)
        The nearest candidate, or the first of several.
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

    In each round every row may become a candidate, independently of the others. Its probability
    is the expected number of candidates times its share in the sum of weighted squared distances
    to the candidates so far. A row's random number follows from its index, so the same rows
    become candidates however they are cut into blocks.

    Each candidate then weighs as much as the rows nearest to it, and greedy k-means++ chooses the
    centroids among them. Candidates are few, so it chooses up to eight times. A few iterations of
    Lloyd's algorithm on the candidates decide which choice is best.

    This takes ``n_rounds + 1`` passes over the rows, and one more if they are weighted; k-means++
    takes two for each centroid.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    n_clusters : int
        Rows to choose, at most the number of rows.
    random_state : RandomState
        Source of the random numbers; advanced.
    oversampling : float
        Expected number of candidates in a round, for each cluster.
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
    # A candidate that equals an earlier one has no mass: ties go to the earlier one.
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
    """Return how many choices take little time beside the rounds; it depends only on sizes."""
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
    """Return the candidates in the order of their rounds, and the mass nearest to each."""
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
    """Measure the rows to the new candidates, and return the candidates of the next round.

    Let m be a row's weighted squared distance, u its uniform number, and the potential the sum of
    all m. The row is a candidate if u < n_wanted * m / potential. That is, if its key u / m is
    less than n_wanted / potential. The potential is known only after the pass, but the points are
    at hand only during it. So each block gives the ``n_kept`` rows with the smallest keys, and
    merging keeps the ``n_kept`` smallest of all.

    If the greatest key kept is at least n_wanted / potential, all candidates are among the rows
    kept. Otherwise some may be missing, and another pass keeps twice as many. This is rare: the
    mean number of candidates is at most n_wanted, and the probability of more than
    2 * n_wanted + 16 is below one in a million.
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
    # In the order of the rows, so that it does not depend on the keys.
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
    """Fold new candidates into the distances, and find the rows with the smallest keys."""
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
    """Return the squared distance to the nearest candidate so far, and its number."""
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
    # Only the masses are needed; sums of the real rows could be large.
    nothing = xp.zeros((rows.n_points, 1), dtype=rows.dtype, device=rows.device)
    return cluster_sums(DenseRows(nothing, rows.weights), labels, n_candidates, xp=xp).mass


def _count(seeds: Seeds) -> int:
    return int(seeds.indices.shape[0])


def _drawn_key(random_state: np.random.RandomState) -> tuple[int, int]:
    halves = random_state.randint(0, 2**32, size=4, dtype=np.uint32).tolist()
    return halves[0] << 32 | halves[1], halves[2] << 32 | halves[3]
