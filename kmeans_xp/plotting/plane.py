"""The plane in which points of any number of features are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmeans_xp.plotting.numerals import shortened

if TYPE_CHECKING:
    HostArray = np.ndarray[Any, Any]

__all__ = ["Plane"]

_NORTH = ("latitude", "lat", "northing")
_EAST = ("longitude", "lon", "lng", "long", "easting")
#: features that are named beside a principal component, and how much they weigh at least
_MAIN_FEATURES = 2
_LEAST_WEIGHT = 0.3
_LONGEST_NAME = 24


@dataclass(frozen=True)
class Plane:
    """One feature along a line, two as they are, more by their principal components.

    Parameters
    ----------
    axis_names : tuple of two str
        The second is empty where the height means nothing.
    pca : sklearn.decomposition.PCA or None
        Fitted; for more than two features.
    is_turned : bool
        Whether the first feature is the height.
    """

    axis_names: tuple[str, str]
    pca: Any = None
    is_turned: bool = False

    @classmethod
    def of(cls, points: HostArray, names: list[str]) -> Plane:
        """Return the plane of these points."""
        if len(names) == 1:
            return cls((names[0], ""))
        if len(names) == 2 or len(points) < 2:
            # A map has north above, whatever the order of its columns.
            is_map = names[0].lower() in _NORTH and names[1].lower() in _EAST
            return cls((names[1], names[0]) if is_map else (names[0], names[1]), is_turned=is_map)
        from sklearn.decomposition import PCA

        pca = PCA(n_components=2, random_state=0)
        with np.errstate(invalid="ignore"):  # points that are all equal have no variance to share
            pca.fit(points)
        shares = np.nan_to_num(pca.explained_variance_ratio_)
        first, second = (
            f"PC {i} ({share:.0%} of variance)" + (_main(axis, names) if share > 0.0 else "")
            for i, (share, axis) in enumerate(zip(shares, pca.components_, strict=True), 1)
        )
        return cls((first, second), pca)

    def positions(self, points: HostArray, rng: np.random.Generator | None = None) -> HostArray:
        """Return where the points are drawn; along a line, at random heights if `rng` is given."""
        if self.pca is not None:
            projected: HostArray = self.pca.transform(points)
            return projected
        if points.shape[1] > 1:
            return points[:, 1::-1] if self.is_turned else points[:, :2]
        heights = np.zeros(len(points)) if rng is None else rng.uniform(-1, 1, size=len(points))
        return np.column_stack([points[:, 0], heights])


def _main(axis: HostArray, names: list[str]) -> str:
    """Return which features weigh most in a principal component."""
    weights = np.nan_to_num(np.abs(axis))
    order = np.argsort(-weights, kind="stable")[:_MAIN_FEATURES]
    main = [shortened(names[i], _LONGEST_NAME) for i in order if weights[i] >= _LEAST_WEIGHT]
    return f": mainly {', '.join(main)}" if main else ""
