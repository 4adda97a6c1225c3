"""Compile kernels before their first use."""

import importlib
from collections.abc import Callable

import numpy as np

from kmeans_xp.devices import why_numba_is_unusable

__all__ = ["compile_ahead"]


def compile_ahead(on_each: Callable[[int, int], None] | None = None) -> int:
    """Compile the kernels for NumPy arrays of float32 and float64, and keep them on disk.

    Without this, the first fit on a machine compiles the dozen that it uses, in some seconds.

    Parameters
    ----------
    on_each : callable, optional
        Called after each function with the number of functions done and the number of all.

    Returns
    -------
    int
        Number of functions, including those compiled earlier.

    Raises
    ------
    ImportError
        If numba cannot be used; the message says why.
    """
    reason = why_numba_is_unusable()
    if reason is not None:
        raise ImportError(f"There is nothing to compile: {reason}.")
    importlib.import_module(f"{__package__}.for_numba")
    functions = importlib.import_module(f"{__package__}.for_numba.compiled").every_function
    wanted = [(each, np.dtype(kind)) for each in functions for kind in ("f4", "f8")]
    for number, (function, dtype) in enumerate(wanted):
        function[dtype]
        if on_each is not None:
            on_each(number + 1, len(wanted))
    return len(wanted)
