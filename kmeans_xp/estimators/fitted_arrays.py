"""Fitted arrays that become arrays of the rows' library when they are first read.

NumPy's kernels compute with arrays of other libraries on the host. To make a result an array of
such a library takes as long as some iterations on few rows, and many fits are for ``inertia_`` or
``predict`` alone. So a fit keeps what NumPy computed. An attribute becomes an array of the library
when it is first read, and then stays that array.

All other results are plain attributes. NumPy's need no conversion. What is computed on CUDA is
converted at once: later, another stream may be the current one.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from kmeans_xp.blocks import PerRow
from kmeans_xp.devices import Array, Placement, library_of, send

__all__ = [
    "FittedArrays",
    "as_computed",
    "held_attributes",
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


class _FittedArray:
    """An attribute that holds an array, or one that nobody has read yet."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, estimator: Any, owner: type | None = None) -> Any:
        if estimator is None:
            return self
        try:
            value = held_attributes(estimator)[self.name]
        except KeyError:
            raise AttributeError(
                f"This {type(estimator).__name__} has no {self.name}: it is not fitted, or its "
                "fit made none.",
                name=self.name,
                obj=estimator,
            ) from None
        return value.read() if type(value) is _Unread else value

    def __set__(self, estimator: Any, value: Any) -> None:
        held_attributes(estimator)[self.name] = value

    def __delete__(self, estimator: Any) -> None:
        try:
            del held_attributes(estimator)[self.name]
        except KeyError:
            raise AttributeError(self.name, name=self.name, obj=estimator) from None


class _WithAttributes:
    """Has the ``__dict__`` of any object."""


#: returns the attributes as an estimator holds them, with arrays that nobody has read
held_attributes = cast(Callable[[Any], dict[str, Any]], vars(_WithAttributes)["__dict__"].__get__)


class FittedArrays(_WithAttributes):
    """Base class of estimators with arrays that are made when they are read."""

    cluster_centers_ = _FittedArray()
    labels_ = _FittedArray()

    def __getstate__(self) -> Any:
        vars(self)  # reads all arrays
        return super().__getstate__()

    @property
    def __dict__(self) -> dict[str, Any]:
        """The attributes, which are read thereby: pickles and ``vars`` hold arrays only."""
        held = held_attributes(self)
        for name in ("cluster_centers_", "labels_"):
            value = held.get(name)
            if type(value) is _Unread:
                array = value.read()
                if held.get(name) is value:  # no fit in another thread has replaced it
                    held[name] = array
        return held

    @__dict__.setter
    def __dict__(self, attributes: dict[str, Any]) -> None:
        held = held_attributes(self)
        held.clear()
        held.update(attributes)


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


def as_computed(value: Any) -> Any:
    """Return a held attribute, as NumPy computed it if nobody has read it."""
    return value.as_computed() if type(value) is _Unread else value
