"""CuPy arrays are computed on their own device, whatever the current one is, and in float32."""

import pickle
from typing import Any

import numpy as np
import pytest

from conftest import Library
from kmeans_xp import (
    KMeans,
    MiniBatchKMeans,
    assign,
    config_context,
    kmeans_plusplus,
    metrics,
)
from kmeans_xp.selection import choose_n_clusters

pytestmark = pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp"), reason="is of CUDA devices"
)

HOST = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)


def second_device() -> Any:
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two CUDA devices")
    return cupy.cuda.Device(1)


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_a_fit_stays_on_the_device_of_its_rows(estimator_class: type, library: Library) -> None:
    import cupy

    with second_device():
        points = cupy.asarray(HOST)
    expected = estimator_class(5, n_init=3, random_state=0).fit(cupy.asarray(HOST))
    fitted = estimator_class(5, n_init=3, random_state=0).fit(points)
    for name in ("cluster_centers_", "labels_"):
        array = getattr(fitted, name)
        assert array.device.id == 1
        np.testing.assert_array_equal(array.get(), getattr(expected, name).get())
    assert fitted.inertia_ == expected.inertia_
    assert pickle.loads(pickle.dumps(fitted)).labels_.device.id == 1
    assert fitted.predict(points).device.id == 1
    assert fitted.transform(points).device.id == 1
    assert fitted.predict(cupy.asarray(HOST)).device.id == 0
    assert kmeans_plusplus(points, 4)[0].device.id == 1
    assert assign(points, HOST[:3]).labels.device.id == 1
    assert cupy.cuda.Device().id == 0


def test_a_device_can_be_named(library: Library) -> None:
    second_device()
    fitted = KMeans(5, random_state=0, device="cuda:1").fit(HOST)
    assert isinstance(fitted.labels_, np.ndarray)
    np.testing.assert_array_equal(fitted.labels_, KMeans(5, random_state=0).fit(HOST).labels_)


@pytest.mark.parametrize("sample_size", [None, 100])
def test_scores_and_numbers_of_clusters_stay_on_the_device_of_their_rows(
    sample_size: int | None, library: Library
) -> None:
    import cupy

    with second_device():
        points = cupy.asarray(HOST)
    labels = np.arange(len(HOST)) % 3
    samples = metrics.silhouette_samples(points, labels)
    assert samples.device.id == 1
    np.testing.assert_allclose(
        samples.get(), metrics.silhouette_samples(HOST, labels), rtol=0, atol=1e-6
    )
    options: dict[str, Any] = {"sample_size": sample_size, "random_state": 0}
    score = metrics.silhouette_score(points, labels, **options)
    assert score == pytest.approx(metrics.silhouette_score(HOST, labels, **options), abs=1e-6)
    for name in ("simplified_silhouette_score", "davies_bouldin_score", "calinski_harabasz_score"):
        metric = getattr(metrics, name)
        assert metric(points, labels) == pytest.approx(metric(HOST, labels), rel=1e-6, abs=1e-9)
    options |= {"n_init": 2, "n_references": 2}
    found = choose_n_clusters(points, [2, 3], n_jobs=2, **options)
    assert found.estimator.labels_.device.id == 1
    expected = choose_n_clusters(HOST, [2, 3], device="cuda:1", **options)
    assert found.table == expected.table
    assert isinstance(expected.estimator.labels_, np.ndarray)
    np.testing.assert_array_equal(found.estimator.labels_.get(), expected.estimator.labels_)


@pytest.mark.parametrize("precision", [None, "tf32"])
def test_a_fit_multiplies_no_matrices_of_float32(
    precision: str | None, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cupy

    used = []
    matmul = cupy.matmul

    def spied(a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
        used.append(a.dtype.name)
        return matmul(a, b, *args, **kwargs)

    monkeypatch.setattr(cupy, "matmul", spied)
    wide = np.random.default_rng(0).normal(size=(300, 80)).astype(np.float32)
    with config_context(precision=precision):
        fitted = KMeans(4, random_state=0, max_iter=3).fit(cupy.asarray(wide))
    fitted.predict(cupy.asarray(wide))
    assert "float32" not in used
