"""Distances by differences, the candidates of k-means++, and random numbers of rows.

An override's result is Any since it may be ``NotImplemented``.
"""

from typing import Any

import cupy
import numpy as np

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_cupy.launching import (
    MOST_BLOCKS,
    N_THREADS,
    SHARED_BYTES,
    launch,
    row_arguments,
    split,
    types_of,
)
from kmeans_xp.kernels.for_cupy.sums import merged
from kmeans_xp.kernels.portable.assignment import assigned_sq_distances
from kmeans_xp.kernels.portable.seeding import candidate_potentials, closer_of
from kmeans_xp.kernels.portable.uniforms import row_uniforms
from kmeans_xp.kernels.rows import DenseRows, Rows

__all__: list[str] = []

#: padded numbers of k-means++ candidates that are compiled
_CANDIDATES = (4, 8, 16)


@assigned_sq_distances.override("cupy", rows=DenseRows)
def warp_distances(rows: DenseRows, labels: Array, centroids: Array, *, xp: Namespace) -> Any:
    """Take the differences of a row in one warp."""
    types = types_of(rows, centroids)
    if types is None:
        return NotImplemented
    out = cupy.empty(rows.n_points, dtype=centroids.dtype)
    launch(
        f"assigned_distances<{types[0]}, {types[1]}>",
        "seeding.cu",
        -(-rows.n_points * 32 // N_THREADS),
        (
            *row_arguments(rows),
            cupy.ascontiguousarray(labels, dtype=np.int32),
            centroids,
            np.int64(rows.n_points),
            np.int32(rows.n_features),
            out,
        ),
    )
    return out


@candidate_potentials.override("cupy", rows=DenseRows)
def one_pass_potentials(
    rows: DenseRows, closest: Array, candidates: Array, *, xp: Namespace
) -> Any:
    """Measure each row to all candidates while it is read once."""
    types = types_of(rows, candidates, closest)
    n_candidates, n_features = candidates.shape
    padded = next((width for width in _CANDIDATES if width >= n_candidates), None)
    if types is None or padded is None:
        return NotImplemented
    shared_bytes = padded * n_features * candidates.dtype.itemsize
    if shared_bytes > SHARED_BYTES:
        return NotImplemented
    rows_per_block, n_blocks = split(rows.n_points, MOST_BLOCKS)
    partials = cupy.empty((n_blocks, n_candidates), dtype=np.float64)
    launch(
        f"potentials<{types[0]}, {types[1]}, {padded}>",
        "seeding.cu",
        n_blocks,
        (
            *row_arguments(rows, with_weights=True),
            closest,
            candidates,
            np.int64(rows.n_points),
            np.int32(n_features),
            np.int32(n_candidates),
            np.int64(rows_per_block),
            partials,
        ),
        shared_bytes=shared_bytes,
    )
    return merged(partials)


@closer_of.override("cupy", rows=DenseRows)
def fused_fold(rows: DenseRows, closest: Array, candidate: Array, *, xp: Namespace) -> Any:
    """Take the difference and the minimum in one launch."""
    types = types_of(rows, candidate, closest)
    if types is None:
        return NotImplemented
    out = cupy.empty_like(closest)
    launch(
        f"fold_candidate<{types[0]}, {types[1]}>",
        "seeding.cu",
        -(-rows.n_points // N_THREADS),
        (
            *row_arguments(rows),
            closest,
            candidate,
            np.int64(rows.n_points),
            np.int32(rows.n_features),
            out,
        ),
    )
    return out


@row_uniforms.override("cupy")
def philox_on_device(
    rows: Rows, start: int, key: tuple[int, int], stream: int, *, xp: Namespace
) -> Any:
    """Make the numbers where they are used: nothing is uploaded."""
    uniforms = cupy.empty(rows.n_points, dtype=np.float64)
    if rows.n_points:
        launch(
            "philox_uniforms",
            "seeding.cu",
            -(-rows.n_points // N_THREADS),
            (
                np.int64(start),
                np.int64(rows.n_points),
                *(np.uint64(part) for part in key),
                np.uint64(stream),
                uniforms,
            ),
        )
    return uniforms
