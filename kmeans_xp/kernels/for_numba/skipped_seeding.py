"""k-means++ that skips rows for which no candidate can be nearer.

For few features, rows are grouped by cluster. Potentials are then added in another order than by
``candidate_potentials``. But ``best_candidate`` treats potentials that differ only by rounding as
equal, so it chooses the same rows. For many features, rows are coded as bytes, and results are
bit-identical to those of plain passes.
"""

import math
from typing import Any

import numpy as np

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_numba.choosing import Choosing
from kmeans_xp.kernels.for_numba.emitted.code_vectors import HAS_PRODUCTS
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL
from kmeans_xp.kernels.for_numba.rows_by_cluster import RowsByCluster
from kmeans_xp.kernels.for_numba.tiling import Dense, Floats, is_dense
from kmeans_xp.kernels.portable.seeding import chosen_at_once
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.sphere_rows import SphereRows

if HAS_PRODUCTS:  # its code uses instructions of these processors
    from kmeans_xp.kernels.for_numba.coded_seeding import CodedRows

__all__ = ["may_hold_rows_by_cluster"]

#: up to this number of features, rows are held as panels: the copy is then about as large as the
#: other data of a row, and ``closer_of`` measures by panels too
_MOST_FEATURES = 15
#: minimum number of centroids, and of rows for each, for which rows by cluster may be faster
_FEWEST_CHOSEN, _FEWEST_ROWS = 48, 64
#: features and rows from which products of bytes cost less than they save, and features from
#: which sums of them might not fit in 32 bits
_FEWEST_CODED_FEATURES, _FEWEST_CODED_ROWS, _MOST_CODED_FEATURES = 64, 8192, 2**15
#: centroids at the first look, how many times as many at the next, and rows looked at
_FIRST_LOOK, _NEXT_LOOK, _LOOK_ROWS = 12, 1.4, 512
#: part of the rows that may be in reach of a candidate for holding them to be begun: whole panels
#: are measured, which have twice as many
_MOST_IN_REACH = 0.15
#: part of the panels from which on plain passes are faster, in the mean of some steps
_MOST_MEASURED, _MEASURED_STEPS = 0.5, 8


@chosen_at_once.override("numpy", rows=DenseRows | SphereRows, rank=1)
def chosen_by_clusters(
    rows: Dense, closest: Floats, last: Floats | None, trials: Floats, *, xp: Namespace
) -> Any:
    """Measure only the rows of clusters from which a candidate can take rows."""
    n_chosen, dtype = len(trials), closest.dtype
    if last is None or dtype not in PANEL or rows.points.dtype != dtype:
        return NotImplemented
    if np.isfinite(closest).any():
        return NotImplemented
    if may_hold_rows_by_cluster(rows, n_chosen):
        return _Skipping(rows, closest, last, _ByCluster(rows), xp=xp).all_of(trials)
    if _may_code_rows(rows, n_chosen):
        return _Skipping(rows, closest, last, _ByCodes(rows), xp=xp).all_of(trials)
    return NotImplemented


def may_hold_rows_by_cluster(rows: Dense, n_chosen: int) -> bool:
    """Return whether rows of this shape may be held by cluster, to choose ``n_chosen`` of them."""
    if rows.n_features > _MOST_FEATURES or rows.n_features == 0 or n_chosen < _FEWEST_CHOSEN:
        return False
    return rows.n_points >= _FEWEST_ROWS * n_chosen


def _may_code_rows(rows: Dense, n_chosen: int) -> bool:
    """Return whether k-means++ may code rows of this shape when it chooses ``n_chosen`` of them."""
    return (
        HAS_PRODUCTS
        and _FEWEST_CODED_FEATURES <= rows.n_features <= _MOST_CODED_FEATURES
        and n_chosen >= _FEWEST_CHOSEN
        and rows.n_points >= _FEWEST_CODED_ROWS
        and is_dense(rows.points)
    )


class _Skipping(Choosing):
    """Chooses first by plain passes, later by fewer rows if that is faster."""

    def __init__(
        self,
        rows: Dense,
        closest: Floats,
        last: Floats,
        way: "_ByCluster | _ByCodes",
        *,
        xp: Namespace,
    ) -> None:
        super().__init__(rows, closest, last, xp=xp)
        self.held: RowsByCluster | CodedRows | None = None
        #: fraction of rows that were measured in each step with fewer rows
        self.parts: list[float] = []
        self._way, self._n_parts_before = way, 0
        self._next_look: float = _FIRST_LOOK

    def fold_last(self) -> None:
        if self.held is not None:
            self.held.take_in(self.last)
        else:
            super().fold_last()

    def potentials(self, candidates: Floats, n_left: int) -> Array:
        if self.held is None and len(self.points) >= self._next_look:
            self._next_look = _NEXT_LOOK * len(self.points)
            centroids = np.concatenate(self.points)
            self.held = self._way.begun(self.closest, candidates, centroids, n_left)
        if self.held is None:
            return super().potentials(candidates, n_left)
        potentials = self.held.potentials(candidates)
        self.parts.append(self.held.measured_part)
        parts = self.parts[self._n_parts_before :][-_MEASURED_STEPS:]
        if sum(parts) > _MOST_MEASURED * _MEASURED_STEPS:
            self.held, self._n_parts_before = None, len(self.parts)
            if not self._way.is_tried_again:
                self._next_look = math.inf
        return potentials


class _ByCluster:
    """Groups the rows by cluster if few of them are in reach of a candidate."""

    is_tried_again = False

    def __init__(self, rows: Dense) -> None:
        self.rows, self._looked_at = rows, _LookedAt(rows)

    def begun(
        self, closest: Floats, candidates: Floats, centroids: Floats, n_left: int
    ) -> RowsByCluster | None:
        if self._looked_at.part_in_reach(candidates, centroids) > _MOST_IN_REACH:
            return None
        return RowsByCluster(self.rows, closest, centroids, len(centroids) + n_left)


class _ByCodes:
    """Codes the rows once; codes do not help if candidates take many rows."""

    is_tried_again = True

    def __init__(self, rows: Dense) -> None:
        self.rows = rows
        self._coded: CodedRows | None = None

    def begun(
        self, closest: Floats, _candidates: Floats, centroids: Floats, _n_left: int
    ) -> "CodedRows | None":
        self._coded = self._coded or CodedRows.of(self.rows, centroids)
        if self._coded is not None:
            self._coded.closest = closest
        return self._coded


class _LookedAt:
    """A sample of rows, to estimate how many are in reach of a candidate."""

    def __init__(self, rows: Dense) -> None:
        self.points = rows.take(np.arange(0, rows.n_points, -(-rows.n_points // _LOOK_ROWS))).points

    def part_in_reach(self, candidates: Floats, centroids: Floats) -> float:
        """Return the mean fraction of rows to which a candidate may be nearer."""
        with np.errstate(all="ignore"):  # some squares may be infinite
            apart = _sq_distances(self.points, centroids)
            labels = apart.argmin(axis=1)
            in_reach = _sq_distances(candidates, centroids)[:, labels] < 4.0 * apart.min(axis=1)
        return float(in_reach.mean())


def _sq_distances(left: Floats, right: Floats) -> Floats:
    distances: Floats = np.square(left[:, None, :] - right[None, :, :]).sum(axis=2)
    return distances
