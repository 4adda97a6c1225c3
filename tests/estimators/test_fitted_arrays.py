"""Results become arrays of the rows' library when they are read; users see no difference."""

import copy
import inspect
import io
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from conftest import Library
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans, config_context, k_means
from kmeans_xp.devices import library_of
from tests.assertions import PRECISIONS, assert_at_home
from tests.datasets import cloud

HOST = cloud(600, 5).astype(np.float32)
NAMES = ("cluster_centers_", "labels_")
ESTIMATORS = [KMeans, MiniBatchKMeans, BisectingKMeans]

pytestmark = [
    pytest.mark.lent,
    pytest.mark.skip_library(
        "numpy", "array_api_strict", "dpnp", "cupy", reason="about libraries that borrow kernels"
    ),
]

of_torch = pytest.mark.skip_library("jax", "mlx", reason="about tensors of torch")
of_jax = pytest.mark.skip_library("torch", "mlx", reason="about arrays of JAX")


@pytest.fixture(autouse=True)
def fastest(library: Library) -> Iterator[None]:
    with config_context(compute="fastest"):
        yield


@pytest.fixture
def X(library: Library) -> Any:
    return library.asarray(HOST)


def unread(model: Any) -> set[str]:
    """Return which arrays nobody has read."""
    return {name for name in NAMES if name not in vars(model)}


def assert_same_bits(one: Any, other: Any) -> None:
    one, other = np.asarray(one), np.asarray(other)
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.tobytes() == other.tobytes()


def assert_as_of_numpy(model: Any, host: Any) -> None:
    for name in NAMES:
        assert_same_bits(getattr(model, name), getattr(host, name))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("make", ESTIMATORS)
def test_an_array_is_made_when_it_is_read_and_stays(
    make: Any, metric: str, X: Any, library: Library
) -> None:
    model = make(4, random_state=0, metric=metric).fit(X)
    host = make(4, random_state=0, metric=metric).fit(HOST)
    assert unread(model) == set(NAMES)
    labels, distances, score = model.predict(X), model.transform(X), model.score(X)
    assert unread(model) == set(NAMES)
    assert_at_home(model.labels_, library, "int32", (600,))
    assert unread(model) == set(NAMES)  # it is kept beside what NumPy computed
    assert_at_home(model.cluster_centers_, library, "float32", (4, 5))
    assert all(getattr(model, name) is getattr(model, name) for name in NAMES)
    assert_as_of_numpy(model, host)
    assert_same_bits(labels, model.predict(X))
    assert_same_bits(distances, model.transform(X))
    assert score == model.score(X) == host.score(HOST)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.skip_library("mlx", reason="makes float64 only if it is asked to")
def test_sizes_and_wide_numbers(dtype: str, library: Library) -> None:
    X = library.asarray(HOST, dtype)
    model = KMeans(4, random_state=0, size_max=200).fit(X)
    assert_at_home(model.cluster_centers_, library, dtype, (4, 5))
    host = KMeans(4, random_state=0, size_max=200).fit(HOST.astype(dtype))
    assert_as_of_numpy(model, host)


def joblib_copy(model: Any, path: Path) -> Any:
    file = io.BytesIO()
    joblib.dump(model, file)
    return joblib.load(file)


def saved_copy(model: Any, path: Path) -> Any:
    model.save(path)
    return type(model).load(path)


def copy_of_vars(model: Any, path: Path) -> Any:
    made = type(model)()
    vars(made).update(vars(model))
    return made


def skops_copy(model: Any, path: Path) -> Any:
    skops_io = pytest.importorskip("skops.io")
    data = skops_io.dumps(model)
    return skops_io.loads(data, trusted=skops_io.get_untrusted_types(data=data))


COPIES: dict[str, Callable[[Any, Path], Any]] = {
    "vars": copy_of_vars,
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "joblib": joblib_copy,
    "skops": skops_copy,
    "copy": lambda model, path: copy.copy(model),
    "deepcopy": lambda model, path: copy.deepcopy(model),
    "save": saved_copy,
    "to_sklearn": lambda model, path: model.to_sklearn(),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("make", ESTIMATORS)
def test_copies_of_a_model_that_nobody_has_read_hold_arrays(
    make: Any, way: str, X: Any, library: Library, tmp_path: Path
) -> None:
    model = make(4, random_state=0).fit(X)
    made = COPIES[way](model, tmp_path / "model")
    for name in NAMES:
        array = getattr(made, name)
        assert type(array) is (np.ndarray if way in ("save", "to_sklearn") else type(X))
        assert_same_bits(array, getattr(model, name))
    if way in ("vars", "copy"):
        assert all(getattr(made, name) is getattr(model, name) for name in NAMES)
    assert_as_of_numpy(model, make(4, random_state=0).fit(HOST))


def test_a_copy_of_the_state_is_of_one_moment(X: Any) -> None:
    model = KMeans(4, random_state=0).fit(X)
    state = model.__getstate__()
    assert {"cluster_centers_", "labels_"} <= set(state)
    model.fit(X[:300, :])
    assert len(state["labels_"]) == 600


def test_they_are_listed(X: Any) -> None:
    model = KMeans(4, random_state=0)
    assert set(NAMES).isdisjoint(dir(model))
    assert set(NAMES) <= set(dir(model.fit(X)))
    assert all(name in dict(inspect.getmembers(model)) for name in NAMES)


class WithItsOwn(KMeans):
    """Has a property and a class attribute in the place of arrays."""

    cluster_centers_ = None

    @property
    def labels_(self) -> Any:
        return self.kept + 0

    @labels_.setter
    def labels_(self, labels: Any) -> None:
        self.kept = labels


def test_a_subclass_gets_arrays_in_its_own_attributes(X: Any, library: Library) -> None:
    model = WithItsOwn(4, random_state=0).fit(X)
    assert_at_home(model.kept, library, "int32", (600,))
    assert_as_of_numpy(model, KMeans(4, random_state=0).fit(HOST))
    assert_at_home(model.fit_predict(X), library, "int32", (600,))


def test_what_a_property_raises_is_told() -> None:
    class Failing(KMeans):
        @property
        def of_the_user(self) -> Any:
            raise AttributeError("not today")

    with pytest.raises(AttributeError, match="not today"):
        Failing(4).of_the_user  # noqa: B018
    with pytest.raises(AttributeError, match="'Failing' object has no attribute 'nothing'"):
        Failing(4).nothing  # noqa: B018


@pytest.mark.parametrize("make", ESTIMATORS)
def test_without_a_fit_there_are_none(make: Any, X: Any) -> None:
    fresh, fitted = make(4), make(4, random_state=0).fit(X)
    for model in (fresh, clone(fitted)):
        for name in NAMES:
            assert not hasattr(model, name)
            with pytest.raises(AttributeError, match=f"This {make.__name__} has no {name}: it is"):
                getattr(model, name)
            with pytest.raises(AttributeError):
                delattr(model, name)
    check_is_fitted(fitted)
    check_is_fitted(fitted, NAMES)
    fitted.labels_ = X[:, 0]
    del fitted.labels_
    assert not hasattr(fitted, "labels_")
    assert "labels_" not in dir(fitted)
    assert hasattr(fitted, "cluster_centers_")


def test_what_a_user_sets_takes_the_place_of_what_nobody_has_read(X: Any, library: Library) -> None:
    model = KMeans(4, random_state=0).fit(X)
    model.cluster_centers_ = HOST[:4].copy()
    host = KMeans(4, random_state=0).fit(HOST)
    host.cluster_centers_ = HOST[:4].copy()
    assert type(model.cluster_centers_) is np.ndarray
    assert_same_bits(model.predict(X), host.predict(HOST))
    by_hand = KMeans(4)
    by_hand.cluster_centers_ = X[:4, :]
    by_hand._n_features_out = 4
    assert_same_bits(by_hand.predict(X), host.predict(HOST))


@of_torch
def test_what_a_user_writes_into_an_array_counts(X: Any) -> None:
    model, host = KMeans(4, random_state=0).fit(X), KMeans(4, random_state=0).fit(HOST)
    for each in (model, host):
        each.cluster_centers_[0] = 0.25
    np.testing.assert_array_equal(model.predict(X), host.predict(HOST))
    assert (model.cluster_centers_[0] == 0.25).all()


@of_torch
@pytest.mark.parametrize("make", ESTIMATORS)
def test_what_becomes_of_the_rows_changes_no_result(make: Any, library: Library) -> None:
    X = library.asarray(HOST)
    model = make(4, random_state=0).fit(X)
    X[:] = 0.0
    assert_as_of_numpy(model, make(4, random_state=0).fit(HOST))


def test_another_fit_replaces_them_and_a_failed_one_does_not(X: Any, library: Library) -> None:
    model = KMeans(4, random_state=0).fit(X)
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=4"):
        model.fit(X[:2, :])
    assert unread(model) == set(NAMES)
    assert_as_of_numpy(model, KMeans(4, random_state=0).fit(HOST))
    for rows in (HOST[:300], X[300:, :], HOST):
        model.fit(rows)
        expected = KMeans(4, random_state=0).fit(np.asarray(rows))
        assert unread(model) == (set() if type(rows) is np.ndarray else set(NAMES))
        assert_as_of_numpy(model, expected)


def test_batches_read_nothing(X: Any, library: Library) -> None:
    model, host = (MiniBatchKMeans(4, random_state=0) for _ in range(2))
    for start in range(0, 600, 100):
        model.partial_fit(X[start : start + 100, :])
        host.partial_fit(HOST[start : start + 100])
        assert unread(model) == set(NAMES)
        if start == 300:  # what was read is the start of the next step
            assert_as_of_numpy(model, host)
    assert_as_of_numpy(model, host)
    without = MiniBatchKMeans(4, random_state=0, compute_labels=False).fit(X)
    assert not hasattr(without, "labels_")


def test_functions_and_fit_predict_return_arrays(X: Any, library: Library) -> None:
    assert_at_home(KMeans(4, random_state=0).fit_predict(X), library, "int32", (600,))
    centroids, labels, _ = k_means(X, 4, random_state=0)
    assert_at_home(centroids, library, "float32", (4, 5))
    assert_at_home(labels, library, "int32", (600,))


def test_two_threads_that_read_at_once_get_one_array(X: Any, library: Library) -> None:
    model = KMeans(4, random_state=0).fit(X)
    record = library_of(library.xp)
    both, made = threading.Barrier(2, timeout=60), []
    lasting = record.lasting

    def at_once(*given: Any) -> Any:
        made.append(lasting(*given))
        both.wait()
        return made[-1]

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as threads:
        patch.setattr(record, "lasting", at_once)
        one, other = threads.map(lambda _: model.labels_, range(2))
    assert len(made) == 2
    assert one is other is model.labels_


@of_torch
def test_tensors_read_in_a_context_can_be_used_outside(X: Any) -> None:
    import torch

    of_inference, of_grad = (KMeans(4, random_state=0).fit(X) for _ in range(2))
    with torch.inference_mode():
        centroids = of_inference.cluster_centers_
    weight = torch.ones(5, requires_grad=True)
    (centroids * weight).sum().backward()
    assert of_inference.cluster_centers_ is centroids
    torch.func.grad(lambda rows: (rows * of_grad.cluster_centers_).sum())(torch.ones(4, 5))
    torch.testing.assert_close(of_grad.cluster_centers_, centroids)


@of_torch
def test_tensors_read_while_torch_traces_have_numbers_outside(X: Any) -> None:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    traced, functional = (KMeans(4, random_state=0).fit(X) for _ in range(2))
    with FakeTensorMode(allow_non_fake_inputs=True):
        vars(traced)["read"] = traced.cluster_centers_, traced.labels_
    torch.func.functionalize(lambda rows: rows + functional.cluster_centers_)(torch.ones(4, 5))
    host = KMeans(4, random_state=0).fit(HOST)
    assert_as_of_numpy(traced, host)
    assert_as_of_numpy(functional, host)


@of_jax
@pytest.mark.needs("float64")
@pytest.mark.parametrize("n_clusters", [4, 2500])  # few numbers are copied, many are shared
def test_arrays_of_jax_read_in_a_context_can_be_used_outside(
    n_clusters: int, library: Library
) -> None:
    import jax

    host = cloud(2600, 5)
    X = library.asarray(host)
    make = KMeans(n_clusters, random_state=0, max_iter=2)
    expected = clone(make).fit(host).cluster_centers_
    contexts: dict[str, Callable[[Any], Any]] = {
        "x64": lambda model: read_in(jax.enable_x64(False), model),
        "guard": lambda model: read_in(jax.transfer_guard("disallow"), model),
        "jit": lambda model: jax.jit(lambda x: x + model.cluster_centers_[0, 0])(1.0),
        "vmap": lambda model: jax.vmap(lambda x: x + model.cluster_centers_[0, 0])(X[:, 0]),
        "grad": lambda model: jax.grad(lambda x: x * model.cluster_centers_[0, 0])(1.0),
    }
    for name, read in contexts.items():
        model = clone(make).fit(X)
        read(model)
        assert model.cluster_centers_.dtype == np.float64, name
        np.testing.assert_array_equal(model.cluster_centers_, expected, err_msg=name)


def read_in(context: Any, model: Any) -> Any:
    with context:
        return model.cluster_centers_
