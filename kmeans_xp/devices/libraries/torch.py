"""PyTorch."""

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from kmeans_xp.devices.availability import DeviceUnavailableError, why_cupy_is_unusable
from kmeans_xp.devices.libraries.record import Host, Library

__all__ = ["Torch"]


class Torch(Library):
    """Has gradients, no read-only tensors, and its own CUDA streams."""

    namespace_name = "array_api_compat.torch"
    out_of_memory = ("OutOfMemoryError", "can't allocate memory")

    def device(self, array: Any) -> Any:
        """Return the device of a tensor."""
        return array.device

    def device_named(self, name: str, xp: Any) -> Any:
        """Return the device that is called so, or None, which is the default one."""
        # To list its devices, array-api-compat tries all kinds, and torch warns of some.
        try:
            return self.module.empty(0, device=name).device
        except (AssertionError, RuntimeError):  # a build without that kind; a machine without it
            return None

    def settled(self, array: Any) -> Any:
        """Return a tensor of the same memory without its gradient."""
        # Results with a graph would keep all of it alive.
        return array.detach() if array.requires_grad else array

    def to_host(self, array: Any) -> Host:
        """Return a tensor as NumPy."""
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":
            array = array.float()  # NumPy has no bfloat16
        return np.asarray(array.resolve_conj().resolve_neg().numpy())

    def from_host(self, host: Host, xp: Any, device: Any) -> Any:
        """Return a host array as a tensor."""
        if not host.flags.writeable or min(host.strides, default=0) < 0:
            # torch has no read-only tensors: it warns and shares the memory. Nor has it negative
            # strides.
            host = host.copy()
        return xp.asarray(host, device=device)

    def held(self, array: Any, xp: Any, device: Any) -> Any:
        """Return an array in a dtype that torch has on a device; it has all of them on the host."""
        # To ask for its list of dtypes takes longer than a step on few rows.
        is_held = array.dtype.itemsize < 8 or str(device) == "cpu"
        return array if is_held else super().held(array, xp, device)

    def shared(self, array: Any, xp: Any) -> Any:
        """Return an array of NumPy or CuPy as a tensor of the same memory."""
        if not isinstance(array, np.ndarray):
            return xp.from_dlpack(array)
        if array.flags.writeable and array.flags.c_contiguous:
            return self.module.from_numpy(array)
        return self.from_host(array, xp, "cpu")

    def lender(self, array: Any) -> str | None:
        """Return the library whose kernels can compute in a tensor's memory; None for its own."""
        if not array.is_cpu:
            return super().lender(array)
        return None if array.dtype is self.module.bfloat16 else "numpy"

    def lent(self, array: Any, borrower: Library, xp: Any) -> Any:
        """Return a tensor as an array of the same memory."""
        # This takes a tenth of DLPack's time.
        return array.numpy() if borrower.name == "numpy" else borrower.shared(array, xp)

    def lending(self, array_device: Any) -> AbstractContextManager[object]:
        """Let CuPy use torch's current stream, so that neither waits for the other."""
        if getattr(array_device, "type", "cpu") != "cuda" or why_cupy_is_unusable() is not None:
            return nullcontext()
        torch, cupy = self.module, importlib.import_module("cupy")
        stream = torch.cuda.current_stream(array_device).cuda_stream
        context: AbstractContextManager[object] = cupy.cuda.ExternalStream(stream)
        return context

    def cuda(self, xp: Any, index: int) -> tuple[Any, Any]:
        """Return torch's own device."""
        torch = self.module
        if index < torch.cuda.device_count():
            return xp, torch.device("cuda", index)
        raise DeviceUnavailableError(
            f"device='cuda:{index}' was asked for, but this torch finds "
            f"{torch.cuda.device_count()} CUDA devices; install a CUDA build of torch, or pass a "
            "NumPy array to use CuPy."
        )
