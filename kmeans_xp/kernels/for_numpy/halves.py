"""The places of zeros and ones, and values put in places, without sorting."""

from typing import Any

import numpy as np

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.portable.halves import in_places, places_by_half

__all__: list[str] = []


@places_by_half.override("numpy")
def found_places(labels: np.ndarray[Any, Any], *, xp: Namespace) -> Any:
    """Look for the ones, and for the others: half of the time of sorting bytes."""
    is_one = labels != 0
    return np.concatenate([np.flatnonzero(~is_one), np.flatnonzero(is_one)])


@in_places.override("numpy")
def written_in_places(
    values: np.ndarray[Any, Any], places: np.ndarray[Any, Any], *, xp: Namespace
) -> Any:
    """Write each value to its place: the standard has no such assignment."""
    put = np.empty_like(values)
    put[places] = values
    return put
