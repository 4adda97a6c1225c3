"""The plane as centroids divide it."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from scipy.spatial import Voronoi

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib.collections import PathCollection, PolyCollection  # noqa: E402
from matplotlib.colors import to_rgba  # noqa: E402
from matplotlib.path import Path  # noqa: E402

from kmeans_xp import KMeans, assign  # noqa: E402
from kmeans_xp.plotting import VoronoiDisplay  # noqa: E402
from kmeans_xp.plotting.looks import colour  # noqa: E402
from kmeans_xp.plotting.voronoi import nearest_regions  # noqa: E402

LOW, HIGH = np.array([-1.0, -2.0]), np.array([3.0, 2.0])


def area(region: np.ndarray) -> float:
    """The signed area: positive for counter-clockwise corners."""
    x, y = region.T if len(region) else (np.zeros(1), np.zeros(1))
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def assert_nearest(centroids: np.ndarray, low: np.ndarray = LOW, high: np.ndarray = HIGH) -> None:
    """Regions fill the box, and random points lie in that of their nearest centroid."""
    regions = nearest_regions(centroids, low, high)
    assert len(regions) == len(centroids)
    areas = [area(region) for region in regions]
    assert min(areas) >= -1e-9
    assert sum(areas) == pytest.approx(np.prod(high - low), rel=1e-9)
    points = np.random.default_rng(0).uniform(low, high, size=(300, 2))
    sq_distances = np.square(points[:, None] - centroids).sum(axis=2)
    for cluster, region in enumerate(regions):
        clearly = np.sort(sq_distances, axis=1)
        margin = sq_distances[:, cluster] - clearly[:, 0]
        inside = Path(region).contains_points(points) if len(region) else np.zeros(300, bool)
        assert (margin[inside] <= 1e-9 * clearly[inside, -1]).all()


@pytest.mark.parametrize(
    "centroids",
    [
        [[0.0, 0.0]],
        [[9.0, 9.0]],
        [[0.0, 0.0], [1.0, 1.0]],
        [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.5, 0.0]],
        [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]],
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]],
        [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]],
        [[0.0, 0.0], [0.0, 0.0]],
        [[0.0, 0.0], [1e9, 1e9]],
    ],
    ids=["1", "outside", "2", "line", "diagonal", "square", "twice", "all equal", "far"],
)
def test_regions_of_few_and_collinear_centroids(centroids: list[list[float]]) -> None:
    assert_nearest(np.array(centroids))


@given(arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.floats(-4.0, 4.0)))
def test_regions_of_any_centroids(centroids: np.ndarray) -> None:
    # Centroids closer than rounding divide nothing that could be seen.
    assert_nearest(centroids.round(6))


def test_regions_far_from_zero_keep_their_digits() -> None:
    centroids = np.random.default_rng(0).uniform(LOW, HIGH, size=(20, 2))
    near = nearest_regions(centroids, LOW, HIGH)
    shift = 2.0**30
    far = nearest_regions(centroids + shift, LOW + shift, HIGH + shift)
    for one, other in zip(near, far, strict=True):
        np.testing.assert_allclose(other - shift, one, atol=1e-5)


def test_corners_are_those_of_scipy() -> None:
    centroids = np.random.default_rng(0).uniform(-1, 1, size=(200, 2))
    box = np.array([-9.0, -9.0]), np.array([9.0, 9.0])
    found = nearest_regions(centroids, *box)
    theirs = Voronoi(centroids)
    n_compared = 0
    for cluster, number in enumerate(theirs.point_region):
        corners = theirs.vertices[theirs.regions[number]]
        if -1 in theirs.regions[number] or np.abs(corners).max() > 9.0:
            continue
        n_compared += 1
        np.testing.assert_allclose(sorted(map(tuple, found[cluster])), sorted(map(tuple, corners)))
    assert n_compared > 150


def test_it_draws_regions_below_points_in_the_clusters_colours() -> None:
    points = np.random.default_rng(0).normal(size=(60, 2))
    kmeans = KMeans(5, random_state=0).fit(points)
    ax = VoronoiDisplay.from_estimator(kmeans, points, feature_names=["a", "b"]).ax_
    (regions,) = (each for each in ax.collections if isinstance(each, PolyCollection))
    *groups, centres = (each for each in ax.collections if isinstance(each, PathCollection))
    expected = [to_rgba(colour(cluster), 0.22) for cluster in range(5)]
    np.testing.assert_allclose(regions.get_facecolor(), expected)
    np.testing.assert_array_equal(centres.get_offsets(), kmeans.cluster_centers_)
    assert regions.get_zorder() < min(group.get_zorder() for group in groups)
    for cluster, (path, group) in enumerate(zip(regions.get_paths(), groups, strict=True)):
        members = np.asarray(group.get_offsets())
        np.testing.assert_array_equal(members, points[kmeans.labels_ == cluster])
        assert path.contains_points(members).all()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    corners = np.concatenate([path.vertices for path in regions.get_paths()])
    np.testing.assert_allclose(corners.min(axis=0), [ax.get_xlim()[0], ax.get_ylim()[0]])
    np.testing.assert_allclose(corners.max(axis=0), [ax.get_xlim()[1], ax.get_ylim()[1]])


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_points_of_no_extent_get_a_box(scale: float) -> None:
    points = np.array([[1.0, 5.0], [1.0 + scale, 5.0]])
    ax = VoronoiDisplay.from_predictions(points, [0, 0], centroids=points[:1]).ax_
    assert ax.get_xlim()[0] < 1.0 < ax.get_xlim()[1]
    assert ax.get_ylim()[0] < 5.0 < ax.get_ylim()[1]


@pytest.mark.parametrize("n_features", [1, 3])
def test_only_planes_have_regions(n_features: int) -> None:
    points = np.ones((4, n_features))
    with pytest.raises(ValueError, match=f"of 2 features, got {n_features}: choose two columns"):
        VoronoiDisplay.from_predictions(points, [0, 0, 0, 0])
    with pytest.raises(ValueError, match=f"of 2 features, got {n_features}: choose two columns"):
        VoronoiDisplay.from_estimator(KMeans(1).fit(points), points)


def test_arrays_of_any_library(library: Any) -> None:
    host = np.random.default_rng(0).normal(size=(40, 2))
    centroids = host[:3]
    labels = assign(host, centroids).labels
    ax = VoronoiDisplay.from_predictions(
        library.asarray(host, "float32"),
        library.asarray(labels),
        centroids=library.asarray(centroids),
    ).ax_
    (regions,) = (each for each in ax.collections if isinstance(each, PolyCollection))
    *groups, _ = (each for each in ax.collections if isinstance(each, PathCollection))
    for path, group in zip(regions.get_paths(), groups, strict=True):
        assert path.contains_points(np.asarray(group.get_offsets())).all()
