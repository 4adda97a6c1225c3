"""Points and weights of pandas data frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmeans_xp.blocks.sources.columns import block_dtype, check_as_wide
from kmeans_xp.blocks.sources.names import chosen_names
from kmeans_xp.blocks.sources.picking import SourceBlock
from kmeans_xp.blocks.sources.source import Layout

__all__ = ["PandasColumns", "holds_lists"]

Array = np.ndarray[Any, Any]


class PandasColumns:
    """Columns of pandas data frames, by name; each position of a list is a feature.

    Parameters
    ----------
    frame : pandas.DataFrame
        A first data frame.
    columns : sequence of str, or None
        Columns of points; None for all columns of numbers except the weight.
    weight : str, or None
        Column of weights.
    name : str
        Name of the source.
    """

    def __init__(
        self, frame: Any, columns: Sequence[str] | None, weight: str | None, name: str
    ) -> None:
        kinds = {each: dtype.kind for each, dtype in frame.dtypes.items()}
        lists = {each for each, kind in kinds.items() if kind == "O" and holds_lists(frame[each])}
        self._points = chosen_names(
            list(frame.columns),
            [each for each, kind in kinds.items() if kind in "iuf" or each in lists],
            columns,
            weight,
            name,
            lambda each: "" if kinds[each] in "biuf" or each in lists else str(frame.dtypes[each]),
        )
        self._weight = weight
        self._widths = {each: len(frame[each].iloc[0]) for each in self._points if each in lists}
        features = [feature for each in self._points for feature in self._features(each)]
        names = tuple(features) if all(isinstance(each, str) for each in features) else None
        self.layout = Layout(len(features), self._dtype(frame, name), names, weight is not None)

    def block(self, chunk: Any) -> SourceBlock:
        """Return the points and weights of a frame."""
        missing = [each for each in self._points if each not in chunk]
        if missing:
            raise ValueError(f"it has no column {', '.join(map(repr, missing))}")
        check_as_wide(self._dtype(chunk, "it"), self.layout)
        points = (
            self._beside_each_other(chunk) if self._widths else self._numbers(chunk[self._points])
        )
        return SourceBlock(points, self._numbers(chunk[self._weight]) if self._weight else None)

    def _features(self, column: Any) -> list[Any]:
        if column not in self._widths:
            return [column]
        return [f"{column}[{i}]" for i in range(self._widths[column])]

    def _beside_each_other(self, chunk: Any) -> Array:
        """Return columns of numbers and of lists side by side, in their order."""
        points = np.empty((len(chunk), self.layout.n_features), self.layout.dtype)
        start = 0
        for each in self._points:
            width = self._widths.get(each)
            part = (
                self._numbers(chunk[[each]]) if width is None else self._stacked(chunk[each], width)
            )
            points[:, start : start + part.shape[1]] = part
            start += part.shape[1]
        return points

    def _numbers(self, values: Any) -> Array:
        # A missing value becomes NaN, and the check of the block reports it.
        numbers = values.to_numpy(dtype=self.layout.dtype, na_value=np.nan)
        return np.ascontiguousarray(numbers)

    def _stacked(self, column: Any, width: int) -> Array:
        """Return the lists of a column, all of this length, as a matrix."""
        points = np.empty((len(column), width), self.layout.dtype)
        for row, values in enumerate(column):
            if not _is_list(values) or len(values) != width:
                held = f"a list of {len(values)} numbers" if _is_list(values) else repr(values)
                raise ValueError(
                    f"column {column.name!r} holds {held} in one of these rows, but a list of "
                    f"{width} in the first; lists must have equal lengths"
                )
            check_as_wide(block_dtype([np.asarray(values).dtype], "it"), self.layout)
            points[row] = values
        return points

    def _dtype(self, frame: Any, name: str) -> np.dtype[Any]:
        plain = [each for each in self._points if each not in self._widths]
        dtypes = [getattr(dtype, "numpy_dtype", dtype) for dtype in frame.dtypes[plain]]
        dtypes += [np.asarray(frame[each].iloc[0]).dtype for each in self._widths if len(frame)]
        return block_dtype(dtypes, name)


def holds_lists(column: Any) -> bool:
    """Return whether a column of objects holds lists or arrays of numbers, by its first row."""
    if not len(column) or not _is_list(column.iloc[0]):
        return False
    first = np.asarray(column.iloc[0])
    return first.ndim == 1 and len(first) > 0 and first.dtype.kind in "biuf"


def _is_list(value: Any) -> bool:
    return isinstance(value, (np.ndarray, list, tuple))
