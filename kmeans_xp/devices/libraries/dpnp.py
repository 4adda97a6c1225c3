"""NumPy on SYCL devices: dpnp."""

from typing import Any

import numpy as np

from kmeans_xp.devices.libraries.record import Host, Library

__all__ = ["Dpnp"]


class Dpnp(Library):
    """Works on devices with queues, of which the host may be one."""

    out_of_memory = ("USMAllocationError",)
    pickles_load_anywhere = False  # nowhere: there are none

    def to_host(self, array: Any) -> Host:
        """Return a copy on the host, which is never made by itself."""
        return np.asarray(array.asnumpy())

    def lender(self, array: Any) -> None:
        """Return None: what lies in unified memory is in the order of a queue."""
