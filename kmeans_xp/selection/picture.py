"""Draw the curves behind a choice of n_clusters; matplotlib is imported only then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kmeans_xp.plotting import ElbowDisplay
from kmeans_xp.plotting.figures import new_grid
from kmeans_xp.plotting.looks import colour
from kmeans_xp.selection.selection import Candidate, Selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

#: the marks have the same colour as in ``ElbowDisplay``
_CURVE, _MARK = colour(0), colour(3)


def draw(selection: Selection, axes: Sequence[Any] | None) -> np.ndarray[Any, Any]:
    """Draw a selection's curves, each on its own axes, for ``Selection.plot``."""
    silhouettes = [each for each in selection.table if each.silhouette is not None]
    one = [selection.one_cluster] if selection.one_cluster else []
    every = {each.n_clusters: each for each in [*one, *selection.table]}.values()
    gaps = [each for each in every if each.gap is not None]
    n_curves = 1 + bool(silhouettes) + bool(gaps)
    drawn = new_grid(n_curves, 4.6, 3.6) if axes is None else np.asarray(axes, dtype=object).ravel()
    if len(drawn) != n_curves:
        raise ValueError(f"axes must be {n_curves}, one for each curve, got {len(drawn)}.")
    rest = iter(drawn)
    _draw_inertia(next(rest), selection)
    if silhouettes:
        _draw_silhouettes(next(rest), silhouettes, selection.recommendations["silhouette"])
    if gaps:
        _draw_gaps(next(rest), gaps, selection.recommendations["gap"])
    for ax in drawn:
        # One cluster is a point only on the gap's curve.
        if ax.get_xlim()[0] <= selection.n_clusters <= ax.get_xlim()[1]:
            line = {"color": "black", "linestyle": "--", "linewidth": 1.0, "zorder": 0}
            ax.axvline(selection.n_clusters, label=f"chosen: {selection.n_clusters}", **line)
        ax.legend(edgecolor="none", framealpha=1.0)
    return drawn


def _draw_inertia(ax: Axes, selection: Selection) -> None:
    numbers = [each.n_clusters for each in selection.table]
    inertias = [each.inertia for each in selection.table]
    ElbowDisplay.from_inertias(numbers, inertias, ax=ax)
    ax.set_title("Inertia")
    _mark(
        ax, selection.recommendations["elbow"], dict(zip(numbers, inertias, strict=True)), "elbow"
    )


def _draw_silhouettes(ax: Axes, found: list[Candidate], best: int | None) -> None:
    values: dict[int, Any] = {each.n_clusters: each.silhouette for each in found}
    ax.plot(list(values), list(values.values()), color=_CURVE, marker="o", markersize=5)
    ax.set(title="Silhouette", xlabel="number of clusters", ylabel="mean silhouette")
    _mark(ax, best, values, "greatest")
    _tick(ax, list(values))


def _draw_gaps(ax: Axes, found: list[Candidate], best: int | None) -> None:
    values: dict[int, Any] = {each.n_clusters: each.gap for each in found}
    errors: list[Any] = [each.gap_error for each in found]
    ax.errorbar(
        list(values),
        list(values.values()),
        yerr=errors,
        color=_CURVE,
        marker="o",
        markersize=5,
        capsize=3,
    )
    ax.set(title="Gap statistic", xlabel="number of clusters", ylabel="gap")
    _mark(ax, best, values, "no structure" if best == 1 else "first within one error of the next")
    _tick(ax, list(values))


def _mark(ax: Axes, best: int | None, values: dict[int, Any], name: str) -> None:
    if best is None:
        ax.plot([], [], linestyle="none", label=f"no {name}")
    else:
        label = f"{name}: {best} cluster{'' if best == 1 else 's'}"
        ax.plot([best], [values[best]], "D", color=_MARK, markersize=9, label=label)


def _tick(ax: Axes, numbers: list[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    if len(numbers) <= 20:
        ax.set_xticks(numbers)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
