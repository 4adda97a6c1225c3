"""The house rules that a reader of one file cannot see being broken."""

import ast
import functools
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import kmeans_xp

PACKAGE = Path(kmeans_xp.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

#: a module may import from its own layer and from lower ones
LAYERS = {
    "_version": 0,
    "checks": 0,
    "config": 0,
    "devices": 0,
    "persistence": 1,
    "kernels": 1,
    "blocks": 2,
    "algorithms": 3,
    "estimators": 4,
    "accelerate": 5,
    "metrics": 5,
    "plotting": 5,
    "selection": 5,
    "kmeans_xp": 5,  # the package itself, which gathers the public names
    "cli": 6,
}

#: where libraries may be named, since that is what differs between them
NAMING = ("devices", "kernels", "blocks")

#: libraries that nothing else may name
LIBRARIES = ("array_api_strict", "cupy", "dask", "dpnp", "jax", "numba", "torch")
_LIBRARY = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(LIBRARIES)})(?![A-Za-z0-9])", re.IGNORECASE)

#: NumPy is imported everywhere, for numbers on the host; as a string it would be a question
#: which library an array is of
_HOST_LIBRARY = re.compile(r"numpy(?:\..*)?")

#: where that string is something else
NUMPY_IS = {
    "kmeans_xp.cli.report": "a package whose version is reported",
    "kmeans_xp.persistence": "what the safetensors package is asked to read",
}

#: what importing the package must not import
EXTRAS = {
    *LIBRARIES,
    "kneed",
    "matplotlib",
    "pandas",
    "polars",
    "pyarrow",
    "rich",
    "typer",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_name(module: str) -> str:
    """Return the part of the house that ``kmeans_xp.part.of.it`` belongs to."""
    package, _, rest = module.partition(".")
    part = rest.partition(".")[0]
    return part if part in LAYERS else package


def imported(source: str, module: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of what ``module`` imports, inside functions too.

    Strings count where they are given to ``import_module``, or are paths into the package.
    """
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            yield from ((node.lineno, name) for name in _path(node.args[0], package, module))
        elif isinstance(node, ast.Constant) and _OWN_PATH.fullmatch(str(node.value)):
            yield node.lineno, str(node.value)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - is_package
                parents = module.split(".")[: -up or None]
                base = ".".join([*parents, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


_OWN_PATH = re.compile(r"kmeans_xp(?:\.\w+)+")


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _path(argument: ast.expr, package: str, module: str) -> Iterator[str]:
    """Yield the absolute path that a string of code is, as far as it is known."""
    known = {"__package__": package, "__name__": module}
    path = ""
    for part in argument.values if isinstance(argument, ast.JoinedStr) else [argument]:
        if isinstance(part, ast.Constant):
            path += str(part.value)
        elif isinstance(part, ast.FormattedValue) and getattr(part.value, "id", "") in known:
            path += known[part.value.id]  # type: ignore[attr-defined]
        else:
            break
    if path.startswith("."):
        up = len(path) - len(path.lstrip(".")) - 1
        path = ".".join([*package.split(".")[: -up or None], path.lstrip(".")])
    if path:
        yield path


def upward_imports(source: str, module: str, *, is_package: bool = False) -> list[str]:
    own = LAYERS[layer_name(module)]
    return [
        f"line {line}: {name}"
        for line, name in imported(source, module, is_package=is_package)
        if name.split(".")[0] == "kmeans_xp" and LAYERS[layer_name(name)] > own
    ]


def libraries_named(source: str) -> list[str]:
    """Return the places, docstrings and comments apart, where an array library is named.

    NumPy counts where it is a string: ``library_name(xp) == "numpy"`` is a question that one
    asks of ``devices``.
    """
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        f"line {getattr(node, 'lineno', '?')}: {text}"
        for node in ast.walk(tree)
        if id(node) not in prose
        for text in _texts(node)
        if _LIBRARY.search(text)
        or (isinstance(node, ast.Constant) and _HOST_LIBRARY.fullmatch(text))
    ]


def _texts(node: ast.AST) -> Iterator[str]:
    """Yield the names and strings that stand in the node itself."""
    for _, value in ast.iter_fields(node):
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                yield text


def parametrize_modules(*parts: str) -> pytest.MarkDecorator:
    paths = [path for path in MODULES if not parts or layer_name(module_name(path)) in parts]
    return pytest.mark.parametrize("path", paths, ids=[module_name(path) for path in paths])


@parametrize_modules()
def test_every_module_belongs_to_a_layer(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert part == "__init__" or part in LAYERS, f"give {part} a layer in LAYERS"


@parametrize_modules()
def test_imports_point_downward(path: Path) -> None:
    is_package = path.name == "__init__.py"
    assert not upward_imports(path.read_text(), module_name(path), is_package=is_package)


@parametrize_modules(*sorted(set(LAYERS) - set(NAMING)))
def test_only_devices_kernels_and_blocks_name_a_library(path: Path) -> None:
    named = libraries_named(path.read_text())
    if module_name(path) in NUMPY_IS:
        assert [each.partition(": ")[2] for each in named] == ["numpy"]
    else:
        assert not named


@parametrize_modules()
def test_modules_are_named_by_what_they_hold(path: Path) -> None:
    assert not {"utils", "helpers", "common"} & {
        part.strip("_") for part in path.with_suffix("").parts[-3:]
    }


@functools.cache
def modules_after(statement: str) -> set[str]:
    """Return the names of the modules that a new interpreter has after the statement."""
    command = [sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_parts_of_the_package_are_loaded_at_their_first_use() -> None:
    told = """
        import sys, kmeans_xp
        assert "metrics" in dir(kmeans_xp)
        for name in ("metrics", "selection", "plotting"):
            before = set(sys.modules)
            getattr(kmeans_xp, name).__all__
            print(name, f"kmeans_xp.{name}" in set(sys.modules) - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(told)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["metrics", "True", "selection", "True", "plotting", "True"]


def test_what_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'kmeans_xp' has no attribute 'nonsense'"):
        kmeans_xp.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_import_brings_no_extra() -> None:
    # scikit-learn imports pandas and rich where it finds them: those are hidden from us instead.
    imports = "import kmeans_xp, kmeans_xp.plotting, kmeans_xp.selection"
    unasked = EXTRAS & modules_after("import sklearn.callback")
    assert not unasked & {"kneed", "matplotlib"}
    brought = EXTRAS & modules_after(imports)
    assert sorted(brought - unasked) == []
    modules_after(f"sys.modules.update(dict.fromkeys({unasked or {}})); {imports}")


@pytest.mark.parametrize(
    ("source", "module", "n_upward"),
    [
        ("import kmeans_xp.estimators", "kmeans_xp.algorithms.lloyd", 1),
        ("from kmeans_xp.estimators import KMeans", "kmeans_xp.algorithms.lloyd", 1),
        ("from kmeans_xp import algorithms", "kmeans_xp.blocks.in_memory", 1),
        ("from kmeans_xp import KMeans", "kmeans_xp.estimators.kmeans", 1),
        ("from ..estimators import KMeans", "kmeans_xp.algorithms.lloyd", 1),
        ("from .. import algorithms, devices", "kmeans_xp.kernels.portable", 1),
        ("from .algorithms import lloyd", "kmeans_xp.devices", 1),
        ("def f():\n    from kmeans_xp.cli import main", "kmeans_xp.selection", 1),
        ("from kmeans_xp.algorithms import seeding", "kmeans_xp.algorithms.lloyd", 0),
        ("from .seeding import random", "kmeans_xp.algorithms.lloyd", 0),
        ("from kmeans_xp.kernels import cluster_sums", "kmeans_xp.algorithms.lloyd", 0),
        ("import numpy", "kmeans_xp.devices", 0),
        ("import_module('kmeans_xp.estimators')", "kmeans_xp.algorithms.lloyd", 1),
        ("importlib.import_module('..estimators', __package__)", "kmeans_xp.algorithms.lloyd", 1),
        ("import_module(f'kmeans_xp.estimators.{x}')", "kmeans_xp.algorithms.lloyd", 1),
        ("import_module(f'{__package__}.for_{x}')", "kmeans_xp.kernels.kernel", 0),
        ("__import__('kmeans_xp.cli')", "kmeans_xp.estimators.kmeans", 1),
        ("WHERE = {'KMeans': 'kmeans_xp.estimators'}", "kmeans_xp.algorithms.lloyd", 1),
        ("[import_module(x) for x in ('kmeans_xp.cli', 'cupy')]", "kmeans_xp.kernels.kernel", 1),
        ("import_module('kmeans_xp.kernels')", "kmeans_xp.algorithms.lloyd", 0),
        ("import_module('.seeding', __package__)", "kmeans_xp.algorithms.lloyd", 0),
        ("import_module(name)", "kmeans_xp.kernels.kernel", 0),
        ("logging.getLogger('kmeans_xp')", "kmeans_xp.devices.placement", 0),
    ],
)
def test_the_import_checker_finds_upward_imports(source: str, module: str, n_upward: int) -> None:
    assert len(set(upward_imports(source, module))) == n_upward


def test_the_import_checker_resolves_a_package_against_itself() -> None:
    source = "from .lloyd import lloyd\nfrom ..estimators import KMeans"
    found = upward_imports(source, "kmeans_xp.algorithms", is_package=True)
    assert found == ["line 2: kmeans_xp.estimators.KMeans"]


@pytest.mark.parametrize(
    "source",
    [
        "import torch.linalg",
        "from cupy import ndarray",
        "import xp as jax",
        "xp.numba.jit()",
        "f(dask=True)",
        "def is_torch_array(a): ...",
        "def f(cupy): ...",
        "is_cupy_namespace(xp)",
        "if name == 'array_api_strict': pass",
        "if f'{name}' in {'dpnp': 1}: pass",
        "raise ValueError(f'no CuPy {x}')",
        "importlib.import_module('cupy')",
        "import_module(f'kmeans_xp.kernels.for_cupy.{name}')",
        "if library_name(xp) != 'numpy': pass",
        "if name in ('numpy', x): pass",
        "{'numpy': f}[library_name(xp)]",
        "match name:\n    case 'numpy': pass",
        "import_module('numpy.linalg')",
    ],
)
def test_the_name_checker_finds_a_library(source: str) -> None:
    assert libraries_named(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""Runs on torch."""',
        'def f():\n    """Return a cupy array."""',
        "import numpy as np  # not cupy",
        "from numpy.typing import NDArray",
        "from safetensors.numpy import save_file",
        "raise TypeError('Give NumPy arrays, not numpy.matrix.')",
        "torchlight = ajax = 'torches'",
    ],
)
def test_the_name_checker_lets_prose_and_numpy_pass(source: str) -> None:
    assert not libraries_named(source)
