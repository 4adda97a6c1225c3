"""A kernel: one portable function, and faster ones for some libraries."""

import functools
import importlib
import logging
from collections.abc import Callable
from types import UnionType
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from kmeans_xp.devices import library_name, record_of, why_numba_is_unusable
from kmeans_xp.kernels.arguments import Arguments, Axes
from kmeans_xp.kernels.rows import DenseRows

__all__ = ["Kernel", "kernel", "kernels"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

#: every kernel by its name, for tests and benchmarks of all kernels
kernels: dict[str, "Kernel[..., Any]"] = {}


class _Override(NamedTuple):
    body: Callable[..., Any]
    rows: type | UnionType
    rank: int


class Kernel(Generic[P, R]):
    """A function of arrays that may have a faster body for some libraries.

    A call tries the overrides for the library of ``xp`` and the kind of the first argument, in
    their order. An override declines by returning ``NotImplemented``. If all decline, the portable
    body runs. Overrides must meet the contract in the portable body's docstring; the parity tests
    run each of them.

    Parameters
    ----------
    portable : callable
        The body written only against the Array API; takes ``xp`` as a keyword.
    shapes : dict of str to Axes, optional
        As in ``Arguments``.
    """

    def __init__(self, portable: Callable[P, R], shapes: dict[str, Axes] | None = None) -> None:
        self.portable = portable
        arguments = Arguments(portable, shapes or {})
        self._fits, self._check = arguments.fit, arguments.check
        #: positions of the arguments that have an entry for each row
        self.per_row = arguments.per_row
        self._overrides: dict[str, list[_Override]] = {}
        #: by the namespace and the kind of rows, because a small fit calls many kernels
        self._bodies: dict[tuple[Any, type], tuple[Callable[P, R], ...]] = {}
        functools.update_wrapper(self, portable)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Check the arguments, and run the fastest body that takes them."""
        if not self._fits(args):
            self._check(args)
        xp, rows = kwargs["xp"], type(args[0])
        bodies = self._bodies.get((xp, rows))
        if bodies is None:
            bodies = self._bodies[xp, rows] = self.overrides(library_name(xp), rows)
        for body in bodies:
            result = body(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return self.portable(*args, **kwargs)

    def __reduce__(self) -> str:
        """Pickle only the kernel's name in its module: workers have the same kernel."""
        return self.portable.__qualname__

    def override(
        self, library: str, *, rows: type | UnionType = object, rank: int = 0
    ) -> Callable[[F], F]:
        """Register the decorated function as this kernel for arrays of ``library``.

        Parameters
        ----------
        library : str
            Name of the array library.
        rows : type or union of types
            Kinds of rows that the function is for, if the kernel's first argument is rows. It
            never gets another kind.
        rank : int
            The function with the highest rank is tried first; of equal ranks, the newest.

        Returns
        -------
        callable
            A decorator that returns the function unchanged.
        """

        def register(body: F) -> F:
            self._overrides.setdefault(library, []).insert(0, _Override(body, rows, rank))
            self._bodies.clear()
            return body

        return register

    def overrides(self, library: str, rows: type = DenseRows) -> tuple[Callable[P, R], ...]:
        """Return the bodies for ``library`` and this kind of rows, in the order to try them."""
        _load_overrides(library)
        registered = self._overrides.get(library, ())
        ordered = sorted(registered, key=lambda override: -override.rank)
        return tuple(each.body for each in ordered if issubclass(rows, each.rows))


def kernel(**shapes: Axes) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Return a decorator that makes a kernel from its portable body, and adds it to ``kernels``.

    Parameters
    ----------
    **shapes : Axes
        As in ``Arguments``.

    Returns
    -------
    callable
        The decorator.
    """

    def made_of(portable: Callable[P, R]) -> Kernel[P, R]:
        made = Kernel(portable, shapes)
        kernels[portable.__name__] = made
        return made

    return made_of


@functools.cache
def _load_overrides(library: str) -> None:
    # Only now, so that importing kmeans_xp imports no array library except NumPy. Do not catch
    # errors in an override module: nobody would notice that a fast path is missing.
    for name in record_of(library).kernels:
        if name == "for_numba" and (reason := why_numba_is_unusable()) is not None:
            logger.info("kernels for NumPy arrays run without numba: %s", reason)
            continue
        importlib.import_module(f"{__package__}.{name}")
