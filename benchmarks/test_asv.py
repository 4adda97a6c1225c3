"""Each benchmark of ``benchmarks/asv`` runs once, so that it cannot rot."""

import pytest

from benchmarks.asv.estimators import SIZES, Estimators

NAMES = [name for name in dir(Estimators) if name.startswith("time_")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs(name: str, size: str) -> None:
    """What is timed is ten steps, and centroids of the size asked for."""
    benchmark = Estimators()
    benchmark.setup(size)
    getattr(benchmark, name)(size)
    assert benchmark.estimator.n_iter_ == 10
    assert benchmark.fitted.cluster_centers_.shape == SIZES[size][1:][::-1]
