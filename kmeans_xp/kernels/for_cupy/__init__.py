"""Kernels for CuPy, which NVRTC compiles at first use, and the queueing of steps on the device."""

from kmeans_xp.kernels.for_cupy import labels, moments, problems, seeding, sparse, stepping, sums
from kmeans_xp.kernels.sphere_tiles import register_sphere_tiles

__all__ = ["labels", "moments", "problems", "seeding", "sparse", "stepping", "sums"]

#: bytes of rows to scale at a time, for ``SphereRows``
_SCALED_BYTES = 2**26

register_sphere_tiles("cupy", _SCALED_BYTES)
