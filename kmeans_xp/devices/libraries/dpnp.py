"""NumPy on SYCL devices: dpnp."""

from typing import Any

import numpy as np

from kmeans_xp.devices.libraries.record import Host, Library

__all__ = ["Dpnp"]


class Dpnp(Library):
    """Works on devices with queues; the host may be one of them."""

    out_of_memory = ("USMAllocationError",)

    def to_host(self, array: Any) -> Host:
        """Return a copy on the host; dpnp never makes one implicitly."""
        return np.asarray(array.asnumpy())

    def lender(self, array: Any) -> None:
        """Return None: other libraries do not wait for the queue that orders its work."""
