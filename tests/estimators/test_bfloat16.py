"""bfloat16 rows are computed in float32, on the libraries that have them."""

import ml_dtypes
import numpy as np
import pytest

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans, kmeans_plusplus

HOST = np.random.default_rng(0).normal(size=(300, 4)).astype(ml_dtypes.bfloat16)


@pytest.mark.needs("bfloat16")
@pytest.mark.skip_library("array_api_strict", "dpnp", reason="has no bfloat16")
@pytest.mark.skip_library("torch", reason="takes none of NumPy's: see the next test")
def test_rows_are_those_of_float32(library: Library) -> None:
    points = HOST if library.name == "numpy" else library.xp.asarray(HOST)
    expected = KMeans(4, random_state=0).fit(HOST.astype(np.float32))
    fitted = KMeans(4, random_state=0).fit(points)
    assert fitted.cluster_centers_.dtype == np.float32
    assert fitted.inertia_ == pytest.approx(expected.inertia_, rel=1e-5)
    np.testing.assert_array_equal(library.to_host(fitted.labels_), expected.labels_)
    np.testing.assert_array_equal(library.to_host(fitted.predict(points)), expected.labels_)
    assert MiniBatchKMeans(4, random_state=0).fit(points).transform(points).dtype == np.float32
    chosen = library.to_host(kmeans_plusplus(points, 4, random_state=0)[1])
    assert len(set(chosen.tolist())) == 4


@pytest.mark.skip_library("numpy", "array_api_strict", "jax", "dpnp", "cupy", reason="is of torch")
def test_tensors_of_torch_are_too(library: Library) -> None:
    xp = library.xp
    points = xp.astype(library.asarray(HOST.astype(np.float32)), xp.bfloat16)
    fitted = KMeans(4, random_state=0).fit(points)
    assert fitted.cluster_centers_.dtype == xp.float32
    expected = KMeans(4, random_state=0).fit(HOST.astype(np.float32))
    assert fitted.inertia_ == pytest.approx(expected.inertia_, rel=1e-5)
