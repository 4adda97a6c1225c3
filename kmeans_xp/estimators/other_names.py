"""Errors that translate the parameters of other k-means libraries, for users who migrate."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

__all__ = ["telling_other_names"]

F = TypeVar("F", bound=Callable[..., None])

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
    "max_samples_per_batch": ("cuML", "nothing to set: tiles follow from the shapes"),
    "n_jobs": ("an older scikit-learn", "with config_context(n_threads=...)"),
    "niter": ("faiss", "max_iter"),
    "nredo": ("faiss", "n_init"),
    "output_type": ("cuML", "nothing to set: results are of X's library, on X's device"),
    "oversampling_factor": (
        "cuML",
        "init=kmeans_parallel(X, n_clusters, oversampling=...)[0]",
    ),
    "precompute_distances": ("an older scikit-learn", "nothing to set"),
    "seed": ("faiss", "random_state"),
    "spherical": ("faiss", 'metric="cosine"'),
}


def telling_other_names(init: F) -> F:
    """Raise a TypeError that names the replacement if a parameter is one of another library."""
    known = frozenset(inspect.signature(init).parameters)

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError:
            for name in (each for each in kwargs if each in _OTHERS and each not in known):
                library, instead = _OTHERS[name]
                raise TypeError(
                    f"{type(self).__name__} has no parameter {name!r}; {library} has it. "
                    f"Here: {instead}."
                ) from None
            raise

    return cast(F, checked)
