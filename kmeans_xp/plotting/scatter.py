"""Points and centroids in a plane: what the pictures of clusters share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kmeans_xp.plotting.inputs import (
    check_sampling,
    checked_arrays,
    checked_names,
    host_rows,
    sampled,
)
from kmeans_xp.plotting.looks import CROWDED, MOST_TOLD_APART, MOST_VECTOR_POINTS, colour, marker
from kmeans_xp.plotting.numerals import counted
from kmeans_xp.plotting.plane import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = [
    "Scene",
    "add_legend",
    "draw_centroids",
    "draw_points",
    "name_axes",
    "number_centroids",
    "point_area",
    "scene_of",
    "title_of",
]

LEGEND_ROWS = 30


class Scene(NamedTuple):
    """Points drawn and centroids, in the two coordinates of the picture."""

    points: HostArray
    labels: HostArray
    centroids: HostArray
    sizes: HostArray
    axis_names: tuple[str, str]


def scene_of(
    X: Any,
    labels: Any,
    centroids: Any,
    *,
    feature_names: Sequence[str] | None,
    sample_size: int | None,
    random_state: int | None,
    check_n_features: Callable[[int], None],
) -> Scene:
    """Check the arrays, sample the points, and find the plane of the picture."""
    check_sampling(sample_size, random_state)
    points, labels, centroids = checked_arrays(X, labels, centroids)
    n_clusters, n_features = centroids.shape
    check_n_features(n_features)
    names = checked_names(feature_names, n_features, X=X)
    rng = np.random.default_rng(random_state)
    rows = sampled(len(labels), sample_size, rng)
    shown = host_rows(points, rows)
    plane = Plane.of(shown, names)
    return Scene(
        plane.positions(shown, rng),
        labels if rows is None else labels[rows],
        plane.positions(centroids),
        np.bincount(labels, minlength=n_clusters),
        plane.axis_names,
    )


def point_area(n_points: int) -> float:
    """Return the size of markers that leaves this many points visible, in square points."""
    return float(np.clip(70_000 / max(n_points, 1), 5, 30))


def draw_points(
    ax: Axes, points: HostArray, labels: HostArray, sizes: HostArray, scale: float = 1.0
) -> None:
    """Draw each cluster in its colour and marker, the smallest on top."""
    depths = np.argsort(np.argsort(-sizes, kind="stable"))
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=len(sizes)))
    for cluster, members in enumerate(np.split(points[order], ends[:-1])):
        size = sizes[cluster]
        ax.scatter(
            members[:, 0],
            members[:, 1],
            s=scale * point_area(len(points)),
            c=colour(cluster),
            marker=marker(cluster),
            alpha=0.6,
            linewidths=0,
            zorder=1 + depths[cluster] / len(sizes),
            label=f"{cluster}: {size:,} ({size / max(sizes.sum(), 1):.1%})",
            rasterized=len(points) > MOST_VECTOR_POINTS,
            # Snapped to whole pixels, small plus signs are nothing at low resolutions.
            snap=False,
        )


def draw_centroids(ax: Axes, centroids: HostArray, scale: float = 1.0) -> None:
    """Draw centroids as white discs, which numbers fit in."""
    n_clusters = len(centroids)
    area = 230 if n_clusters <= CROWDED else 110 if n_clusters <= MOST_TOLD_APART else 12
    ax.scatter(
        centroids[:, 0],
        centroids[:, 1],
        s=scale * area,
        c="white",
        edgecolors="black",
        linewidths=1.2,
        zorder=3,
        label="centroid",
    )


def number_centroids(ax: Axes, centroids: HostArray, scale: float = 1.0) -> None:
    """Write the number of each cluster on its centroid."""
    for cluster, position in enumerate(centroids):
        ax.annotate(
            str(cluster),
            position,
            ha="center",
            va="center_baseline",
            fontsize=scale * (9 if len(centroids) <= CROWDED else 6),
            fontweight="bold",
            zorder=4,
        )


def name_axes(ax: Axes, axis_names: tuple[str, str]) -> None:
    """Label the axes. A height that means nothing gets no ticks."""
    horizontal, vertical = axis_names
    # Names of columns may hold dollar signs, which are no formulas.
    ax.set_xlabel(horizontal, parse_math=False)
    ax.set_ylabel(vertical or "spread at random", parse_math=False)
    if not vertical:
        ax.set_yticks([])


def title_of(n_points: int, n_clusters: int, n_shown: int) -> str:
    """Return how many points and clusters there are, and how many are drawn if not all."""
    title = f"{counted(n_points, 'point')} in {counted(n_clusters, 'cluster')}"
    return title if n_shown == n_points else f"{title}, {n_shown:,} drawn"


def add_legend(ax: Axes, n_clusters: int) -> None:
    """List the clusters' sizes to the right of the picture."""
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
