"""The schema of fitted attributes, for those from files and those that users set by hand."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from kmeans_xp.devices import is_array, is_known_array, is_of_kind, lent, to_host
from kmeans_xp.estimators.fitted_arrays import as_computed

__all__ = [
    "History",
    "Names",
    "Numbers",
    "Real",
    "Source",
    "Text",
    "Tree",
    "Whole",
    "checked_centres",
    "checked_state",
]

#: attributes of scikit-learn's mixins beside the fitted ones, and their types
_SETTINGS = {"_sklearn_output_config": dict}


class Kind(Protocol):
    """The kind of value that an attribute may have."""

    def fault(self, value: Any, sizes: dict[str, int]) -> str | None:
        """Return what is wrong with a value, to follow the word "is"; None if nothing is."""


class Numbers(NamedTuple):
    """An array of finite numbers.

    Parameters
    ----------
    axes : str
        A letter for each axis. Axes with the same letter have the same length.
    kind : str or tuple of str
        As for ``isdtype``.
    least : float
        Minimum of the numbers.
    may_lack : bool
        Whether the array may be empty, and may hold NaN.
    """

    axes: str
    kind: str | tuple[str, ...] = "real floating"
    least: float = -math.inf
    may_lack: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> str | None:
        """Return what is wrong."""
        if not is_array(value):
            return f"a {type(value).__name__}, not an array"
        if not is_of_kind(value, self.kind):
            kinds = self.kind if isinstance(self.kind, str) else " or ".join(self.kind)
            return f"of {value.dtype}, not of a {kinds} dtype"
        shape = tuple(int(size) for size in value.shape)
        fits = len(shape) == len(self.axes) and all(
            sizes.setdefault(axis, size) == size
            for axis, size in zip(self.axes, shape, strict=True)
        )
        if not fits:
            wanted = ", ".join(str(sizes.get(axis, f"any {axis}")) for axis in self.axes)
            return f"of shape {shape}, not ({wanted})"
        if self.may_lack:
            return None
        if 0 in shape:
            return f"empty: of shape {shape}"
        host = to_host(value)
        if not np.isfinite(host).all():
            return "not finite everywhere"
        if host.min() < self.least:
            return f"below {self.least:g} somewhere"
        return None


class Whole(NamedTuple):
    """A whole number.

    Parameters
    ----------
    least : int
        Its minimum.
    size : str
        The axis whose length it equals, as in ``Numbers``; empty for no axis.
    """

    least: int = 0
    size: str = ""

    def fault(self, value: Any, sizes: dict[str, int]) -> str | None:
        """Return what is wrong."""
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            return f"{value!r:.60}, not a whole number"
        if not self.least <= value < 2**63:
            return f"{value}, not a number of at least {self.least}"
        if self.size and sizes.setdefault(self.size, int(value)) != value:
            return f"{value}, not {sizes[self.size]} as the centroids say"
        return None


class Real:
    """A number that is not NaN."""

    def fault(self, value: Any, sizes: dict[str, int]) -> str | None:
        """Return what is wrong."""
        is_number = isinstance(value, int | float | np.integer | np.floating)
        if isinstance(value, bool) or not is_number or math.isnan(value):
            return f"{value!r:.60}, not a number"
        return None


class Text:
    """A string."""

    def fault(self, value: Any, sizes: dict[str, int]) -> str | None:
        """Return what is wrong."""
        return None if isinstance(value, str) else f"{value!r:.60}, not a string"


class Source:
    """A RandomState."""

    def fault(self, value: Any, sizes: dict[str, int]) -> str | None:
        """Return what is wrong."""
        is_source = isinstance(value, np.random.RandomState)
        return None if is_source else f"a {type(value).__name__}, not a RandomState"


class Tree(NamedTuple):
    """The two children of each node of a binary tree; -1 and -1 for a leaf.

    Parameters
    ----------
    nodes, leaves : str
        The axes whose lengths are the numbers of nodes and of leaves, as in ``Numbers``.
    """

    nodes: str
    leaves: str

    def fault(self, value: Any, sizes: dict[str, int]) -> str | None:
        """Return what is wrong."""
        fault = Numbers(self.nodes + "2", "integral", -1).fault(value, {**sizes, "2": 2})
        if fault is not None:
            return fault
        host = to_host(value).astype(np.int64)
        is_leaf = (host == -1).all(axis=1)
        pairs, parents = host[~is_leaf], np.flatnonzero(~is_leaf)
        # Each node except the root is a child once, beside its sibling and after its parent.
        is_tree = (
            np.array_equal(np.sort(pairs, axis=None), np.arange(1, len(host)))
            and (pairs[:, 0] > parents).all()
            and (pairs[:, 1] == pairs[:, 0] + 1).all()
        )
        if not is_tree:
            return "not a binary tree"
        n_leaves = int(is_leaf.sum())
        if sizes.setdefault(self.leaves, n_leaves) != n_leaves:
            return f"a tree of {n_leaves} leaves, not {sizes[self.leaves]} as the centroids say"
        return None


class Names(NamedTuple):
    """Names of features.

    Parameters
    ----------
    axis : str
        As in ``Numbers``.
    """

    axis: str

    def fault(self, value: Any, sizes: dict[str, int]) -> str | None:
        """Return what is wrong."""
        is_array_of_names = isinstance(value, np.ndarray) and value.ndim == 1
        if not is_array_of_names or not all(isinstance(name, str) for name in value.tolist()):
            return "not an array of strings"
        if sizes.setdefault(self.axis, len(value)) != len(value):
            return f"{len(value)} names for {sizes[self.axis]} features"
        return None


class History:
    """Arrays with one number for each iteration."""

    names: ClassVar[frozenset[str]] = frozenset({"inertia", "shift"})

    def fault(self, value: Any, sizes: dict[str, int]) -> str | None:
        """Return what is wrong."""
        if not isinstance(value, dict) or set(value) != self.names:
            return f"not a dict of {' and '.join(sorted(self.names))}"
        each = list(value.values())
        if not all(isinstance(one, np.ndarray) and one.ndim == 1 for one in each):
            return "not a dict of arrays of one dimension"
        if not all(one.dtype.kind == "f" for one in each) or len({len(one) for one in each}) > 1:
            return "not a dict of equally long arrays of floating numbers"
        return None


def checked_state(
    estimator: Any, state: Mapping[str, Any], schema: Mapping[str, Kind], needed: frozenset[str]
) -> None:
    """Raise ValueError, which names the field, if an estimator cannot have this state.

    Parameters
    ----------
    estimator : estimator
        The estimator, with its parameters.
    state : mapping of str to object
        Its future attributes.
    schema : mapping of str to Kind
        The kind of each attribute. Other attributes may be anything, if their names hide nothing
        of the class.
    needed : frozenset of str
        The attributes that every fit sets. ``cluster_centers_`` alone is allowed too.
    """
    estimator._validate_params()
    _check_init(estimator.init)
    known = {name: schema[name] for name in schema if name in state}
    if known and set(known) != {"cluster_centers_"}:
        for name in sorted(needed):
            if name not in known:
                raise ValueError(f"{name} is missing")
    sizes: dict[str, int] = {}
    for name, kind in known.items():  # in the schema's order: centroids set the sizes
        fault = kind.fault(state[name], sizes)
        if fault is not None:
            raise ValueError(f"{name} is {fault}")
    for name, value in state.items():
        if name in known:
            continue
        if name in _SETTINGS:
            if not isinstance(value, _SETTINGS[name]):
                raise ValueError(f"{name} is a {type(value).__name__}")
        elif not name.isidentifier() or name.startswith("__") or hasattr(type(estimator), name):
            raise ValueError(f"{name!r:.60} is not an attribute of a {type(estimator).__name__}")


def _check_init(init: Any) -> None:
    if isinstance(init, str):
        return
    is_list = isinstance(init, list | tuple)
    fault = Numbers("kd", ("real floating", "integral")).fault(
        np.asarray(init) if is_list else init, {}
    )
    if fault is not None:
        raise ValueError(f"init is {fault}")


def checked_centres(estimator: Any, n_features: int) -> None:
    """Raise ValueError if centroids, fitted or set by hand, do not fit rows of this width.

    Parameters
    ----------
    estimator : estimator
        An estimator with ``cluster_centers_``.
    n_features : int
        Number of features of the rows.
    """
    if _are_plain(estimator, n_features):
        return  # the checks below may take as long as a small predict
    for name, axes in (("cluster_centers_", "kd"), ("_origin", "d"), ("_centroids", "md")):
        value: Any = getattr(estimator, name, None)
        if value is None and name != "cluster_centers_":
            continue
        if not _is_of_real_numbers(value):
            raise ValueError(f"{name} must be an array of real numbers, got {value!r:.60}.")
        shape = tuple(int(size) for size in value.shape)
        if len(shape) != len(axes) or shape[-1] != n_features or 0 in shape:
            wanted = "(n_clusters, n_features)" if len(axes) == 2 else "(n_features,)"
            raise ValueError(
                f"{name} has shape {shape}, but X has {n_features} features: it must have shape "
                f"{wanted} with the features of the fit. Fit again, or set cluster_centers_ to "
                "an array with as many columns as X."
            )


def _are_plain(estimator: Any, n_features: int) -> bool:
    """Return whether all three arrays exist, can be read by NumPy, and have the right shapes."""
    shapes = []
    for name in ("cluster_centers_", "_centroids", "_origin"):
        part = as_computed(estimator, name)
        if type(part) is not np.ndarray and is_known_array(part):
            part = lent(part)
        if type(part) is not np.ndarray or part.dtype.kind != "f":
            return False
        shapes.append(part.shape)
    published, centroids, origin = shapes
    return (
        origin == (n_features,)
        and published[1:] == origin
        and centroids[1:] == origin
        and 0 not in (published[0], centroids[0])
    )


def _is_of_real_numbers(value: Any) -> bool:
    return is_array(value) and is_of_kind(value, ("real floating", "integral"))
