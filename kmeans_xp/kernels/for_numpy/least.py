"""The smallest few of many values, by a partition."""

from typing import Any

import numpy as np

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.portable.least import places_of_least

__all__: list[str] = []


@places_of_least.override("numpy")
def partitioned_places(values: np.ndarray[Any, Any], n: int, *, xp: Namespace) -> Any:
    """Sort only the wanted values, and those equal to the largest of them."""
    if n >= len(values):
        return np.argsort(values, kind="stable")
    some = np.flatnonzero(values <= np.partition(values, n - 1)[n - 1])
    return some[np.argsort(values[some], kind="stable")[:n]]
