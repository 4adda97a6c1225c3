"""Rows grouped by their nearest centroid, as panels, while k-means++ chooses more centroids.

A row x whose nearest centroid is c, at the squared distance ``closest``, cannot be nearer to a
candidate y with |y - c|^2 >= 4 closest: |y - x| >= |y - c| - |x - c| >= |x - c|. So whole clusters
or panels are skipped, and their known sums are added to the potential. Distances are bit-identical
to those of ``candidate_potentials`` and ``closer_of``.

References
----------
.. [1] E. Raff, "Exact acceleration of k-means++ and k-means||", IJCAI 2021.
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.compiled import (
    COLUMN,
    COUNT,
    INDICES,
    LABEL_RESULTS,
    LABELS,
    NUMBER,
    NUMBERS,
    RESULTS,
    ROWS,
    SUMS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.memory import new_numbers
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, keep_nearer, panel_rows
from kmeans_xp.kernels.for_numba.tiling import (
    Dense,
    Floats,
    factor_of,
    filler_of,
    in_parts,
    n_tasks_for,
    numbers_on_a_line,
    origin_of,
    pack_tile,
    scratch_for,
    smaller,
    tile_of,
    weights_of,
)
from kmeans_xp.kernels.threads import in_threads

__all__ = ["RowsByCluster"]

#: number of parts of a cluster by distance: a panel of near rows is skipped more often
_SHELLS = 8
#: up to this number of panels, for all candidates, one thread is as fast as several
_FEW_PANELS = 4096


class Held(NamedTuple):
    """Rows by their nearest centroid; those of a cluster are in consecutive panels.

    Parameters
    ----------
    panels : ndarray of shape (n_panels * panel * n_features,)
        Rows relative to the origin.
    nearest : ndarray of shape (n_panels * panel,)
        Squared distance of each row to its centroid; 0 where there is no row.
    numbers : ndarray of int64, shape (n_panels * panel,)
        Index of each row; -1 where there is none.
    weights : ndarray of float64, shape (n_panels * panel,), or of a panel of ones
    greatest, mass : ndarrays of float64, shape (n_panels,)
        The maximum of ``nearest`` in a panel, and the sum of weight * nearest.
    """

    panels: Floats
    nearest: Floats
    numbers: NDArray[np.int64]
    weights: NDArray[np.float64]
    greatest: NDArray[np.float64]
    mass: NDArray[np.float64]


class Clusters(NamedTuple):
    """What is known about the rows of each centroid.

    Parameters
    ----------
    centroids : ndarray of shape (n_clusters * n_features,)
        Relative to the origin.
    first, n_panels : ndarrays of int64, shape (n_clusters,)
        Which panels hold the rows.
    greatest, mass : ndarrays of float64, shape (n_clusters,)
        As in ``Held``, over these panels.
    """

    centroids: Floats
    first: NDArray[np.int64]
    n_panels: NDArray[np.int64]
    greatest: NDArray[np.float64]
    mass: NDArray[np.float64]


@inline
def _is_out_of_reach(sq_distance, greatest, margin, least):
    """Return whether no row within ``greatest`` of its centroid can be nearer to a candidate.

    ``sq_distance`` is that of the candidate to this centroid. The margin covers the rounding of
    squared distances, and ``least`` that of subnormal ones.
    """
    return sq_distance * (1.0 - margin) >= 4.0 * (greatest + least)


@inline
def _sq_distance_to(candidate, centroids, cluster, n_features):
    total, first = 0.0, cluster * n_features
    for feature in range(n_features):
        apart = np.float64(candidate[feature]) - np.float64(centroids[first + feature])
        total += apart * apart
    return total


@inline
def _shell(distance, widest):
    """Return the part of a cluster for a row, with others at similar distances."""
    part = distance / widest
    # The last part also takes rows for which this is NaN: infinite squares, or all zero.
    return np.int64(_SHELLS * part) if part < 1.0 else _SHELLS - 1


@inline
def _mass_of(values, first, at, panel, weights):
    """Return the weighted sum of the values, from ``first`` on, of a panel's rows."""
    shift = 0 if weights.shape[0] == panel else at * panel
    one = two = three = four = 0.0  # separate sums, so that additions do not wait for each other
    for lane in range(0, panel, 4):
        one += weights[shift + lane] * np.float64(values[first + lane])
        two += weights[shift + lane + 1] * np.float64(values[first + lane + 1])
        three += weights[shift + lane + 2] * np.float64(values[first + lane + 2])
        four += weights[shift + lane + 3] * np.float64(values[first + lane + 3])
    return (one + two) + (three + four)


@inline
def _describe_panel(at, panel, nearest, weights, greatest, mass):
    """Write the maximum of a panel's ``nearest``, and their weighted sum."""
    most = nearest[at * panel]
    for lane in range(panel):
        most = max(most, nearest[at * panel + lane])
    greatest[at] = np.float64(most)
    mass[at] = _mass_of(nearest, at * panel, at, panel, weights)


@inline
def _describe_cluster(cluster, first, n_panels, panel_greatest, panel_mass, greatest, mass):
    most = total = 0.0
    for at in range(first[cluster], first[cluster] + n_panels[cluster]):
        most = max(most, panel_greatest[at])
        total += panel_mass[at]
    greatest[cluster], mass[cluster] = most, total


@inline
def _measure_panel(at, panel, n_features, panels, nearest, candidate, nearer):
    """Write the minimum of ``nearest`` and the squared distance to a candidate, for a panel."""
    for lane in range(panel):
        nearer[lane] = nearest[at * panel + lane]
    keep_nearer(panels, at * panel * n_features, n_features, candidate, nearer, 0)


@inline
def _put(
    points,
    at,
    factor,
    row,
    distance,
    slot,
    origin,
    row_weights,
    panel,
    panels,
    nearest,
    index,
    weights,
):
    """Write a row to its place in a panel."""
    n_features = points.shape[1]
    target = slot // panel * panel * n_features + slot % panel
    for feature in range(n_features):
        panels[target + feature * panel] = points[at, feature] * factor - origin[feature]
    nearest[slot], index[slot] = distance, row
    if row_weights.shape[0] > 0:
        weights[slot] = np.float64(row_weights[row])


@inline
def _copy_row(place, slot, panel, n_features, panels, nearest, index, weights):
    """Copy a row from one place in the panels to another."""
    source = place // panel * panel * n_features + place % panel
    target = slot // panel * panel * n_features + slot % panel
    for feature in range(n_features):
        panels[target + feature * panel] = panels[source + feature * panel]
    nearest[slot], index[slot] = nearest[place], index[place]
    if weights.shape[0] > panel:
        weights[slot] = weights[place]


@inline
def _end_cluster(
    cluster,
    slot,
    panel,
    n_features,
    panels,
    nearest,
    index,
    weights,
    panel_greatest,
    panel_mass,
    first,
    n_panels,
    greatest,
    mass,
):
    """Fill the rest of a cluster's last panel and describe it; return the panel after it."""
    end = (slot + panel - 1) // panel
    n_panels[cluster] = end - first[cluster]
    while slot < end * panel:
        at = slot // panel * panel * n_features + slot % panel
        for feature in range(n_features):
            panels[at + feature * panel] = 0.0
        nearest[slot], index[slot] = 0.0, -1
        slot += 1
    for at in range(first[cluster], end):
        _describe_panel(at, panel, nearest, weights, panel_greatest, panel_mass)
    _describe_cluster(cluster, first, n_panels, panel_greatest, panel_mass, greatest, mass)
    return end


@compiled(
    *(ROWS, COUNT, NUMBERS, NUMBERS, COLUMN, NUMBERS, LABELS, COUNT),
    *(RESULTS, RESULTS, INDICES, SUMS, SUMS, SUMS),
    *(INDICES, INDICES, SUMS, SUMS),
    returns=types.int64,
)
def _hold(
    points,
    filler,
    factors,
    origin,
    row_weights,
    closest,
    labels,
    n_clusters,
    panels,
    nearest,
    index,
    weights,
    panel_greatest,
    panel_mass,
    first,
    n_panels,
    greatest,
    mass,
):
    """Put all rows into the panels of their clusters; return the number of panels."""
    panel, n_features = panel_rows(panels), points.shape[1]
    scratch = scratch_for(points, 1, filler)
    widest = np.zeros(n_clusters, closest.dtype)
    for row in range(points.shape[0]):
        widest[labels[row]] = max(widest[labels[row]], closest[row])
    n_rows = np.zeros(n_clusters * _SHELLS, np.int64)
    for row in range(points.shape[0]):
        n_rows[labels[row] * _SHELLS + _shell(closest[row], widest[labels[row]])] += 1
    used, next_slot = 0, n_rows
    for cluster in range(n_clusters):
        first[cluster], slot = used, used * panel
        for shell in range(cluster * _SHELLS, (cluster + 1) * _SHELLS):
            next_slot[shell], slot = slot, slot + next_slot[shell]
        used = (slot + panel - 1) // panel
    for row in range(points.shape[0]):
        shell = labels[row] * _SHELLS + _shell(closest[row], widest[labels[row]])
        next_slot[shell] += 1
        row_points, at = tile_of(points, row, 1, filler, scratch)
        _put(
            row_points,
            at,
            factor_of(factors, row),
            row,
            closest[row],
            next_slot[shell] - 1,
            origin,
            row_weights,
            panel,
            panels,
            nearest,
            index,
            weights,
        )
    for cluster in range(n_clusters):
        _end_cluster(
            cluster,
            next_slot[(cluster + 1) * _SHELLS - 1],
            panel,
            n_features,
            panels,
            nearest,
            index,
            weights,
            panel_greatest,
            panel_mass,
            first,
            n_panels,
            greatest,
            mass,
        )
    return used


@compiled(
    *(COUNT, NUMBER, NUMBER, NUMBERS, NUMBERS, SUMS),
    *(NUMBERS, INDICES, INDICES, SUMS, INDICES, RESULTS),
    returns=types.int64,
)
def _find_nearer(
    cluster,
    margin,
    least,
    panels,
    nearest,
    panel_greatest,
    centroids,
    first,
    n_panels,
    greatest,
    places,
    distances,
):
    """Write the places of the rows that are nearer to the new centroid, and how near they are."""
    n_features, panel = centroids.shape[0] // first.shape[0], panel_rows(panels)
    nearer, candidate = new_numbers(panel, nearest), new_numbers(n_features, nearest)
    for feature in range(n_features):
        candidate[feature] = centroids[cluster * n_features + feature]
    n_found = 0
    for other in range(cluster):
        apart = _sq_distance_to(candidate, centroids, other, n_features)
        if _is_out_of_reach(apart, greatest[other], margin, least):
            continue
        for at in range(first[other], first[other] + n_panels[other]):
            if _is_out_of_reach(apart, panel_greatest[at], margin, least):
                continue
            _measure_panel(at, panel, n_features, panels, nearest, candidate, nearer)
            for lane in range(panel):
                place = at * panel + lane
                if nearer[lane] < nearest[place]:
                    places[n_found], distances[n_found] = place, nearer[lane]
                    n_found += 1
    return n_found


@compiled(
    *(INDICES, NUMBERS, COUNT, RESULTS, COUNT, COUNT),
    *(RESULTS, RESULTS, INDICES, SUMS, SUMS, SUMS),
    *(INDICES, INDICES, SUMS, SUMS),
    returns=types.int64,
)
def _move(
    places,
    distances,
    n_moved,
    closest,
    cluster,
    used,
    panels,
    nearest,
    index,
    weights,
    panel_greatest,
    panel_mass,
    first,
    n_panels,
    greatest,
    mass,
):
    """Move rows to the panels of the new cluster; return the number of panels in use."""
    panel = panel_rows(panels)
    n_features = panels.shape[0] // nearest.shape[0]
    widest, next_slot = distances[0] * 0.0, np.zeros(_SHELLS, np.int64)
    for number in range(n_moved):
        widest = max(widest, distances[number])
    for number in range(n_moved):
        next_slot[_shell(distances[number], widest)] += 1
    slot = used * panel
    for shell in range(_SHELLS):
        next_slot[shell], slot = slot, slot + next_slot[shell]
    for number in range(n_moved):
        place, shell = places[number], _shell(distances[number], widest)
        closest[index[place]] = distances[number]
        _copy_row(place, next_slot[shell], panel, n_features, panels, nearest, index, weights)
        nearest[next_slot[shell]] = distances[number]
        next_slot[shell] += 1
        nearest[place], index[place] = 0.0, -1
    # Places come panel by panel, and the panels cluster by cluster.
    number, other = 0, 0
    while number < n_moved:
        at = places[number] // panel
        while number < n_moved and places[number] < (at + 1) * panel:
            number += 1
        _describe_panel(at, panel, nearest, weights, panel_greatest, panel_mass)
        while at >= first[other] + n_panels[other]:
            other += 1
        if number == n_moved or places[number] >= (first[other] + n_panels[other]) * panel:
            _describe_cluster(other, first, n_panels, panel_greatest, panel_mass, greatest, mass)
    first[cluster] = used
    return _end_cluster(
        cluster,
        slot,
        panel,
        n_features,
        panels,
        nearest,
        index,
        weights,
        panel_greatest,
        panel_mass,
        first,
        n_panels,
        greatest,
        mass,
    )


@compiled(
    COUNT,
    *(RESULTS, RESULTS, INDICES, SUMS, SUMS, SUMS),
    *(INDICES, INDICES, SUMS, SUMS),
    returns=types.int64,
)
def _close_up(
    n_clusters,
    panels,
    nearest,
    index,
    weights,
    panel_greatest,
    panel_mass,
    first,
    n_panels,
    greatest,
    mass,
):
    """Close the gaps that rows have left; return the number of panels in use."""
    panel = panel_rows(panels)
    n_features = panels.shape[0] // nearest.shape[0]
    used = 0
    for cluster in range(n_clusters):
        slot, begin = used * panel, first[cluster] * panel
        for place in range(begin, begin + n_panels[cluster] * panel):
            if index[place] >= 0:
                # Never after a row that has yet to be moved: clusters lie in their order.
                _copy_row(place, slot, panel, n_features, panels, nearest, index, weights)
                slot += 1
        first[cluster] = used
        used = _end_cluster(
            cluster,
            slot,
            panel,
            n_features,
            panels,
            nearest,
            index,
            weights,
            panel_greatest,
            panel_mass,
            first,
            n_panels,
            greatest,
            mass,
        )
    return used


@compiled(
    *(ROWS, COUNT, COUNT, COUNT, NUMBER, NUMBER, NUMBERS, NUMBERS, SUMS, SUMS, SUMS),
    *(NUMBERS, INDICES, INDICES, SUMS, SUMS, SUMS),
    returns=types.int64,
)
def _measure(
    candidates,
    start,
    stop,
    n_clusters,
    margin,
    least,
    panels,
    nearest,
    weights,
    panel_greatest,
    panel_mass,
    centroids,
    first,
    n_panels,
    greatest,
    mass,
    potentials,
):
    """Write the potentials of some candidates; return how many panels were measured in all."""
    panel, n_features = panel_rows(panels), candidates.shape[1]
    candidate, nearer = new_numbers(n_features, panels), new_numbers(panel, panels)
    n_measured = 0
    for number in range(start, stop):
        for feature in range(n_features):
            candidate[feature] = candidates[number, feature]
        total = 0.0
        for cluster in range(n_clusters):
            apart = _sq_distance_to(candidate, centroids, cluster, n_features)
            if _is_out_of_reach(apart, greatest[cluster], margin, least):
                total += mass[cluster]
                continue
            for at in range(first[cluster], first[cluster] + n_panels[cluster]):
                if _is_out_of_reach(apart, panel_greatest[at], margin, least):
                    total += panel_mass[at]
                    continue
                _measure_panel(at, panel, n_features, panels, nearest, candidate, nearer)
                total += _mass_of(nearer, 0, at, panel, weights)
                n_measured += 1
        potentials[number] = total
    return n_measured


@compiled(ROWS, COUNT, COUNT, COUNT, COUNT, NUMBERS, NUMBERS, NUMBERS, LABEL_RESULTS)
def _label(points, start, stop, tile, filler, factors, origin, centroids, labels):
    """Find the first nearest centroid of each row, with the bits of ``closer_of``."""
    n_features, scratch = points.shape[1], scratch_for(points, tile, filler)
    panels, candidate = new_numbers(tile * n_features, points), new_numbers(n_features, points)
    nearest, before = new_numbers(tile, points), new_numbers(tile, points)
    for row in range(start, stop, tile):
        n_rows = smaller(tile, stop - row)
        tile_points, at = tile_of(points, row, n_rows, filler, scratch)
        pack_tile(tile_points, at, n_rows, factors, row, origin, panels)
        for lane in range(tile):
            nearest[lane] = np.inf
        for cluster in range(centroids.shape[0] // n_features):
            for feature in range(n_features):
                candidate[feature] = centroids[cluster * n_features + feature]
            for lane in range(tile):
                before[lane] = nearest[lane]
            keep_nearer(panels, 0, n_features, candidate, nearest, 0)
            for lane in range(n_rows):
                if nearest[lane] < before[lane]:
                    labels[row + lane] = cluster


class RowsByCluster:
    """Rows grouped by cluster, updated for each new centroid.

    Parameters
    ----------
    rows : DenseRows or SphereRows
        Of float32 or float64, with few features.
    closest : ndarray of shape (n_points,)
        Squared distance of each row to its centroid; written to.
    centroids : ndarray of shape (n_before, n_features)
        The centroids so far.
    n_clusters : int
        Final number of centroids.
    """

    def __init__(
        self,
        rows: Dense,
        closest: Floats,
        centroids: Floats,
        n_clusters: int,
    ) -> None:
        self.rows, self.closest = rows, closest
        self._dtype = dtype = closest.dtype
        self._panel = panel = PANEL[dtype]
        n_features = rows.n_features
        # A new cluster may take all rows before their old places can be used again.
        n_held = 2 * -(-rows.n_points // panel) + n_clusters + 1
        is_weighted = rows.weights is not None
        self.held = Held(
            numbers_on_a_line(n_held * panel * n_features, dtype),
            numbers_on_a_line(n_held * panel, dtype),
            np.empty(n_held * panel, np.int64),
            np.zeros(n_held * panel) if is_weighted else np.ones(panel),
            np.empty(n_held),
            np.empty(n_held),
        )
        self.clusters = Clusters(
            np.zeros(n_clusters * n_features, dtype),
            np.zeros(n_clusters, np.int64),
            np.zeros(n_clusters, np.int64),
            np.zeros(n_clusters),
            np.zeros(n_clusters),
        )
        self.clusters.centroids[: centroids.size] = centroids.reshape(-1)
        self.n_clusters = len(centroids)
        self._given = (rows.points, *filler_of(rows), origin_of(rows), weights_of(rows))
        self.n_measured, self._n_candidates = 0, 1
        # Results of the search for a new centroid's rows.
        self._places = np.empty(rows.n_points, np.int64)
        self._distances = np.empty(rows.n_points, dtype)
        limits = np.finfo(dtype)
        # (n_features + 3) roundings in each squared distance, and some more in the bounds.
        self._margin = 16.0 * (n_features + 8) * float(limits.eps)
        self._least = n_features * float(limits.tiny)
        self._n_used = self._held_by(self._labels())

    def take_in(self, centroid: Floats) -> None:
        """Take a row as the next centroid."""
        number, size = self.n_clusters, centroid.size
        self.clusters.centroids[number * size : (number + 1) * size] = centroid.reshape(-1)
        n_moved = self._found(number)
        if self._n_used + -(-n_moved // self._panel) > len(self.held.greatest):
            self._n_used = _close_up[self._dtype](number, *self.held, *self.clusters[1:])
            n_moved = self._found(number)
        self._n_used = _move[self._dtype](
            *(self._places, self._distances, n_moved, self.closest, number, self._n_used),
            *self.held,
            *self.clusters[1:],
        )
        self.n_clusters += 1

    def _found(self, number: int) -> int:
        """Write which rows are nearer to a new centroid, and return their number."""
        panels, nearest, _, _, panel_greatest, _ = self.held
        n_found: int = _find_nearer[self._dtype](
            *(number, self._margin, self._least, panels, nearest, panel_greatest),
            *self.clusters[:4],
            *(self._places, self._distances),
        )
        return n_found

    def potentials(self, candidates: Floats) -> NDArray[np.float64]:
        """Return the potential of each candidate."""
        potentials = np.empty(len(candidates))
        panels, nearest, _, weights, *described = self.held

        def measure(first: int, last: int) -> int:
            n_measured: int = _measure[self._dtype](
                *(candidates, first, last, self.n_clusters, self._margin, self._least),
                *(panels, nearest, weights, *described),
                *self.clusters,
                potentials,
            )
            return n_measured

        # One candidate for each task, unless the work is too small for threads.
        is_small = self.n_measured < _FEW_PANELS
        size = len(candidates) if is_small else 1
        starts = range(0, len(candidates), size)
        counts = in_threads(lambda task: measure(starts[task], starts[task] + size), len(starts))
        self.n_measured, self._n_candidates = sum(counts), len(candidates)
        return potentials

    @property
    def measured_part(self) -> float:
        """Fraction of rows that measured one of the last candidates, in whole panels."""
        return self.n_measured / (max(1, self._n_used) * self._n_candidates)

    def _labels(self) -> NDArray[np.int32]:
        """Return the centroid from which each row's distance was computed."""
        n_points, n_features = self.rows.n_points, self.rows.n_features
        centroids = self.clusters.centroids[: self.n_clusters * n_features]
        labels = np.zeros(n_points, np.int32)  # also where all squares are infinite
        shared = (self._panel, *self._given[1:4], centroids, labels)

        def label(start: int, stop: int) -> None:
            _label[self._dtype](self.rows.points, start, stop, *shared)

        in_parts(label, n_points, n_tasks_for(n_points, len(centroids) / 8), self._dtype)
        return labels

    def _held_by(self, labels: NDArray[np.int32]) -> int:
        """Put all rows into panels by their labels, and return the number of panels in use."""
        n_used: int = _hold[self._dtype](
            *self._given, self.closest, labels, self.n_clusters, *self.held, *self.clusters[1:]
        )
        return n_used
