"""What the templates of the API reference ask of a class."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from sklearn.base import BaseEstimator
from sphinx.application import Sphinx


def _object(full_name: str) -> Any:
    module, _, name = full_name.rpartition(".")
    return getattr(importlib.import_module(module), name)


def own_methods(full_name: str) -> list[str]:
    """Return the public methods that the package defines, the class's own before inherited ones."""
    return _own(full_name, lambda member: inspect.isfunction(inspect.unwrap(member)))


def own_properties(full_name: str) -> list[str]:
    """Return the public properties that the package defines."""
    return _own(full_name, lambda member: isinstance(member, property))


def _own(full_name: str, is_wanted: Callable[[Any], bool]) -> list[str]:
    names = {}
    for parent in _object(full_name).__mro__:
        if parent.__module__.partition(".")[0] == "kmeans_xp":
            for name, member in vars(parent).items():
                if not name.startswith("_") and is_wanted(getattr(member, "__func__", member)):
                    names[name] = None
    return list(names)


def is_estimator(full_name: str) -> bool:
    """Return whether the class is one of scikit-learn's kind."""
    return issubclass(_object(full_name), BaseEstimator)


def setup(app: Sphinx) -> dict[str, bool]:
    """Give the functions to the templates."""
    functions = (own_methods, own_properties, is_estimator)
    app.config.autosummary_context = {function.__name__: function for function in functions}
    return {"parallel_read_safe": True}
