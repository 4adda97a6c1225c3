"""Code as users write it, for type checkers: arrays come out of the library that they are of.

Never run. mypy and pyright check it.
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from kmeans_xp import (
    BisectingKMeans,
    KMeans,
    MiniBatchKMeans,
    assign,
    k_means,
    k_means_batched,
    kmeans_parallel,
    kmeans_plusplus,
    lloyd,
    open_rows,
)
from kmeans_xp.estimators.functions import Clustering


class DeviceArray:
    """As CuPy's, torch's and JAX's arrays are to a type checker."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def __getitem__(self, key: object) -> "DeviceArray":
        return self


class Frame:
    """As data frames are to a type checker: what arrays have, and names of columns."""

    columns: tuple[str, ...] = ()
    shape: tuple[int, int] = (0, 0)
    dtype: str = "float64"

    def __getitem__(self, name: str) -> "Frame":
        return self


def on_numpy(X: NDArray[np.float32]) -> None:
    model = KMeans(n_clusters=3, random_state=0).fit(X)
    assert_type(model, KMeans)
    assert_type(model.predict(X), NDArray[np.int32])
    assert_type(MiniBatchKMeans(3).fit_predict(X), NDArray[np.int32])
    assert_type(model.transform(X), NDArray[Any])
    assert_type(model.inertia_, float)
    assert_type(model.n_iter_, int)


def functions_on_numpy(X: NDArray[np.float32]) -> None:
    assert_type(k_means(X, 3), tuple[NDArray[Any], NDArray[np.int32], float])
    centroids, labels, _, _ = k_means(X, 3, return_n_iter=True)
    assert_type((centroids, labels), tuple[NDArray[Any], NDArray[np.int32]])
    assert_type(kmeans_plusplus(X, 3), tuple[NDArray[Any], NDArray[np.int64]])
    assert_type(kmeans_parallel(X, 3), tuple[NDArray[Any], NDArray[np.int64]])
    labels = lloyd(X, centroids).labels
    labels = assign(X, centroids).labels
    solved = k_means_batched(X, 3)
    assert_type((solved.inertia, solved.n_iter), tuple[NDArray[Any], NDArray[Any]])


def on_blocks(path: str) -> None:
    rows = open_rows(path)
    model = KMeans(3).fit(rows)
    assert_type(model.predict(rows), NDArray[np.int32])
    assert_type(model.predict(rows, out="labels.npy"), NDArray[np.int32])
    assert_type(model.transform(rows), NDArray[Any])
    assert_type(k_means(rows, 3), tuple[NDArray[Any], NDArray[np.int32], float])
    assert_type(kmeans_plusplus(rows, 3), tuple[NDArray[Any], NDArray[np.int64]])
    assert_type(kmeans_parallel(rows, 3), tuple[NDArray[Any], NDArray[np.int64]])
    lloyd(rows, [[0.0]])  # type: ignore[call-overload]


def on_sparse_rows(matrix: csr_matrix, array: csr_array) -> None:
    assert_type(KMeans(3).fit_predict(matrix), Any)
    assert_type(KMeans(3).fit(array).transform(array), Any)
    kmeans_plusplus(matrix, 3)


def on_a_device(X: DeviceArray) -> None:
    assert_type(KMeans(3).fit_predict(X), DeviceArray)
    assert_type(KMeans(3).fit_transform(X), DeviceArray)
    assert_type(MiniBatchKMeans(3).partial_fit(X), MiniBatchKMeans)
    assert_type(MiniBatchKMeans(3).fit(X).predict(X), DeviceArray)
    assert_type(BisectingKMeans(3).fit(X).predict(X), DeviceArray)


def on_tables(frame: Frame) -> None:
    assert_type(KMeans(3).fit_predict([[0.0, 1.0], [2.0, 3.0]]), NDArray[np.int32])
    assert_type(KMeans(3).fit(frame).transform([[0.0, 1.0]]), NDArray[Any])
    assert_type(KMeans(3).fit(frame).predict(frame), NDArray[np.int32])


def functions_on_a_device(X: DeviceArray, weights: DeviceArray) -> None:
    assert_type(k_means(X, 3), tuple[DeviceArray, DeviceArray, float])
    centroids, labels, inertia, n_iter = k_means(
        X, 3, sample_weight=weights, n_init=2, return_n_iter=True
    )
    assert_type((centroids, labels), tuple[DeviceArray, DeviceArray])
    assert_type((inertia, n_iter), tuple[float, int])
    assert_type(kmeans_plusplus(X, 3, random_state=0), tuple[DeviceArray, DeviceArray])
    assert_type(kmeans_parallel(X, 3, n_rounds=4), tuple[DeviceArray, DeviceArray])
    clustering = lloyd(X, centroids, max_iter=10)
    assert_type(clustering, Clustering[DeviceArray])
    assert_type(clustering.labels, DeviceArray)
    assert_type(assign(X, centroids).sq_distances, DeviceArray)


def functions_on_tables(frame: Frame, X: NDArray[np.float32]) -> None:
    assert_type(kmeans_plusplus(frame, 2), tuple[NDArray[Any], NDArray[np.int64]])
    assert_type(lloyd([[0.0], [1.0]], [[0.0]]).centroids, NDArray[Any])
    k_means(X, 3, n_clusters_max=4)  # type: ignore[call-overload]
