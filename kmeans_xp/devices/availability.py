"""What is usable on this machine, and why the rest is not."""

import contextlib
import functools
import importlib.util
import os
from typing import Any

from kmeans_xp.config import default_n_threads

__all__ = [
    "DeviceUnavailableError",
    "n_processors",
    "n_threads",
    "on_cuda",
    "processors_of_the_container",
    "why_cupy_is_unusable",
    "why_numba_is_unusable",
]

#: the time for all processors in a period, and the period, in microseconds; "max" without a limit
_CGROUP_PROCESSORS = "/sys/fs/cgroup/cpu.max"

_INSTALL_CUPY = "pip install 'kmeans_xp[cuda12]' (or cuda13, as your driver supports)"


class DeviceUnavailableError(RuntimeError):
    """The given device cannot be used; the message says why and what to do."""


def n_processors() -> int:
    """Return the number of processors that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1


@functools.cache
def processors_of_the_container() -> int | None:
    """Return how many processors the control group allows, or None without a limit."""
    with contextlib.suppress(OSError, ValueError), open(_CGROUP_PROCESSORS) as file:
        quota, period = file.read().split()
        return max(1, int(quota) // int(period))
    return None


def n_threads() -> int:
    """Return the number of threads that CPU kernels use."""
    return default_n_threads() or n_processors()


@functools.cache
def why_cupy_is_unusable() -> str | None:
    """Return why CuPy cannot compute here, or None if it can; one trial for each process."""
    try:
        import cupy
    except ImportError as error:
        if importlib.util.find_spec("cupy") is None:
            return f"CuPy is not installed: {_INSTALL_CUPY}"
        return f"CuPy is installed but does not import ({error}); reinstall: {_INSTALL_CUPY}"
    try:
        n_devices = cupy.cuda.runtime.getDeviceCount()
        # A device may exist and still be unusable (driver older than the toolkit, no kernels
        # for its architecture): only a computation shows it.
        if n_devices and int(cupy.arange(3).sum()) == 3:
            return None
    except Exception as error:  # noqa: BLE001 (CUDA's failures come in many classes)
        return (
            f"CuPy is installed but CUDA does not work here ({error}); "
            "check the NVIDIA driver with nvidia-smi"
        )
    return "CuPy is installed but found no CUDA device"


@functools.cache
def why_numba_is_unusable() -> str | None:
    """Return why kernels for NumPy cannot be compiled, or None if they can; one trial a process."""
    if os.environ.get("KMEANS_XP_NUMBA") == "0":
        return "KMEANS_XP_NUMBA=0 is set"
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed: pip install 'kmeans_xp[cpu]'"
    try:
        import numba
    except ImportError as error:  # numba refuses a NumPy that is newer than itself
        return f"numba is installed but does not import ({error})"
    return "NUMBA_DISABLE_JIT is set" if numba.config.DISABLE_JIT else None


def on_cuda(index: int) -> Any:
    """Return CuPy's device with this number; DeviceUnavailableError if there is none."""
    reason = why_cupy_is_unusable()
    if reason is not None:
        raise DeviceUnavailableError(
            f"device='cuda:{index}' was asked for, but {reason}. Or use device='cpu'."
        )
    import cupy

    n_devices = cupy.cuda.runtime.getDeviceCount()
    if index >= n_devices:
        raise DeviceUnavailableError(
            f"device='cuda:{index}' was asked for, but CuPy finds {n_devices} CUDA devices; "
            f"use 'cuda:0' to 'cuda:{n_devices - 1}'."
        )
    return cupy.cuda.Device(index)
