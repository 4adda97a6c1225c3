"""Where to compute: the rules of ``device=``, and bringing arrays there and back."""

import importlib
import logging
import re
from typing import Any, NamedTuple

import array_api_compat
import array_api_compat.numpy
import numpy as np

from kmeans_xp.config import default_device
from kmeans_xp.devices.availability import (
    DeviceUnavailableError,
    why_cupy_is_unusable,
)
from kmeans_xp.devices.libraries import (
    Array,
    Device,
    DType,
    Namespace,
    device_of,
    foreign_cuda_array,
    from_host,
    is_array,
    library_name,
    namespace_of,
    to_host,
)
from kmeans_xp.devices.sparse import Csr, SparseMatrix, csr_parts, is_sparse, sparse_matrix

__all__ = ["Placement", "adopted", "bring", "bring_parts", "choose", "device_kind", "send"]

logger = logging.getLogger("kmeans_xp")

#: "auto" leaves smaller NumPy arrays (bytes) where they are. A choice, not a measurement: below
#: it a fit takes milliseconds on a CPU, and the first use of CUDA alone takes longer.
_WORTH_MOVING = 8 * 2**20


class Placement(NamedTuple):
    """Where to compute, where results go, and why.

    Parameters
    ----------
    xp : namespace
        Library to compute with.
    device : device
        Where to compute, in that library's terms.
    home_xp : namespace
        Library of the input, to which results return.
    home_device : device
        Device of the input.
    reason : str
        One sentence for ``device_reason_``.
    is_streamed : bool
        Whether an array on the host is brought there block by block, in every visit.
    """

    xp: Namespace
    device: Device
    home_xp: Namespace
    home_device: Device
    reason: str
    is_streamed: bool = False

    @property
    def is_home(self) -> bool:
        """Whether the computation stays with the input's library and device."""
        return self.xp is self.home_xp and str(self.device) == str(self.home_device)


def choose(points: Array, device: str | None = None) -> Placement:
    """Decide where to compute with ``points``.

    Parameters
    ----------
    points : array of shape (n_points, n_features)
        Of any array library.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}
        None takes the default of ``config_context`` or KMEANS_XP_DEVICE, else follows the data.

    Returns
    -------
    Placement
        With the reason.

    Raises
    ------
    DeviceUnavailableError
        If the device that was named cannot be used.
    ValueError
        If ``device`` is none of the above.
    """
    xp, home = namespace_of(points), device_of(points)
    asked = device if device is not None else default_device()
    if asked is None:
        return Placement(xp, home, xp, home, f"the data are there ({library_name(xp)}, {home})")
    if asked == "auto":
        placement = Placement(*_automatic(points, xp, home), xp, home, "")
        placement = placement._replace(reason=_why_automatic(points, placement))
        logger.info("device='auto': %s", placement.reason)
        return placement
    kind, index = device_kind(asked)
    chosen = _on_cpu(xp) if kind == "cpu" else _on_cuda(xp, index)
    return Placement(*chosen, xp, home, f"device={asked!r} was asked for")


def bring(array: Any, placement: Placement, *, dtype: DType = None) -> Array:
    """Return ``array`` (of any library, on the host, or sparse) where the computation is."""
    return _moved(array, placement.xp, placement.device, dtype)


def bring_parts(matrix: SparseMatrix, placement: Placement) -> Csr:
    """Return the arrays of a sparse matrix where the computation is."""
    return _moved_parts(matrix, placement.xp, placement.device)


def send(array: Array, placement: Placement) -> Array:
    """Return a result to the library and device that the input came from."""
    if placement.is_home:
        return array
    return _moved(array, placement.home_xp, placement.home_device, None)


def adopted(value: Any) -> Any:
    """Return ``value`` as it is computed on: CUDA memory of no known library as CuPy's, no copy.

    A mask is refused, since it would be lost; a tensor that gradients flow to is taken without
    them, since results that are part of a graph keep all of it alive.
    """
    value = _settled(value)
    if not foreign_cuda_array(value):
        return value
    reason = why_cupy_is_unusable()
    if reason is not None:
        raise DeviceUnavailableError(f"{type(value).__name__} lies in CUDA memory, but {reason}.")
    if hasattr(value, "to_cupy"):  # cuDF
        return value.to_cupy()
    cupy = importlib.import_module("cupy")
    if hasattr(value, "__cuda_array_interface__"):
        return cupy.asarray(value)
    return cupy.from_dlpack(value)


def _settled(value: Any) -> Any:
    """Return a value without a gradient; raise ValueError if it has masked elements."""
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise ValueError(
                f"A masked array of shape {value.shape} has masked elements, which would be "
                "clustered as the numbers under the mask. Drop those rows "
                "(X[~np.ma.getmaskarray(X).any(axis=1)].data), or fill them: X.filled(value)."
            )
        return value.data
    if getattr(value, "requires_grad", False) is True and hasattr(value, "detach"):
        return value.detach()  # shares its memory
    return value


def _moved_parts(matrix: SparseMatrix, xp: Namespace, device: Device) -> Csr:
    data, indices, indptr, n_features = csr_parts(matrix)
    data, indices, indptr = (_moved(part, xp, device, None) for part in (data, indices, indptr))
    return Csr(data, indices, indptr, n_features)


def _moved(array: Any, xp: Namespace, device: Device, dtype: DType) -> Array:
    if is_sparse(array):
        return sparse_matrix(_moved_parts(array, xp, device))
    if type(array) is not np.ndarray:
        array = _settled(array)
    if not is_array(array):
        array = np.asarray(array)
    if namespace_of(array) is not xp:
        return from_host(to_host(array), xp=xp, device=device, dtype=dtype)
    if str(device_of(array)) != str(device):
        array = array_api_compat.to_device(array, device)
    return array if dtype is None else xp.astype(array, dtype, copy=False)


def device_kind(asked: str) -> tuple[str, int]:
    """Return "cpu" or "cuda", and the number of the device, that a name asks for."""
    match = re.fullmatch(r"(cpu|cuda)(?::(\d+))?", str(asked))
    if match is None or (match[1] == "cpu" and match[2]):
        raise ValueError(
            f"device={asked!r} is not known; use None, 'auto', 'cpu', 'cuda' or 'cuda:N'."
        )
    return match[1], int(match[2] or 0)


def _on_cpu(xp: Namespace) -> tuple[Namespace, Device]:
    library = library_name(xp)
    if library == "cupy":
        return array_api_compat.numpy, "cpu"
    if library == "jax":
        return xp, importlib.import_module("jax").devices("cpu")[0]
    if library == "array_api_strict":
        return xp, xp.Device("CPU_DEVICE")
    return xp, device_of(xp.empty(0, device="cpu"))


def _on_cuda(xp: Namespace, index: int) -> tuple[Namespace, Device]:
    library = library_name(xp)
    if library == "torch":
        torch = importlib.import_module("torch")
        if index < torch.cuda.device_count():
            return xp, torch.device("cuda", index)
        raise DeviceUnavailableError(
            f"device='cuda:{index}' was asked for, but this torch finds "
            f"{torch.cuda.device_count()} CUDA devices; install a CUDA build of torch, or pass a "
            "NumPy array to use CuPy."
        )
    reason = why_cupy_is_unusable()
    if reason is not None:
        raise DeviceUnavailableError(
            f"device='cuda:{index}' was asked for, but {reason}. Or use device='cpu'."
        )
    cupy = importlib.import_module("cupy")
    n_devices = cupy.cuda.runtime.getDeviceCount()
    if index >= n_devices:
        raise DeviceUnavailableError(
            f"device='cuda:{index}' was asked for, but CuPy finds {n_devices} CUDA devices; "
            f"use 'cuda:0' to 'cuda:{n_devices - 1}'."
        )
    return importlib.import_module("array_api_compat.cupy"), cupy.cuda.Device(index)


def _automatic(points: Array, xp: Namespace, home: Device) -> tuple[Namespace, Device]:
    if library_name(xp) != "numpy" or _nbytes(points) < _WORTH_MOVING:
        return xp, home
    return _on_cuda(xp, 0) if why_cupy_is_unusable() is None else (xp, home)


def _why_automatic(points: Array, placement: Placement) -> str:
    library = library_name(placement.home_xp)
    if not placement.is_home:
        return "CUDA is usable and the data are large enough to move (CuPy)"
    if library != "numpy":
        return f"the data are there already ({library}, {placement.home_device})"
    if _nbytes(points) < _WORTH_MOVING:
        return f"the data are small ({_nbytes(points) / 2**20:.1f} MiB): the CPU (NumPy) is enough"
    return f"the CPU (NumPy): {why_cupy_is_unusable()}"


def _nbytes(points: Array) -> int:
    if is_sparse(points):
        return int(points.nnz) * (int(points.dtype.itemsize) + int(points.indices.dtype.itemsize))
    itemsize = getattr(points.dtype, "itemsize", 8)
    return int(points.shape[0]) * int(points.shape[1]) * int(itemsize)
