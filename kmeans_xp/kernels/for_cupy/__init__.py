"""Kernels for CuPy, compiled by NVRTC on first use, and how steps are queued on its device."""

from kmeans_xp.kernels.for_cupy import labels, moments, problems, seeding, sparse, stepping, sums
from kmeans_xp.kernels.sphere_tiles import register_sphere_tiles

__all__ = ["labels", "moments", "problems", "seeding", "sparse", "stepping", "sums"]

#: bytes of rows that are scaled at a time, for ``SphereRows``
_SCALED_BYTES = 2**26

register_sphere_tiles("cupy", _SCALED_BYTES)
