"""What kernels are given: shapes that fit together, and labels that are indices of clusters."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Arguments", "Axes"]

#: a letter for each axis of an array; of a tuple of arrays one string each
Axes: TypeAlias = str | tuple[str, ...]


class Arguments:
    """The arguments of a kernel: bodies are compiled code that does not look where it reads.

    Parameters
    ----------
    portable : callable
        The kernel's portable body, for its name and the names of its parameters.
    shapes : dict of str to Axes
        For each array that is given after the rows its axes, a letter each: ``n`` is the number
        of rows, ``d`` that of features, any other letter the same length wherever it stands, and
        ``*`` in front any axes, the same wherever it stands.
    """

    def __init__(self, portable: Callable[..., Any], shapes: dict[str, Axes]) -> None:
        self.name = portable.__name__
        names = list(inspect.signature(portable).parameters)
        self._shapes = tuple((names.index(name), name, axes) for name, axes in shapes.items())
        self._has_rows = names[0] == "rows"
        self._labels_at = names.index("labels") if "labels" in shapes else None
        self._n_clusters_at = names.index("n_clusters") if "n_clusters" in names else None
        #: whether arguments fit together; False also where that takes longer to tell
        self.fit = _quick_check(self._shapes, has_rows=self._has_rows)

    def check(self, args: tuple[Any, ...]) -> None:
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
            pairs = zip(axes, shape, strict=True)
            if all(sizes.setdefault(axis, size) == size for axis, size in pairs):
                return
        wanted = ", ".join(str(sizes.get(axis, axis)) for axis in axes)
        raise ValueError(
            f"{self.name}: {name} must be of shape ({wanted}), got {tuple(array.shape)}."
        )

    def _check_labels(self, labels: Any, n_clusters: int | None) -> None:
        """Raise ValueError where labels on the host are no indices of clusters."""
        # On a device a look would wait for it: those of users are looked at where they come in.
        if n_clusters is None or not isinstance(labels, np.ndarray) or not len(labels):
            return
        if labels.dtype.kind not in "iu":
            raise ValueError(f"{self.name}: labels must be integers, got {labels.dtype}.")
        # As unsigned numbers, negative ones are the greatest: one pass.
        if labels.view(labels.dtype.str.replace("i", "u")).max() >= n_clusters:
            raise ValueError(
                f"{self.name}: labels must lie in 0 to {n_clusters - 1}, got "
                f"{labels.min()} to {labels.max()}."
            )


def _takes_longer(args: tuple[Any, ...]) -> bool:  # noqa: ARG001 (as all checks)
    return False


def _quick_check(
    shapes: tuple[tuple[int, str, Axes], ...], *, has_rows: bool
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
