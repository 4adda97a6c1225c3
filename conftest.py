"""The array libraries that the tests run on.

``pytest`` runs on every library that can be used here. ``pytest --library torch`` runs on that
one, and fails if it cannot be used. A test asks for the fixture ``library`` (or ``xp``, its
namespace) and runs once for each variant; tests that do not are run with NumPy only.
"""

import contextlib
import importlib.util
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import pytest
import sklearn
from array_api_compat import array_namespace, device
from numpy.typing import ArrayLike, DTypeLike, NDArray
from sklearn.utils.fixes import parse_version

# JAX reads this once, on import. The default would make every float64 a float32; set it to 0
# to run the tests that way ("jax-x32").
os.environ.setdefault("JAX_ENABLE_X64", "1")

_base_profile = hypothesis.settings(
    deadline=None,
    suppress_health_check=[
        # `library` holds nothing that one example could leave for the next.
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
hypothesis.settings.register_profile("ci", _base_profile, max_examples=10, derandomize=True)
hypothesis.settings.register_profile("few", _base_profile, max_examples=3, derandomize=True)
hypothesis.settings.register_profile("nightly", _base_profile, max_examples=50)
hypothesis.settings.register_profile("thorough", _base_profile, max_examples=500)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Doctest collection imports every module, and these two import what an extra installs.
collect_ignore = [
    f"kmeans_xp/kernels/for_{name}"
    for name in ("cupy", "numba")
    if importlib.util.find_spec(name) is None
]

#: what a variant lacks: feature -> {library or variant -> reason}, for @needs(feature)
KNOWN_LIMITS: dict[str, dict[str, str]] = {
    "bfloat16": {},
    "float16": {"array_api_strict": "the standard has no float16"},
    "float64": {"jax-x32": "JAX makes float64 a float32 unless JAX_ENABLE_X64 is set"},
    "writable": {
        "jax": "JAX arrays cannot be written to",
        "numpy-readonly": "this variant makes arrays that cannot be written to",
    },
}


@dataclass(frozen=True)
class Library:
    """An array library as the tests use it: a namespace, a device, and the way in and out."""

    name: str
    variant: str
    xp: ModuleType
    device: Any  #: None where arrays have none
    to_numpy: Callable[[Any], Any] = np.asarray
    read_only: bool = False
    strict_flags: Mapping[str, bool] = field(default_factory=dict)
    #: whether its arrays are clustered by another library's kernels alone
    is_lent_only: bool = False
    #: a variant that allows less, whose tests show what this one's would
    covered_by: str | None = None

    def asarray(self, host_array: ArrayLike, dtype: DTypeLike | None = None) -> Any:
        """Return a copy on the device; ``dtype`` is NumPy's or its name."""
        host_array = np.array(host_array, dtype=dtype)
        where = {} if self.device is None else {"device": self.device}
        array = self.xp.asarray(host_array, **where)
        if self.read_only:
            array.flags.writeable = False
        return array

    def to_host(self, array: Any) -> NDArray[Any]:
        """Return the values as a NumPy array."""
        return np.asarray(self.to_numpy(array))

    def is_in(self, names: Mapping[str, str] | tuple[str, ...]) -> str | None:
        """Return which of ``names`` is this library or this variant, if any is."""
        return next((name for name in (self.variant, self.name) if name in names), None)


def _numpy() -> list[Library]:
    xp = array_namespace(np.empty(0))
    return [
        Library("numpy", "numpy", xp, "cpu", covered_by="numpy-readonly"),
        Library("numpy", "numpy-readonly", xp, "cpu", read_only=True),
    ]


def _array_api_strict() -> list[Library]:
    import array_api_strict as xp

    cpu, other = xp.__array_namespace_info__().devices()[:2]
    strictest = {"boolean_indexing": False, "data_dependent_shapes": False}
    name = "array_api_strict"
    return [
        Library(name, name, xp, cpu, covered_by=f"{name}-strictest"),
        Library(name, f"{name}-strictest", xp, cpu, strict_flags=strictest),
        Library(name, f"{name}-device1", xp, other, lambda array: array.to_device(cpu)),
    ]


def _torch() -> list[Library]:
    import torch

    xp = array_namespace(torch.empty(0))
    return [Library("torch", "torch", xp, torch.device("cpu"), lambda array: array.cpu().numpy())]


def _jax() -> list[Library]:
    import jax

    variant = "jax" if jax.config.read("jax_enable_x64") else "jax-x32"
    return [Library("jax", variant, jax.numpy, jax.devices()[0])]


def _dpnp() -> list[Library]:
    import dpnp

    probe = dpnp.empty(1)
    return [Library("dpnp", "dpnp", array_namespace(probe), device(probe), dpnp.asnumpy)]


def _cupy() -> list[Library]:
    import cupy

    if parse_version(cupy.__version__) < parse_version("14"):
        KNOWN_LIMITS["bfloat16"]["cupy"] = "CuPy has bfloat16 from version 14 on"
    probe = cupy.zeros(1)
    return [Library("cupy", "cupy", array_namespace(probe), device(probe), cupy.asnumpy)]


def _mlx() -> list[Library]:
    import mlx.core as xp

    return [Library("mlx", "mlx", xp, None, is_lent_only=True)]


#: each imports its library, makes an array with it, and returns the variants to test
LOADERS: dict[str, Callable[[], list[Library]]] = {
    "numpy": _numpy,
    "array_api_strict": _array_api_strict,
    "torch": _torch,
    "jax": _jax,
    "dpnp": _dpnp,
    "cupy": _cupy,
    "mlx": _mlx,
}

_libraries = pytest.StashKey[list[Library]]()
_unusable = pytest.StashKey[dict[str, str]]()
_asked_for = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--library",
        action="append",
        default=[],
        metavar="NAME",
        help=f"run on this array library (repeat, or separate by commas): {', '.join(LOADERS)}",
    )


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "needs(feature): skip where KNOWN_LIMITS in conftest.py says that a library lacks it",
        "sampled(n, **of): run one case of n on every library but NumPy; another number of a"
        " library by its name: sampled(2, numpy=4). All with KMEANS_XP_FUZZ set",
        "skip_library(*names, reason): skip on these libraries or variants",
        "lent: about arrays that another library's kernels compute with",
        "xfail_library(*names, reason): must fail on these libraries or variants",
        "since_sklearn(version): skip with an older scikit-learn",
    ):
        config.addinivalue_line("markers", line)
    asked_for = [name for value in config.getoption("library") for name in value.split(",")]
    config.stash[_asked_for] = asked_for
    config.stash[_libraries], config.stash[_unusable] = _load(asked_for)


def _load(asked_for: list[str]) -> tuple[list[Library], dict[str, str]]:
    """Return the variants to test, and why each library left out cannot be used."""
    if unknown := [name for name in asked_for if name not in LOADERS]:
        raise pytest.UsageError(
            f"--library: there is no {', '.join(unknown)}; choose from {', '.join(LOADERS)}"
        )
    libraries: list[Library] = []
    unusable: dict[str, str] = {}
    for name in asked_for or LOADERS:
        try:
            libraries += LOADERS[name]()
        except Exception as error:  # noqa: BLE001  (a library may fail to start in its own way)
            unusable[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if asked_for and unusable:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in unusable.items())
        raise pytest.UsageError(f"--library: cannot be used here: {reasons}")
    return libraries, unusable


def pytest_report_header(config: pytest.Config) -> list[str]:
    variants = ", ".join(library.variant for library in config.stash[_libraries])
    return [f"libraries: {variants}"] + [
        f"not run on {name}: {reason}" for name, reason in config.stash[_unusable].items()
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "library" in metafunc.fixturenames:
        libraries = _not_covered(metafunc.config.stash[_libraries], metafunc.definition)
        ids = [library.variant for library in libraries]
        metafunc.parametrize("library", libraries, ids=ids, indirect=True)


def _not_covered(libraries: list[Library], test: pytest.Item) -> list[Library]:
    """Return the variants to run a test on: not those that a stricter one stands for."""
    names = {library.variant: library for library in libraries}
    run = []
    for library in libraries:
        stricter = names.get(library.covered_by or "")
        if stricter is None or _why_skipped(test, stricter) is not None:
            run.append(library)
    return run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked_for = config.stash[_asked_for]
    left_out = _not_sampled(items)
    for item in items:
        _skip_with_older_sklearn(item)
        if (library := _library_of(item)) is not None:
            if library.is_lent_only and item.get_closest_marker("lent") is None:
                left_out.add(item)
            _apply_markers(item, library)
        elif asked_for and "numpy" not in asked_for:
            left_out.add(item)
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _skip_with_older_sklearn(item: pytest.Item) -> None:
    if (mark := item.get_closest_marker("since_sklearn")) is not None:
        (version,) = mark.args
        is_older = parse_version(sklearn.__version__) < parse_version(version)
        reason = f"scikit-learn {sklearn.__version__} is older than {version}"
        item.add_marker(pytest.mark.skipif(is_older, reason=reason))


def _not_sampled(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the cases that ``sampled`` leaves out: each library runs other cases of a test."""
    if "KMEANS_XP_FUZZ" in os.environ:
        return set()
    cases: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled"):
            library = _library_of(item)
            variant = "numpy" if library is None else library.variant
            cases.setdefault((item.nodeid.partition("[")[0], variant), []).append(item)
    left_out: set[pytest.Item] = set()
    for of_a_test in cases.values():
        n_run = -(-len(of_a_test) // _one_of(of_a_test[0]))  # at least one
        left_out.update(sorted(of_a_test, key=_draw)[n_run:])
    return left_out


def _draw(item: pytest.Item) -> int:
    return zlib.crc32(item.nodeid.encode())


def _one_of(item: pytest.Item) -> int:
    """Return of how many cases one is run on the library of a case; on NumPy, of one."""
    mark, library = item.get_closest_marker("sampled"), _library_of(item)
    assert mark is not None
    (for_others,) = mark.args
    name = "numpy" if library is None else library.name
    n: int = mark.kwargs.get(name, 1 if name == "numpy" else for_others)
    return n


def _library_of(item: pytest.Item) -> Library | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("library")


def _why_skipped(test: pytest.Item, library: Library) -> str | None:
    for mark in test.iter_markers("needs"):
        for feature in mark.args:
            limits = KNOWN_LIMITS[feature]
            if name := library.is_in(limits):
                return limits[name]
    for mark in test.iter_markers("skip_library"):
        if library.is_in(mark.args):
            return str(mark.kwargs["reason"])
    return None


def _apply_markers(item: pytest.Item, library: Library) -> None:
    if (reason := _why_skipped(item, library)) is not None:
        item.add_marker(pytest.mark.skip(reason=reason))
    for mark in item.iter_markers("xfail_library"):
        if library.is_in(mark.args):
            item.add_marker(pytest.mark.xfail(reason=mark.kwargs["reason"], strict=True))


@pytest.fixture(scope="session", autouse=True)
def compiled_at_first_use() -> None:
    """Try all compiled functions, also those that a few fits leave out to save time."""
    if importlib.util.find_spec("numba") and os.environ.get("KMEANS_XP_NUMBA") != "0":
        from kmeans_xp.kernels.for_numba import compiled

        compiled.USES_BEFORE_COMPILING = 0


@pytest.fixture
def library(request: pytest.FixtureRequest) -> Iterator[Library]:
    """One variant of an array library, computing by itself; the strict one with its flags set."""
    from kmeans_xp import config_context

    chosen: Library = request.param
    flags: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if chosen.strict_flags:
        flags = chosen.xp.ArrayAPIStrictFlags(**chosen.strict_flags)
    # What NumPy's kernels do in its memory, tests/devices/test_lent.py tries.
    with flags, config_context(compute="own"):
        yield chosen


@pytest.fixture
def xp(library: Library) -> ModuleType:
    """The namespace of ``library``."""
    return library.xp
