"""One record for each array library: a file in this folder, and a line of the table."""

import functools
from typing import Any

from kmeans_xp.devices.libraries.array_api_strict import ArrayApiStrict
from kmeans_xp.devices.libraries.cupy import CuPy
from kmeans_xp.devices.libraries.dpnp import Dpnp
from kmeans_xp.devices.libraries.jax import Jax
from kmeans_xp.devices.libraries.mlx import Mlx
from kmeans_xp.devices.libraries.numpy import NumPy
from kmeans_xp.devices.libraries.record import Library
from kmeans_xp.devices.libraries.torch import Torch

__all__ = ["LIBRARIES", "Library", "library_name", "library_of", "record_of"]

#: libraries that we look for and test; any other with the Array API gets the plain record
LIBRARIES: dict[str, type[Library]] = {
    "numpy": NumPy,
    "cupy": CuPy,
    "torch": Torch,
    "jax": Jax,
    "dpnp": Dpnp,
    "mlx": Mlx,
    "array_api_strict": ArrayApiStrict,
}


@functools.cache
def library_name(xp: Any) -> str:
    """Return the library's own name: "numpy" for ``array_api_compat.numpy`` and so on."""
    name: str = xp.__name__
    return name.removeprefix("array_api_compat.").partition(".")[0]


@functools.cache
def record_of(name: str) -> Library:
    """Return the record of the library of this name."""
    return LIBRARIES.get(name, Library)(name)


@functools.cache
def library_of(xp: Any) -> Library:
    """Return the record of the library of a namespace."""
    return record_of(library_name(xp))
