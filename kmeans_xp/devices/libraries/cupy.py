"""CuPy."""

import importlib
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, ClassVar

import array_api_compat.numpy
import numpy as np

from kmeans_xp.devices.libraries.record import Host, Library

__all__ = ["CuPy"]


class _Read:
    """A running copy to pinned memory; a call waits for it and returns the values.

    CuPy reuses pinned memory as soon as it is free, on any stream, even while a copy still writes
    there. So a read that is dropped early keeps its memory in ``left`` until the copy is done.
    """

    #: memory of dropped reads; a thread takes out the items it looks at, since others may run
    left: ClassVar[deque[tuple[Host, Any]]] = deque()

    def __init__(self, pinned: Host, copied: Any) -> None:
        self.pinned = pinned
        self.copied = copied
        with suppress(IndexError):  # another thread took it
            for _ in range(len(self.left)):
                each = self.left.popleft()
                if not each[1].done:
                    self.left.append(each)

    def __call__(self) -> Host:
        self.copied.synchronize()
        return np.asarray(self.pinned)

    def __del__(self) -> None:
        if not self.copied.done:
            self.left.append((self.pinned, self.copied))


class CuPy(Library):
    """Computes on CUDA devices, with its own kernels."""

    kernels = ("for_cupy",)
    on_accelerator = True
    uploads_ahead = True
    flushes_subnormals = True  # it compiles with -ftz=true
    namespace_name = "array_api_compat.cupy"

    def to_host(self, array: Any) -> Host:
        """Return a copy on the host."""
        return np.asarray(array.get())

    def begin_read(self, array: Any) -> Callable[[], Host]:
        """Start copying a small array to the host; no other work waits for it."""
        cupy, cupyx = self.module, importlib.import_module("cupyx")
        # Only a copy to pinned memory returns before it is done.
        pinned = cupyx.empty_pinned(array.shape, dtype=array.dtype)
        array.get(out=pinned, blocking=False)
        copied = cupy.cuda.Event(block=False, disable_timing=True)
        copied.record()
        return _Read(pinned, copied)

    def lender(self, array: Any) -> None:
        """Return None: it has its own kernels."""

    def working(self, device: Any) -> AbstractContextManager[object]:
        """Return the device: CuPy launches on the current one, wherever its arguments are."""
        context: AbstractContextManager[object] = device
        return context

    def cpu(self, xp: Any) -> tuple[Any, Any]:
        """Return NumPy, since CuPy has no arrays on the host."""
        return array_api_compat.numpy, "cpu"

    def free_memory(self, device: Any) -> int:
        """Return the number of free bytes of CUDA and of CuPy's pool."""
        cupy = self.module
        with device:
            free, _ = cupy.cuda.runtime.memGetInfo()
            return int(free + cupy.get_default_memory_pool().free_bytes())
