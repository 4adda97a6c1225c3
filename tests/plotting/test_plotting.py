"""What the pictures say."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from sklearn.exceptions import NotFittedError

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib.collections import PathCollection  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from conftest import Library  # noqa: E402
from kmeans_xp import KMeans, MiniBatchKMeans, devices, plotting  # noqa: E402
from kmeans_xp.plotting import ClustersDisplay, VoronoiDisplay  # noqa: E402
from kmeans_xp.plotting.numerals import formatted  # noqa: E402


def blobs(n_clusters: int, n_features: int, size: int = 30) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    centroids = rng.uniform(-50, 50, size=(n_clusters, n_features))
    labels = np.repeat(np.arange(n_clusters), size)
    points = centroids[labels] + rng.normal(size=(len(labels), n_features))
    return points, labels, centroids


def clusters(X: Any, labels: Any, centroids: Any, **options: Any) -> Any:
    """The axes of a picture of clusters."""
    return ClustersDisplay.from_predictions(X, labels, centroids=centroids, **options).ax_


def scatters(ax: Any) -> list[PathCollection]:
    return [artist for artist in ax.collections if isinstance(artist, PathCollection)]


def legend_texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def offsets(scatter: PathCollection) -> np.ndarray:
    return np.asarray(scatter.get_offsets())


def test_a_plane_is_drawn_as_it_is() -> None:
    points, labels, centroids = blobs(3, 2)
    ax = clusters(points, labels, centroids, feature_names=["width", "height"])
    *groups, centres = scatters(ax)
    for cluster, group in enumerate(groups):
        np.testing.assert_array_equal(offsets(group), points[labels == cluster])
    np.testing.assert_array_equal(offsets(centres), centroids)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "height")
    assert ax.get_title() == "90 points in 3 clusters"


def test_dollar_signs_in_names_are_no_formulas() -> None:
    ax = clusters(*blobs(2, 2), feature_names=["$a^$", "$b_$"])
    ax.figure.draw_without_rendering()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$a^$", "$b_$")


def test_one_is_not_many() -> None:
    ax = clusters([[0.0, 1.0]], [0], [[0.0, 1.0]])
    assert ax.get_title() == "1 point in 1 cluster"


def test_centroids_are_numbered_where_they_are() -> None:
    points, labels, centroids = blobs(4, 2)
    ax = clusters(points, labels, centroids)
    assert {text.get_text(): text.xy for text in ax.texts} == {
        str(i): pytest.approx(centroid) for i, centroid in enumerate(centroids)
    }


def test_the_legend_counts_every_point() -> None:
    points, _, centroids = blobs(3, 2)
    labels = np.repeat([0, 1, 2], [60, 30, 0])
    ax = clusters(points, labels, centroids)
    expected = ["0: 60 (66.7%)", "1: 30 (33.3%)", "2: 0 (0.0%)", "centroid"]
    assert legend_texts(ax) == expected


def test_more_features_are_drawn_on_their_principal_plane() -> None:
    rng = np.random.default_rng(0)
    # Variances 9, 4 and 0 along the axes, so the plane is known except for signs.
    points = rng.normal(size=(500, 3)) * [0, 3, 2]
    ax = clusters(points, np.zeros(500, dtype=int), [[0, 3.0, 0]])
    group, centre = scatters(ax)
    centered = points - points.mean(axis=0)
    np.testing.assert_allclose(
        np.linalg.norm(offsets(group), axis=1), np.linalg.norm(centered, axis=1), rtol=1e-6
    )
    assert abs(offsets(centre)[0, 0]) == pytest.approx(3.0, abs=0.3)
    shares = centered.var(axis=0) / centered.var(axis=0).sum()
    assert ax.get_xlabel() == f"PC 1 ({shares[1]:.0%} of variance): mainly x1"
    assert ax.get_ylabel() == f"PC 2 ({shares[2]:.0%} of variance): mainly x2"


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (("latitude", "longitude"), ("longitude", "latitude")),
        (("Lat", "Lng"), ("Lng", "Lat")),
        (("longitude", "latitude"), ("longitude", "latitude")),
        (("latitude", "height"), ("latitude", "height")),
    ],
)
@pytest.mark.parametrize("display_class", [ClustersDisplay, VoronoiDisplay])
def test_north_is_above(display_class: Any, names: tuple[str, str], axes: tuple[str, str]) -> None:
    points, labels, _ = blobs(30, 2, size=2)
    ax = display_class.from_predictions(points, labels, feature_names=names).ax_
    assert (ax.get_xlabel(), ax.get_ylabel()) == axes
    columns = [names.index(name) for name in axes]
    drawn = np.vstack([offsets(group) for group in scatters(ax)[:-1]])
    assert {tuple(row) for row in drawn} == {tuple(row) for row in points[:, columns]}


def test_long_names_of_main_features_are_shortened() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)) * [5, 1, 0.1]
    ax = clusters(points, np.zeros(50, int), np.zeros((1, 3)), feature_names=["n" * 99] * 3)
    assert ax.get_xlabel().endswith(f": mainly {'n' * 23}…")


def test_one_feature_is_drawn_along_a_line() -> None:
    points, labels, centroids = blobs(2, 1)
    ax = clusters(points, labels, centroids, feature_names=["price"])
    *groups, centres = scatters(ax)
    np.testing.assert_array_equal(offsets(groups[1])[:, 0], points[labels == 1, 0])
    np.testing.assert_array_equal(offsets(centres), [[c, 0] for c in centroids[:, 0]])
    assert ax.get_xlabel() == "price"
    assert ax.get_yticks().tolist() == []


def test_many_points_are_sampled_by_the_seed() -> None:
    points, labels, centroids = blobs(3, 2, size=500)

    def drawn(seed: int) -> set[tuple[float, ...]]:
        ax = clusters(points, labels, centroids, sample_size=100, random_state=seed)
        assert ax.get_title() == "1,500 points in 3 clusters, 100 drawn"
        assert legend_texts(ax)[0] == "0: 500 (33.3%)"
        return {tuple(row) for group in scatters(ax)[:-1] for row in offsets(group)}

    assert len(drawn(0)) == 100
    assert drawn(0) == drawn(0) != drawn(1)
    assert drawn(0) <= {tuple(row) for row in points}


def test_all_points_are_drawn_on_request() -> None:
    points, labels, centroids = blobs(3, 2, size=7_000)
    ax = clusters(points, labels, centroids, sample_size=None)
    assert sum(len(offsets(group)) for group in scatters(ax)[:-1]) == len(points) == 21_000
    assert ax.get_title() == "21,000 points in 3 clusters"


def test_a_sample_of_no_points_is_refused() -> None:
    with pytest.raises(ValueError, match="an integer of at least 1 or None, got 0"):
        clusters(*blobs(3, 2), sample_size=0)


@pytest.mark.parametrize("display_class", [ClustersDisplay, VoronoiDisplay])
@pytest.mark.parametrize("n_clusters", [9, 16])
def test_colours_do_not_repeat_after_the_eighth_cluster(
    n_clusters: int, display_class: Any
) -> None:
    points, labels, centroids = blobs(n_clusters, 2, size=3)
    ax = display_class.from_predictions(points, labels, centroids=centroids).ax_
    *groups, _ = scatters(ax)
    colours = np.array([group.get_facecolor()[0, :3] for group in groups])
    assert len(colours) == n_clusters
    apart = np.linalg.norm(colours[:, None] - colours, axis=2)[~np.eye(n_clusters, dtype=bool)]
    assert apart.min() > 0.15  # of 1.7 from black to white


def test_colour_is_not_the_only_cue() -> None:
    points, labels, centroids = blobs(50, 2, size=3)
    *groups, _ = scatters(clusters(points, labels, centroids))
    looks = {
        (tuple(group.get_facecolor()[0]), group.get_paths()[0].vertices.tobytes())
        for group in groups
    }
    assert len(looks) == len(groups) == 50
    shapes = [group.get_paths()[0].vertices.tobytes() for group in groups[:7]]
    assert len(set(shapes)) == 7


@pytest.mark.parametrize("dpi", [50, 80, 100])
def test_every_cluster_is_seen_at_low_resolutions(dpi: int) -> None:
    import io

    rng = np.random.default_rng(0)
    labels = np.arange(20_000) % 7
    points = np.column_stack([labels, rng.uniform(size=len(labels))])
    ax = clusters(points, labels, [[i, -9.0] for i in range(7)])
    ax.set_ylim(0, 1)
    drawn = io.BytesIO()
    ax.figure.savefig(drawn, format="rgba", dpi=dpi)
    width, height = (ax.figure.get_size_inches() * dpi).astype(int)
    pixels = np.frombuffer(drawn.getvalue(), np.uint8).reshape(height, width, 4)
    for cluster in range(7):
        column, row = (ax.transData.transform((cluster, 0.5)) * dpi / ax.figure.dpi).astype(int)
        patch = pixels[height - row - 20 : height - row + 20, column - 2 : column + 3, :3]
        assert patch.min() < 200, f"cluster {cluster} is not seen"


def test_hundreds_of_clusters_get_no_legend() -> None:
    ax = clusters(*blobs(200, 2, size=2))
    assert ax.get_legend() is None
    assert list(ax.texts) == []
    assert len(offsets(scatters(ax)[-1])) == 200


def test_the_smallest_cluster_lies_on_top() -> None:
    points, _, centroids = blobs(3, 2)
    labels = np.repeat([0, 1, 2], [60, 10, 20])
    *groups, centres = scatters(clusters(points, labels, centroids))
    depths = [group.get_zorder() for group in groups]
    assert depths[0] < depths[2] < depths[1] < centres.get_zorder()


def test_it_draws_on_the_axes_given() -> None:
    axes = Figure().add_subplot()
    assert clusters(*blobs(2, 2), ax=axes) is axes


def test_pyplot_knows_of_no_figure() -> None:
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    clusters(*blobs(2, 2))
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("n_clusters", "n_features", "size"), [(1, 1, 1), (1, 2, 1), (1, 5, 1), (2, 3, 1), (60, 4, 1)]
)
def test_small_and_large_pictures_are_written(
    n_clusters: int, n_features: int, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "clusters.png"
    clusters(*blobs(n_clusters, n_features, size)).figure.savefig(path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_equal_points_have_no_variance_to_share() -> None:
    ax = clusters(np.ones((5, 3)), np.zeros(5, dtype=int), np.ones((1, 3)))
    assert ax.get_xlabel() == "PC 1 (0% of variance)"


def test_legend_and_points_do_not_overlap() -> None:
    ax = clusters(*blobs(50, 2, size=3))
    ax.figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    assert ax.get_legend().get_window_extent().x1 <= ax.figure.bbox.x1


@pytest.mark.parametrize("sample_size", [90, 50])
def test_arrays_of_any_library(sample_size: int, library: Library) -> None:
    points, labels, centroids = blobs(3, 2)
    ax = clusters(
        library.asarray(points, "float32"),
        library.asarray(labels),
        library.asarray(centroids, "float32"),
        sample_size=sample_size,
    )
    expected = clusters(
        points.astype(np.float32), labels, centroids.astype(np.float32), sample_size=sample_size
    )
    for drawn, same in zip(scatters(ax), scatters(expected), strict=True):
        np.testing.assert_array_equal(offsets(drawn), offsets(same))
    assert sum(len(offsets(group)) for group in scatters(ax)[:-1]) == sample_size


def test_only_the_sample_leaves_the_device(library: Library, monkeypatch: Any) -> None:
    points, labels, centroids = blobs(3, 2)
    read = []
    to_host = devices.to_host

    def recorded(array: Any) -> Any:
        read.append(tuple(array.shape))
        return to_host(array)

    monkeypatch.setattr(devices, "to_host", recorded)
    given = (library.asarray(points), library.asarray(labels), library.asarray(centroids))
    clusters(*given, sample_size=20)
    assert set(read) == {(20, 2), (90,), (3, 2)}


def test_lists_and_data_frames_are_drawn() -> None:
    pandas = pytest.importorskip("pandas")
    points, labels, centroids = blobs(3, 2)
    frame = pandas.DataFrame(points, columns=["width", "height"])
    ax = clusters(frame, labels.tolist(), centroids.tolist())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "height")
    np.testing.assert_array_equal(offsets(scatters(ax)[-1]), centroids)


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans, sklearn.cluster.KMeans])
def test_a_display_from_an_estimator(estimator_class: Any) -> None:
    points, _, _ = blobs(3, 4)
    estimator = estimator_class(3, random_state=0).fit(points)
    display = ClustersDisplay.from_estimator(estimator, points)
    expected = clusters(points, estimator.labels_, estimator.cluster_centers_)
    for drawn, same in zip(scatters(display.ax_), scatters(expected), strict=True):
        np.testing.assert_array_equal(offsets(drawn), offsets(same))
    assert display.figure_ is display.ax_.figure
    assert display.sizes.tolist() == np.bincount(estimator.labels_).tolist()


def test_a_display_is_drawn_again_elsewhere() -> None:
    points, labels, _ = blobs(3, 2)
    display = ClustersDisplay.from_predictions(points, labels)
    first, axes = display.ax_, Figure().add_subplot()
    assert display.plot(ax=axes) is display
    assert display.ax_ is axes
    assert display.figure_ is axes.figure
    for one, other in zip(scatters(first), scatters(axes), strict=True):
        np.testing.assert_array_equal(offsets(one), offsets(other))


def test_an_estimator_without_centroids_is_refused() -> None:
    points, _, _ = blobs(3, 2)
    with pytest.raises(NotFittedError):
        ClustersDisplay.from_estimator(KMeans(3), points)
    other = sklearn.cluster.DBSCAN().fit(points)
    with pytest.raises(TypeError, match=r"DBSCAN has no cluster_centers_: .* from_predictions"):
        ClustersDisplay.from_estimator(other, points)
    with pytest.raises(TypeError, match=r"estimator must be a fitted estimator, .* got ndarray"):
        ClustersDisplay.from_estimator(points, other)


def test_without_centroids_the_means_are_drawn() -> None:
    points, labels, _ = blobs(3, 2)
    display = ClustersDisplay.from_predictions(points, labels, sample_size=20)
    means = [points[labels == cluster].mean(axis=0) for cluster in range(3)]
    np.testing.assert_allclose(display.centroids, means)
    with pytest.raises(ValueError, match=r"got 3 different ones up to 4: .* or pass centroids"):
        ClustersDisplay.from_predictions(points, np.array([1, 2, 4])[labels])


@pytest.mark.parametrize("name", [name for name in plotting.__all__ if "Display" in name])
def test_every_display_has_the_same_interface(name: str) -> None:
    display = getattr(plotting, name)
    makers = [member for member in dir(display) if member.startswith("from_")]
    assert makers
    for maker in makers:
        parameters = inspect.signature(getattr(display, maker)).parameters
        by_place = [each for each in parameters.values() if each.kind is not each.KEYWORD_ONLY]
        assert len(by_place) <= 2
        assert maker != "from_estimator" or by_place[0].name == "estimator"
        assert maker != "from_predictions" or [each.name for each in by_place] == ["X", "labels"]
        assert parameters["ax"].default is None
        assert not {"points", "max_points", "axes", "names", "seed"} & set(parameters)
    assert list(inspect.signature(display.plot).parameters) == ["self", "ax"]


def test_names_come_from_the_fit() -> None:
    pandas = pytest.importorskip("pandas")
    points, _, _ = blobs(3, 2)
    estimator = KMeans(3, random_state=0).fit(pandas.DataFrame(points, columns=["m", "kg"]))
    frame = pandas.DataFrame(points, columns=["m", "kg"])
    assert ClustersDisplay.from_estimator(estimator, frame).axis_names == ("m", "kg")
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        display = ClustersDisplay.from_estimator(estimator, points)
    assert display.axis_names == ("m", "kg")


def test_many_points_are_an_image_in_vector_formats(tmp_path: Path) -> None:
    path = tmp_path / "clusters.svg"
    clusters(*blobs(3, 2, size=3000)).figure.savefig(path)
    assert path.stat().st_size < 1_000_000
    assert "data:image/png" in path.read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.zeros(6)}, r"X must be 2-D.*\(6,\)"),
        ({"X": np.zeros((0, 2)), "labels": np.zeros(0, dtype=int)}, "at least one row"),
        ({"centroids": np.zeros(2)}, r"centroids must be 2-D.*\(2,\)"),
        ({"centroids": np.zeros((0, 2))}, r"at least one, got shape \(0, 2\)"),
        ({"centroids": np.array([[0.0, np.inf]] * 2)}, "centroids must be finite"),
        ({"centroids": np.zeros((2, 3))}, "same number of columns, got 2 and 3"),
        ({"labels": np.zeros(5, dtype=int)}, r"one integer for each row.*\(5,\).*for 6 rows"),
        ({"labels": np.zeros(6)}, "one integer for each row.*float64"),
        ({"labels": np.array([0, 1, 2, 0, 1, 2])}, "between 0 and 1.*got 0 to 2"),
        ({"labels": np.array([0, 1, -1, 0, 1, 0])}, "must not be negative, got -1"),
        ({"feature_names": ["a"]}, "must have 2 names, one for each column, got 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    good = {
        "X": np.zeros((6, 2)),
        "labels": np.zeros(6, dtype=int),
        "centroids": np.zeros((2, 2)),
    }
    with pytest.raises(ValueError, match=message):
        clusters(**good | changes)


@pytest.mark.parametrize("name", ["a.png", "a.SVG", "a.pdf"])
def test_known_formats_pass(name: str) -> None:
    plotting.check_format(name)


@pytest.mark.parametrize("name", ["a.xlsx", "a", "png"])
def test_unknown_formats_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"No picture can be written as .*png"):
        plotting.check_format(name)


def test_without_matplotlib_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from kmeans_xp.plotting import ClustersDisplay\n"
        "try: ClustersDisplay.from_predictions([[0.0, 1.0]], [0])\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Drawing needs matplotlib: pip install 'kmeans_xp[plot]'"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1018.1811, 1015.2], ["1018.18", "1015.20"]),
        ([1994.6, 1996.3], ["1994.60", "1996.30"]),
        ([1994.6, 10000.0], ["1,995", "10,000"]),
        ([0.00123, 0.00456], ["0.00123", "0.00456"]),
        ([1234567.8, 23.4], ["1,234,568", "23"]),
        ([0.1, 0.1], ["0.100", "0.100"]),
        ([0.0, 0.0], ["0", "0"]),
        ([-0.4, 817.0], ["0", "817"]),
        ([1e300, 1.0], ["1e+300", "1"]),
    ],
)
def test_numbers_have_the_decimals_that_tell_them_apart(
    values: list[float], expected: list[str]
) -> None:
    assert formatted(np.asarray(values)) == expected


def test_a_spread_that_is_given_counts() -> None:
    values = np.array([1018.1811, 7.4321])
    assert formatted(values, spread=7.4321) == ["1018.18", "7.43"]
    assert formatted(np.array([5.0, 5.0]), spread=0.0) == ["5.00", "5.00"]
