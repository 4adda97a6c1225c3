"""A thread that takes steps alone, in one call, adds up parts of the rows like several threads."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kmeans_xp import config_context
from kmeans_xp.kernels import (
    DenseRows,
    nearest_labels,
    split_at_once,
    update_centroids,
)

pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels.for_numba import assignment, stepping
from tests.kernels.single_steps import assert_bits_of_single_steps, of_each_kind, rows_of


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])  # only the first is packed once for all steps
@pytest.mark.parametrize("n_tasks", [1, 2, 3, 5, 6, 7, 8, 16])
@of_each_kind
def test_steps_have_the_bits_of_single_ones(
    updated: Any,
    kind: Any,
    n_tasks: int,
    order: Any,
    is_weighted: bool,
    dtype: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = kind(rows_of(dtype, is_weighted=is_weighted, order=order))
    centroids = rows.take(np.arange(7)).points
    for module in (assignment, stepping):
        monkeypatch.setattr(module, "n_step_tasks", lambda *_: n_tasks)
    calls: list[int] = []
    run_steps = stepping.run_steps[np.dtype(dtype)]

    def counted(*arguments: Any) -> Any:
        calls.append(len(arguments))
        return run_steps(*arguments)

    monkeypatch.setitem(stepping.run_steps.of_dtype, np.dtype(dtype), counted)
    for n_threads in (1, 2):
        with config_context(n_threads=n_threads):
            taken = stepping.steps_in_a_call(rows, centroids, 20, 1e-3, updated)
        n_steps = assert_bits_of_single_steps(taken, rows, centroids, updated)
        assert (n_steps > 4) == (n_tasks == 1 or n_threads == 1)
    assert len(calls) == (2 if n_tasks == 1 else 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_rows_are_split_at_once(dtype: Any) -> None:
    """The contract of the kernel also allows to decline."""
    points = np.random.default_rng(0).normal(size=(500, 8)).astype(dtype)
    split = split_at_once(DenseRows(points), points[:2], 50, 0.0, update_centroids, xp=np)
    assert split is not None
    labels = nearest_labels(DenseRows(points), split.centroids, xp=np)
    assert_array_equal(split.places, np.argsort(labels, kind="stable"))
