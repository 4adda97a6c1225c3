"""MLX, on a CPU."""

from typing import Any

import numpy as np

from kmeans_xp.devices.libraries.record import Host, Library, is_half

__all__ = ["Mlx"]


class Mlx(Library):
    """Has arrays without a device: operations have one, and all devices share the memory."""

    namespace_name = "mlx.core"
    needs_lender = True
    out_of_memory = ("Attempting to allocate", "[malloc")

    def device(self, array: Any) -> Any:
        """Return the default device of operations."""
        return array.__array_namespace__().default_device()

    def device_named(self, name: str, xp: Any) -> Any:
        """Return the default device of operations, which says what dtypes there are."""
        return xp.default_device()

    def cpu(self, xp: Any) -> tuple[Any, Any]:
        """Return the default device of operations: NumPy computes in the memory of all devices."""
        return xp, xp.default_device()

    def from_host(self, host: Host, xp: Any, device: Any) -> Any:
        """Return a copy of a host array; ``from_dlpack`` takes none that is read-only."""
        is_wide = host.dtype == np.float64
        return xp.array(host, dtype=xp.float64) if is_wide else xp.array(host)

    def lender(self, array: Any) -> str | None:
        """Return the library whose kernels can compute in an array's memory, or in a copy."""
        return super().lender(_widened(array))

    def lent(self, array: Any, borrower: Library, xp: Any) -> Any:
        """Return an array as one of the same memory, of float32 for halves."""
        return super().lent(_widened(array), borrower, xp)

    def shared(self, array: Any, xp: Any, device: Any = None) -> Any:
        """Return an array of NumPy as MLX's."""
        # from_dlpack would make float32 of it.
        is_wide = array.dtype == np.float64
        return xp.array(array, dtype=xp.float64) if is_wide else xp.from_dlpack(array)


def _widened(array: Any) -> Any:
    """Return an array, in float32 if it is of halves: compiled code has none of these."""
    return array.astype(array.__array_namespace__().float32) if is_half(array.dtype) else array
