"""What the clusters are like: their centroids as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kmeans_xp.plotting.figures import axes_or_new, check_axes
from kmeans_xp.plotting.inputs import (
    Moments,
    any_array,
    checked_arrays,
    checked_labels,
    checked_names,
    fitted_centroids,
    moments,
    predicted,
)
from kmeans_xp.plotting.looks import MOST_TOLD_APART
from kmeans_xp.plotting.numerals import formatted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = ["ProfilesDisplay"]

# From blue through white to red, told apart by colour-blind readers too.
COLOUR_MAP = "RdBu_r"
# Beyond this number of standard deviations the colour stays the same.
MOST_DEVIATIONS = 3.0
MOST_VALUES = 20
# Inches: as wide as a page, so that no column is beyond its edge.
WIDEST = 10.0
# What a digit takes of a font's size, and how much of a figure's width is beside the map.
DIGIT_WIDTH = 0.6
MARGIN = 2.6
FONT_SIZES = (9, 7)


class ProfilesDisplay:
    """A heat map of centroids: a row for each cluster, a column for each feature.

    The colour is the distance of a centroid from the mean in standard deviations, which
    compares features of different units. The number in it is in the feature's own units.

    Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    centroids : ndarray of shape (n_clusters, n_features)
        The centroids in their own units: the numbers in the map.
    deviations : ndarray of shape (n_clusters, n_features)
        Standard deviations from the mean: the colours.
    sizes : ndarray of int, shape (n_clusters,), or None
        Number of points in each cluster, written beside it.
    feature_names : list of str
        One for each column.
    is_of_points : bool
        Whether mean and standard deviation are those of the points. Otherwise they are those
        of the centroids.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that `plot` drew on.
    figure_ : matplotlib.figure.Figure
        Their figure, unknown to pyplot if `plot` made it.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.plotting import ProfilesDisplay
    >>> X = np.array([[0.0, 5.0], [2.0, 5.0], [8.0, 5.0], [10.0, 5.0]])
    >>> display = ProfilesDisplay.from_predictions(X, [0, 0, 1, 1])
    >>> display.deviations.round(2).tolist()
    [[-0.97, 0.0], [0.97, 0.0]]
    """

    ax_: Axes
    figure_: Any

    def __init__(
        self,
        *,
        centroids: HostArray,
        deviations: HostArray,
        sizes: HostArray | None,
        feature_names: list[str],
        is_of_points: bool,
    ) -> None:
        self.centroids = centroids
        self.deviations = deviations
        self.sizes = sizes
        self.feature_names = feature_names
        self.is_of_points = is_of_points

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        ax: Axes | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> Self:
        """Draw the centroids of a fitted estimator.

        Parameters
        ----------
        estimator : estimator with ``cluster_centers_``
            KMeans or MiniBatchKMeans, scikit-learn's too.
        X : array-like of shape (n_samples, n_features), default=None
            Colours measure from the mean of these points, in their standard deviations. None
            takes mean and standard deviation of the centroids, weighted by the clusters' sizes
            if the estimator has ``labels_``.
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.
        feature_names : sequence of str, default=None
            Names of the columns. None takes those of a data frame, then those of the fit, then
            "x0", "x1", ...

        Returns
        -------
        ProfilesDisplay
            Drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is not an estimator, or has no centroids.
        ValueError
            If X cannot be measured, or shapes do not match.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        centroids = fitted_centroids(estimator)
        check_axes(ax)
        names = checked_names(feature_names, centroids.shape[1], X=X, estimator=estimator)
        if X is not None:
            labels = predicted(estimator, X)
            return cls.from_predictions(X, labels, centroids=centroids, ax=ax, feature_names=names)
        labels = getattr(estimator, "labels_", None)
        sizes = None if labels is None else _sizes(labels, len(centroids))
        return cls._of(centroids, _moments_of(centroids, sizes), sizes, names, False).plot(ax)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        labels: Any,
        *,
        centroids: Any = None,
        ax: Axes | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> Self:
        """Draw the centroids of X under these labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The points, of any library and device, in the units of the centroids.
        labels : array-like of int, shape (n_samples,)
            The cluster of each row, from 0 to n_clusters - 1.
        centroids : array-like of shape (n_clusters, n_features), default=None
            The centre of each cluster. None takes the mean of its rows.
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.
        feature_names : sequence of str, default=None
            Names of the columns. None takes those of a data frame, or "x0", "x1", ...

        Returns
        -------
        ProfilesDisplay
            Drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `ax` or `feature_names` is of another kind.
        ValueError
            If the arrays cannot be measured, or their shapes do not match.
        """
        check_axes(ax)
        given = checked_arrays(X, labels, centroids)
        names = checked_names(feature_names, given.centroids.shape[1], X=X)
        sizes = np.bincount(given.labels, minlength=len(given.centroids))
        return cls._of(given.centroids, moments(given.points), sizes, names, True).plot(ax)

    @classmethod
    def _of(
        cls,
        centroids: HostArray,
        about: Moments,
        sizes: HostArray | None,
        feature_names: list[str],
        is_of_points: bool,
    ) -> Self:
        with np.errstate(invalid="ignore", divide="ignore"):
            deviations = np.where(about.std > 0.0, (centroids - about.mean) / about.std, 0.0)
        return cls(
            centroids=centroids,
            deviations=deviations,
            sizes=sizes,
            feature_names=feature_names,
            is_of_points=is_of_points,
        )

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure, as large as the map needs.

        Returns
        -------
        ProfilesDisplay
            This one, with `ax_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `ax` is of another kind.
        """
        n_clusters, n_features = self.centroids.shape
        self.ax_ = axes_or_new(ax, *self._figure_size())
        self.figure_ = self.ax_.figure
        limit = float(np.clip(np.abs(self.deviations).max(), 1.0, MOST_DEVIATIONS))
        is_cut = np.abs(self.deviations).max() > limit
        image = self.ax_.imshow(
            self.deviations, cmap=COLOUR_MAP, vmin=-limit, vmax=limit, aspect="auto"
        )
        bar = self.figure_.colorbar(
            image, ax=self.ax_, extend="both" if is_cut else "neither", pad=0.02
        )
        of_what = "from the mean" if self.is_of_points else "of the centroids, from their mean"
        bar.set_label(f"standard deviations\n{of_what}")
        self._tick(n_clusters, n_features)
        if n_features <= MOST_VALUES and n_clusters <= MOST_TOLD_APART:
            self._write_values(limit)
        return self

    def _figure_size(self) -> tuple[float, float]:
        n_clusters, n_features = self.centroids.shape
        longest = max(map(len, self.feature_names))
        labels = 0.09 * longest if self._are_names_upright() else 0.3
        width = float(np.clip(3.0 + 0.85 * min(n_features, MOST_VALUES), 6.0, WIDEST))
        height = float(np.clip(0.42 * min(n_clusters, MOST_TOLD_APART), 1.8, 18.0))
        return width, height + 0.6 + min(labels, 2.5)

    def _are_names_upright(self) -> bool:
        return len(self.feature_names) > 2 and max(map(len, self.feature_names)) > 9

    def _tick(self, n_clusters: int, n_features: int) -> None:
        self.ax_.set_ylabel("cluster" if self.sizes is None else "cluster: points (share)")
        if n_clusters <= MOST_TOLD_APART:
            fontsize = "medium" if n_clusters <= MOST_VALUES else "x-small"
            self.ax_.set_yticks(range(n_clusters), self._row_labels(), fontsize=fontsize)
        if n_features <= 3 * MOST_VALUES:
            rotation = 90 if self._are_names_upright() or n_features > MOST_VALUES else 0
            fontsize = "medium" if n_features <= MOST_VALUES else "x-small"
            self.ax_.set_xticks(
                range(n_features),
                self.feature_names,
                rotation=rotation,
                fontsize=fontsize,
                parse_math=False,
            )
        else:
            self.ax_.set_xlabel(f"{n_features:,} features")
        self.ax_.tick_params(length=0)

    def _row_labels(self) -> list[str]:
        if self.sizes is None:
            return [str(cluster) for cluster in range(len(self.centroids))]
        total = max(int(self.sizes.sum()), 1)
        return [f"{i}: {size:,} ({size / total:.1%})" for i, size in enumerate(self.sizes)]

    def _write_values(self, limit: float) -> None:
        n_clusters = len(self.centroids)
        texts = [formatted(column) for column in self.centroids.T]
        longest = max(len(text) for column in texts for text in column)
        cell = 72 * (self.figure_.get_figwidth() - MARGIN) / len(self.feature_names)
        sizes = FONT_SIZES if n_clusters <= MOST_VALUES else FONT_SIZES[1:]
        fitting = [size for size in sizes if longest * DIGIT_WIDTH * size <= cell]
        if not fitting:
            return
        for (cluster, feature), deviation in np.ndenumerate(self.deviations):
            self.ax_.text(
                feature,
                cluster,
                texts[feature][cluster],
                ha="center",
                va="center",
                fontsize=fitting[0],
                # The ends of the colour map are dark.
                color="white" if abs(deviation) > 0.65 * limit else "black",
            )


def _sizes(labels: Any, n_clusters: int) -> HostArray:
    labels = any_array(labels, "labels_")
    return np.bincount(
        checked_labels(labels, int(labels.shape[0]), n_clusters), minlength=n_clusters
    )


def _moments_of(centroids: HostArray, sizes: HostArray | None) -> Moments:
    weights = None if sizes is None or not sizes.any() else sizes
    mean = np.average(centroids, axis=0, weights=weights)
    variance = np.average(np.square(centroids - mean), axis=0, weights=weights)
    return Moments(mean, np.sqrt(variance))
