"""Assertions that many tests share."""

from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from conftest import Library

#: the precisions of data, for ``parametrize("dtype", PRECISIONS)``
PRECISIONS = ["float32", pytest.param("float64", marks=pytest.mark.needs("float64"))]

#: how far an inertia may lie from that of exact arithmetic, relatively
INERTIA_RTOL = {"float32": 1e-5, "float64": 1e-10}


def assert_at_home(array: Any, library: Library, dtype: str, shape: tuple[int, ...]) -> None:
    """The array is of this library, on its device, and of this dtype and shape."""
    assert array_namespace(array) is library.xp
    if library.device is not None:
        assert str(device(array)) == str(library.device)
    assert array.dtype == getattr(library.xp, dtype)
    assert tuple(array.shape) == shape


def assert_same_partition(ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    """The labels group the rows in the same way, whatever the groups are called."""
    pairs = np.unique(np.stack([ours, theirs]), axis=1)
    assert pairs.shape[1] == len(np.unique(ours)) == len(np.unique(theirs))


def assert_identical(ours: Any, theirs: Any, library: Library) -> None:
    """The two arrays have the same bits."""
    one, other = library.to_host(ours), library.to_host(theirs)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.tobytes() == other.tobytes()
