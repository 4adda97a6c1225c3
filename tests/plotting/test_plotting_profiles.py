"""The heat map of cluster centres."""

from typing import Any

import numpy as np
import pytest

from conftest import Library
from kmeans_xp import KMeans
from kmeans_xp.plotting import ProfilesDisplay
from tests.datasets import blobs

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib.figure import Figure  # noqa: E402


def texts_of(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def without_labels(centroids: Any) -> KMeans:
    """A fitted estimator as one that a file holds: without the labels of its rows."""
    kmeans = KMeans(len(centroids), random_state=0).fit(np.asarray(centroids, dtype=np.float64))
    kmeans.cluster_centers_ = np.asarray(centroids, dtype=np.float64)
    del kmeans.labels_
    return kmeans


def ticks_of(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.get_ticklabels()]


def test_colours_are_deviations_and_values_are_in_own_units(library: Library) -> None:
    host, _ = blobs()
    host = host * 100.0 + 1e4
    points = library.asarray(host)
    kmeans = KMeans(4, random_state=0).fit(points)
    ax = ProfilesDisplay.from_estimator(kmeans, points).ax_
    centres = library.to_host(kmeans.cluster_centers_)
    (image,) = ax.images
    expected = (centres - host.mean(axis=0)) / host.std(axis=0)
    np.testing.assert_allclose(image.get_array(), expected, rtol=1e-3, atol=1e-3)
    written = np.array([float(text.replace(",", "")) for text in texts_of(ax)])
    np.testing.assert_allclose(written.reshape(centres.shape), centres, rtol=1e-2)


def test_rows_tell_sizes_and_columns_names() -> None:
    points = np.array([[0.0, 5.0], [2.0, 5.0], [8.0, 5.0]])
    ax = ProfilesDisplay.from_predictions(points, [0, 0, 1], feature_names=["m", "kg"]).ax_
    assert ticks_of(ax.yaxis) == ["0: 2 (66.7%)", "1: 1 (33.3%)"]
    assert ticks_of(ax.xaxis) == ["m", "kg"]
    assert texts_of(ax) == ["1.00", "5.00", "8.00", "5.00"]
    assert ax.figure.axes[1].get_ylabel() == "standard deviations\nfrom the mean"


def test_dollar_signs_in_names_are_no_formulas() -> None:
    ax = ProfilesDisplay.from_predictions(np.eye(2), [0, 1], feature_names=["$a^$", "b"]).ax_
    ax.figure.draw_without_rendering()
    assert ticks_of(ax.xaxis) == ["$a^$", "b"]


def test_a_constant_column_deviates_by_nothing() -> None:
    display = ProfilesDisplay.from_predictions(np.array([[0.0, 7.0], [2.0, 7.0]]), [0, 1])
    np.testing.assert_array_equal(display.deviations, [[-1.0, 0.0], [1.0, 0.0]])
    assert display.is_of_points


def test_without_points_the_centres_tell_their_own_spread() -> None:
    host, _ = blobs()
    kmeans = KMeans(4, random_state=0).fit(host)
    display = ProfilesDisplay.from_estimator(kmeans)
    sizes = np.bincount(kmeans.labels_)
    # The mean of the centres, weighted by sizes, is that of the points.
    centred = kmeans.cluster_centers_ - host.mean(axis=0)
    std = np.sqrt(np.average(centred**2, axis=0, weights=sizes))
    np.testing.assert_allclose(display.deviations, centred / std, rtol=1e-6)
    assert display.sizes.tolist() == sizes.tolist()
    label = display.figure_.axes[1].get_ylabel()
    assert label == "standard deviations\nof the centroids, from their mean"


def test_bare_centres_have_no_sizes() -> None:
    ax = ProfilesDisplay.from_estimator(without_labels([[0.0, 1.0], [2.0, 1.0]])).ax_
    np.testing.assert_array_equal(ax.images[0].get_array(), [[-1.0, 0.0], [1.0, 0.0]])
    assert ticks_of(ax.yaxis) == ["0", "1"]
    assert ticks_of(ax.xaxis) == ["x0", "x1"]


def test_names_come_from_the_data_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"width": [0.0, 1.0, 9.0], "height": [2.0, 2.0, 5.0]})
    kmeans = KMeans(2, random_state=0).fit(frame)
    assert ticks_of(ProfilesDisplay.from_estimator(kmeans).ax_.xaxis) == ["width", "height"]
    from_labels = ProfilesDisplay.from_predictions(frame, kmeans.labels_)
    assert ticks_of(from_labels.ax_.xaxis) == ["width", "height"]
    np.testing.assert_allclose(from_labels.centroids, kmeans.cluster_centers_)


def test_text_stands_out_from_its_colour() -> None:
    ax = ProfilesDisplay.from_predictions(np.array([[0.0], [5.0], [10.0]]), [0, 1, 2]).ax_
    assert [text.get_color() for text in ax.texts] == ["white", "black", "white"]


def test_far_centres_do_not_fade_the_others() -> None:
    points = np.append(np.linspace(-1, 1, 999), 1000.0)[:, None]
    ax = ProfilesDisplay.from_predictions(points, np.r_[np.zeros(999, int), 1]).ax_
    assert ax.images[0].get_clim() == (-3.0, 3.0)
    assert ax.images[0].get_array()[1, 0] > 3.0


@pytest.mark.parametrize(("n_clusters", "n_features"), [(3, 40), (100, 3), (3, 300)])
def test_large_maps_are_not_written_full(n_clusters: int, n_features: int) -> None:
    centres = np.random.default_rng(0).normal(size=(n_clusters, n_features))
    ax = ProfilesDisplay.from_estimator(without_labels(centres)).ax_
    assert texts_of(ax) == []
    np.testing.assert_array_equal(ax.images[0].get_array().shape, centres.shape)
    assert len(ticks_of(ax.xaxis)) <= 60
    ax.figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centroids": [1.0, 2.0]}, "centroids must be 2-D"),
        ({"X": np.ones((3, 1))}, "same number of columns, got 1 and 2"),
        ({"labels": [0, 1]}, r"one integer for each row.*\(2,\)"),
        ({"labels": [0, 1, 2]}, "between 0 and 1"),
        ({"feature_names": ["a"]}, "must have 2 names"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    good = {"X": np.ones((3, 2)), "labels": [0, 0, 1], "centroids": np.ones((2, 2))}
    with pytest.raises(ValueError, match=message):
        ProfilesDisplay.from_predictions(**good | changes)


def test_a_cluster_without_points_has_no_mean() -> None:
    for last in (2, 2**62):
        with pytest.raises(ValueError, match=f"without gaps, got 2 different ones up to {last}: "):
            ProfilesDisplay.from_predictions(np.ones((2, 1)), [0, last])


def test_it_draws_on_the_axes_given() -> None:
    axes = Figure().add_subplot()
    assert ProfilesDisplay.from_predictions(np.eye(2), [0, 1], ax=axes).ax_ is axes


def test_points_are_measured_in_tiles(monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    host = np.random.default_rng(0).normal(1e6, 1.0, size=(100, 3))
    labels = np.arange(100) % 4
    whole = ProfilesDisplay.from_predictions(library.asarray(host), labels)
    monkeypatch.setattr("kmeans_xp.plotting.inputs.ROWS_A_STEP", 7)
    tiled = ProfilesDisplay.from_predictions(library.asarray(host), labels)
    np.testing.assert_allclose(tiled.centroids, whole.centroids, rtol=1e-12)
    np.testing.assert_allclose(tiled.deviations, whole.deviations, rtol=1e-6, atol=1e-9)
    means = np.array([host[labels == cluster].mean(axis=0) for cluster in range(4)])
    expected = (means - host.mean(axis=0)) / host.std(axis=0)
    # Of a library without float64, the rows have the digits of float32.
    np.testing.assert_allclose(tiled.deviations, expected, atol=0.05)
