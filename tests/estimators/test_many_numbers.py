"""More numbers than 32 bits can count, and more rows than float32 can, in little memory."""

import numpy as np
import pytest
from scipy import sparse

from kmeans_xp import KMeans, MiniBatchKMeans

MANY = 2**31


def test_distances_may_be_more_than_32_bits_count() -> None:
    n_points, n_clusters = 2**21 + 3, 2**10
    centroids = np.arange(2.0 * n_clusters, dtype=np.float32).reshape(n_clusters, 2)
    X = np.broadcast_to(centroids[700] + np.float32(0.25), (n_points, 2))  # one row in memory
    assert n_points * n_clusters > MANY
    kmeans = KMeans(n_clusters, init=centroids, n_init=1)
    kmeans.cluster_centers_ = centroids
    assert np.all(kmeans.predict(X) == 700)
    assert kmeans.score(X) == -0.125 * n_points


def test_numbers_of_the_rows_may_be_more_than_32_bits_count() -> None:
    n_points, n_features = 2**16 + 1, 2**15
    row = np.zeros(n_features, np.float32)
    row[-1] = 3.0
    X = np.broadcast_to(row, (n_points, n_features))
    assert n_points * n_features > MANY
    kmeans = KMeans(2)
    kmeans.cluster_centers_ = np.stack([np.zeros_like(row), row * np.float32(1.5)])
    assert np.all(kmeans.predict(X) == 1)


@pytest.mark.parametrize("as_given", [np.asarray, sparse.csr_array])
def test_rows_may_be_more_than_float32_counts(as_given: type) -> None:
    n_points = 2**24 + 2**22  # where sums of ones in float32 end at 2**24
    X = np.zeros((n_points, 1), np.float32)
    X[::2] = 1.0
    kmeans = KMeans(1, max_iter=2).fit(as_given(X))
    assert kmeans.cluster_centers_ == 0.5
    assert kmeans.inertia_ == n_points / 4.0


def test_mini_batches_may_have_seen_more_rows_than_float32_counts() -> None:
    X = np.array([[0.0], [1.0]], np.float32)
    batches = MiniBatchKMeans(1, random_state=0).partial_fit(X, sample_weight=[2.0**24, 2.0**24])
    for _ in range(8):
        batches.partial_fit(X[1:], sample_weight=[1.0])
    assert float(batches._counts[0]) == 2.0**25 + 8
