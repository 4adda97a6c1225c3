"""The silhouette diagram."""

import itertools

import numpy as np
import pytest
import sklearn.metrics

from conftest import Library
from kmeans_xp import KMeans
from kmeans_xp.plotting import SilhouetteDisplay
from tests.datasets import blobs

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib.colors import to_rgba  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from kmeans_xp.plotting.looks import colour  # noqa: E402


def test_knives_show_the_silhouettes_of_their_cluster() -> None:
    points, _ = blobs()
    labels = KMeans(4, random_state=0).fit_predict(points)
    ax = SilhouetteDisplay.from_predictions(points, labels).ax_
    expected = sklearn.metrics.silhouette_samples(points, labels)
    assert [tuple(each.get_facecolor()[0]) for each in ax.collections] == [
        to_rgba(colour(cluster)) for cluster in range(4)
    ]
    for cluster, collection in enumerate(ax.collections):
        (path,) = collection.get_paths()
        members = np.sort(expected[labels == cluster])
        widths, heights = path.vertices.T
        assert np.ptp(heights) == pytest.approx(len(members))
        drawn = np.unique(widths.round(9))
        np.testing.assert_allclose(
            np.setdiff1d(drawn, [0.0]), np.setdiff1d(np.unique(members.round(9)), [0.0]), atol=1e-6
        )


def test_the_mean_line_and_the_labels() -> None:
    points, _ = blobs()
    labels = KMeans(4, random_state=0).fit_predict(points)
    ax = SilhouetteDisplay.from_predictions(points, labels).ax_
    expected = sklearn.metrics.silhouette_samples(points, labels)
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_xdata(), expected.mean(), rtol=1e-6)
    assert ax.get_xlabel() == f"silhouette (dashed: mean {expected.mean():.3f})"
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        f"{cluster}: {expected[labels == cluster].mean():.2f}" for cluster in range(4)
    ]
    assert ax.get_title() == f"{len(points)} points in 4 clusters"


def test_knives_do_not_overlap_and_the_first_is_on_top() -> None:
    points, _ = blobs()
    labels = KMeans(4, random_state=0).fit_predict(points)
    ax = SilhouetteDisplay.from_predictions(points, labels).ax_
    spans = [
        (heights.min(), heights.max())
        for heights in (each.get_paths()[0].vertices[:, 1] for each in ax.collections)
    ]
    assert all(one[1] < other[0] for one, other in itertools.pairwise(spans))
    bottom, top = ax.get_ylim()
    assert top < spans[0][0] < spans[-1][1] < bottom


def test_many_points_are_sampled_by_the_seed() -> None:
    points, _ = blobs()
    labels = KMeans(3, random_state=0).fit_predict(points)

    def drawn(seed: int) -> SilhouetteDisplay:
        return SilhouetteDisplay.from_predictions(points, labels, sample_size=50, random_state=seed)

    display = drawn(0)
    assert len(display.silhouettes) == len(display.labels) == 50
    assert display.ax_.get_title() == f"50 points sampled from {len(points)} in 3 clusters"
    assert display.mean == drawn(0).mean != drawn(1).mean
    rows = np.sort(np.random.default_rng(0).choice(len(points), 50, replace=False))
    expected = sklearn.metrics.silhouette_score(points[rows], labels[rows])
    assert display.mean == pytest.approx(expected, rel=1e-6)


def test_all_points_are_measured_on_request() -> None:
    points, labels = blobs()
    display = SilhouetteDisplay.from_predictions(points, labels, sample_size=None)
    assert len(display.silhouettes) == len(points)


def test_a_display_from_an_estimator(library: Library) -> None:
    host, _ = blobs()
    points = library.asarray(host, "float32")
    kmeans = KMeans(4, random_state=0).fit(points)
    display = SilhouetteDisplay.from_estimator(kmeans, points, sample_size=80)
    assert isinstance(display.silhouettes, np.ndarray)
    rows = np.sort(np.random.default_rng(0).choice(len(host), 80, replace=False))
    labels = library.to_host(kmeans.labels_)[rows]
    expected = sklearn.metrics.silhouette_samples(host[rows], labels)
    np.testing.assert_allclose(display.silhouettes, expected, atol=1e-4)


def test_clusters_that_the_sample_missed_are_left_out() -> None:
    points = np.array([[0.0], [1.0], [9.0], [10.0]])
    ax = SilhouetteDisplay.from_predictions(points, [0, 0, 5, 5]).ax_
    assert [text.get_text()[:2] for text in ax.get_yticklabels()] == ["0:", "5:"]


def test_hundreds_of_clusters_get_no_labels() -> None:
    points = np.random.default_rng(0).normal(size=(300, 1))
    ax = SilhouetteDisplay.from_predictions(points, np.arange(300) % 100).ax_
    assert len(ax.collections) == 100
    assert ax.get_yticks().tolist() == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0, 0], "at least 2 clusters and fewer than points, got 1 clusters of 4 points"),
        ([0, 1, 2, 3], "got 4 clusters of 4 points"),
        ([0, 1], r"one integer for each row of X, got shape \(2,\)"),
        ([0, 1, 1, -1], "must not be negative"),
    ],
)
def test_labels_that_have_no_silhouettes_are_refused(labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SilhouetteDisplay.from_predictions(np.arange(4.0)[:, None], labels)


def test_it_draws_on_the_axes_given() -> None:
    axes = Figure().add_subplot()
    points, labels = np.arange(4.0)[:, None], [0, 0, 1, 1]
    assert SilhouetteDisplay.from_predictions(points, labels, ax=axes).ax_ is axes


def test_silhouettes_are_of_the_estimators_distances() -> None:
    points = blobs()[0] + 5.0
    kmeans = KMeans(4, random_state=0, metric="cosine").fit(points)
    display = SilhouetteDisplay.from_estimator(kmeans, points)
    expected = sklearn.metrics.silhouette_samples(points, kmeans.labels_, metric="cosine")
    np.testing.assert_allclose(display.silhouettes, expected, atol=1e-6)
