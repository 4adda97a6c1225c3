"""Points and weights of pandas data frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmeans_xp.blocks.sources.columns import block_dtype, check_as_wide
from kmeans_xp.blocks.sources.names import chosen_names
from kmeans_xp.blocks.sources.picking import SourceBlock
from kmeans_xp.blocks.sources.source import Layout

__all__ = ["PandasColumns"]


class PandasColumns:
    """Columns of pandas data frames, by their name.

    Parameters
    ----------
    frame : pandas.DataFrame
        A first one.
    columns : sequence of str, or None
        Those that are points; None takes all of numbers but the weight.
    weight : str, or None
        The one that holds weights.
    name : str
        Of the source.
    """

    def __init__(
        self, frame: Any, columns: Sequence[str] | None, weight: str | None, name: str
    ) -> None:
        kinds = {each: dtype.kind for each, dtype in frame.dtypes.items()}
        self._points = chosen_names(
            list(frame.columns),
            [each for each, kind in kinds.items() if kind in "iuf"],
            columns,
            weight,
            name,
            lambda each: "" if kinds[each] in "biuf" else str(frame.dtypes[each]),
        )
        self._weight = weight
        names = tuple(self._points) if all(isinstance(e, str) for e in self._points) else None
        dtype = self._dtype(frame, name)
        self.layout = Layout(len(self._points), dtype, names, weight is not None)

    def block(self, chunk: Any) -> SourceBlock:
        """Return the points and weights of a frame."""
        missing = [each for each in self._points if each not in chunk]
        if missing:
            raise ValueError(f"it has no column {', '.join(map(repr, missing))}")
        check_as_wide(self._dtype(chunk, "it"), self.layout)
        points = self._numbers(chunk[self._points])
        return SourceBlock(points, self._numbers(chunk[self._weight]) if self._weight else None)

    def _numbers(self, values: Any) -> np.ndarray[Any, Any]:
        # A missing value becomes NaN, which the check of the block names.
        numbers = values.to_numpy(dtype=self.layout.dtype, na_value=np.nan)
        return np.ascontiguousarray(numbers)

    def _dtype(self, frame: Any, name: str) -> np.dtype[Any]:
        dtypes = frame.dtypes[self._points]
        return block_dtype((getattr(dtype, "numpy_dtype", dtype) for dtype in dtypes), name)
