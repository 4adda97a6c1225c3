"""How well each point lies in its cluster: the silhouette diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kmeans_xp import devices
from kmeans_xp.plotting.figures import axes_or_new, check_axes
from kmeans_xp.plotting.inputs import (
    any_array,
    check_sampling,
    checked_labels,
    checked_points,
    fitted_centroids,
    predicted,
    sampled,
    taken,
)
from kmeans_xp.plotting.looks import CROWDED, MOST_TOLD_APART, MOST_VECTOR_POINTS, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = ["SilhouetteDisplay"]

# What all gaps between knives take, as a share of all knives: labels then do not overlap.
GAPS = 0.3


class SilhouetteDisplay:
    """A silhouette diagram: one knife of values for each cluster, and the mean.

    The silhouette of a point compares a, its mean distance to its own cluster, with b, that to
    the nearest other one [1]_: (b - a) / max(a, b). Near 1 the point lies well inside its
    cluster, near 0 it lies between two, and below 0 it is nearer to another one.

    Make one with `from_estimator` or `from_predictions`. Both take O(n^2 * n_features) time for
    n points in the sample.

    Parameters
    ----------
    silhouettes : ndarray of shape (n_drawn,)
        The silhouette of each point drawn, between -1 and 1.
    labels : ndarray of int, shape (n_drawn,)
        The cluster of each point.
    n_points : int
        Number of points, drawn or not.

    Attributes
    ----------
    mean : float
        The mean of the silhouettes drawn.
    ax_ : matplotlib.axes.Axes
        The axes that `plot` drew on.
    figure_ : matplotlib.figure.Figure
        Their figure, unknown to pyplot if `plot` made it.

    References
    ----------
    .. [1] P. J. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation
       of cluster analysis", Journal of Computational and Applied Mathematics 20 (1987).

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.plotting import SilhouetteDisplay
    >>> X = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> round(SilhouetteDisplay.from_predictions(X, [0, 0, 1, 1]).mean, 3)
    0.889
    """

    ax_: Axes
    figure_: Any

    def __init__(self, *, silhouettes: HostArray, labels: HostArray, n_points: int) -> None:
        self.silhouettes = silhouettes
        self.labels = labels
        self.n_points = n_points
        self.mean = float(np.mean(silhouettes))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        ax: Axes | None = None,
        sample_size: int | None = 10_000,
        random_state: int | None = 0,
    ) -> Self:
        """Draw the silhouettes of X under a fitted estimator, by its metric.

        Parameters
        ----------
        estimator : estimator with ``cluster_centers_`` and ``predict``
            KMeans or MiniBatchKMeans, scikit-learn's too.
        X : array-like of shape (n_samples, n_features)
            The points, of any library and device. Their own device computes.
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.
        sample_size : int or None, default=10_000
            Measure within a random sample of this size if X has more rows. The title says
            so. None takes all.
        random_state : int or None, default=0
            Seed of the sample.

        Returns
        -------
        SilhouetteDisplay
            Drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is not an estimator, or has no centroids.
        ValueError
            If the arrays cannot be measured, or their shapes do not match. The sample needs at
            least two clusters, and fewer than points.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        fitted_centroids(estimator)
        check_axes(ax)
        check_sampling(sample_size, random_state)
        labels = predicted(estimator, X)
        metric = getattr(estimator, "metric", "euclidean")  # scikit-learn's have none
        return cls.from_predictions(
            X, labels, ax=ax, sample_size=sample_size, random_state=random_state, metric=metric
        )

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        labels: Any,
        *,
        ax: Axes | None = None,
        sample_size: int | None = 10_000,
        random_state: int | None = 0,
        metric: str = "euclidean",
    ) -> Self:
        """Draw the silhouettes of X under these labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The points, of any library and device. Their own device computes.
        labels : array-like of int, shape (n_samples,)
            The cluster of each row, from 0.
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.
        sample_size : int or None, default=10_000
            Measure within a random sample of this size if X has more rows. The title says
            so. None takes all.
        random_state : int or None, default=0
            Seed of the sample.
        metric : {"euclidean", "cosine"}, default="euclidean"
            The distance.

        Returns
        -------
        SilhouetteDisplay
            Drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `ax` is of another kind.
        ValueError
            If the arrays cannot be measured, or their shapes do not match. The sample needs at
            least two clusters, and fewer than points.
        """
        check_axes(ax)
        check_sampling(sample_size, random_state)
        points = checked_points(X)
        n_points = int(points.shape[0])
        labels = checked_labels(labels, n_points)
        rows = sampled(n_points, sample_size, np.random.default_rng(random_state))
        drawn = labels if rows is None else labels[rows]
        _check_n_labels(drawn)
        silhouettes = _silhouettes(points if rows is None else taken(points, rows), drawn, metric)
        return cls(silhouettes=silhouettes, labels=drawn, n_points=n_points).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        SilhouetteDisplay
            This one, with `ax_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `ax` is of another kind.
        """
        clusters, sizes = np.unique(self.labels, return_counts=True)
        height = float(np.clip(0.2 * len(clusters), 5.0, 12.0))
        self.ax_ = axes_or_new(ax, 8.0, height)
        self.figure_ = self.ax_.figure
        gap = GAPS * len(self.labels) / len(clusters)
        tops = np.cumsum(sizes + gap) - sizes
        for cluster, top in zip(clusters, tops, strict=True):
            self._draw_knife(cluster, top)
        self.ax_.axvline(self.mean, color="black", linestyle="--", linewidth=1.2)
        self._label(clusters, tops + sizes / 2)
        self.ax_.set_ylim(tops[-1] + sizes[-1] + gap, 0.0)
        least = min(0.0, float(self.silhouettes.min()))
        self.ax_.set_xlim(least - 0.02, 1.0)
        self.ax_.set_xlabel(f"silhouette (dashed: mean {self.mean:.3f})")
        self.ax_.set_title(self._title(len(clusters)))
        return self

    def _draw_knife(self, cluster: int, top: float) -> None:
        values = np.sort(self.silhouettes[self.labels == cluster])[::-1]
        # A point is a bar of height 1, also where it is the only one of its cluster.
        edges = top + np.arange(len(values) + 1)
        self.ax_.fill_betweenx(
            edges,
            0.0,
            np.append(values, values[-1]),
            step="post",
            color=colour(cluster),
            linewidth=0,
            rasterized=len(self.labels) > MOST_VECTOR_POINTS,
        )

    def _label(self, clusters: HostArray, middles: HostArray) -> None:
        if len(clusters) > MOST_TOLD_APART:
            self.ax_.set_yticks([])
            self.ax_.set_ylabel("clusters")
            return
        means = [float(self.silhouettes[self.labels == cluster].mean()) for cluster in clusters]
        texts = [f"{cluster}: {mean:.2f}" for cluster, mean in zip(clusters, means, strict=True)]
        fontsize = "medium" if len(clusters) <= CROWDED else "x-small"
        self.ax_.set_yticks(middles, texts, fontsize=fontsize)
        self.ax_.tick_params(axis="y", length=0)
        self.ax_.set_ylabel("cluster: mean silhouette")

    def _title(self, n_clusters: int) -> str:
        n_drawn = len(self.labels)
        of_all = f" sampled from {self.n_points:,}" if n_drawn < self.n_points else ""
        return f"{n_drawn:,} points{of_all} in {n_clusters} clusters"


def _check_n_labels(labels: HostArray) -> None:
    n_labels = len(np.unique(labels))
    if not 2 <= n_labels < len(labels):
        raise ValueError(
            f"Silhouettes need at least 2 clusters and fewer than points, got {n_labels} "
            f"clusters of {len(labels)} points"
        )


def _silhouettes(points: Any, labels: HostArray, metric: str) -> HostArray:
    from kmeans_xp.metrics import silhouette_samples

    silhouettes = silhouette_samples(points, labels, metric=metric)
    return devices.to_host(any_array(silhouettes, "silhouettes"))
