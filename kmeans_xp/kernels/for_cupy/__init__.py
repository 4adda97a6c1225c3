"""Kernels for CuPy, compiled by NVRTC on first use, and how steps are queued on its device."""

from kmeans_xp.kernels.for_cupy import labels, moments, seeding, sparse, stepping, sums

__all__ = ["labels", "moments", "seeding", "sparse", "stepping", "sums"]
