"""Choice of library and device, transfers there and back, and tile sizes."""

import gc
import importlib
import importlib.metadata
import logging
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import Library
from kmeans_xp import config_context, devices
from kmeans_xp.devices import (
    DeviceUnavailableError,
    accumulation_dtype,
    adopted,
    availability,
    available,
    begin_read,
    bring,
    choose,
    computing_dtype,
    device_of,
    from_host,
    is_array,
    is_host_array,
    is_out_of_memory,
    library_name,
    memory,
    namespace_of,
    placement,
    send,
    tile_shape,
    to_host,
)
from kmeans_xp.devices.libraries import LIBRARIES
from kmeans_xp.kernels import DenseRows

OTHERS = ("numpy", "array_api_strict", "torch", "jax", "dpnp")
on_cupy = pytest.mark.skip_library(*OTHERS, reason="about moves to and from CuPy")

DTYPES = ["bool", "int8", "int32", "int64", "uint8", "float32", "float64"]
SHAPES = [(), (0,), (3,), (2, 3), (0, 4)]

NO_CUPY = "CuPy is not installed: pip install it"


@pytest.fixture(autouse=True)
def no_default_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KMEANS_XP_DEVICE", raising=False)


@pytest.fixture
def without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (availability, placement):
        monkeypatch.setattr(module, "why_cupy_is_unusable", lambda: NO_CUPY)


def host_array(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 2, shape).astype(dtype)


def other_array(library: Library) -> Any:
    """Return an array of another library."""
    if library.name != "numpy":
        return np.ones(2)
    return pytest.importorskip("array_api_strict").ones(2)


def test_a_library_is_known_by_its_array(library: Library) -> None:
    array = library.asarray([1.0, 2.0], "float32")
    assert is_array(array)
    assert library_name(namespace_of(array)) == library.name
    assert namespace_of(array, array) is namespace_of(array)
    assert device_of(array) == library.device


@pytest.mark.parametrize("value", [3.0, [1.0, 2.0], "array", None], ids=repr)
def test_what_is_no_array_is_known(value: object) -> None:
    assert not is_array(value)


def test_arrays_of_two_libraries_are_refused(library: Library) -> None:
    other = other_array(library)
    array = library.asarray([1.0], "float32")
    with pytest.raises(TypeError, match="different libraries") as caught:
        namespace_of(array, other)
    for value in (array, other):
        assert type(value).__module__.partition(".")[0] in str(caught.value)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_go_to_the_device_and_back(
    dtype: str, shape: tuple[int, ...], library: Library
) -> None:
    host = host_array(shape, dtype)
    array = from_host(host, xp=library.xp, device=library.device)
    assert namespace_of(array) is namespace_of(library.asarray([0]))
    assert device_of(array) == library.device
    back = to_host(array)
    assert type(back) is np.ndarray
    assert back.shape == shape
    np.testing.assert_array_equal(back, host)
    dtypes = library.xp.__array_namespace_info__().dtypes(device=library.device)
    assert back.dtype == (dtype if dtype in dtypes else dtype.replace("64", "32"))


@pytest.mark.needs("float16")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_half_precision_goes_to_the_device_and_back(
    shape: tuple[int, ...], library: Library
) -> None:
    host = host_array(shape, "float16")
    back = to_host(from_host(host, xp=library.xp, device=library.device))
    assert back.dtype == np.float16
    np.testing.assert_array_equal(back, host)


@pytest.mark.skip_library("numpy", "array_api_strict", "dpnp", "cupy", reason="has no bfloat16")
def test_bfloat16_comes_to_the_host_with_its_values(library: Library) -> None:
    array = library.xp.astype(library.asarray([1.5, -2.0], "float32"), library.xp.bfloat16)
    np.testing.assert_array_equal(to_host(array).astype(np.float32), [1.5, -2.0])


def test_host_arrays_of_any_memory_layout_go_to_the_device(library: Library) -> None:
    host = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    for view in (host.T, host[::2, 1:], host[::-1, ::-1], np.asfortranarray(host)):
        array = from_host(view, xp=library.xp, device=library.device)
        np.testing.assert_array_equal(library.to_host(array), view)


def test_a_read_only_host_array_goes_to_the_device(library: Library) -> None:
    host = np.arange(3.0, dtype=np.float32)
    host.flags.writeable = False
    array = from_host(host, xp=library.xp, device=library.device)
    np.testing.assert_array_equal(library.to_host(array), host)


@pytest.mark.needs("writable")
@pytest.mark.skip_library("numpy", "array_api_strict", reason="may be the same memory")
def test_a_read_only_host_array_is_not_shared(library: Library) -> None:
    host = np.arange(3.0, dtype=np.float32)
    host.flags.writeable = False
    array = from_host(host, xp=library.xp, device=library.device)
    array[0] = 7.0
    assert host[0] == 0.0


def test_a_dtype_can_be_asked_for(library: Library) -> None:
    dtype = library.xp.float32
    array = from_host(np.array([1, 2]), xp=library.xp, device=library.device, dtype=dtype)
    assert array.dtype == dtype
    np.testing.assert_array_equal(library.to_host(array), [1.0, 2.0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_read_that_was_begun_gives_the_values_of_then(
    shape: tuple[int, ...], library: Library
) -> None:
    host = host_array(shape, "float32")
    array = library.asarray(host)
    read = begin_read(array)
    _ = array + 1  # work that is queued meanwhile
    values = read()
    assert type(values) is np.ndarray
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, host)


@pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp", "mlx"), reason="has no pinned memory"
)
def test_a_read_that_is_dropped_keeps_its_memory_until_it_is_copied(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    cupy, cupyx = (importlib.import_module(name) for name in ("cupy", "cupyx"))
    is_done, memory = [False], []

    class Event:
        def __init__(self, **flags: Any) -> None: ...
        def record(self) -> None: ...
        def synchronize(self) -> None:
            is_done[0] = True

        @property
        def done(self) -> bool:
            return is_done[0]

    def pinned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        array = np.empty(shape, dtype)
        memory.append(weakref.ref(array))
        return array

    monkeypatch.setattr(cupy.cuda, "Event", Event)
    monkeypatch.setattr(cupyx, "empty_pinned", pinned)
    array = library.asarray([1.0, 2.0], "float32")
    read = begin_read(array)
    del read
    begin_read(array)  # another, dropped too
    gc.collect()
    assert all(each() is not None for each in memory)
    is_done[0] = True
    read = begin_read(array)
    gc.collect()
    assert [each() is not None for each in memory] == [False, False, True]
    is_done[0] = False
    assert read().tolist() == [1.0, 2.0]
    del read
    gc.collect()
    assert memory[2]() is None


def test_lists_come_to_the_host_and_numpy_stays() -> None:
    array = np.arange(3)
    assert to_host(array) is array
    np.testing.assert_array_equal(to_host([1, 2]), [1, 2])


@pytest.mark.skip_library(
    "numpy", "array_api_strict", "jax", "dpnp", "cupy", reason="has no gradients to detach"
)
def test_an_array_with_a_gradient_comes_to_the_host(library: Library) -> None:
    array = library.asarray([1.0, 2.0], "float32").requires_grad_()
    np.testing.assert_array_equal(to_host(array), [1.0, 2.0])


def test_sums_are_accumulated_in_float64_where_the_device_has_it(library: Library) -> None:
    array = library.asarray([1.0], "float32")
    lacking = library.variant == "jax-x32"
    expected = library.xp.float32 if lacking else library.xp.float64
    assert accumulation_dtype(device_of(array), xp=library.xp) == expected


@pytest.mark.parametrize("name", ["no_float64", "no_x64"])
def test_a_device_without_float64_gets_float32(name: str) -> None:
    import array_api_strict as xp

    device = xp.Device(name)
    array = from_host(np.array([1.0, 2.0]), xp=xp, device=device)
    assert (array.dtype, device_of(array)) == (xp.float32, device)
    assert accumulation_dtype(device, xp=xp) == xp.float32
    np.testing.assert_array_equal(to_host(array), [1.0, 2.0])
    integers = from_host(np.array([1, 2]), xp=xp, device=device)
    assert integers.dtype == (xp.int64 if name == "no_float64" else xp.int32)


def test_arrays_of_the_host_are_told_from_those_of_other_libraries(library: Library) -> None:
    assert is_host_array(library.asarray([1.0], "float32")) == (library.name == "numpy")
    assert all(is_host_array(value) for value in ([1.0], 1.0, None, np.zeros(2)))


def test_what_is_not_float64_is_computed_in_float32(library: Library) -> None:
    xp = library.xp
    assert computing_dtype(xp.float64, xp=xp) == xp.float64
    names = [name for name in ("float32", "float16", "bfloat16") if hasattr(xp, name)]
    assert {computing_dtype(getattr(xp, name), xp=xp) for name in names} == {xp.float32}


def empty_rows(n_points: int, n_features: int) -> DenseRows:
    """Return rows of this shape that take no memory."""
    return DenseRows(np.broadcast_to(np.zeros((), "float32"), (n_points, n_features)))


@given(
    n_points=st.integers(1, 10**9),
    n_features=st.integers(1, 10**5),
    n_columns=st.integers(1, 10**7),
    itemsize=st.sampled_from([1, 4, 8]),
)
def test_a_tile_is_within_the_budget(
    n_points: int, n_features: int, n_columns: int, itemsize: int
) -> None:
    rows = empty_rows(n_points, n_features)
    n_rows, columns = tile_shape(rows, n_columns, xp=numpy_xp, itemsize=itemsize)
    budget = memory._CPU_TILE_BYTES
    assert 1 <= n_rows <= n_points
    assert 1 <= columns <= n_columns
    assert n_rows * columns * itemsize <= budget
    # The tile of points themselves is bounded too, but that a row is never cut.
    assert n_rows == 1 or n_rows * n_features * itemsize <= budget
    # Columns are cut only where rows would become too few.
    assert columns == n_columns or memory._WANTED_ROWS * (columns + 1) * itemsize > budget
    # No smaller than they must be.
    wider = max(columns, n_features)
    assert n_rows == n_points or (n_rows + 1) * wider * itemsize > budget


def test_tiles_follow_from_shapes_alone(library: Library) -> None:
    xp = library.xp
    points = [xp.zeros((5000, 7), dtype=xp.float32, device=library.device)]
    expected = tile_shape(DenseRows(points[0]), 3000, xp=xp)
    points += [
        xp.ones((2**21, 4), dtype=xp.float32, device=library.device),
        library.asarray(np.ones((7, 5000), np.float32)).T,
        library.asarray(np.ones((5000, 7), np.int32)),
    ]
    for same_shape in (points[0], *points[2:]):
        assert tile_shape(DenseRows(same_shape), 3000, xp=xp) == expected


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("numpy", MemoryError()),
        ("another", MemoryError()),
        ("torch", type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory.")),
        ("torch", RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes")),
        ("dpnp", type("USMAllocationError", (Exception,), {})("USM allocation failed")),
        ("jax", RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_errors_of_memory_are_known(name: str, error: Exception) -> None:
    assert is_out_of_memory(error, xp=ModuleType(name))


@pytest.mark.parametrize("error", [RuntimeError("memory"), ValueError("8 bytes"), KeyError()])
def test_other_errors_are_not_of_memory(error: Exception) -> None:
    assert not any(is_out_of_memory(error, xp=ModuleType(name)) for name in LIBRARIES)


def points_of(library: Library) -> Any:
    return library.asarray(np.arange(6.0).reshape(3, 2), "float32")


def test_the_computation_follows_the_data(library: Library) -> None:
    points = points_of(library)
    chosen = choose(points)
    assert (chosen.xp, chosen.device) == (namespace_of(points), library.device)
    assert chosen.is_home
    assert library.name in chosen.reason
    assert send(points, chosen) is points
    assert bring(points, chosen) is points


def test_automatic_leaves_the_data_of_other_libraries_and_small_ones(library: Library) -> None:
    chosen = choose(points_of(library), "auto")
    assert chosen.is_home
    assert ("small" if library.name == "numpy" else library.name) in chosen.reason


def test_cpu_brings_the_data_to_the_host_and_results_back(library: Library) -> None:
    points = points_of(library)
    chosen = choose(points, "cpu")
    brought = bring(points, chosen)
    assert namespace_of(brought) is chosen.xp
    assert device_of(brought) == chosen.device
    assert library_name(chosen.xp) == ("numpy" if library.name == "cupy" else library.name)
    np.testing.assert_array_equal(to_host(brought), library.to_host(points))
    sent = send(brought, chosen)
    assert namespace_of(sent) is namespace_of(points)
    assert device_of(sent) == library.device
    np.testing.assert_array_equal(library.to_host(sent), library.to_host(points))
    assert "'cpu'" in chosen.reason


@pytest.mark.skip_library("array_api_strict-device1", "cupy", reason="lies on a device of its own")
def test_cpu_moves_nothing_that_is_there(library: Library) -> None:
    points = points_of(library)
    chosen = choose(points, "cpu")
    assert chosen.is_home
    assert bring(points, chosen) is points


def test_what_lies_on_the_host_is_brought_to_the_data(library: Library) -> None:
    chosen = choose(points_of(library))
    for weights in ([1, 2, 3], np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])[::-1]):
        brought = bring(weights, chosen, dtype=library.xp.float32)
        assert namespace_of(brought) is chosen.xp
        assert device_of(brought) == library.device
        assert brought.dtype == library.xp.float32
        np.testing.assert_array_equal(library.to_host(brought), [1.0, 2.0, 3.0])


def test_an_array_of_another_library_is_brought(library: Library) -> None:
    chosen = choose(points_of(library))
    brought = bring(other_array(library), chosen, dtype=library.xp.float32)
    assert namespace_of(brought) is chosen.xp
    np.testing.assert_array_equal(library.to_host(brought), [1.0, 1.0])


@pytest.mark.parametrize(
    "device", ["gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:one", "cuda:0 ", "", "auto:0", 1]
)
def test_unknown_devices_are_refused(device: Any) -> None:
    with pytest.raises(ValueError, match="is not known; use None, 'auto', 'cpu', 'cuda'") as caught:
        choose(np.ones((2, 2)), device)
    assert repr(device) in str(caught.value)


def test_the_environment_names_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEANS_XP_DEVICE", "cpu")
    assert "'cpu' was asked for" in choose(np.ones((2, 2))).reason
    monkeypatch.setenv("KMEANS_XP_DEVICE", "gpu")
    with pytest.raises(ValueError, match="device='gpu' is not known"):
        choose(np.ones((2, 2)))


@pytest.mark.usefixtures("without_cupy")
def test_argument_then_context_then_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.ones((2, 2))
    monkeypatch.setenv("KMEANS_XP_DEVICE", "cuda")
    with pytest.raises(DeviceUnavailableError):
        choose(points)
    with config_context(device="auto"):
        assert "small" in choose(points).reason
        assert "'cpu'" in choose(points, "cpu").reason
        with config_context(device="cuda:1"), pytest.raises(DeviceUnavailableError, match="cuda:1"):
            choose(points)


@pytest.mark.usefixtures("without_cupy")
@pytest.mark.parametrize(("device", "shown"), [("cuda", "cuda:0"), ("cuda:3", "cuda:3")])
@pytest.mark.skip_library("torch", reason="has CUDA devices of its own")
def test_cuda_without_cupy_says_why_and_what_to_do(
    device: str, shown: str, library: Library
) -> None:
    with pytest.raises(DeviceUnavailableError) as caught:
        choose(points_of(library), device)
    assert (
        str(caught.value) == f"device='{shown}' was asked for, but {NO_CUPY}. Or use device='cpu'."
    )


@pytest.mark.skip_library("numpy", "array_api_strict", "jax", "dpnp", "cupy", reason="uses CuPy")
def test_cuda_without_a_cuda_build_of_torch_says_so(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(DeviceUnavailableError, match="torch finds 0 CUDA devices; install a CUDA"):
        choose(points_of(library), "cuda")


@pytest.mark.usefixtures("without_cupy")
def test_automatic_without_cupy_stays_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_WORTH_MOVING", 0)
    chosen = choose(np.ones((2, 2)), "auto")
    assert chosen.is_home
    assert chosen.reason == f"the CPU (NumPy): {NO_CUPY}"


def test_automatic_logs_its_reason_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="kmeans_xp"):
        chosen = choose(np.ones((2, 2)), "auto")
    assert [record.getMessage() for record in caplog.records] == [f"device='auto': {chosen.reason}"]


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """Forget whether CuPy was usable, before the test and after it."""
    availability.why_cupy_is_unusable.cache_clear()
    yield
    availability.why_cupy_is_unusable.cache_clear()


def fake_cupy(get_device_count: Any) -> ModuleType:
    module = ModuleType("cupy")
    module.__dict__.update(
        cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=get_device_count)),
        arange=np.arange,
    )
    return module


def failing() -> int:
    raise RuntimeError("cudaErrorInsufficientDriver: driver too old")


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (None, r"CuPy is not installed: pip install 'kmeans_xp\[cuda12\]'"),
        (fake_cupy(lambda: 0), "CuPy is installed but found no CUDA device"),
        (fake_cupy(failing), r"CUDA does not work here \(cudaErrorInsuff.*\); check .*nvidia-smi"),
    ],
    ids=["not installed", "no device", "driver too old"],
)
def test_why_cupy_cannot_be_used(
    module: ModuleType | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", module)
    with pytest.raises(DeviceUnavailableError, match=reason):
        choose(np.ones((2, 2)), "cuda")
    report = next(report for report in available() if report.library == "cupy")
    assert (report.device, report.usable) == ("cuda", False)
    assert report.detail == availability.why_cupy_is_unusable()


@pytest.mark.usefixtures("asked_anew")
def test_a_cupy_that_does_not_import_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cupy.py").write_text("raise ImportError('libcudart.so.12: cannot open')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(
        DeviceUnavailableError, match=r"does not import \(libcudart.so.12: .*reinst"
    ):
        choose(np.ones((2, 2)), "cuda")


@pytest.mark.usefixtures("asked_anew")
def test_cupy_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def count() -> int:
        calls.append("getDeviceCount")
        return 1

    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count))
    assert [availability.why_cupy_is_unusable() for _ in range(3)] == [None] * 3
    assert len(calls) == 1


def test_available_begins_with_numpy_and_names_every_library() -> None:
    with config_context(n_threads=3):
        numpy, *others = available()
    assert numpy[:3] == ("numpy", "cpu", True)
    assert np.__version__ in numpy.detail
    assert "3 threads" in numpy.detail
    assert {"numpy", *(report.library for report in others)} == set(LIBRARIES)
    strict = next(report for report in others if report.library == "array_api_strict")
    assert strict.usable


def test_available_says_how_to_install_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    torch = next(report for report in available() if report.library == "torch")
    assert torch == ("torch", "its own", False, "not installed: pip install torch")


def test_a_folder_of_the_name_of_a_library_is_not_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = importlib.metadata.version

    def of_installed(name: str) -> str:
        if name == "mlx":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    (tmp_path / "mlx").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", of_installed)
    mlx = next(report for report in available() if report.library == "mlx")
    assert mlx == ("mlx", "its own", False, "not installed: pip install mlx")


def test_looking_around_imports_no_library_but_cupy() -> None:
    code = (
        "import sys; from kmeans_xp import devices; devices.available();"
        "print([name for name in ('torch', 'jax', 'dpnp', 'array_api_strict')"
        " if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


class InCuda:
    """CUDA memory of no Array API library, as another package would hold it."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class WithDlpack:
    """Memory that can be had by DLPack alone."""

    def __init__(self, array: Any, kind: int) -> None:
        self.array = array
        self.kind = kind

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.kind, 0)


@pytest.mark.parametrize(
    "value",
    [[1.0], np.ones(2), WithDlpack(np.ones(2), kind=1)],
    ids=["list", "NumPy", "DLPack of the host"],
)
def test_what_is_not_in_cuda_is_not_adopted(value: Any) -> None:
    assert adopted(value) is value


@pytest.mark.usefixtures("without_cupy")
@pytest.mark.parametrize(
    "value",
    [
        InCuda(__cuda_array_interface__={}),
        InCuda(to_cupy=lambda: None),
        WithDlpack(None, kind=2),
    ],
    ids=["interface", "to_cupy", "DLPack"],
)
def test_cuda_memory_without_cupy_is_refused(value: Any) -> None:
    with pytest.raises(DeviceUnavailableError) as caught:
        adopted(value)
    assert str(caught.value) == f"{type(value).__name__} lies in CUDA memory, but {NO_CUPY}."


@on_cupy
@pytest.mark.parametrize("kind", ["interface", "to_cupy", "DLPack"])
def test_cuda_memory_is_adopted_without_a_copy(kind: str, library: Library) -> None:
    array = points_of(library)
    value = {
        "interface": InCuda(__cuda_array_interface__=array.__cuda_array_interface__),
        "to_cupy": InCuda(to_cupy=lambda: array),
        "DLPack": WithDlpack(array, kind=2),
    }[kind]
    taken = adopted(value)
    assert namespace_of(taken) is namespace_of(array)
    assert taken.data.ptr == array.data.ptr
    np.testing.assert_array_equal(library.to_host(taken), library.to_host(array))


@on_cupy
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_cuda_brings_numpy_to_cupy_and_results_back(device: str, library: Library) -> None:
    points = np.arange(6.0).reshape(3, 2)
    chosen = choose(points, device)
    brought = bring(points, chosen)
    assert not chosen.is_home
    assert namespace_of(brought) is namespace_of(points_of(library))
    assert device_of(brought) == library.device
    sent = send(2.0 * brought, chosen)
    assert type(sent) is np.ndarray
    np.testing.assert_array_equal(sent, 2.0 * points)


@on_cupy
def test_cuda_moves_nothing_that_is_there(library: Library) -> None:
    points = points_of(library)
    chosen = choose(points, "cuda")
    assert chosen.is_home
    assert bring(points, chosen) is points


@on_cupy
def test_automatic_moves_what_is_worth_it(library: Library) -> None:
    worth = placement._WORTH_MOVING // 8
    chosen = choose(empty_rows(2 * worth, 1).points, "auto")
    assert library_name(chosen.xp) == "cupy"
    assert "large enough" in chosen.reason
    assert choose(empty_rows(2 * worth - 1, 1).points, "auto").is_home


@on_cupy
def test_a_cuda_device_that_is_not_there_is_refused(library: Library) -> None:
    expected = r"'cuda:7' was asked for, but CuPy finds \d CUDA devices; use 'cuda:0' to 'cuda:\d'"
    with pytest.raises(DeviceUnavailableError, match=expected):
        choose(points_of(library), "cuda:7")


@on_cupy
def test_available_lists_the_cuda_devices(library: Library) -> None:
    cupy = pytest.importorskip("cupy")
    reports = [report for report in available() if report.library == "cupy"]
    n_devices = cupy.cuda.runtime.getDeviceCount()
    assert [report.device for report in reports] == [f"cuda:{i}" for i in range(n_devices)]
    assert all(report.usable and cupy.__version__ in report.detail for report in reports)


@on_cupy
def test_arrays_move_between_cuda_devices(library: Library) -> None:
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two CUDA devices")
    points = points_of(library)
    chosen = choose(points, "cuda:1")
    assert not chosen.is_home
    with devices.working_device(chosen.xp, chosen.device):
        brought = bring(points, chosen)
        assert device_of(brought).id == 1
        doubled = 2.0 * brought
        host = from_host(np.ones(3, np.float32), xp=chosen.xp, device=chosen.device)
    assert device_of(host).id == 1
    sent = send(doubled, chosen)
    assert device_of(sent).id == 0
    np.testing.assert_array_equal(library.to_host(sent), 2.0 * library.to_host(points))


def test_dtypes_of_strict_arrays_are_not_compared_with_those_of_numpy() -> None:
    strict = pytest.importorskip("array_api_strict")
    # Either may be asked about first; a comparison would warn, which is an error here.
    for array in (np.zeros(2), strict.zeros(2), np.zeros(2, np.float32)):
        assert devices.is_of_kind(array, "real floating")
        assert devices.is_of_kind(array, ("real floating", "integral"))
