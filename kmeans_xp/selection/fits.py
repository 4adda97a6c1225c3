"""The best fits of rows for ascending numbers of clusters."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.algorithms import (
    LloydResult,
    best_of,
    kmeans_plusplus_starts,
    lloyd,
    more_centroids,
    runs_from,
)
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array
from kmeans_xp.estimators.preparation import Prepared

__all__ = ["TOL", "Search", "chained", "fresh", "n_fresh", "refined"]

#: the default of KMeans
TOL = 1e-4


class Search(NamedTuple):
    """How long to search for a good fit.

    Parameters
    ----------
    n_init : int
        Starts for each number of clusters, including the one from fewer clusters.
    max_iter : int
        Most iterations of each start.
    """

    n_init: int
    max_iter: int


def n_fresh(n_clusters: int, numbers: Sequence[int], n_init: int) -> int:
    """Return how many runs begin with k-means++: all but the one from fewer clusters."""
    if n_clusters == 1:
        return 1  # with one cluster, all runs end the same
    return n_init - (n_clusters != numbers[0])


def fresh(
    data: Prepared, n_clusters: int, n_starts: int, seed: int, max_iter: int
) -> LloydResult | None:
    """Return the best of ``n_starts`` k-means++ runs, or None if ``n_starts`` is 0."""
    random_state = np.random.RandomState(seed)
    starts = kmeans_plusplus_starts(data.blocks, n_clusters, random_state, n_starts)
    return best_of(runs_from(data.blocks, starts, **_options(data, max_iter)))


def refined(data: Prepared, centroids: Array, max_iter: int) -> LloydResult:
    """Return the result of Lloyd's algorithm from these centroids."""
    return lloyd(data.blocks, centroids, **_options(data, max_iter))


def _options(data: Prepared, max_iter: int) -> dict[str, Any]:
    tol = TOL * data.mean_variance
    return {"max_iter": max_iter, "tol": tol, "algorithm": "auto", "metric": data.metric}


def chained(
    data: Prepared,
    numbers: Sequence[int],
    begun: Sequence[LloydResult | None],
    seed: int,
    max_iter: int,
    part: Blocks | None = None,
) -> Iterator[LloydResult]:
    """Yield the best fit for each number: the given one, or one from the number before.

    The latter begins with the centroids of the number before, to which k-means++ adds rows. So
    its inertia cannot be greater than theirs.

    Parameters
    ----------
    data : Prepared
    numbers : sequence of int
        Ascending.
    begun : sequence of LloydResult or None
        The best fit of each number from k-means++; None if there is none. The first number must
        have one.
    seed : int
        Decides which rows are added.
    max_iter : int
        Most iterations.
    part : Blocks, optional
        Add rows from here; None for all rows.

    Yields
    ------
    LloydResult
        As soon as it is found.
    """
    random_state = np.random.RandomState(seed)
    before: LloydResult | None = None
    for n_clusters, found in zip(numbers, begun, strict=True):
        candidates = [] if found is None else [found]
        if before is not None:
            start = more_centroids(part or data.blocks, before.centroids, n_clusters, random_state)
            # ``best_of`` keeps the first of equal results: so inertias never rise.
            candidates.insert(0, refined(data, start, max_iter))
        before = best_of(candidates)
        assert before is not None
        yield before
