"""Steps on sparse rows with large centroids: each is updated as soon as its cluster is added up.

The sums of one cluster fit a processor's own cache; those of all clusters do not. To write and
read them takes about as long as to add up the rows.
"""

from typing import Any

import numpy as np

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


@compiled(STARTS, STARTS, SUMS, SUMS, NUMBERS, RESULTS, TOTALS, SUMS)
def _finish_clusters(owners, places, sums, mass, old, new, signals, total):
    """Update clusters of several pieces, added in their order; add up the signals of all."""
    n_features = len(old) // len(signals)
    shifts, parts, first = np.empty(UPDATED), np.empty(UPDATED), 0
    for piece in range(len(owners)):
        place, cluster = places[piece], owners[piece]
        if place < 0:
            continue
        if piece == 0 or owners[piece - 1] != cluster:
            first = place
        else:
            mass[first] += mass[place]
            for feature in range(n_features):
                sums[first * n_features + feature] += sums[place * n_features + feature]
        if piece + 1 == len(owners) or owners[piece + 1] != cluster:
            at, added = cluster * n_features, mass[first]
            shift, explained = update_cluster(
                sums, first * n_features, added, old, at, n_features, new, shifts, parts
            )
            signals[cluster, 0], signals[cluster, 2] = shift, explained
            signals[cluster, 1] = added <= 0.0
    total[:] = 0.0
    for cluster in range(len(signals)):
        for signal in range(3):
            total[signal] += signals[cluster, signal]


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
    pieces = Pieces.of(rows, scored_by_panels(rows, centroids), len(centroids))
    n_places = int(pieces.places.max()) + 1
    added = (np.empty(n_places * rows.n_features), np.empty(n_places))
    new, signals, total = np.empty(shape, centroids.dtype), np.empty((shape[0], 3)), np.empty(3)
    old, flat = np.ascontiguousarray(centroids).reshape(-1), new.reshape(-1)
    shared = (*arrays_of(rows), weights_of(rows), origin_of(rows), *pieces, old)

    def step(start: int, stop: int) -> None:
        _step_pieces[old.dtype](*shared, start, stop, *added, flat, signals)

    in_ranges(step, len(pieces.owners), pieces.n_tasks(rows))
    _finish_clusters[old.dtype](pieces.owners, pieces.places, *added, old, flat, signals, total)
    return Update(new, total)
