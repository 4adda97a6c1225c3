"""The plane in which points of any number of features are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    HostArray = np.ndarray[Any, Any]

__all__ = ["Plane"]


@dataclass(frozen=True)
class Plane:
    """One feature along a line, two as they are, more by their principal components.

    Parameters
    ----------
    axis_names : tuple of two str
        The second is empty where the height means nothing.
    pca : sklearn.decomposition.PCA or None
        Fitted; for more than two features.
    """

    axis_names: tuple[str, str]
    pca: Any = None

    @classmethod
    def of(cls, points: HostArray, names: list[str]) -> Plane:
        """Return the plane of these points."""
        if len(names) == 1:
            return cls((names[0], ""))
        if len(names) == 2 or len(points) < 2:
            return cls((names[0], names[1]))
        from sklearn.decomposition import PCA

        pca = PCA(n_components=2, random_state=0)
        with np.errstate(invalid="ignore"):  # points that are all equal have no variance to share
            pca.fit(points)
        shares = np.nan_to_num(pca.explained_variance_ratio_)
        first, second = (f"PC {i} ({share:.0%} of variance)" for i, share in enumerate(shares, 1))
        return cls((first, second), pca)

    def positions(self, points: HostArray, rng: np.random.Generator | None = None) -> HostArray:
        """Return where the points are drawn; along a line, at random heights if `rng` is given."""
        if self.pca is not None:
            projected: HostArray = self.pca.transform(points)
            return projected
        if points.shape[1] > 1:
            return points[:, :2]
        heights = np.zeros(len(points)) if rng is None else rng.uniform(-1, 1, size=len(points))
        return np.column_stack([points[:, 0], heights])
