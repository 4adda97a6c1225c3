"""The names that the package exports have complete docstrings, with an example."""

import inspect

import pytest
from numpydoc.validate import validate

import kmeans_xp

# pyproject.toml gives the reasons; YD01 because a context manager may yield nothing. Methods
# are let off EX01 too: their class has the example.
LET_OFF = {"ES01", "GL01", "GL02", "PR06", "RT02", "SA01", "SS05", "YD01"}


def own_methods(cls: type) -> list[str]:
    """Return the public functions that the package itself defines on the class."""
    return [
        name
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") and member.__module__.startswith("kmeans_xp.")
    ]


EXPORTED = [name for name in kmeans_xp.__all__ if callable(getattr(kmeans_xp, name))]
METHODS = [
    f"{name}.{method}"
    for name in EXPORTED
    if inspect.isclass(getattr(kmeans_xp, name))
    for method in own_methods(getattr(kmeans_xp, name))
]


@pytest.mark.parametrize("name", EXPORTED + METHODS)
def test_docstring_is_complete(name: str) -> None:
    let_off = LET_OFF | ({"EX01"} if name in METHODS else set())
    errors = validate(f"kmeans_xp.{name}")["errors"]
    assert [error for error in errors if error[0] not in let_off] == []
