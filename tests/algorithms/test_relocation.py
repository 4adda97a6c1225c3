"""Clusters that lose all rows get other rows; with duplicates this ends too."""

import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from sklearn.exceptions import ConvergenceWarning

from conftest import Library
from kmeans_xp import KMeans, lloyd, open_rows
from tests.assertions import INERTIA_RTOL, PRECISIONS
from tests.datasets import blobs, cloud, positive_weights

pytestmark = pytest.mark.sampled(1, cupy=2)

FAR = 1e3


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_an_empty_cluster_is_given_the_farthest_row(dtype: str, library: Library) -> None:
    host = np.array([[0.0], [1.0], [2.0], [9.0]])
    init = np.array([[1.0], [FAR]])
    once = KMeans(2, init=init, max_iter=1, tol=0.0).fit(library.asarray(host, dtype))
    np.testing.assert_allclose(library.to_host(once.cluster_centers_), [[1.0], [9.0]], rtol=1e-6)
    assert library.to_host(once.labels_).tolist() == [0, 0, 0, 1]
    assert once.inertia_ == pytest.approx(2.0)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_empty", [1, 2, 4])
def test_relocation_is_scikit_learns(
    n_empty: int, weighted: bool, dtype: str, library: Library
) -> None:
    host = cloud(80, 3)
    weights = positive_weights(80) if weighted else None
    init = np.vstack([host[:3], np.full((n_empty, 3), FAR)])
    for max_iter in (1, 2, 100):
        params: dict[str, Any] = {"init": init, "max_iter": max_iter, "tol": 0.0}
        theirs = sklearn.cluster.KMeans(3 + n_empty, **params).fit(host, sample_weight=weights)
        ours = KMeans(3 + n_empty, **params)
        ours.fit(library.asarray(host, dtype), sample_weight=weights)
        # Which of the rows goes to which of the empty clusters follows from a partition of
        # equals in scikit-learn: the clusters are compared, not their numbers.
        assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=INERTIA_RTOL[dtype])
        assert ours.n_iter_ == theirs.n_iter_
        np.testing.assert_allclose(
            np.sort(library.to_host(ours.cluster_centers_), axis=0),
            np.sort(theirs.cluster_centers_, axis=0),
            rtol=1e-5,
            atol=1e-5,
        )


def test_of_rows_that_are_as_far_the_last_is_given(library: Library) -> None:
    host = np.array([[0.0], [0.5], [2.0], [3.0], [9.0], [10.0]])
    init = np.array([[1.0], [3.0], [5.0], [7.0], [9.0]])
    theirs = sklearn.cluster.KMeans(5, init=init).fit(host)
    assert theirs.inertia_ == pytest.approx(0.125)
    ours = KMeans(5, init=init).fit(library.asarray(host, "float64"))
    assert ours.inertia_ == pytest.approx(0.125, rel=1e-5)
    for block_rows in (1, 2, 4):
        cut = KMeans(5, init=init).fit(open_rows(host, block_rows=block_rows))
        assert cut.labels_.tolist() == library.to_host(ours.labels_).tolist()


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_rows_without_weight_are_not_given(dtype: str, library: Library) -> None:
    host = np.array([[-1.0], [0.0], [1.0], [50.0]])
    weights = np.array([1.0, 1.0, 1.0, 0.0])
    kmeans = KMeans(2, init=np.array([[0.0], [FAR]]), tol=0.0, max_iter=1)
    kmeans.fit(library.asarray(host, dtype), sample_weight=weights)
    given = library.to_host(kmeans.cluster_centers_)[1, 0]
    assert abs(given) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_light_row_that_was_given_leaves_its_old_mean(dtype: str, library: Library) -> None:
    # scikit-learn #13486
    points = library.asarray([[-1.0], [1.0]], dtype)
    kmeans = KMeans(2, init=np.array([[-1.0], [10.0]])).fit(points, sample_weight=[1.9, 0.1])
    np.testing.assert_allclose(library.to_host(kmeans.cluster_centers_), [[-1.0], [1.0]], rtol=1e-6)
    assert library.to_host(kmeans.labels_).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_more_clusters_than_distinct_rows_end_with_a_warning(
    offset: float, dtype: str, library: Library
) -> None:
    # scikit-learn #28055
    host = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]) + offset
    kmeans = KMeans(5, init=host)
    with pytest.warns(ConvergenceWarning, match=r"clusters \(4\) found smaller than n_clusters"):
        kmeans.fit(library.asarray(host, dtype))
    assert kmeans.n_iter_ == 1
    assert kmeans.inertia_ == 0.0
    assert np.isfinite(library.to_host(kmeans.cluster_centers_)).all()
    assert library.to_host(kmeans.labels_).tolist() == [0, 1, 1, 3, 4]


@pytest.mark.sampled(1, cupy=4)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("weighted", [False, True])
def test_duplicates_end_for_every_seed(
    weighted: bool, init: str, dtype: str, library: Library
) -> None:
    # A mean of equal rows may be rounded away from them: rows so far from their centroid are
    # no better for a cluster without rows.
    for seed in range(12):
        rng = np.random.default_rng(seed)
        host = np.repeat(rng.normal(size=(6, 3)) + 100.0 * weighted, 5, axis=0)
        weights = rng.uniform(0.1, 3.0, size=30) if weighted else None
        kmeans = KMeans(10, init=init, n_init=1, random_state=seed, tol=0.0, max_iter=40)
        with pytest.warns(ConvergenceWarning, match=r"clusters \(6\) found smaller"):
            kmeans.fit(library.asarray(host, dtype), sample_weight=weights)
        assert kmeans.n_iter_ < 10
        assert kmeans.inertia_ == pytest.approx(0.0, abs=1e-8)
        assert np.isfinite(library.to_host(kmeans.cluster_centers_)).all()
        assert len(np.unique(library.to_host(kmeans.labels_))) == 6


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_equal_rows_are_one_cluster(init: str, value: float, dtype: str, library: Library) -> None:
    points = library.asarray(np.full((20, 3), value), dtype)
    kmeans = KMeans(4, init=init, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"clusters \(1\) found smaller"):
        kmeans.fit(points)
    expected = library.to_host(points)[:4]
    np.testing.assert_array_equal(library.to_host(kmeans.cluster_centers_), expected)
    assert kmeans.inertia_ == 0.0
    assert not library.to_host(kmeans.labels_).any()
    assert not library.to_host(kmeans.predict(points)).any()


def test_equal_rows_and_one_cluster_do_not_warn(library: Library) -> None:
    points = library.asarray(np.full((20, 3), 2.5), "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kmeans = KMeans(1, random_state=0).fit(points)
    assert kmeans.inertia_ == 0.0


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_inertia_falls_although_all_but_one_cluster_were_empty(
    dtype: str, library: Library
) -> None:
    host, _ = blobs()
    init = np.vstack([host[:1], np.full((4, 3), FAR)])
    result = lloyd(library.asarray(host, dtype), init)
    counts = np.bincount(library.to_host(result.labels), minlength=5)
    assert (counts > 0).all()
    one = lloyd(library.asarray(host, dtype), host[:1]).inertia
    assert result.inertia < 0.6 * one


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_labels_belong_to_the_centroids_after_a_relocation(dtype: str, library: Library) -> None:
    # scikit-learn #34074: a relocation and then strict convergence left stale labels.
    for seed in range(10):
        rng = np.random.default_rng(seed)
        host = rng.integers(0, 4, size=(12, 2)).astype(np.float64)
        init = np.vstack([rng.integers(0, 4, size=(2, 2)), np.full((2, 2), FAR)])
        kmeans = KMeans(4, init=init, tol=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            kmeans.fit(library.asarray(host, dtype))
        points = library.asarray(host, dtype)
        assert kmeans.score(points) == -kmeans.inertia_
        np.testing.assert_array_equal(
            library.to_host(kmeans.predict(points)), library.to_host(kmeans.labels_)
        )
