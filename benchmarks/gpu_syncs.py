"""Whether the host waits for the GPU: by counting, and by seeing who is done first."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cupy
import numpy as np

__all__ = ["WHAT_IS_COUNTED", "Waits", "counted_waits", "host_is_ahead"]

WHAT_IS_COUNTED = (
    "Counted, the outermost call alone: get (unless blocking=False), item, tolist, bool(), int(), "
    "float() and complex() of a CuPy array, also where CuPy's own compiled code reads a value "
    "(nonzero, masks, unique, bincount), since that goes through get; synchronize of streams and "
    "events; and deviceSynchronize, streamSynchronize, eventSynchronize and memcpy of "
    "cupy.cuda.runtime where Python calls them. Not counted: waits that compiled code asks of "
    "CUDA without going through these, Device.synchronize, and those inside CUDA itself (cudaFree, "
    "copies from pageable memory, a full launch queue). host_is_ahead catches these too: behind "
    "a kernel that takes long, a call that returns before that kernel ends has waited for nothing."
)

_READS = ("get", "item", "tolist", "__bool__", "__int__", "__float__", "__complex__")
_RUNTIME = ("deviceSynchronize", "streamSynchronize", "eventSynchronize", "memcpy")

_SPIN = r"""
extern "C" __global__ void spin(long long n_clocks) {
    long long begin = clock64();
    while (clock64() - begin < n_clocks) {}
}
"""

#: cudaDevAttrClockRate, in kHz
_CLOCK_RATE = 13


class Waits:
    """What was counted while ``counted_waits`` was open.

    Attributes
    ----------
    calls : Counter
        Waits by what was called.
    bytes_to_host : int
        Of arrays that were read, whether waited for or not.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.bytes_to_host = 0
        self._is_inside = False

    @property
    def total(self) -> int:
        """All waits."""
        return self.calls.total()

    def counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, counted where no other counted one calls it."""

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:
                return function(*args, **kwargs)
            if name in _READS:
                self.bytes_to_host += args[0].nbytes
            if kwargs.get("blocking", True):
                self.calls[name] += 1
            self._is_inside = True
            try:
                return function(*args, **kwargs)
            finally:
                self._is_inside = False

        return counted


@contextmanager
def counted_waits() -> Iterator[Waits]:
    """Count waits of this process while the context is open; see WHAT_IS_COUNTED."""
    waits = Waits()
    stream = cupy.cuda.Stream.__mro__[-2]  # the class that its kinds of streams share
    places = [(cupy.ndarray, name) for name in _READS]
    places += [(stream, "synchronize"), (cupy.cuda.Event, "synchronize")]
    places += [(cupy.cuda.runtime, name) for name in _RUNTIME]
    own = [(place, name, vars(place).get(name)) for place, name in places]
    try:
        for place, name in places:
            label = name if place is not stream else "Stream.synchronize"
            label = "Event.synchronize" if place is cupy.cuda.Event else label
            setattr(place, name, waits.counting(label, getattr(place, name)))
        yield waits
    finally:
        for place, name, before in own:
            if before is None:  # it was inherited
                delattr(place, name)
            else:
                setattr(place, name, before)


def host_is_ahead(work: Callable[[], Any], spin_s: float) -> bool | None:
    """Return whether ``work`` comes back while the device is still busy with a kernel before it.

    Parameters
    ----------
    work : callable
        Already compiled; gives the device fewer launches than its queue takes (about 1000).
    spin_s : float
        How long the kernel before it takes: longer than the host needs for ``work``.

    Returns
    -------
    bool or None
        None if the device ran the kernel at once: then this cannot be measured.
    """
    spin = cupy.RawKernel(_SPIN, "spin")
    kilohertz = cupy.cuda.runtime.deviceGetAttribute(_CLOCK_RATE, cupy.cuda.Device().id)
    spin((1,), (1,), (np.int64(1),))
    cupy.cuda.get_current_stream().synchronize()
    spun = cupy.cuda.Event(disable_timing=True)
    spin((1,), (1,), (np.int64(spin_s * 1e3 * kilohertz),))
    spun.record()
    if spun.done:
        return None
    work()
    is_ahead = not spun.done
    cupy.cuda.get_current_stream().synchronize()
    return is_ahead
