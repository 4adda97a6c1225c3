"""Pickles of estimators with arrays on a GPU, which load also on machines without one."""

from typing import Any

from kmeans_xp.devices import (
    DeviceUnavailableError,
    bring,
    choose,
    device_of,
    is_array,
    library_of,
    namespace_of,
    to_host,
)

__all__ = ["as_they_lay", "on_host"]

#: key of the arrays' devices in a pickled state
_DEVICES = "_pickled_devices"


def on_host(state: dict[str, Any]) -> dict[str, Any]:
    """Copy arrays that need their device to the host, and note which CUDA device held them."""
    away = {name: value for name, value in state.items() if _is_bound_to_device(value)}
    if not away:
        return state
    devices = {
        name: f"cuda:{device_of(value).id}"
        for name, value in away.items()
        if library_of(namespace_of(value)).on_accelerator
    }
    return {**state, **{name: to_host(value) for name, value in away.items()}, _DEVICES: devices}


def as_they_lay(state: dict[str, Any]) -> dict[str, Any]:
    """Copy arrays back to their device; leave them on the host if it cannot be used here."""
    state = dict(state)
    for name, device in state.pop(_DEVICES, {}).items():
        try:
            placement = choose(state[name], device)
        except DeviceUnavailableError:
            continue
        with placement.working():
            state[name] = bring(state[name], placement)
    return state


def _is_bound_to_device(value: Any) -> bool:
    return is_array(value) and not library_of(namespace_of(value)).pickles_load_anywhere
