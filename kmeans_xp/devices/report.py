"""Report which libraries and devices are usable on this machine, one line each."""

import importlib.metadata
import importlib.util
from typing import NamedTuple

import numpy as np

from kmeans_xp.devices.availability import (
    n_threads,
    why_cupy_is_unusable,
    why_numba_is_unusable,
)
from kmeans_xp.devices.libraries import LIBRARIES

__all__ = ["DeviceReport", "available"]


class DeviceReport(NamedTuple):
    """One line of the report of ``available``.

    Parameters
    ----------
    library : str
        Name of the array library.
    device : str
        The value for ``device=``: "cpu", "cuda:0" and so on.
    usable : bool
        Whether arrays of this library can be clustered there now.
    detail : str
        If usable, version and size; otherwise why not, and what to install.
    """

    library: str
    device: str
    usable: bool
    detail: str


def available() -> tuple[DeviceReport, ...]:
    """Check every array library that kmeans_xp runs on, and the devices of each.

    Returns
    -------
    tuple of DeviceReport
        NumPy first, then CuPy's devices, then the other libraries. Of these, only CuPy and numba
        are imported.
    """
    detail = f"NumPy {np.__version__}, {n_threads()} threads, {_compiler()}"
    numpy = DeviceReport("numpy", "cpu", True, detail)
    others = (_installed(name) for name in LIBRARIES if name not in ("numpy", "cupy"))
    return (numpy, *_cupy_devices(), *others)


def _compiler() -> str:
    reason = why_numba_is_unusable()
    if reason is not None:
        return f"kernels not compiled ({reason})"
    return f"kernels compiled by numba {importlib.metadata.version('numba')}"


def _cupy_devices() -> tuple[DeviceReport, ...]:
    reason = why_cupy_is_unusable()
    if reason is not None:
        return (DeviceReport("cupy", "cuda", False, reason),)
    import cupy

    return tuple(
        DeviceReport("cupy", f"cuda:{index}", True, _describe_cuda(index, cupy.__version__))
        for index in range(cupy.cuda.runtime.getDeviceCount())
    )


def _describe_cuda(index: int, version: str) -> str:
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(index)
    name = properties["name"].decode()
    gibibytes = properties["totalGlobalMem"] / 2**30
    return f"CuPy {version}, {name}, {gibibytes:.0f} GiB"


def _installed(library: str) -> DeviceReport:
    try:
        is_there = importlib.util.find_spec(library) is not None
        version = importlib.metadata.version(library.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        is_there = False  # find_spec may have found a plain folder of that name
    if not is_there:
        return DeviceReport(library, "its own", False, f"not installed: pip install {library}")
    detail = f"{library} {version}; its arrays are computed where they are"
    return DeviceReport(library, "its own", True, detail)
