"""A thread that takes steps alone, in one call, adds up parts of the rows like several threads."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kmeans_xp import config_context
from kmeans_xp.kernels import (
    DenseRows,
    lloyd_steps,
    means_on_sphere,
    nearest_labels,
    split_at_once,
    update_centroids,
)

pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels.for_numba import assignment, stepping
from tests.kernels.test_shared_steps import scaled_as_read, scaled_with_care


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])  # only the first is packed once for all steps
@pytest.mark.parametrize("n_tasks", [1, 2, 3, 5, 6, 7, 8, 16])
@pytest.mark.parametrize(
    ("updated", "kind"),
    [
        (update_centroids, lambda rows: rows),
        (means_on_sphere, lambda rows: rows),
        (means_on_sphere, scaled_as_read),
        (means_on_sphere, scaled_with_care),
    ],
    ids=["means", "directions", "scaled_as_read", "scaled_with_care"],
)
def test_steps_have_the_bits_of_single_ones(
    updated: Any,
    kind: Any,
    n_tasks: int,
    order: Any,
    is_weighted: bool,
    dtype: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(n_tasks)
    points = rng.normal(size=(2000, 5)).astype(dtype, order=order)
    weights = rng.random(2000).astype(dtype) if is_weighted else None
    rows = kind(DenseRows(points, weights, points.mean(axis=0)))
    centroids = rows.take(np.arange(7)).points
    for module in (assignment, stepping):
        monkeypatch.setattr(module, "n_step_tasks", lambda *_: n_tasks)
    calls: list[int] = []
    run_steps = stepping.run_steps[points.dtype]

    def counted(*arguments: Any) -> Any:
        calls.append(len(arguments))
        return run_steps(*arguments)

    monkeypatch.setitem(stepping.run_steps.of_dtype, points.dtype, counted)
    for n_threads in (1, 2):
        with config_context(n_threads=n_threads):
            taken = stepping.steps_in_a_call(rows, centroids, 20, 1e-3, updated)
        before = centroids
        for number in range(len(taken.update.signals)):
            totals, update = lloyd_steps.portable(rows, before, 1, 0.0, updated, xp=np)
            for each, single in zip((*taken[0], *taken[1]), (*totals, *update), strict=True):
                assert_array_equal(each[number], single[0])
            before = update.centroids[0]
        assert (number > 3) == (n_tasks == 1 or n_threads == 1)
    assert len(calls) == (2 if n_tasks == 1 else 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_rows_are_split_at_once(dtype: Any) -> None:
    """The contract of the kernel also allows to decline."""
    points = np.random.default_rng(0).normal(size=(500, 8)).astype(dtype)
    split = split_at_once(DenseRows(points), points[:2], 50, 0.0, update_centroids, xp=np)
    assert split is not None
    labels = nearest_labels(DenseRows(points), split.centroids, xp=np)
    assert_array_equal(split.places, np.argsort(labels, kind="stable"))
