"""Running means moved by a batch of sparse rows, in one pass over the centroids.

A batch has numbers of few features. The others of a centroid all move by the same share of their
way to zero, and are read and written once.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.devices import Csr, Namespace
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMNS,
    COUNT,
    LABEL_RESULTS,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    ROWS_64,
    SUMS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL
from kmeans_xp.kernels.for_numba.sparse_assignment import added_number_by_number, labelled
from kmeans_xp.kernels.for_numba.sparse_measuring import inertia_of
from kmeans_xp.kernels.for_numba.sparse_panels import Panel, in_ranges, origin_of
from kmeans_xp.kernels.for_numba.tiling import Floats
from kmeans_xp.kernels.portable.batches import BatchMeans, batch_means
from kmeans_xp.kernels.sparse_rows import SparseRows

__all__: list[str] = []

#: number of features of a centroid that are computed side by side, each with its own sums
_BESIDE = 64
#: numbers for each feature, with which rows have numbers of most
_FULL = 4
#: minimum of numbers of centroids for a thread to pay
_MANY_NUMBERS = 2**17


@compiled(NUMBERS, NUMBERS, COUNT, COUNT, SUMS, SUMS)
def _describe(centroids, origin, start, stop, biases, from_zero):
    """Write the start of the scores of some centroids, and their squared lengths."""
    n_features = len(origin)
    scored, whole = np.empty(_BESIDE), np.empty(_BESIDE)
    for cluster in range(start, stop):
        at = cluster * n_features
        scored[:] = 0.0
        whole[:] = 0.0
        for first in range(0, n_features, _BESIDE):
            for lane in range(min(_BESIDE, n_features - first)):
                number = np.float64(centroids[at + first + lane])
                about = np.float64(origin[first + lane])
                scored[lane] += number * (0.5 * number + about)
                whole[lane] += (number + about) * (number + about)
        biases[cluster] = -scored.sum()
        from_zero[cluster] = whole.sum()


@compiled(COLUMNS, LABEL_RESULTS, LABEL_RESULTS, LABEL_RESULTS, returns=types.int64)
def _number_columns(columns, numbered, found, renamed):
    """Number the columns that occur, and return how many; ``numbered`` is -1 everywhere before."""
    n_found = 0
    for place in range(len(columns)):
        column = columns[place]
        if numbered[column] < 0:
            numbered[column] = n_found
            found[n_found] = column
            n_found += 1
        renamed[place] = numbered[column]
    return n_found


@compiled(NUMBERS, NUMBERS, NUMBERS_64, NUMBERS_64, COUNT, COUNT, RESULTS, SUMS)
def _move_all(centroids, origin, shares, from_zero, start, stop, new, sq_shifts):
    """Move some centroids by their shares of the way to zero."""
    n_features = len(origin)
    for cluster in range(start, stop):
        at, share = cluster * n_features, shares[cluster]
        for feature in range(n_features):
            number, about = np.float64(centroids[at + feature]), np.float64(origin[feature])
            new[at + feature] = number - share * (number + about)
        sq_shifts[cluster] = share * share * from_zero[cluster]


@compiled(NUMBERS, NUMBERS, NUMBERS_64, ROWS_64, NUMBERS_64, COLUMNS, COUNT, COUNT, RESULTS, SUMS)
def _move_found(centroids, origin, shares, sums, mass, found, start, stop, new, sq_shifts):
    """Move those features of some centroids for which the batch has numbers."""
    for cluster in range(start, stop):
        at, share = cluster * len(origin), shares[cluster]
        if share == 0.0:
            continue
        before = after = 0.0
        for number in range(len(found)):
            feature = found[number]
            old = np.float64(centroids[at + feature])
            to_zero = share * (old + np.float64(origin[feature]))
            moved = sums[cluster, number] / mass[cluster] - to_zero
            new[at + feature] = old + moved
            before += to_zero * to_zero
            after += moved * moved
        sq_shifts[cluster] = max(sq_shifts[cluster] - before, 0.0) + after


class _Found(NamedTuple):
    """The features for which rows have numbers, and the rows with these features only.

    Parameters
    ----------
    features : array of int32
    rows : SparseRows
        Measured from zero, their columns the places in ``features``.
    """

    features: NDArray[np.int32]
    rows: SparseRows

    @classmethod
    def of(cls, rows: SparseRows) -> "_Found":
        """Return the features that occur, or all features where most of them do."""
        numbers, columns, starts, n_features = rows.csr
        every = cls(np.arange(n_features, dtype=np.int32), SparseRows(rows.csr, rows.weights))
        if len(numbers) >= _FULL * n_features:
            return every
        numbered = np.full(n_features, -1, np.int32)
        found, renamed = (np.empty(max(1, len(numbers)), np.int32) for _ in range(2))
        n_found = _number_columns[numbers.dtype](columns, numbered, found, renamed)
        if n_found == n_features:  # numbered as they were met, not as the centroids have them
            return every
        # A feature that does not occur does no harm, and one feature is needed.
        features = found[:n_found] if n_found else np.zeros(1, np.int32)
        csr = Csr(numbers, renamed[: len(numbers)], starts, len(features))
        return cls(features, SparseRows(csr, rows.weights))


@batch_means.override("numpy", rows=SparseRows, rank=1)
def moved_to_zero_and_back(
    rows: SparseRows, centroids: Floats, mass: Floats, *, xp: Namespace
) -> Any:
    """Move all of a centroid to zero, and the features that the batch has numbers of elsewhere."""
    if not rows.n_points or centroids.dtype not in PANEL or centroids.dtype != rows.dtype:
        return NotImplemented
    old, origin = np.ascontiguousarray(centroids).reshape(-1), origin_of(rows)
    found, described = _Found.of(rows), _described(old, origin, len(centroids))
    seen = centroids
    if len(found.features) < rows.n_features:
        seen = np.take(centroids, found.features, axis=1)
    labels = labelled(found.rows, _panel(seen, described))
    inertia = inertia_of(rows, labels, old, described.from_zero)
    sums, added = added_number_by_number(found.rows, labels, len(centroids))
    new_mass = mass.astype(np.float64, copy=False) + added
    is_met = added > 0.0
    shares = np.where(is_met, added, 0.0) / np.where(is_met, new_mass, 1.0)
    moving = _Moving(old, origin, shares, described.from_zero)
    new, sq_shift = moving.to(found.features, sums, new_mass)
    signals = np.concatenate([[inertia, sq_shift], new_mass])
    return BatchMeans(new.reshape(centroids.shape), new_mass, signals)


class _Described(NamedTuple):
    biases: NDArray[np.float64]
    from_zero: NDArray[np.float64]


def _described(centroids: Floats, origin: Floats, n_clusters: int) -> _Described:
    described = _Described(np.empty(n_clusters), np.empty(n_clusters))

    def describe(start: int, stop: int) -> None:
        _describe[centroids.dtype](centroids, origin, start, stop, *described)

    in_ranges(describe, n_clusters, 1 + len(centroids) // _MANY_NUMBERS)
    return described


def _panel(centroids: Floats, described: _Described) -> Panel:
    """Return some features of centroids as a panel, with scores as of all features."""
    n_clusters, n_features = centroids.shape
    panel = Panel.of(centroids, np.zeros(n_features, centroids.dtype))
    panel.biases[:n_clusters] = described.biases
    return panel


class _Moving(NamedTuple):
    """Centroids that move by their shares of the way to zero."""

    old: Floats
    origin: Floats
    shares: Floats
    from_zero: Floats

    def to(self, features: NDArray[np.int32], sums: Floats, mass: Floats) -> tuple[Floats, float]:
        """Return the new ones, where they are pulled by sums, and their squared shifts' sum."""
        n_clusters, dtype = len(mass), self.old.dtype
        new, sq_shifts = np.empty_like(self.old), np.empty(n_clusters)

        def move(start: int, stop: int) -> None:
            _move_all[dtype](*self, start, stop, new, sq_shifts)
            given = (*self[:3], sums, mass, features, start, stop)
            _move_found[dtype](*given, new, sq_shifts)

        in_ranges(move, n_clusters, 1 + len(self.old) // _MANY_NUMBERS)
        return new, float(sq_shifts.sum())
