"""Scores of clusterings, compared with scikit-learn's."""

import inspect
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial.distance import cdist, pdist
from sklearn.exceptions import DataConversionWarning

import kmeans_xp.metrics
from conftest import Library
from kmeans_xp import config_context
from kmeans_xp.kernels import DenseRows, silhouette_distances
from kmeans_xp.metrics import (
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_samples,
    silhouette_score,
    simplified_silhouette_score,
)
from tests.assertions import PRECISIONS, assert_at_home
from tests.datasets import blobs, cloud
from tests.strategies import KINDS, Problem, Tiles, problem_of, tiled

pytestmark = pytest.mark.sampled(1, cupy=2)

Host = NDArray[Any]

COMPILED = ("jax",)  # for each shape

OF_POINTS = [
    silhouette_score,
    silhouette_samples,
    simplified_silhouette_score,
    calinski_harabasz_score,
    davies_bouldin_score,
]
OF_LABELS = [
    "adjusted_mutual_info_score",
    "adjusted_rand_score",
    "completeness_score",
    "fowlkes_mallows_score",
    "homogeneity_score",
    "normalized_mutual_info_score",
    "rand_score",
    "v_measure_score",
]

of_points = pytest.mark.parametrize("metric", OF_POINTS, ids=lambda metric: metric.__name__)


@st.composite
def labelled_problems(draw: st.DrawFn, dtype: str, few_shapes: bool) -> tuple[Problem, Host]:
    """Draw points, and labels that are near to groups of them or not, with gaps or not."""
    shape = (st.integers(3, 120), st.integers(1, 8), st.integers(2, 9))
    shapes = st.sampled_from([(8, 1, 2), (53, 3, 5)]) if few_shapes else st.tuples(*shape)
    n_points, n_features, n_labels = draw(shapes, label="n_points, n_features, n_labels")
    problem = problem_of(
        (n_points, n_features, n_labels),
        dtype,
        kind=draw(st.sampled_from(KINDS), label="kind"),
        layout=draw(st.sampled_from(["C", "Fortran", "strided rows"]), label="layout"),
        tiles=draw(st.none() | st.just(Tiles(11, 4)), label="tiles"),
        seed=draw(st.integers(0, 2**32 - 1), label="seed"),
    )
    labels = problem.sq_distances.argmin(axis=1)
    share = draw(st.sampled_from([0.0, 0.3, 1.0]), label="share of labels by chance")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed of labels"))
    labels = np.where(rng.random(n_points) < share, rng.integers(n_labels, size=n_points), labels)
    step, first = draw(st.sampled_from([(1, 0), (4, 3), (-7, 2), (10**12, 0)]), label="names")
    assume(1 < len(np.unique(labels)) < n_points)
    return problem, labels * step + first


def silhouettes(points: Host, labels: Host) -> Host:
    """scikit-learn's, of distances that are taken by differences.

    Its own are taken from products: rows near each other and far from the origin lose digits.
    """
    samples: Host = sklearn.metrics.silhouette_samples(
        cdist(points, points), labels, metric="precomputed"
    )
    return samples


def means_are_apart(points: Host, labels: Host) -> bool:
    means = np.stack([points[labels == label].mean(axis=0) for label in np.unique(labels)])
    return bool(pdist(means).min() > 1e-6 * np.abs(points).max())


def davies_bouldin(points: Host, labels: Host) -> float:
    """scikit-learn's formula, of such distances."""
    groups = [points[labels == label] for label in np.unique(labels)]
    means = np.stack([group.mean(axis=0) for group in groups])
    spreads = np.array([cdist(g, m[None]).mean() for g, m in zip(groups, means, strict=True)])
    apart = cdist(means, means)
    if np.allclose(spreads, 0.0) or np.allclose(apart, 0.0):
        return 0.0
    apart[apart == 0.0] = np.inf
    return float(((spreads[:, None] + spreads) / apart).max(axis=1).mean())


def tolerance(library: Library) -> float:
    """How far a score may be off; devices without float64 add up in float32."""
    return 1e-6 if library.variant != "jax-x32" else 2e-3


@pytest.mark.parametrize("dtype", PRECISIONS)
@given(data=st.data())
def test_scores_are_scikit_learns(dtype: str, library: Library, data: st.DataObject) -> None:
    drawn = labelled_problems(dtype, library.name in COMPILED)
    problem, labels = data.draw(drawn)
    host = problem.points.astype(np.float64)
    reference, points = host - host.mean(axis=0), library.asarray(problem.points, dtype)
    with tiled(problem.tiles, problem.points.shape[1]):
        samples = silhouette_samples(points, labels)
        score = silhouette_score(points, labels)
        ratio, likeness = (
            calinski_harabasz_score(points, labels),
            davies_bouldin_score(points, labels),
        )
    assert_at_home(samples, library, dtype, labels.shape)
    tol = tolerance(library)
    expected = silhouettes(reference, labels)
    np.testing.assert_allclose(library.to_host(samples), expected, rtol=0, atol=tol)
    assert score == pytest.approx(expected.mean(), abs=tol)
    theirs = sklearn.metrics.calinski_harabasz_score(reference, labels)
    assert ratio == pytest.approx(theirs, rel=tol, abs=1e-9)
    if means_are_apart(reference, labels):  # else rounding decides by how little
        assert likeness == pytest.approx(davies_bouldin(reference, labels), rel=tol, abs=1e-9)
    assert {type(score), type(ratio), type(likeness)} == {float}


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_scores_of_usual_data_are_scikit_learns_own(dtype: str, library: Library) -> None:
    points, labels = blobs(200, 3, 4)
    labels = np.where(np.arange(200) % 10 == 0, (labels + 1) % 4, labels)
    for name in ("silhouette_score", "calinski_harabasz_score", "davies_bouldin_score"):
        expected = getattr(sklearn.metrics, name)(points, labels)
        found = getattr(kmeans_xp.metrics, name)(library.asarray(points, dtype), labels)
        assert found == pytest.approx(expected, rel=tolerance(library))


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_far_from_the_origin_no_digit_is_lost(dtype: str, library: Library) -> None:
    points, labels = blobs(200, 3, 4)
    points = (points + 1e6).astype(dtype)
    near = points.astype(np.float64) - points.astype(np.float64).mean(axis=0)
    for name in ("silhouette_score", "calinski_harabasz_score", "davies_bouldin_score"):
        expected = getattr(sklearn.metrics, name)(near, labels)
        found = getattr(kmeans_xp.metrics, name)(library.asarray(points), labels)
        assert found == pytest.approx(expected, rel=max(tolerance(library), 1e-6))


def test_clusters_near_each_other_and_far_from_a_third_keep_their_digits() -> None:
    # In an expanded form about the mean of all rows, distances of 1 would be off by 1e-3.
    points, labels = blobs(600, 2, 2)
    far = np.concatenate([points, points[:200] + 1e7])
    names = np.concatenate([labels, np.full(200, 5)])
    expected = sklearn.metrics.silhouette_samples(points, labels)
    for body in bodies():
        (found,) = samples_by(body, far, names)
        np.testing.assert_allclose(found[:600], expected, rtol=0, atol=1e-9)


def bodies() -> list[Callable[..., Any]]:
    return [silhouette_distances.portable, *silhouette_distances.overrides("numpy")]


def samples_by(body: Callable[..., Any], points: Host, labels: Host) -> list[Host]:
    """Return silhouettes as of one body of the kernel; none if it declines."""
    names, codes = np.unique(labels, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1)).tolist()
    codes = codes.astype(np.int32)
    result = body(DenseRows(points), codes, order, bounds, xp=np)
    if result is NotImplemented:
        return []
    within, nearest = result
    return [(nearest - within) / np.maximum(nearest, within)]


@pytest.mark.parametrize(
    ("n_points", "n_features", "n_clusters"), [(5000, 3, 7), (5120, 2, 512), (3000, 2, 1500)]
)
def test_every_body_gives_the_same_of_many_rows_and_clusters(
    n_points: int, n_features: int, n_clusters: int
) -> None:
    points = cloud(n_points, n_features)
    labels = np.arange(n_points) % n_clusters
    expected = sklearn.metrics.silhouette_samples(points, labels)
    n_taken = 0
    for body in bodies():
        for dtype in (np.float32, np.float64):
            found = []
            for n_threads in (1,) if body is silhouette_distances.portable else (1, 3):
                with config_context(n_threads=n_threads):
                    found += samples_by(body, points.astype(dtype), labels)
            for samples in found:
                np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-6)
                assert samples.tobytes() == found[0].tobytes()
            n_taken += len(found)
    assert n_taken >= 2


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_no_scale_of_float32_is_too_large_or_too_small(scale: float, library: Library) -> None:
    points, labels = blobs(60, 2, 3)
    expected = sklearn.metrics.silhouette_score(points, labels)
    found = silhouette_score(library.asarray(points * scale, "float32"), labels)
    if tolerance(library) == 1e-6:
        assert found == pytest.approx(expected, abs=1e-6)


@of_points
@pytest.mark.needs("float64")
@pytest.mark.filterwarnings("ignore:.*encountered in")
def test_rows_whose_squares_overflow_are_refused(
    metric: Callable[..., Any], library: Library
) -> None:
    points = np.arange(12.0).reshape(6, 2)
    for scale, is_refused in ((1e147, False), (1e155, True)):
        X = library.asarray(points * scale, "float64")
        if is_refused:
            with pytest.raises(ValueError, match=r"too large for float64\. Multiply X"):
                metric(X, [0, 0, 0, 1, 1, 1])
        else:
            found = metric(X, [0, 0, 0, 1, 1, 1])
            assert np.isfinite(found if isinstance(found, float) else library.to_host(found)).all()


def test_distances_are_held_in_tiles() -> None:
    n_points = 9000
    points, labels = cloud(n_points, 4), np.arange(n_points) % 6
    for body in bodies():
        samples_by(body, points[:100], labels[:100])  # compiles
        tracemalloc.start()
        samples_by(body, points, labels)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 80e6 < n_points**2 * 8 / 8


@pytest.mark.parametrize("sample_size", [50, 300, 10_000])
def test_a_sample_is_of_the_rows_that_scikit_learn_draws(
    sample_size: int, library: Library
) -> None:
    points, labels = cloud(300), np.arange(300) % 3
    expected = sklearn.metrics.silhouette_score(
        points, labels, sample_size=sample_size, random_state=3
    )
    for random_state in (3, np.random.RandomState(3)):
        found = silhouette_score(
            library.asarray(points), labels, sample_size=sample_size, random_state=random_state
        )
        assert found == pytest.approx(expected, abs=tolerance(library))
    generator = np.random.default_rng(0)
    sampled = silhouette_score(points, labels, sample_size=50, random_state=generator)
    assert -1.0 < sampled < 1.0


@of_points
def test_only_which_labels_are_equal_matters(metric: Callable[..., Any], library: Library) -> None:
    host, codes = blobs(60, 2, 3)
    points = library.asarray(host)

    def found(labels: Any) -> Any:
        result = metric(points, labels)
        return result if isinstance(result, float) else library.to_host(result).tolist()

    expected = found(codes)
    names = np.array(["north", "south", "west"])
    assert found(names[codes]) == expected
    assert found(names.astype(object)[codes]) == expected
    assert found(names[codes].tolist()) == expected
    assert found(np.array([3, 7, 100_000_000])[codes]) == expected
    assert found(np.array([-128, 0, 127], np.int8)[codes]) == expected
    assert found(np.array([0, 1, 2**64 - 1], np.uint64)[codes]) == expected
    assert found(np.array([0.5, 1.5, 7.0])[codes]) == expected
    assert found(library.asarray(codes, "int32")) == expected
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert found(codes[:, None]) == expected
    assert found(codes == 0) == found(np.where(codes == 0, 5, 3))


def test_a_row_alone_in_its_cluster_has_silhouette_zero(library: Library) -> None:
    points = library.asarray([[0.0], [1.0], [10.0], [11.0], [50.0]])
    labels = [0, 0, 1, 1, 2]
    samples = library.to_host(silhouette_samples(points, labels))
    assert samples[4] == 0.0
    assert (samples[:4] > 0.8).all()
    # Of distances to centroids too, where the row is its own centroid.
    simplified = [1 - 0.5 / 10, 1 - 0.5 / 9.5, 1 - 0.5 / 10, 1 - 0.5 / 9.5]
    simplified[1], simplified[2] = 1 - 0.5 / 9.5, 1 - 0.5 / 9.5
    simplified[0], simplified[3] = 1 - 0.5 / 10.5, 1 - 0.5 / 10.5
    found = simplified_silhouette_score(points, labels)
    assert found == pytest.approx(sum(simplified) / 5, abs=1e-6)


def test_equal_rows_in_two_clusters_have_silhouette_zero(library: Library) -> None:
    points = library.asarray(np.full((20, 3), 0.1))
    labels = np.arange(20) % 2
    assert (library.to_host(silhouette_samples(points, labels)) == 0.0).all()
    assert simplified_silhouette_score(points, labels) == 0.0
    assert davies_bouldin_score(points, labels) == 0.0
    assert calinski_harabasz_score(points, labels) == 1.0


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_simplified_silhouette_is_that_of_distances_to_centroids(
    dtype: str, library: Library
) -> None:
    points, labels = blobs(200, 3, 4)
    labels = np.where(np.arange(200) % 10 == 0, (labels + 1) % 4, labels)  # some are wrong
    means = np.stack([points[labels == label].mean(axis=0) for label in range(4)])

    def expected(centroids: Host) -> float:
        values = []
        for point, label in zip(points, labels, strict=True):
            distances = np.linalg.norm(point - centroids, axis=1)
            a, b = distances[label], np.delete(distances, label).min()
            values.append((b - a) / max(a, b))
        return float(np.mean(values))

    placed = library.asarray(points, dtype)
    with tiled(Tiles(30, 4), 3):
        assert simplified_silhouette_score(placed, labels) == pytest.approx(
            expected(means), abs=1e-6
        )
        other = means[[2, 0, 3, 1]] + 0.5
        found = simplified_silhouette_score(placed, labels, library.asarray(other, dtype))
        assert found == pytest.approx(expected(other), abs=1e-6)
        assert simplified_silhouette_score(placed, labels, other.tolist()) == found


def test_simplified_silhouette_refuses_labels_of_no_centroid(library: Library) -> None:
    points, labels = blobs(30, 2, 3)
    placed = library.asarray(points)
    for wrong in (labels + 1, labels - 1, labels.astype(float), labels.astype(str)):
        with pytest.raises(ValueError, match="labels must lie in 0 to 2, as indices of centroids"):
            simplified_silhouette_score(placed, wrong, points[:3])
    with pytest.raises(ValueError, match="centroids must be at least 2 rows, got 1"):
        simplified_silhouette_score(placed, labels, points[:1])
    with pytest.raises(ValueError, match="does not match the number of features"):
        simplified_silhouette_score(placed, labels, points[:3, :1])
    with pytest.raises(ValueError, match="NaN"):
        simplified_silhouette_score(placed, labels, points[:3] * np.nan)


@of_points
def test_errors_are_scikit_learns(metric: Callable[..., Any], library: Library) -> None:
    host, labels = blobs(12, 2, 3)
    points = library.asarray(host)
    words = r"Number of labels is {}. Valid values are 2 to n_samples - 1 \(inclusive\)"
    for wrong, n_labels in ((np.zeros(12), 1), (np.arange(12), 12)):
        with pytest.raises(ValueError, match=words.format(n_labels)):
            metric(points, wrong)
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[12, 11\]"):
        metric(points, labels[:11])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        metric(library.asarray(np.where(host > 30, np.nan, host)), labels)
    with pytest.raises(ValueError, match="Input labels contains NaN"):
        metric(points, np.where(labels == 0, np.nan, labels))
    with pytest.raises(ValueError, match="should be a 1d array"):
        metric(points, np.stack([labels, labels], axis=1))
    with pytest.raises(ValueError, match="Expected 2D array"):
        metric(library.asarray(host[:, 0]), labels)
    with pytest.raises(ValueError, match="device='abacus' is not known"):
        metric(points, labels, device="abacus")


def test_a_sample_must_have_labels_enough() -> None:
    points, labels = blobs(30, 2, 3)
    for sample_size in (0, -1, 2.5, "all"):
        with pytest.raises(ValueError, match="'sample_size' parameter of silhouette_score"):
            silhouette_score(points, labels, sample_size=sample_size)
    with pytest.raises(ValueError, match="Number of labels is 1"):
        silhouette_score(points, labels, sample_size=1, random_state=0)


@pytest.mark.parametrize("name", OF_LABELS)
def test_agreement_is_scikit_learns(name: str, library: Library) -> None:
    rng = np.random.default_rng(0)
    known, found = rng.integers(3, size=80), rng.integers(4, size=80)
    known[:40] = found[:40]
    metric, theirs = getattr(kmeans_xp.metrics, name), getattr(sklearn.metrics, name)
    expected = theirs(known, found)
    assert metric(library.asarray(known, "int32"), library.asarray(found, "int32")) == expected
    assert metric(known.tolist(), library.asarray(found, "int32")) == expected
    assert metric(known.astype(str), found) == expected
    assert isinstance(metric(known, found), float)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        metric(known, library.asarray(found[1:], "int32"))
    for keyword, value in (("average_method", "max"), ("beta", 0.3)):
        if keyword in inspect.signature(metric).parameters:
            given = metric(known, found, **{keyword: value})
            assert given == theirs(known, found, **{keyword: value}) != expected


def test_data_frames_and_lists_are_taken() -> None:
    pandas, polars = (pytest.importorskip(name) for name in ("pandas", "polars"))
    points, labels = blobs(30, 2, 3)
    expected = silhouette_score(points, labels)
    for frame in (pandas.DataFrame, polars.DataFrame):
        table = frame({"a": points[:, 0], "b": points[:, 1], "label": labels})
        assert silhouette_score(table[["a", "b"]], table["label"]) == expected
    assert silhouette_score(points.tolist(), labels.tolist()) == expected


def test_integers_and_half_precision_are_computed_in_more(library: Library) -> None:
    points, labels = blobs(30, 2, 3)
    whole = points.round()
    expected = sklearn.metrics.silhouette_samples(whole, labels)
    found = silhouette_samples(library.asarray(whole, "int32"), labels)
    np.testing.assert_allclose(library.to_host(found), expected, rtol=0, atol=tolerance(library))


def test_the_device_that_is_asked_for_is_where_it_is_computed(library: Library) -> None:
    points, labels = blobs(30, 2, 3)
    placed = library.asarray(points)
    samples = silhouette_samples(placed, labels, device="cpu")
    dtype = "float32" if library.variant == "jax-x32" else "float64"
    assert_at_home(samples, library, dtype, (30,))
    expected = library.to_host(silhouette_samples(placed, labels))
    np.testing.assert_allclose(library.to_host(samples), expected, rtol=0, atol=tolerance(library))


FLOAT64 = pytest.mark.needs("float64")


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=FLOAT64)])
@pytest.mark.parametrize("given", [False, True], ids=["means", "centroids"])
@pytest.mark.parametrize("n_copies", [7, 3001])
def test_clusters_on_one_point_are_not_told_apart_by_rounding(
    dtype: str, given: bool, n_copies: int, library: Library
) -> None:
    point, far = np.array([0.1, 1e3 / 3.0, -7.7]), np.array([5e5, 1.0, 2.0])
    host = np.concatenate([np.tile(point, (n_copies, 1)), np.tile(far, (2, 1))]).astype(dtype)
    labels = np.concatenate([np.arange(n_copies) % 2, [2, 2]])
    X = library.asarray(host, dtype)
    centroids = None
    if given:
        on_rows = np.stack([host[0], np.nextafter(host[0], np.inf, dtype=dtype), host[-1]])
        centroids = library.asarray(on_rows, dtype)
    score = kmeans_xp.metrics.simplified_silhouette_score(X, labels, centroids)
    # Those on one point have 0, and the two that are far away have 1.
    assert score == pytest.approx(2.0 / len(host), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_silhouettes_of_cosine_distances_are_scikit_learns(dtype: str, library: Library) -> None:
    rng = np.random.default_rng(0)
    host = (rng.normal(size=(80, 5)) + 0.5).astype(dtype) * rng.integers(1, 9, (80, 1))
    labels = rng.integers(0, 4, 80)
    labels[0] = 4  # alone in its cluster
    X = library.asarray(host)
    found = library.to_host(silhouette_samples(X, labels, metric="cosine"))
    expected = sklearn.metrics.silhouette_samples(host, labels, metric="cosine")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    score = silhouette_score(X, labels, metric="cosine", sample_size=40, random_state=0)
    theirs = sklearn.metrics.silhouette_score(
        host, labels, metric="cosine", sample_size=40, random_state=0
    )
    assert score == pytest.approx(theirs, abs=1e-5)
    np.testing.assert_allclose(
        silhouette_samples(sparse.csr_array(host), labels, metric="cosine"), expected, atol=1e-5
    )


def test_simplified_silhouettes_know_cosine_distances() -> None:
    rng = np.random.default_rng(0)
    host, labels = rng.normal(size=(60, 4)) + 0.5, rng.integers(0, 3, 60)
    units = host / np.linalg.norm(host, axis=1, keepdims=True)
    means = np.array([units[labels == each].sum(axis=0) for each in range(3)])
    distances = sklearn.metrics.pairwise.cosine_distances(host, means)
    own = distances[np.arange(60), labels]
    distances[np.arange(60), labels] = np.inf
    other = distances.min(axis=1)
    expected = ((other - own) / np.maximum(own, other)).mean()
    for centroids in (None, means):
        found = simplified_silhouette_score(host, labels, centroids, metric="cosine")
        assert found == pytest.approx(expected)
