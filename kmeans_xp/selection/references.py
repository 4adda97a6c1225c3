"""The inertia of rows without clusters: of one draw at a time, or of many in each call."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.algorithms import SAME_INERTIA, uniforms_of_more, uniforms_of_starts
from kmeans_xp.devices import (
    Array,
    Namespace,
    device_of,
    from_host,
    is_sparse,
    namespace_of,
    to_host,
)
from kmeans_xp.estimators.batched import problem_options
from kmeans_xp.estimators.preparation import Prepared, prepared
from kmeans_xp.kernels import DenseRows, solved_at_once
from kmeans_xp.selection.fits import TOL, Search, chained, fresh, n_fresh

__all__ = ["inertias_alone", "inertias_at_once"]

#: most bytes of the rows that are fitted together, on the host in float64 and where they are fitted
_GROUP_BYTES = 2**26

Host = NDArray[Any]


def inertias_alone(
    data: Prepared,
    drawn: Callable[[int], Any],
    numbers: Sequence[int],
    seed: int,
    search: Search,
) -> list[float]:
    """Return the inertia of the rows ``drawn(seed)`` for each number of clusters."""
    placement, rows = data.placement, drawn(seed)
    if is_sparse(rows):
        if data.metric == "cosine":
            rows = rows[rows.indptr[1:] > rows.indptr[:-1]]  # without numbers: no direction
    else:
        rows = _placed(rows, data)
    reference = prepared(rows, None, placement, data.metric)
    share = data.blocks.n_points / reference.blocks.n_points
    seeds = _seeds_of(seed, numbers)
    begun = [
        fresh(reference, number, n_fresh(number, numbers, search.n_init), own, search.max_iter)
        for number, own in zip(numbers, seeds, strict=False)
    ]
    chain = chained(reference, numbers, begun, seeds[-1], search.max_iter)
    return [result.inertia * share for result in chain]


def inertias_at_once(
    data: Prepared,
    drawn: Callable[[int], Any],
    numbers: Sequence[int],
    seeds: Sequence[int],
    search: Search,
) -> Iterator[list[float] | None]:
    """Yield the result of ``inertias_alone`` for each seed, to the bit, where many fit together.

    Parameters
    ----------
    data : Prepared
    drawn : callable
        From a seed to rows without clusters.
    numbers : sequence of int
        Ascending.
    seeds : sequence of int
    search : Search

    Yields
    ------
    list of float or None
        None where the rows have to be fitted alone.
    """
    whole = data.blocks.whole
    if data.metric != "euclidean" or not isinstance(whole, DenseRows):
        yield from [None] * len(seeds)
        return
    n_held = max(1, _GROUP_BYTES // (16 * whole.n_points * whole.n_features))
    for start in range(0, len(seeds), n_held):
        some = seeds[start : start + n_held]
        points = _placed(np.stack([drawn(seed) for seed in some]), data)
        found = _of_group(points, numbers, some, search, xp=data.placement.xp)
        if found is None:  # nor are others, which have the same shape
            yield from [None] * len(seeds[start:])
            return
        yield from found


def _placed(rows: Host, data: Prepared) -> Array:
    placement = data.placement
    return from_host(rows, xp=placement.xp, device=placement.device, dtype=data.blocks.dtype)


def _seeds_of(seed: int, numbers: Sequence[int]) -> list[int]:
    """Return a seed for the k-means++ runs of each number, and one for the runs from fewer."""
    seeds: list[int] = (
        np.random.RandomState(seed).randint(2**31 - 1, size=len(numbers) + 1).tolist()
    )
    return seeds


class _Found(NamedTuple):
    """The best run of each problem, where it was solved."""

    centroids: Array
    inertia: Host
    is_solved: Host

    def or_better(self, other: "_Found") -> "_Found":
        """Return the other result of each problem for which that is better; see ``best_of``."""
        is_better = other.inertia < self.inertia * (1.0 - SAME_INERTIA)
        return _Found(
            _chosen(is_better, other.centroids, self.centroids),
            np.where(is_better, other.inertia, self.inertia),
            self.is_solved & other.is_solved,
        )


def _of_group(
    points: Array, numbers: Sequence[int], seeds: Sequence[int], search: Search, *, xp: Namespace
) -> list[list[float] | None] | None:
    of_each = [_seeds_of(seed, numbers) for seed in seeds]
    begun: dict[int, _Found] = {}
    # The most clusters first: if a kernel declines, it declines those.
    for at, number in reversed(list(enumerate(numbers))):
        n_starts = n_fresh(number, numbers, search.n_init)
        if n_starts == 0:
            continue
        states = [np.random.RandomState(own[at]) for own in of_each]
        uniforms = [uniforms_of_starts(number, state, n_starts) for state in states]
        found = _solved(points, np.stack(uniforms), None, number, search, xp=xp)
        if found is None:
            return None
        begun[number] = found
    chain, best, inertias = [np.random.RandomState(own[-1]) for own in of_each], None, []
    for before, number in zip((0, *numbers), numbers, strict=False):
        found = begun.get(number)
        if best is not None:
            uniforms = [uniforms_of_more(before, number, state).reshape(1, -1) for state in chain]
            further = _solved(points, np.stack(uniforms), best.centroids, number, search, xp=xp)
            if further is None:
                return None
            found = further if found is None else further.or_better(found)
            found = found._replace(is_solved=found.is_solved & best.is_solved)
        assert found is not None
        best = found
        inertias.append(best.inertia)
    assert best is not None
    columns = np.stack(inertias, axis=1).tolist()
    return [
        column if is_solved else None
        for column, is_solved in zip(columns, best.is_solved, strict=True)
    ]


def _solved(
    points: Array,
    uniforms: Host,
    given: Array | None,
    n_clusters: int,
    search: Search,
    *,
    xp: Namespace,
) -> _Found | None:
    options = problem_options(points, n_clusters, search.max_iter, TOL, xp=xp)
    solved = solved_at_once(points, None, uniforms, given, options, xp=xp)
    if solved is None:
        return None
    centroids, is_solved = solved.centroids, to_host(solved.n_iter) > 0
    if not is_solved.all():  # other runs begin with them: they must be numbers
        centroids = _chosen(is_solved, centroids, xp.zeros_like(centroids))
    return _Found(centroids, to_host(solved.inertia), is_solved)


def _chosen(is_first: Host, first: Array, second: Array) -> Array:
    """Return ``first`` for the problems of which ``is_first`` is True, ``second`` for others."""
    xp = namespace_of(first)
    where = from_host(is_first, xp=xp, device=device_of(first))
    return xp.where(where[:, None, None], first, second)
