"""k-means++ that keeps the distances to all candidates chooses the same rows, in fewer passes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmeans_xp import kmeans_plusplus
from kmeans_xp.algorithms import seeding
from kmeans_xp.kernels import DenseRows
from tests.seeding_problems import DIRECTIONS, KINDS, Rows, check_same_rows

kept_trials = pytest.importorskip("kmeans_xp.kernels.for_numba.kept_trials")
compiled = pytest.importorskip("kmeans_xp.kernels.for_numba.seeding")


@contextmanager
def kept() -> Iterator[None]:
    """Keep the distances, however few the rows are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeding, "chosen_at_once", kept_trials.chosen_by_kept_trials)
        yield


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("kind", "metric"),
    [(kind, "euclidean") for kind in KINDS] + [(kind, "cosine") for kind in DIRECTIONS],
)
@given(
    st.integers(2, 500),
    st.sampled_from([32, 33, 100]),
    st.integers(2, 60),
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, "some", "zeros"]),
    st.sampled_from([1e-15, 1.0, 1e15]),
)
def test_the_same_rows_are_chosen(
    kind: Callable[..., Rows],
    metric: str,
    dtype: str,
    n_points: int,
    n_features: int,
    n_clusters: int,
    seed: int,
    weighted: str | None,
    scale: float,
) -> None:
    rng = np.random.default_rng(seed)
    points = (kind(n_points, n_features, rng) * scale).astype(dtype)
    check_same_rows(kept, points, min(n_clusters, n_points), weighted, seed, metric)


def test_each_step_but_the_first_reads_the_rows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    single = np.dtype(np.float32)

    def count(name: str) -> None:
        function = getattr(compiled, name)
        body = function[single]

        def call(points: Rows, start: int, *operands: Any) -> None:
            if start == 0:
                reads.append(name)
            body(points, start, *operands)

        monkeypatch.setitem(function.of_dtype, single, call)

    for name in ("fold_rows", "keep_nearer_rows"):
        count(name)
    points = np.random.default_rng(0).random((50_000, 32), dtype=np.float32)
    kmeans_plusplus(points, 6, random_state=0)
    assert reads == ["keep_nearer_rows"] + 5 * ["fold_rows"]


@pytest.mark.parametrize(("n_features", "n_trials"), [(15, 3), (16, 5), (31, 8)])
def test_little_is_kept_beside_the_rows(n_features: int, n_trials: int) -> None:
    rows = DenseRows(np.zeros((100, n_features)))
    given_ = (rows, np.full(100, np.inf), rows.points[:1], np.full((3, n_trials), 0.5))
    assert kept_trials.chosen_by_kept_trials(*given_, xp=xp) is NotImplemented
