"""Mean distances of rows to clusters, for silhouettes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kmeans_xp.devices import Array, Namespace, accumulation_dtype, device_of, tile_shape
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.rows import Rows

__all__ = ["SilhouetteDistances", "runs_of_clusters", "silhouette_distances"]

#: a cluster with at least this number of rows has tiles of its own
_ONE_TILE = 128
#: most clusters in a tile of columns: to sum a distance takes a multiplication for each
_MOST_CLUSTERS = 32


class SilhouetteDistances(NamedTuple):
    """The mean distance of each row to its own cluster and to the nearest other cluster.

    Parameters
    ----------
    within : accumulated array of shape (n_points,)
        Mean distance to the other rows of its cluster; 0 for a row alone in its cluster.
    nearest : accumulated array of shape (n_points,)
        Mean distance to the rows of another cluster, the least over all others; inf if they are
        all empty.
    """

    within: Array
    nearest: Array


@kernel(labels="n", order="n")
def silhouette_distances(
    rows: Rows, labels: Array, order: Array, bounds: Sequence[int], *, xp: Namespace
) -> SilhouetteDistances:
    """Return the mean distances for the silhouette of each row.

    Parameters
    ----------
    rows : Rows of n_points
        Weights do not count, nor does the origin: distances do not depend on it.
    labels : integer array of shape (n_points,)
    order : integer array of shape (n_points,)
        Indices of the rows: first those of cluster 0, then those of cluster 1, and so on.
    bounds : sequence of n_clusters + 1 int, on the host
        Cluster j has the rows ``order[bounds[j]:bounds[j + 1]]``; it may have none.
    xp : namespace

    Returns
    -------
    SilhouetteDistances
        Distances are computed from differences in the rows' dtype, or in the accumulation dtype.
        They are added in the accumulation dtype, in an order that depends only on shapes and
        ``bounds``. Equal rows are at distance 0. O(n_points^2 * n_features) time. Memory beside
        the data: tiles, and at most a copy of the data or 64 MiB of sums.
    """
    size, _ = tile_shape(rows, rows.n_points, xp=xp)
    # A tile's rows come in the order of their clusters, so that its middle is near all of them.
    parts = [
        _tile_distances(rows, labels, order, bounds, slice(start, stop), xp=xp)
        for first, last in runs_of_clusters(bounds, min(size, _ONE_TILE), len(bounds))
        for start, stop in _pieces(bounds[first], bounds[last], size)
    ]
    places = xp.argsort(order)
    return SilhouetteDistances(*(xp.take(xp.concat(p), places) for p in zip(*parts, strict=True)))


def runs_of_clusters(
    bounds: Sequence[int], most_rows: int, most_clusters: int
) -> Iterator[tuple[int, int]]:
    """Yield ranges of clusters: one cluster, or several that have few rows together."""
    n_clusters, first = len(bounds) - 1, 0
    while first < n_clusters:
        last = first + 1
        while (
            last < n_clusters
            and last - first < most_clusters
            and bounds[last + 1] - bounds[first] <= most_rows
        ):
            last += 1
        if bounds[last] > bounds[first]:
            yield first, last
        first = last


def _pieces(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


class _Tile(NamedTuple):
    """Rows to measure from: their indices, labels, mean, and left factors of the distances."""

    indices: Array
    labels: Array
    middle: Array
    factors: Array


def _tile_distances(
    rows: Rows, labels: Array, order: Array, bounds: Sequence[int], place: slice, *, xp: Namespace
) -> SilhouetteDistances:
    """Return the distances of the rows at one place of the order."""
    _, width = tile_shape(rows, rows.n_points, xp=xp)
    tile = _tile(rows, labels, order[place], xp=xp)
    within = xp.zeros_like(tile.factors[:, 0])
    n_own, nearest = within, within + xp.inf
    for first, last in runs_of_clusters(bounds, width, _MOST_CLUSTERS):
        clusters = xp.arange(first, last, dtype=labels.dtype, device=device_of(labels))
        sums = counts = None
        for start, stop in _pieces(bounds[first], bounds[last], width):
            columns = order[start:stop]
            distances = _distances(tile, rows, columns, xp=xp)
            if start < place.stop and place.start < stop:
                is_itself = tile.indices[:, None] == columns[None, :]
                distances = xp.where(is_itself, xp.zeros_like(distances), distances)
            mine = xp.take(labels, columns)[:, None] == clusters[None, :]
            mine = xp.astype(mine, distances.dtype)
            more, count = distances @ mine, xp.sum(mine, axis=0)
            sums, counts = (more, count) if sums is None else (sums + more, counts + count)
        is_own = tile.labels[:, None] == clusters[None, :]
        zeros = xp.zeros_like(sums)
        within = within + xp.sum(xp.where(is_own, sums, zeros), axis=1)
        n_own = n_own + xp.sum(xp.where(is_own, zeros + counts, zeros), axis=1)
        means = sums / xp.maximum(counts, xp.ones_like(counts))
        means = xp.where(is_own | (counts == 0.0), zeros + xp.inf, means)
        nearest = xp.minimum(nearest, xp.min(means, axis=1))
    return SilhouetteDistances(within / xp.maximum(n_own - 1.0, xp.ones_like(n_own)), nearest)


def _tile(rows: Rows, labels: Array, indices: Array, *, xp: Namespace) -> _Tile:
    points = _taken(rows, indices, xp=xp)
    # |x - y|^2 = |x|^2 - 2 x.y + |y|^2 loses fewer digits, the nearer both are to the origin. So
    # measure from the middle of the tile: the nearest rows, its own cluster's, are close to it.
    middle = xp.mean(points, axis=0)
    points = points - middle
    sq_norms = _sq_norms(points, xp=xp)
    factors = xp.concat([-2.0 * points, sq_norms, xp.ones_like(sq_norms)], axis=1)
    return _Tile(indices, xp.take(labels, indices), middle, factors)


def _distances(tile: _Tile, rows: Rows, columns: Array, *, xp: Namespace) -> Array:
    """Return the distances of a tile's rows to others, by one matrix product."""
    others = _taken(rows, columns, xp=xp) - tile.middle
    sq_norms = _sq_norms(others, xp=xp)
    factors = xp.concat([others, xp.ones_like(sq_norms), sq_norms], axis=1)
    squares = tile.factors @ xp.matrix_transpose(factors)
    return xp.sqrt(xp.maximum(squares, xp.zeros_like(squares)))


def _taken(rows: Rows, indices: Array, *, xp: Namespace) -> Array:
    # Without their origin: subtracting it in float32 would round before float64 is used.
    points = rows.seen_from(None).take(indices).points
    return xp.astype(points, accumulation_dtype(rows.device, xp=xp), copy=False)


def _sq_norms(points: Array, *, xp: Namespace) -> Array:
    """Return squared norms as a column, less what rounding may add to a squared distance.

    So equal rows get a squared distance of at most 0; other rows lose no more than rounding may
    change.
    """
    slack = (int(points.shape[1]) + 4) * float(xp.finfo(points.dtype).eps)
    return (1.0 - slack) * xp.vecdot(points, points)[:, None]
