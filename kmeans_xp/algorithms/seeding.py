"""Initial centroids: greedy k-means++, and rows drawn at random."""

import math
from typing import NamedTuple

import numpy as np

from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, from_host
from kmeans_xp.kernels import candidate_potentials, closer_of

__all__ = ["Seeds", "kmeans_plusplus", "random_rows"]


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

    Each next row is the best of ``n_trials`` drawn with probability in proportion to weight
    times squared distance to the nearest row chosen so far. All random numbers are drawn on
    the host at the start, in scikit-learn's order, and uploaded at once: the same seed
    chooses the same rows on every library, and the device is never waited for.

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
    xp = blocks.xp
    n_trials = n_trials or 2 + int(math.log(n_clusters))
    chosen = [blocks.draw(random_state.random_sample(1))]
    uniforms = random_state.random_sample((n_clusters - 1, n_trials))
    uniforms = from_host(uniforms, xp=xp, device=blocks.device)

    unreached = xp.full((blocks.n_points,), xp.inf, dtype=blocks.dtype, device=blocks.device)
    seed = blocks.take(chosen[0]).points
    closest = blocks.map_rows(closer_of, seed, per_row=(unreached,))
    for step in range(n_clusters - 1):
        indices = blocks.draw_by(closest, uniforms[step, :])
        candidates = blocks.take(indices).points
        potentials = blocks.reduce(candidate_potentials, candidates, per_row=(closest,))
        best = xp.argmin(potentials, axis=0, keepdims=True)
        chosen.append(xp.take(indices, best))
        closest = blocks.map_rows(closer_of, xp.take(candidates, best, axis=0), per_row=(closest,))
    all_chosen = xp.concat(chosen)
    return Seeds(blocks.take(all_chosen).points, all_chosen)


def random_rows(blocks: Blocks, n_clusters: int, random_state: np.random.RandomState) -> Seeds:
    """Choose different rows at random, in proportion to their weights.

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
    weights = blocks.weights_on_host()
    if weights is None:
        indices = _distinct(blocks.n_points, n_clusters, random_state)
    else:
        shares = weights.astype(np.float64) / weights.sum(dtype=np.float64)
        if np.count_nonzero(shares) < n_clusters:
            raise ValueError(
                f"Only {np.count_nonzero(shares)} rows have a positive sample_weight, "
                f"fewer than n_clusters={n_clusters}."
            )
        indices = random_state.choice(len(shares), size=n_clusters, replace=False, p=shares)
    on_device = from_host(indices.astype(np.int64), xp=blocks.xp, device=blocks.device)
    return Seeds(blocks.take(on_device).points, on_device)


def _distinct(
    n_points: int, n_drawn: int, random_state: np.random.RandomState
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Draw as ``choice(n_points, n_drawn, replace=False, p=equal)``, without n_points numbers."""
    found = np.empty(0, dtype=np.int64)
    while len(found) < n_drawn:
        uniforms = random_state.random_sample(n_drawn - len(found))
        ranks = np.minimum(uniforms * (n_points - len(found)), n_points - len(found) - 1)
        # The rank counts the rows not found yet: step over those that are.
        taken = np.sort(found)
        ranks = ranks.astype(np.int64)
        indices = ranks + np.searchsorted(taken - np.arange(len(taken)), ranks, side="right")
        _, first_seen = np.unique(indices, return_index=True)
        found = np.concatenate([found, indices[np.sort(first_seen)]])
    return found
