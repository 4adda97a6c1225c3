"""The record of an array library: what differs between libraries outside the Array API."""

import functools
import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import array_api_compat
import numpy as np

from kmeans_xp.devices.availability import on_cuda, why_cupy_is_unusable

__all__ = ["Library", "is_bfloat16", "is_half"]

Host = np.ndarray[Any, Any]

#: which library's kernels compute in each of DLPack's kinds of memory: on the host, pinned on
#: the host, on CUDA, managed by CUDA
_LENDERS = {1: "numpy", 3: "numpy", 2: "cupy", 13: "cupy"}


class Library:
    """What is special about a library; this class describes one without peculiarities.

    Parameters
    ----------
    name : str
        The name to import.
    """

    #: packages beside ``kmeans_xp.kernels.kernel`` that hold its kernels, the fastest last
    kernels: tuple[str, ...] = ()
    #: whether it computes only on accelerators, or never; None: look at the device
    on_accelerator: bool | None = None
    #: whether it sums in float64 on every device
    has_float64 = False
    #: whether its float32 numbers below the smallest normal one, 1.2e-38, count as 0
    flushes_subnormals = False
    #: whether its kernels use threads of this process, and several may run at a time
    has_threaded_kernels = False
    #: whether to upload blocks while it computes
    uploads_ahead = False
    #: whether it lacks too much of the Array API for the portable kernels
    needs_lender = False
    #: the module of its Array API namespace, if that is not the library itself
    namespace_name: str | None = None
    #: words in its errors when memory runs out, where these are not MemoryErrors
    out_of_memory: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    @functools.cached_property
    def module(self) -> Any:
        """The library itself."""
        return importlib.import_module(self.name)

    @functools.cached_property
    def namespace(self) -> Any:
        """Its Array API namespace."""
        return importlib.import_module(self.namespace_name or self.name)

    def device_named(self, name: str, xp: Any) -> Any:
        """Return the device that is called so, or None, which is the default one."""
        found = (each for each in xp.__array_namespace_info__().devices() if str(each) == name)
        return next(found, None)

    def device(self, array: Any) -> Any:
        """Return an array's device, in the library's own terms."""
        return array_api_compat.device(array)

    def settled(self, array: Any) -> Any:
        """Return an array without extras that computation must not keep, such as a gradient."""
        return array

    def to_host(self, array: Any) -> Host:
        """Return a NumPy array; from another device, waits for it and copies."""
        return np.asarray(array)

    def from_host(self, host: Host, xp: Any, device: Any) -> Any:
        """Return a host array on a device."""
        return xp.asarray(host, device=device)

    def held(self, array: Any, xp: Any, device: Any) -> Any:
        """Return an array of NumPy or CuPy in a dtype of this library: its own, or half as wide."""
        if self.has_float64 or array.dtype.itemsize < 8:
            return array
        name = array.dtype.name
        dtypes = xp.__array_namespace_info__().dtypes(device=device)
        return array if name in dtypes else array.astype(name.replace("64", "32"))

    def begin_read(self, array: Any) -> Callable[[], Host]:
        """Start copying a small array to the host; calling the result waits only for that."""
        return lambda: self.to_host(array)

    def lender(self, array: Any) -> str | None:
        """Return the library whose kernels can compute in an array's memory; None for its own."""
        lender = _LENDERS.get(array.__dlpack_device__()[0]) if _has_dlpack(array) else None
        if lender == "cupy" and why_cupy_is_unusable() is not None:
            return None
        # NumPy and CuPy have no bfloat16.
        return None if is_bfloat16(array.dtype) else lender

    def shared(self, array: Any, xp: Any, device: Any = None) -> Any:
        """Return another library's array as an array of this one, ``xp``, without a copy."""
        return xp.from_dlpack(array)

    def seen_by_numpy(self, array: Any) -> Host | None:
        """Return an array as NumPy's if that is quickly done; None tells nothing."""
        return None

    def lasting(self, array: Any, xp: Any, device: Any) -> Any:
        """Return a NumPy array as ``shared`` does, for use in any state of the library."""
        return self.shared(array, xp, device)

    def lent(self, array: Any, borrower: "Library", xp: Any) -> Any:
        """Return this library's array as an array of ``borrower``, ``xp``, without a copy."""
        return borrower.shared(array, xp)

    def working(self, device: Any) -> AbstractContextManager[object]:
        """Return a context in which work runs on a device, in the configured precision."""
        return nullcontext()

    def lending(self, array_device: Any) -> AbstractContextManager[object]:
        """Return a context that keeps another library's work in order with this library's."""
        return nullcontext()

    def cpu(self, xp: Any) -> tuple[Any, Any]:
        """Return the namespace and the device for "cpu"."""
        return xp, array_api_compat.device(xp.empty(0, device="cpu"))

    def cuda(self, xp: Any, index: int) -> tuple[Any, Any]:
        """Return the namespace and the device for "cuda:index"."""
        device = on_cuda(index)
        return importlib.import_module("array_api_compat.cupy"), device

    def free_memory(self, device: Any) -> int | None:
        """Return the number of free bytes on a device; None if unknown."""
        return None

    def is_accelerator(self, device: Any) -> bool:
        """Return whether a device is not a CPU."""
        return any(word in str(device) for word in ("cuda", "gpu", "mps", "xpu"))


# Typed: array-api-strict's dtypes have the hash of NumPy's, and warn when compared with those.
@functools.lru_cache(maxsize=None, typed=True)
def is_bfloat16(dtype: Any) -> bool:
    """Return whether a dtype is the one that NumPy and CuPy do not have."""
    return str(dtype).endswith("bfloat16")


@functools.lru_cache(maxsize=None, typed=True)
def is_half(dtype: Any) -> bool:
    """Return whether a dtype is float16 or bfloat16."""
    return str(dtype).endswith("float16")


def _has_dlpack(array: Any) -> bool:
    return hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__")
