"""size_min and size_max: constrained k-means with minimal inertia within the bounds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances

from conftest import Library
from kmeans_xp import KMeans, k_means, open_rows
from kmeans_xp.algorithms import SizeBounds, cheapest_labels
from tests.datasets import cloud

Host = NDArray[Any]

N_CLUSTERS = 5
BOUNDS = [(20, None), (None, 22), (18, 23), (20, 20)]


def skewed(n_points: int = 100, n_features: int = 3) -> Host:
    """Return rows of which most lie together, so that bounds of sizes move many."""
    rows = cloud(n_points, n_features)
    rows[: n_points // 2] = rows[: n_points // 2] / 8.0 + 1.0
    return rows


def best_labels(X: Host, centroids: Host, bounds: SizeBounds, metric: str) -> Host:
    """Return the labels with the smallest inertia, by scikit-learn's distances."""
    measured = cosine_distances if metric == "cosine" else euclidean_distances
    distances = measured(X.astype(np.float64), centroids.astype(np.float64))
    costs = distances if metric == "cosine" else distances**2
    return cheapest_labels(np.ascontiguousarray(costs.T), bounds)


@pytest.mark.sampled(1, cupy=4)
@pytest.mark.parametrize(
    "dtype", ["float32", pytest.param("float64", marks=pytest.mark.needs("float64"))]
)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("size_min", "size_max"), BOUNDS)
def test_a_fit_keeps_to_the_sizes_at_the_least_inertia(
    library: Library, dtype: str, metric: str, size_min: int | None, size_max: int | None
) -> None:
    host = skewed().astype(dtype)
    X = library.asarray(host)
    model = KMeans(
        N_CLUSTERS, size_min=size_min, size_max=size_max, metric=metric, random_state=0, tol=0.0
    ).fit(X)
    labels = library.to_host(model.labels_)
    sizes = np.bincount(labels, minlength=N_CLUSTERS)
    assert sizes.min() >= (size_min or 1)
    assert sizes.max() <= (size_max or len(host))

    centroids = library.to_host(model.cluster_centers_)
    bounds = SizeBounds(size_min or 1, size_max or len(host))
    np.testing.assert_array_equal(labels, best_labels(host, centroids, bounds, metric))
    rows = host / np.linalg.norm(host, axis=1)[:, None] if metric == "cosine" else host
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(N_CLUSTERS)])
    if metric == "cosine":
        means /= np.linalg.norm(means, axis=1)[:, None]
    np.testing.assert_allclose(centroids, means, rtol=1e-4, atol=1e-5)
    factor = 0.5 if metric == "cosine" else 1.0
    inertia = factor * ((rows - centroids[labels]) ** 2).sum()
    assert model.inertia_ == pytest.approx(inertia, rel=1e-4)

    inertias = [*model.history_["inertia"], model.inertia_]
    assert np.all(np.diff(inertias) <= 1e-5 * inertias[0])
    assert model.history_["shift"][-1] == 0.0


def test_predict_is_the_nearest_centroid_whatever_the_sizes(library: Library) -> None:
    X = library.asarray(skewed(), "float32")
    model = KMeans(N_CLUSTERS, size_min=20, size_max=20, random_state=0).fit(X)
    predicted = library.to_host(model.predict(X))
    distances = library.to_host(model.transform(X))
    np.testing.assert_array_equal(predicted, distances.argmin(axis=1))
    assert np.any(predicted != library.to_host(model.labels_))
    assert -model.score(X) < model.inertia_


def test_bounds_that_a_fit_keeps_anyway_change_nothing(library: Library) -> None:
    X = library.asarray(skewed(), "float32")
    plain = KMeans(N_CLUSTERS, random_state=0).fit(X)
    sizes = np.bincount(library.to_host(plain.labels_))
    bound = KMeans(N_CLUSTERS, random_state=0, size_min=1, size_max=int(sizes.max()) + 30).fit(X)
    np.testing.assert_array_equal(*(library.to_host(each.labels_) for each in (plain, bound)))
    assert bound.inertia_ == pytest.approx(plain.inertia_, rel=1e-6)
    assert bound.n_iter_ == plain.n_iter_


def test_a_bound_above_the_number_of_rows_is_none(library: Library) -> None:
    X = library.asarray(skewed(), "float32")
    huge, all_rows = (
        KMeans(N_CLUSTERS, size_max=most, random_state=0).fit(X) for most in (10**30, X.shape[0])
    )
    assert huge.inertia_ == all_rows.inertia_


def test_of_several_runs_the_best_is_kept(library: Library) -> None:
    X = library.asarray(skewed(), "float32")
    options: dict[str, Any] = {"size_max": 20, "init": "random", "random_state": 0}
    runs = [KMeans(N_CLUSTERS, n_init=n, **options).fit(X).inertia_ for n in (1, 5)]
    assert runs[1] < runs[0]


def test_the_function_takes_sizes_too(library: Library) -> None:
    X = library.asarray(skewed(), "float32")
    _, labels, inertia = k_means(X, N_CLUSTERS, size_min=20, size_max=20, random_state=0)
    model = KMeans(N_CLUSTERS, size_min=20, size_max=20, random_state=0).fit(X)
    np.testing.assert_array_equal(*map(library.to_host, (labels, model.labels_)))
    assert inertia == model.inertia_


def test_sparse_rows_have_the_labels_of_dense_ones() -> None:
    rows = skewed(n_features=6) * (np.arange(600).reshape(100, 6) % 3 > 0)
    dense, compressed = (
        KMeans(N_CLUSTERS, size_min=18, size_max=22, random_state=0).fit(X)
        for X in (rows, sparse.csr_matrix(rows))
    )
    np.testing.assert_array_equal(dense.labels_, compressed.labels_)


def test_a_model_file_keeps_the_sizes(tmp_path: Path) -> None:
    model = KMeans(N_CLUSTERS, size_min=18, size_max=22, random_state=0).fit(skewed())
    model.save(tmp_path / "model")
    again = KMeans.load(tmp_path / "model")
    assert (again.size_min, again.size_max) == (18, 22)
    np.testing.assert_array_equal(again.fit(skewed()).labels_, model.labels_)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"size_min": 21}, "5 clusters of at least size_min=21 rows need 105 rows, but X has 100"),
        ({"size_max": 19}, "5 clusters of at most size_max=19 rows hold 95 rows, but X has 100"),
        ({"size_min": 15, "size_max": 14}, "size_min=15 is greater than size_max=14"),
        ({"size_min": 0}, "'size_min' parameter"),
        ({"size_max": 20.5}, "'size_max' parameter"),
        ({"size_max": True}, "'size_max' parameter"),
    ],
)
def test_sizes_that_cannot_be_kept_are_refused(sizes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KMeans(N_CLUSTERS, **sizes).fit(skewed())


def test_sizes_are_refused_with_weights_and_for_too_many_rows() -> None:
    X = skewed()
    with pytest.raises(ValueError, match="sample_weight cannot be used with them"):
        KMeans(N_CLUSTERS, size_min=5).fit(X, sample_weight=np.ones(len(X)))
    many = np.broadcast_to(np.float32(1.0), (1_000_000, 1))
    with pytest.raises(ValueError, match="1,000,000 x 101 numbers; the limit is 100,000,000"):
        KMeans(101, size_min=5).fit(many)


def test_sizes_are_refused_for_rows_that_are_read_by_blocks(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", skewed())
    with pytest.raises(ValueError, match=r"need all rows in memory.*rows\.npy"):
        KMeans(N_CLUSTERS, size_min=5).fit(open_rows(tmp_path / "rows.npy"))


def test_sizes_are_refused_for_dask_arrays() -> None:
    arrays = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match=r"need all rows in memory"):
        KMeans(N_CLUSTERS, size_min=5).fit(arrays.from_array(skewed(), chunks=(50, 3)))
