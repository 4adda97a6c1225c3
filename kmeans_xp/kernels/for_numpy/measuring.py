"""Distances from differences: of rows to their own centroids, and to all centroids."""

import functools
from collections.abc import Callable

import numpy as np

from kmeans_xp.kernels.for_numpy.tiling import (
    FEW_NUMBERS,
    Centring,
    Floats,
    Labels,
    Row,
    computing,
    cut,
    override,
    run,
    streaming_plan,
)
from kmeans_xp.kernels.portable.assignment import assigned_sq_distances, sq_distances
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import scratch

__all__ = ["distances_into", "small_points", "sq_norms", "sq_norms_into"]


def small_points(rows: DenseRows) -> Floats:
    """Return all rows relative to the origin."""
    points: Floats = rows.points.astype(computing(rows.points), copy=False)
    return points if rows.origin is None else points - rows.origin


def sq_norms(vectors: Floats) -> Floats:
    """Return the squared norm of each row."""
    norms: Floats = np.einsum("ij,ij->i", vectors, vectors)
    return norms


#: NumPy 1.26 needs einsum, which takes twice the time
_row_dots: Callable[..., Floats] = getattr(np, "vecdot", functools.partial(np.einsum, "ij,ij->i"))


def sq_norms_into(points: Floats, out: Floats) -> Floats:
    """Write the squared norm of each row to ``out``; NumPy's loops over short rows are slow."""
    if points.shape[1] > 64:
        return _row_dots(points, points, out=out)
    squares = scratch("squares", points.shape, points.dtype)
    np.multiply(points, points, out=squares)
    return np.matmul(squares, np.ones(points.shape[1], points.dtype), out=out)


def distances_into(points: Floats, centroids: Floats, labels: Labels, out: Floats) -> None:
    """Write the squared distance of each row of a tile to its centroid to ``out``."""
    difference = scratch("difference", points.shape, points.dtype)
    # "clip" avoids a copy of the result; labels are in range.
    np.take(centroids, labels, axis=0, out=difference, mode="clip")
    np.subtract(points, difference, out=difference)
    sq_norms_into(difference, out)


@override(assigned_sq_distances)
def differences_in_tiles(rows: DenseRows, labels: Labels, centroids: Floats) -> Floats:
    if rows.points.size <= FEW_NUMBERS:
        return sq_norms(small_points(rows) - centroids[labels])
    distances = np.empty(rows.n_points, centroids.dtype)
    plan, centred = streaming_plan(rows, 3), Centring(rows)

    def measure(task: int) -> None:
        for place in plan.tiles(task):
            distances_into(centred(place), centroids, labels[place], distances[place])

    run(measure, plan, gemv=rows.n_features)
    return distances


@override(sq_distances, above=FEW_NUMBERS)
def float64_products(rows: DenseRows, centroids: Floats) -> Floats:
    n_clusters, n_features = centroids.shape
    out = np.empty((rows.n_points, n_clusters), centroids.dtype)
    tile = max(64, min(2048, 2**18 // max(n_clusters, n_features)))
    plan = cut(rows.n_points, tile, 20.0 + n_clusters * n_features / 40)
    wide = centroids.astype(np.float64, copy=False)
    doubled, norms = np.ascontiguousarray(-2.0 * wide.T), Row(-sq_norms(wide))
    centred = Centring(rows)

    def measure(task: int) -> None:
        for place in plan.tiles(task):
            points = centred(place).astype(np.float64, copy=False)
            expanded = scratch("expanded", (len(points), n_clusters), np.float64)
            np.matmul(points, doubled, out=expanded)
            norms.subtracted_from(expanded, expanded)
            np.add(expanded, sq_norms(points)[:, None], out=expanded)
            np.maximum(expanded, 0.0, out=expanded)
            nearest = np.argmin(expanded, axis=1)
            difference = points - wide[nearest]
            expanded[np.arange(len(points)), nearest] = sq_norms(difference)
            out[place] = expanded

    run(measure, plan, gemm=centroids.size)
    return out
