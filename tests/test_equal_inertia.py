"""The course of a run beside another library's, on rows that take a moment."""

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn.cluster

from benchmarks.equal_inertia import (
    course_of_faiss,
    course_of_scikit_learn,
    course_of_superkmeans,
    ours,
)
from kmeans_xp import KMeans

POINTS = np.random.default_rng(0).random((3000, 4), dtype=np.float32)
N_CLUSTERS = 60


def test_our_course_is_that_of_a_default_fit() -> None:
    model, course = KMeans(N_CLUSTERS, random_state=0).fit(POINTS), ours(POINTS, N_CLUSTERS)
    assert (course.n_iter, course.inertia) == (model.n_iter_, model.inertia_)


def test_scikit_learn_makes_the_same_default_fit() -> None:
    goal = ours(POINTS, N_CLUSTERS)
    course = course_of_scikit_learn(sklearn.cluster, POINTS, N_CLUSTERS, np.inf, 1)
    assert course.n_iter == goal.n_iter
    assert course.inertia == pytest.approx(goal.inertia, rel=1e-4)


class SuperKMeans:
    """Iterations whose objectives are known."""

    def __init__(self, n_clusters: int, n_features: int, *, iters: int, **_: Any) -> None:
        self.iteration_stats = [SimpleNamespace(objective=10.0 - n) for n in range(iters)]

    def train(self, points: Any) -> None:
        """Take no time."""


def test_a_run_is_counted_until_it_reaches_the_target() -> None:
    module = ModuleType("superkmeans")
    module.SuperKMeans = SuperKMeans  # type: ignore[attr-defined]
    reached = course_of_superkmeans(module, POINTS, N_CLUSTERS, 7.5, 6)
    assert (reached.n_iter, reached.inertia) == (3, 7.0)
    never = course_of_superkmeans(module, POINTS, N_CLUSTERS, 1.0, 6)
    assert (never.n_iter, never.inertia) == (5, 5.0)


def test_faiss_reaches_a_target_that_it_passes() -> None:
    faiss = pytest.importorskip("faiss")
    course = course_of_faiss(faiss, POINTS, N_CLUSTERS, np.inf, 5)
    assert course.n_iter == 0
    later = course_of_faiss(faiss, POINTS, N_CLUSTERS, 0.9 * course.inertia, 20)
    assert 0 < later.n_iter < 20
    assert later.inertia <= 0.9 * course.inertia
