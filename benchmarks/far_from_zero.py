"""Whether ``predict`` gives ``labels_``, and the inertia is right, for float32 far from zero.

``python benchmarks/far_from_zero.py`` compares with scikit-learn on 20,000 x 8 rows in four
clusters. It compares the inertia with a float64 fit of the same rows.
"""

import numpy as np
import sklearn.cluster

from kmeans_xp import KMeans


def main() -> None:
    """Print a line for each offset and library."""
    rng = np.random.default_rng(0)
    centres = 2.0 * rng.normal(size=(4, 8))
    rows = centres[rng.integers(0, 4, 20_000)] + 0.5 * rng.normal(size=(20_000, 8))
    print("| offset | library | rows where predict is not labels_ | inertia, relative error |")
    print("|---:|---|---:|---:|")
    for offset in (0.0, 1e4, 1e6):
        points = (rows + offset).astype(np.float32)
        exact = KMeans(4, random_state=0).fit(points.astype(np.float64)).inertia_
        for library, estimator in (("kmeans_xp", KMeans), ("scikit-learn", sklearn.cluster.KMeans)):
            fitted = estimator(4, random_state=0).fit(points)
            n_wrong = np.count_nonzero(fitted.predict(points) != fitted.labels_)
            error = abs(fitted.inertia_ / exact - 1.0)
            print(f"| {offset:g} | {library} | {n_wrong:,} | {error:.0e} |")


if __name__ == "__main__":
    main()
