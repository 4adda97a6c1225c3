"""MLX, on a CPU."""

from typing import Any

from kmeans_xp.devices.libraries.record import Library

__all__ = ["Mlx"]


class Mlx(Library):
    """Has arrays without a device: operations have one, and all devices share the memory."""

    needs_lender = True
    out_of_memory = ("Attempting to allocate", "[malloc")

    def device(self, array: Any) -> Any:
        """Return the default device of operations."""
        return array.__array_namespace__().default_device()
