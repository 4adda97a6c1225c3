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

    HostArray = np.ndarray[Any, Any]

__all__ = ["ElbowDisplay"]

MOST_TICKS = 20


class ElbowDisplay:
    """A picture of the inertia for each number of clusters.

    Inertia always falls with more clusters. After the bend of the curve, more clusters gain
    little.

    Make one with `from_inertias`.

    Parameters
    ----------
    n_clusters : ndarray of int, shape (n_fits,)
        Numbers of clusters, in any order.
    inertias : ndarray of shape (n_fits,)
        The inertia of the best fit of each, in squared units of the points.
    chosen : int, default=None
        The number of clusters to mark.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that `plot` drew on.
    figure_ : matplotlib.figure.Figure
        Their figure, unknown to pyplot if `plot` made it.

    Examples
    --------
    >>> from kmeans_xp.plotting import ElbowDisplay
    >>> display = ElbowDisplay.from_inertias([1, 2, 3, 4], [90.0, 20.0, 5.0, 4.0], chosen=3)
    >>> display.ax_.get_legend().get_texts()[0].get_text()
    'chosen: 3 clusters'
    """

    ax_: Axes
    figure_: Any

    def __init__(
        self, *, n_clusters: HostArray, inertias: HostArray, chosen: int | None = None
    ) -> None:
        self.n_clusters = n_clusters
        self.inertias = inertias
        self.chosen = chosen

    @classmethod
    def from_inertias(
        cls,
        n_clusters: Sequence[int],
        inertias: Sequence[float],
        *,
        ax: Axes | None = None,
        chosen: int | None = None,
    ) -> Self:
        """Draw these inertias.

        Parameters
        ----------
        n_clusters : array-like of int, shape (n_fits,)
            Numbers of clusters, in any order.
        inertias : array-like of shape (n_fits,)
            The inertia of the best fit of each, in squared units of the points.
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.
        chosen : int, default=None
            The number of clusters to mark.

        Returns
        -------
        ElbowDisplay
            Drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `ax` is of another kind.
        ValueError
            If the arrays differ in length or are empty, inertias are not finite, or `chosen`
            is not in `n_clusters`.
        """
        given = (("n_clusters", n_clusters), ("inertias", inertias))
        numbers, heights = (devices.to_host(any_array(values, name)) for name, values in given)
        if numbers.ndim != 1 or numbers.shape != heights.shape or not len(numbers):
            raise ValueError(
                "inertias must be one for each of n_clusters, at least one, "
                f"got shapes {heights.shape} and {numbers.shape}"
            )
        if not np.isfinite(heights).all():
            raise ValueError("inertias must be finite, got NaN or infinity")
        if chosen is not None and chosen not in numbers.tolist():
            raise ValueError(f"chosen must be one of n_clusters {numbers.tolist()}, got {chosen}")
        return cls(n_clusters=numbers, inertias=heights, chosen=chosen).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        ElbowDisplay
            This one, with `ax_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `ax` is of another kind.
        """
        self.ax_ = axes_or_new(ax, 7.0, 4.5)
        self.figure_ = self.ax_.figure
        order = np.argsort(self.n_clusters, kind="stable")
        numbers, inertias = self.n_clusters[order], self.inertias[order]
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
        self.ax_.legend(edgecolor="none", framealpha=1.0)

    def _tick(self, numbers: HostArray) -> None:
        from matplotlib.ticker import MaxNLocator

        if len(numbers) <= MOST_TICKS:
            self.ax_.set_xticks(numbers)
        else:
            self.ax_.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
