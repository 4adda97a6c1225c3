"""Types for users' arrays: a type checker sees that results have the input's type."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ArrayT",
    "Indices",
    "Labels",
    "Readable",
    "SupportsArray",
    "SupportsBlocks",
    "SupportsColumns",
    "SupportsSparse",
    "Tabular",
]


class SupportsArray(Protocol):
    """An array of any library: it has a shape and a dtype, and its parts are arrays."""

    @property
    def shape(self) -> Any:
        """Lengths of its axes."""

    @property
    def dtype(self) -> Any:
        """Type of its elements."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return a part."""


# Not a SupportsArray: to pyright, the shape of SciPy's ``csr_matrix`` cannot be read.
class SupportsSparse(Protocol):
    """A sparse matrix or array: results for its rows are dense arrays of its library."""

    def tocsr(self) -> Any:
        """Return it in CSR form."""


class SupportsColumns(Protocol):
    """A data frame: results for its rows are NumPy arrays."""

    @property
    def columns(self) -> Any:
        """Names of the features."""


class SupportsBlocks(Protocol):
    """Rows that ``open_rows`` opened: results for them are NumPy arrays."""

    @property
    def n_rows_known(self) -> int | None:
        """Number of rows, or None before they are counted."""

    def read(self) -> Any:
        """Yield the blocks in row order."""


#: an array; results are arrays of the same library
ArrayT = TypeVar("ArrayT", bound=SupportsArray)

#: what is a NumPy array or becomes one. Results are NumPy arrays, mostly of another dtype
Tabular: TypeAlias = NDArray[Any] | Sequence[Any] | SupportsColumns

#: the same, or rows that need not be in memory
Readable: TypeAlias = Tabular | SupportsBlocks

#: labels of the rows of a NumPy array
Labels: TypeAlias = NDArray[np.int32]

#: indices of rows of a NumPy array
Indices: TypeAlias = NDArray[np.int64]
