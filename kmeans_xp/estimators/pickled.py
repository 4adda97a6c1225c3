"""Pickles of estimators hold NumPy arrays, and so load without the library of the fit."""

from typing import Any

from kmeans_xp.devices import is_array, is_host_array
from kmeans_xp.devices.homes import back_home, without_library

__all__ = ["as_they_lay", "on_host"]

#: key of the arrays' libraries and devices in a pickled state
_HOMES = "_pickled_homes"


def on_host(state: dict[str, Any]) -> dict[str, Any]:
    """Replace arrays of other libraries by NumPy's, and note where they lay."""
    away = {
        name: without_library(value)
        for name, value in state.items()
        if is_array(value) and not is_host_array(value)
    }
    if not away:
        return state
    hosts = {name: host for name, (host, _) in away.items()}
    return {**state, **hosts, _HOMES: {name: home for name, (_, home) in away.items()}}


def as_they_lay(state: dict[str, Any]) -> dict[str, Any]:
    """Bring arrays back to their library and device; leave them NumPy's if it cannot be used."""
    state = dict(state)
    for name, home in state.pop(_HOMES, {}).items():
        state[name] = back_home(state[name], home)
    return state
