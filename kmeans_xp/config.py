"""Settings of a thread, from ``config_context`` or from the environment."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from kmeans_xp.checks import check_integer

__all__ = ["Config", "config_context", "get_config"]


@dataclass(frozen=True)
class Config:
    """The settings of ``config_context``.

    Parameters
    ----------
    device : str or None
        Default of the estimators' ``device`` parameter; environment KMEANS_XP_DEVICE.
    n_threads : int or None
        Threads of the CPU kernels; environment KMEANS_XP_NUM_THREADS, then OMP_NUM_THREADS, then
        every processor this process may use. Results do not depend on it.
    precision : {"float32", "tf32"}
        Precision of JAX's float32 matrix products on a GPU.
    compute : {"fastest", "own"}
        What computes on arrays of a library without kernels: the kernels for NumPy or CuPy in the
        same memory, or the library itself.
    """

    device: str | None = None
    n_threads: int | None = None
    precision: str = "float32"
    compute: str = "fastest"


_config: ContextVar[Config] = ContextVar("kmeans_xp_config", default=Config())  # noqa: B039 (frozen)


def get_config() -> Config:
    """Return the current settings; the environment's where ``config_context`` set none.

    Returns
    -------
    Config
        ``device`` and ``n_threads`` are None where neither code nor environment sets them.
    """
    return replace(_config.get(), device=default_device(), n_threads=default_n_threads())


def default_device() -> str | None:
    """Return only the ``device`` of ``get_config``, which is faster for a small fit."""
    device = _config.get().device
    return (os.environ.get("KMEANS_XP_DEVICE") or None) if device is None else device


def default_n_threads() -> int | None:
    """Return only the ``n_threads`` of ``get_config``."""
    n_threads = _config.get().n_threads
    return _threads_of_environment() if n_threads is None else n_threads


def n_threads_of_context() -> int | None:
    """Return the ``n_threads`` of ``config_context``; ignore the environment."""
    return _config.get().n_threads


def computes_by_its_own() -> bool:
    """Return whether ``compute`` is "own"."""
    return _config.get().compute == "own"


@contextmanager
def config_context(
    *,
    device: str | None = None,
    n_threads: int | None = None,
    precision: str | None = None,
    compute: str | None = None,
) -> Iterator[None]:
    """Set defaults for the code inside a ``with`` block, in this thread.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N"}, optional
        Device of estimators and functions that get no ``device``.
    n_threads : int, optional
        Threads of the CPU kernels, at least 1. Results are the same for every number.
    precision : {"float32", "tf32"}, optional
        "tf32" lets JAX round the factors of float32 products to 11 bits on GPUs where that is
        faster. Rows near a border may then get another label: use it for both ``fit`` and
        ``predict``, or for neither. CuPy's labels are the same with both.
    compute : {"fastest", "own"}, optional
        With "fastest", the kernels for NumPy and CuPy work on arrays of torch, JAX and other
        libraries in their own memory, without a copy. With "own", their libraries compute.

    Raises
    ------
    ValueError
        If ``n_threads`` is less than 1, or another argument has none of the values above.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans, config_context
    >>> points = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> with config_context(n_threads=1):
    ...     KMeans(n_clusters=2, random_state=0).fit(points).inertia_
    1.0
    """
    check_integer("n_threads", n_threads, 1, or_none=True)
    if precision not in (None, "float32", "tf32"):
        raise ValueError(f"precision must be 'float32' or 'tf32', got {precision!r}.")
    if compute not in (None, "fastest", "own"):
        raise ValueError(f"compute must be 'fastest' or 'own', got {compute!r}.")
    outer = _config.get()
    inner = replace(
        outer,
        device=outer.device if device is None else device,
        n_threads=outer.n_threads if n_threads is None else n_threads,
        precision=outer.precision if precision is None else precision,
        compute=outer.compute if compute is None else compute,
    )
    token = _config.set(inner)
    try:
        yield
    finally:
        _config.reset(token)


def _threads_of_environment() -> int | None:
    # OMP_NUM_THREADS counts too: joblib's workers set it, so that nested threads do not
    # outnumber the processors.
    for variable in ("KMEANS_XP_NUM_THREADS", "OMP_NUM_THREADS"):
        # OpenMP allows a list, one number for each level of nesting.
        first = re.match(r"\s*([0-9]+)", os.environ.get(variable, ""))
        if first and int(first[1]) > 0:
            return int(first[1])
    return None
