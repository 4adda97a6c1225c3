"""Scale columns to mean 0 and standard deviation 1, and back."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.preprocessing import StandardScaler

__all__ = ["Scaling"]

Matrix = np.ndarray[Any, Any]


class Scaling(NamedTuple):
    """The mean to subtract from each column, and the scale to divide it by."""

    mean: Matrix
    scale: Matrix

    @classmethod
    def of(cls, points: Matrix) -> Self:
        """Measure the columns; constant columns get the scale 1."""
        scaler = StandardScaler().fit(points)
        return cls(scaler.mean_, scaler.scale_)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Matrix]) -> Self | None:
        """Rebuild it from `to_arrays`; None if the arrays are missing."""
        if "input_mean" not in arrays:
            return None
        return cls(arrays["input_mean"], arrays["input_scale"])

    def to_arrays(self) -> dict[str, Matrix]:
        """Return the arrays that a model file keeps."""
        return {"input_mean": self.mean, "input_scale": self.scale}

    def apply(self, points: Matrix) -> Matrix:
        """Return the scaled points."""
        return ((points - self.mean) / self.scale).astype(points.dtype, copy=False)

    def undo(self, points: Matrix) -> Matrix:
        """Return scaled points in the data's own units."""
        return points * self.scale + self.mean
