"""Fit, predict and k-means++ on four sizes.

``asv run 'main^!'`` times the newest commit, and ``asv continuous main HEAD`` compares two. No time
includes compiling: the set-up calls each function once.
"""

from typing import Any, ClassVar

import numpy as np

from kmeans_xp import KMeans, kmeans_plusplus

#: rows, features, clusters
SIZES = {
    "500x4x5": (500, 4, 5),
    "20000x16x8": (20_000, 16, 8),
    "100000x3x64": (100_000, 3, 64),
    "20000x64x128": (20_000, 64, 128),
}


class Estimators:
    """Uniform rows in float32. A fit takes ten steps from given centroids in every version."""

    params: ClassVar[list[str]] = list(SIZES)
    param_names: ClassVar[list[str]] = ["size"]
    timeout = 600.0  # a first run compiles

    def setup(self, size: str) -> None:
        """Draw the rows, and compile by a first call of each."""
        n_points, n_features, self.n_clusters = SIZES[size]
        self.rows: Any = np.random.default_rng(0).random((n_points, n_features), np.float32)
        first = self.rows[: self.n_clusters]
        self.estimator = KMeans(self.n_clusters, init=first, max_iter=10, tol=0.0)
        self.fitted = KMeans(self.n_clusters, init=first, max_iter=1).fit(self.rows)
        self.time_fit(size)
        self.time_predict(size)
        self.time_kmeans_plusplus(size)

    def time_fit(self, size: str) -> None:
        """Ten iterations of Lloyd's algorithm."""
        self.estimator.fit(self.rows)

    def time_predict(self, size: str) -> None:
        """The nearest centroid of each row."""
        self.fitted.predict(self.rows)

    def time_kmeans_plusplus(self, size: str) -> None:
        """Greedy k-means++."""
        kmeans_plusplus(self.rows, self.n_clusters, random_state=0)
