"""Callbacks of scikit-learn, which has them since 1.9; with older versions, an error says so."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import sklearn

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    HAS_CALLBACKS = True
except ImportError:
    HAS_CALLBACKS = False

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replaces scikit-learn's class where estimators have no callbacks."""

        def set_callbacks(self, *callbacks: Any) -> Any:
            """Raise ImportError if there are callbacks to set.

            Parameters
            ----------
            *callbacks : callback
                Callbacks for scikit-learn 1.9 or later.

            Returns
            -------
            self
                Unchanged.
            """
            if callbacks:
                raise ImportError(
                    "Callbacks need scikit-learn 1.9 or later, and this is scikit-learn "
                    f"{sklearn.__version__}: update it, or fit without callbacks."
                )
            return self

    def with_callbacks(method: Any) -> Any:
        """Wrap a method and do nothing more: equal call depth, so warnings point to the caller."""

        @functools.wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return called


__all__ = ["HAS_CALLBACKS", "CallbackSupportMixin", "watched"]

F = TypeVar("F", bound=Callable[..., Any])


def watched(method: F) -> F:
    """Pass a fit to scikit-learn's callbacks; the method keeps its type."""
    return cast(F, with_callbacks(method))
