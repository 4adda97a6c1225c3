"""NumPy."""

from typing import Any

from kmeans_xp.devices.libraries.record import Library

__all__ = ["NumPy"]


class NumPy(Library):
    """Computes on the host, with compiled kernels where numba is usable."""

    kernels = ("for_numpy", "for_numba")
    on_accelerator = False
    has_float64 = True
    has_threaded_kernels = True

    def lender(self, array: Any) -> None:
        """Return None: it has its own kernels."""
