"""A pytest plugin: scikit-learn's own tests run on this package, and on arrays of any library.

Nothing in those tests is changed: ``accelerate`` replaces what they import. With ``--arrays NAME``
the dense rows that they give are turned into arrays of that library, which its own kernels compute
with, and results are turned back.

    python -m pytest -p tests.sklearn_suite --pyargs sklearn.cluster.tests.test_k_means
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from array_api_compat import is_array_api_obj

from conftest import LOADERS, Library
from kmeans_xp import accelerate, config_context
from kmeans_xp.accelerate import stand_ins

#: what takes rows
METHODS = (
    *("fit", "fit_predict", "fit_transform", "partial_fit"),
    *("predict", "transform", "score"),
)

#: what cannot pass where rows are arrays of a library, and why: part of a test's name -> reason
NOT_ON: dict[str, dict[str, str]] = {
    "array_api_strict": dict.fromkeys(
        ("test_wrong_params[param2", "test_bisecting_kmeans_custom_init_validation"),
        "their callable init writes X[:2], which is NumPy's indexing and not the standard's",
    )
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--arrays", choices=list(LOADERS), help="turn dense rows into these")


def pytest_configure(config: pytest.Config) -> None:
    accelerate()
    if (name := config.getoption("--arrays")) is not None:
        _turn_rows_into_arrays_of(LOADERS[name]()[0])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = NOT_ON.get(config.getoption("--arrays") or "", {})
    for item in items:
        for part, reason in reasons.items():
            if item.name.startswith(part):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def _turn_rows_into_arrays_of(library: Library) -> None:
    for stand_in in (stand_ins.KMeans, stand_ins.MiniBatchKMeans, stand_ins.BisectingKMeans):
        for name in METHODS:
            if hasattr(stand_in, name):
                setattr(
                    stand_in, name, _converting(getattr(stand_in, name), library, is_method=True)
                )
    for name in ("k_means", "kmeans_plusplus"):
        setattr(sklearn.cluster, name, _converting(getattr(stand_ins, name), library))


def _converting(called: Callable[..., Any], library: Library, *, is_method: bool = False) -> Any:
    @functools.wraps(called)
    def converting(*args: Any, **kwargs: Any) -> Any:
        estimator, args = (args[:1], args[1:]) if is_method else ((), args)
        if "X" in kwargs:
            kwargs["X"] = _there(kwargs["X"], library)
        else:
            args = (_there(args[0], library), *args[1:])
        with config_context(compute="own"):
            result = called(*estimator, *args, **kwargs)
        for each in estimator:
            for name in ("cluster_centers_", "labels_"):
                if name in vars(each):
                    setattr(each, name, _back(vars(each)[name], library))
        return result if any(result is each for each in estimator) else _back(result, library)

    return converting


def _there(X: Any, library: Library) -> Any:
    is_rows = type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind in "fi"
    return library.asarray(X) if is_rows else X


def _back(value: Any, library: Library) -> Any:
    if isinstance(value, tuple):
        return tuple(_back(each, library) for each in value)
    is_theirs = is_array_api_obj(value) and not isinstance(value, np.ndarray | np.generic)
    return library.to_host(value) if is_theirs else value
