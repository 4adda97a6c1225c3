"""Every CUDA kernel that can be asked for compiles for every architecture, and none spills."""

import re
from pathlib import Path

import pytest

from benchmarks import kernel_resources
from benchmarks.kernel_resources import (
    ARCHITECTURES,
    PAGE,
    Declaration,
    Resources,
    choices_of,
    compiled,
    declarations,
    instantiations,
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
    known = choices_of({"a": ("Half", "float"), "b": ("double", "double")}, (2, 4), (8,))
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
        instantiations([Declaration("step", ("T", "W"))], choices_of({}, (), ()))


def test_a_log_is_read() -> None:
    assert parsed_log(LOG) == [
        Resources("_Z4stepIfLi2EEvPf", 64, 96, 16, 12),
        Resources("merge", 32, 0, 0, 0),
    ]


def test_every_kernel_of_the_source_is_launched_and_every_launch_has_its_kernel() -> None:
    launched = re.findall(r'_launch\(\s*f?"(\w+)', (KERNELS / "kernels.py").read_text())
    assert set(launched) == {each.name for each in declarations(source())}


@with_cupy_alone
def test_the_page_has_every_kernel(library: Library) -> None:
    listed = set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE))
    names = set(instantiations(declarations(source()), kernel_resources.choices()))
    assert listed == names, "run: python benchmarks/kernel_resources.py --write"


@with_cupy_alone
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(300, 3, 4), (300, 70, 9)])
def test_what_is_compiled_in_use_is_in_the_list(
    dtype: str, shape: tuple[int, int, int], library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp import KMeans
    from kmeans_xp.kernels.for_cupy import kernels as for_cupy

    asked_for = []
    compiled_as_ever = for_cupy._compiled
    monkeypatch.setattr(
        for_cupy, "_compiled", lambda name: asked_for.append(name) or compiled_as_ever(name)
    )
    n_points, n_features, n_clusters = shape
    points = library.xp.asarray(library.xp.arange(n_points * n_features) % 97, dtype=dtype)
    KMeans(n_clusters, random_state=0).fit(library.xp.reshape(points, (n_points, n_features)))
    names = instantiations(declarations(source()), kernel_resources.choices())
    assert asked_for
    assert set(asked_for) <= set(names)


@with_cupy_alone
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles_without_spills(architecture: int, library: Library) -> None:
    text = source()
    names = instantiations(declarations(text), kernel_resources.choices())
    made = compiled(names, architecture, text)
    if made is None:
        pytest.skip(f"this NVRTC does not know sm_{architecture}")
    assert [each.kernel for each in made.resources] == names
    assert made.spilling() == []
