"""Check a kernel's arguments: shapes must fit together, and labels be indices of clusters."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Arguments", "Axes"]

#: a letter for each axis of an array; for a tuple of arrays, a string for each array
Axes: TypeAlias = str | tuple[str, ...]

#: unsigned integers of the same size
_UNSIGNED = {np.dtype(np.int32): np.dtype(np.uint32), np.dtype(np.int64): np.dtype(np.uint64)}


class Arguments:
    """Checks the arguments of a kernel, since its compiled bodies do not check where they read.

    Parameters
    ----------
    portable : callable
        The kernel's portable body, for its name and the names of its parameters.
    shapes : dict of str to Axes
        The axes of each array after the rows, one letter each. ``n`` is the number of rows and
        ``d`` the number of features. Any other letter is any length, the same in all arrays.
        ``*`` in front stands for any leading axes, the same in all arrays.
    """

    def __init__(self, portable: Callable[..., Any], shapes: dict[str, Axes]) -> None:
        self.name = portable.__name__
        names = list(inspect.signature(portable).parameters)
        self._shapes = tuple((names.index(name), name, axes) for name, axes in shapes.items())
        self._has_rows = names[0] == "rows"
        #: positions of the arguments that have an entry for each row
        self.per_row = frozenset(place for place, _, axes in self._shapes if axes[0][0] == "n")
        self._labels_at = names.index("labels") if "labels" in shapes else None
        self._n_clusters_at = names.index("n_clusters") if "n_clusters" in names else None
        #: function: whether arguments fit together; also False where only ``check`` can decide
        self.fit = _quick_check(
            self._shapes, has_rows=self._has_rows, n_clusters_at=self._n_clusters_at
        )

    def check(self, args: tuple[Any, ...]) -> None:
        """Raise ValueError where the shapes of arguments do not fit together."""
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
            pairs = zip(axes, shape, strict=True)
            if all(sizes.setdefault(axis, size) == size for axis, size in pairs):
                return
        wanted = ", ".join(str(sizes.get(axis, axis)) for axis in axes)
        raise ValueError(
            f"{self.name}: {name} must be of shape ({wanted}), got {tuple(array.shape)}."
        )

    def _check_labels(self, labels: Any, n_clusters: int | None) -> None:
        """Raise ValueError where labels on the host are not indices of clusters."""
        # To check labels on a device would wait for it. The public functions check users' labels.
        if n_clusters is None or not isinstance(labels, np.ndarray) or not len(labels):
            return
        if labels.dtype.kind not in "iu":
            raise ValueError(f"{self.name}: labels must be integers, got {labels.dtype}.")
        if not _are_indices(labels, n_clusters):
            raise ValueError(
                f"{self.name}: labels must lie in 0 to {n_clusters - 1}, got "
                f"{labels.min()} to {labels.max()}."
            )


def _are_indices(labels: np.ndarray[Any, Any], n_clusters: int) -> bool:
    """Return whether the integers, at least one, lie in 0 to n_clusters - 1."""
    # Read as unsigned, negative numbers are the greatest: one pass checks both ends.
    kind: Any = _UNSIGNED.get(labels.dtype) or labels.dtype.str.replace("i", "u")
    return bool(np.maximum.reduce(labels.view(kind)) < n_clusters)


def _quick_check(
    shapes: tuple[tuple[int, str, Axes], ...], *, has_rows: bool, n_clusters_at: int | None
) -> Callable[[tuple[Any, ...]], bool]:
    """Return a function: whether arguments fit together; also False where ``check`` must decide.

    The function is generated code. A small fit calls twenty kernels, and a loop over the axes of
    each would take a tenth of its time.
    """
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
        if isinstance(axes, str):
            lines += [f"    if args[{place}] is not None:"]
            lines += _shape_check(f"args[{place}]", axes, known, indent=8)
        else:
            for number, part_axes in enumerate(axes):
                lines += _shape_check(f"args[{place}][{number}]", part_axes, known, indent=4)
    labels_at = next((place for place, name, _ in shapes if name == "labels"), None)
    n_clusters = known.get("k") if n_clusters_at is None else f"args[{n_clusters_at}]"
    if labels_at is not None and n_clusters is not None:
        # Only labels on the host: the public functions check users' labels on a device.
        lines += [
            f"    labels = args[{labels_at}]",
            "    if type(labels) is ndarray and n:",
            f"        if labels.dtype != int32 or not are_indices(labels, {n_clusters}):",
            "            return False",
        ]
    names = {"ndarray": np.ndarray, "int32": np.dtype(np.int32), "are_indices": _are_indices}
    exec("\n".join([*lines, "    return True"]), names)
    fits: Any = names["fits"]
    return fits  # type: ignore[no-any-return]


def _shape_check(array: str, axes: str, known: dict[str, str], *, indent: int) -> list[str]:
    """Return lines of code that return False for a wrong shape, and name lengths not yet known."""
    n_axes, wrong, found = len(axes.lstrip("*")), [], []
    if axes[0] == "*":
        wrong.append(f"len(shape) < {n_axes}")
        if "*" in known:
            wrong.append(f"shape[:-{n_axes}] != more")
        else:
            known["*"] = "more"
            found.append(f"more = shape[:-{n_axes}]")
    else:
        wrong.append(f"len(shape) != {n_axes}")
    for number, axis in enumerate(axes.lstrip("*"), -n_axes):
        if axis in known:
            wrong.append(f"shape[{number}] != {known[axis]}")
        else:
            known[axis] = axis
            found.append(f"{axis} = shape[{number}]")
    lines = [f"shape = {array}.shape", f"if {' or '.join(wrong)}:", "    return False", *found]
    return [" " * indent + line for line in lines]
