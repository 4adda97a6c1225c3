"""Inertia over iterations, and over numbers of clusters."""

from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from sklearn.exceptions import NotFittedError

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans, inertia
from kmeans_xp.plotting import CentroidPath, ElbowDisplay, InertiaHistoryDisplay
from tests.datasets import cloud

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib.figure import Figure  # noqa: E402


def line_of(ax: Any) -> np.ndarray:
    return np.asarray(ax.lines[0].get_xydata())


@pytest.mark.since_sklearn("1.9")
def test_the_history_is_the_inertia_after_each_iteration(library: Library) -> None:
    points = cloud()
    path = CentroidPath()
    kmeans = KMeans(6, random_state=0, tol=0.0).set_callbacks(path)
    kmeans.fit(library.asarray(points))
    numbers, inertias = line_of(InertiaHistoryDisplay.from_estimator(kmeans).ax_).T
    np.testing.assert_array_equal(numbers, np.arange(kmeans.n_iter_ + 1))
    measured = [inertia(points, centroids) for centroids in path.centroids]
    np.testing.assert_allclose(inertias, measured, rtol=1e-5)
    assert inertias[-1] == kmeans.inertia_


def test_the_title_of_the_history_says_where_it_ends() -> None:
    kmeans = KMeans(6, random_state=0).fit(cloud())
    ax = InertiaHistoryDisplay.from_estimator(kmeans).ax_
    assert ax.get_title() == f"Inertia {kmeans.inertia_:,.6g} after {kmeans.n_iter_} iterations"
    assert all(tick == int(tick) for tick in ax.get_xticks())


def test_the_history_of_mini_batches() -> None:
    estimator = MiniBatchKMeans(6, random_state=0, batch_size=64).fit(cloud())
    ax = InertiaHistoryDisplay.from_estimator(estimator).ax_
    numbers, inertias = line_of(ax).T
    np.testing.assert_array_equal(numbers, np.arange(1, estimator.n_steps_ + 1))
    np.testing.assert_array_equal(inertias, estimator.history_["inertia"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("batch", "mean squared distance in the batch")


def test_what_has_no_history_is_refused() -> None:
    with pytest.raises(NotFittedError):
        InertiaHistoryDisplay.from_estimator(KMeans(3))
    with pytest.raises(TypeError, match="KMeans keeps no history_"):
        InertiaHistoryDisplay.from_estimator(sklearn.cluster.KMeans(3).fit(cloud()))
    with pytest.raises(TypeError, match=r"MiniBatchKMeans keeps no history_.*partial_fit"):
        InertiaHistoryDisplay.from_estimator(MiniBatchKMeans(3).partial_fit(cloud()))
    with pytest.raises(TypeError, match=r"estimator must be a fitted estimator, .* got ndarray"):
        InertiaHistoryDisplay.from_estimator(cloud())


def test_the_elbow_is_drawn_in_order_and_marked() -> None:
    ax = ElbowDisplay.from_inertias([4, 2, 3], [1.0, 9.0, 2.0], chosen=3).ax_
    np.testing.assert_array_equal(line_of(ax), [[2, 9.0], [3, 2.0], [4, 1.0]])
    assert ax.get_xticks().tolist() == [2, 3, 4]
    dashed, diamond = ax.lines[1:]
    assert dashed.get_xdata() == [3, 3]
    np.testing.assert_array_equal(diamond.get_xydata(), [[3, 2.0]])
    assert ax.get_legend().get_texts()[0].get_text() == "chosen: 3 clusters"
    assert ax.get_ylim()[0] == 0.0


def test_the_elbow_without_a_choice_has_no_mark() -> None:
    ax = ElbowDisplay.from_inertias(range(1, 60), np.arange(60.0, 1.0, -1.0)).ax_
    assert len(ax.lines) == 1
    assert ax.get_legend() is None
    assert len(ax.get_xticks()) < 20


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 2], [3.0]), {}, "at least one, got shapes"),
        (([], []), {}, "at least one, got shapes"),
        (([1, 2], [3.0, 1.0]), {"chosen": 3}, r"one of n_clusters \[1, 2\], got 3"),
    ],
)
def test_bad_elbows_are_refused(arguments: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElbowDisplay.from_inertias(*arguments, **options)


def test_they_draw_on_the_axes_given() -> None:
    first, second = Figure().subplots(2)
    kmeans = KMeans(3, random_state=0).fit(cloud())
    assert InertiaHistoryDisplay.from_estimator(kmeans, ax=first).ax_ is first
    assert ElbowDisplay.from_inertias([1, 2], [2.0, 1.0], ax=second).ax_ is second
    assert InertiaHistoryDisplay.from_estimator(kmeans).plot(ax=first).ax_ is first
    elbow = ElbowDisplay.from_inertias([1, 2], [2.0, 1.0])
    assert elbow.plot(ax=second).figure_ is second.figure
