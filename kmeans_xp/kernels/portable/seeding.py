"""Greedy k-means++: draw rows, measure the inertia with each as centroid, choose the best."""

from typing import Literal, NamedTuple

from kmeans_xp.devices import Array, Namespace, accumulation_dtype, device_of, tile_shape
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable.assignment import expanded_sq_distances
from kmeans_xp.kernels.rows import Rows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = [
    "Candidate",
    "best_candidate",
    "candidate_potentials",
    "chosen_at_once",
    "closer_of",
    "drawn",
    "running_total",
    "starts_at_once",
    "where_reached",
]


@kernel(closest="n", candidates="kd")
def candidate_potentials(rows: Rows, closest: Array, candidates: Array, *, xp: Namespace) -> Array:
    """Return, for each candidate, the inertia if it became the next centroid.

    Parameters
    ----------
    rows : Rows of n_points
    closest : array of shape (n_points,)
        Squared distances to the nearest of the centroids so far; may be inf.
    candidates : array of shape (n_candidates, n_features)
    xp : namespace

    Returns
    -------
    accumulated array of shape (n_candidates,)
        The weighted sum of min(closest, squared distance to the candidate).
    """
    size, _ = tile_shape(rows, int(candidates.shape[0]), xp=xp)
    dtype = accumulation_dtype(rows.device, xp=xp)

    def potentials_of(place: slice, tile: Rows) -> Array:
        nearer = xp.minimum(_expanded(tile, candidates, xp=xp), closest[place][:, None])
        nearer = xp.astype(nearer, dtype, copy=False)
        if tile.weights is not None:
            nearer = nearer * xp.astype(tile.weights, dtype, copy=False)[:, None]
        return xp.sum(nearer, axis=0)

    return merged_in_tree(potentials_of(place, tile) for place, tile in rows.tiles(size))


@kernel(closest="n", candidate="1d")
def closer_of(rows: Rows, closest: Array, candidate: Array, *, xp: Namespace) -> Array:
    """Fold a new centroid into the distances so far.

    Parameters
    ----------
    rows : Rows of n_points
    closest : array of shape (n_points,)
        Squared distances to the nearest of the centroids so far; may be inf.
    candidate : array of shape (1, n_features)
        The new centroid.
    xp : namespace

    Returns
    -------
    array of shape (n_points,)
        The lesser of ``closest`` and the squared distance to the candidate, in the rows'
        dtype.
    """
    size, _ = tile_shape(rows, 1, xp=xp)
    parts = []
    for place, tile in rows.tiles(size):
        parts.append(xp.minimum(_expanded(tile, candidate, xp=xp)[:, 0], closest[place]))
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def _expanded(tile: Rows, centroids: Array, *, xp: Namespace) -> Array:
    return expanded_sq_distances(tile.centred(), centroids, xp=xp)


class Candidate(NamedTuple):
    """A row that may become a centroid.

    Parameters
    ----------
    index : integer array of shape (1,)
    point : array of shape (1, n_features)
        Relative to the blocks' origin.
    """

    index: Array
    point: Array


@kernel(values="n", weights="n", uniforms="u")
def drawn(
    values: Array,
    weights: Array | None,
    uniforms: Array,
    side: Literal["left", "right"],
    *,
    xp: Namespace,
) -> Array:
    """Return indices of rows drawn in proportion to weight times value.

    Parameters
    ----------
    values : array of shape (n_points,)
        Non-negative and finite.
    weights : array of shape (n_points,), or None
        Non-negative, in the values' dtype; None means that every weight is 1.
    uniforms : array of shape (n_drawn,)
        Numbers in [0, 1).
    side : {"left", "right"}
        "left" for the first row where the running total reaches that share of the whole,
        "right" for the first where it exceeds it.
    xp : namespace

    Returns
    -------
    integer array of shape (n_drawn,)
        Never a row after the last one that adds to the (accumulated) total.
    """
    mass = values if weights is None else values * weights
    reached = running_total(mass, xp=xp)
    thresholds = xp.astype(uniforms, reached.dtype, copy=False) * reached[-1]
    return where_reached(reached, thresholds, side, xp=xp)


def running_total(mass: Array, *, xp: Namespace) -> Array:
    """Return the accumulated running total."""
    dtype = accumulation_dtype(device_of(mass), xp=xp)
    return xp.cumulative_sum(xp.astype(mass, dtype, copy=False))


def where_reached(
    reached: Array, thresholds: Array, side: Literal["left", "right"], *, xp: Namespace
) -> Array:
    """Return where a running total first reaches ("left") or exceeds ("right") each threshold."""
    indices = xp.searchsorted(reached, thresholds, side=side)
    # Rounding may put a threshold at the whole: take the last row with mass then.
    last = xp.searchsorted(reached, reached[-1:], side="left")
    return xp.minimum(indices, last)


@kernel(potentials="k", indices="k", candidates="kd")
def best_candidate(
    potentials: Array, indices: Array, candidates: Array, *, xp: Namespace
) -> Candidate:
    """Return the candidate with the smallest potential; of those equal up to rounding, the first.

    Parameters
    ----------
    potentials : array of shape (n_candidates,)
        Non-negative.
    indices : integer array of shape (n_candidates,)
    candidates : array of shape (n_candidates, n_features)
        In the dtype of the computation.
    xp : namespace

    Returns
    -------
    Candidate
        The first whose potential is at most 1 + 1e-6 (float32) or 1 + 1e-12 (float64) times the
        smallest. So every library takes the same one.
    """
    slack = 1e-12 if candidates.dtype == xp.float64 else 1e-6
    is_least = potentials <= xp.min(potentials) * (1.0 + slack)
    best = xp.argmax(xp.astype(is_least, xp.int32), axis=0, keepdims=True)
    return Candidate(xp.take(indices, best), xp.take(candidates, best, axis=0))


@kernel(closest="n", last="1d", trials="mt")
def chosen_at_once(
    rows: Rows,  # noqa: ARG001 (what overrides look at)
    closest: Array,  # noqa: ARG001
    last: Array | None,  # noqa: ARG001
    trials: Array,  # noqa: ARG001
    *,
    xp: Namespace,  # noqa: ARG001
) -> Candidate | None:
    """Choose rows by greedy k-means++, or return None where single kernels are as fast.

    Parameters
    ----------
    rows : Rows of n_points
    closest : array of shape (n_points,)
        Squared distances to the nearest of the centroids so far; may be inf if ``last`` is given.
    last : array of shape (1, n_features), or None
        A centroid that ``closest`` does not count yet.
    trials : array of shape (n_chosen, n_trials)
        For each row to choose, the numbers in [0, 1) with which to draw its candidates.
    xp : namespace

    Returns
    -------
    Candidate or None
        The n_chosen rows that ``closer_of``, ``drawn``, ``candidate_potentials`` and
        ``best_candidate`` would choose.
    """
    return None


@kernel(uniforms="ru")
def starts_at_once(
    rows: Rows,  # noqa: ARG001 (what overrides look at)
    uniforms: Array,  # noqa: ARG001
    n_clusters: int,  # noqa: ARG001
    *,
    xp: Namespace,  # noqa: ARG001
) -> Array | None:
    """Choose the initial centroids of several runs, or return None where one by one is as fast.

    Parameters
    ----------
    rows : Rows of n_points
    uniforms : ndarray of float64, shape (n_starts, 1 + (n_clusters - 1) * n_trials)
        On the host: the numbers that ``kmeans_plusplus`` draws for each run.
    n_clusters : int
        At most n_points.
    xp : namespace

    Returns
    -------
    array of shape (n_starts, n_clusters, n_features), or None
        Relative to the rows' origin; the rows that ``kmeans_plusplus`` chooses with these numbers.
    """
    return None
