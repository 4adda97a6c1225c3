"""A kernel: one portable function, and faster ones for the libraries that have them."""

import functools
import importlib
import importlib.util
import logging
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, cast

from kmeans_xp.devices import Namespace, library_name, why_numba_is_unusable

__all__ = ["Kernel", "kernel", "kernels"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

#: every kernel by its name, for tests and benchmarks that go over all of them
kernels: dict[str, "Kernel[..., Any]"] = {}

#: the modules beside this one that may hold a library's overrides; the last is tried first
_OVERRIDE_MODULES = {
    "numpy": ("for_numpy", "for_numba"),
    "cupy": ("for_cupy",),
    "torch": ("for_torch",),
    "jax": ("for_jax",),
    "dpnp": ("for_dpnp",),
}


class Kernel(Generic[P, R]):
    """A function of arrays that a library may do in a faster way.

    Calling it runs the newest override for the library of ``xp`` that does not decline by
    returning ``NotImplemented``, else the portable body. Overrides must meet the contract in
    the portable body's docstring; the parity tests run each of them.

    Parameters
    ----------
    portable : callable
        The body written against the Array API alone; takes ``xp`` as a keyword.
    """

    def __init__(self, portable: Callable[P, R]) -> None:
        self.portable = portable
        self._overrides: dict[str, list[Callable[P, R]]] = {}
        self._bodies: dict[str, tuple[Callable[P, R], ...]] = {}
        functools.update_wrapper(self, portable)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the fastest body that takes these arguments."""
        for body in self.overrides(library_name(cast(Namespace, kwargs["xp"]))):
            result = body(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return self.portable(*args, **kwargs)

    def override(self, library: str) -> Callable[[F], F]:
        """Register the decorated function as this kernel for arrays of ``library``."""

        def register(body: F) -> F:
            self._overrides.setdefault(library, []).insert(0, cast(Callable[P, R], body))
            self._bodies.clear()
            return body

        return register

    def overrides(self, library: str) -> tuple[Callable[P, R], ...]:
        """Return the bodies registered for ``library``, the one to try first at the front."""
        bodies = self._bodies.get(library)
        if bodies is None:
            _load_overrides(library)
            bodies = self._bodies[library] = tuple(self._overrides.get(library, ()))
        return bodies


def kernel(portable: Callable[P, R]) -> Kernel[P, R]:
    """Make a kernel of its portable body, and list it in ``kernels``."""
    made = Kernel(portable)
    kernels[portable.__name__] = made
    return made


@functools.cache
def _load_overrides(library: str) -> None:
    # Only now, so that importing kmeans_xp imports no array library but NumPy. An error in
    # an override module is not caught: a fast path that silently vanishes is a bug report
    # that nobody can file.
    for name in _OVERRIDE_MODULES.get(library, ()):
        if name == "for_numba" and (reason := why_numba_is_unusable()) is not None:
            logger.info("NumPy arrays are computed without numba: %s", reason)
            continue
        full_name = f"{__package__}.{name}"
        if importlib.util.find_spec(full_name) is not None:
            importlib.import_module(full_name)
