"""Points coloured by cluster, with their centroids numbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from kmeans_xp.plotting.figures import axes_or_new, check_axes
from kmeans_xp.plotting.inputs import check_sampling, checked_names, fitted_centroids, predicted
from kmeans_xp.plotting.looks import MOST_TOLD_APART
from kmeans_xp.plotting.scatter import (
    add_legend,
    draw_centroids,
    draw_points,
    name_axes,
    number_centroids,
    scene_of,
    title_of,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = ["ClustersDisplay"]


class ClustersDisplay:
    """A picture of clusters: points in their cluster's colour, centroids numbered.

    Two features are drawn as they are, and one along a line. More features are drawn in the
    plane of the first two principal components of the points drawn.

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
        Labels of the axes. The second is empty if heights mean nothing.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that `plot` drew on.
    figure_ : matplotlib.figure.Figure
        Their figure. Save it with ``display.figure_.savefig(path)``; pyplot does not know it
        if `plot` made it.

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
        ax: Axes | None = None,
        feature_names: Sequence[str] | None = None,
        sample_size: int | None = 20_000,
        random_state: int | None = 0,
    ) -> Self:
        """Draw X by the clusters of a fitted estimator.

        Parameters
        ----------
        estimator : estimator with ``cluster_centers_`` and ``predict``
            KMeans or MiniBatchKMeans, scikit-learn's too.
        X : array-like of shape (n_samples, n_features)
            The points, of any library and device.
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.
        feature_names : sequence of str, default=None
            Names for the axes. None takes those of a data frame, then those of the fit, then
            "x0", "x1", ...
        sample_size : int or None, default=20_000
            Draw a random sample of this size if X has more rows. The title says so, and the
            legend still counts all rows. None draws all.
        random_state : int or None, default=0
            Seed of the sample, and of the heights of points with one feature.

        Returns
        -------
        Display
            An instance of this class, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is not an estimator, or has no centroids.
        ValueError
            If the arrays cannot be drawn, or their shapes do not match.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        centroids = fitted_centroids(estimator)
        cls._check_n_features(centroids.shape[1])
        check_axes(ax)
        check_sampling(sample_size, random_state)
        names = checked_names(feature_names, centroids.shape[1], X=X, estimator=estimator)
        return cls.from_predictions(
            X,
            predicted(estimator, X),
            centroids=centroids,
            ax=ax,
            feature_names=names,
            sample_size=sample_size,
            random_state=random_state,
        )

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        labels: Any,
        *,
        centroids: Any = None,
        ax: Axes | None = None,
        feature_names: Sequence[str] | None = None,
        sample_size: int | None = 20_000,
        random_state: int | None = 0,
    ) -> Self:
        """Draw X by these labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The points, of any library and device.
        labels : array-like of int, shape (n_samples,)
            The cluster of each row, from 0 to n_clusters - 1.
        centroids : array-like of shape (n_clusters, n_features), default=None
            The centre of each cluster. None takes the mean of its rows.
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.
        feature_names : sequence of str, default=None
            Names for the axes. None takes those of a data frame, or "x0", "x1", ...
        sample_size : int or None, default=20_000
            Draw a random sample of this size if X has more rows. The title says so, and the
            legend still counts all rows. None draws all.
        random_state : int or None, default=0
            Seed of the sample, and of the heights of points with one feature.

        Returns
        -------
        Display
            An instance of this class, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `ax` or `feature_names` is of another kind.
        ValueError
            If the arrays cannot be drawn, or their shapes do not match.
        """
        check_axes(ax)
        scene = scene_of(
            X,
            labels,
            centroids,
            feature_names=feature_names,
            sample_size=sample_size,
            random_state=random_state,
            check_n_features=cls._check_n_features,
        )
        return cls(**scene._asdict()).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        Display
            This one, with `ax_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `ax` is of another kind.
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

    @staticmethod
    def _check_n_features(n_features: int) -> None:
        """Raise if the picture is not for this number of features."""

    def _draw_ground(self, ax: Axes) -> None:
        """Draw what lies below the points."""
