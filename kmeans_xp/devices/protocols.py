"""Types for users' arrays: a type checker sees that results have the input's type."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

__all__ = ["ArrayT", "SupportsArray", "SupportsColumns", "SupportsSparse", "Tabular"]


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


class SupportsSparse(SupportsArray, Protocol):
    """A sparse matrix or array: results for its rows are dense arrays of its library."""

    def tocsr(self) -> Any:
        """Return it in CSR form."""


class SupportsColumns(Protocol):
    """A data frame: results for its rows are NumPy arrays."""

    @property
    def columns(self) -> Any:
        """Names of the features."""


#: an array; results are arrays of the same library
ArrayT = TypeVar("ArrayT", bound=SupportsArray)

#: what becomes a NumPy array
Tabular: TypeAlias = Sequence[Any] | SupportsColumns
