"""Kernels for CuPy, compiled by NVRTC on first use, and how steps are queued on its device."""

from kmeans_xp.kernels.for_cupy import labels, seeding, sparse, stepping, sums

__all__ = ["labels", "seeding", "sparse", "stepping", "sums"]
