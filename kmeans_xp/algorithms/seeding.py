"""Initial centroids: greedy k-means++, also beginning from given ones, and random rows."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kmeans_xp.algorithms.drawing import draw_by_value, draw_by_weight
from kmeans_xp.blocks import Blocks, PerRow
from kmeans_xp.devices import Array, Namespace, from_host, to_host
from kmeans_xp.kernels import (
    Candidate,
    Rows,
    best_candidate,
    candidate_potentials,
    chosen_at_once,
    closer_of,
    nearest_centroid,
    starts_at_once,
)

__all__ = [
    "Seeds",
    "kmeans_plusplus",
    "kmeans_plusplus_starts",
    "more_centroids",
    "more_rows",
    "n_with_weight",
    "random_rows",
    "uniforms_of_more",
    "uniforms_of_starts",
]

Indices = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Uniforms = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Seeds(NamedTuple):
    """Rows chosen as initial centroids.

    Parameters
    ----------
    centroids : array of shape (n_clusters, n_features)
        Relative to the blocks' origin.
    indices : integer array of shape (n_clusters,)
    """

    centroids: Array
    indices: Array


def kmeans_plusplus(
    blocks: Blocks,
    n_clusters: int,
    random_state: np.random.RandomState,
    *,
    n_trials: int | None = None,
) -> Seeds:
    """Choose rows that are far apart, by greedy k-means++.

    Each next row is the best of ``n_trials`` rows. These are drawn in proportion to weight times
    squared distance to the nearest row chosen so far. All random numbers are drawn on the host at
    the start, in scikit-learn's order. So the same seed chooses the same rows on every library,
    and the host never waits for the device.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    n_clusters : int
        Rows to choose, at most the number of rows.
    random_state : RandomState
        Source of the random numbers; advanced.
    n_trials : int, optional
        Default: 2 + floor(log(n_clusters)).

    Returns
    -------
    Seeds
        O(n_points * n_clusters * n_features * n_trials) time.

    References
    ----------
    .. [1] D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding",
       SODA 2007.
    """
    n_trials = n_trials or _n_trials(n_clusters)
    uniforms = random_state.random_sample(1 + (n_clusters - 1) * n_trials)
    return _seeds(blocks, uniforms, n_trials)


def kmeans_plusplus_starts(
    blocks: Blocks, n_clusters: int, random_state: np.random.RandomState, n_starts: int
) -> Iterator[Array]:
    """Choose the initial centroids of several runs, all at once where that is faster.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    n_clusters : int
        Rows to choose for a run, at most the number of rows.
    random_state : RandomState
        Source of the random numbers; advanced.
    n_starts : int
        Number of runs.

    Yields
    ------
    array of shape (n_clusters, n_features)
        Relative to the blocks' origin; those of ``kmeans_plusplus``, called for each run in turn.
    """
    uniforms = uniforms_of_starts(n_clusters, random_state, n_starts)
    if n_starts > 1 and blocks.whole is not None:
        together = blocks.reduce(starts_at_once, uniforms, n_clusters)
        if together is not None:
            yield from (together[run, ...] for run in range(n_starts))
            return
    for of_run in uniforms:
        yield _seeds(blocks, of_run, _n_trials(n_clusters)).centroids


def uniforms_of_starts(
    n_clusters: int, random_state: np.random.RandomState, n_starts: int
) -> Uniforms:
    """Draw the random numbers of ``kmeans_plusplus_starts``, one row for each start."""
    return random_state.random_sample((n_starts, 1 + (n_clusters - 1) * _n_trials(n_clusters)))


def uniforms_of_more(
    n_given: int, n_clusters: int, random_state: np.random.RandomState
) -> Uniforms:
    """Draw the random numbers of ``more_centroids``, one row for each centroid to add."""
    return random_state.random_sample((n_clusters - n_given, _n_trials(n_clusters)))


def _n_trials(n_clusters: int) -> int:
    return 2 + int(math.log(n_clusters))


def _seeds(blocks: Blocks, uniforms: Uniforms, n_trials: int) -> Seeds:
    """Choose rows by greedy k-means++, with these random numbers."""
    xp = blocks.xp
    trials = from_host(uniforms[1:].reshape(-1, n_trials), xp=xp, device=blocks.device)
    index = draw_by_weight(blocks, uniforms[:1])
    first = Candidate(index, blocks.take(index).points)
    # No name here keeps the first distances while others take their place.
    chosen = [first, *_further(blocks, blocks.map_rows(_infinitely_far), first, trials)]
    all_chosen = xp.concat([candidate.index for candidate in chosen])
    return Seeds(blocks.take(all_chosen).points, all_chosen)


def more_centroids(
    blocks: Blocks, centroids: Array, n_clusters: int, random_state: np.random.RandomState
) -> Array:
    """Add rows to centroids, each chosen as k-means++ chooses its next one.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    centroids : array of shape (n_given, n_features)
        Relative to the blocks' origin.
    n_clusters : int
        More than ``n_given``, at most the number of rows.
    random_state : RandomState
        Source of the random numbers; advanced.

    Returns
    -------
    array of shape (n_clusters, n_features)
        The given centroids, then the rows. Their inertia is at most that of the given ones.
    """
    chosen = _more(blocks, centroids, n_clusters, random_state)
    return blocks.xp.concat([centroids, *(candidate.point for candidate in chosen)])


def more_rows(
    blocks: Blocks, centroids: Array, n_clusters: int, random_state: np.random.RandomState
) -> Seeds:
    """Return only the rows that ``more_centroids`` adds."""
    points, indices = [], []
    for candidate in _more(blocks, centroids, n_clusters, random_state):
        points.append(candidate.point)
        indices.append(candidate.index)
    return Seeds(blocks.xp.concat(points), blocks.xp.concat(indices))


def _more(
    blocks: Blocks, centroids: Array, n_clusters: int, random_state: np.random.RandomState
) -> Iterator[Candidate]:
    """Return rows chosen one by one, until there are ``n_clusters`` centroids."""
    uniforms = uniforms_of_more(int(centroids.shape[0]), n_clusters, random_state)
    trials = from_host(uniforms, xp=blocks.xp, device=blocks.device)
    closest = blocks.map_rows(_sq_distance_to_nearest, centroids)
    return _further(blocks, closest, None, trials)


def _further(
    blocks: Blocks, closest: PerRow, last: Candidate | None, trials: Array
) -> Iterator[Candidate]:
    """Yield rows chosen one by one, or all at once; ``closest`` does not yet count ``last``."""
    if blocks.whole is not None:
        given = None if last is None else last.point
        all_chosen = blocks.reduce(chosen_at_once, given, trials, per_row=(closest,))
        if all_chosen is not None:
            yield all_chosen
            return
    for step in range(int(trials.shape[0])):
        if last is not None:
            closest = blocks.map_rows(closer_of, last.point, per_row=(closest,))
        indices = draw_by_value(blocks, closest, trials[step, :])
        candidates = blocks.take(indices).points
        potentials = blocks.reduce(candidate_potentials, candidates, per_row=(closest,))
        last = best_candidate(potentials, indices, candidates, xp=blocks.xp)
        yield last


def random_rows(blocks: Blocks, n_clusters: int, random_state: np.random.RandomState) -> Seeds:
    """Choose distinct rows at random, in proportion to their weights.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    n_clusters : int
        Rows to choose, at most the number of rows.
    random_state : RandomState
        Source of the random numbers; advanced as scikit-learn does.

    Returns
    -------
    Seeds

    Raises
    ------
    ValueError
        If fewer than ``n_clusters`` rows have weight.
    """
    n_weighted = n_with_weight(blocks)
    if n_weighted < n_clusters:
        raise ValueError(
            f"Only {n_weighted} rows have a positive sample_weight, "
            f"fewer than n_clusters={n_clusters}."
        )
    if blocks.is_weighted:
        indices = _distinct_weighted(blocks, n_clusters, random_state)
    else:
        indices = _distinct(blocks.n_points, n_clusters, random_state)
    on_device = from_host(indices, xp=blocks.xp, device=blocks.device)
    return Seeds(blocks.take(on_device).points, on_device)


def n_with_weight(blocks: Blocks) -> int:
    """Return how many rows have a positive weight.

    Parameters
    ----------
    blocks : Blocks
        The rows.

    Returns
    -------
    int
    """
    return int(blocks.reduce(_n_weighted)) if blocks.is_weighted else blocks.n_points


def _distinct_weighted(
    blocks: Blocks, n_drawn: int, random_state: np.random.RandomState
) -> Indices:
    """Draw as ``choice(n_points, n_drawn, replace=False, p=shares of the weights)``."""
    found: Indices = np.empty(0, dtype=np.int64)
    while len(found) < n_drawn:
        uniforms = random_state.random_sample(n_drawn - len(found))
        drawn = draw_by_weight(blocks, uniforms, without=found if len(found) else None)
        found = _joined(found, to_host(drawn).astype(np.int64))
    return found


def _distinct(n_points: int, n_drawn: int, random_state: np.random.RandomState) -> Indices:
    """Draw as ``choice(n_points, n_drawn, replace=False, p=equal)`` in O(n_drawn) memory."""
    found: Indices = np.empty(0, dtype=np.int64)
    while len(found) < n_drawn:
        uniforms = random_state.random_sample(n_drawn - len(found))
        ranks = np.minimum(uniforms * (n_points - len(found)), n_points - len(found) - 1)
        indices = ranks.astype(np.int64)
        if len(found):  # the rank counts the rows not found yet: skip the others
            skipped = np.sort(found) - np.arange(len(found))
            indices += np.searchsorted(skipped, indices, side="right")
        found = _joined(found, indices)
    return found


def _joined(found: Indices, drawn: Indices) -> Indices:
    if len(set(drawn.tolist())) == len(drawn):  # as most are: np.unique takes longer for few
        return np.concatenate([found, drawn])
    _, first_seen = np.unique(drawn, return_index=True)
    return np.concatenate([found, drawn[np.sort(first_seen)]])


def _infinitely_far(rows: Rows, *, xp: Namespace) -> Array:
    return xp.full((rows.n_points,), xp.inf, dtype=rows.dtype, device=rows.device)


def _sq_distance_to_nearest(rows: Rows, centroids: Array, *, xp: Namespace) -> Array:
    return nearest_centroid(rows, centroids, xp=xp).sq_distances


def _n_weighted(rows: Rows, *, xp: Namespace) -> Array:
    return xp.count_nonzero(rows.weights)
