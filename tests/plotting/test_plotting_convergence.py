"""Iterations as panels and as a film, and the callback that remembers them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.cluster

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans, plotting
from kmeans_xp.plotting import CentroidPath, ConvergenceDisplay
from tests.datasets import blobs, cloud

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib.collections import PathCollection  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Annotation  # noqa: E402
from PIL import Image  # noqa: E402

from kmeans_xp.plotting.convergence import evenly  # noqa: E402

pytestmark = pytest.mark.since_sklearn("1.9")

# Six rows on a line: both centroids begin at the left and part in three iterations.
LINE = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [8.0, 0.0], [9.0, 0.0], [10.0, 0.0]])


def line_path() -> tuple[CentroidPath, KMeans]:
    path = CentroidPath()
    return path, KMeans(2, init=LINE[:2], tol=0.0).set_callbacks(path).fit(LINE)


def panels_of(X: Any, path: Any, **options: Any) -> Any:
    return ConvergenceDisplay.from_path(X, path, **options).axes_


def groups_of(ax: Any) -> list[np.ndarray]:
    """The offsets of what was scattered: each cluster, the crosses, and the discs."""
    return [
        np.asarray(each.get_offsets())
        for each in ax.collections
        if isinstance(each, PathCollection)
    ]


def arrows_of(ax: Any) -> list[tuple[list[float], list[float]]]:
    return [
        (list(each.xyann), list(each.xy))
        for each in ax.texts
        if isinstance(each, Annotation) and each.arrow_patch is not None
    ]


def test_the_path_is_that_of_shorter_fits(library: Library) -> None:
    points = library.asarray((cloud() + 1e3).astype(np.float32))
    path = CentroidPath()
    kmeans = KMeans(6, random_state=0, tol=0.0).set_callbacks(path).fit(points)
    assert len(path.centroids) == kmeans.n_iter_ + 1
    assert len(path.runs) == 1
    for number in (1, 2, kmeans.n_iter_):
        short = KMeans(6, random_state=0, tol=0.0, max_iter=number).fit(points)
        expected = library.to_host(short.cluster_centers_)
        np.testing.assert_array_equal(path.centroids[number], expected)
        assert type(path.centroids[number]) is np.ndarray


def test_the_path_begins_at_the_initial_centroids() -> None:
    path, kmeans = line_path()
    np.testing.assert_array_equal(path.centroids[0], LINE[:2])
    np.testing.assert_array_equal(path.centroids[1], [[0.0, 0.0], [6.0, 0.0]])
    np.testing.assert_array_equal(path.centroids[-1], kmeans.cluster_centers_)


def test_the_path_is_that_of_the_run_that_was_kept() -> None:
    path = CentroidPath()
    kmeans = KMeans(6, init="random", n_init=5, random_state=1).set_callbacks(path).fit(cloud())
    assert len(path.runs) == 5
    ends = [np.array_equal(run[-1], kmeans.cluster_centers_) for run in path.runs]
    assert ends.index(True) > 0  # otherwise the seed does not test it
    assert path.centroids is path.runs[ends.index(True)]
    assert len(path.centroids) == kmeans.n_iter_ + 1


def test_a_new_fit_begins_a_new_path() -> None:
    path = CentroidPath()
    assert path.centroids == []
    kmeans = KMeans(3, random_state=0).set_callbacks(path)
    kmeans.fit(cloud())
    kmeans.fit(blobs()[0])
    assert len(path.runs) == 1
    assert len(path.centroids) == kmeans.n_iter_ + 1


def test_the_path_of_mini_batches(library: Library) -> None:
    path = CentroidPath()
    estimator = MiniBatchKMeans(4, random_state=0, batch_size=64, max_iter=3).set_callbacks(path)
    estimator.fit(library.asarray(cloud(), "float32"))
    assert len(path.centroids) == estimator.n_steps_ + 1
    np.testing.assert_array_equal(path.centroids[-1], library.to_host(estimator.cluster_centers_))
    moved = np.abs(np.diff(path.centroids, axis=0)).sum(axis=(1, 2))
    assert (moved > 0).sum() > len(moved) / 2


def test_the_path_begins_as_scikit_learns_fit_does() -> None:
    points = cloud()
    init = points[:5]
    path = CentroidPath()
    KMeans(5, init=init, tol=0.0).set_callbacks(path).fit(points)
    one = sklearn.cluster.KMeans(5, init=init, n_init=1, max_iter=1).fit(points)
    np.testing.assert_allclose(path.centroids[1], one.cluster_centers_, rtol=1e-10)


def test_panels_show_assignment_and_move_of_their_iteration() -> None:
    path, kmeans = line_path()
    assert kmeans.n_iter_ == 3
    axes = panels_of(LINE, path, feature_names=["metres", "seconds"])
    assert [ax.get_title() for ax in axes] == ["Iteration 1", "Iteration 2", "Iteration 3 (last)"]
    for ax, (before, after) in zip(axes, itertools.pairwise(path.centroids), strict=True):
        first, second, crosses, discs = groups_of(ax)
        nearest = np.abs(LINE[:, :1] - before[:, 0]).argmin(axis=1)
        np.testing.assert_array_equal(first, LINE[nearest == 0])
        np.testing.assert_array_equal(second, LINE[nearest == 1])
        np.testing.assert_array_equal(crosses, before)
        np.testing.assert_array_equal(discs, after)
        moved = [i for i in range(2) if before[i, 0] != after[i, 0]]
        assert arrows_of(ax) == [(before[i].tolist(), after[i].tolist()) for i in moved]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("metres", "seconds")
    assert len(arrows_of(axes[0])) == 1
    assert len(arrows_of(axes[1])) == 2
    assert arrows_of(axes[2]) == []
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in axes}) == 1


def test_a_list_of_arrays_is_a_path(library: Library) -> None:
    steps = [LINE[:2], LINE[2:4], LINE[4:]]
    path = [library.asarray(step, "float32") for step in steps]
    axes = panels_of(library.asarray(LINE, "float32"), path)
    np.testing.assert_array_equal(groups_of(axes[1])[-1], steps[2])


@pytest.mark.parametrize(
    ("panels", "titles"),
    [
        (2, ["Iteration 1", "Iteration 3 (last)"]),
        ([2], ["Iteration 2"]),
        ([3, 1], ["Iteration 3 (last)", "Iteration 1"]),
        (1, ["Iteration 3 (last)"]),
        (99, ["Iteration 1", "Iteration 2", "Iteration 3 (last)"]),
    ],
)
def test_panels_are_chosen(panels: Any, titles: list[str]) -> None:
    axes = panels_of(LINE, line_path()[0], panels=panels)
    assert [ax.get_title() for ax in axes] == titles


@pytest.mark.parametrize(
    ("n_iterations", "n_chosen", "expected"),
    [
        (1, 6, [1]),
        (6, 6, [1, 2, 3, 4, 5, 6]),
        (7, 6, [1, 2, 3, 4, 5, 7]),
        (300, 6, [1, 3, 10, 31, 96, 300]),
        (10, 2, [1, 10]),
    ],
)
def test_iterations_are_spaced_by_a_factor(
    n_iterations: int, n_chosen: int, expected: list[int]
) -> None:
    assert evenly(n_iterations, n_chosen) == expected


@pytest.mark.parametrize("n_chosen", range(2, 40))
def test_chosen_iterations_ascend_from_first_to_last(n_chosen: int) -> None:
    for n_iterations in range(n_chosen, 400, 7):
        chosen = evenly(n_iterations, n_chosen)
        assert len(chosen) == n_chosen
        assert (chosen[0], chosen[-1]) == (1, n_iterations)
        assert sorted(set(chosen)) == chosen


def test_it_draws_on_the_axes_given() -> None:
    axes = Figure().subplots(1, 2)
    display = ConvergenceDisplay.from_path(LINE, line_path()[0], ax=axes)
    assert [ax.get_title() for ax in axes] == ["Iteration 1", "Iteration 3 (last)"]
    assert list(display.axes_) == list(axes)
    others = Figure().subplots(1, 2)
    assert list(display.plot(list(others)).axes_) == list(others)
    with pytest.raises(ValueError, match="one for each of 2 panels, got 1"):
        display.plot(others[0])


def test_one_panel_takes_one_axes() -> None:
    ax = Figure().add_subplot()
    assert list(panels_of(LINE, line_path()[0], ax=ax)) == [ax]
    assert ax.get_title() == "Iteration 3 (last)"


@pytest.mark.parametrize("n_features", [1, 5])
def test_other_numbers_of_features(n_features: int) -> None:
    points = cloud(n_features=n_features) if n_features > 1 else cloud()[:, :1]
    path = CentroidPath()
    KMeans(4, random_state=0).set_callbacks(path).fit(points)
    ax = panels_of(points, path, panels=[1])[0]
    *groups, _, discs = groups_of(ax)
    assert sum(map(len, groups)) == len(points)
    if n_features == 1:
        np.testing.assert_array_equal(discs, np.column_stack([path.centroids[1], np.zeros(4)]))
    else:
        assert ax.get_xlabel().startswith("PC 1")


def test_many_points_are_sampled() -> None:
    path, _ = line_path()
    points = np.tile(LINE, (50, 1))
    groups = groups_of(panels_of(points, path, panels=[1], sample_size=40)[0])
    assert sum(map(len, groups[:2])) == 40


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ([], {}, "at least one iteration, got 0: fit with `set_callbacks"),
        ([LINE[:2]], {}, "at least one iteration, got 1"),
        (CentroidPath(), {}, "at least one iteration, got 0"),
        ([LINE[:2], LINE[:3]], {}, r"one shape, got \[\(2, 2\), \(3, 2\)\]"),
        ([np.ones((2, 3))] * 2, {}, "same number of columns, got 2 and 3"),
        ([np.full((2, 2), np.nan)] * 2, {}, "must be finite"),
        ([LINE[:2]] * 3, {"panels": [3]}, r"iterations from 1 to 2, .* got \[3\]"),
        ([LINE[:2]] * 3, {"panels": []}, "iterations from 1 to 2"),
        ([LINE[:2]] * 3, {"panels": 0}, "panels must be an integer of at least 1, got 0"),
        ([LINE[:2]] * 3, {"ax": Figure().subplots(1, 3)}, "one for each of 2 panels, got 3"),
        ([LINE[:2]] * 3, {"feature_names": ["a"]}, "must have 2 names"),
    ],
)
def test_what_does_not_fit_is_refused(path: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        panels_of(LINE, path, **options)


def test_a_film_is_saved_as_gif(tmp_path: Path) -> None:
    path, kmeans = line_path()
    film = plotting.animation(LINE, path, interval=100)
    film.save(tmp_path / "path.gif", writer="pillow")
    with Image.open(tmp_path / "path.gif") as image:
        assert image.format == "GIF"
        # Frames that do not differ are one frame of the file, shown for longer.
        assert 5 < image.n_frames <= 1 + 5 * kmeans.n_iter_ + 6


def test_the_film_shows_each_assignment_and_the_way(tmp_path: Path) -> None:
    path, kmeans = line_path()
    ax = Figure().add_subplot()
    film = plotting.animation(LINE, path, ax=ax)
    film.save(tmp_path / "path.gif", writer="pillow")
    # What is left on the axes is the last frame.
    assert ax.get_title() == "Iteration 3 of 3"
    points, discs = groups_of(ax)
    np.testing.assert_array_equal(points, LINE)
    np.testing.assert_array_equal(discs, kmeans.cluster_centers_)
    colours = ax.collections[0].get_facecolor()
    assert len({tuple(c) for c in colours[:3]}) == 1
    assert tuple(colours[0]) != tuple(colours[-1])
    trails = [line.get_xydata() for line in ax.lines]
    for cluster, trail in enumerate(trails):
        np.testing.assert_array_equal(trail, [step[cluster] for step in path.centroids])
