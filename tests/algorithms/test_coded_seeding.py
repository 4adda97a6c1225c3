"""k-means++ by products of bytes has the bits of plain passes, and measures few rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from kmeans_xp import config_context, kmeans_plusplus
from kmeans_xp.kernels import (
    DenseRows,
    candidate_potentials,
    closer_of,
)
from tests.seeding_problems import (
    DIRECTIONS,
    KINDS,
    Rows,
    check_same_rows,
    counted,
    groups,
    placed,
    uniform,
)

pytest.importorskip("numba")

from kmeans_xp.kernels.for_numba.emitted.code_vectors import CENTRE, HAS_PRODUCTS

if not HAS_PRODUCTS:
    pytest.skip("the processor multiplies no bytes", allow_module_level=True)

from kmeans_xp.kernels.for_numba import coded_seeding, codes, skipped_seeding


@contextmanager
def coded_from_the_start() -> Iterator[None]:
    """Code rows however few they are, and whether it pays or not."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "_FEWEST_CHOSEN": 2,
            "_FEWEST_ROWS": 2**40,
            "_FEWEST_CODED_ROWS": 1,
            "_FEWEST_CODED_FEATURES": 1,
            "_FIRST_LOOK": 1,
            "_MOST_MEASURED": 2.0,
        }.items():
            patch.setattr(skipped_seeding, name, value)
        yield


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(
    st.integers(20, 300),
    st.sampled_from([1, 3, 16, 17, 63, 64, 65, 130]),
    st.integers(3, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, "some", "zeros"]),
    st.sampled_from([0.0, 1e3]),
    st.sampled_from([1e-25, 1e-12, 1.0, 1e12, 1e18]),
)
@example(60, 17, 4, 302, None, 0.0, 1e18)
def test_the_same_rows_are_chosen(
    kind: Callable[..., Rows],
    dtype: str,
    n_points: int,
    n_features: int,
    n_clusters: int,
    seed: int,
    weighted: str | None,
    offset: float,
    scale: float,
) -> None:
    rng = np.random.default_rng(seed)
    n_clusters = min(n_clusters, n_points)
    points = ((kind(n_points, n_features, rng) + offset) * scale).astype(dtype)
    check_same_rows(coded_from_the_start, points, n_clusters, weighted, seed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", DIRECTIONS, ids=lambda kind: kind.__name__)
@given(
    st.integers(60, 500),
    st.sampled_from([2, 3, 16, 17, 64, 65, 130]),
    st.integers(4, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, "some", "zeros"]),
    st.sampled_from([1e-15, 1.0, 1e15]),
)
def test_the_same_directions_are_chosen(
    kind: Callable[..., Rows],
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
    check_same_rows(coded_from_the_start, points, n_clusters, weighted, seed, "cosine")


@pytest.mark.sampled(1, numpy=4)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("n_candidates", [1, 7, 8, 11])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_all_has_the_bits_of_plain_passes(
    metric: str, n_candidates: int, kind: Callable[..., Rows], weighted: bool, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    n_points, n_features = 3000, 70
    points = kind(n_points, n_features, rng).astype(dtype)
    rows = placed(points, weighted, metric, rng)
    closest = np.full(n_points, np.inf, dtype)
    coded = coded_seeding.CodedRows.of(rows, rows.take(np.arange(12)).points)
    assert coded is not None
    for _ in range(40):
        candidates = rows.take(rng.choice(n_points, n_candidates)).points
        expected = candidate_potentials(rows, closest, candidates, xp=xp)
        assert_array_equal(coded.potentials(candidates), expected)
        chosen = candidates[rng.integers(n_candidates)][None]
        coded.take_in(chosen)
        closest = closer_of(rows, closest, chosen, xp=xp)
        assert_array_equal(coded.closest, closest)


@pytest.mark.parametrize("kind", [uniform, groups], ids=lambda kind: kind.__name__)
def test_few_rows_are_measured(kind: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch) -> None:
    points = kind(9000, 96, np.random.default_rng(0)).astype(np.float32)
    parts = counted(points, 120, monkeypatch)
    assert len(parts) > 90
    # Without VNNI, codes of candidates have seven bits and rule out less.
    assert np.mean(parts) < 0.3
    assert np.mean(parts[-40:]) < (0.1 if CENTRE == 128 else 0.2)


def test_directions_on_one_side_are_coded_less_a_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = placed(rng.random((3000, 96)), False, "cosine", rng)
    some = rows.take(np.arange(40)).points

    def measured_part() -> float:
        coded = coded_seeding.CodedRows.of(rows, some)
        assert coded is not None
        coded.potentials(some)
        for chosen in some:
            coded.take_in(chosen[None])
        coded.potentials(rows.take(np.arange(40, 48)).points)
        return coded.measured_part

    shifted = measured_part()
    monkeypatch.setattr(codes, "_SHIFTED", 2.0)
    assert shifted < 0.8 * measured_part()


def test_plain_passes_go_on_where_bytes_rule_out_little(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(9000, 96)).astype(np.float32)
    points[:, 0] = 1e3 * np.sign(points[:, 0])  # all other numbers are coded as zero
    parts = counted(points, 60, monkeypatch)
    assert len(parts) <= 5 * skipped_seeding._MEASURED_STEPS


def test_rows_whose_squares_float32_cannot_hold_are_not_coded() -> None:
    points = np.random.default_rng(0).normal(size=(50, 80))
    for scale in (1e-12, 1e16, 0.0):
        assert coded_seeding.CodedRows.of(DenseRows(points * scale), points) is None


def test_rows_are_those_of_any_number_of_threads() -> None:
    points = groups(9000, 80, np.random.default_rng(1)).astype(np.float32)
    found = []
    for n_threads in (1, 2, 7):
        with config_context(n_threads=n_threads):
            found.append(kmeans_plusplus(points, 100, random_state=0)[1])
    assert_array_equal(found[1], found[0])
    assert_array_equal(found[2], found[0])
