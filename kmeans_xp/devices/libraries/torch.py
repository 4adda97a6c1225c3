"""PyTorch."""

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from kmeans_xp.config import computes_by_its_own
from kmeans_xp.devices.availability import DeviceUnavailableError, why_cupy_is_unusable
from kmeans_xp.devices.libraries.record import Host, Library, is_half

__all__ = ["Torch"]

_SPARSE = (
    "Sparse rows are taken as a matrix of scipy.sparse, or of cupyx.scipy.sparse on CUDA: "
    "X = X.to_sparse_csr(); X = scipy.sparse.csr_array((X.values(), X.col_indices(), "
    "X.crow_indices()), X.shape). Or pass X.to_dense()"
)


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
        array = array.detach() if array.requires_grad else array
        # To look closer takes longer than to try: ``lent`` does so after a failure.
        return array if array.is_cpu and not computes_by_its_own() else self._readable(array)

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

    def shared(self, array: Any, xp: Any, device: Any = None) -> Any:
        """Return an array of NumPy or CuPy as a tensor of the same memory."""
        if not isinstance(array, np.ndarray):
            return xp.from_dlpack(array)
        if array.flags.writeable and array.flags.c_contiguous:
            return self.module.from_numpy(array)
        return self.from_host(array, xp, "cpu")

    def lasting(self, array: Any, xp: Any, device: Any) -> Any:
        """Return a tensor of the same memory that can be used outside of the caller's contexts."""
        made = self.shared(array, xp, device)
        if type(made) is self.module.Tensor and not made.is_inference() and _has_memory(made):
            return made
        # In inference_mode, a tensor never takes part in a gradient. In torch.func.grad, and in
        # modes that trace, from_numpy returns one that has no memory afterwards.
        with self.module.inference_mode(False):
            return self.module.from_dlpack(array if array.flags.writeable else array.copy())

    def seen_by_numpy(self, array: Any) -> Host | None:
        """Return a tensor as NumPy's if it has memory on the host and no gradient."""
        try:
            return _widened(array).numpy() if array.is_cpu else None  # a tenth of DLPack's time
        except (RuntimeError, TypeError):
            return None

    def lender(self, array: Any) -> str | None:
        """Return the library whose kernels can compute in a tensor's memory; None for its own."""
        return "numpy" if array.is_cpu else super().lender(array)

    def lent(self, array: Any, borrower: Library, xp: Any) -> Any:
        """Return a tensor as an array of the same memory; on the host, of float32 for halves."""
        if borrower.name != "numpy":
            return borrower.shared(array, xp)
        try:
            return _widened(array).numpy()  # this takes a tenth of DLPack's time
        except (RuntimeError, TypeError):
            return _widened(self._readable(array)).numpy()

    def _readable(self, array: Any) -> Any:
        """Return a tensor whose memory holds its numbers; TypeError if none does."""
        reason = _why_unreadable(array, self.module)
        if reason is not None:
            raise TypeError(f"kmeans_xp got a {reason}.")
        # Tensors of such flags share memory whose numbers they count as negative or conjugate.
        return array.resolve_conj().resolve_neg()

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


def _widened(array: Any) -> Any:
    """Return a tensor, in float32 if it is of halves: compiled code has none of these."""
    return array.float() if is_half(array.dtype) else array


def _why_unreadable(array: Any, torch: Any) -> str | None:
    """Return which tensor cannot be read, and what to do; None if it can."""
    if array.layout in (torch.sparse_coo, torch.sparse_csr):
        return f"sparse tensor ({array.layout}). {_SPARSE}"
    if array.layout != torch.strided:
        return f"tensor of layout {array.layout}: pass X.to_dense()"
    if array.is_quantized:
        return f"quantized tensor ({array.dtype}): pass X.dequantize()"
    if "float8" in str(array.dtype):
        return f"tensor of {array.dtype}: pass X.float()"
    if array.is_meta:
        return "meta tensor, which has a shape but no numbers: pass a tensor of another device"
    if not _has_memory(array):
        return (
            "tensor inside torch.vmap, torch.func.grad or the like: clustering chooses and stops "
            "by numbers, which it does not have there. Call it outside"
        )
    return None


def _has_memory(array: Any) -> bool:
    try:
        # Detached: torch.func.grad wraps what any operation returns.
        return bool(array.detach().data_ptr() != 0 or array.numel() == 0)
    except RuntimeError:
        return False
