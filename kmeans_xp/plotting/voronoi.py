"""The regions of the plane that are nearest to each centroid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kmeans_xp.plotting.clusters import ClustersDisplay
from kmeans_xp.plotting.inputs import host_centroids
from kmeans_xp.plotting.looks import colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = ["VoronoiDisplay", "nearest_regions", "voronoi"]

MARGIN = 0.05
# Below all points, and below the grid.
GROUND = 0.5


class VoronoiDisplay(ClustersDisplay):
    """A picture of the plane as centroids divide it, with the points on top.

    Make one with `from_estimator` or `from_predictions`, for two features.

    Parameters
    ----------
    points : ndarray of shape (n_drawn, 2)
        The points drawn.
    labels : ndarray of int, shape (n_drawn,)
        The cluster of each.
    centroids : ndarray of shape (n_clusters, 2)
        The centroids, whose regions are drawn.
    sizes : ndarray of int, shape (n_clusters,)
        Points of each cluster, drawn or not.
    axis_names : tuple of two str
        Labels of the axes.

    Attributes
    ----------
    regions : list of ndarray of shape (n_corners, 2)
        The corners of each centroid's region in the picture, counter-clockwise; none for a
        centroid that equals an earlier one.
    ax_ : matplotlib.axes.Axes
        What `plot` drew on.
    figure_ : matplotlib.figure.Figure
        Its figure, unknown to pyplot.

    See Also
    --------
    kmeans_xp.plotting.voronoi : The same in one call.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans
    >>> from kmeans_xp.plotting import VoronoiDisplay
    >>> X = np.array([[0.0, 0.0], [0.0, 2.0], [4.0, 1.0]])
    >>> display = VoronoiDisplay.from_estimator(KMeans(3, random_state=0).fit(X), X)
    >>> len(display.regions)
    3
    """

    def __init__(
        self,
        *,
        points: HostArray,
        labels: HostArray,
        centroids: HostArray,
        sizes: HostArray,
        axis_names: tuple[str, str],
    ) -> None:
        super().__init__(
            points=points, labels=labels, centroids=centroids, sizes=sizes, axis_names=axis_names
        )
        self.regions = nearest_regions(centroids, *_box(np.concatenate([points, centroids])))

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        labels: Any,
        centroids: Any,
        *,
        feature_names: Sequence[str] | None = None,
        ax: Axes | None = None,
        max_points: int | None = 20_000,
        random_state: int = 0,
    ) -> Self:
        """Draw the regions of these centroids, and X by these labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, 2)
            Of any library and device.
        labels : array-like of int, shape (n_samples,)
            The cluster of each row, from 0 to n_clusters - 1.
        centroids : array-like of shape (n_clusters, 2)
            The centre of each cluster.
        feature_names : sequence of str, default=None
            Names for the axes. None takes the columns of a data frame, else "x0", "x1".
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure of its own.
        max_points : int or None, default=20_000
            Draw a random sample of this many points when there are more; None for all.
        random_state : int, default=0
            Picks that sample.

        Returns
        -------
        VoronoiDisplay
            Drawn.

        Raises
        ------
        ValueError
            If there are not two features.
        """
        n_features = host_centroids(centroids).shape[1]
        if n_features != 2:
            raise ValueError(
                f"Regions can be drawn of 2 features, got {n_features}: "
                "choose two columns, or draw the clusters with `clusters`"
            )
        return super().from_predictions(
            X,
            labels,
            centroids,
            feature_names=feature_names,
            ax=ax,
            max_points=max_points,
            random_state=random_state,
        )

    def _draw_ground(self, ax: Axes) -> None:
        from matplotlib.collections import PolyCollection

        seen = [cluster for cluster, region in enumerate(self.regions) if len(region)]
        ax.add_collection(
            PolyCollection(
                [self.regions[cluster] for cluster in seen],
                facecolors=[(colour(cluster), 0.22) for cluster in seen],
                edgecolors="0.25",
                linewidths=0.8,
                zorder=GROUND,
            ),
            autolim=False,
        )
        low, high = _box(np.concatenate([self.points, self.centroids]))
        ax.set_xlim(low[0], high[0])
        ax.set_ylim(low[1], high[1])


def voronoi(
    points: Any,
    labels: Any,
    centroids: Any,
    *,
    feature_names: Sequence[str] | None = None,
    ax: Axes | None = None,
    max_points: int | None = 20_000,
    random_state: int = 0,
) -> Axes:
    """Draw the region of the plane that is nearest to each centroid, with the points on top.

    Parameters
    ----------
    points : array-like of shape (n_points, 2)
        The points, of any library and device.
    labels : array-like of int, shape (n_points,)
        The cluster of each point, from 0 to n_clusters - 1.
    centroids : array-like of shape (n_clusters, 2)
        The centre of each cluster; one, two, or many on a line too.
    feature_names : sequence of str, default=None
        Names for the axes. None takes the columns of a data frame, else "x0", "x1".
    ax : matplotlib.axes.Axes, default=None
        Where to draw; None makes a figure of its own, unknown to pyplot.
    max_points : int or None, default=20_000
        Draw a random sample of this many points when there are more, and say so in the title;
        None for all.
    random_state : int, default=0
        Picks that sample.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on. Borders are at right angles to the lines between centroids where
        both axes have one scale: ``ax.set_aspect("equal")``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are not two features, the shapes do not match, or a label is of no centroid.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import plotting
    >>> points = np.array([[0.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    >>> ax = plotting.voronoi(points, [0, 0, 1], points[[0, 2]])
    >>> ax.get_title()
    '3 points in 2 clusters'
    """
    return VoronoiDisplay.from_predictions(
        points,
        labels,
        centroids,
        feature_names=feature_names,
        ax=ax,
        max_points=max_points,
        random_state=random_state,
    ).ax_


def nearest_regions(centroids: HostArray, low: HostArray, high: HostArray) -> list[HostArray]:
    """Return the corners of the part of a box that is nearest to each centroid.

    A region is the box cut by one half-plane for each other centroid, nearest first. A
    centroid twice as far as the farthest corner left cuts nothing, nor do those behind it:
    most regions are done after a handful. One, two and collinear centroids are no special
    cases.

    Parameters
    ----------
    centroids : ndarray of shape (n_clusters, 2)
        Anywhere.
    low, high : ndarray of shape (2,)
        Opposite corners of the box.

    Returns
    -------
    list of ndarray of shape (n_corners, 2)
        Counter-clockwise. No corners where a centroid equals an earlier one, which gets the
        ties, or where its region lies outside the box.

    Notes
    -----
    O(n_clusters^2 log n_clusters) time for sorting.
    """
    # Seen from the box: coordinates far from zero would lose digits in the products below.
    centre, size = (low + high) / 2, (high - low) / 2
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * size
    seen = centroids - centre
    return [_region(i, seen, corners) + centre for i in range(len(seen))]


def _region(i: int, centroids: HostArray, corners: HostArray) -> HostArray:
    own = centroids[i]
    distances = np.hypot(*(centroids - own).T)
    if (distances[:i] == 0.0).any():
        return np.empty((0, 2))
    region = corners
    for j in np.argsort(distances, kind="stable"):
        if distances[j] == 0.0:
            continue
        if not len(region) or distances[j] >= 2 * np.hypot(*(region - own).T).max():
            break
        region = _cut(region, (own + centroids[j]) / 2, centroids[j] - own)
    return region


def _cut(polygon: HostArray, point: HostArray, outward: HostArray) -> HostArray:
    """Return the part of a convex polygon behind the line through `point` (Sutherland-Hodgman)."""
    heights = (polygon - point) @ outward
    if (heights <= 0.0).all():
        return polygon
    following, heights_following = np.roll(polygon, -1, axis=0), np.roll(heights, -1)
    kept = []
    for corner, height, after, height_after in zip(
        polygon, heights, following, heights_following, strict=True
    ):
        if height <= 0.0:
            kept.append(corner)
        if min(height, height_after) < 0.0 < max(height, height_after):
            kept.append(corner + (after - corner) * (height / (height - height_after)))
    return np.array(kept).reshape(-1, 2)


def _box(positions: HostArray) -> tuple[HostArray, HostArray]:
    """Return opposite corners of a box with a margin around all positions."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    margins = MARGIN * (high - low)
    widest = margins.max()
    # A box of no width or height gets the other's, or 1 if both are nothing.
    margins = np.where(margins > 0.0, margins, widest if widest > 0.0 else 1.0)
    return low - margins, high + margins
