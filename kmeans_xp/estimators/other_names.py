"""Errors that translate the parameters of other k-means libraries, for users who migrate."""

import functools
import inspect
from collections.abc import Callable, Container, Iterable
from typing import Any, TypeVar, cast

from sklearn.utils._param_validation import InvalidParameterError

__all__ = ["refuse_other_names", "refuse_other_value", "telling_other_names", "why_unknown"]

F = TypeVar("F", bound=Callable[..., Any])

#: parameter -> the library that has it, and its replacement here
_OTHERS: dict[str, tuple[str, str]] = {
    "convert_dtype": ("cuML", "nothing to set: rows of other dtypes are converted"),
    "device_buffer_samples": (
        "cuML",
        "nothing to set: rows that do not fit on the device are copied there block by block; "
        "open_rows(X, block_rows=...) sets the size of a block",
    ),
    "gpu": ("faiss", 'device="cuda"'),
    "handle": ("cuML", "nothing to set: work is queued on the current stream of X's device"),
    "init_size": (
        "cuML",
        "nothing to set: all rows can become initial centroids, except in MiniBatchKMeans, "
        "which has it",
    ),
    "max_samples_per_batch": ("cuML", "nothing to set: tiles follow from the shapes"),
    "n_jobs": ("an older scikit-learn", "with config_context(n_threads=...)"),
    "niter": ("faiss", "max_iter"),
    "nredo": ("faiss", "n_init"),
    "n_streams": ("cuML", "nothing to set: work is queued on the current stream of X's device"),
    "output_type": ("cuML", "nothing to set: results are of X's library, on X's device"),
    "oversampling_factor": (
        "cuML",
        "init=kmeans_parallel(X, n_clusters, oversampling=...)[0]",
    ),
    "precompute_distances": ("an older scikit-learn", "nothing to set"),
    "seed": ("faiss", "random_state"),
    "spherical": ("faiss", 'metric="cosine"'),
}


#: parameter and value -> the library that has it, and its replacement here
_OTHER_VALUES: dict[tuple[str, str], tuple[str, str]] = {
    ("init", "scalable-k-means++"): ("cuML", 'init="k-means||"'),
}


def telling_other_names(function: F) -> F:
    """Raise a TypeError that names the replacement if a keyword is one of another library."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            refuse_other_names(function, args, kwargs)
            raise

    return cast(F, checked)


def refuse_other_names(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Raise a TypeError if a keyword that a function lacks is one of another library."""
    caller = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
    reason = why_unknown(caller, kwargs, inspect.signature(function).parameters)
    if reason is not None:
        raise TypeError(reason) from None


def why_unknown(caller: str, names: Iterable[str], known: Container[str]) -> str | None:
    """Return what replaces the first unknown name that another library has; None without one."""
    for name in names:
        if name in _OTHERS and name not in known:
            library, instead = _OTHERS[name]
            return f"{caller} has no parameter {name!r}; {library} has it. Here: {instead}."
    return None


def refuse_other_value(caller: str, name: str, value: Any) -> None:
    """Raise InvalidParameterError if a parameter has a value that only another library knows."""
    if isinstance(value, str) and (name, value) in _OTHER_VALUES:
        library, instead = _OTHER_VALUES[name, value]
        raise InvalidParameterError(
            f"{caller} has no {name}={value!r}; {library} has it. Here: {instead}."
        )
