"""Steps on sparse rows with large centroids: each is updated as soon as its cluster is added up.

The sums of one cluster fit a processor's own cache; those of all clusters do not. To write and
read them takes about as long as to add up the rows.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_numba.assignment import (
    UPDATED,
    has_own_totals,
    is_updated_in_lanes,
    update_cluster,
)
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMNS,
    COUNT,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    STARTS,
    SUMS,
    TOTALS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL
from kmeans_xp.kernels.for_numba.sparse_assignment import (
    Pieces,
    add_piece,
    is_step_of_a_task,
    scored_by_panels,
)
from kmeans_xp.kernels.for_numba.sparse_panels import (
    arrays_of,
    in_ranges,
    origin_of,
    weights_of,
)
from kmeans_xp.kernels.for_numba.tiling import Floats
from kmeans_xp.kernels.portable.stepping import Reduce, Step, StepsInOneCall, steps_of
from kmeans_xp.kernels.portable.steps import (
    Update,
    lloyd_step,
    update_centroids,
)
from kmeans_xp.kernels.sparse_rows import SparseRows

__all__: list[str] = []


@compiled(
    NUMBERS,
    COLUMNS,
    STARTS,
    COLUMN,
    NUMBERS,
    STARTS,
    STARTS,
    STARTS,
    STARTS,
    NUMBERS,
    COUNT,
    COUNT,
    SUMS,
    SUMS,
    RESULTS,
    TOTALS,
)
def _step_pieces(
    numbers,
    columns,
    starts,
    weights,
    origin,
    order,
    firsts,
    owners,
    places,
    old,
    start,
    stop,
    sums,
    mass,
    new,
    signals,
):
    """Update clusters that are one piece; add up the other pieces, each at its place."""
    n_features = len(origin)
    own, shifts, parts = np.empty(n_features), np.empty(UPDATED), np.empty(UPDATED)
    for piece in range(start, stop):
        first, last, place = firsts[piece], firsts[piece + 1], places[piece]
        if place >= 0:
            at = place * n_features
            mass[place] = add_piece(
                numbers, columns, starts, weights, origin, order, first, last, sums, at
            )
            continue
        added = add_piece(numbers, columns, starts, weights, origin, order, first, last, own, 0)
        cluster = owners[piece]
        at = cluster * n_features
        shift, explained = update_cluster(own, 0, added, old, at, n_features, new, shifts, parts)
        signals[cluster, 0], signals[cluster, 2] = shift, explained
        signals[cluster, 1] = added <= 0.0


@compiled(NUMBERS_64, COUNT, NUMBERS_64, COUNT, NUMBERS, RESULTS, TOTALS)
def _update_one(sums, place, mass, cluster, old, new, signals):
    """Update a cluster that has been added up at a place."""
    n_features = len(old) // len(signals)
    shifts, parts = np.empty(UPDATED), np.empty(UPDATED)
    first, at = cluster * n_features, place * n_features
    shift, explained = update_cluster(
        sums, at, mass[place], old, first, n_features, new, shifts, parts
    )
    signals[cluster, 0], signals[cluster, 2] = shift, explained
    signals[cluster, 1] = mass[place] <= 0.0


class SparseSteps(StepsInOneCall):
    """Take several steps in a call for few rows; otherwise steps that keep no totals."""

    def __init__(self, rows: SparseRows, reduce: Reduce, tol: float, *, xp: Namespace) -> None:
        super().__init__(reduce, tol, xp=xp)
        self.rows = rows
        self._is_small: bool | None = None

    def take(self, centroids: Array, *, n_left: int) -> Step:
        """Return the step from these centroids."""
        if self._is_small is None:  # for all steps of a run
            self._is_small = is_step_of_a_task(self.rows, len(centroids))
        if self._is_small:
            return super().take(centroids, n_left=n_left)
        update: Update = self.reduce(labelled_and_updated, centroids)
        # Totals exist only if a cluster is empty.
        is_full = update.signals[1] == 0.0
        totals = None if is_full else self.reduce(lloyd_step, centroids)
        return Step(centroids, totals, update, update.signals)


@steps_of.override("numpy", rows=SparseRows, rank=1)
def sparse_steps(rows: SparseRows, reduce: Reduce, tol: float, *, xp: Namespace) -> Any:
    return SparseSteps(rows, reduce, tol, xp=xp)


def labelled_and_updated(rows: SparseRows, centroids: Floats, *, xp: Namespace) -> Update:
    """Return the centroids after a step: to the bit those of ``lloyd_step`` and an update."""
    is_plain = rows.csr.data.dtype in PANEL and centroids.dtype == rows.csr.data.dtype
    shape = centroids.shape
    if not is_plain or has_own_totals(*shape) or not is_updated_in_lanes(*shape):
        return update_centroids(lloyd_step(rows, centroids, xp=xp), centroids, xp=xp)
    labels = scored_by_panels(rows, centroids)
    pieces = Pieces.of(rows, labels, len(centroids))
    split = _Split.of(pieces, rows.n_features)
    new, signals = np.empty_like(centroids, order="C"), np.empty((len(centroids), 3))
    old, flat = np.ascontiguousarray(centroids).reshape(-1), new.reshape(-1)
    shared = (*arrays_of(rows), weights_of(rows), origin_of(rows), *pieces, split.places, old)

    def step(start: int, stop: int) -> None:
        given = (start, stop, split.sums.reshape(-1), split.mass, flat, signals)
        _step_pieces[old.dtype](*shared, *given)

    in_ranges(step, len(pieces.owners), pieces.n_tasks(rows))
    for cluster, place in split.added_up(pieces):
        given = (split.sums.reshape(-1), place, split.mass, cluster, old, flat, signals)
        _update_one[old.dtype](*given)
    return Update(new, signals.sum(axis=0))


class _Split(NamedTuple):
    """Where the pieces of clusters that have several are added up.

    Parameters
    ----------
    places : array of int64, shape (n_pieces,)
        -1 for a piece that is a whole cluster.
    sums, mass : arrays of shapes (n_places, n_features) and (n_places,)
    """

    places: NDArray[np.int64]
    sums: Floats
    mass: Floats

    @classmethod
    def of(cls, pieces: Pieces, n_features: int) -> "_Split":
        """Return room for such pieces."""
        is_split = np.bincount(pieces.owners)[pieces.owners] > 1
        places = np.where(is_split, np.cumsum(is_split) - 1, -1)
        n_places = int(is_split.sum())
        return cls(places, np.empty((n_places, n_features)), np.empty(n_places))

    def added_up(self, pieces: Pieces) -> list[tuple[int, int]]:
        """Add up the pieces of each cluster in their order; return clusters and their places."""
        first: dict[int, int] = {}
        for cluster, place in zip(pieces.owners.tolist(), self.places.tolist(), strict=True):
            if place >= 0 and (at := first.setdefault(cluster, place)) != place:
                self.sums[at] += self.sums[place]
                self.mass[at] += self.mass[place]
        return list(first.items())
