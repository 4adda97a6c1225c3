"""What the clusters are like: their centres as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kmeans_xp.plotting.figures import axes_or_new
from kmeans_xp.plotting.inputs import (
    Moments,
    any_array,
    checked_labels,
    checked_names,
    checked_points,
    column_names,
    fitted_centroids,
    host_centroids,
    host_rows,
    moments,
    tiles,
)
from kmeans_xp.plotting.looks import MOST_TOLD_APART
from kmeans_xp.plotting.numerals import formatted
from kmeans_xp.plotting.scatter import predicted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = ["ProfilesDisplay", "profiles"]

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
    """A heat map of cluster centres, in standard deviations from the mean.

    Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    centres : ndarray of shape (n_clusters, n_features)
        The centres in their own units, which are written into the map.
    deviations : ndarray of shape (n_clusters, n_features)
        How far each is from the mean, in standard deviations, which is its colour.
    sizes : ndarray of int, shape (n_clusters,), or None
        Points of each cluster, told beside it.
    feature_names : list of str
        One a column.
    is_of_points : bool
        Whether mean and standard deviation are those of the points, or of the centres.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        What `plot` drew on.
    figure_ : matplotlib.figure.Figure
        Its figure, unknown to pyplot.

    See Also
    --------
    kmeans_xp.plotting.profiles : The same in one call.

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
        centres: HostArray,
        deviations: HostArray,
        sizes: HostArray | None,
        feature_names: list[str],
        is_of_points: bool,
    ) -> None:
        self.centres = centres
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
        feature_names: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the centres of a fitted estimator.

        Parameters
        ----------
        estimator : estimator with ``cluster_centers_``
            KMeans or MiniBatchKMeans, scikit-learn's too.
        X : array-like of shape (n_samples, n_features), default=None
            Points whose mean and standard deviation are taken; None takes those of the
            centres, weighted by the clusters' sizes.
        feature_names : sequence of str, default=None
            Names of the columns. None takes those that the estimator was fitted with, or of
            a data frame, else "x0", "x1", ...
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure of its own.

        Returns
        -------
        ProfilesDisplay
            Drawn.
        """
        centroids = fitted_centroids(estimator)
        if feature_names is None and hasattr(estimator, "feature_names_in_"):
            feature_names = list(estimator.feature_names_in_)
        labels = getattr(estimator, "labels_", None) if X is None else predicted(estimator, X)
        return cls._of(centroids, X, labels, feature_names).plot(ax)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        labels: Any,
        centroids: Any = None,
        *,
        feature_names: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the centres of X under these labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points, of any library and device.
        labels : array-like of int, shape (n_samples,)
            The cluster of each row, from 0.
        centroids : array-like of shape (n_clusters, n_features), default=None
            The centre of each cluster; None takes the means.
        feature_names : sequence of str, default=None
            Names of the columns. None takes those of a data frame, else "x0", "x1", ...
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure of its own.

        Returns
        -------
        ProfilesDisplay
            Drawn.
        """
        if centroids is None:
            points = checked_points(X)
            centroids = _means(points, checked_labels(labels, int(points.shape[0])))
        return cls._of(centroids, X, labels, feature_names).plot(ax)

    @classmethod
    def _of(cls, centroids: Any, X: Any, labels: Any, feature_names: Sequence[str] | None) -> Self:
        centres = host_centroids(centroids)
        n_clusters, n_features = centres.shape
        names = column_names(X) if feature_names is None else feature_names
        points = None if X is None else checked_points(X, n_features)
        sizes = None
        if labels is not None:
            labelled = any_array(labels, "labels") if points is None else points
            checked = checked_labels(labels, int(labelled.shape[0]), n_clusters)
            sizes = np.bincount(checked, minlength=n_clusters)
        mean, std = _of_centres(centres, sizes) if points is None else moments(points)
        with np.errstate(invalid="ignore", divide="ignore"):
            deviations = np.where(std > 0.0, (centres - mean) / std, 0.0)
        return cls(
            centres=centres,
            deviations=deviations,
            sizes=sizes,
            feature_names=checked_names(names, n_features),
            is_of_points=points is not None,
        )

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure of its own, as large as the map needs.

        Returns
        -------
        ProfilesDisplay
            This one, with `ax_` and `figure_`.
        """
        n_clusters, n_features = self.centres.shape
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
        of_what = "from the mean" if self.is_of_points else "of the centres, from their mean"
        bar.set_label(f"standard deviations\n{of_what}")
        self._tick(n_clusters, n_features)
        if n_features <= MOST_VALUES and n_clusters <= MOST_TOLD_APART:
            self._write_values(limit)
        return self

    def _figure_size(self) -> tuple[float, float]:
        n_clusters, n_features = self.centres.shape
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
            return [str(cluster) for cluster in range(len(self.centres))]
        total = max(int(self.sizes.sum()), 1)
        return [f"{i}: {size:,} ({size / total:.1%})" for i, size in enumerate(self.sizes)]

    def _write_values(self, limit: float) -> None:
        n_clusters = len(self.centres)
        texts = [formatted(column) for column in self.centres.T]
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


def profiles(
    centroids_or_estimator: Any,
    points: Any = None,
    labels: Any = None,
    *,
    feature_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what the clusters are like: a heat map with a row a cluster, a column a feature.

    The colour is how many standard deviations a centre lies from the mean, which compares
    features of different units; the value in it is in the feature's own units.

    Parameters
    ----------
    centroids_or_estimator : array-like of shape (n_clusters, n_features), or estimator
        The centres, of any library and device, or a fitted estimator that has them.
    points : array-like of shape (n_points, n_features), default=None
        Points whose mean and standard deviation are taken, in the units of the centres; None
        takes those of the centres, weighted by the clusters' sizes where these are known.
    labels : array-like of int, shape (n_points,), default=None
        The cluster of each point, for the sizes. None asks the estimator.
    feature_names : sequence of str, default=None
        Names of the columns. None takes those that the estimator was fitted with, or of a data
        frame, else "x0", "x1", ...
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
        If the shapes do not match, or a label is of no centre.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import plotting
    >>> ax = plotting.profiles(np.array([[1.5, 20.0], [3.5, 10.0]]), feature_names=["m", "kg"])
    >>> [text.get_text() for text in ax.texts]
    ['1.50', '20.0', '3.50', '10.0']
    """
    if hasattr(centroids_or_estimator, "get_params"):
        if labels is None:
            return ProfilesDisplay.from_estimator(
                centroids_or_estimator, points, feature_names=feature_names, ax=ax
            ).ax_
        centroids_or_estimator = fitted_centroids(centroids_or_estimator)
    return ProfilesDisplay._of(centroids_or_estimator, points, labels, feature_names).plot(ax).ax_


def _of_centres(centres: HostArray, sizes: HostArray | None) -> Moments:
    weights = None if sizes is None or not sizes.any() else sizes
    mean = np.average(centres, axis=0, weights=weights)
    variance = np.average(np.square(centres - mean), axis=0, weights=weights)
    return Moments(mean, np.sqrt(variance))


def _means(points: Any, labels: HostArray) -> HostArray:
    n_clusters = int(labels.max()) + 1
    sizes = np.bincount(labels, minlength=n_clusters)
    if not sizes.all():
        raise ValueError(
            f"Clusters {np.flatnonzero(sizes == 0).tolist()} have no points, so no mean: "
            "number the clusters from 0 without gaps, or pass centroids"
        )
    sums = np.zeros((n_clusters, int(points.shape[1])))
    for rows in tiles(len(labels)):
        np.add.at(sums, labels[rows], host_rows(points, rows))
    return sums / sizes[:, None]
