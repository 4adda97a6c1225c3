"""Rows that lie in no array of this process, before the first visit to them."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.devices import Array, DType, Placement

__all__ = ["Elsewhere"]


class Elsewhere(ABC):
    """What an estimator knows of rows before they are visited; it takes the place of an array.

    Attributes
    ----------
    header : array or frame of no rows
        Of the rows' library, with their columns and the names of these.
    dtype : dtype
        What the rows are once they are floating point.
    name : str
        Of where they lie, for messages: "a Dask array", a file's path.
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
        """Return where operands and results are; ``device`` is for those who visit the rows."""

    @abstractmethod
    def checked_weights(self, sample_weight: Any) -> Any:
        """Return weights cut as the rows are; ValueError if they are not what weights must be."""

    @abstractmethod
    def blocks(self, weights: Any, placement: Placement, *, is_revisited: bool = False) -> Blocks:
        """Return the rows as blocks, measured from zero; for one pass, or to be revisited."""

    @abstractmethod
    def batches(self, weights: Any) -> Generator[tuple[Array, Array | None]]:
        """Yield the points and weights of each block on the host, one block at a time."""
