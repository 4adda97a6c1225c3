"""Fitted arrays that become arrays of the rows' library when they are first read.

NumPy's kernels compute with arrays of other libraries on the host. To make a result an array of
such a library takes as long as some iterations on few rows, and many fits are for ``inertia_`` or
``predict`` alone. So a fit keeps what NumPy computed. An attribute becomes an array of the library
when it is first read, and then stays that array.

All other results are plain attributes. NumPy's need no conversion. What is computed on CUDA is
converted at once: later, another stream may be the current one.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kmeans_xp.blocks import PerRow
from kmeans_xp.devices import Array, Placement, library_of, send

__all__ = [
    "FittedArrays",
    "as_computed",
    "labels_when_read",
    "sent_when_read",
]


class _Unread:
    """A result in NumPy's memory, for a reader who expects an array of the rows' library."""

    def __init__(self, array: Array, placement: Placement) -> None:
        if array.dtype.itemsize == 8:
            # JAX's dtypes are those of the fit, whatever is configured when the array is read.
            xp, device = placement.home_xp, placement.home_device
            array = library_of(xp).held(array, xp, device)
        self._computed = array
        self._placement = placement

    def as_computed(self) -> Array:
        """Return NumPy's array while nobody can write to it, and then what the reader got."""
        computed = self._computed  # before the look at what was read: a reader removes it
        return self.__dict__.get("_read", computed)

    def read(self) -> Array:
        """Return the same array of the rows' library to each reader."""
        computed = self._computed
        if "_read" not in self.__dict__:
            xp, device = self._placement.home_xp, self._placement.home_device
            # Of two threads that read at once, both get the array of the first.
            self.__dict__.setdefault("_read", library_of(xp).lasting(computed, xp, device))
            self._computed = None
        return self.__dict__["_read"]


class FittedArrays:
    """Base class of estimators with arrays that are made when they are read.

    An array that nobody has read is no attribute yet: ``__getattr__`` makes it.
    """

    cluster_centers_: Array
    labels_: Array
    _unread: dict[str, _Unread]

    def _set_fitted(self, **attributes: Any) -> None:
        """Set attributes, of which some become arrays when they are read."""
        held, unread = self.__dict__, {}
        for name, value in attributes.items():
            if type(value) is not _Unread:
                setattr(self, name, value)
            elif hasattr(type(self), name):  # a subclass would read its own
                setattr(self, name, value.read())
            else:
                unread[name] = value
        if unread:
            # At no time is there none of both: another thread may predict meanwhile.
            self._unread = held.get("_unread", {}) | unread
            for name in unread:
                held.pop(name, None)

    if not TYPE_CHECKING:  # every other name would have a type

        def __getattr__(self, name: str) -> Any:
            unread = self.__dict__.get("_unread", {}).get(name)
            if unread is not None:
                return unread.read()
            if name in ("cluster_centers_", "labels_"):
                raise AttributeError(
                    f"This {type(self).__name__} has no {name}: it is not fitted, or its fit made "
                    "none.",
                    name=name,
                    obj=self,
                )
            return object.__getattribute__(self, name)  # raises again what a property has raised

    def __delattr__(self, name: str) -> None:
        unread = self.__dict__.get("_unread", {})
        if name not in unread:
            return super().__delattr__(name)
        self._unread = {other: value for other, value in unread.items() if other != name}
        self.__dict__.pop(name, None)
        return None

    def __dir__(self) -> Iterable[str]:
        return {*super().__dir__(), *self.__dict__.get("_unread", ())}

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()
        return _read_out(state)

    def _attributes(self) -> dict[str, Any]:
        """Return all attributes; this reads the arrays."""
        return _read_out(self.__dict__)


def _read_out(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes without what nobody has read, which is read."""
    held = dict(attributes)  # a fit in another thread may replace some meanwhile
    arrays = {name: unread.read() for name, unread in held.pop("_unread", {}).items()}
    return arrays | held


def sent_when_read(array: Array, placement: Placement) -> Any:
    """Return a result as ``send`` does, or what becomes that when it is read."""
    if placement.is_lent and type(array) is np.ndarray:
        return _Unread(array, placement)
    return send(array, placement)


def labels_when_read(labels: PerRow, placement: Placement) -> Any:
    """Return labels as ``delivered`` does, or what becomes that when it is read."""
    if placement.is_lent:
        return sent_when_read(labels.whole(), placement)
    return labels.delivered(placement)


def as_computed(estimator: Any, name: str) -> Any:
    """Return an attribute, as NumPy computed it if nobody has read it; None if there is none."""
    held = vars(estimator)
    value = held.get(name)
    if value is None and (unread := held.get("_unread", {}).get(name)) is not None:
        return unread.as_computed()
    return value
