"""The iterations of a fit, as panels in which centroids move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from kmeans_xp.checks import check_integer
from kmeans_xp.plotting.centroid_path import CentroidPath
from kmeans_xp.plotting.figures import check_axes, new_grid
from kmeans_xp.plotting.inputs import (
    check_sampling,
    checked_names,
    checked_points,
    host_centroids,
    host_rows,
    sampled,
)
from kmeans_xp.plotting.looks import MOST_TOLD_APART
from kmeans_xp.plotting.plane import Plane
from kmeans_xp.plotting.scatter import draw_centroids, draw_points, name_axes, number_centroids

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = ["ConvergenceDisplay", "Journey", "evenly", "journey_of"]

PANELS = 6
# Moves shorter than this share of the picture would be an arrow's head behind the disc.
LEAST_ARROW = 0.03
MARGIN = 0.05
# Sizes in a panel, of those in a picture of its own.
SCALE = 0.45


class Journey(NamedTuple):
    """Points drawn and the way of the centroids: their features, and where they are drawn."""

    rows: HostArray
    centroids: HostArray
    points: HostArray
    path: HostArray
    axis_names: tuple[str, str]

    @property
    def n_iterations(self) -> int:
        """How often the centroids moved."""
        return len(self.path) - 1

    @property
    def limits(self) -> tuple[HostArray, HostArray]:
        """Opposite corners of a box around everything that is drawn."""
        positions = np.concatenate([self.points, self.path.reshape(-1, 2)])
        low, high = positions.min(axis=0), positions.max(axis=0)
        margins = MARGIN * np.where(high > low, high - low, 1.0)
        return low - margins, high + margins

    def labels(self, number: int) -> HostArray:
        """Return the assignment in iteration `number`, from 1: by the centroids before it."""
        from scipy.spatial.distance import cdist

        sq_distances = cdist(self.rows, self.centroids[number - 1], "sqeuclidean")
        nearest: HostArray = sq_distances.argmin(axis=1)
        return nearest


def journey_of(
    X: Any,
    centroids_path: CentroidPath | Sequence[Any],
    *,
    feature_names: Sequence[str] | None,
    sample_size: int | None,
    random_state: int | None,
) -> Journey:
    """Check the arrays, sample the points, and find the plane of the picture."""
    check_sampling(sample_size, random_state)
    centroids = _checked_path(centroids_path)
    n_features = centroids.shape[2]
    points = checked_points(X, n_features)
    names = checked_names(feature_names, n_features, X=X)
    rng = np.random.default_rng(random_state)
    rows = host_rows(points, sampled(int(points.shape[0]), sample_size, rng))
    plane = Plane.of(rows, names)
    path = np.stack([plane.positions(step) for step in centroids])
    return Journey(rows, centroids, plane.positions(rows, rng), path, plane.axis_names)


def _checked_path(given: Any) -> HostArray:
    path = given.centroids if isinstance(given, CentroidPath) else given
    if not isinstance(path, Sequence) or isinstance(path, str):
        raise TypeError(
            "centroids_path must be a CentroidPath or a sequence of centroids, "
            f"got {type(path).__name__}"
        )
    if len(path) < 2:
        raise ValueError(
            "centroids_path must hold the centroids before and after at least one iteration, got "
            f"{len(path)}: fit with `set_callbacks(path)`, where path = CentroidPath()"
        )
    centroids = [host_centroids(centroids) for centroids in path]
    shapes = sorted({array.shape for array in centroids})
    if len(shapes) > 1:
        raise ValueError(f"All of centroids_path must have one shape, got {shapes}")
    return np.stack(centroids)


def evenly(n_iterations: int, n_chosen: int) -> list[int]:
    """Return iterations from the first to the last, closer together where more happens.

    Parameters
    ----------
    n_iterations : int
        The number of iterations, from 1.
    n_chosen : int
        The number to choose, at most.

    Returns
    -------
    list of int
        Ascending, spaced by a constant factor, but by at least one.
    """
    n_chosen = min(n_chosen, n_iterations)
    if n_chosen == 1:
        return [n_iterations]
    spaced = np.geomspace(1, n_iterations, n_chosen)
    return [max(round(number), i + 1) for i, number in enumerate(spaced)]


class ConvergenceDisplay:
    """Panels of iterations: points coloured by assignment, arrows where centroids move.

    A point has the colour of the centroid that it is assigned to in that iteration: the nearest
    of those before it. One feature is drawn along a line, and more than two in the plane of
    their first two principal components.

    Make one with `from_path`.

    Parameters
    ----------
    journey : Journey
        Points and path, in the coordinates of the picture.
    iterations : list of int
        The iterations to draw, from 1.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
        The axes that `plot` drew on, one for each iteration.
    figure_ : matplotlib.figure.Figure
        Their figure, unknown to pyplot if `plot` made it.

    See Also
    --------
    kmeans_xp.plotting.CentroidPath : Keeps the path of a fit.
    kmeans_xp.plotting.animation : The same as a film.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.plotting import ConvergenceDisplay
    >>> X = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]])
    >>> path = [X[:2], np.array([[0.0, 0.0], [5.0, 0.0]]), np.array([[0.5, 0.0], [9.0, 0.0]])]
    >>> [ax.get_title() for ax in ConvergenceDisplay.from_path(X, path).axes_]
    ['Iteration 1', 'Iteration 2 (last)']
    """

    axes_: np.ndarray[Any, Any]
    figure_: Any

    def __init__(self, *, journey: Journey, iterations: list[int]) -> None:
        self.journey = journey
        self.iterations = iterations

    @classmethod
    def from_path(
        cls,
        X: Any,
        centroids_path: CentroidPath | Sequence[Any],
        *,
        ax: Any = None,
        panels: int | Sequence[int] | None = None,
        feature_names: Sequence[str] | None = None,
        sample_size: int | None = 5_000,
        random_state: int | None = 0,
    ) -> Self:
        """Draw the path that centroids took through X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The points, of any library and device.
        centroids_path : CentroidPath or sequence of arrays of shape (n_clusters, n_features)
            The centroids before and after each iteration.
        ax : matplotlib.axes.Axes or array-like of Axes, default=None
            Where to draw, one for each panel. None makes a new figure.
        panels : int or sequence of int, default=None
            The number of iterations to draw, or which, from 1. None draws one on each of `ax`,
            or six. A number is spaced by a constant factor: most happens in the first ones.
        feature_names : sequence of str, default=None
            Names for the axes. None takes those of a data frame, or "x0", "x1", ...
        sample_size : int or None, default=5_000
            Draw a random sample of this size if X has more rows. None draws all.
        random_state : int or None, default=0
            Seed of the sample, and of the heights of points with one feature.

        Returns
        -------
        ConvergenceDisplay
            Drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `centroids_path`, `ax`, `panels` or `feature_names` is of another kind.
        ValueError
            If the arrays cannot be drawn, their shapes do not match, or `panels` names an
            iteration that the path does not have.
        """
        axes = _checked_axes(ax)
        journey = journey_of(
            X,
            centroids_path,
            feature_names=feature_names,
            sample_size=sample_size,
            random_state=random_state,
        )
        n_axes = None if axes is None else len(axes)
        iterations = _chosen(panels, journey.n_iterations, n_axes)
        return cls(journey=journey, iterations=iterations).plot(axes)

    def plot(self, ax: Any = None) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or array-like of Axes, default=None
            Where to draw, one for each iteration. None makes a new figure.

        Returns
        -------
        ConvergenceDisplay
            This one, with `axes_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `ax` is of another kind.
        ValueError
            If there is not one of `ax` for each iteration.
        """
        axes = _checked_axes(ax)
        if axes is not None:
            _check_n_axes(len(axes), len(self.iterations))
        self.axes_ = new_grid(len(self.iterations)) if axes is None else axes
        self.figure_ = self.axes_[0].figure
        for panel, number in zip(self.axes_, self.iterations, strict=True):
            self._draw(panel, number)
        if axes is None:
            handles, labels = self._key()
            self.figure_.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        return self

    def _draw(self, ax: Axes, number: int) -> None:
        before, after = self.journey.path[number - 1 : number + 1]
        labels = self.journey.labels(number)
        sizes = np.bincount(labels, minlength=len(before))
        low, high = self.journey.limits
        ax.set_xlim(low[0], high[0])
        ax.set_ylim(low[1], high[1])
        draw_points(ax, self.journey.points, labels, sizes, SCALE)
        ax.scatter(
            before[:, 0], before[:, 1], s=26, c="black", marker="x", linewidths=1.0, zorder=2.5
        )
        _draw_arrows(ax, before, after, high - low)
        draw_centroids(ax, after, SCALE)
        if len(before) <= MOST_TOLD_APART:
            number_centroids(ax, after, 0.7)
        name_axes(ax, self.journey.axis_names)
        is_last = number == self.journey.n_iterations
        ax.set_title(f"Iteration {number}{' (last)' if is_last else ''}", fontsize="medium")

    def _key(self) -> tuple[list[Any], list[str]]:
        from matplotlib.lines import Line2D

        cross = Line2D([], [], color="black", marker="x", linestyle="none")
        disc = Line2D([], [], color="black", marker="o", markerfacecolor="white", linestyle="none")
        return [cross, disc], ["centroid before, by which points are coloured", "and after"]


def _checked_axes(ax: Any) -> HostArray | None:
    if ax is None:
        return None
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    for each in axes:
        check_axes(each)
    return axes


def _check_n_axes(n_axes: int, n_panels: int) -> None:
    if n_axes != n_panels:
        raise ValueError(f"ax must be one for each of {n_panels} panels, got {n_axes}")


def _chosen(panels: Any, n_iterations: int, n_axes: int | None) -> list[int]:
    if panels is None:
        panels = PANELS if n_axes is None else n_axes
    if isinstance(panels, int | np.integer):
        check_integer("panels", panels, 1)
        chosen = evenly(n_iterations, int(panels))
    elif isinstance(panels, str) or not isinstance(panels, Sequence | np.ndarray):
        raise TypeError(
            f"panels must be a number or a sequence of iterations, got {type(panels).__name__}"
        )
    else:
        for number in panels:
            check_integer("each of panels", number, 1)
        chosen = [int(number) for number in panels]
    if not chosen or not 1 <= min(chosen) <= max(chosen) <= n_iterations:
        raise ValueError(
            f"panels must be iterations from 1 to {n_iterations}, as many as the path has, "
            f"got {chosen}"
        )
    if n_axes is not None:
        _check_n_axes(n_axes, len(chosen))
    return chosen


def _draw_arrows(ax: Axes, before: HostArray, after: HostArray, extent: HostArray) -> None:
    for start, end in zip(before, after, strict=True):
        if np.hypot(*((end - start) / extent)) > LEAST_ARROW:
            arrow = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 4}
            ax.annotate("", end, start, arrowprops=arrow | {"linewidth": 1.1}, zorder=2.8)
