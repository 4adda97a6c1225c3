"""Rows that are not in an array of this process, before the first visit."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.devices import Array, DType, Placement

__all__ = ["Elsewhere"]


class Elsewhere(ABC):
    """What is known about rows before the first visit; estimators use it instead of an array.

    Attributes
    ----------
    header : array or frame of no rows
        Has the rows' library, columns and column names.
    dtype : dtype
        Floating-point dtype of the rows after conversion.
    name : str
        Names the place of the rows in messages: "a Dask array", a file's path.
    """

    header: Any
    dtype: DType
    name: str

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns; counting rows may take a pass over them."""

    @abstractmethod
    def placement(self, device: str | None) -> Placement:
        """Return the placement of operands and results; ``device`` is for visits of the rows."""

    @abstractmethod
    def checked_weights(self, sample_weight: Any) -> Any:
        """Return the weights in the same blocks as the rows; ValueError if they are invalid."""

    @abstractmethod
    def blocks(self, weights: Any, placement: Placement, *, is_revisited: bool = False) -> Blocks:
        """Return the rows as blocks, relative to zero; for one pass, or for several."""

    @abstractmethod
    def batches(self, weights: Any) -> Generator[tuple[Array, Array | None]]:
        """Yield the points and weights of each block on the host, one block at a time."""
