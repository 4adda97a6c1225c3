"""The functions: two of scikit-learn's, and lloyd, assign and inertia on plain arrays."""

from typing import Any

import numpy as np
import pytest
import sklearn.cluster

import kmeans_xp
from conftest import Library
from kmeans_xp import (
    KMeans,
    assign,
    inertia,
    k_means,
    kmeans_parallel,
    kmeans_plusplus,
    lloyd,
    open_rows,
)
from tests import oracle
from tests.assertions import INERTIA_RTOL, PRECISIONS, assert_at_home
from tests.datasets import blobs, cloud, positive_weights

pytestmark = pytest.mark.sampled(1, cupy=2)


def test_every_public_name_is_there() -> None:
    assert sorted(kmeans_xp.__all__) == [
        "BisectingKMeans",
        "Checkpoint",
        "KMeans",
        "MiniBatchKMeans",
        "ProgressLine",
        "__version__",
        "accelerate",
        "assign",
        "config_context",
        "devices",
        "inertia",
        "k_means",
        "k_means_batched",
        "kmeans_parallel",
        "kmeans_plusplus",
        "lloyd",
        "open_rows",
    ]
    assert all(hasattr(kmeans_xp, name) for name in kmeans_xp.__all__)


@pytest.mark.parametrize("made", [np.float32, np.int64, list, open_rows])
def test_results_for_host_rows_are_what_their_types_say(made: Any) -> None:
    host = np.round(blobs()[0])
    X = made(host) if made in (list, open_rows) else host.astype(made)
    model = KMeans(3, random_state=0).fit(X)
    for labels in (model.predict(X), model.fit_predict(X), k_means(X, 3)[1]):
        assert isinstance(labels, np.ndarray)
        assert labels.dtype == np.int32
    for choose in (kmeans_plusplus, kmeans_parallel):
        _, indices = choose(X, 3, random_state=0)
        assert isinstance(indices, np.ndarray)
        assert indices.dtype == np.int64


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_k_means_returns_what_scikit_learns_returns(dtype: str, library: Library) -> None:
    host, weights = blobs()[0], positive_weights()
    params: dict[str, Any] = {"n_clusters": 5, "sample_weight": weights, "random_state": 0}
    theirs = sklearn.cluster.k_means(host, return_n_iter=True, **params)
    ours = k_means(library.asarray(host, dtype), return_n_iter=True, **params)
    assert len(ours) == 4
    assert_at_home(ours[0], library, dtype, (5, 3))
    assert_at_home(ours[1], library, "int32", (300,))
    np.testing.assert_allclose(library.to_host(ours[0]), theirs[0], atol=INERTIA_RTOL[dtype])
    np.testing.assert_array_equal(library.to_host(ours[1]), theirs[1])
    assert ours[2] == pytest.approx(theirs[2], rel=INERTIA_RTOL[dtype])
    assert ours[3] == theirs[3]
    assert len(k_means(library.asarray(host, dtype), 5, init=host[:5])) == 3


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_k_means_is_the_estimator(dtype: str, library: Library) -> None:
    host = cloud()
    params: dict[str, Any] = {"init": "random", "n_init": 2, "max_iter": 7, "random_state": 1}
    points = library.asarray(host, dtype)
    centroids, labels, least, n_iter = k_means(points, 4, return_n_iter=True, **params)
    fitted = KMeans(4, **params).fit(points)
    np.testing.assert_array_equal(
        library.to_host(centroids), library.to_host(fitted.cluster_centers_)
    )
    np.testing.assert_array_equal(library.to_host(labels), library.to_host(fitted.labels_))
    assert (least, n_iter) == (fitted.inertia_, fitted.n_iter_)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_kmeans_plusplus_returns_rows_of_the_data(dtype: str, library: Library) -> None:
    host = cloud() + 1e4
    points = library.asarray(host, dtype)
    centroids, indices = kmeans_plusplus(points, 6, random_state=0)
    assert_at_home(centroids, library, dtype, (6, 4))
    chosen = library.to_host(indices)
    assert chosen.shape == (6,)
    assert np.issubdtype(chosen.dtype, np.integer)
    assert len(set(chosen.tolist())) == 6
    np.testing.assert_array_equal(library.to_host(centroids), library.to_host(points)[chosen])


@pytest.mark.parametrize("integer", ["int32", "int64"])
def test_kmeans_plusplus_computes_integers_in_float64(integer: str, library: Library) -> None:
    host = (cloud() * 100).astype(integer)
    centroids, indices = kmeans_plusplus(library.asarray(host), 6, random_state=0)
    expected, theirs = sklearn.cluster.kmeans_plusplus(host, 6, random_state=0)
    np.testing.assert_array_equal(library.to_host(indices), theirs)
    np.testing.assert_array_equal(library.to_host(centroids), expected)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_lloyd_equals_the_loop_oracle(weighted: bool, dtype: str, library: Library) -> None:
    host = cloud(150) + 30.0
    weights = positive_weights(150) if weighted else np.ones(150)
    expected = oracle.lloyd(host, weights, host[:5])
    result = lloyd(
        library.asarray(host, dtype),
        library.asarray(host[:5], dtype),
        weights=library.asarray(weights, dtype) if weighted else None,
    )
    assert_at_home(result.centroids, library, dtype, (5, 4))
    assert_at_home(result.labels, library, "int32", (150,))
    np.testing.assert_array_equal(library.to_host(result.labels), expected.labels)
    np.testing.assert_allclose(library.to_host(result.centroids), expected.centroids, rtol=1e-5)
    assert type(result.inertia) is float
    assert result.inertia == pytest.approx(expected.inertia, rel=INERTIA_RTOL[dtype])
    assert result.n_iter == expected.n_iter


def test_lloyds_tol_is_in_squared_units_of_the_points(library: Library) -> None:
    host = cloud()
    points = library.asarray(host, "float32")
    shifts = KMeans(6, init=host[:6], tol=0.0).fit(points).history_["shift"]
    for n_iter in (2, 4):
        tol = float(shifts[n_iter - 1]) * 1.0001
        assert lloyd(points, host[:6], tol=tol).n_iter == 1 + np.flatnonzero(shifts <= tol)[0]
    assert lloyd(points, host[:6], max_iter=3).n_iter == 3
    assert lloyd(points, host[:6]).n_iter == len(shifts)


def test_lloyd_leaves_its_arguments_alone(library: Library) -> None:
    host = cloud()
    points, centroids = library.asarray(host, "float32"), library.asarray(host[:6], "float32")
    lloyd(points, centroids)
    np.testing.assert_array_equal(library.to_host(points), host)
    np.testing.assert_array_equal(library.to_host(centroids), host[:6])


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("n_clusters", [1, 3, 40])
def test_assign_equals_the_loop_oracle(n_clusters: int, dtype: str, library: Library) -> None:
    host, centroids = cloud() + 1000.0, cloud(n_clusters, seed=1) + 1000.0
    host, centroids = (a.astype(np.float32).astype(np.float64) for a in (host, centroids))
    nearest = assign(library.asarray(host, dtype), library.asarray(centroids, dtype))
    assert_at_home(nearest.labels, library, "int32", (400,))
    assert_at_home(nearest.sq_distances, library, dtype, (400,))
    labels = oracle.nearest_labels(host, centroids)
    np.testing.assert_array_equal(library.to_host(nearest.labels), labels)
    expected = oracle.sq_distances(host, centroids).min(axis=1)
    np.testing.assert_allclose(
        library.to_host(nearest.sq_distances),
        expected,
        rtol=1e-3 if dtype == "float32" else 1e-9,
    )


def test_a_tie_goes_to_the_lowest_index(library: Library) -> None:
    points = library.asarray([[0.0], [2.0], [-2.0]], "float32")
    centroids = library.asarray([[4.0], [1.0], [-1.0], [1.0], [-1.0], [-4.0]], "float32")
    assert library.to_host(assign(points, centroids).labels).tolist() == [1, 1, 2]


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_of_equal_centroids_one_is_assigned(dtype: str, library: Library) -> None:
    # Some libraries round the columns of a matrix product differently, equal as they are.
    host = cloud(200, 5)
    twice = np.vstack([host[:7], host[:7]])
    labels = assign(library.asarray(host, dtype), library.asarray(twice, dtype)).labels
    expected = oracle.nearest_labels(host, host[:7])
    np.testing.assert_array_equal(library.to_host(labels) % 7, expected)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_inertia_equals_the_loop_oracle(
    weighted: bool, labelled: bool, dtype: str, library: Library
) -> None:
    host, centroids = cloud(200), cloud(5, seed=1)
    weights = positive_weights(200) if weighted else np.ones(200)
    labels = np.arange(200) % 5 if labelled else oracle.nearest_labels(host, centroids)
    found = inertia(
        library.asarray(host, dtype),
        library.asarray(centroids, dtype),
        library.asarray(labels, "int32") if labelled else None,
        weights=weights if weighted else None,
    )
    assert type(found) is float
    expected = oracle.inertia(host, weights, centroids, labels)
    assert found == pytest.approx(expected, rel=INERTIA_RTOL[dtype])


def test_what_is_not_of_the_points_library_is_placed(library: Library) -> None:
    host, weights = cloud(), positive_weights(400)
    points = library.asarray(host, "float32")
    at_home = lloyd(points, library.asarray(host[:5], "float32"), max_iter=5)
    for centroids in (host[:5], host[:5].tolist()):
        placed = lloyd(points, centroids, max_iter=5)
        np.testing.assert_array_equal(
            library.to_host(placed.centroids), library.to_host(at_home.centroids)
        )
    nearest = assign(points, host[:5])
    assert_at_home(nearest.labels, library, "int32", (400,))
    labels = library.to_host(nearest.labels)
    found = inertia(points, host[:5], labels, weights=weights.tolist())
    assert found == pytest.approx(oracle.inertia(host, weights, host[:5], labels), rel=1e-5)


def test_lists_give_numpy() -> None:
    points = [[0, 0], [0, 2], [10, 0], [10, 2]]
    result = lloyd(points, [[0, 1], [9, 1]])
    assert type(result.centroids) is type(result.labels) is np.ndarray
    assert result.centroids.tolist() == [[0.0, 1.0], [10.0, 1.0]]
    assert result.labels.tolist() == [0, 0, 1, 1]
    assert (result.inertia, result.n_iter) == (4.0, 2)
    nearest = assign(points, [[0, 1], [9, 1]])
    assert nearest.sq_distances.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert inertia(points, [[0, 1], [9, 1]]) == 6.0


@pytest.mark.needs("float16")
def test_float16_is_computed_in_float32(library: Library) -> None:
    host = blobs()[0].astype(np.float16)
    points = library.asarray(host)
    result = lloyd(points, host[:5])
    assert_at_home(result.centroids, library, "float32", (5, 3))
    assert_at_home(assign(points, host[:5]).sq_distances, library, "float32", (300,))
    expected = lloyd(library.asarray(host, "float32"), host[:5])
    assert result.inertia == expected.inertia
    centroids, indices = kmeans_plusplus(points, 5, random_state=0)
    np.testing.assert_array_equal(library.to_host(centroids), host[library.to_host(indices)])
