"""What the Array API says and no more: array-api-strict."""

from typing import Any

import array_api_compat
import numpy as np

from kmeans_xp.devices.libraries.record import Host, Library

__all__ = ["ArrayApiStrict"]


class ArrayApiStrict(Library):
    """Pretends to have several devices."""

    def to_host(self, array: Any) -> Host:
        """Return the array as NumPy, from its device for the host."""
        _, cpu = self.cpu(array.__array_namespace__())
        return np.asarray(array_api_compat.to_device(array, cpu))

    def lender(self, array: Any) -> None:
        """Return None: it is there to find out what array code does."""

    def cpu(self, xp: Any) -> tuple[Any, Any]:
        """Return its device for the host."""
        return xp, xp.Device("CPU_DEVICE")
