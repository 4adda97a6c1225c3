"""What is usable on this machine, and why the rest is not."""

import functools
import importlib.metadata
import importlib.util
import os
from typing import NamedTuple

import numpy as np

from kmeans_xp.config import default_n_threads

__all__ = [
    "DeviceReport",
    "DeviceUnavailableError",
    "available",
    "n_threads",
    "why_cupy_is_unusable",
    "why_numba_is_unusable",
]

_INSTALL_CUPY = "pip install 'kmeans_xp[cuda12]' (or cuda13, as your driver supports)"


class DeviceUnavailableError(RuntimeError):
    """The device that was asked for cannot be used; says why and what to do."""


class DeviceReport(NamedTuple):
    """One line of what ``available`` found.

    Parameters
    ----------
    library : str
        Name of the array library.
    device : str
        What ``device=`` would be: "cpu", "cuda:0" and so on.
    usable : bool
        Whether arrays of this library can be clustered there now.
    detail : str
        Version and size if usable, else the reason why not and what to install.
    """

    library: str
    device: str
    usable: bool
    detail: str


def available() -> tuple[DeviceReport, ...]:
    """Look at every array library that kmeans_xp runs on, and at the devices of each.

    Returns
    -------
    tuple of DeviceReport
        NumPy first, then CuPy's devices, then the libraries whose arrays are taken as they
        are. Libraries are looked up; CuPy and numba are imported, others are not.
    """
    detail = f"NumPy {np.__version__}, {n_threads()} threads, {_compiler()}"
    numpy = DeviceReport("numpy", "cpu", True, detail)
    others = (_installed(library) for library in ("torch", "jax", "dpnp", "array_api_strict"))
    return (numpy, *_cupy_devices(), *others)


def n_threads() -> int:
    """Return the number of threads that CPU kernels use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return default_n_threads() or usable or 1


@functools.cache
def why_cupy_is_unusable() -> str | None:
    """Return why CuPy cannot compute here, or None if it can; tried once a process."""
    try:
        import cupy
    except ImportError as error:
        if importlib.util.find_spec("cupy") is None:
            return f"CuPy is not installed: {_INSTALL_CUPY}"
        return f"CuPy is installed but does not import ({error}); reinstall: {_INSTALL_CUPY}"
    try:
        n_devices = cupy.cuda.runtime.getDeviceCount()
        # A device that is there may still be unusable (driver older than the toolkit, no
        # kernels for its architecture): only a computation tells.
        if n_devices and int(cupy.arange(3).sum()) == 3:
            return None
    except Exception as error:  # noqa: BLE001 (CUDA's failures come in many classes)
        return (
            f"CuPy is installed but CUDA does not work here ({error}); "
            "check the NVIDIA driver with nvidia-smi"
        )
    return "CuPy is installed but found no CUDA device"


def _compiler() -> str:
    reason = why_numba_is_unusable()
    if reason is not None:
        return f"kernels not compiled ({reason})"
    return f"kernels compiled by numba {importlib.metadata.version('numba')}"


@functools.cache
def why_numba_is_unusable() -> str | None:
    """Return why NumPy's kernels cannot be compiled, or None if they can; tried once a process."""
    if os.environ.get("KMEANS_XP_NUMBA") == "0":
        return "KMEANS_XP_NUMBA=0 is set"
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed: pip install 'kmeans_xp[cpu]'"
    try:
        import numba
    except ImportError as error:  # numba refuses a NumPy that is newer than itself
        return f"numba is installed but does not import ({error})"
    return "NUMBA_DISABLE_JIT is set" if numba.config.DISABLE_JIT else None


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
    if importlib.util.find_spec(library) is None:
        return DeviceReport(library, "its own", False, f"not installed: pip install {library}")
    version = importlib.metadata.version(library.replace("_", "-"))
    detail = f"{library} {version}; its arrays are computed where they are"
    return DeviceReport(library, "its own", True, detail)
