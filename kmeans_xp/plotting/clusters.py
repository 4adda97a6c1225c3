"""Points coloured by cluster, with their centroids numbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from kmeans_xp.plotting.figures import axes_or_new
from kmeans_xp.plotting.inputs import fitted_centroids
from kmeans_xp.plotting.looks import MOST_TOLD_APART
from kmeans_xp.plotting.scatter import (
    add_legend,
    draw_centroids,
    draw_points,
    name_axes,
    number_centroids,
    predicted,
    scene_of,
    title_of,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = ["ClustersDisplay", "clusters"]


class ClustersDisplay:
    """A picture of clusters: points in their cluster's colour, centroids numbered.

    Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    points : ndarray of shape (n_drawn, 2)
        Where the points are drawn.
    labels : ndarray of int, shape (n_drawn,)
        The cluster of each.
    centroids : ndarray of shape (n_clusters, 2)
        Where the centroids are drawn.
    sizes : ndarray of int, shape (n_clusters,)
        Points of each cluster, drawn or not.
    axis_names : tuple of two str
        Labels of the axes; an empty second one for heights that mean nothing.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        What `plot` drew on.
    figure_ : matplotlib.figure.Figure
        Its figure, unknown to pyplot: save it with ``display.figure_.savefig(path)``.

    See Also
    --------
    kmeans_xp.plotting.clusters : The same in one call.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans
    >>> from kmeans_xp.plotting import ClustersDisplay
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    >>> display = ClustersDisplay.from_estimator(KMeans(2, random_state=0).fit(X), X)
    >>> display.ax_.get_title()
    '3 points in 2 clusters'
    """

    ax_: Axes
    figure_: Any

    def __init__(
        self,
        *,
        points: HostArray,
        labels: HostArray,
        centroids: HostArray,
        sizes: HostArray,
        axis_names: tuple[str, str],
    ) -> None:
        self.points = points
        self.labels = labels
        self.centroids = centroids
        self.sizes = sizes
        self.axis_names = axis_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        feature_names: Sequence[str] | None = None,
        ax: Axes | None = None,
        max_points: int | None = 20_000,
        random_state: int = 0,
    ) -> Self:
        """Draw X by the clusters of a fitted estimator.

        Parameters
        ----------
        estimator : estimator with ``cluster_centers_`` and ``predict``
            KMeans or MiniBatchKMeans, scikit-learn's too.
        X : array-like of shape (n_samples, n_features)
            Of any library and device.
        feature_names : sequence of str, default=None
            Names for the axes. None takes the columns of a data frame, else "x0", "x1", ...
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure of its own.
        max_points : int or None, default=20_000
            Draw a random sample of this many points when there are more; None for all.
        random_state : int, default=0
            Picks that sample.

        Returns
        -------
        ClustersDisplay
            Drawn.
        """
        centroids = fitted_centroids(estimator)
        return cls.from_predictions(
            X,
            predicted(estimator, X),
            centroids,
            feature_names=feature_names,
            ax=ax,
            max_points=max_points,
            random_state=random_state,
        )

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
        """Draw X by these labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Of any library and device.
        labels : array-like of int, shape (n_samples,)
            The cluster of each row, from 0 to n_clusters - 1.
        centroids : array-like of shape (n_clusters, n_features)
            The centre of each cluster.
        feature_names : sequence of str, default=None
            Names for the axes. None takes the columns of a data frame, else "x0", "x1", ...
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure of its own.
        max_points : int or None, default=20_000
            Draw a random sample of this many points when there are more; None for all.
        random_state : int, default=0
            Picks that sample.

        Returns
        -------
        ClustersDisplay
            Drawn.
        """
        scene = scene_of(
            X,
            labels,
            centroids,
            feature_names=feature_names,
            max_points=max_points,
            random_state=random_state,
        )
        return cls(**scene._asdict()).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure of its own.

        Returns
        -------
        ClustersDisplay
            This one, with `ax_` and `figure_`.
        """
        self.ax_ = axes_or_new(ax)
        self.figure_ = self.ax_.figure
        self._draw_ground(self.ax_)
        n_clusters = len(self.centroids)
        draw_points(self.ax_, self.points, self.labels, self.sizes)
        draw_centroids(self.ax_, self.centroids)
        name_axes(self.ax_, self.axis_names)
        self.ax_.set_title(title_of(int(self.sizes.sum()), n_clusters, len(self.points)))
        if n_clusters <= MOST_TOLD_APART:
            number_centroids(self.ax_, self.centroids)
            add_legend(self.ax_, n_clusters)
        return self

    def _draw_ground(self, ax: Axes) -> None:
        """Draw what lies below the points."""


def clusters(
    points: Any,
    labels: Any,
    centroids: Any,
    *,
    feature_names: Sequence[str] | None = None,
    ax: Axes | None = None,
    max_points: int | None = 20_000,
    random_state: int = 0,
) -> Axes:
    """Draw points coloured by cluster, with their centroids numbered.

    Two features are drawn as they are, one along a line, more in the plane of the first
    two principal components of the points drawn.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
        The points, of any library and device.
    labels : array-like of int, shape (n_points,)
        The cluster of each point, from 0 to n_clusters - 1.
    centroids : array-like of shape (n_clusters, n_features)
        The centre of each cluster.
    feature_names : sequence of str, default=None
        Names for the axes. None takes the columns of a data frame, else "x0", "x1", ...
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None makes a figure of its own, unknown to pyplot: save it with
        ``clusters(...).figure.savefig(path)``.
    max_points : int or None, default=20_000
        Draw a random sample of this many points when there are more, and say so in the title;
        None for all.
        The sizes in the legend always count all points.
    random_state : int, default=0
        Picks that sample, and the jitter of one-dimensional points.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the shapes do not match, or a label is of no centroid.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import plotting
    >>> points = np.array([[0.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    >>> ax = plotting.clusters(points, [0, 0, 1], points[[0, 2]])
    >>> ax.get_title()
    '3 points in 2 clusters'
    """
    return ClustersDisplay.from_predictions(
        points,
        labels,
        centroids,
        feature_names=feature_names,
        ax=ax,
        max_points=max_points,
        random_state=random_state,
    ).ax_
