"""Pictures of clusters. Matplotlib is imported when one is drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kmeans_xp import devices

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Array = np.ndarray[Any, Any]

__all__ = ["check_format", "clusters"]

# Okabe and Ito's colours, told apart by colour-blind readers too; black is kept for centroids.
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#7F7F7F",
    "#F0E442",
)
# One fewer than the colours, so that 56 clusters pass before a pair comes again.
MARKERS = "osD^vPX"
LEGEND_ROWS = 30
CROWDED = 20
# More clusters than this are drawn without numbers and legend, which would hide the points.
MOST_TOLD_APART = 60


class _Plane(NamedTuple):
    """Points and centroids in the two coordinates of the picture."""

    points: Array
    centroids: Array
    axis_names: tuple[str, str]


def clusters(
    points: Any,
    labels: Any,
    centroids: Any,
    *,
    feature_names: Sequence[str] | None = None,
    ax: Axes | None = None,
    max_points: int = 20_000,
    seed: int = 0,
) -> Axes:
    """Draw points coloured by cluster, with their centroids numbered.

    Two features are drawn as they are, one along a line, more in the plane of the first
    two principal components of the points drawn.

    Parameters
    ----------
    points : array of shape (n_points, n_features)
        The points, of any library and device.
    labels : array of shape (n_points,)
        The cluster of each point, from 0 to n_clusters - 1.
    centroids : array of shape (n_clusters, n_features)
        The centre of each cluster.
    feature_names : sequence of str, default=None
        Names for the axes. None takes "x0", "x1", ...
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None makes a figure of its own, unknown to pyplot: save it with
        ``clusters(...).figure.savefig(path)``.
    max_points : int, default=20_000
        Draw a random sample of this many points when there are more; the title says so.
        The sizes in the legend always count all points.
    seed : int, default=0
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
    points, labels, centroids = (devices.to_host(array) for array in (points, labels, centroids))
    names = _checked_names(feature_names, points, labels, centroids)
    rng = np.random.default_rng(seed)
    shown = _sample(len(points), max_points, rng)
    plane = _plane(points[shown], centroids, names, rng)
    if ax is None:
        ax = _new_axes()
    _draw_points(ax, plane.points, labels[shown], np.bincount(labels, minlength=len(centroids)))
    _draw_centroids(ax, plane.centroids)
    _name_axes(ax, plane.axis_names)
    ax.set_title(_title(len(points), len(centroids), len(shown)))
    if len(centroids) <= MOST_TOLD_APART:
        _number_centroids(ax, plane.centroids)
        _add_legend(ax, len(centroids))
    return ax


def check_format(path: str | os.PathLike[str]) -> None:
    """Check that a picture can be written in the format that a file name asks for.

    Parameters
    ----------
    path : path-like
        The file to be written; its extension says the format.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the extension is of no format that matplotlib writes.
    """
    known = _new_axes().figure.canvas.get_supported_filetypes()
    suffix = os.path.splitext(path)[1]
    if suffix.lower().removeprefix(".") not in known:
        raise ValueError(f"No picture can be written as {suffix!r}; known are {', '.join(known)}.")


def _checked_names(
    names: Sequence[str] | None, points: Array, labels: Array, centroids: Array
) -> list[str]:
    """Return one name a feature, or raise where the arrays do not fit each other."""
    if points.ndim != 2 or centroids.ndim != 2 or points.shape[1] != centroids.shape[1]:
        raise ValueError(
            "points and centroids must be 2-D with as many columns, "
            f"got shapes {points.shape} and {centroids.shape}"
        )
    if labels.shape != points.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be one integer a point, got shape {labels.shape} and dtype "
            f"{labels.dtype} for {len(points)} points"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(centroids):
        raise ValueError(
            f"labels must be between 0 and {len(centroids) - 1}, one for each centroid, "
            f"got {labels.min()} to {labels.max()}"
        )
    n_features = points.shape[1]
    names = [f"x{i}" for i in range(n_features)] if names is None else [str(n) for n in names]
    if len(names) != n_features:
        raise ValueError(
            f"feature_names must have {n_features} names, one a column, got {len(names)}"
        )
    return names


def _sample(n_points: int, max_points: int, rng: np.random.Generator) -> Array:
    if n_points <= max_points:
        return np.arange(n_points)
    return np.sort(rng.choice(n_points, max_points, replace=False))


def _plane(points: Array, centroids: Array, names: list[str], rng: np.random.Generator) -> _Plane:
    if len(names) == 1:
        heights = rng.uniform(-1, 1, size=len(points))
        line = np.column_stack([points[:, 0], heights])
        middle = np.column_stack([centroids[:, 0], np.zeros(len(centroids))])
        return _Plane(line, middle, (names[0], ""))
    if len(names) == 2 or len(points) < 2:
        return _Plane(points[:, :2], centroids[:, :2], (names[0], names[1]))
    return _principal_plane(points, centroids)


def _principal_plane(points: Array, centroids: Array) -> _Plane:
    from sklearn.decomposition import PCA

    pca = PCA(n_components=2, random_state=0)
    with np.errstate(invalid="ignore"):  # points that are all equal have no variance to share
        projected = pca.fit_transform(points)
    shares = np.nan_to_num(pca.explained_variance_ratio_)
    first, second = (f"PC {i} ({share:.0%} of variance)" for i, share in enumerate(shares, 1))
    return _Plane(projected, pca.transform(centroids), (first, second))


def _new_axes() -> Axes:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install 'kmeans_xp[plot]'") from error
    return Figure(figsize=(9.0, 6.0), dpi=150, layout="constrained").add_subplot()


def _draw_points(ax: Axes, points: Array, labels: Array, sizes: Array) -> None:
    area = float(np.clip(70_000 / max(len(points), 1), 5, 30))
    depths = np.argsort(np.argsort(-sizes, kind="stable"))  # the smallest cluster lies on top
    for cluster, size in enumerate(sizes):
        members = points[labels == cluster]
        ax.scatter(
            members[:, 0],
            members[:, 1],
            s=area,
            c=COLOURS[cluster % len(COLOURS)],
            marker=MARKERS[cluster % len(MARKERS)],
            alpha=0.6,
            linewidths=0,
            zorder=1 + depths[cluster] / len(sizes),
            label=f"{cluster}: {size:,} ({size / max(sizes.sum(), 1):.1%})",
        )


def _draw_centroids(ax: Axes, centroids: Array) -> None:
    n_clusters = len(centroids)
    ax.scatter(
        centroids[:, 0],
        centroids[:, 1],
        s=230 if n_clusters <= CROWDED else 110 if n_clusters <= MOST_TOLD_APART else 12,
        c="white",
        edgecolors="black",
        linewidths=1.2,
        zorder=3,
        label="centroid",
    )


def _number_centroids(ax: Axes, centroids: Array) -> None:
    for cluster, position in enumerate(centroids):
        ax.annotate(
            str(cluster),
            position,
            ha="center",
            va="center_baseline",
            fontsize=9 if len(centroids) <= CROWDED else 6,
            fontweight="bold",
            zorder=4,
        )


def _name_axes(ax: Axes, axis_names: tuple[str, str]) -> None:
    horizontal, vertical = axis_names
    ax.set_xlabel(horizontal)
    ax.set_ylabel(vertical or "spread at random")
    if not vertical:
        ax.set_yticks([])


def _title(n_points: int, n_clusters: int, n_shown: int) -> str:
    title = f"{n_points:,} points in {n_clusters} clusters"
    return title if n_shown == n_points else f"{title}, {n_shown:,} drawn"


def _add_legend(ax: Axes, n_clusters: int) -> None:
    legend: Any = ax.legend(
        title="cluster: points (share)",
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.5,
        ncols=-(-(n_clusters + 1) // LEGEND_ROWS),
        fontsize="small" if n_clusters < LEGEND_ROWS else "x-small",
        columnspacing=1.0,
        handletextpad=0.3,
        frameon=False,
    )
    for handle in legend.legend_handles[:-1]:
        handle.set_alpha(1.0)
        handle.set_sizes([40.0])
    legend.legend_handles[-1].set_sizes([80.0])
