"""Tensors that require gradients: fits ignore the gradients, and leave the tensors unchanged."""

import copy
import inspect
from typing import Any

import numpy as np
import pytest

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans, assign, kmeans_plusplus
from kmeans_xp.metrics import silhouette_samples
from tests.datasets import blobs

pytestmark = pytest.mark.skip_library(
    "numpy", "array_api_strict", "jax", "dpnp", "cupy", reason="about tensors of torch"
)

HOST = blobs(60)[0].astype(np.float32)


@pytest.fixture
def points(library: Library) -> Any:
    return library.asarray(HOST).requires_grad_()


def arrays_of(model: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in inspect.getmembers(model)
        if hasattr(value, "requires_grad") and name not in model.get_params()
    }


@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
def test_a_fit_is_of_the_numbers_alone(make: Any, points: Any, library: Library) -> None:
    weights = points[:, 0].abs() + 1.0
    start = library.asarray(HOST[:3])
    plain = make(3, init=start, n_init=1, random_state=0)
    plain.fit(points.detach(), sample_weight=weights.detach())
    leaf = start.clone().requires_grad_()
    model = make(3, init=leaf, n_init=1, random_state=0).fit(points, sample_weight=weights)
    assert arrays_of(model)
    assert not any(value.requires_grad for value in arrays_of(model).values())
    assert points.requires_grad
    assert points.grad_fn is None
    np.testing.assert_array_equal(np.asarray(model.cluster_centers_), plain.cluster_centers_)
    np.testing.assert_array_equal(copy.deepcopy(model).predict(points), plain.labels_)
    assert not model.transform(points).requires_grad


def test_batches_of_a_network_do_not_make_a_graph(library: Library) -> None:
    import torch

    network = torch.nn.Linear(HOST.shape[1], 4)
    model = MiniBatchKMeans(3, random_state=0)
    for _ in range(3):
        model.partial_fit(network(library.asarray(HOST)))
        assert not any(value.requires_grad for value in arrays_of(model).values())
        assert model.cluster_centers_.grad_fn is None


def test_functions_take_tensors_without_their_gradients(points: Any) -> None:
    centroids, _ = kmeans_plusplus(points, 3, random_state=0)
    assert not centroids.requires_grad
    labels, sq_distances = assign(points, centroids.requires_grad_())
    assert not sq_distances.requires_grad
    assert not silhouette_samples(points, labels).requires_grad
