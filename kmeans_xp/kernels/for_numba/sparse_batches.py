"""Running means moved by a batch of sparse rows, in two passes over the centroids.

A batch has numbers of few features. The others of a centroid all move by the same share of their
way to zero, and are read twice and written once. The rows of a cluster are added up feature by
feature of theirs, one cluster after another.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.devices import Csr, Namespace, own_parts
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COLUMNS,
    COUNT,
    FLAGS,
    INDICES,
    LABEL_RESULTS,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    ROWS,
    STARTS,
    SUMS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.sparse_vectors import UNIT
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL
from kmeans_xp.kernels.for_numba.sparse_assignment import labelled, sort_rows
from kmeans_xp.kernels.for_numba.sparse_measuring import inertia_of
from kmeans_xp.kernels.for_numba.sparse_panels import (
    Panel,
    arrays_of,
    first_unit,
    in_ranges,
    n_packing_tasks,
    origin_of,
)
from kmeans_xp.kernels.for_numba.tiling import Floats, Labels
from kmeans_xp.kernels.portable.batches import BatchMeans, batch_means
from kmeans_xp.kernels.sparse_rows import SparseRows

__all__: list[str] = []

#: number of features of a centroid that are computed side by side, each with its own sums
_BESIDE = 64
#: numbers for each feature, with which rows have numbers of most
_FULL = 4
#: minimum of numbers of centroids for a thread to pay
_MANY_NUMBERS = 2**17
#: maximum of stored numbers in a batch. If the second times the numbers of the centroids is more,
#: that is the maximum. The clusters of more are too uneven to be added up by one task each.
_MOST_STORED, _STORED_A_NUMBER = 2**20, 4
#: features that are turned at a time
_TURNED = 16


@compiled(NUMBERS, NUMBERS, COUNT, COUNT, SUMS, SUMS)
def _describe(centroids, origin, start, stop, biases, from_zero):
    """Write the start of the scores of some centroids, and their squared lengths."""
    # Places are unsigned: numba looks at each signed one whether it counts from the end.
    n_features, beside = np.uint64(len(origin)), np.uint64(_BESIDE)
    scored, whole = new_numbers(_BESIDE, np.float64), new_numbers(_BESIDE, np.float64)
    for cluster in range(np.uint64(start), np.uint64(stop)):
        at, score, length = cluster * n_features, 0.0, 0.0
        for lane in range(beside):
            scored[lane] = whole[lane] = 0.0
        for first in range(np.uint64(0), n_features, beside):
            for lane in range(min(beside, n_features - first)):
                number = np.float64(centroids[at + first + lane])
                about = np.float64(origin[first + lane])
                scored[lane] += number * (0.5 * number + about)
                whole[lane] += (number + about) * (number + about)
        for lane in range(beside):
            score += scored[lane]
            length += whole[lane]
        biases[cluster] = -score
        from_zero[cluster] = length


@compiled(COLUMNS, LABEL_RESULTS, LABEL_RESULTS, LABEL_RESULTS, returns=types.int64)
def _number_columns(columns, numbered, found, renamed):
    """Number the columns that occur, and return how many; ``numbered`` is 0 everywhere before."""
    for place in range(np.uint64(len(columns))):
        numbered[np.uint64(columns[place])] = 1
    # In their order: centroids are then read and written from left to right.
    n_found = np.uint64(0)
    for column in range(np.uint64(len(numbered))):
        found[n_found] = column
        occurs = numbered[column]
        numbered[column] = n_found
        n_found += np.uint64(occurs)
    for place in range(np.uint64(len(columns))):
        renamed[place] = numbered[np.uint64(columns[place])]
    return n_found


@compiled(ROWS, LABEL_RESULTS, COUNT, COUNT, COUNT, COUNT, RESULTS)
def _pack_found(centroids, found, n_units, n_groups, start, stop, numbers):
    """Lay out those features of the centroids that were found, from ``start`` up to ``stop``."""
    n_clusters = len(centroids)
    for group in range(n_groups):
        unit, after = first_unit(group, n_groups, n_units), first_unit(group + 1, n_groups, n_units)
        first, width = np.uint64(unit * UNIT), np.uint64((after - unit) * UNIT)
        n_members = np.uint64(min(after * UNIT, n_clusters) - unit * UNIT)
        at = first * np.uint64(len(found))
        for block in range(np.uint64(start), np.uint64(stop), np.uint64(_TURNED)):
            end = min(block + np.uint64(_TURNED), np.uint64(stop))
            for member in range(width):
                place = at + block * width + member
                for feature in range(block, end):
                    if member < n_members:
                        numbers[place] = centroids[first + member, np.uint64(found[feature])]
                    else:
                        numbers[place] = 0.0
                    place += width


@compiled(
    NUMBERS,
    COLUMNS,
    STARTS,
    COLUMN,
    INDICES,
    INDICES,
    LABEL_RESULTS,
    NUMBERS,
    NUMBERS,
    NUMBERS_64,
    NUMBERS_64,
    COUNT,
    COUNT,
    SUMS,
    FLAGS,
    LABEL_RESULTS,
    RESULTS,
    SUMS,
    SUMS,
)
def _move(
    numbers,
    columns,
    starts,
    weights,
    order,
    bounds,
    found,
    centroids,
    origin,
    mass,
    from_zero,
    start,
    stop,
    sums,
    is_met,
    met,
    new,
    new_mass,
    sq_shifts,
):
    """Move some centroids by the rows of their clusters; ``columns`` are places in ``found``."""
    n_features = np.uint64(len(origin))
    for cluster in range(np.uint64(start), np.uint64(stop)):
        at, added = cluster * n_features, 0.0
        first, last = np.uint64(bounds[cluster]), np.uint64(bounds[cluster + np.uint64(1)])
        for number in range(first, last):
            added += np.float64(weights[np.uint64(order[number])])
        new_mass[cluster] = mass[cluster] + added
        share = added / new_mass[cluster] if added > 0.0 else 0.0
        sq_shift = share * share * from_zero[cluster]
        sq_shifts[cluster] = sq_shift
        if share == 0.0:
            for feature in range(n_features):
                new[at + feature] = centroids[at + feature]
            continue
        for feature in range(n_features):
            old = np.float64(centroids[at + feature])
            new[at + feature] = old - share * (old + np.float64(origin[feature]))
        for number in range(first, last):
            row = np.uint64(order[number])
            for place in range(np.uint64(starts[row]), np.uint64(starts[row + np.uint64(1)])):
                column = np.uint64(columns[place])
                sums[column] = 0.0
                is_met[column] = 0
        n_met = np.uint64(0)
        for number in range(first, last):
            row = np.uint64(order[number])
            weight = np.float64(weights[row])
            for place in range(np.uint64(starts[row]), np.uint64(starts[row + np.uint64(1)])):
                column = np.uint64(columns[place])
                sums[column] += weight * np.float64(numbers[place])
                met[n_met] = column
                n_met += np.uint64(1 - is_met[column])
                is_met[column] = 1
        before = after = 0.0
        for number in range(n_met):
            column = np.uint64(met[number])
            touched = np.uint64(found[column])
            old = np.float64(centroids[at + touched])
            to_zero = share * (old + np.float64(origin[touched]))
            moved = sums[column] / new_mass[cluster] - to_zero
            new[at + touched] = old + moved
            before += to_zero * to_zero
            after += moved * moved
        sq_shifts[cluster] = max(sq_shift - before, 0.0) + after


class _Found(NamedTuple):
    """The features for which rows have numbers, and the rows with these features only.

    Parameters
    ----------
    features : array of int32
        Ascending.
    rows : SparseRows
        Measured from zero, their columns the places in ``features``.
    """

    features: NDArray[np.int32]
    rows: SparseRows

    @classmethod
    def of(cls, csr: Csr, weights: Floats | None) -> "_Found":
        """Return the features that occur, or all features where most of them do."""
        numbers, columns, starts, n_features = csr
        if len(numbers) >= _FULL * n_features:
            features = np.arange(n_features, dtype=np.int32)
        else:
            numbered, found = np.zeros(n_features, np.int32), np.empty(n_features + 1, np.int32)
            renamed = np.empty_like(columns)
            n_found = _number_columns[numbers.dtype](columns, numbered, found, renamed)
            # A feature that does not occur does no harm, and one feature is needed.
            features = found[: max(1, n_found)]
            csr = Csr(numbers, renamed, starts, len(features))
        return cls(features, SparseRows(csr, weights))


@batch_means.override("numpy", rows=SparseRows, rank=1)
def moved_to_zero_and_back(
    rows: SparseRows, centroids: Floats, mass: Floats, *, xp: Namespace
) -> Any:
    """Move all of a centroid to zero, and the features that the batch has numbers of elsewhere."""
    if not rows.n_points or centroids.dtype not in PANEL or centroids.dtype != rows.dtype:
        return NotImplemented
    csr = own_parts(rows.csr)  # ``n_stored`` of a part is that of its whole
    if len(csr.data) > max(_MOST_STORED, _STORED_A_NUMBER * centroids.size):
        return NotImplemented
    old, origin = np.ascontiguousarray(centroids), origin_of(rows)
    found = _Found.of(csr, rows.weights)
    described = _described(old, origin)
    labels = labelled(found.rows, _panel(old, found.features, described.biases))
    flat = old.reshape(-1)
    inertia = inertia_of(rows, labels, flat, described.from_zero)
    moving = _Moving(flat, origin, np.ascontiguousarray(mass, np.float64), described.from_zero)
    new, new_mass, sq_shift = moving.by(found, labels)
    signals = np.concatenate([[inertia, sq_shift], new_mass])
    return BatchMeans(new.reshape(centroids.shape), new_mass, signals)


class _Described(NamedTuple):
    biases: NDArray[np.float64]
    from_zero: NDArray[np.float64]


def _described(centroids: Floats, origin: Floats) -> _Described:
    flat, n_clusters = centroids.reshape(-1), len(centroids)
    described = _Described(np.empty(n_clusters), np.empty(n_clusters))

    def describe(start: int, stop: int) -> None:
        _describe[flat.dtype](flat, origin, start, stop, *described)

    in_ranges(describe, n_clusters, 1 + len(flat) // _MANY_NUMBERS)
    return described


def _panel(centroids: Floats, features: NDArray[np.int32], biases: Floats) -> Panel:
    """Return some features of centroids as a panel, with scores as of all features."""
    n_clusters, n_found, dtype = len(centroids), len(features), centroids.dtype
    if n_found == centroids.shape[1]:
        panel = Panel.of(centroids, np.zeros(n_found, dtype))
        panel.biases[:n_clusters] = biases
        return panel
    panel = Panel.empty(n_clusters, n_found, dtype)
    panel.biases[:n_clusters], panel.biases[n_clusters:] = biases, -np.inf

    def pack(start: int, stop: int) -> None:
        units = (panel.n_units, panel.n_groups)
        _pack_found[dtype](centroids, features, *units, start, stop, panel.numbers)

    in_ranges(pack, n_found, n_packing_tasks(n_clusters, n_found))
    return panel


class _Moving(NamedTuple):
    """Running means, whose squared lengths are measured from zero."""

    old: Floats
    origin: Floats
    mass: Floats
    from_zero: Floats

    def by(self, found: _Found, labels: Labels) -> tuple[Floats, Floats, float]:
        """Return the new ones, their mass, and the sum of their squared shifts."""
        (features, rows), dtype, n_clusters = found, self.old.dtype, len(self.mass)
        order, bounds = np.empty(rows.n_points, np.int64), np.empty(n_clusters + 1, np.int64)
        sort_rows[dtype](labels, n_clusters, order, bounds)
        new, (new_mass, sq_shifts) = np.empty_like(self.old), np.empty((2, n_clusters))
        weights = np.ones(rows.n_points, dtype) if rows.weights is None else rows.weights
        shared = (*arrays_of(rows), weights, order, bounds, features, *self)

        def move(start: int, stop: int) -> None:
            # The next place after the last of the features met is written, too.
            sums, is_met, met = (
                np.empty(len(features) + 1, kind) for kind in (np.float64, np.uint8, np.int32)
            )
            _move[dtype](*shared, start, stop, sums, is_met, met, new, new_mass, sq_shifts)

        in_ranges(move, n_clusters, 1 + len(self.old) // _MANY_NUMBERS)
        return new, new_mass, float(sq_shifts.sum())
