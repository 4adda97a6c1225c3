"""The names that the package exports have complete docstrings, with an example."""

import functools
import inspect
from typing import Any

import pytest
from numpydoc.validate import validate

import kmeans_xp
import kmeans_xp.metrics
import kmeans_xp.selection

# pyproject.toml gives the reasons; YD01 because a context manager may yield nothing. Methods
# are let off EX01 too: their class has the example.
LET_OFF = {"ES01", "GL01", "GL02", "PR06", "RT02", "SA01", "SS05", "YD01"}

#: the package of the same name is what numpydoc finds first
HIDDEN = {"accelerate": "accelerate.acceleration.accelerate"}


def own_methods(cls: type) -> list[str]:
    """Return the public functions that the package itself defines on the class."""
    return [
        name
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") and member.__module__.startswith("kmeans_xp.")
    ]


def found(path: str) -> Any:
    """Return what a dotted path within the package names."""
    return functools.reduce(getattr, path.split("."), kmeans_xp)


EXPORTED = [name for name in kmeans_xp.__all__ if callable(found(name))]
EXPORTED += [f"metrics.{name}" for name in kmeans_xp.metrics.__all__]
EXPORTED += [f"selection.{name}" for name in kmeans_xp.selection.__all__]
METHODS = [
    f"{name}.{method}"
    for name in EXPORTED
    if inspect.isclass(found(name))
    for method in own_methods(found(name))
]


@pytest.mark.parametrize("name", EXPORTED + METHODS)
def test_docstring_is_complete(name: str) -> None:
    let_off = LET_OFF | ({"EX01"} if name in METHODS else set())
    errors = validate(f"kmeans_xp.{HIDDEN.get(name, name)}")["errors"]
    assert [error for error in errors if error[0] not in let_off] == []
