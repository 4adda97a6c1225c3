"""KMeans has the same results on every library as scikit-learn on NumPy, and keeps its promises."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from array_api_compat import array_namespace, device
from scipy.spatial.distance import cdist

from conftest import Library
from kmeans_xp import KMeans
from kmeans_xp.devices import to_host
from tests import oracle
from tests.assertions import INERTIA_RTOL, PRECISIONS, assert_at_home, assert_same_partition
from tests.datasets import blobs, cloud, nearly_equal, positive_weights

pytestmark = pytest.mark.sampled(1, cupy=2)


def assert_same_fit(ours: Any, theirs: Any, library: Library, dtype: str) -> None:
    """Labels are equal; centroids, inertia and iterations as good as equal."""
    np.testing.assert_array_equal(library.to_host(ours.labels_), theirs.labels_)
    centroids = library.to_host(ours.cluster_centers_)
    rtol = INERTIA_RTOL[dtype]
    np.testing.assert_allclose(centroids, theirs.cluster_centers_, rtol=rtol, atol=rtol)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=rtol)
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_same_seed_gives_scikit_learns_clusters(
    init: str, n_init: int, dtype: str, library: Library
) -> None:
    host, _ = blobs()
    for seed in range(3):
        params: dict[str, Any] = {"init": init, "n_init": n_init, "random_state": seed}
        theirs = sklearn.cluster.KMeans(5, **params).fit(host)
        ours = KMeans(5, **params).fit(library.asarray(host, dtype))
        assert_same_fit(ours, theirs, library, dtype)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_separated_clusters_are_found(dtype: str, library: Library) -> None:
    host, truth = blobs()
    labels = KMeans(5, random_state=0).fit_predict(library.asarray(host, dtype))
    assert_same_partition(library.to_host(labels), truth)


@pytest.mark.needs("float64")
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_same_seed_follows_scikit_learn_where_clusters_are_vague(
    init: str, library: Library
) -> None:
    host = cloud()
    params: dict[str, Any] = {"init": init, "n_init": 3, "random_state": 5, "tol": 0.0}
    theirs = sklearn.cluster.KMeans(6, **params).fit(host)
    ours = KMeans(6, **params).fit(library.asarray(host))
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-10)
    assert_same_partition(library.to_host(ours.labels_), theirs.labels_)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_results_are_of_the_datas_library_on_its_device(dtype: str, library: Library) -> None:
    host, _ = blobs()
    points = library.asarray(host, dtype)
    kmeans = KMeans(5, random_state=0).fit(points)
    assert_at_home(kmeans.cluster_centers_, library, dtype, (5, 3))
    assert_at_home(kmeans.labels_, library, "int32", (300,))
    assert_at_home(kmeans.predict(points[:7, :]), library, "int32", (7,))
    assert_at_home(kmeans.transform(points), library, dtype, (300, 5))
    assert_at_home(kmeans.fit_predict(points), library, "int32", (300,))
    assert_at_home(kmeans.fit_transform(points), library, dtype, (300, 5))
    assert type(kmeans.inertia_) is float
    assert type(kmeans.score(points)) is float
    assert kmeans.n_features_in_ == 3
    assert library.name in kmeans.device_reason_


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_methods_agree_with_one_another(dtype: str, library: Library) -> None:
    host, _ = blobs(seed=1)
    points, weights = library.asarray(host, dtype), positive_weights()
    kmeans = KMeans(5, random_state=0).fit(points, sample_weight=weights)
    centroids = library.to_host(kmeans.cluster_centers_).astype(np.float64)
    distances = np.sqrt(oracle.sq_distances(host, centroids))
    rtol = 1e-5 if dtype == "float32" else 1e-12

    transformed = library.to_host(kmeans.transform(points))
    np.testing.assert_allclose(transformed, distances, rtol=rtol)
    again = KMeans(5, random_state=0).fit_transform(points, sample_weight=weights)
    np.testing.assert_array_equal(library.to_host(again), transformed)
    labels = KMeans(5, random_state=0).fit_predict(points, sample_weight=weights)
    np.testing.assert_array_equal(library.to_host(labels), library.to_host(kmeans.labels_))
    assert kmeans.score(points, sample_weight=weights) == pytest.approx(-kmeans.inertia_, rel=rtol)
    unweighted = oracle.inertia(host, np.ones(300), centroids, library.to_host(kmeans.labels_))
    assert kmeans.score(points) == pytest.approx(-unweighted, rel=rtol)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_transform_is_zero_on_a_centroid(dtype: str, library: Library) -> None:
    host = np.array([[3.0, 1e4], [3.0, 1e4], [-5.0, 1e4 + 1]])
    points = library.asarray(host, dtype)
    kmeans = KMeans(2, random_state=0).fit(points)
    distances = library.to_host(kmeans.transform(kmeans.cluster_centers_))
    np.testing.assert_array_equal(np.diag(distances), [0.0, 0.0])
    np.testing.assert_allclose(distances[0, 1], np.sqrt(65.0), rtol=1e-5)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_inertia_is_that_of_the_labels_and_centroids(dtype: str, library: Library) -> None:
    host, weights = cloud(), positive_weights(400)
    kmeans = KMeans(7, random_state=0, max_iter=3).fit(library.asarray(host, dtype), None, weights)
    labels = library.to_host(kmeans.labels_)
    centroids = library.to_host(kmeans.cluster_centers_).astype(np.float64)
    expected = oracle.inertia(host, weights, centroids, labels)
    assert kmeans.inertia_ == pytest.approx(expected, rel=INERTIA_RTOL[dtype])


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_labels_belong_to_the_centroids_although_the_fit_was_cut_short(
    dtype: str, library: Library
) -> None:
    host = cloud()
    with_few = KMeans(7, random_state=0, max_iter=2).fit(library.asarray(host, dtype))
    centroids = library.to_host(with_few.cluster_centers_).astype(np.float64)
    expected = oracle.nearest_labels(host, centroids)
    np.testing.assert_array_equal(library.to_host(with_few.labels_), expected)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_lloyd_equals_the_loop_oracle(dtype: str, library: Library) -> None:
    host, weights = cloud(120), positive_weights(120)
    expected = oracle.lloyd(host, weights, host[:4], max_iter=300)
    kmeans = KMeans(4, init=library.asarray(host[:4], dtype), tol=0.0)
    kmeans.fit(library.asarray(host, dtype), sample_weight=weights)
    np.testing.assert_array_equal(library.to_host(kmeans.labels_), expected.labels)
    assert kmeans.inertia_ == pytest.approx(expected.inertia, rel=INERTIA_RTOL[dtype])
    assert kmeans.n_iter_ == expected.n_iter


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("kind", ["of the library", "of the host", "a list", "callable"])
def test_init_may_be_given(kind: str, dtype: str, library: Library) -> None:
    host, _ = blobs()
    points = library.asarray(host, dtype)
    init: Any = {
        "of the library": library.asarray(host[:5], dtype),
        "of the host": host[:5],
        "a list": host[:5].tolist(),
        "callable": lambda X, n_clusters, random_state: X[:n_clusters, :],
    }[kind]
    theirs = sklearn.cluster.KMeans(5, init=host[:5], max_iter=4, tol=0).fit(host)
    ours = KMeans(5, init=init, n_init=1, max_iter=4, tol=0).fit(points)
    assert_same_fit(ours, theirs, library, dtype)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_callable_init_is_given_the_data_as_they_are(dtype: str, library: Library) -> None:
    host = blobs()[0] + 100.0
    seen = []

    def first_rows(X: Any, n_clusters: int, random_state: Any) -> Any:
        assert_at_home(X, library, dtype, (300, 3))
        seen.append((X, n_clusters, random_state))
        return to_host(X)[:n_clusters]

    KMeans(5, init=first_rows, n_init=2, random_state=0).fit(library.asarray(host, dtype))
    assert len(seen) == 2
    X, n_clusters, random_state = seen[0]
    np.testing.assert_allclose(library.to_host(X), host, rtol=1e-6)
    assert n_clusters == 5
    assert isinstance(random_state, np.random.RandomState)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_given_init_is_not_changed(dtype: str, library: Library) -> None:
    host, _ = blobs()
    points, init = library.asarray(host, dtype), library.asarray(host[:5], dtype)
    KMeans(5, init=init).fit(points)
    np.testing.assert_array_equal(library.to_host(init), host[:5])
    np.testing.assert_array_equal(library.to_host(points), host)


def test_n_init_with_given_centroids_warns_and_runs_once() -> None:
    host, _ = blobs()
    with pytest.warns(RuntimeWarning, match="performing only one init in KMeans instead of n_init"):
        many = KMeans(5, init=host[:5], n_init=4).fit(host)
    once = KMeans(5, init=host[:5], n_init=1).fit(host)
    np.testing.assert_array_equal(many.labels_, once.labels_)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_best_of_n_init_runs_is_kept(dtype: str, library: Library) -> None:
    host = cloud(200)
    points, starts = library.asarray(host, dtype), [host[i : i + 9] for i in range(0, 45, 9)]
    inertias = [KMeans(9, init=start).fit(points).inertia_ for start in starts]
    assert max(inertias) > min(inertias) * 1.001
    rest = iter(starts)
    best = KMeans(9, init=lambda X, k, random_state: next(rest), n_init=5).fit(points)
    assert best.inertia_ == min(inertias)
    assert best.n_iter_ == len(best.history_["inertia"])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("kind", ["of the library", "of the host", "a list"])
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_weights_count_as_in_scikit_learn(
    init: str, kind: str, dtype: str, library: Library
) -> None:
    host, _ = blobs(seed=2)
    weights = positive_weights()
    weights[::7] = 0.0
    given: Any = {
        "of the library": library.asarray(weights, dtype),
        "of the host": weights,
        "a list": weights.tolist(),
    }[kind]
    params: dict[str, Any] = {"init": init, "n_init": 2, "random_state": 1}
    theirs = sklearn.cluster.KMeans(5, **params).fit(host, sample_weight=weights)
    ours = KMeans(5, **params).fit(library.asarray(host, dtype), sample_weight=given)
    assert_same_fit(ours, theirs, library, dtype)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_weight_counts_as_so_many_rows(dtype: str, library: Library) -> None:
    host, counts = cloud(100), np.arange(100) % 4
    init = host[[1, 2, 3]]
    weighted = KMeans(3, init=init, tol=0).fit(library.asarray(host, dtype), None, counts)
    repeated = KMeans(3, init=init, tol=0).fit(library.asarray(host.repeat(counts, 0), dtype))
    np.testing.assert_allclose(
        library.to_host(weighted.cluster_centers_),
        library.to_host(repeated.cluster_centers_),
        rtol=1e-4 if dtype == "float32" else 1e-9,
        atol=1e-6,
    )
    assert weighted.inertia_ == pytest.approx(repeated.inertia_, rel=INERTIA_RTOL[dtype])


def test_one_weight_for_all_rows_scales_the_inertia_alone(library: Library) -> None:
    host, _ = blobs()
    points = library.asarray(host, "float32")
    plain = KMeans(5, random_state=0).fit(points)
    scaled = KMeans(5, random_state=0).fit(points, sample_weight=2.0)
    np.testing.assert_array_equal(library.to_host(scaled.labels_), library.to_host(plain.labels_))
    assert scaled.inertia_ == pytest.approx(2.0 * plain.inertia_, rel=1e-6)


@pytest.mark.sampled(2)
@pytest.mark.needs("float64")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("fitted", ["float32", "float64"])
@pytest.mark.parametrize("given", ["float32", "float64"])
def test_distances_are_of_the_wider_dtype_as_scikit_learns_are(
    given: str, fitted: str, metric: str, library: Library
) -> None:
    host = cloud() + 3.0
    ours = KMeans(5, random_state=0, metric=metric).fit(library.asarray(host, fitted))
    theirs = sklearn.cluster.KMeans(5, random_state=0).fit(host.astype(fitted))
    distances = ours.transform(library.asarray(host, given))
    wanted = theirs.transform(host.astype(given)).dtype.name
    assert_at_home(distances, library, wanted, (len(host), 5))
    # Not computed in float32 and converted.
    rows, centers = host.astype(given), library.to_host(ours.cluster_centers_)
    expected = cdist(rows.astype(float), centers.astype(float), metric)
    tolerance = 1e-12 if wanted == "float64" else 1e-5
    np.testing.assert_allclose(library.to_host(distances), expected, atol=tolerance)


@pytest.mark.needs("float16")
def test_float16_is_computed_in_float32(library: Library) -> None:
    host = blobs()[0].astype(np.float16)
    half = KMeans(5, random_state=0).fit(library.asarray(host))
    single = KMeans(5, random_state=0).fit(library.asarray(host, "float32"))
    assert_at_home(half.cluster_centers_, library, "float32", (5, 3))
    np.testing.assert_array_equal(library.to_host(half.labels_), library.to_host(single.labels_))
    assert half.inertia_ == single.inertia_
    assert_at_home(half.transform(library.asarray(host)), library, "float32", (300, 5))


@pytest.mark.parametrize("integer", ["int32", "int64", "uint8"])
def test_integers_are_computed_in_float64(integer: str, library: Library) -> None:
    host = np.abs(blobs()[0]).astype(integer)
    ours = KMeans(5, random_state=0).fit(library.asarray(host))
    dtype = "float32" if library.variant == "jax-x32" else "float64"
    assert_at_home(ours.cluster_centers_, library, dtype, (5, 3))
    theirs = sklearn.cluster.KMeans(5, random_state=0).fit(host)
    assert_same_fit(ours, theirs, library, dtype)
    np.testing.assert_array_equal(
        library.to_host(ours.predict(library.asarray(host))), theirs.labels_
    )


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_predict_equals_labels_wherever_the_data_lie(
    offset: float, dtype: str, library: Library
) -> None:
    for seed in range(5):
        points = library.asarray(cloud(500, seed=seed) + offset, dtype)
        kmeans = KMeans(6, random_state=seed).fit(points)
        labels = library.to_host(kmeans.labels_)
        np.testing.assert_array_equal(library.to_host(kmeans.predict(points)), labels)
        assert kmeans.score(points) == -kmeans.inertia_
        # A part of the rows is tiled in another way, and rows alone are products of another
        # shape: the labels may not hang on either.
        some = library.to_host(kmeans.predict(points[100:117, :]))
        np.testing.assert_array_equal(some, labels[100:117])
        assert int(library.to_host(kmeans.predict(points[3:4, :]))[0]) == labels[3]


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_float32_far_from_zero_is_as_good_as_float64(offset: float, library: Library) -> None:
    host = (blobs(20_000, 8, 4)[0] + offset).astype(np.float32)
    points = library.asarray(host)
    kmeans = KMeans(4, random_state=0).fit(points)
    np.testing.assert_array_equal(
        library.to_host(kmeans.predict(points)), library.to_host(kmeans.labels_)
    )
    in_double = KMeans(4, random_state=0).fit(host.astype(np.float64))
    np.testing.assert_array_equal(library.to_host(kmeans.labels_), in_double.labels_)
    assert kmeans.inertia_ == pytest.approx(in_double.inertia_, rel=1e-6)
    assert kmeans.score(points) == pytest.approx(-in_double.inertia_, rel=1e-6)


def test_float32_far_from_zero_is_as_good_where_clusters_are_vague(library: Library) -> None:
    host = (cloud(20_000, 8) * 2 + 1e4).astype(np.float32)
    points = library.asarray(host)
    kmeans = KMeans(4, random_state=0, max_iter=20).fit(points)
    np.testing.assert_array_equal(
        library.to_host(kmeans.predict(points)), library.to_host(kmeans.labels_)
    )
    in_double = KMeans(4, random_state=0, max_iter=20).fit(host.astype(np.float64))
    assert kmeans.inertia_ == pytest.approx(in_double.inertia_, rel=1e-6)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_predict_takes_the_other_precision(dtype: str, library: Library) -> None:
    host, _ = blobs()
    other = "float64" if dtype == "float32" else "float32"
    kmeans = KMeans(5, random_state=0).fit(library.asarray(host, dtype))
    labels = kmeans.predict(library.asarray(host, other))
    np.testing.assert_array_equal(library.to_host(labels), library.to_host(kmeans.labels_))


def test_predict_takes_arrays_of_another_library(library: Library) -> None:
    host, _ = blobs()
    points = library.asarray(host, "float32")
    there = KMeans(5, random_state=0).fit(points)
    here = KMeans(5, random_state=0).fit(host.astype(np.float32))
    assert_at_home(here.predict(points), library, "int32", (300,))
    np.testing.assert_array_equal(library.to_host(here.predict(points)), here.labels_)
    labels = there.predict(host.astype(np.float32))
    assert type(labels) is np.ndarray
    np.testing.assert_array_equal(labels, here.labels_)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_replaced_centroids_are_used(dtype: str, library: Library) -> None:
    host = blobs()[0] + 100.0
    points = library.asarray(host, dtype)
    kmeans = KMeans(5, random_state=0).fit(points)
    others = host[:5] + 0.25
    kmeans.cluster_centers_ = library.asarray(others, dtype)
    expected = oracle.nearest_labels(host, others)
    assert (expected != library.to_host(kmeans.labels_)).any()
    np.testing.assert_array_equal(library.to_host(kmeans.predict(points)), expected)
    inertia = oracle.inertia(host, np.ones(300), others, expected)
    assert kmeans.score(points) == pytest.approx(-inertia, rel=1e-5)
    np.testing.assert_allclose(
        library.to_host(kmeans.transform(points)),
        np.sqrt(oracle.sq_distances(host, others)),
        rtol=1e-4,
    )


def test_replaced_centroids_may_be_more_than_were_fitted(library: Library) -> None:
    host, _ = blobs()
    kmeans = KMeans(5, random_state=0).fit(library.asarray(host, "float32"))
    kmeans.cluster_centers_ = library.asarray(host[:8], "float32")
    labels = kmeans.predict(library.asarray(host, "float32"))
    np.testing.assert_array_equal(library.to_host(labels), oracle.nearest_labels(host, host[:8]))


@pytest.mark.needs("writable")
def test_centroids_edited_in_place_are_used(library: Library) -> None:
    host, _ = blobs()
    points = library.asarray(host, "float32")
    kmeans = KMeans(5, random_state=0).fit(points)
    expected = library.to_host(kmeans.cluster_centers_).astype(np.float64)
    kmeans.cluster_centers_[2, :] = 1000.0
    kmeans.cluster_centers_[0, 1] += 30.0
    expected[2], expected[0, 1] = 1000.0, expected[0, 1] + 30.0
    labels = library.to_host(kmeans.predict(points))
    np.testing.assert_array_equal(labels, oracle.nearest_labels(host, expected))
    assert 2 not in labels


def test_centroids_alone_are_enough_to_predict(library: Library) -> None:
    host, _ = blobs()
    points = library.asarray(host, "float32")
    kmeans = KMeans(5)
    kmeans.cluster_centers_ = library.asarray(host[:5], "float32")
    expected = oracle.nearest_labels(host, host[:5])
    np.testing.assert_array_equal(library.to_host(kmeans.predict(points)), expected)
    inertia = oracle.inertia(host, np.ones(300), host[:5], expected)
    assert kmeans.score(points) == pytest.approx(-inertia, rel=1e-5)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_history_tells_of_each_iteration(weighted: bool, dtype: str, library: Library) -> None:
    host = cloud() + 50.0
    weights = positive_weights(400) if weighted else None
    kmeans = KMeans(8, random_state=0, tol=0.0).fit(library.asarray(host, dtype), None, weights)
    inertia, shift = kmeans.history_["inertia"], kmeans.history_["shift"]
    assert kmeans.n_iter_ > 5
    assert len(inertia) == len(shift) == kmeans.n_iter_
    assert isinstance(inertia, np.ndarray)
    assert inertia.dtype == shift.dtype == np.float64
    rtol = INERTIA_RTOL[dtype]
    assert (np.diff(inertia) <= rtol * inertia[0]).all()
    assert inertia[0] > inertia[-1] * 1.01
    assert inertia[-1] == pytest.approx(kmeans.inertia_, rel=rtol)
    assert (shift[:-1] > 0.0).all()
    assert shift[-1] == 0.0


@pytest.mark.needs("float64")
def test_history_holds_the_oracles_numbers(library: Library) -> None:
    host = cloud(150)
    init = host[:5]
    kmeans = KMeans(5, init=init, tol=0.0, max_iter=4).fit(library.asarray(host))
    centroids = init
    for inertia, shift in zip(*kmeans.history_.values(), strict=True):
        labels = oracle.nearest_labels(host, centroids)
        assert inertia == pytest.approx(
            oracle.inertia(host, np.ones(150), centroids, labels), rel=1e-10
        )
        sums, mass = oracle.cluster_sums(host, np.ones(150), labels, 5)
        moved = sum(map(oracle.sq_distance, centroids, sums / mass[:, None]))
        assert shift == pytest.approx(moved, rel=1e-8)
        centroids = sums / mass[:, None]
    np.testing.assert_allclose(library.to_host(kmeans.cluster_centers_), centroids)


@pytest.mark.needs("float64")
@pytest.mark.parametrize("tol", [1e-1, 1e-2])
def test_tol_stops_where_scikit_learn_stops(tol: float, library: Library) -> None:
    host = cloud()
    theirs = sklearn.cluster.KMeans(8, init=host[:8], tol=tol).fit(host)
    ours = KMeans(8, init=host[:8], tol=tol).fit(library.asarray(host))
    strict = KMeans(8, init=host[:8], tol=0.0).fit(library.asarray(host))
    assert ours.n_iter_ == theirs.n_iter_ < strict.n_iter_
    bound = tol * host.var(axis=0).mean()
    assert ours.history_["shift"][-1] <= bound < ours.history_["shift"][-2]


@pytest.mark.needs("float64")
def test_tol_is_of_the_variance_without_weights_as_in_scikit_learn(library: Library) -> None:
    # Rows that hardly count make up nearly all of the variance.
    host = cloud()
    host[::4] *= 30.0
    weights = np.where(np.arange(400) % 4 == 0, 1e-6, 1.0)
    init = host[1:25:4]
    theirs = sklearn.cluster.KMeans(6, init=init, tol=1e-3).fit(host, sample_weight=weights)
    ours = KMeans(6, init=init, tol=1e-3).fit(library.asarray(host), sample_weight=weights)
    assert ours.n_iter_ == theirs.n_iter_
    bound = 1e-3 * host.var(axis=0).mean()
    assert ours.history_["shift"][-1] <= bound < ours.history_["shift"][-2]
    weighted = np.average((host - np.average(host, axis=0, weights=weights)) ** 2, 0, weights)
    assert ours.history_["shift"][-1] > 1e-3 * weighted.mean()


def test_max_iter_is_the_most_that_is_run(library: Library) -> None:
    points = library.asarray(cloud(), "float32")
    for max_iter in (1, 4):
        kmeans = KMeans(8, random_state=0, tol=0.0, max_iter=max_iter).fit(points)
        assert kmeans.n_iter_ == max_iter
        assert kmeans.history_["shift"][-1] > 0.0


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_rows_that_differ_by_rounding_alone_end_a_fit(dtype: str, library: Library) -> None:
    for seed in (0, 1, 4, 5):
        points = library.asarray(nearly_equal(dtype, seed=seed), dtype)
        kmeans = KMeans(11, init="random", n_init=1, random_state=seed, tol=0.0).fit(points)
        assert kmeans.n_iter_ < 300
        assert bool(library.xp.all(kmeans.predict(points) == kmeans.labels_))


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_as_many_clusters_as_rows_leave_no_inertia(dtype: str, library: Library) -> None:
    host = cloud(25)
    for init in ("k-means++", "random"):
        kmeans = KMeans(25, init=init, random_state=0).fit(library.asarray(host, dtype))
        assert kmeans.inertia_ == 0.0
        assert sorted(library.to_host(kmeans.labels_)) == list(range(25))
        placed = library.to_host(kmeans.cluster_centers_)[library.to_host(kmeans.labels_)]
        np.testing.assert_allclose(placed, host, atol=1e-6)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_one_cluster_is_the_mean(dtype: str, library: Library) -> None:
    host, weights = cloud(200), positive_weights(200)
    kmeans = KMeans(1, random_state=0).fit(library.asarray(host, dtype), sample_weight=weights)
    mean = np.average(host, axis=0, weights=weights)
    rtol = INERTIA_RTOL[dtype]
    np.testing.assert_allclose(library.to_host(kmeans.cluster_centers_)[0], mean, atol=rtol)
    assert not library.to_host(kmeans.labels_).any()
    expected = (weights[:, None] * (host - mean) ** 2).sum()
    assert kmeans.inertia_ == pytest.approx(expected, rel=rtol)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_one_feature_is_enough(dtype: str, library: Library) -> None:
    host, truth = blobs(200, 1, 6)
    kmeans = KMeans(6, random_state=0, n_init=5).fit(library.asarray(host, dtype))
    assert_same_partition(library.to_host(kmeans.labels_), truth)
    assert_at_home(kmeans.cluster_centers_, library, dtype, (6, 1))


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_one_row_is_its_own_cluster(dtype: str, library: Library) -> None:
    points = library.asarray([[1.5, -2.0, 1e4]], dtype)
    kmeans = KMeans(1).fit(points)
    np.testing.assert_array_equal(library.to_host(kmeans.cluster_centers_), [[1.5, -2.0, 1e4]])
    assert kmeans.inertia_ == 0.0
    assert library.to_host(kmeans.predict(points)).tolist() == [0]
    assert library.to_host(kmeans.transform(points)).tolist() == [[0.0]]


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_feature_that_never_varies_changes_nothing(dtype: str, library: Library) -> None:
    host, _ = blobs()
    constant = np.hstack([host, np.full((300, 1), 12345.678)])
    with_it = KMeans(5, random_state=0).fit(library.asarray(constant, dtype))
    without = KMeans(5, random_state=0).fit(library.asarray(host, dtype))
    np.testing.assert_array_equal(
        library.to_host(with_it.labels_), library.to_host(without.labels_)
    )
    assert with_it.inertia_ == pytest.approx(without.inertia_, rel=INERTIA_RTOL[dtype])


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_layout_of_the_rows_does_not_count(dtype: str, library: Library) -> None:
    host, _ = blobs()
    plain = KMeans(5, random_state=0).fit(library.asarray(host, dtype))
    every_other = np.zeros((600, 5))
    every_other[::2, 1:4] = host
    view = library.asarray(every_other, dtype)[::2, 1:4]
    columns = library.xp.matrix_transpose(library.asarray(host.T, dtype))
    for points in (view, columns):
        other = KMeans(5, random_state=0).fit(points)
        np.testing.assert_array_equal(
            library.to_host(other.labels_), library.to_host(plain.labels_)
        )
        assert other.inertia_ == pytest.approx(plain.inertia_, rel=1e-6)


def test_elkan_is_lloyd_by_another_name(library: Library) -> None:
    points = library.asarray(cloud(), "float32")
    elkan = KMeans(5, random_state=0, algorithm="elkan").fit(points)
    lloyd = KMeans(5, random_state=0, algorithm="lloyd").fit(points)
    np.testing.assert_array_equal(library.to_host(elkan.labels_), library.to_host(lloyd.labels_))
    assert elkan.inertia_ == lloyd.inertia_
    with pytest.warns(RuntimeWarning, match="doesn't make sense for a single cluster"):
        KMeans(1, algorithm="elkan").fit(points)


def test_fitting_again_forgets_the_first_fit(library: Library) -> None:
    first, second = blobs()[0], blobs(200, 2, 4, seed=3)[0]
    twice = KMeans(4, random_state=0).fit(library.asarray(first, "float32"))
    twice.fit(library.asarray(second, "float32"))
    once = KMeans(4, random_state=0).fit(library.asarray(second, "float32"))
    assert vars(twice).keys() == vars(once).keys()
    np.testing.assert_array_equal(library.to_host(twice.labels_), library.to_host(once.labels_))
    assert twice.n_features_in_ == 2


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_to_sklearn_predicts_the_same(dtype: str, library: Library) -> None:
    host, _ = blobs()
    ours = KMeans(5, random_state=0).fit(library.asarray(host, dtype))
    theirs = ours.to_sklearn()
    assert type(theirs) is sklearn.cluster.KMeans
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = theirs.predict(host.astype(dtype))
    np.testing.assert_array_equal(labels, library.to_host(ours.labels_))
    np.testing.assert_array_equal(theirs.labels_, labels)
    assert theirs.inertia_ == ours.inertia_
    assert theirs.n_clusters == 5
    assert theirs.n_iter_ == ours.n_iter_
    np.testing.assert_allclose(
        theirs.transform(host.astype(dtype)),
        library.to_host(ours.transform(library.asarray(host, dtype))),
        rtol=1e-4,
    )


def test_to_device_cpu_computes_on_the_cpu(library: Library) -> None:
    host = blobs()[0].astype(np.float32)
    there = KMeans(5, random_state=0).fit(library.asarray(host))
    before = dict(vars(there))
    here = there.to_device("cpu")
    assert here.device == "cpu"
    assert vars(there).keys() == before.keys()
    assert all(vars(there)[name] is value for name, value in before.items())
    points = library.asarray(host)
    for name in ("cluster_centers_", "labels_"):
        np.testing.assert_array_equal(
            to_host(getattr(here, name)), library.to_host(getattr(there, name))
        )
    np.testing.assert_array_equal(
        library.to_host(here.predict(points)), library.to_host(there.labels_)
    )
    if library.name == "cupy":
        assert type(here.cluster_centers_) is np.ndarray
    assert "cpu" in str(device(here.cluster_centers_)).lower() or library.name == "dpnp"


def test_device_cpu_gives_results_where_the_data_are(library: Library) -> None:
    host = blobs()[0].astype(np.float32)
    points = library.asarray(host)
    kmeans = KMeans(5, random_state=0, device="cpu").fit(points)
    assert_at_home(kmeans.labels_, library, "int32", (300,))
    assert_at_home(kmeans.cluster_centers_, library, "float32", (5, 3))
    assert_at_home(kmeans.transform(points), library, "float32", (300, 5))
    expected = KMeans(5, random_state=0).fit(host)
    np.testing.assert_array_equal(library.to_host(kmeans.labels_), expected.labels_)
    assert "cpu" in kmeans.device_reason_


def test_verbose_prints_the_iterations(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    kmeans = KMeans(5, random_state=0, tol=0.0, verbose=1).fit(library.asarray(cloud(), "float32"))
    printed = capsys.readouterr().out
    assert printed.startswith("Initialization complete\nIteration 0, inertia ")
    assert printed.count("Iteration") == kmeans.n_iter_
    assert "strict convergence" in printed
    first = float(printed.split("inertia ")[1].split(".\n")[0])
    assert first == pytest.approx(kmeans.history_["inertia"][0])


def test_nothing_is_printed_unless_asked(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    KMeans(5, random_state=0).fit(library.asarray(blobs()[0], "float32"))
    assert capsys.readouterr() == ("", "")


def test_a_copy_of_the_estimator_predicts_the_same(library: Library) -> None:
    points = library.asarray(blobs()[0] + 1e4, "float32")
    kmeans = KMeans(5, random_state=0).fit(points)
    copied = copy.copy(kmeans)
    np.testing.assert_array_equal(
        library.to_host(copied.predict(points)), library.to_host(kmeans.labels_)
    )
    assert array_namespace(copied.cluster_centers_) is library.xp


@pytest.mark.parametrize(
    ("params", "host"),
    [
        pytest.param({"n_clusters": 4}, np.ones((9, 2)), id="duplicates"),
        pytest.param({"n_clusters": 2, "init": np.eye(2), "n_init": 3}, np.eye(2), id="n_init"),
        pytest.param({"n_clusters": 1, "algorithm": "elkan"}, np.eye(2), id="elkan"),
    ],
)
def test_warnings_point_to_the_callers_line(params: dict[str, Any], host: np.ndarray) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        KMeans(**params).fit(host)
    assert [warning.filename for warning in caught] == [__file__]
