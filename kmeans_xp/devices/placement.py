"""Where to compute: the rules for ``device=``, and how arrays get there and back."""

import functools
import importlib
import logging
import re
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, NamedTuple

import array_api_compat
import array_api_compat.numpy
import numpy as np
import sklearn

from kmeans_xp.config import computes_by_its_own, default_device
from kmeans_xp.devices.arrays import (
    Array,
    Device,
    DType,
    Namespace,
    device_of,
    foreign_cuda_array,
    from_host,
    is_array,
    is_known_array,
    namespace_of,
    to_host,
)
from kmeans_xp.devices.availability import DeviceUnavailableError, why_cupy_is_unusable
from kmeans_xp.devices.libraries import library_name, library_of
from kmeans_xp.devices.libraries.record import is_half
from kmeans_xp.devices.memory import readable_size
from kmeans_xp.devices.sparse import (
    Csr,
    SparseMatrix,
    csr_parts,
    is_sparse,
    refuse_unknown_sparse,
    sparse_matrix,
)

__all__ = [
    "Placement",
    "adopted",
    "bring",
    "bring_parts",
    "choose",
    "device_kind",
    "kept",
    "lent",
    "send",
    "working_device",
]

logger = logging.getLogger("kmeans_xp")

#: "auto" leaves NumPy arrays with fewer bytes on the host. It is a choice, not a measurement: a
#: fit of fewer takes milliseconds on a CPU, less than the first use of CUDA.
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
        Library of the input; results return to it.
    home_device : device
        Device of the input.
    reason : str
        One sentence for ``device_reason_``.
    is_streamed : bool
        Whether every pass copies an array from the host to the device block by block.
    is_lent : bool
        Whether another library computes, in the memory of the input.
    """

    xp: Namespace
    device: Device
    home_xp: Namespace
    home_device: Device
    reason: str
    is_streamed: bool = False
    is_lent: bool = False

    @property
    def is_home(self) -> bool:
        """Whether the computation stays with the input's library and device."""
        if self.xp is not self.home_xp:
            return False
        return self.device is self.home_device or str(self.device) == str(self.home_device)

    def working(self) -> AbstractContextManager[object]:
        """Return a context: work runs on ``device``, in order with the input's library."""
        here = working_device(self.xp, self.device)
        if not self.is_lent or self.xp is array_api_compat.numpy:  # the host's work has one order
            return here
        there = library_of(self.home_xp).lending(self.home_device)
        if isinstance(there, nullcontext):
            return here
        both = ExitStack()
        both.enter_context(here)
        both.enter_context(there)
        return both


def choose(points: Array, device: str | None = None, *, shared: Array = None) -> Placement:
    """Decide where to compute with ``points``.

    Parameters
    ----------
    points : array of shape (n_points, n_features)
        Of any array library.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}
        None takes the default of ``config_context`` or KMEANS_XP_DEVICE, or follows the data.
    shared : array, optional
        What ``lent`` returns for ``points``, if the caller knows it.

    Returns
    -------
    Placement
        Its ``reason`` says why.

    Raises
    ------
    DeviceUnavailableError
        If the given device cannot be used.
    ValueError
        If ``device`` is none of the above.
    """
    xp = namespace_of(points)
    asked = device if device is not None else default_device()
    if asked is None and type(shared) is np.ndarray and shared is not points:
        return _lent_to_numpy(points, xp)
    home = device_of(points)
    if asked is None:
        return _at_home(points, xp, home, _why_there(library_name(xp), str(home)), shared)
    if asked == "auto":
        placement = Placement(*_automatic(points, xp, home), xp, home, "")
        placement = placement._replace(reason=_why_automatic(points, placement))
        logger.info("device='auto': %s", placement.reason)
    else:
        kind, index = device_kind(asked)
        library = library_of(xp)
        chosen = library.cpu(xp) if kind == "cpu" else library.cuda(xp, index)
        placement = Placement(*chosen, xp, home, f"device={asked!r} was asked for")
    return _at_home(points, xp, home, placement.reason, shared) if placement.is_home else placement


def _at_home(points: Array, xp: Namespace, home: Device, reason: str, shared: Array) -> Placement:
    """Return a placement in the points' memory, for the library that has kernels for it."""
    shared = lent(points) if shared is None else shared
    if shared is points:
        return Placement(xp, home, xp, home, reason)
    lender = namespace_of(shared)
    is_copied = type(shared) is np.ndarray and is_half(points.dtype)
    reason = _why_lent(reason, library_name(lender), is_copied)
    return Placement(lender, device_of(shared), xp, home, reason, is_lent=True)


def _lent_to_numpy(points: Array, xp: Namespace) -> Placement:
    """Return the placement of points that lie where NumPy computes with them."""
    home = library_of(xp).device(points)
    key = xp, is_half(points.dtype)
    placement = _last_lent.get(key)
    if placement is None or placement.home_device != home:
        reason = _why_lent(_why_there(library_name(xp), str(home)), "numpy", key[1])
        placement = Placement(_compat("numpy"), "cpu", xp, home, reason, is_lent=True)
        _last_lent[key] = placement
    return placement


#: by library and whether its points are copied: to make it again takes longer than a step
_last_lent: dict[tuple[Namespace, bool], Placement] = {}


# To put such a sentence together takes longer than a step on few rows.
@functools.lru_cache
def _why_there(library: str, device: str) -> str:
    return f"the data are there ({library}, {device})"


@functools.lru_cache
def _why_lent(reason: str, library: str, is_copied: bool) -> str:
    where = "a copy in float32" if is_copied else "the same memory"
    return f"{reason}; {library}'s kernels compute in {where}"


def lent(array: Array) -> Array:
    """Return the array as one of the library that has kernels for it, in the same memory."""
    # But halves on the host are copied to float32.
    if type(array) is np.ndarray:
        return array
    library = library_of(namespace_of(array))
    if computes_by_its_own() and not library.needs_lender:
        return array
    if (seen := library.seen_by_numpy(array)) is not None:
        return seen
    settled = library.settled(array)
    lender = library.lender(settled)
    if lender is None:
        return array
    xp = _compat(lender)
    return library.lent(settled, library_of(xp), xp)


@functools.cache
def _compat(library: str) -> Namespace:
    return importlib.import_module(f"array_api_compat.{library}")


def bring(array: Any, placement: Placement, *, dtype: DType = None) -> Array:
    """Return ``array`` (of any library, on the host, or sparse) on the placement's device."""
    return _moved(array, placement.xp, placement.device, dtype)


def bring_parts(matrix: SparseMatrix, placement: Placement) -> Csr:
    """Return the arrays of a sparse matrix on the placement's device."""
    return _moved_parts(matrix, placement.xp, placement.device)


def send(array: Array, placement: Placement) -> Array:
    """Return a result to the library and device that the input came from."""
    xp, device = placement.home_xp, placement.home_device
    if placement.is_lent and is_array(array):
        library = library_of(xp)
        return library.shared(library.held(array, xp, device), xp, device)
    return array if placement.is_home else _moved(array, xp, device, None)


def kept(array: Array, placement: Placement) -> Array:
    """Return what an estimator keeps for itself: as a result, or as the lender's on the host."""
    is_lenders = placement.is_lent and type(array) is np.ndarray
    # With array API dispatch, scikit-learn expects each array of an estimator in X's library.
    if is_lenders and not sklearn.get_config()["array_api_dispatch"]:
        return array
    return send(array, placement)


def adopted(value: Any) -> Any:
    """Return ``value`` ready to compute with; CUDA memory of an unknown library becomes CuPy's."""
    if type(value) is np.ndarray:
        return value
    value = _settled(value)
    if is_known_array(value) or not foreign_cuda_array(value):
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
    """Return a value without its gradient; raise if it has masked elements, or no numbers yet."""
    if not isinstance(value, np.ma.MaskedArray):
        if is_array(value):
            return library_of(namespace_of(value)).settled(value)
        refuse_unknown_sparse(value)
        return value
    if np.ma.is_masked(value):
        raise ValueError(
            f"A masked array of shape {value.shape} has masked elements, which would be "
            "clustered as the numbers under the mask. Drop those rows "
            "(X[~np.ma.getmaskarray(X).any(axis=1)].data), or fill them: X.filled(value)."
        )
    return value.data


def _moved_parts(matrix: SparseMatrix, xp: Namespace, device: Device) -> Csr:
    data, indices, indptr, n_features = csr_parts(matrix)
    data, indices, indptr = (_moved(part, xp, device, None) for part in (data, indices, indptr))
    return Csr(data, indices, indptr, n_features)


def _moved(array: Any, xp: Namespace, device: Device, dtype: DType) -> Array:
    if type(array) is np.ndarray and namespace_of(array) is xp:  # there is one place for it
        return array if dtype is None else xp.astype(array, dtype, copy=False)
    if is_sparse(array):
        return sparse_matrix(_moved_parts(array, xp, device))
    array = _settled(array)
    if not is_array(array):
        array = np.asarray(array)
    source = namespace_of(array)
    if source is not xp:
        library = library_of(source)
        if library.lender(array) != library_name(xp):
            return from_host(to_host(array), xp=xp, device=device, dtype=dtype)
        array = library.lent(array, library_of(xp), xp)
    is_numpys = type(array) is np.ndarray  # there is one place for it
    if not is_numpys and str(device_of(array)) != str(device):
        array = array_api_compat.to_device(array, device)
    return array if dtype is None else xp.astype(array, dtype, copy=False)


def device_kind(asked: str) -> tuple[str, int]:
    """Return "cpu" or "cuda", and the number, from a device's name."""
    match = re.fullmatch(r"(cpu|cuda)(?::(\d+))?", str(asked))
    if match is None or (match[1] == "cpu" and match[2]):
        raise ValueError(
            f"device={asked!r} is not known; use None, 'auto', 'cpu', 'cuda' or 'cuda:N'."
        )
    return match[1], int(match[2] or 0)


def working_device(xp: Namespace, device: Device) -> AbstractContextManager[object]:
    """Return a context in which work runs on ``device``, in the configured precision."""
    return library_of(xp).working(device)


def _automatic(points: Array, xp: Namespace, home: Device) -> tuple[Namespace, Device]:
    if library_name(xp) != "numpy" or _nbytes(points) < _WORTH_MOVING:
        return xp, home
    return library_of(xp).cuda(xp, 0) if why_cupy_is_unusable() is None else (xp, home)


def _why_automatic(points: Array, placement: Placement) -> str:
    library = library_name(placement.home_xp)
    if not placement.is_home:
        return "CUDA is usable and the data are large enough to move (CuPy)"
    if library != "numpy":
        return f"the data are there already ({library}, {placement.home_device})"
    if _nbytes(points) < _WORTH_MOVING:
        return f"the data are small ({readable_size(_nbytes(points))}): the CPU (NumPy) is enough"
    return f"the CPU (NumPy): {why_cupy_is_unusable()}"


def _nbytes(points: Array) -> int:
    if is_sparse(points):
        return int(points.nnz) * (int(points.dtype.itemsize) + int(points.indices.dtype.itemsize))
    itemsize = getattr(points.dtype, "itemsize", 8)
    return int(points.shape[0]) * int(points.shape[1]) * int(itemsize)
