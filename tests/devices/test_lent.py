"""Arrays of libraries without kernels: those of NumPy and CuPy compute with them in place."""

import functools
import gc
import os
import pickle
import subprocess
import sys
import tracemalloc
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from conftest import Library
from kmeans_xp import (
    BisectingKMeans,
    KMeans,
    MiniBatchKMeans,
    assign,
    config_context,
    inertia,
    kmeans_plusplus,
)
from kmeans_xp.config import get_config
from kmeans_xp.devices import choose, lent, library_of
from kmeans_xp.estimators.fitted_arrays import as_computed
from kmeans_xp.kernels import kernels
from kmeans_xp.metrics import silhouette_score
from kmeans_xp.selection import choose_n_clusters
from tests.assertions import PRECISIONS, assert_at_home
from tests.datasets import cloud, positive_weights

HOST = cloud(3000, 6).astype(np.float32)
WEIGHTS = positive_weights(3000).astype(np.float32)

pytestmark = pytest.mark.lent

of_host_libraries = pytest.mark.skip_library(
    "numpy", "array_api_strict", "dpnp", "cupy", reason="about libraries that borrow kernels"
)
of_torch = pytest.mark.skip_library(
    "numpy", "array_api_strict", "jax", "dpnp", "cupy", "mlx", reason="about tensors of torch"
)
on_cuda = pytest.mark.skip_library(
    "numpy", "array_api_strict", "torch", "jax", "dpnp", "mlx", reason="about CUDA"
)

of_jax = pytest.mark.skip_library(
    "numpy", "array_api_strict", "torch", "dpnp", "cupy", "mlx", reason="about arrays of JAX"
)


@pytest.fixture(autouse=True)
def fastest(library: Library) -> Iterator[None]:
    with config_context(compute="fastest"):
        yield


def address(array: Any) -> int:
    """Return where the memory of an array on the host begins."""
    return int(np.from_dlpack(array).ctypes.data)


def attributes(model: Any) -> dict[str, Any]:
    """Return what a fit has set; this reads the arrays."""
    return vars(model) | {name: getattr(model, name) for name in ("labels_", "cluster_centers_")}


JOBS: dict[str, Callable[[Any, Any], Any]] = {
    "fit": lambda X, w: attributes(KMeans(5, random_state=0).fit(X, sample_weight=w)),
    "half precision": lambda X, w: KMeans(5, random_state=0).fit_predict(X),
    "mini-batch": lambda X, w: attributes(
        MiniBatchKMeans(5, random_state=0).fit(X, sample_weight=w)
    ),
    "transform": lambda X, w: KMeans(5, random_state=0).fit(X).transform(X),
    "score": lambda X, w: KMeans(5, random_state=0).fit(X).score(X, sample_weight=w),
    "seeding": lambda X, w: tuple(kmeans_plusplus(X, 5, sample_weight=w, random_state=0)),
    "assign": lambda X, w: tuple(assign(X, X[:5, :])),
    "inertia": lambda X, w: inertia(X, X[:5, :]),
    "metrics": lambda X, w: silhouette_score(X[:300, :], np.arange(300) % 3),
    "selection": lambda X, w: choose_n_clusters(X[:300, :], range(2, 5), random_state=0).n_clusters,
}


def numbers_in(result: Any, library: Library) -> list[np.ndarray]:
    if isinstance(result, dict):
        result = tuple(result[name] for name in sorted(result))
    if isinstance(result, tuple):
        return [array for part in result for array in numbers_in(part, library)]
    is_array = hasattr(result, "shape") and not isinstance(result, np.ndarray | np.generic)
    if is_array:
        return [library.to_host(result)]
    return [np.asarray(result)] if isinstance(result, np.ndarray | int | float) else []


@of_host_libraries
@pytest.mark.parametrize("name", JOBS)
def test_results_have_the_bits_that_numpy_has(name: str, library: Library) -> None:
    host = HOST.astype(np.float16) if name == "half precision" else HOST
    X, weights = library.asarray(host), library.asarray(WEIGHTS)
    found = numbers_in(JOBS[name](X, weights), library)
    expected = numbers_in(JOBS[name](host, WEIGHTS), library)
    assert found
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@of_host_libraries
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans, BisectingKMeans])
def test_halves_are_computed_in_a_copy_of_float32(make: Any, dtype: str, library: Library) -> None:
    xp = library.xp

    def converted(array: Any, name: str) -> Any:
        is_method = hasattr(array, "astype")
        return (array.astype if is_method else functools.partial(xp.astype, array))(
            getattr(xp, name)
        )

    X = converted(library.asarray(HOST), dtype)
    wide = library.to_host(converted(X, "float32"))
    model, expected = (make(5, random_state=0).fit(rows) for rows in (X, wide))
    assert model.device_reason_.endswith("numpy's kernels compute in a copy in float32")
    assert model.inertia_ == expected.inertia_
    assert_at_home(model.cluster_centers_, library, "float32", (5, 6))
    for one, other in (
        (model.cluster_centers_, expected.cluster_centers_),
        (model.labels_, expected.labels_),
        (model.predict(X), expected.labels_),
        (model.transform(X), expected.transform(wide)),
        (assign(X, X[:5, :]).labels, assign(wide, wide[:5]).labels),
    ):
        np.testing.assert_array_equal(library.to_host(one), other)
    rows, indices = kmeans_plusplus(X, 5, random_state=0)
    assert rows.dtype == X.dtype
    found = library.to_host(converted(rows, "float32"))
    np.testing.assert_array_equal(found, wide[library.to_host(indices)])
    with config_context(compute="own"):
        assert library.is_lent_only or not choose(X).is_lent


@of_host_libraries
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
def test_results_are_of_the_inputs_library(make: Any, library: Library) -> None:
    X = library.asarray(HOST)
    model = make(5, random_state=0).fit(X)
    assert_at_home(model.cluster_centers_, library, "float32", (5, 6))
    assert_at_home(model.transform(X), library, "float32", (3000, 5))
    for labels in (model.labels_, model.predict(X)):
        assert_at_home(labels, library, "int32", (3000,))
    assert "numpy's kernels compute in the same memory" in model.device_reason_


@of_host_libraries
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans, BisectingKMeans])
def test_the_cpu_is_where_such_arrays_are(make: Any, library: Library) -> None:
    X = library.asarray(HOST)
    model = make(5, random_state=0).fit(X)
    moved = model.to_device("cpu")
    assert moved.device == "cpu"
    for there in (moved, make(5, random_state=0, device="cpu").fit(X)):
        assert_at_home(there.cluster_centers_, library, "float32", (5, 6))
        assert_at_home(there.labels_, library, "int32", (3000,))
        found, expected = (library.to_host(each.predict(X)) for each in (there, model))
        np.testing.assert_array_equal(found, expected)


@of_host_libraries
@pytest.mark.skip_library("mlx", reason="computes nothing by itself")
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans, BisectingKMeans])
def test_what_a_fit_keeps_for_itself_goes_on_by_the_librarys_own_kernels(
    make: Any, library: Library
) -> None:
    X = library.asarray(HOST)
    model = make(5, random_state=0).fit(X)
    assert type(model._centroids) is type(model._origin) is np.ndarray
    again = pickle.loads(pickle.dumps(model)).to_device("cpu")
    with config_context(compute="own"):
        labels = again.predict(X)
    assert_at_home(labels, library, "int32", (3000,))
    assert (library.to_host(labels) == library.to_host(model.labels_)).mean() > 0.99


@of_host_libraries
def test_pickles_come_back_to_the_library(library: Library) -> None:
    X = library.asarray(HOST)
    model = KMeans(5, random_state=0).fit(X)
    again = pickle.loads(pickle.dumps(model))
    assert_at_home(again.cluster_centers_, library, "float32", (5, 6))
    assert_at_home(again.labels_, library, "int32", (3000,))
    labels = library.to_host(again.predict(X))
    np.testing.assert_array_equal(labels, library.to_host(model.labels_))


@of_host_libraries
def test_rows_are_seen_where_they_lie(library: Library) -> None:
    X = library.asarray(HOST)
    assert address(lent(X)) == address(X)
    seen = []
    portable = kernels["lloyd_step"].portable

    def looking(rows: Any, centroids: Any, *, xp: Any) -> Any:
        seen.append((address(rows.points), address(rows.weights)))
        return portable(rows, centroids, xp=xp)

    weights = library.asarray(WEIGHTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels["lloyd_step"], "_bodies", {})
        patch.setattr(kernels["lloyd_step"], "overrides", lambda *_: (looking,))
        for name in ("lloyd_steps", "takes_whole_runs"):  # which take steps by themselves
            patch.setattr(kernels[name], "overrides", lambda *_: ())
            patch.setattr(kernels[name], "_bodies", {})
        KMeans(5, random_state=0, algorithm="lloyd").fit(X, sample_weight=weights)
    assert set(seen) == {(address(X), address(weights))}


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    """Rows whose labels take more than the 64 KiB that JAX copies sooner than it shares them."""
    return cloud(40_000, 8).astype(np.float32)


@of_host_libraries
@pytest.mark.skip_library("mlx", reason="copies what it gets by DLPack")
@pytest.mark.parametrize("algorithm", ["lloyd", "hamerly"])
@pytest.mark.parametrize("n_clusters", [3, 40])
def test_labels_are_handed_over_where_they_lie(
    algorithm: str, n_clusters: int, many: np.ndarray, library: Library
) -> None:
    pytest.importorskip("numba", reason="NumPy's memory begins anywhere, and JAX copies that")
    X = library.asarray(many)
    model = KMeans(n_clusters, random_state=0, max_iter=3, algorithm=algorithm).fit(X)
    computed = as_computed(model, "labels_")
    assert type(computed) is np.ndarray
    assert address(model.labels_) == computed.ctypes.data
    for make in (MiniBatchKMeans, BisectingKMeans):
        model = make(n_clusters, random_state=0).fit(X)
        computed = as_computed(model, "labels_")
        assert address(model.labels_) == computed.ctypes.data


@of_host_libraries
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans, BisectingKMeans])
def test_a_fit_allocates_the_bytes_that_it_does_for_numpy(
    make: Any, many: np.ndarray, library: Library
) -> None:
    # A copy of the labels or of the weights takes 160,000 bytes, one of the rows eight times that.
    few_bytes = 10_000
    weights = positive_weights(len(many)).astype(np.float32)
    given = {
        "numpy": (many, weights),
        "library": (library.asarray(many), library.asarray(weights)),
    }

    def peak(X: Any, weights: Any) -> int:
        """Return the most bytes in use at a time that NumPy and Python have allocated."""
        gc.collect()
        tracemalloc.start()
        try:
            make(4, random_state=0, max_iter=3).fit(X, sample_weight=weights)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with config_context(n_threads=1):  # with more, it depends on which threads run at a time
        for arrays in given.values():
            peak(*arrays)  # keeps what the first fit of a size keeps
        found = {name: peak(*arrays) for name, arrays in given.items()}
    assert found["numpy"] > many.nbytes // 8
    assert abs(found["library"] - found["numpy"]) < few_bytes


@of_host_libraries
def test_rows_are_lent_once(library: Library) -> None:
    X = library.asarray(HOST)
    record = library_of(library.xp)
    model = KMeans(5, random_state=0).fit(X)
    lent_arrays: list[Any] = []

    def counting(lends: Callable[..., Any]) -> Callable[..., Any]:
        def counted(array: Any, *to: Any) -> Any:
            shared = lends(array, *to)
            if shared is not None:
                lent_arrays.append(array)
            return shared

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in ("lent", "seen_by_numpy"):
            patch.setattr(record, name, counting(getattr(record, name)))
        for call in (KMeans(5, random_state=0).fit, model.predict, model.transform, model.score):
            lent_arrays.clear()
            call(X)
            assert sum(array is X for array in lent_arrays) == 1


@of_host_libraries
@pytest.mark.skip_library("mlx", reason="must say what its device has")
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_fit_asks_for_no_list_of_dtypes(dtype: str, library: Library) -> None:
    # To make one takes longer than a fit of few rows.
    def refuse() -> None:
        raise AssertionError("a list of dtypes was made")

    X = library.asarray(HOST, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library.xp, "__array_namespace_info__", refuse)
        model = KMeans(5, random_state=0).fit(X)
        distances = model.transform(X)
    assert_at_home(model.cluster_centers_, library, dtype, (5, 6))
    assert_at_home(distances, library, dtype, (3000, 5))


@of_jax
@pytest.mark.needs("float64")
def test_results_are_narrowed_where_jax_makes_nothing_wide_any_more(library: Library) -> None:
    import jax

    X = library.asarray(HOST, "float64")
    with jax.enable_x64(False):
        model = KMeans(5, random_state=0).fit(X)
        _, indices = kmeans_plusplus(X, 5, random_state=0)
    assert_at_home(model.cluster_centers_, library, "float32", (5, 6))
    assert_at_home(indices, library, "int32", (5,))


@of_host_libraries
@pytest.mark.skip_library("mlx", reason="computes nothing by itself")
def test_computing_by_itself_can_be_asked_for(library: Library) -> None:
    X = library.asarray(HOST)
    with config_context(compute="own"):
        assert get_config().compute == "own"
        assert lent(X) is X
        assert choose(X).xp is library.xp
        assert "kernels" not in KMeans(5, random_state=0).fit(X).device_reason_
    assert choose(X).is_lent
    assert choose(X, "cpu").is_lent
    assert choose(X, "auto").is_lent


@of_torch
def test_tensors_of_any_layout_are_taken(library: Library) -> None:
    import torch

    expected = KMeans(5, random_state=0).fit(HOST)
    wide = torch.from_numpy(np.repeat(np.repeat(HOST, 2, axis=0), 3, axis=1))
    layouts = {
        "strided": wide[::2, ::3],
        "transposed": torch.from_numpy(np.ascontiguousarray(HOST.T)).T,
        "with gradient": torch.from_numpy(HOST.copy()).requires_grad_(),
    }
    for name, X in layouts.items():
        model = KMeans(5, random_state=0).fit(X)
        np.testing.assert_array_equal(model.labels_, expected.labels_, err_msg=name)


@of_torch
@pytest.mark.parametrize("compute", ["fastest", "own"])
def test_tensors_of_negated_memory_are_taken(compute: Any, library: Library) -> None:
    import torch

    X = torch.from_numpy(HOST.copy())
    imaginary = torch.complex(X, X).conj().imag
    assert imaginary.is_neg()
    with config_context(compute=compute):
        expected = KMeans(5, random_state=0).fit(-X, sample_weight=X[:, 0] ** 2)
        weights = torch.complex(X, -(X**2)).conj().imag[:, 0]
        model = KMeans(5, random_state=0).fit(imaginary, sample_weight=weights)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    with pytest.raises(ValueError, match="Complex data not supported"):
        KMeans(5).fit(torch.complex(X, X).conj())


@of_torch
@pytest.mark.parametrize("compute", ["fastest", "own"])
@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning", "ignore:torch.quantize:UserWarning")
def test_tensors_without_readable_numbers_are_refused(compute: Any, library: Library) -> None:
    import torch

    X = torch.from_numpy(HOST.copy())
    model = KMeans(5, random_state=0).fit(X)
    others = {
        r"meta tensor.*another device": X.to("meta"),
        r"torch\.float8_e4m3fn.*float\(\)": X.to(torch.float8_e4m3fn),
        r"quantized.*dequantize\(\)": torch.quantize_per_tensor(X, 0.1, 0, torch.qint8),
        r"sparse_csr.*scipy\.sparse\.csr_array": X.to_sparse_csr(),
        r"sparse_coo.*scipy\.sparse\.csr_array": X.to_sparse(),
        r"sparse_csc.*to_dense\(\)": X.to_sparse_csc(),
    }
    with config_context(compute=compute):
        for message, rows in others.items():
            for call in (KMeans(5).fit, MiniBatchKMeans(5).partial_fit, model.predict):
                with pytest.raises(TypeError, match=message):
                    call(rows)


@of_torch
@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning")
def test_sparse_tensors_can_be_converted_as_their_error_says(library: Library) -> None:
    import torch

    host = np.where(HOST > 0.5, HOST, np.float32(0))
    X = torch.from_numpy(host).to_sparse().to_sparse_csr()
    matrix = scipy.sparse.csr_array((X.values(), X.col_indices(), X.crow_indices()), X.shape)
    expected = KMeans(3, random_state=0).fit(scipy.sparse.csr_array(host))
    model = KMeans(3, random_state=0).fit(matrix)
    np.testing.assert_array_equal(model.labels_, expected.labels_)


@of_torch
@pytest.mark.parametrize("compute", ["fastest", "own"])
@pytest.mark.parametrize("transform", ["vmap", "grad"])
def test_a_tensor_that_is_transformed_is_refused(
    transform: str, compute: Any, library: Library
) -> None:
    import torch

    X = torch.from_numpy(HOST.copy())
    model = KMeans(2, random_state=0).fit(X)
    calls: tuple[Callable[[Any], Any], ...] = (
        KMeans(2).fit_predict,
        lambda rows: KMeans(2).fit(X, sample_weight=rows[:, 0]).labels_,
        model.predict,
        functools.partial(kmeans_plusplus, n_clusters=2),
        lambda rows: assign(X, rows[:2, :]).labels,
    )
    for call in calls:
        transformed = getattr(torch.func, transform)(call)
        with (
            config_context(compute=compute),
            pytest.raises(TypeError, match=r"inside torch\.vmap.*outside"),
        ):
            transformed(X[None] if transform == "vmap" else X)


@pytest.mark.skip_library(
    "numpy", "array_api_strict", "torch", "jax", "dpnp", "cupy", reason="about arrays of MLX"
)
def test_arrays_of_mlx_of_any_layout_and_dtype_are_taken(library: Library) -> None:
    mx = library.xp
    wide = library.asarray(np.repeat(np.repeat(HOST, 2, axis=0), 3, axis=1))
    rounded = library.asarray(HOST).astype(mx.bfloat16)
    float64 = mx.array(HOST.astype(np.float64), dtype=mx.float64)
    cases = {
        "strided": (wide[::2, ::3], HOST, mx.float32),
        "transposed": (library.asarray(np.ascontiguousarray(HOST.T)).T, HOST, mx.float32),
        "bfloat16": (rounded, np.asarray(rounded.astype(mx.float32)), mx.float32),
        "float64": (float64, HOST.astype(np.float64), mx.float64),
    }
    for name, (X, host, dtype) in cases.items():
        model, expected = (KMeans(5, random_state=0).fit(rows) for rows in (X, host))
        assert model.cluster_centers_.dtype == dtype, name
        assert pickle.loads(pickle.dumps(model)).cluster_centers_.dtype == dtype, name
        where = "a copy in float32" if name == "bfloat16" else "the same memory"
        assert model.device_reason_.endswith(f"numpy's kernels compute in {where}")
        for one in ("labels_", "cluster_centers_"):
            theirs = np.asarray(getattr(model, one))
            np.testing.assert_array_equal(theirs, getattr(expected, one), err_msg=name)


@of_jax
@pytest.mark.parametrize("transform", ["jit", "vmap", "grad"])
def test_an_array_that_is_traced_is_refused(transform: str, library: Library) -> None:
    import jax

    X = library.asarray(HOST)
    model = KMeans(2, random_state=0).fit(X)
    calls: tuple[Callable[[Any], Any], ...] = (
        KMeans(2).fit_predict,
        lambda rows: KMeans(2).fit(X, sample_weight=rows[:, 0]).labels_,
        lambda rows: KMeans(2, init=rows[:2, :]).fit(X).labels_,
        model.predict,
        model.score,
        functools.partial(kmeans_plusplus, n_clusters=2),
        lambda rows: assign(X, rows[:2, :]).labels,
    )
    for call in calls:
        traced = getattr(jax, transform)(call)
        with pytest.raises(TypeError, match=r"JAX is tracing.*outside"):
            traced(X[None] if transform == "vmap" else X)


@of_jax
def test_sparse_matrices_of_jax_are_refused_and_can_be_converted(library: Library) -> None:
    import jax.experimental.sparse

    host = np.where(HOST > 0.5, HOST, np.float32(0))
    bcoo = jax.experimental.sparse.BCOO.fromdense(library.asarray(host))
    X = jax.experimental.sparse.BCSR.from_bcoo(bcoo)
    model = KMeans(3, random_state=0)
    for rows in (bcoo, X):
        with pytest.raises(TypeError, match=r"(BCOO|BCSR) of jax.*scipy\.sparse\.csr_array"):
            model.fit(rows)
    matrix = scipy.sparse.csr_array((X.data, X.indices, X.indptr), X.shape)
    expected = model.fit(scipy.sparse.csr_array(host)).labels_
    np.testing.assert_array_equal(model.fit(matrix).labels_, expected)


@of_jax
def test_results_lie_on_the_device_of_the_rows_and_rows_on_several_are_refused(
    library: Library,
) -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-W", "error", "-c", _ON_TWO_DEVICES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


_ON_TWO_DEVICES = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from kmeans_xp import KMeans, assign, config_context, k_means_batched

first, second = jax.devices()
host = np.random.default_rng(0).normal(size=(20_000, 5)).astype(np.float32)
spread = NamedSharding(jax.make_mesh((2,), ("rows",)), PartitionSpec("rows"))
for n_rows in (100, 20_000):  # few numbers are copied, many are shared
    for device in (first, second):
        X = jax.device_put(host[:n_rows], device)
        model = KMeans(4, random_state=0).fit(X)
        assert str(device.id) in model.device_reason_, model.device_reason_
        results = [model.labels_, model.cluster_centers_, model.predict(X), model.transform(X)]
        results += [*assign(X, X[:3]), *k_means_batched(X[None], 2)]
        for result in results:
            assert result.devices() == {device}, (n_rows, result.devices())
        expected = KMeans(4, random_state=0).fit(host[:n_rows])
        np.testing.assert_array_equal(model.labels_, expected.labels_)
        np.testing.assert_array_equal(model.transform(X), expected.transform(host[:n_rows]))
    sharded = jax.device_put(host[:n_rows], spread)
    for compute in ("fastest", "own"):
        for call in (KMeans(4).fit, model.predict, lambda rows: assign(rows, X[:4])):
            try:
                with config_context(compute=compute):
                    call(sharded)
            except ValueError as error:
                assert "lies on 2 devices" in str(error) and "device_put" in str(error), error
            else:
                raise AssertionError("took rows on two devices")
"""


@of_jax
def test_a_fit_compiles_nothing_for_a_new_number_of_rows(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    import jax

    with jax.log_compiles():
        library.xp.sum(library.asarray(HOST[:1789, :])).block_until_ready()
        assert "ompil" in caplog.text  # it logs what it compiles
        for dtype in (np.float32, np.float64):
            X = library.asarray(HOST[:1790, :].astype(dtype))
            caplog.clear()
            model = KMeans(5, random_state=0).fit(X)
            results = model.labels_, model.cluster_centers_, model.predict(X), model.transform(X)
            model.score(X)
            assert not caplog.records
            for result in results:
                assert result.devices() == X.devices()


@of_jax
def test_results_come_back_without_what_jax_does_not_publish(library: Library) -> None:
    import jax.core

    make = type(library_of(library.xp))
    direct = make("jax").shared(WEIGHTS, library.xp)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(jax.core, "ShapedArray")
        public = make("jax").shared(WEIGHTS, library.xp)
    assert direct.sharding == public.sharding
    assert direct.committed == public.committed
    for array in (direct, public):
        np.testing.assert_array_equal(library.to_host(array), WEIGHTS)


class StandIn:
    """An array on a CUDA device, of a library that has no kernels and gives memory by DLPack."""

    def __init__(self, array: Any) -> None:
        self.array = array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return self.array.ndim  # type: ignore[no-any-return]

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def device(self) -> Any:
        return self.array.device

    def __array_namespace__(self, api_version: Any = None) -> Any:
        return stand_in()

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


@functools.cache
def stand_in() -> types.ModuleType:
    import array_api_compat.cupy as cupy

    made = types.ModuleType("stand_in")
    for name in ("isdtype", "float32", "float64", "int32", "__array_namespace_info__"):
        setattr(made, name, getattr(cupy, name))
    made.from_dlpack = lambda array: StandIn(cupy.from_dlpack(array))  # type: ignore[attr-defined]
    return made


@on_cuda
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
def test_cuda_arrays_of_others_launch_what_cupys_launch(make: Any, library: Library) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="counts launches and copies")
    cupy = pytest.importorskip("cupy")
    points = library.asarray(HOST)

    def counts(X: Any) -> dict[str, int]:
        make(5, random_state=0).fit(X)  # compiles
        # How often the pool asks for memory depends on what it still has.
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()
        stats.reset()
        model = make(5, random_state=0).fit(X)
        model.predict(X)
        assert type(model.labels_) is type(X)
        # When memory is freed is up to the garbage collector.
        of_memory = ("frees", "peak_bytes", "current_bytes")
        return {name: n for name, n in stats.read().items() if name not in of_memory}

    assert counts(StandIn(points)) == counts(points)


@on_cuda
def test_cuda_memory_of_others_is_not_copied(library: Library) -> None:
    points = library.asarray(HOST)
    model = KMeans(5, random_state=0).fit(StandIn(points))
    expected = KMeans(5, random_state=0).fit(points)
    assert lent(StandIn(points)).data.ptr == points.data.ptr
    assert "cupy's kernels compute in the same memory" in model.device_reason_
    for name in ("labels_", "cluster_centers_"):
        one, other = getattr(model, name).array, getattr(expected, name)
        np.testing.assert_array_equal(library.to_host(one), library.to_host(other))


def test_an_unknown_way_to_compute_is_refused(library: Library) -> None:
    context = config_context(compute="numpy")
    with pytest.raises(ValueError, match="compute must be 'fastest' or 'own', got 'numpy'"):
        context.__enter__()
