"""What cannot be clustered is refused: one clear error, before any work, and nothing is changed."""

import copy
import inspect
import re
from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import scipy.sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import Interval

import kmeans_xp
from conftest import Library
from kmeans_xp import (
    BisectingKMeans,
    KMeans,
    MiniBatchKMeans,
    assign,
    config_context,
    inertia,
    k_means,
    kmeans_plusplus,
    lloyd,
    open_rows,
)
from kmeans_xp.devices import DeviceUnavailableError, availability, placement
from kmeans_xp.estimators.other_names import _OTHERS
from kmeans_xp.metrics import silhouette_score
from tests.assertions import assert_at_home
from tests.datasets import blobs, cloud

HOST = blobs(40)[0].astype(np.float32)

Estimator = KMeans | MiniBatchKMeans


class Refused(NamedTuple):
    """A bad argument, and what must be said of it."""

    value: Any
    message: str
    error: type[Exception] = ValueError


FITTED: dict[tuple[type, str], Any] = {}


def fitted(estimator_class: type[Estimator], library: Library) -> Estimator:
    key = estimator_class, library.variant
    if key not in FITTED:  # once: some hundred tests want one
        FITTED[key] = estimator_class(3, random_state=0).fit(library.asarray(HOST))
    estimator: Estimator = copy.copy(FITTED[key])
    return estimator


def copied(value: Any, library: Library) -> Any:
    """Return a copy on the host of an array of the host or of the library."""
    if not hasattr(value, "shape"):
        return value
    return np.array(value if isinstance(value, np.ndarray) else library.to_host(value))


def assert_left_as_it_was(
    estimator: Estimator,
    call: Callable[[], Any],
    error: type[Exception],
    message: str,
    library: Library,
) -> None:
    """The call raises this error, and each attribute is the object that it was, unchanged."""
    before = dict(vars(estimator))
    values = {name: copied(value, library) for name, value in before.items()}
    with pytest.raises(error, match=message):
        call()
    assert list(vars(estimator)) == list(before)
    for name, value in vars(estimator).items():
        assert value is before[name], name
        if hasattr(value, "shape"):
            np.testing.assert_array_equal(copied(value, library), values[name])


def with_value(value: float) -> np.ndarray:
    points = HOST.copy()
    points[7, 1] = value
    return points


BAD_ARRAYS = {
    "nan": Refused(with_value(np.nan), "NaN"),
    "inf": Refused(with_value(np.inf), "infinity"),
    "minus inf": Refused(with_value(-np.inf), "infinity"),
    "0-D": Refused(np.float32(3.0), "Expected 2D array, got (scalar|0D) array instead"),
    "1-D": Refused(HOST[:, 0], "Expected 2D array, got 1D array instead"),
    "3-D": Refused(HOST[None], "(Found array with dim 3|Expected 2D array, got 3D array)"),
    "no rows": Refused(HOST[:0], r"Found array with 0 sample\(s\)"),
    "no features": Refused(HOST[:, :0], r"Found array with 0 feature\(s\)"),
    "complex": Refused(HOST.astype(np.complex64), "Complex data not supported"),
}

BAD_HOST_DATA = {
    "objects": Refused(np.array([[{}, 1.0]] * 9, dtype=object), "float", TypeError),
    "strings in objects": Refused(np.array([["a", 1.0]] * 9, dtype=object), "could not convert"),
    "strings": Refused(np.array([["a", "b"]] * 9), "(could not convert|numeric)"),
    "text": Refused("rows.csv", "could not convert string to float: 'rows.csv'"),
    "nothing": Refused(None, "Expected 2D array, got scalar array instead"),
    "ragged": Refused([[1.0, 2.0], [3.0]], "inhomogeneous"),
    "sparse, NaN": Refused(
        scipy.sparse.csr_array(np.where(HOST > 0, HOST, np.nan)), "contains NaN"
    ),
    "sparse, infinity": Refused(
        scipy.sparse.csc_array(np.where(HOST > 0, HOST, np.inf)), "contains infinity"
    ),
    "sparse, complex": Refused(scipy.sparse.csr_matrix(HOST * 1j), "Complex data not supported"),
    "sparse, no rows": Refused(scipy.sparse.csr_array(HOST)[:0], r"Found array with 0 sample\(s\)"),
    "sparse, no features": Refused(
        scipy.sparse.csr_array(HOST)[:, :0], r"Found array with 0 feature\(s\)"
    ),
}

#: everything public that takes points
ENTRY_POINTS: dict[str, Callable[[Any, Library], Any]] = {
    "k_means": lambda X, library: k_means(X, 3),
    "kmeans_plusplus": lambda X, library: kmeans_plusplus(X, 3),
    "lloyd": lambda X, library: lloyd(X, library.asarray(HOST[:3])),
    "assign": lambda X, library: assign(X, library.asarray(HOST[:3])),
    "inertia": lambda X, library: inertia(X, library.asarray(HOST[:3])),
}


@pytest.mark.parametrize("bad", BAD_ARRAYS)
@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_functions_refuse_bad_points(entry: str, bad: str, library: Library) -> None:
    value, message, error = BAD_ARRAYS[bad]
    points = library.asarray(value)
    with pytest.raises(error, match=message):
        ENTRY_POINTS[entry](points, library)


def test_finite_points_whose_sum_overflows_are_no_error() -> None:
    points = np.full((4, 2), 3e38, np.float32)
    assert assign(points, points[:1]).labels.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("bad", BAD_ARRAYS)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "transform", "score"])
@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_estimators_refuse_bad_points_and_stay_as_they_were(
    estimator_class: type[Estimator], method: str, bad: str, library: Library
) -> None:
    if not hasattr(estimator_class, method):
        assert (estimator_class, method) == (KMeans, "partial_fit")
        return
    value, message, error = BAD_ARRAYS[bad]
    points = library.asarray(value)
    estimator = fitted(estimator_class, library)
    assert_left_as_it_was(
        estimator, lambda: getattr(estimator, method)(points), error, message, library
    )
    if "fit" in method:
        unfitted = estimator_class(3)
        assert_left_as_it_was(
            unfitted, lambda: getattr(unfitted, method)(points), error, message, library
        )


@pytest.mark.parametrize("bad", BAD_HOST_DATA)
@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_data_that_are_no_numbers_are_refused(estimator_class: type[Estimator], bad: str) -> None:
    value, message, error = BAD_HOST_DATA[bad]
    with pytest.raises(error, match=message):
        estimator_class(3).fit(value)
    with pytest.raises(error, match=message):
        fitted(estimator_class, NUMPY).predict(value)
    for function in (k_means, kmeans_plusplus):
        with pytest.raises(error, match=message):
            function(value, 3)


NUMPY = Library("numpy", "numpy", np, "cpu")


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("method", ["fit", "fit_predict", "fit_transform", "partial_fit"])
def test_more_clusters_than_rows_are_refused(
    estimator_class: type[Estimator], method: str, library: Library
) -> None:
    estimator = estimator_class(6)
    if method == "partial_fit" and estimator_class is KMeans:
        assert not hasattr(estimator, method)
        return
    points = library.asarray(HOST[:5])
    message = r"n_samples=5 should be >= n_clusters=6"
    assert_left_as_it_was(
        estimator, lambda: getattr(estimator, method)(points), ValueError, message, library
    )


def test_functions_refuse_more_clusters_than_rows(library: Library) -> None:
    points = library.asarray(HOST[:5])
    for call in (
        lambda: k_means(points, 6),
        lambda: kmeans_plusplus(points, 6),
        lambda: lloyd(points, library.asarray(HOST[:6])),
    ):
        with pytest.raises(ValueError, match="n_samples=5 should be >= n_clusters=6"):
            call()


def weights_with(value: float) -> np.ndarray:
    weights = np.ones(40, dtype=np.float32)
    weights[11] = value
    return weights


BAD_WEIGHTS = {
    "negative": Refused(weights_with(-1.0), "Negative values in data passed to `sample_weight`"),
    "nan": Refused(weights_with(np.nan), "sample_weight contains NaN"),
    "inf": Refused(weights_with(np.inf), "sample_weight contains (NaN or )?infinity"),
    "zero": Refused(np.zeros(40), "must contain at least one non-zero number"),
    "short": Refused(np.ones(39), r"sample_weight.shape == \(39,\), expected \(40,\)"),
    "long": Refused(np.ones(41), r"sample_weight.shape == \(41,\), expected \(40,\)"),
    "2-D": Refused(np.ones((40, 1)), "Sample weights must be 1D array or scalar, got 2D array"),
    "none": Refused(np.ones(0), r"(0 sample\(s\)|sample_weight.shape == \(0,\))"),
    "complex": Refused(np.ones(40, dtype=np.complex64), "(?i)complex"),
}


@pytest.mark.parametrize("placed", [True, False], ids=["of the library", "of the host"])
@pytest.mark.parametrize("bad", BAD_WEIGHTS)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "score"])
def test_bad_weights_are_refused(method: str, bad: str, placed: bool, library: Library) -> None:
    value, message, error = BAD_WEIGHTS[bad]
    if value.dtype == np.float64:
        value = value.astype(np.float32)
    weights = library.asarray(value) if placed else value
    points = library.asarray(HOST)
    for estimator_class in (KMeans, MiniBatchKMeans):
        if hasattr(estimator_class, method):
            estimator = fitted(estimator_class, library)
            assert_left_as_it_was(
                estimator,
                partial(getattr(estimator, method), points, sample_weight=weights),
                error,
                message,
                library,
            )


@pytest.mark.parametrize("bad", BAD_WEIGHTS)
def test_functions_refuse_bad_weights(bad: str, library: Library) -> None:
    value, message, error = BAD_WEIGHTS[bad]
    points, centroids = library.asarray(HOST), library.asarray(HOST[:3])
    for call in (
        lambda: k_means(points, 3, sample_weight=value),
        lambda: kmeans_plusplus(points, 3, sample_weight=value),
        lambda: lloyd(points, centroids, weights=value),
        lambda: inertia(points, centroids, weights=value),
    ):
        with pytest.raises(error, match=message):
            call()


def test_weights_that_are_no_numbers_are_refused() -> None:
    for weights in (["a"] * 40, "heavy", np.nan, -1.0, 0.0):
        with pytest.raises(ValueError, match=r"(?i)(weight|convert|numeric|array)"):
            KMeans(3).fit(HOST, sample_weight=weights)


BAD_CENTROIDS = {
    "too few": Refused(HOST[:2], r"(2, 3\) does not match the number of clusters 3|n_clusters)"),
    "too many": Refused(HOST[:4], r"\(4, 3\) does not match the number of clusters 3"),
    "too narrow": Refused(HOST[:3, :2], r"\(3, 2\) does not match the number of features .*3"),
    "too wide": Refused(np.ones((3, 4), np.float32), "does not match the number of features"),
    "nan": Refused(with_value(np.nan)[5:8], "init contains NaN"),
    "inf": Refused(with_value(np.inf)[5:8], "init contains (NaN or )?infinity"),
    "1-D": Refused(HOST[:3, 0], "Expected 2D array, got 1D array instead"),
    "complex": Refused(HOST[:3].astype(np.complex64), "Complex data not supported"),
}


@pytest.mark.parametrize("kind", ["of the library", "of the host", "callable"])
@pytest.mark.parametrize("bad", BAD_CENTROIDS)
@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_bad_initial_centroids_are_refused(
    estimator_class: type[Estimator], bad: str, kind: str, library: Library
) -> None:
    value, message, error = BAD_CENTROIDS[bad]
    init: Any = library.asarray(value) if kind == "of the library" else value
    if kind == "callable":
        init = lambda X, n_clusters, random_state: value  # noqa: E731
    estimator = fitted(estimator_class, library)
    estimator.init, estimator.n_init = init, 1
    points = library.asarray(HOST)
    assert_left_as_it_was(estimator, lambda: estimator.fit(points), error, message, library)


@pytest.mark.parametrize("bad", sorted(set(BAD_CENTROIDS) - {"too few", "too many"}))
def test_functions_refuse_bad_centroids(bad: str, library: Library) -> None:
    value, message, error = BAD_CENTROIDS[bad]
    points, centroids = library.asarray(HOST), library.asarray(value)
    for function in (lloyd, assign, inertia):
        with pytest.raises(error, match=message.replace("init ", "centroids ")):
            function(points, centroids)


def test_an_error_in_a_callable_init_leaves_the_estimator_as_it_was(library: Library) -> None:
    def broken(X: Any, n_clusters: int, random_state: Any) -> Any:
        raise LookupError("no such start")

    for estimator_class in (KMeans, MiniBatchKMeans):
        estimator = fitted(estimator_class, library)
        estimator.set_params(init=broken, n_init=1)
        points = library.asarray(HOST)
        assert_left_as_it_was(
            estimator, partial(estimator.fit, points), LookupError, "no such start", library
        )


BAD_PARAMETERS: list[tuple[type[Estimator], dict[str, Any]]] = [
    *(
        (estimator_class, parameters)
        for estimator_class in (KMeans, MiniBatchKMeans)
        for parameters in (
            {"n_clusters": 0},
            {"n_clusters": -2},
            {"n_clusters": 2.5},
            {"n_clusters": "3"},
            {"n_init": 0},
            {"n_init": "often"},
            {"max_iter": 0},
            {"tol": -1e-4},
            {"tol": np.nan},
            {"init": "foo"},
            {"init": 3},
            {"random_state": "luck"},
            {"random_state": -1.5},
            {"verbose": "loud"},
            {"device": 5},
        )
    ),
    (KMeans, {"algorithm": "full"}),
    (KMeans, {"copy_x": "no"}),
    (MiniBatchKMeans, {"batch_size": 0}),
    (MiniBatchKMeans, {"max_no_improvement": -1}),
    (MiniBatchKMeans, {"init_size": 0}),
    (MiniBatchKMeans, {"reassignment_ratio": -0.1}),
    (MiniBatchKMeans, {"compute_labels": "yes please"}),
]


@pytest.mark.parametrize(("estimator_class", "parameters"), BAD_PARAMETERS, ids=str)
def test_bad_parameters_are_named(
    estimator_class: type[Estimator], parameters: dict[str, Any]
) -> None:
    ((name, _),) = parameters.items()
    message = f"The '{name}' parameter of {estimator_class.__name__} must be .* Got "
    estimator = fitted(estimator_class, NUMPY).set_params(**parameters)
    assert_left_as_it_was(estimator, lambda: estimator.fit(HOST), ValueError, message, NUMPY)
    if isinstance(estimator, MiniBatchKMeans):
        assert_left_as_it_was(
            estimator, lambda: estimator.partial_fit(HOST), ValueError, message, NUMPY
        )


def test_parameters_of_a_subclass_are_checked_by_its_own_constraints() -> None:
    class Named(KMeans):
        _parameter_constraints: ClassVar[dict[str, Any]] = {
            **KMeans._parameter_constraints,
            "n_clusters": [Interval(Integral, 2, None, closed="left")],
            "name": [str],
            "note": "no_validation",
        }

        def __init__(self, n_clusters: Any = None, *, name: Any = "some", note: Any = 0) -> None:
            super().__init__(n_clusters, random_state=0)
            self.name = name
            self.note = note

    Named(3, note=object()).fit(HOST)
    KMeans(1).fit(HOST)
    for bad, name in (
        (Named(), "n_clusters"),
        (Named(1), "n_clusters"),
        (Named(3, name=4), "name"),
    ):
        with pytest.raises(ValueError, match=f"The '{name}' parameter of Named must be"):
            bad.fit(HOST)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: lloyd(HOST, HOST[:3], max_iter=0),
            "max_iter must be an integer of at least 1, got 0",
        ),
        (lambda: lloyd(HOST, HOST[:3], max_iter=2.0), "max_iter must be an int"),
        (lambda: lloyd(HOST, HOST[:3], tol=-1.0), "tol must be a number of at least 0, got -1.0"),
        (lambda: lloyd(HOST, HOST[:3], tol=np.nan), "tol must be a number of at least 0, got nan"),
        (lambda: k_means(HOST, 0), "The 'n_clusters' parameter of KMeans must be"),
        (lambda: k_means(HOST, 3, init="foo"), "The 'init' parameter of KMeans must be"),
        (lambda: k_means(HOST, 3, n_init=0), "The 'n_init' parameter of KMeans must be"),
        (lambda: kmeans_plusplus(HOST, 0), "n_clusters must be an integer of at least 1, got 0"),
        (
            lambda: kmeans_plusplus(HOST, True),
            "n_clusters must be an integer of at least 1, got True",
        ),
        (lambda: kmeans_plusplus(HOST, 2, n_local_trials=0), "n_local_trials must be an int"),
        (lambda: kmeans_plusplus(HOST, 2, x_squared_norms=[1.0]), "length of x_squared_norms"),
        (lambda: kmeans_plusplus(HOST, 2, random_state="luck"), "cannot be used to seed"),
        (
            lambda: config_context(n_threads=0).__enter__(),
            "n_threads must be an integer of at least 1 or None, got 0",
        ),
    ],
)
def test_bad_arguments_of_functions_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(39, dtype=np.int32), r"labels must be 40 integers.*\(39,\)"),
        (np.zeros((40, 1), dtype=np.int32), r"labels must be 40 integers.*\(40, 1\)"),
        (np.zeros(40, dtype=np.float32), "labels must be 40 integers.*float32"),
        (np.full(40, 3, dtype=np.int32), "labels must lie in 0 to 2"),
        (np.full(40, -1, dtype=np.int32), "labels must lie in 0 to 2"),
    ],
    ids=["short", "2-D", "floats", "too large", "negative"],
)
def test_labels_of_no_centroid_are_refused(
    labels: np.ndarray, message: str, library: Library
) -> None:
    points, centroids = library.asarray(HOST), library.asarray(HOST[:3])
    for given in (labels, library.asarray(labels)):
        with pytest.raises(ValueError, match=message):
            inertia(points, centroids, given)


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_what_needs_a_fit_says_so(estimator_class: type[Estimator], library: Library) -> None:
    points = library.asarray(HOST)
    for call in (
        lambda e: e.predict(points),
        lambda e: e.transform(points),
        lambda e: e.score(points),
        lambda e: e.to_device("cpu"),
        lambda e: e.to_sklearn(),
    ):
        with pytest.raises(
            NotFittedError, match=f"This {estimator_class.__name__} instance is not"
        ):
            call(estimator_class(3))


@pytest.mark.parametrize("method", ["predict", "transform", "score", "partial_fit"])
def test_another_number_of_features_is_refused(method: str, library: Library) -> None:
    for estimator_class in (KMeans, MiniBatchKMeans):
        estimator = fitted(estimator_class, library)
        if hasattr(estimator, method):
            name = estimator_class.__name__
            message = f"X has 2 features, but {name} is expecting 3 features as input"
            call = partial(getattr(estimator, method), library.asarray(HOST[:, :2]))
            assert_left_as_it_was(estimator, call, ValueError, message, library)


def no_cuda() -> str:
    return "CuPy is installed but found no CUDA device"


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_that_cannot_be_used_is_an_error_that_says_why(
    device: str, estimator_class: type[Estimator], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (availability, placement):
        monkeypatch.setattr(module, "why_cupy_is_unusable", no_cuda)
    index = device.partition(":")[2] or "0"
    message = (
        f"device='cuda:{index}' was asked for, but CuPy is installed but found no CUDA "
        r"device\. Or use device='cpu'"
    )
    estimator = fitted(estimator_class, NUMPY)
    moving = estimator.to_device
    estimator.device = device
    for call in (
        lambda: estimator.fit(HOST),
        lambda: estimator.predict(HOST),
        lambda: moving(device),
    ):
        assert_left_as_it_was(estimator, call, DeviceUnavailableError, message, NUMPY)


def test_a_default_device_that_cannot_be_used_is_the_same_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (availability, placement):
        monkeypatch.setattr(module, "why_cupy_is_unusable", no_cuda)
    message = "was asked for, but CuPy is installed but found no CUDA device"
    with config_context(device="cuda"), pytest.raises(DeviceUnavailableError, match=message):
        KMeans(3).fit(HOST)
    monkeypatch.setenv("KMEANS_XP_DEVICE", "cuda:0")
    for call in (lambda: KMeans(3).fit(HOST), lambda: lloyd(HOST, HOST[:3])):
        with pytest.raises(DeviceUnavailableError, match=message):
            call()
    KMeans(3, device="cpu").fit(HOST)


def test_auto_without_cuda_computes_where_the_data_are_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (availability, placement):
        monkeypatch.setattr(module, "why_cupy_is_unusable", no_cuda)
    small = KMeans(3, device="auto", random_state=0).fit(HOST)
    assert "small" in small.device_reason_
    monkeypatch.setattr(placement, "_WORTH_MOVING", 0)
    large = KMeans(3, device="auto", random_state=0).fit(HOST)
    assert no_cuda() in large.device_reason_
    assert type(large.labels_) is np.ndarray


@pytest.mark.parametrize("device", ["tpu", "cpu:1", "cuda:", "cuda:x", "CUDA", ""])
def test_a_device_of_no_such_name_is_refused(device: str, library: Library) -> None:
    points = library.asarray(HOST)
    message = re.escape(f"device={device!r} is not known; use None, 'auto', 'cpu', 'cuda' or")
    for estimator_class in (KMeans, MiniBatchKMeans):
        estimator = fitted(estimator_class, library).set_params(device=device)
        for method in ("fit", "predict", "transform", "score"):
            call = partial(getattr(estimator, method), points)
            assert_left_as_it_was(estimator, call, ValueError, message, library)


def test_a_cuda_device_beyond_those_there_are_is_refused(library: Library) -> None:
    if library.name != "cupy":
        return
    estimator = fitted(KMeans, library).set_params(device="cuda:99")
    message = r"device='cuda:99' was asked for, but CuPy finds \d+ CUDA devices"
    assert_left_as_it_was(
        estimator,
        lambda: estimator.fit(library.asarray(HOST)),
        DeviceUnavailableError,
        message,
        library,
    )


def test_weights_and_centroids_of_another_library_or_device_are_placed(library: Library) -> None:
    # The namespace's default device is not the tested one for every variant.
    elsewhere = [np.asarray(HOST[:3]), library.xp.asarray(HOST[:3].copy())]
    weights = [np.ones(40, np.float32), library.xp.asarray(np.ones(40, np.float32))]
    points = library.asarray(HOST)
    for init, sample_weight in zip(elsewhere, weights, strict=True):
        for estimator_class in (KMeans, MiniBatchKMeans):
            estimator = estimator_class(3, init=init, n_init=1, random_state=0)
            estimator.fit(points, sample_weight=sample_weight)
            assert_at_home(estimator.cluster_centers_, library, "float32", (3, 3))
        result = lloyd(points, init, weights=sample_weight)
        assert_at_home(result.centroids, library, "float32", (3, 3))
        assert inertia(points, init, result.labels, weights=sample_weight) > 0.0
    on_host = KMeans(3, init=library.asarray(HOST[:3]), n_init=1)
    on_host.fit(HOST, sample_weight=library.asarray(np.ones(40, np.float32)))
    assert type(on_host.cluster_centers_) is np.ndarray


def test_a_refit_that_fails_leaves_the_first_fit_in_use(library: Library) -> None:
    host = cloud(60, 3).astype(np.float32)
    points = library.asarray(host)
    for estimator_class in (KMeans, MiniBatchKMeans):
        estimator = estimator_class(4, random_state=0).fit(points)
        labels = library.to_host(estimator.predict(points))
        with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=4"):
            estimator.fit(library.asarray(host[:3, :2]))
        np.testing.assert_array_equal(library.to_host(estimator.predict(points)), labels)
        assert estimator.n_features_in_ == 3


def masked_rows() -> Any:
    rows = np.ma.masked_equal(np.where(np.arange(60).reshape(20, 3) % 7 == 0, -9999.0, 1.0), -9999)
    assert rows.mask.any()
    return rows


about_numpy = pytest.mark.skip_library(
    "array_api_strict", "torch", "jax", "dpnp", "cupy", reason="about arrays of NumPy and SciPy"
)


@about_numpy
@pytest.mark.parametrize(
    "call",
    [
        lambda masked: KMeans(2).fit(masked),
        lambda masked: KMeans(2).fit_predict(masked.astype(np.float32)),
        lambda masked: MiniBatchKMeans(2).partial_fit(masked),
        lambda masked: KMeans(2).fit(masked.data).predict(masked),
        lambda masked: KMeans(2, init=masked[:2], n_init=1).fit(masked.data),
        lambda masked: KMeans(2).fit(masked.data, sample_weight=masked[:, 0]),
        lambda masked: kmeans_plusplus(masked, 2),
        lambda masked: silhouette_score(masked, [0, 1] * 10),
        lambda masked: silhouette_score(masked.data, masked[:, 0]),
        lambda masked: KMeans(2).fit(open_rows(lambda: iter([masked]))),
    ],
)
def test_a_mask_is_not_lost(call: Any) -> None:
    with pytest.raises(ValueError, match="has masked elements"):
        call(masked_rows())


@about_numpy
def test_a_masked_array_without_masked_elements_is_an_array() -> None:
    rows = np.ma.masked_array(np.arange(12.0).reshape(6, 2))
    expected = KMeans(2, random_state=0).fit(rows.data)
    found = KMeans(2, random_state=0).fit(rows)
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    assert type(found.cluster_centers_) is np.ndarray


@about_numpy
@pytest.mark.parametrize(
    "damage",
    [
        lambda m: m.indices.__setitem__(3, 10**6),
        lambda m: m.indices.__setitem__(0, -1),
        lambda m: m.indptr.__setitem__(-1, 10**6),
        lambda m: m.indptr.__setitem__(2, m.indptr[3] + 1),
    ],
)
def test_sparse_rows_that_point_outside_of_themselves_are_refused(damage: Any) -> None:
    matrix = scipy.sparse.random(30, 8, density=0.4, format="csr", random_state=0)
    fitted = KMeans(2, random_state=0).fit(matrix)
    damage(matrix)
    for call in (KMeans(2).fit, MiniBatchKMeans(2).fit, fitted.predict, fitted.transform):
        with pytest.raises(ValueError, match=r"point outside of it|are damaged"):
            call(matrix)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("output_type", "X's library"),
        ("oversampling_factor", r"kmeans_parallel\(X, n_clusters, oversampling=...\)"),
        ("max_samples_per_batch", "tiles follow from the shapes"),
        ("handle", "current stream"),
        ("spherical", 'metric="cosine"'),
        ("n_streams", "current stream"),
        ("n_jobs", r"config_context\(n_threads=...\)"),
    ],
)
@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans, BisectingKMeans])
def test_parameters_of_other_libraries_are_told_what_they_are_here(
    estimator: Any, name: str, instead: str
) -> None:
    with pytest.raises(
        TypeError, match=f"{estimator.__name__} has no parameter {name!r}.*{instead}"
    ):
        estimator(**{name: 1})
    with pytest.raises(ValueError, match=f"has no parameter {name!r}.*{instead}"):
        estimator().set_params(**{name: 1})
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        estimator(nonsense=1)
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        estimator().set_params(nonsense=1)


@pytest.mark.parametrize("other", _OTHERS)
def test_what_is_told_instead_exists(other: str) -> None:
    _, instead = _OTHERS[other]
    called = re.findall(r"(\w+)\(", instead)
    known = {*inspect.signature(KMeans).parameters, *called}
    for name in called:
        assert name in kmeans_xp.__all__
        known |= inspect.signature(getattr(kmeans_xp, name)).parameters.keys()
    named = re.findall(r"\w+(?==)|[a-z]+_\w+", instead)
    assert set(named) <= known
    assert called or named or instead.startswith("nothing to set")


@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans, BisectingKMeans])
def test_keywords_of_other_libraries_are_told_what_they_are_here(estimator: Any) -> None:
    X = np.arange(12.0).reshape(6, 2)
    fitted = estimator(2, random_state=0).fit(X)
    methods = ["fit", "predict", "transform", "score", "fit_transform"]
    methods += ["partial_fit"] if estimator is MiniBatchKMeans else []
    for name in methods:
        told = f"{name} has no parameter 'convert_dtype'; cuML has it.*are converted"
        with pytest.raises(TypeError, match=told):
            getattr(fitted, name)(X, convert_dtype=True)
        with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
            getattr(fitted, name)(X, nonsense=True)
    with pytest.raises(TypeError, match=r"k_means has no parameter 'output_type'; cuML.*X's lib"):
        k_means(X, 2, output_type="numpy")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"has no init='scalable-k-means.*init=\"k-means\|\|\""):
        estimator(2, init="scalable-k-means++").fit(X)


def test_parameters_and_values_of_k_means_in_other_libraries_are_told() -> None:
    X = np.arange(12.0).reshape(6, 2)
    with pytest.raises(TypeError, match=r"has no parameter 'init_size'; cuML.*MiniBatchKMeans"):
        KMeans(init_size=0)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r'init="k-means\|\|"'):
        k_means(X, 2, init="scalable-k-means++")
