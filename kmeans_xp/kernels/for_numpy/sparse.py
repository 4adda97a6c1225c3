"""Sparse rows: scores by SciPy's products of tiles, sums by products of the rows of a cluster.

All is computed in float64, and for each row in the order of its numbers: no result depends on
where tiles begin. The origin is subtracted by algebra, so only stored numbers are read.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from kmeans_xp.devices import Csr, Namespace, gathered_parts, own_parts, scipy_csr
from kmeans_xp.kernels.for_numpy.tiling import Floats, Labels, Plan, cut
from kmeans_xp.kernels.kernel import Kernel
from kmeans_xp.kernels.portable.assignment import (
    ClusterTotals,
    Nearest,
    assigned_inertia,
    assigned_sq_distances,
    cluster_sums,
    nearest_centroid,
    nearest_labels,
    sq_distances,
)
from kmeans_xp.kernels.portable.moments import Moments, column_moments
from kmeans_xp.kernels.portable.seeding import candidate_potentials, closer_of
from kmeans_xp.kernels.portable.steps import lloyd_step
from kmeans_xp.kernels.sparse_rows import SparseRows
from kmeans_xp.kernels.threads import in_threads
from kmeans_xp.kernels.trees import merged_in_tree

__all__: list[str] = []

R = TypeVar("R")

#: number of scores in a tile
_TILE_SCORES = 2**17
#: approximate number of stored numbers in a tile
_TILE_NUMBERS = 2**17
#: minimum number of stored numbers in a tile to sum up
_PLACED_NUMBERS = 2**19
#: number of roundings in sums that are not added number by number
_ROUNDINGS = 16.0
#: number of elements of rows to make dense at a time, to measure them feature by feature
_DENSE_NUMBERS = 2**20
_EPS = 2.0**-52


def override(kernel: Kernel[..., Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Register a body for sparse rows; it is called without the namespace."""

    def register(body: Callable[..., R]) -> Callable[..., R]:
        @kernel.override("numpy", rows=SparseRows)
        @functools.wraps(body)
        def declining(rows: SparseRows, *operands: Any, xp: Namespace) -> Any:
            is_there = rows.n_points and rows.n_features
            return body(rows, *operands) if is_there else NotImplemented

        return body

    return register


class _Tile(NamedTuple):
    """Some rows, their numbers in float64."""

    place: Any  # a slice, or indices
    numbers: Floats
    columns: NDArray[np.int32]
    starts: NDArray[np.int32]
    n_features: int

    @property
    def n_rows(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Number of stored numbers of each row."""
        return np.diff(self.starts)

    def rows_at(self, places: NDArray[Any]) -> NDArray[Any]:
        """Return the indices of the tile's rows at these places."""
        is_slice = isinstance(self.place, slice)
        rows: NDArray[Any] = places + self.place.start if is_slice else self.place[places]
        return rows

    def sums(self, values: Floats) -> Floats:
        """Return the sum over each row of values, one for each stored number."""
        sums: Floats = self._matrix(values) @ np.ones(self.n_features)
        return sums

    def column_sums(self, values: Floats, factors: Floats) -> Floats:
        """Return the sum over each column of values for the numbers times the rows' factors."""
        sums: Floats = self._matrix(values).T @ factors
        return sums

    def cluster_sums(self, labels: Labels, weights: Floats | None, n_clusters: int) -> Floats:
        """Return the weighted sums of the rows of each label."""
        values = self.numbers
        if weights is not None:
            values = values * np.repeat(weights, self.lengths)
        places = (np.repeat(labels.astype(np.int32, copy=False), self.lengths), self.columns)
        sums: Floats = coo_array((values, places), shape=(n_clusters, self.n_features)).toarray()
        return sums

    def products(self, vectors: Floats) -> Floats:
        """Return the product of each row with each column of ``vectors``."""
        products: Floats = self._matrix(self.numbers) @ vectors
        return products

    def _matrix(self, values: Floats) -> Any:
        return scipy_csr(Csr(values, self.columns, self.starts, self.n_features))


def _tile(csr: Csr, place: slice | NDArray[Any]) -> _Tile:
    if isinstance(place, slice):
        part = own_parts(csr._replace(indptr=csr.indptr[place.start : place.stop + 1]))
    else:
        part = gathered_parts(csr, place)
    numbers, starts = part.data.astype(np.float64, copy=False), part.indptr.astype(np.int32)
    return _Tile(place, numbers, part.indices, starts, csr.n_features)


def _plan(rows: SparseRows, n_columns: int) -> Plan:
    """Split rows for work on their numbers and on ``n_columns`` scores of each row."""
    most = min(_TILE_SCORES // max(1, n_columns), _TILE_NUMBERS // rows.n_stored)
    return cut(rows.n_points, max(16, most), 10.0 + rows.n_stored * (4.0 + n_columns / 2))


def _tiles(rows: SparseRows, plan: Plan, task: int) -> Iterator[_Tile]:
    return (_tile(rows.csr, place) for place in plan.tiles(task))


class _Scores:
    """Scores x . c - origin . c - |c|^2 / 2; the nearest centroid has the largest."""

    def __init__(self, centroids: Floats, rows: SparseRows) -> None:
        wide = centroids.astype(np.float64, copy=False)
        self.sq_norms = _dots(wide, wide)
        self.transposed = np.ascontiguousarray(wide.T)
        self.biases = -0.5 * self.sq_norms - _dots(wide, _origin(rows)[None, :])

    def __call__(self, tile: _Tile) -> Floats:
        scores = tile.products(self.transposed)
        scores += self.biases
        return scores


def _dots(points: Floats, others: Floats) -> Floats:
    # Do not use BLAS: the rounding of its dot products depends on its number of threads.
    products: Floats = np.einsum("ij,ij->i", points, others)
    return products


def _origin(rows: SparseRows) -> Floats:
    origin = np.zeros(rows.n_features) if rows.origin is None else rows.origin
    wide: Floats = origin.astype(np.float64, copy=False)
    return wide


@override(nearest_labels)
def labels_by_products(rows: SparseRows, centroids: Floats) -> Labels:
    labels, scores = np.empty(rows.n_points, np.int32), _Scores(centroids, rows)
    plan = _plan(rows, len(centroids))

    def label(task: int) -> None:
        for tile in _tiles(rows, plan, task):
            labels[tile.place] = scores(tile).argmax(axis=1)

    in_threads(label, plan.n_tasks)
    return labels


@override(lloyd_step)
def labelled_and_added(rows: SparseRows, centroids: Floats) -> ClusterTotals:
    return sums_by_places(rows, labels_by_products(rows, centroids), len(centroids))


@override(cluster_sums)
def sums_by_places(rows: SparseRows, labels: Labels, n_clusters: int) -> ClusterTotals:
    """Give each number the indices of its cluster and column; SciPy adds up duplicates."""
    n_sums, weights = n_clusters * rows.n_features, rows.weights
    # A tile needs more numbers than sums, since each tile makes and adds up all sums.
    size = max(_PLACED_NUMBERS, 4 * n_sums) // rows.n_stored
    plan = cut(rows.n_points, max(1, size), 10.0 + 6.0 * rows.n_stored)

    def of_tile(tile: _Tile) -> ClusterTotals:
        mine = labels[tile.place]
        of_rows = None if weights is None else weights[tile.place].astype(np.float64)
        mass = np.bincount(mine, of_rows, minlength=n_clusters).astype(np.float64, copy=False)
        return ClusterTotals(tile.cluster_sums(mine, of_rows, n_clusters), mass)

    def totals(task: int) -> ClusterTotals:
        return merged_in_tree(of_tile(tile) for tile in _tiles(rows, plan, task))

    sums, mass = merged_in_tree(in_threads(totals, plan.n_tasks))
    if rows.origin is not None:
        sums -= mass[:, None] * rows.origin
    return ClusterTotals(sums, mass)


@override(assigned_sq_distances)
def distances_under_the_row(rows: SparseRows, labels: Labels, centroids: Floats) -> Floats:
    """Read only those features of a centroid in which the row has numbers.

    In these, the difference is computed. In all others the difference is the centroid's number:
    the sum of their squares is the centroid's squared norm minus that of the features it read.
    If the rounding of this may matter, the row is measured feature by feature.
    """
    return _distances(rows, labels, centroids).astype(centroids.dtype, copy=False)


def _distances(rows: SparseRows, labels: Labels, centroids: Floats) -> Floats:
    """Return distances in float64."""
    distances, whole = np.empty(rows.n_points), _sq_norms_from_zero(centroids, rows)
    plan = _plan(rows, 1)

    def measure(task: int) -> None:
        for tile in _tiles(rows, plan, task):
            mine = labels[tile.place]
            distances[tile.place] = _measured(rows, tile, mine, centroids, whole)

    in_threads(measure, plan.n_tasks)
    return distances


@override(assigned_inertia)
def added_distances(rows: SparseRows, labels: Labels, centroids: Floats) -> Floats:
    distances = _distances(rows, labels, centroids)
    if rows.weights is not None:
        distances *= rows.weights
    return np.asarray(distances.sum())


def _sq_norms_from_zero(centroids: Floats, rows: SparseRows) -> Floats:
    # A pairwise sum has fewer roundings than a sequential one.
    sq_norms: Floats = ((centroids + _origin(rows)) ** 2).sum(axis=1)
    return sq_norms


def _measured(
    rows: SparseRows, tile: _Tile, labels: Labels, centroids: Floats, whole: Floats
) -> Floats:
    origin = _origin(rows)[tile.columns]
    # Round to the dtype of the rows, like dense rows: a row may equal a centroid.
    numbers = (tile.numbers - origin).astype(centroids.dtype, copy=False)
    there = centroids[np.repeat(labels, tile.lengths), tile.columns].astype(np.float64, copy=False)
    apart = tile.sums((numbers - there) ** 2)
    distances: Floats = apart + np.maximum(whole[labels] - tile.sums((origin + there) ** 2), 0.0)
    unsure = _unsure(distances, whole[labels], tile, centroids)
    for some, points in _by_features(rows, tile, unsure, centroids.dtype):
        points -= centroids[labels[some]]
        distances[some] = _dots(points, points)
    return distances


def _by_features(
    rows: SparseRows, tile: _Tile, places: NDArray[Any], dtype: Any
) -> Iterator[tuple[NDArray[Any], Floats]]:
    """Yield some rows of a tile, a few at a time, as dense rows that are centred in ``dtype``."""
    size = max(1, _DENSE_NUMBERS // rows.n_features)
    for start in range(0, len(places), size):
        some = places[start : start + size]
        points = rows.gathered(tile.rows_at(some)).centred(dtype)
        yield some, points.astype(np.float64, copy=False)


def _unsure(distances: Floats, reach: Floats, tile: _Tile, centroids: Floats) -> NDArray[Any]:
    """Return where the rounding of numbers as large as ``reach`` may matter in distances."""
    # Allow as many roundings as the sum of all squared differences has.
    allowed = distances * np.finfo(centroids.dtype).eps * (tile.n_features + 3)
    return np.flatnonzero(allowed < reach * _EPS * (tile.lengths + _ROUNDINGS))


@override(nearest_centroid)
def labels_then_distances(rows: SparseRows, centroids: Floats) -> Nearest[Any]:
    labels = labels_by_products(rows, centroids)
    return Nearest(labels, distances_under_the_row(rows, labels, centroids))


def _sq_norms(rows: SparseRows) -> Floats:
    """Return the squared distances of the rows to their origin, which the rows keep."""
    kept: Floats | None = rows.kept.get("sq_norms")
    if kept is not None:
        return kept
    # In float64 throughout, like the numbers that are subtracted from them.
    origin, norms, plan = _origin(rows), np.empty(rows.n_points), _plan(rows, 1)
    whole = _sq_norms_from_zero(np.zeros((1, 1)), rows)[0]

    def measure(task: int) -> None:
        for tile in _tiles(rows, plan, task):
            squares = tile.sums(tile.numbers**2)
            expanded = squares - 2.0 * tile.products(origin) + whole
            unsure = _unsure(expanded, squares + whole, tile, origin)
            for some, points in _by_features(rows, tile, unsure, np.dtype(np.float64)):
                expanded[some] = _dots(points, points)
            norms[tile.place] = expanded

    in_threads(measure, plan.n_tasks)
    rows.kept["sq_norms"] = norms
    return norms


@override(sq_distances)
def all_by_products(rows: SparseRows, centroids: Floats) -> Floats:
    out = np.empty((rows.n_points, len(centroids)), centroids.dtype)
    scores, norms = _Scores(centroids, rows), _sq_norms(rows)
    whole, plan = _sq_norms_from_zero(centroids, rows), _plan(rows, len(centroids))
    from_zero = float(_sq_norms_from_zero(np.zeros((1, 1)), rows)[0])

    def measure(task: int) -> None:
        for tile in _tiles(rows, plan, task):
            of_tile = scores(tile)
            nearest, own = of_tile.argmax(axis=1), norms[tile.place]
            # |x|^2 - 2 x.c + |c|^2, where the score is x.c - |c|^2 / 2.
            distances = np.maximum(own[:, None] - 2.0 * of_tile, 0.0)
            smallest = distances[np.arange(tile.n_rows), nearest]
            reach = 2.0 * (own + from_zero) + whole[nearest]
            unsure = _unsure(smallest, reach, tile, centroids)
            few = _tile(rows.csr, tile.rows_at(unsure))
            measured = _measured(rows, few, nearest[unsure], centroids, whole)
            distances[unsure, nearest[unsure]] = measured
            out[tile.place] = distances

    in_threads(measure, plan.n_tasks)
    return out


class _Expanded:
    """Squared distances to a few centroids; 0 where they may be only rounding errors.

    k-means++ chooses rows, and a row that equals a chosen one must not be drawn again.
    """

    def __init__(self, rows: SparseRows, centroids: Floats) -> None:
        self.scores, self.norms = _Scores(centroids, rows), _sq_norms(rows)
        # Include the squared rounding error of the centroid in its dtype.
        self.rounding = float(np.finfo(centroids.dtype).eps) ** 2

    def __call__(self, tile: _Tile) -> Floats:
        own = self.norms[tile.place, None]
        distances = own - 2.0 * self.scores(tile)
        eps = (0.5 * tile.lengths[:, None] + 4.0) * _EPS + self.rounding
        distances[distances <= eps * (own + self.scores.sq_norms)] = 0.0
        return distances


@override(candidate_potentials)
def potentials_by_products(rows: SparseRows, closest: Floats, candidates: Floats) -> Floats:
    expanded, plan = _Expanded(rows, candidates), _plan(rows, len(candidates))

    def potentials(task: int) -> Floats:
        total = np.zeros(len(candidates))
        for tile in _tiles(rows, plan, task):
            nearer = np.minimum(expanded(tile), closest[tile.place, None])
            if rows.weights is not None:
                nearer *= rows.weights[tile.place, None]
            total += nearer.sum(axis=0)
        return total

    return merged_in_tree(in_threads(potentials, plan.n_tasks))


@override(closer_of)
def folded_by_products(rows: SparseRows, closest: Floats, candidate: Floats) -> Floats:
    folded, expanded, plan = np.empty_like(closest), _Expanded(rows, candidate), _plan(rows, 1)

    def fold(task: int) -> None:
        for tile in _tiles(rows, plan, task):
            folded[tile.place] = np.minimum(expanded(tile)[:, 0], closest[tile.place])

    in_threads(fold, plan.n_tasks)
    return folded


@override(column_moments)
def moments_where_rows_have_numbers(rows: SparseRows) -> Moments:
    """Add the stored numbers, then the zeros of each column, which have the rest of the mass."""
    origin, plan = _origin(rows), _plan(rows, 1)

    def moments(task: int) -> tuple[Floats, ...]:
        mass, added = np.zeros(()), tuple(np.zeros(rows.n_features) for _ in range(3))
        for tile in _tiles(rows, plan, task):
            weights = np.ones(tile.n_rows)
            if rows.weights is not None:
                weights[:] = rows.weights[tile.place]
            # Add sequentially, like the product: if all rows have a number, the mass of the zeros
            # is then exactly 0.
            mass += np.add.accumulate(weights)[-1]
            numbers = tile.numbers - origin[tile.columns]
            stands = (numbers, numbers**2, np.ones_like(numbers))
            for total, values in zip(added, stands, strict=True):
                total += tile.column_sums(values, weights)
        return (mass, *added)

    parts = in_threads(moments, plan.n_tasks)
    mass, sums, squares, under = (merged_in_tree(each) for each in zip(*parts, strict=True))
    # Column by column, without cancellation, unlike sum w x^2 - 2 o sum w x + W o^2.
    zeros = mass - under
    return Moments(mass, sums - zeros * origin, squares + zeros * origin**2)
