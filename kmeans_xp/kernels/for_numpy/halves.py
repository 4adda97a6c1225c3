"""The places of zeros and ones, without sorting."""

from typing import Any

import numpy as np

from kmeans_xp.devices import Namespace
from kmeans_xp.kernels.portable.halves import places_by_half

__all__: list[str] = []


@places_by_half.override("numpy")
def found_places(labels: np.ndarray[Any, Any], *, xp: Namespace) -> Any:
    """Look for the ones, and for the others: half of the time of sorting bytes."""
    is_one = labels != 0
    return np.concatenate([np.flatnonzero(~is_one), np.flatnonzero(is_one)])
