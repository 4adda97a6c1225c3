"""Kernels for NumPy that numba compiles: rows in the lanes of vectors, scores in registers.

No matrix of scores or distances ever lies in memory. What is done with a row, and the order in
which sums are added, depends on the shapes alone: results are bit-equal for every number of
threads. Importing a module here registers its kernels.
"""

from kmeans_xp.kernels.for_numba import (
    assignment,
    bounds,
    directions,
    halves,
    kept_trials,
    measuring,
    problems,
    runs,
    seeding,
    silhouette,
    skipped_seeding,
    small_seeding,
    small_sparse_runs,
    small_sparse_seeding,
    small_sparse_steps,
    sparse_assignment,
    sparse_batches,
    sparse_columns,
    sparse_gathering,
    sparse_measuring,
    sparse_seeding,
    sparse_silhouette,
    sparse_stepping,
    splits,
    stepping,
    updating,
    waiting,
)
from kmeans_xp.kernels.for_numba.emitted.code_vectors import HAS_PRODUCTS

if HAS_PRODUCTS:  # what it compiles to are instructions of such processors
    from kmeans_xp.kernels.for_numba import certified, pair_bounds  # noqa: F401

__all__ = [
    "assignment",
    "bounds",
    "directions",
    "halves",
    "kept_trials",
    "measuring",
    "problems",
    "runs",
    "seeding",
    "silhouette",
    "skipped_seeding",
    "small_seeding",
    "small_sparse_runs",
    "small_sparse_seeding",
    "small_sparse_steps",
    "sparse_assignment",
    "sparse_batches",
    "sparse_columns",
    "sparse_gathering",
    "sparse_measuring",
    "sparse_seeding",
    "sparse_silhouette",
    "sparse_stepping",
    "splits",
    "stepping",
    "updating",
    "waiting",
]
