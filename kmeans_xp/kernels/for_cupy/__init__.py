"""Kernels for CuPy, compiled by NVRTC on first use, and how steps are queued on its device."""

from kmeans_xp.kernels.for_cupy import kernels, sparse, stepping

__all__ = ["kernels", "sparse", "stepping"]
