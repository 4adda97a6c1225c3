"""What scikit-learn's KMeans does with rows of these tests: ``python -m tests.silent_faults``.

``docs/reliability.md`` has the counts that it prints. Some rows are drawn as in
``tests/estimators/test_properties.py``, and long doubles judge their fits. Others differ only by
rounding, and may keep a fit going until ``max_iter``.
"""

import warnings
from collections import Counter
from typing import Any

import hypothesis
import numpy as np
import sklearn.cluster
from sklearn.exceptions import ConvergenceWarning

import kmeans_xp
from benchmarks.judging import Judged
from tests.datasets import nearly_equal
from tests.estimators.test_properties import Case, cases

N_DRAWS = 1000
N_NEARLY_EQUAL = 600


def main() -> None:
    for dtype in ("float32", "float64"):
        found = Counter(map(outcome, draws(dtype)))
        print(f"{dtype}, scikit-learn: {', '.join(f'{n} {name}' for name, n in found.items())}")
    for library in (sklearn.cluster, kmeans_xp):
        n_endless = sum(is_endless(library.KMeans, seed) for seed in range(N_NEARLY_EQUAL))
        print(f"{library.__name__}: {n_endless} of {N_NEARLY_EQUAL} fits end by max_iter")


def draws(dtype: str) -> list[Case]:
    """Return the same problems in each run."""
    drawn: list[Case] = []

    @hypothesis.settings(max_examples=N_DRAWS, derandomize=True, database=None, deadline=None)
    @hypothesis.given(cases(dtype))
    def draw(case: Case) -> None:
        drawn.append(case)

    draw()
    return drawn


def outcome(case: Case) -> str:
    """Return how a fit of scikit-learn ends."""
    kmeans = sklearn.cluster.KMeans(
        case.estimator.n_clusters, n_init=1, max_iter=20, tol=0.0, random_state=0
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            kmeans.fit(case.points, None, case.weights)
        except ValueError:
            return "refused"
    kmeans._origin = np.zeros(case.points.shape[1])
    kmeans._centroids = kmeans.cluster_centers_
    with np.errstate(all="ignore"):
        if not Judged(case.points, case.weights).faults_of(kmeans, kmeans.labels_):
            return "right"
    if not caught:
        return "wrong without a warning"
    categories = {warned.category for warned in caught}
    return "wrong with a warning of " + (
        "equal rows" if categories == {ConvergenceWarning} else "numbers"
    )


def is_endless(make: Any, seed: int) -> bool:
    """Return whether a fit of rows that differ only by rounding takes all its iterations."""
    rows = nearly_equal("float32", seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kmeans = make(11, init="random", n_init=1, random_state=seed, tol=0.0).fit(rows)
    return bool(kmeans.n_iter_ == kmeans.max_iter)


if __name__ == "__main__":
    main()
