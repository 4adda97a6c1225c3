"""A kernel: one portable function, and faster ones for the libraries that have them."""

import functools
import importlib
import inspect
import logging
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast

import numpy as np

from kmeans_xp.devices import Namespace, library_name, record_of, why_numba_is_unusable
from kmeans_xp.kernels.rows import DenseRows

__all__ = ["Kernel", "kernel", "kernels"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_Axes: TypeAlias = str | tuple[str, ...]

#: every kernel by its name, for tests and benchmarks that go over all of them
kernels: dict[str, "Kernel[..., Any]"] = {}


class _Override(NamedTuple):
    body: Callable[..., Any]
    rows: type
    rank: int


class Kernel(Generic[P, R]):
    """A function of arrays that a library may do in a faster way.

    Calling it runs the first override for the library of ``xp`` and the kind of the first
    argument that does not decline by returning ``NotImplemented``, else the portable body.
    Overrides must meet the contract in the portable body's docstring; the parity tests run
    each of them.

    Parameters
    ----------
    portable : callable
        The body written against the Array API alone; takes ``xp`` as a keyword.
    shapes : dict of str to str, or tuple of str
        For each array that is given after the rows its axes, a letter each: ``n`` is the number
        of rows, ``d`` that of features, any other letter the same length wherever it stands, and
        ``*`` in front any axes, the same wherever it stands; of a tuple of arrays one each.
        Bodies are compiled code that does not look where it reads.
    """

    def __init__(self, portable: Callable[P, R], shapes: dict[str, _Axes] | None = None) -> None:
        self.portable = portable
        shapes = shapes or {}
        names = list(inspect.signature(portable).parameters)
        self._shapes = tuple((names.index(name), name, axes) for name, axes in shapes.items())
        self._has_rows = names[0] == "rows"
        self._fits = _quick_check(self._shapes, has_rows=self._has_rows)
        self._labels_at = names.index("labels") if "labels" in shapes else None
        self._n_clusters_at = names.index("n_clusters") if "n_clusters" in names else None
        self._overrides: dict[str, list[_Override]] = {}
        self._bodies: dict[tuple[str, type], tuple[Callable[P, R], ...]] = {}
        functools.update_wrapper(self, portable)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the fastest body that takes these arguments, if they fit together."""
        if not self._fits(args):
            self._check(args)
        key = (library_name(cast(Namespace, kwargs["xp"])), type(args[0]))
        bodies = self._bodies.get(key)
        for body in self.overrides(*key) if bodies is None else bodies:
            result = body(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return self.portable(*args, **kwargs)

    def _check(self, args: tuple[Any, ...]) -> None:
        """Raise ValueError where the shapes of arguments differ from what they must be."""
        sizes: dict[str, Any] = {"1": 1}
        if self._has_rows:
            rows = args[0]
            sizes["n"], sizes["d"] = rows.n_points, rows.n_features
            if rows.weights is not None:
                self._check_shape("weights", rows.weights, "n", sizes)
            if rows.origin is not None:
                self._check_shape("origin", rows.origin, "d", sizes)
        for place, name, axes in self._shapes:
            if isinstance(axes, str):
                if args[place] is not None:
                    self._check_shape(name, args[place], axes, sizes)
            else:
                for part, part_axes in zip(args[place], axes, strict=True):
                    self._check_shape(name, part, part_axes, sizes)
        if self._labels_at is not None:
            n_clusters = sizes.get("k")
            if self._n_clusters_at is not None:
                n_clusters = args[self._n_clusters_at]
            self._check_labels(args[self._labels_at], n_clusters)

    def _check_shape(self, name: str, array: Any, axes: str, sizes: dict[str, Any]) -> None:
        shape = array.shape
        if axes[0] == "*":
            n_more = len(shape) - len(axes) + 1
            shape = (shape[:n_more], *shape[n_more:]) if n_more >= 0 else ()
        if len(shape) == len(axes):
            # Without ``all`` or ``zip``: a small fit asks this ten times.
            for place, size in enumerate(shape):
                if sizes.setdefault(axes[place], size) != size:
                    break
            else:
                return
        wanted = ", ".join(str(sizes.get(axis, axis)) for axis in axes)
        raise ValueError(
            f"{self.portable.__name__}: {name} must be of shape ({wanted}), "
            f"got {tuple(array.shape)}."
        )

    def _check_labels(self, labels: Any, n_clusters: int | None) -> None:
        """Raise ValueError where labels on the host are no indices of clusters."""
        # On a device a look would wait for it: those of users are looked at where they come in.
        if n_clusters is None or not isinstance(labels, np.ndarray) or not len(labels):
            return
        if labels.dtype.kind not in "iu":
            raise ValueError(
                f"{self.portable.__name__}: labels must be integers, got {labels.dtype}."
            )
        # As unsigned numbers, negative ones are the greatest: one pass.
        if labels.view(f"u{labels.itemsize}").max() >= n_clusters:
            raise ValueError(
                f"{self.portable.__name__}: labels must lie in 0 to {n_clusters - 1}, got "
                f"{labels.min()} to {labels.max()}."
            )

    def __reduce__(self) -> str:
        """Pickle as the name of this kernel in its module: workers have the same one."""
        return self.portable.__qualname__

    def override(self, library: str, *, rows: type = object, rank: int = 0) -> Callable[[F], F]:
        """Register the decorated function as this kernel for arrays of ``library``.

        Parameters
        ----------
        library : str
            Name of the array library.
        rows : type
            Kind of rows that the function is for, if the kernel's first argument is rows:
            it never sees another kind.
        rank : int
            Of several functions, the one of the highest rank is tried first; of equal rank,
            the one registered last.

        Returns
        -------
        callable
            Decorates the function, and returns it as it is.
        """

        def register(body: F) -> F:
            self._overrides.setdefault(library, []).insert(0, _Override(body, rows, rank))
            self._bodies.clear()
            return body

        return register

    def overrides(self, library: str, rows: type = DenseRows) -> tuple[Callable[P, R], ...]:
        """Return the bodies for ``library`` and this kind of rows, the first to try in front."""
        bodies = self._bodies.get((library, rows))
        if bodies is None:
            _load_overrides(library)
            registered = self._overrides.get(library, ())
            ordered = sorted(registered, key=lambda override: -override.rank)
            bodies = tuple(each.body for each in ordered if issubclass(rows, each.rows))
            self._bodies[library, rows] = bodies
        return bodies


def _takes_longer(args: tuple[Any, ...]) -> bool:  # noqa: ARG001 (as all checks)
    return False


def _quick_check(
    shapes: tuple[tuple[int, str, _Axes], ...], *, has_rows: bool
) -> Callable[[tuple[Any, ...]], bool]:
    """Return what tells whether arguments fit together; False also where that takes longer.

    Made as code: a small fit calls twenty kernels, and to go through the axes of each would take
    a tenth of its time.
    """
    plain = all(isinstance(axes, str) and "*" not in axes for _, _, axes in shapes)
    if not plain or any(name == "labels" for _, name, _ in shapes):
        return _takes_longer
    lines, known = ["def fits(args):"], {"1": "1"}
    if has_rows:
        known |= {"n": "n", "d": "d"}
        lines += [
            "    rows = args[0]",
            "    n, d, w, o = rows.n_points, rows.n_features, rows.weights, rows.origin",
            "    if w is not None and w.shape != (n,) or o is not None and o.shape != (d,):",
            "        return False",
        ]
    for place, _, axes in shapes:
        shape = f"s{place}"
        lines += [f"    if args[{place}] is not None:", f"        {shape} = args[{place}].shape"]
        wrong = [f"len({shape}) != {len(axes)}"]
        found = []
        for number, axis in enumerate(axes):
            if axis in known:
                wrong.append(f"{shape}[{number}] != {known[axis]}")
            else:
                known[axis] = axis
                found.append(f"        {axis} = {shape}[{number}]")
        lines += [f"        if {' or '.join(wrong)}:", "            return False", *found]
    names: dict[str, Any] = {}
    exec("\n".join([*lines, "    return True"]), names)
    fits: Callable[[tuple[Any, ...]], bool] = names["fits"]
    return fits


def kernel(**shapes: _Axes) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Return a decorator that makes a kernel of its portable body, and lists it in ``kernels``.

    Parameters
    ----------
    **shapes : str or tuple of str
        As of ``Kernel``.

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
    # Only now, so that importing kmeans_xp imports no array library but NumPy. An error in
    # an override module is not caught: a fast path that silently vanishes is a bug report
    # that nobody can file.
    for name in record_of(library).kernels:
        if name == "for_numba" and (reason := why_numba_is_unusable()) is not None:
            logger.info("NumPy arrays are computed without numba: %s", reason)
            continue
        importlib.import_module(f"{__package__}.{name}")
