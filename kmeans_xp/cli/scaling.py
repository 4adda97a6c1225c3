"""Columns brought to mean 0 and standard deviation 1, and back."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.preprocessing import StandardScaler

__all__ = ["Scaling"]

Matrix = np.ndarray[Any, Any]


class Scaling(NamedTuple):
    """What is subtracted from each column, and what it is then divided by."""

    mean: Matrix
    scale: Matrix

    @classmethod
    def of(cls, points: Matrix) -> Self:
        """Measure the columns; constant ones keep their scale."""
        scaler = StandardScaler().fit(points)
        return cls(scaler.mean_, scaler.scale_)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Matrix]) -> Self | None:
        """Take what `to_arrays` gave; None if it is not there."""
        if "input_mean" not in arrays:
            return None
        return cls(arrays["input_mean"], arrays["input_scale"])

    def to_arrays(self) -> dict[str, Matrix]:
        """Return what a model file keeps of it."""
        return {"input_mean": self.mean, "input_scale": self.scale}

    def apply(self, points: Matrix) -> Matrix:
        """Return the points as they are clustered."""
        return ((points - self.mean) / self.scale).astype(points.dtype, copy=False)

    def undo(self, points: Matrix) -> Matrix:
        """Return clustered points in the data's own units."""
        return points * self.scale + self.mean
