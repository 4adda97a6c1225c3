"""The iterations of a fit, as a film."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kmeans_xp.checks import check_integer
from kmeans_xp.plotting.centroid_path import CentroidPath
from kmeans_xp.plotting.convergence import Journey, evenly, journey_of
from kmeans_xp.plotting.figures import check_axes, new_axes
from kmeans_xp.plotting.looks import MOST_TOLD_APART, colour
from kmeans_xp.plotting.scatter import draw_centroids, name_axes, number_centroids, point_area

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = ["animation"]

DOTS_PER_INCH = 100
MOVING_FRAMES = 4
FRAMES_AT_THE_END = 6
UNASSIGNED = "#B0B0B0"


class _Frame(NamedTuple):
    """A picture of the film: the assignment, and where the centroids are."""

    number: int
    labels: HostArray | None
    centroids: HostArray
    trail: HostArray


def animation(
    X: Any,
    centroids_path: CentroidPath | Sequence[Any],
    *,
    ax: Axes | None = None,
    max_iterations: int = 30,
    interval: int = 150,
    feature_names: Sequence[str] | None = None,
    sample_size: int | None = 2_000,
    random_state: int | None = 0,
) -> FuncAnimation:
    """Make a film of a fit: points take the colour of the nearest centroid, centroids move.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The points, of any library and device. One feature is drawn along a line, and more than
        two in the plane of their first two principal components.
    centroids_path : CentroidPath or sequence of arrays of shape (n_clusters, n_features)
        The centroids before and after each iteration.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None makes a new figure, unknown to pyplot.
    max_iterations : int, default=30
        Show at most this number of iterations, most of them from the beginning.
    interval : int, default=150
        Milliseconds for each frame. An iteration has five frames.
    feature_names : sequence of str, default=None
        Names for the axes. None takes those of a data frame, or "x0", "x1", ...
    sample_size : int or None, default=2_000
        Draw a random sample of this size if X has more rows. None draws all.
    random_state : int or None, default=0
        Seed of the sample, and of the heights of points with one feature.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        Saving draws it: ``animation(...).save("path.gif", writer="pillow")``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `centroids_path`, `ax` or `feature_names` is of another kind.
    ValueError
        If the arrays cannot be drawn, their shapes do not match, or the path has no iteration.

    See Also
    --------
    kmeans_xp.plotting.ConvergenceDisplay : The same in panels.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans, plotting
    >>> X = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [10.0, 0.0]])
    >>> path = plotting.CentroidPath()
    >>> kmeans = KMeans(2, init=X[:2]).set_callbacks(path).fit(X)
    >>> plotting.animation(X, path).save("path.gif", writer="pillow")  # doctest: +SKIP
    """
    check_axes(ax)
    check_integer("max_iterations", max_iterations, 1)
    check_integer("interval", interval, 1)
    journey = journey_of(
        X,
        centroids_path,
        feature_names=feature_names,
        sample_size=sample_size,
        random_state=random_state,
    )
    if ax is None:
        ax = new_axes(6.4, 4.8)
        ax.figure.set_dpi(DOTS_PER_INCH)
    from matplotlib.animation import FuncAnimation

    frames = list(_frames(journey, evenly(journey.n_iterations, max_iterations)))
    figure: Any = ax.figure
    film = _Film(ax, journey)
    # Without a function to begin with, the first frame would be drawn twice.
    return FuncAnimation(figure, film.draw, frames, init_func=lambda: (), interval=interval)


def _frames(journey: Journey, iterations: list[int]) -> Iterator[_Frame]:
    """Yield the beginning, then of each iteration the assignment and the move."""
    centroids = journey.path[0]
    trail = centroids[None]
    yield _Frame(0, None, centroids, trail)
    for number in iterations:
        # Iterations that are left out are part of the move to this one.
        labels, after = journey.labels(number), journey.path[number]
        yield _Frame(number, labels, centroids, trail)
        for share in np.linspace(0.0, 1.0, MOVING_FRAMES + 1)[1:]:
            between = centroids + share * (after - centroids)
            yield _Frame(number, labels, between, np.concatenate([trail, between[None]]))
        centroids, trail = after, np.concatenate([trail, after[None]])
    for _ in range(FRAMES_AT_THE_END):
        yield _Frame(journey.n_iterations, labels, centroids, trail)


class _Film:
    """Axes that are drawn again for each frame."""

    def __init__(self, ax: Axes, journey: Journey) -> None:
        from matplotlib.colors import to_rgba

        self.ax = ax
        self.journey = journey
        n_clusters = journey.path.shape[1]
        self.colours = np.array([to_rgba(colour(cluster), 0.6) for cluster in range(n_clusters)])
        self.unassigned = to_rgba(UNASSIGNED, 0.6)

    def draw(self, frame: _Frame) -> tuple[()]:
        """Draw one frame."""
        ax, journey = self.ax, self.journey
        ax.clear()
        low, high = journey.limits
        ax.set_xlim(low[0], high[0])
        ax.set_ylim(low[1], high[1])
        assigned = self.unassigned if frame.labels is None else self.colours[frame.labels]
        area = point_area(len(journey.points))
        x, y = journey.points.T
        ax.scatter(x, y, s=area, color=assigned, linewidths=0, zorder=1)
        for steps in np.moveaxis(frame.trail, 1, 0):
            ax.plot(*steps.T, color="black", linewidth=1.0, zorder=2)
        draw_centroids(ax, frame.centroids)
        if len(frame.centroids) <= MOST_TOLD_APART:
            number_centroids(ax, frame.centroids)
        name_axes(ax, journey.axis_names)
        begun = f"Iteration {frame.number} of {journey.n_iterations}"
        ax.set_title(begun if frame.number else "Initial centroids")
        return ()
