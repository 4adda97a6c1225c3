"""Kernels for NumPy: tiles of rows over threads, BLAS scores, sums by a sparse one-hot product.

The constants were measured on two cores with AVX-512 and OpenBLAS 0.3.31. They change results by
rounding at most. Importing a module here registers its kernels.
"""

from kmeans_xp.kernels.for_numpy import (
    assignment,
    batches,
    directions,
    gathering,
    halves,
    least,
    measuring,
    seeding,
    silhouette,
    sparse,
    sums,
)
from kmeans_xp.kernels.sphere_tiles import register_sphere_tiles

__all__ = [
    "assignment",
    "batches",
    "directions",
    "gathering",
    "halves",
    "least",
    "measuring",
    "seeding",
    "silhouette",
    "sparse",
    "sums",
]

#: bytes of rows to scale at a time, for ``SphereRows``
_SCALED_BYTES = 2**22

register_sphere_tiles("numpy", _SCALED_BYTES)
