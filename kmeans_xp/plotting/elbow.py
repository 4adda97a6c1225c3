"""The inertia for each number of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kmeans_xp import devices
from kmeans_xp.plotting.figures import axes_or_new
from kmeans_xp.plotting.inputs import any_array
from kmeans_xp.plotting.looks import colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ElbowDisplay", "elbow"]

MOST_TICKS = 20


class ElbowDisplay:
    """A picture of the inertia for each number of clusters.

    Parameters
    ----------
    n_clusters : sequence of int
        Numbers of clusters, in any order.
    inertias : sequence of float
        The inertia of the best fit of each, in squared units of the points.
    chosen : int, default=None
        The number of clusters to mark.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        What `plot` drew on.
    figure_ : matplotlib.figure.Figure
        Its figure, unknown to pyplot.

    Raises
    ------
    ValueError
        If the sequences differ in length or are empty, or `chosen` is none of `n_clusters`.

    See Also
    --------
    kmeans_xp.plotting.elbow : The same in one call.

    Examples
    --------
    >>> from kmeans_xp.plotting import ElbowDisplay
    >>> ElbowDisplay([1, 2, 3], [9.0, 2.0, 1.5], chosen=2).plot().ax_.get_xlabel()
    'number of clusters'
    """

    ax_: Axes
    figure_: Any

    def __init__(
        self, n_clusters: Sequence[int], inertias: Sequence[float], *, chosen: int | None = None
    ) -> None:
        given = (("n_clusters", n_clusters), ("inertias", inertias))
        numbers, heights = (any_array(values, name) for name, values in given)
        if numbers.ndim != 1 or numbers.shape != heights.shape or not len(numbers):
            raise ValueError(
                "inertias must be one for each of n_clusters, at least one, "
                f"got shapes {tuple(heights.shape)} and {tuple(numbers.shape)}"
            )
        if not np.isfinite(devices.to_host(heights)).all():
            raise ValueError("inertias must be finite, got NaN or infinity")
        if chosen is not None and chosen not in n_clusters:
            raise ValueError(f"chosen must be one of n_clusters {list(n_clusters)}, got {chosen}")
        self.n_clusters = n_clusters
        self.inertias = inertias
        self.chosen = chosen

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure of its own.

        Returns
        -------
        ElbowDisplay
            This one, with `ax_` and `figure_`.
        """
        self.ax_ = axes_or_new(ax, 7.0, 4.5)
        self.figure_ = self.ax_.figure
        order = np.argsort(np.asarray(self.n_clusters), kind="stable")
        numbers = np.asarray(self.n_clusters)[order]
        inertias = np.asarray(self.inertias, dtype=np.float64)[order]
        self.ax_.plot(numbers, inertias, color=colour(0), marker="o", markersize=5)
        if self.chosen is not None:
            self._mark(self.chosen, inertias[numbers == self.chosen][0])
        self._tick(numbers)
        self.ax_.set_ylim(bottom=0.0)
        self.ax_.set(xlabel="number of clusters", ylabel="inertia")
        self.ax_.grid(alpha=0.3)
        return self

    def _mark(self, chosen: int, inertia: float) -> None:
        self.ax_.axvline(chosen, color="black", linestyle="--", linewidth=1.0, zorder=0)
        self.ax_.plot(
            [chosen],
            [inertia],
            color=colour(3),
            marker="D",
            markersize=9,
            linestyle="none",
            label=f"chosen: {chosen} clusters",
        )
        self.ax_.legend(frameon=False)

    def _tick(self, numbers: np.ndarray[Any, Any]) -> None:
        from matplotlib.ticker import MaxNLocator

        if len(numbers) <= MOST_TICKS:
            self.ax_.set_xticks(numbers)
        else:
            self.ax_.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def elbow(
    n_clusters: Sequence[int],
    inertias: Sequence[float],
    *,
    chosen: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the inertia for each number of clusters.

    Inertia always falls with more clusters; where the curve bends, more of them begin to
    gain little.

    Parameters
    ----------
    n_clusters : sequence of int
        Numbers of clusters, in any order.
    inertias : sequence of float
        The inertia of the best fit of each, in squared units of the points.
    chosen : int, default=None
        The number of clusters to mark.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; None makes a figure of its own, unknown to pyplot.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the sequences differ in length or are empty, or `chosen` is none of `n_clusters`.

    Examples
    --------
    >>> from kmeans_xp import plotting
    >>> ax = plotting.elbow([1, 2, 3, 4], [90.0, 20.0, 5.0, 4.0], chosen=3)
    >>> ax.get_legend().get_texts()[0].get_text()
    'chosen: 3 clusters'
    """
    return ElbowDisplay(n_clusters, inertias, chosen=chosen).plot(ax).ax_
