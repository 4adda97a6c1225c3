"""MLX, on a CPU."""

from typing import Any

import numpy as np

from kmeans_xp.devices.libraries.record import Host, Library, is_bfloat16

__all__ = ["Mlx"]


class Mlx(Library):
    """Has arrays without a device: operations have one, and all devices share the memory."""

    namespace_name = "mlx.core"
    needs_lender = True
    out_of_memory = ("Attempting to allocate", "[malloc")

    def device(self, array: Any) -> Any:
        """Return the default device of operations."""
        return array.__array_namespace__().default_device()

    def settled(self, array: Any) -> Any:
        """Return the array; as float32 if it is of a dtype that no lender has."""
        xp = array.__array_namespace__()
        return array.astype(xp.float32) if is_bfloat16(array.dtype) else array

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

    def shared(self, array: Any, xp: Any, device: Any = None) -> Any:
        """Return an array of NumPy as MLX's."""
        # from_dlpack would make float32 of it.
        is_wide = array.dtype == np.float64
        return xp.array(array, dtype=xp.float64) if is_wide else xp.from_dlpack(array)
