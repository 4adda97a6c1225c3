"""Figures of their own, unknown to pyplot; Matplotlib is imported when one is made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["axes_or_new", "check_axes", "check_format", "new_axes", "new_grid"]

DOTS_PER_INCH = 150


def new_axes(width: float = 9.0, height: float = 6.0) -> Axes:
    """Return the only axes of a new figure; sizes are in inches."""
    ax: Axes = _new_figure(width, height).add_subplot()
    return ax


def check_axes(ax: Any) -> None:
    """Raise unless this is matplotlib's Axes or None."""
    if ax is not None and not hasattr(ax, "figure"):
        raise TypeError(f"ax must be matplotlib's Axes or None, got {type(ax).__name__}")


def axes_or_new(ax: Any, width: float = 9.0, height: float = 6.0) -> Axes:
    """Return the axes that were given, or those of a new figure for None."""
    check_axes(ax)
    given: Axes = new_axes(width, height) if ax is None else ax
    return given


def new_grid(n_axes: int, width: float = 4.0, height: float = 3.4) -> np.ndarray[Any, Any]:
    """Return `n_axes` axes of a new figure, at most three in a row, each of this size."""
    n_columns = min(n_axes, 2 if n_axes == 4 else 3)
    n_rows = -(-n_axes // n_columns)
    figure = _new_figure(width * n_columns, height * n_rows)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for ax in axes[n_axes:]:
        ax.remove()
    return np.asarray(axes[:n_axes])


def check_format(path: str | os.PathLike[str]) -> None:
    """Check that a picture can be written in the format that a file name asks for.

    Parameters
    ----------
    path : path-like
        The file to write. Its extension names the format.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If matplotlib writes no format with this extension.

    Examples
    --------
    >>> from kmeans_xp import plotting
    >>> plotting.check_format("clusters.svg")
    """
    known = new_axes().figure.canvas.get_supported_filetypes()
    suffix = os.path.splitext(path)[1]
    if suffix.lower().removeprefix(".") not in known:
        raise ValueError(f"No picture can be written as {suffix!r}; known are {', '.join(known)}.")


def _new_figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install 'kmeans_xp[plot]'") from error
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
