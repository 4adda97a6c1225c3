"""Where an array lay, in words that a file can hold, and the way back there."""

import logging
from typing import Any

import numpy as np

from kmeans_xp.devices.arrays import Array, device_of, from_host, namespace_of, to_host
from kmeans_xp.devices.libraries import LIBRARIES, library_name, record_of
from kmeans_xp.devices.libraries.record import is_bfloat16

__all__ = ["back_home", "without_library"]

logger = logging.getLogger("kmeans_xp")

#: names of a library and of one of its devices
Home = tuple[str, str]


def without_library(array: Array) -> tuple[np.ndarray[Any, Any], Home]:
    """Return an array as NumPy's own, for a file that opens anywhere, and its home."""
    host = to_host(array)
    if is_bfloat16(host.dtype):  # another package's dtype; float32 has all of its numbers
        host = host.astype(np.float32)
    return host, (library_name(namespace_of(array)), str(device_of(array)))


def back_home(host: np.ndarray[Any, Any], home: Home) -> Array:
    """Return a host array brought home; as it is where that library cannot be used."""
    name, device = home  # without that device, the library's default one
    if name not in LIBRARIES:  # a file must not choose any module that is then imported
        return host
    library = record_of(name)
    try:
        xp = library.namespace
        return from_host(host, xp=xp, device=library.device_named(device, xp))
    except Exception as error:  # noqa: BLE001 (drivers and libraries fail in their own ways)
        logger.info("%s cannot be used (%s): its arrays stay NumPy's", name, error)
        return host
