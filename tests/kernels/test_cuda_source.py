"""Every CUDA kernel that can be asked for compiles for every architecture, and none spills."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import kernel_resources
from benchmarks.kernel_resources import (
    OLDEST,
    PAGE,
    SOURCES,
    Declaration,
    Resources,
    choices_of,
    compiled,
    declarations,
    instantiations,
    listed,
    parsed_log,
    source,
)
from conftest import Library

KERNELS = Path(kernel_resources.__file__).parents[1] / "kmeans_xp" / "kernels" / "for_cupy"

with_cupy_alone = pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp"), reason="asks CuPy for NVRTC"
)

LOG = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4stepIfLi2EEvPf' for 'sm_90'
ptxas info    : Function properties for _Z4stepIfLi2EEvPf
ptxas         .     16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 16 bytes cumulative stack size, 96 bytes smem
ptxas info    : Compiling entry function 'merge' for 'sm_90'
ptxas info    : Function properties for merge
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers
"""

SOURCE = """
template <typename T> __device__ T twice(T x) { return 2 * x; }  // no __global__
template <typename In, typename T, int D>
__global__ void __launch_bounds__(256)
step(const In* points, T* out) {}
extern "C" __global__ void merge(float* out) {}
"""


def test_the_kernels_of_a_source_are_found() -> None:
    assert declarations(SOURCE) == [
        Declaration("step", ("In", "T", "D")),
        Declaration("merge", ()),
    ]


def test_a_kernel_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"3 kernels, of which 2 are understood \(step, merge\)"):
        declarations(SOURCE + "static void __global__ other() {}")


def test_every_choice_of_template_parameters_is_made() -> None:
    known = choices_of({"a": ("Half", "float"), "b": ("double", "double")}, D=(2, 4), L=(8,))
    names = instantiations([*declarations(SOURCE), Declaration("sum", ("T",))], known)
    assert names == [
        "step<Half, float, 2>",
        "step<Half, float, 4>",
        "step<double, double, 2>",
        "step<double, double, 4>",
        "merge",
        "sum<float>",
        "sum<double>",
    ]


def test_an_unknown_template_parameter_is_an_error() -> None:
    with pytest.raises(ValueError, match="step has the template parameter W"):
        instantiations([Declaration("step", ("T", "W"))], choices_of({}))


def test_a_log_is_read() -> None:
    assert parsed_log(LOG) == [
        Resources("_Z4stepIfLi2EEvPf", 64, 96, 16, 12),
        Resources("merge", 32, 0, 0, 0),
    ]


def test_every_kernel_of_a_source_is_launched_and_every_launch_has_its_kernel() -> None:
    launches = re.compile(r'launch(?:_sparse|_for)?\((?:\s*|rows, )f?"(\w+)')
    launched = {
        name for module in KERNELS.glob("*.py") for name in launches.findall(module.read_text())
    }
    assert launched == {each.name for name in SOURCES for each in declarations(source(name))}


@with_cupy_alone
def test_the_page_has_every_kernel(library: Library) -> None:
    on_page = set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE))
    names = {kernel for name in SOURCES for kernel in listed(name)}
    assert on_page == names, "run: python benchmarks/kernel_resources.py --write"


@pytest.mark.sampled(1, cupy=3)
@with_cupy_alone
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(300, 3, 4), (300, 70, 9), (300, 130, 9)])
def test_what_is_compiled_in_use_is_in_the_list(
    dtype: str, shape: tuple[int, int, int], library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp import KMeans
    from kmeans_xp.kernels.for_cupy import certified, launching

    asked_for = []
    compiled_as_ever = launching.compiled

    def compiled_and_noted(name: str, source_name: str) -> Any:
        asked_for.append((source_name, name))
        return compiled_as_ever(name, source_name)

    monkeypatch.setattr(launching, "compiled", compiled_and_noted)
    for bound in ("_LEAST_FEATURES", "_LEAST_CLUSTERS", "_LEAST_WORK"):
        monkeypatch.setattr(certified, bound, 1)
    n_points, n_features, n_clusters = shape
    points = library.xp.asarray(library.xp.arange(n_points * n_features) % 97, dtype=dtype)
    rows = library.xp.reshape(points, (n_points, n_features))
    model = KMeans(n_clusters, random_state=0, max_iter=2).fit(rows)
    if dtype != "float16":
        to_sparse = pytest.importorskip("cupyx.scipy.sparse").csr_matrix
        model.fit(to_sparse(rows))
        of_tensor_cores = {"certified.cu"} | ({"certified_wide.cu"} if n_features > 128 else set())
        of_labels = {"labels.cu"} if dtype == "float64" else of_tensor_cores
        of_labels |= {"labels.cu"} if n_features == 3 else set()  # one pass
        others = set(SOURCES) - {"labels.cu", "certified.cu", "certified_wide.cu"}
        assert {name for name, _ in asked_for} == others | of_labels
    assert asked_for
    for source_name, name in asked_for:
        assert name in listed(source_name)


@with_cupy_alone
def test_kernels_of_the_same_template_arguments_are_compiled_at_once(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import launching

    runs = []

    class Module:
        def __init__(self, *, code: str, options: Any, name_expressions: Any) -> None:
            runs.append(name_expressions)

        def get_function(self, name: str) -> str:
            return name

    launching._module.cache_clear()
    monkeypatch.setattr(launching.cupy, "RawModule", Module)
    monkeypatch.setattr(launching, "_templates", lambda source: TEMPLATES)
    compile_one = launching.compiled.__wrapped__
    for name in ("one<float>", "two<float>", "three<float, 2>", "four", "two<double>", "five"):
        assert compile_one(name, "sums.cu") == name
    launching._module.cache_clear()
    assert runs == [
        ("one<float>", "two<float>"),
        ("three<float, 2>",),
        None,
        ("one<double>", "two<double>"),
    ]


TEMPLATES = {
    "one": "typename T",
    "two": "typename T",
    "three": "typename T, int D",
    "four": "",
    "five": "",
}


@with_cupy_alone
@pytest.mark.parametrize("name", SOURCES)
def test_what_is_looked_at_is_what_is_compiled(name: str, library: Library) -> None:
    from kmeans_xp.kernels.for_cupy import launching

    text = launching.source_text(name)
    assert text == source(name)
    assert "#include" not in text
    assert text.count("#define THREADS ") == 1


@with_cupy_alone
@pytest.mark.parametrize("name", SOURCES)
def test_every_template_of_a_source_is_found(name: str, library: Library) -> None:
    from kmeans_xp.kernels.for_cupy import launching

    found = launching._templates(name)
    assert set(found) == {each.name for each in declarations(source(name))}
    for each in declarations(source(name)):
        assert found[each.name].count(",") + bool(found[each.name]) == len(each.parameters)


@pytest.mark.sampled(1, cupy=2)
@with_cupy_alone
# Others are compiled by ``python benchmarks/kernel_resources.py``, which tells of spills too.
@pytest.mark.parametrize("architecture", [90])
@pytest.mark.parametrize("name", SOURCES)
def test_every_kernel_compiles_without_spills(
    name: str, architecture: int, library: Library
) -> None:
    names = listed(name)
    if "KMEANS_XP_FUZZ" not in os.environ:
        # Kernels of halves differ from those of float only in how a number is read.
        names = [kernel for kernel in names if not re.search("Half|Bfloat16", kernel)]
    if architecture < OLDEST.get(name, 0):
        pytest.skip(f"{name} is for sm_{OLDEST[name]} and newer")
    made = compiled(names, architecture, source(name))
    if made is None:
        pytest.skip(f"this NVRTC does not know sm_{architecture}")
    assert [each.kernel for each in made.resources] == names
    assert made.spilling() == []
