"""Arrays of any library: their library, device, copies and dtypes."""

from collections.abc import Callable
from typing import Any, TypeAlias

import array_api_compat
import array_api_compat.numpy
import numpy as np

from kmeans_xp.devices.libraries import library_name, library_of
from kmeans_xp.devices.libraries.record import is_bfloat16
from kmeans_xp.devices.sparse import dense_types, is_sparse, stored

__all__ = [
    "Array",
    "DType",
    "Device",
    "Namespace",
    "accumulation_dtype",
    "begin_read",
    "computing_dtype",
    "device_of",
    "foreign_cuda_array",
    "from_host",
    "is_array",
    "is_host_array",
    "is_known_array",
    "is_of_kind",
    "namespace_of",
    "taken",
    "to_host",
]

# The Array API has no static types yet: these names only document.
Array: TypeAlias = Any
Namespace: TypeAlias = Any
DType: TypeAlias = Any
Device: TypeAlias = Any

#: by the type of an array or a sparse matrix
_namespaces: dict[type, Namespace] = {np.ndarray: array_api_compat.numpy}

#: kDLCUDA of the DLPack standard
_DLPACK_CUDA = 2


def is_array(value: object) -> bool:
    """Return whether ``value`` is an array of a library that supports the Array API."""
    return type(value) in dense_types or bool(array_api_compat.is_array_api_obj(value))


def is_known_array(value: object) -> bool:
    """Return whether the type of ``value`` is already known as an array's; takes no time."""
    return type(value) in dense_types


def is_host_array(value: object) -> bool:
    """Return whether ``value`` is of NumPy or SciPy, or not an array: NumPy handles all these."""
    if not is_sparse(value) and not is_array(value):
        return True
    return library_name(namespace_of(value)) == "numpy"


def namespace_of(*arrays: Array) -> Namespace:
    """Return the Array API namespace of the arrays; TypeError if their libraries differ."""
    if len(arrays) == 1 and (known := _namespaces.get(type(arrays[0]))) is not None:
        return known  # the look-up takes longer than an operation on few rows
    dense = tuple(stored(array) if is_sparse(array) else array for array in arrays)
    try:
        namespace = array_api_compat.array_namespace(*dense)
    except TypeError as error:
        names = sorted({type(array).__module__.partition(".")[0] for array in dense})
        raise TypeError(
            f"The arrays are of different libraries ({', '.join(names)}): {error}. "
            "Convert them to one library first."
        ) from error
    if len(arrays) == 1:
        _namespaces[type(arrays[0])] = namespace
        if dense[0] is arrays[0]:
            dense_types.add(type(arrays[0]))
    return namespace


def device_of(array: Array) -> Device:
    """Return the array's device, in its library's own terms."""
    if type(array) is np.ndarray:
        return "cpu"
    array = stored(array) if is_sparse(array) else array
    return library_of(namespace_of(array)).device(array)


def to_host(array: Array) -> np.ndarray[Any, Any]:
    """Return a NumPy array; from another device, waits for it and copies."""
    if isinstance(array, np.ndarray):
        return array
    if not is_array(array):
        return np.asarray(array)
    return library_of(namespace_of(array)).to_host(array)


def from_host(
    host: np.ndarray[Any, Any], *, xp: Namespace, device: Device, dtype: DType = None
) -> Array:
    """Return a host array on ``device``, in ``dtype`` (default: its own, or half as wide)."""
    library = library_of(xp)
    made = library.from_host(library.held(host, xp, device), xp, device)
    return made if dtype is None else xp.astype(made, dtype, copy=False)


def taken(points: Array, indices: Array) -> Array:
    """Return some rows of an array or of a matrix in CSR form, where they are."""
    if type(points) is np.ndarray:
        if points.flags.c_contiguous:
            return points.take(indices, axis=0)
        return np.ascontiguousarray(points[indices])  # `take` would copy all of them first
    if is_sparse(points):
        return points[indices]
    return namespace_of(points).take(points, indices, axis=0)


def begin_read(array: Array) -> Callable[[], np.ndarray[Any, Any]]:
    """Start copying a small array to the host; calling the result waits only for that copy."""
    if not is_array(array):
        return lambda: to_host(array)
    return library_of(namespace_of(array)).begin_read(array)


def is_of_kind(array: Array, kind: str | tuple[str, ...]) -> bool:
    """Return whether the array's dtype is of the given kind, as in the Array API's ``isdtype``."""
    if is_bfloat16(array.dtype):  # NumPy's and CuPy's isdtype refuse it
        return "real floating" in kind
    return bool(namespace_of(array).isdtype(array.dtype, kind))


def computing_dtype(dtype: DType, *, xp: Namespace) -> DType:
    """Return the dtype to compute in: float64 for float64, otherwise float32."""
    return xp.float64 if dtype == xp.float64 else xp.float32


def accumulation_dtype(device: Device, *, xp: Namespace) -> DType:
    """Return the dtype to sum in: float64 where the device has it, otherwise float32."""
    if library_of(xp).has_float64:
        return xp.float64
    dtypes = xp.__array_namespace_info__().dtypes(device=device, kind="real floating")
    return dtypes.get("float64", xp.float32)


def foreign_cuda_array(value: Any) -> bool:
    """Return whether ``value`` holds CUDA memory and does not support the Array API."""
    if is_array(value):
        return False
    if hasattr(value, "to_cupy") or hasattr(value, "__cuda_array_interface__"):
        return True
    has_dlpack = hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__")
    return has_dlpack and value.__dlpack_device__()[0] == _DLPACK_CUDA
