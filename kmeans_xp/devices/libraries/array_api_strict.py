"""The Array API and no more: array-api-strict."""

from typing import Any

import array_api_compat
import numpy as np

from kmeans_xp.devices.libraries.record import Host, Library

__all__ = ["ArrayApiStrict"]


class ArrayApiStrict(Library):
    """Pretends to have several devices."""

    def to_host(self, array: Any) -> Host:
        """Return a NumPy array, by way of the library's CPU device."""
        _, cpu = self.cpu(array.__array_namespace__())
        return np.asarray(array_api_compat.to_device(array, cpu))

    def lender(self, array: Any) -> None:
        """Return None: this library is for testing portable code, so it computes itself."""

    def cpu(self, xp: Any) -> tuple[Any, Any]:
        """Return its CPU device."""
        return xp, xp.Device("CPU_DEVICE")
