"""Callbacks of scikit-learn where it has them, from 1.9 on; before that, an error says so."""

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
        """What stands in scikit-learn's place, for estimators without callbacks."""

        def set_callbacks(self, *callbacks: Any) -> Any:
            """Raise ImportError, unless there is nothing to set.

            Parameters
            ----------
            *callbacks : callback
                As scikit-learn 1.9 takes them.

            Returns
            -------
            self
                As it was.
            """
            if callbacks:
                raise ImportError(
                    "Callbacks need scikit-learn 1.9 or later, and this is scikit-learn "
                    f"{sklearn.__version__}: update it, or fit without callbacks."
                )
            return self

    def with_callbacks(method: Any) -> Any:
        """Return a method that does the same, as many calls deep: warnings point to the caller."""

        @functools.wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return called


__all__ = ["HAS_CALLBACKS", "CallbackSupportMixin", "watched"]

F = TypeVar("F", bound=Callable[..., Any])


def watched(method: F) -> F:
    """Let scikit-learn's callbacks watch a fit; the type of the method stays."""
    return cast(F, with_callbacks(method))
