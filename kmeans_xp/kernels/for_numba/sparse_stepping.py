"""Steps on sparse rows with large centroids: each is updated as soon as its cluster is added up.

The sums of one cluster fit a processor's own cache; those of all clusters do not. To write and
read them takes about as long as to add up the rows.

A step that takes about a millisecond is one call in one thread: to wake another one, and to bring
it the centroids, takes longer than its share of the work.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_numba.assignment import has_own_totals
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMNS,
    COUNT,
    INDICES,
    NUMBER,
    NUMBERS,
    NUMBERS_32,
    NUMBERS_64,
    RESULTS,
    ROWS,
    STARTS,
    SUMS,
    TOTALS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.mean_vectors import UPDATED
from kmeans_xp.kernels.for_numba.emitted.sparse_vectors import UNIT
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL
from kmeans_xp.kernels.for_numba.sparse_assignment import (
    ADDED,
    MOST_PIECES,
    WRITTEN,
    Pieces,
    add_piece,
    cut_clusters,
    is_step_of_a_task,
    scored_by_panels,
    sort_rows,
)
from kmeans_xp.kernels.for_numba.sparse_certified import (
    SCORED,
    NarrowPanel,
    label_certain,
    may_be_certain,
    n_wide_groups_of,
    note_doubts,
    reaches_of,
)
from kmeans_xp.kernels.for_numba.sparse_panels import (
    arrays_of,
    in_ranges,
    origin_of,
    override,
    row_cost,
    weights_of,
)
from kmeans_xp.kernels.for_numba.tiling import Floats
from kmeans_xp.kernels.for_numba.updating import is_updated_in_lanes, update_cluster
from kmeans_xp.kernels.portable.runs import are_steps_short
from kmeans_xp.kernels.portable.stepping import Reduce, Step, StepsInOneCall, steps_of
from kmeans_xp.kernels.portable.steps import (
    Update,
    lloyd_step,
    update_centroids,
)
from kmeans_xp.kernels.sparse_rows import SparseRows

__all__: list[str] = []

#: nanoseconds of a step that one thread takes alone
_SHORT = 1_000_000
#: of steps of runs side by side: Python, one thread at a time, is most of less; in longer ones,
#: the centroids of two runs drive each other out of the cache
_FEWEST_BESIDE, _MOST_BESIDE = 100_000, 4_000_000


@compiled(
    *(NUMBERS, COLUMNS, STARTS, COLUMN, NUMBERS, STARTS, STARTS, STARTS, INDICES),
    *(NUMBERS, COUNT, COUNT, SUMS, SUMS, RESULTS, TOTALS),
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
    """Update clusters all of whose pieces are here; add up other pieces, each at its place.

    Pieces of an updated cluster have no place afterwards.
    """
    n_features, n_pieces = len(origin), len(owners)
    own, more = np.empty(n_features), np.empty(n_features)
    shifts, parts = np.empty(UPDATED), np.empty(UPDATED)
    piece = start
    while piece < stop:
        cluster, after, added = owners[piece], piece + 1, 0.0
        while after < stop and owners[after] == cluster:
            after += 1
        is_begun = piece > 0 and owners[piece - 1] == cluster
        if is_begun or (after < n_pieces and owners[after] == cluster):
            for each in range(piece, after):
                place = places[each]
                mass[place] = add_piece(
                    *(numbers, columns, starts, weights, origin, order),
                    *(firsts[each], firsts[each + 1], sums, place * n_features),
                )
        else:
            for each in range(piece, after):
                places[each] = -1
                # While they are in the cache: a place of its own would be written to memory.
                here = own if each == piece else more
                added += add_piece(
                    *(numbers, columns, starts, weights, origin, order),
                    *(firsts[each], firsts[each + 1], here, 0),
                )
                if each > piece:
                    for feature in range(n_features):
                        own[feature] += more[feature]
            at = cluster * n_features
            shift, explained = update_cluster(
                own, 0, added, old, at, n_features, new, shifts, parts
            )
            signals[cluster, 0], signals[cluster, 2] = shift, explained
            signals[cluster, 1] = added <= 0.0
        piece = after


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
            to, each = np.uint64(first * n_features), np.uint64(place * n_features)
            for feature in range(np.uint64(n_features)):
                sums[to + feature] += sums[each + feature]
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


_label_certain, _sort_rows, _cut_clusters, _add_and_update, _add_up_signals = (
    function.shared
    for function in (label_certain, sort_rows, cut_clusters, _step_pieces, _finish_clusters)
)


@compiled(
    *(NUMBERS, COLUMNS, STARTS, COLUMN, NUMBERS, NUMBERS_32, ROWS, COUNT),
    *(NUMBERS_32, NUMBERS_64, COUNT, COUNT, NUMBER, NUMBER, NUMBERS, RESULTS, SUMS),
    returns=types.boolean,
)
def _take_step(
    numbers,
    columns,
    starts,
    weights,
    origin,
    reaches,
    centroids,
    n_wide_groups,
    panel,
    biases,
    n_units,
    n_groups,
    slope,
    least,
    old,
    new,
    total,
):
    """Label all rows and update all clusters; return False if too many labels are doubtful."""
    n_points, n_clusters = len(starts) - 1, len(centroids)
    labels, order = np.empty(n_points, np.int32), np.empty(n_points, np.int64)
    if not _label_certain(
        *(numbers, columns, starts, 0, n_points, reaches, centroids, n_wide_groups),
        *(panel, biases, n_units, n_groups, slope, least, labels),
    ):
        return False
    bounds, n_most = np.empty(n_clusters + 1, np.int64), n_clusters + MOST_PIECES + 1
    owners, firsts, places = (
        np.empty(n_most, np.int64),
        np.empty(n_most, np.int64),
        np.empty(n_most, np.int64),
    )
    _sort_rows(labels, n_clusters, order, bounds)
    most = (starts[n_points] - starts[0]) // MOST_PIECES + 1
    n_pieces = _cut_clusters(starts, order, bounds, most, owners, firsts, places)
    owners, places = owners[:n_pieces], places[:n_pieces]
    signals, nothing = np.empty((n_clusters, 3)), np.empty(0)
    _add_and_update(
        *(numbers, columns, starts, weights, origin, order, firsts[: n_pieces + 1], owners),
        *(places, old, 0, n_pieces, nothing, nothing, new, signals),
    )
    _add_up_signals(owners, places, nothing, nothing, old, new, signals, total)
    return True


class SparseSteps(StepsInOneCall):
    """Take several steps in a call for few rows; otherwise steps that keep no totals."""

    def __init__(self, rows: SparseRows, reduce: Reduce, tol: float, *, xp: Namespace) -> None:
        super().__init__(reduce, tol, update_centroids, xp=xp)
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
def sparse_steps(
    rows: SparseRows, reduce: Reduce, tol: float, update: Callable[..., Update], *, xp: Namespace
) -> Any:
    return SparseSteps(rows, reduce, tol, xp=xp) if update is update_centroids else NotImplemented


def labelled_and_updated(rows: SparseRows, centroids: Floats, *, xp: Namespace) -> Update:
    """Return the centroids after a step: to the bit those of ``lloyd_step`` and an update."""
    is_plain = rows.csr.data.dtype in PANEL and centroids.dtype == rows.csr.data.dtype
    shape = centroids.shape
    if not is_plain or has_own_totals(*shape) or not is_updated_in_lanes(*shape):
        return update_centroids(lloyd_step(rows, centroids, xp=xp), centroids, xp=xp)
    new, total = np.empty(shape, centroids.dtype), np.empty(3)
    old, flat = np.ascontiguousarray(centroids).reshape(-1), new.reshape(-1)
    is_short = _step_cost(rows, shape[0]) <= _SHORT
    if is_short and _is_taken_at_once(rows, centroids, old, flat, total):
        return Update(new, total)
    pieces = Pieces.of(rows, scored_by_panels(rows, centroids), len(centroids))
    n_places = int(pieces.places.max()) + 1
    added = (np.empty(n_places * rows.n_features), np.empty(n_places))
    signals = np.empty((shape[0], 3))
    shared = (*arrays_of(rows), weights_of(rows), origin_of(rows), *pieces, old)

    def step(start: int, stop: int) -> None:
        _step_pieces[old.dtype](*shared, start, stop, *added, flat, signals)

    in_ranges(step, len(pieces.owners), pieces.n_tasks(rows), fewest=2)
    _finish_clusters[old.dtype](pieces.owners, pieces.places, *added, old, flat, signals, total)
    return Update(new, total)


@override(are_steps_short)
def if_threads_wait_in_a_step(rows: SparseRows, n_clusters: int) -> bool:
    """Take runs side by side from a tenth of a millisecond a step to a few."""
    return _FEWEST_BESIDE <= _step_cost(rows, n_clusters) <= _MOST_BESIDE


def _step_cost(rows: SparseRows, n_clusters: int) -> float:
    """Return roughly how many nanoseconds of one thread a step takes."""
    cost = row_cost(rows, SCORED * -(-n_clusters // UNIT) + ADDED)
    return rows.n_points * cost + n_clusters * rows.n_features * WRITTEN


def _is_taken_at_once(
    rows: SparseRows, centroids: Floats, old: Floats, new: Floats, total: Floats
) -> bool:
    """Take a step in one call; return False if it could not prove the labels."""
    if not may_be_certain(rows, len(centroids)):
        return False
    given = (*arrays_of(rows), weights_of(rows), origin_of(rows), reaches_of(rows))
    panel = NarrowPanel.of(centroids, rows)
    if _take_step[old.dtype](
        *given, centroids, n_wide_groups_of(centroids), *panel, old, new, total
    ):
        return True
    note_doubts(rows)
    return False
