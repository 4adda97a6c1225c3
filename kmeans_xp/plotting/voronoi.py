"""The regions of the plane that are nearest to each centroid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kmeans_xp.plotting.clusters import ClustersDisplay
from kmeans_xp.plotting.looks import colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = ["VoronoiDisplay", "nearest_regions"]

MARGIN = 0.05
# Below all points, and below the grid.
GROUND = 0.5


class VoronoiDisplay(ClustersDisplay):
    """The region of the plane that is nearest to each centroid, with the points on top.

    The points have two features. Borders are at right angles to the lines between centroids if
    both axes have one scale: ``display.ax_.set_aspect("equal")``.

    Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    points : ndarray of shape (n_drawn, 2)
        Positions of the points in the picture.
    labels : ndarray of int, shape (n_drawn,)
        The cluster of each point.
    centroids : ndarray of shape (n_clusters, 2)
        Positions of the centroids in the picture.
    sizes : ndarray of int, shape (n_clusters,)
        Number of points in each cluster, drawn or not.
    axis_names : tuple of two str
        Labels of the axes.

    Attributes
    ----------
    regions : list of ndarray of shape (n_corners, 2)
        The corners of each centroid's region in the picture, counter-clockwise. A centroid
        that equals an earlier one has no corners.
    ax_ : matplotlib.axes.Axes
        The axes that `plot` drew on.
    figure_ : matplotlib.figure.Figure
        Their figure, unknown to pyplot if `plot` made it.

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

    @staticmethod
    def _check_n_features(n_features: int) -> None:
        if n_features != 2:
            raise ValueError(
                f"Regions can be drawn of 2 features, got {n_features}: "
                "choose two columns, or draw a ClustersDisplay"
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


def nearest_regions(centroids: HostArray, low: HostArray, high: HostArray) -> list[HostArray]:
    """Return the corners of the part of a box that is nearest to each centroid.

    A region is the box cut by one half-plane for each other centroid, nearest first. A
    centroid twice as far as the farthest remaining corner cuts nothing, nor do those behind
    it. So most regions need a handful of cuts. One, two and collinear centroids are no special
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
        Counter-clockwise. A centroid has no corners if it equals an earlier one, which gets
        the ties, or if its region lies outside the box.

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
