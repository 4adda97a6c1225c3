"""Sparse rows for CuPy: kernels of ``sparse.cu`` on the stored numbers; nothing waits."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import cupy
import numpy as np

from kmeans_xp.devices import Array, Namespace, within_budget
from kmeans_xp.kernels.for_cupy.launching import MOST_BLOCKS, N_THREADS, NULL, launch, split
from kmeans_xp.kernels.for_cupy.sums import (
    MOST_CLUSTERS,
    merged,
    no_totals,
    sorted_by_label,
)
from kmeans_xp.kernels.kernel import Kernel
from kmeans_xp.kernels.portable.assignment import (
    ClusterTotals,
    assigned_inertia,
    assigned_sq_distances,
    cluster_sums,
    nearest_labels,
    sq_distances,
)
from kmeans_xp.kernels.portable.moments import Moments, column_moments
from kmeans_xp.kernels.portable.seeding import candidate_potentials, closer_of
from kmeans_xp.kernels.portable.steps import lloyd_step
from kmeans_xp.kernels.sparse_rows import SparseRows

__all__: list[str] = []

R = TypeVar("R")

#: maximum bytes of partial sums of the rows, each with a number for each feature
_PARTS_BYTES = 2**28
_MOST_PARTS = 4096
#: minimum number of rows for separate sums
_FEWEST_ROWS = 32
#: number of rows to sort by label at a time
_SORTED_ROWS = 2**22
#: candidates that a warp has threads for
_MOST_CANDIDATES = 32

_C_TYPES = {"float32": "float", "float64": "double"}


class _Centroids(NamedTuple):
    """Centroids feature by feature, and numbers of each in float64.

    Parameters
    ----------
    panel : array of shape (n_features, n_clusters)
    biases, sq_norms, from_zero : arrays of float64, shape (n_clusters,)
        Initial values of scores; squared norms relative to the origin, and to zero.
    """

    panel: Array
    biases: Array
    sq_norms: Array
    from_zero: Array


def _override(kernel: Kernel[..., Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Register a body for sizes that a launch can take; it is called without the namespace."""

    def register(body: Callable[..., R]) -> Callable[..., R]:
        @kernel.override("cupy", rows=SparseRows)
        @functools.wraps(body)
        def declining(rows: SparseRows, *operands: Any, xp: Namespace) -> Any:
            return body(rows, *operands) if _takes(rows, operands) else NotImplemented

        return body

    return register


def _takes(rows: SparseRows, operands: tuple[Any, ...]) -> bool:
    if not rows.n_points or not rows.n_features or rows.dtype.name not in _C_TYPES:
        return False
    given = (rows.weights, rows.origin, *operands)
    arrays = [each for each in given if isinstance(each, cupy.ndarray)]
    return all(
        each.flags.c_contiguous and (each.dtype.kind in "iu" or each.dtype == rows.dtype)
        for each in arrays
    )


@_override(nearest_labels)
def labels_across_centroids(rows: SparseRows, centroids: Array) -> Array:
    described, labels = _described(centroids, rows), cupy.empty(rows.n_points, np.int32)
    n_clusters = len(centroids)
    n_lanes = 8 if n_clusters <= 8 else 16 if n_clusters <= 16 else 32
    arguments = (described.panel, described.biases, *_sizes(rows), np.int32(n_clusters))
    _launch_for(rows, "sparse_labels", n_lanes, (*arguments, np.int32(n_lanes), labels))
    return labels


@_override(lloyd_step)
def labels_then_sums(rows: SparseRows, centroids: Array) -> Any:
    return sums_in_pieces(rows, labels_across_centroids(rows, centroids), len(centroids))


@_override(cluster_sums)
def sums_in_pieces(rows: SparseRows, labels: Array, n_clusters: int) -> Any:
    """Add up the rows in the order of their labels, in pieces of clusters."""
    if n_clusters > MOST_CLUSTERS:
        return NotImplemented
    totals = no_totals(n_clusters, rows.n_features)
    labels = cupy.ascontiguousarray(labels, dtype=np.int32)
    for place, tile in rows.tiles(_SORTED_ROWS):
        _add_sorted(tile, labels[place], totals)
    if rows.origin is not None:
        totals.sums[...] -= totals.mass[:, None] * rows.origin
    return totals


def _add_sorted(rows: SparseRows, labels: Array, totals: ClusterTotals) -> None:
    n_points, n_features, n_clusters = rows.n_points, rows.n_features, len(totals.mass)
    n_rows = _rows_of_part(n_points, n_features)
    ordered = sorted_by_label(labels, n_clusters, n_rows)
    piece_sums = cupy.zeros((ordered.most_pieces, n_features))
    piece_mass = cupy.empty(ordered.most_pieces)
    sizes = (np.int32(n_features), piece_sums, piece_mass)
    arguments = (*_arrays(rows), _or_null(rows.weights), *ordered.arguments, *sizes)
    _launch_sparse("sum_sparse_pieces", rows, ordered.most_pieces, arguments, n_threads=32)
    merged_pieces = (piece_sums, piece_mass, ordered.piece_starts, np.int32(n_features), *totals)
    blocks = (n_clusters, -(-n_features // N_THREADS))
    launch("merge_pieces", "merging.cu", blocks, merged_pieces)


@_override(assigned_sq_distances)
def distances_under_the_row(rows: SparseRows, labels: Array, centroids: Array) -> Array:
    """Read only those features of a centroid in which the row has numbers."""
    return _distances(rows, labels, centroids).astype(rows.dtype, copy=False)


def _distances(rows: SparseRows, labels: Array, centroids: Array) -> Array:
    """Return distances in float64."""
    labels = cupy.ascontiguousarray(labels, dtype=np.int32)
    given = (labels, centroids, _described(centroids, rows).from_zero)
    return _measured(rows, given)


def _measured(rows: SparseRows, given: tuple[Any, Any, Array]) -> Array:
    out = cupy.empty(rows.n_points)
    sizes = (*_sizes(rows), np.int32(rows.n_features))
    _launch_for(rows, "sparse_distances", 32, (_or_null(rows.origin), *given, *sizes, out))
    return out


@_override(assigned_inertia)
def added_distances(rows: SparseRows, labels: Array, centroids: Array) -> Array:
    distances = _distances(rows, labels, centroids)
    return cupy.sum(distances if rows.weights is None else distances * rows.weights)


def _origin_norm(rows: SparseRows) -> Array:
    """Return the squared norm of the origin."""
    zero = cupy.zeros((1, rows.n_features), rows.dtype)
    return _described(zero, rows).from_zero


def _sq_norms(rows: SparseRows) -> Array:
    """Return the squared distances of the rows to their origin, which the rows keep."""
    if "sq_norms" not in rows.kept:
        rows.kept["sq_norms"] = _measured(rows, (NULL, NULL, _origin_norm(rows)))
    return rows.kept["sq_norms"]


@_override(sq_distances)
def all_across_centroids(rows: SparseRows, centroids: Array) -> Array:
    described, n_clusters = _described(centroids, rows), len(centroids)
    out = cupy.empty((rows.n_points, n_clusters), rows.dtype)
    given = (centroids, described.panel, described.biases, described.from_zero)
    norms = (_sq_norms(rows), _origin_norm(rows))
    sizes = (*_sizes(rows), np.int32(rows.n_features), np.int32(n_clusters))
    arguments = (_or_null(rows.origin), *given, *norms, *sizes, out)
    _launch_for(rows, "sparse_all_distances", 32, arguments)
    return out


@_override(column_moments)
def moments_where_rows_have_numbers(rows: SparseRows) -> Moments:
    """Add the stored numbers, then the zeros of each column, which have the rest of the mass."""
    n_features = rows.n_features
    n_rows = _rows_of_part(rows.n_points, 3 * n_features)
    n_parts = -(-rows.n_points // n_rows)
    parts = cupy.zeros((n_parts, 3 * n_features + 1))
    given = (_or_null(rows.weights), _or_null(rows.origin))
    sizes = (*_sizes(rows), np.int32(n_features), np.int64(n_rows))
    arguments = (*_arrays(rows), *given, *sizes, parts)
    _launch_sparse("sparse_moments", rows, n_parts, arguments, n_threads=32)
    cells = merged(parts)
    sums, squares, under = cells[:-1].reshape(3, n_features)
    mass = cells[-1]
    if rows.origin is None:
        return Moments(mass, sums, squares)
    # Column by column, without cancellation, unlike sum w x^2 - 2 o sum w x + W o^2.
    zeros = (mass - under) * rows.origin
    return Moments(mass, sums - zeros, squares + zeros * rows.origin)


@_override(candidate_potentials)
def one_pass_potentials(rows: SparseRows, closest: Array, candidates: Array) -> Any:
    n_candidates = len(candidates)
    if n_candidates > _MOST_CANDIDATES:
        return NotImplemented
    described = _described(candidates, rows)
    n_rows, n_blocks = split(rows.n_points, MOST_BLOCKS)
    partials = cupy.empty((n_blocks, n_candidates))
    given = (closest, _sq_norms(rows), described.panel, described.biases, described.sq_norms)
    sizes = (*_sizes(rows), np.int32(n_candidates), np.int64(n_rows))
    arguments = (*_arrays(rows), _or_null(rows.weights), *given, *sizes, partials)
    _launch_sparse("sparse_potentials", rows, n_blocks, arguments)
    return merged(partials)


@_override(closer_of)
def folded_in_a_pass(rows: SparseRows, closest: Array, candidate: Array) -> Array:
    described, out = _described(candidate, rows), cupy.empty_like(closest)
    given = (closest, _sq_norms(rows), candidate, described.biases, described.sq_norms)
    _launch_for(rows, "sparse_fold", 32, (*given, *_sizes(rows), out))
    return out


def _described(centroids: Array, rows: SparseRows) -> _Centroids:
    n_clusters, n_features = centroids.shape
    numbers = cupy.empty((3, n_clusters))
    arguments = (centroids, _or_null(rows.origin), np.int32(n_features), *numbers)
    _launch_sparse("describe_centroids", rows, n_clusters, arguments)
    return _Centroids(cupy.ascontiguousarray(centroids.T), *numbers)


def _rows_of_part(n_points: int, n_sums: int) -> int:
    """Return the number of rows in a part with its own sums."""
    most = max(1, min(_MOST_PARTS, within_budget(_PARTS_BYTES) // (8 * n_sums)))
    return max(_FEWEST_ROWS, -(-n_points // most))


def _arrays(rows: SparseRows) -> tuple[Array, Array, Array]:
    return rows.csr.data, rows.csr.indices, rows.csr.indptr


def _sizes(rows: SparseRows) -> tuple[np.int64]:
    return (np.int64(rows.n_points),)


def _or_null(array: Array | None) -> Any:
    return NULL if array is None else array


def _launch_for(rows: SparseRows, name: str, n_lanes: int, arguments: tuple[Any, ...]) -> None:
    """Launch a kernel with ``n_lanes`` threads for each row."""
    n_blocks = -(-rows.n_points * n_lanes // N_THREADS)
    _launch_sparse(name, rows, n_blocks, (*_arrays(rows), *arguments))


def _launch_sparse(
    name: str,
    rows: SparseRows,
    n_blocks: int,
    arguments: tuple[Any, ...],
    n_threads: int = N_THREADS,
) -> None:
    template = f"{name}<{_C_TYPES[rows.dtype.name]}>"
    launch(template, "sparse.cu", n_blocks, arguments, n_threads=n_threads)
