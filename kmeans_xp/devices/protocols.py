"""What users' arrays are to a type checker: what goes in comes out."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

__all__ = ["ArrayT", "SupportsArray", "SupportsColumns", "SupportsSparse", "Tabular"]


class SupportsArray(Protocol):
    """An array of any library: it has a shape and a dtype, and parts of it are arrays."""

    @property
    def shape(self) -> Any:
        """Lengths of its axes."""

    @property
    def dtype(self) -> Any:
        """What its elements are."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return a part."""


class SupportsSparse(SupportsArray, Protocol):
    """A sparse matrix or array: results of its rows are dense, and of its array library."""

    def tocsr(self) -> Any:
        """Return it in CSR form."""


class SupportsColumns(Protocol):
    """A data frame: results of its rows are NumPy's."""

    @property
    def columns(self) -> Any:
        """Names of the features."""


#: an array whose library the results are of
ArrayT = TypeVar("ArrayT", bound=SupportsArray)

#: what NumPy's arrays are made of
Tabular: TypeAlias = Sequence[Any] | SupportsColumns
