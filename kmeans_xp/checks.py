"""Check single parameters: a clear error names the parameter and the values it may have."""

import math
import os
from numbers import Integral, Real
from typing import Any

__all__ = ["check_callable", "check_flag", "check_integer", "check_path", "check_real"]


def check_integer(name: str, value: Any, least: int, *, or_none: bool = False) -> None:
    """Raise ValueError unless the value is an integer of at least ``least``, or None if allowed."""
    if value is None and or_none:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        wanted = f"an integer of at least {least}{' or None' if or_none else ''}"
        raise ValueError(f"{name} must be {wanted}, got {value!r}.")


def check_real(name: str, value: Any, least: float) -> None:
    """Raise ValueError unless the value is a number of at least ``least``, and not NaN."""
    if not isinstance(value, Real) or math.isnan(value) or value < least:
        raise ValueError(f"{name} must be a number of at least {least:g}, got {value!r}.")


def check_flag(name: str, value: Any) -> None:
    """Raise ValueError unless the value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def check_path(name: str, value: Any) -> None:
    """Raise TypeError unless the value is a path."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path, got {type(value).__name__}.")


def check_callable(name: str, value: Any) -> None:
    """Raise TypeError unless the value can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {type(value).__name__}.")
