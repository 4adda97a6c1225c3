"""Functions that emit vector code for sparse rows have the bits of plain loops.

Sums are exact, as in ``test_emitted.py``, which has ``pack_unit``.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels.for_numba.emitted import sparse_vectors
from tests.emitted import DTYPES, NOISE, Array, called, eighths

N_COLUMNS = 11


def scores_of(row: Array, columns: Array, group: Array, biases: Array) -> Array:
    scores: Array = biases + row.astype(np.float64) @ group[columns].astype(np.float64)
    return scores


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_groups_of_all_sizes(dtype: str) -> None:
    rng, unit, margin = np.random.default_rng(0), sparse_vectors.UNIT, 0.25
    n_doubtful = 0
    for n_units in range(1, sparse_vectors.MOST_UNITS + 1):
        width = n_units * unit
        for length in (1, 2, 3, 4, 7):
            numbers = eighths(rng, length + 3, dtype)
            columns = rng.integers(0, N_COLUMNS, length + 3).astype(np.int32)
            group = eighths(rng, (N_COLUMNS, width), dtype)
            biases = eighths(rng, width + 2, np.float64)
            expected = scores_of(numbers[2:-1], columns[2:-1], group, biases[2:])
            row = (numbers, columns, 2, 2 + length, biases, 2)
            panel = np.concatenate([np.full(5, NOISE, dtype), group.ravel()])

            n_filled = -(-width // sparse_vectors.LANES) * sparse_vectors.LANES
            scores = np.full(n_filled + 2, NOISE)
            called(sparse_vectors.add_products)(panel, n_units, 5, *row, scores, 1)
            assert_array_equal(scores[1 : 1 + width], expected)
            assert (scores[1 + width : -1] == -np.inf).all()
            assert (scores[[0, -1]] == NOISE).all()

            greatest = expected.max()
            for so_far in (-np.inf, greatest - 1, greatest - margin, greatest, greatest + 1):
                best, labels = np.full(3, so_far), np.full(3, 99, np.int32)
                called(sparse_vectors.keep_greatest)(panel, n_units, 5, *row, best, labels, 1)
                is_better = greatest > so_far
                assert best.tolist() == [so_far, max(so_far, greatest), so_far]
                label = 2 + expected.argmax() if is_better else 99
                assert labels.tolist() == [99, label, 99]

                best, labels = np.full(3, so_far), np.full(3, 99, np.int32)
                doubts = np.zeros(3, np.int8)
                called(sparse_vectors.keep_certain)(
                    panel, n_units, 5, *row, margin, best, labels, doubts, 1
                )
                near = np.flatnonzero(expected >= greatest - margin)
                is_ahead = greatest > so_far + margin
                is_doubtful = len(near) > 1 if is_ahead else greatest >= so_far - margin
                n_doubtful += is_doubtful and is_ahead
                assert best[1] == max(so_far, greatest)
                assert labels.tolist() == [99, 2 + near[0] if is_ahead else 99, 99]
                assert doubts.tolist() == [0, is_doubtful, 0]
    assert n_doubtful > 10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [0, 1, 2, 5])
def test_numbers_are_added_to_their_columns(length: int, dtype: str) -> None:
    rng = np.random.default_rng(1)
    numbers = eighths(rng, length + 3, dtype)
    columns = rng.permutation(N_COLUMNS)[: length + 3].astype(np.int32)
    sums = rng.integers(0, 9, N_COLUMNS + 4) / 8.0
    expected = sums.copy()
    for number, column in zip(numbers[2:-1], columns[2:-1], strict=True):
        expected[4 + column] += 0.25 * float(number)
    called(sparse_vectors.add_numbers)(numbers, columns, 2, 2 + length, 0.25, sums, 4)
    assert_array_equal(sums, expected)


def test_the_first_of_the_greatest_scores() -> None:
    rng, n_scores = np.random.default_rng(2), 3 * sparse_vectors.LANES
    for _ in range(20):
        scores = rng.integers(0, 5, n_scores + 2).astype(np.float64)
        found = called(sparse_vectors.first_greatest)(scores, 1, n_scores)
        assert found == scores[1 : 1 + n_scores].argmax()
    scores[:] = np.nan
    assert called(sparse_vectors.first_greatest)(scores, 1, n_scores) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_units", [1, 2, 5])
def test_scores_become_distances(n_units: int, dtype: str) -> None:
    rng, n_scores, sq_norm = np.random.default_rng(3), n_units * sparse_vectors.UNIT, 1.5
    scores = eighths(rng, n_scores + 3, np.float64)
    distances = np.full(n_scores + 2, NOISE, dtype)
    called(sparse_vectors.write_sq_distances)(distances, 1, n_scores - 1, scores, 2, sq_norm)
    expected = np.maximum(sq_norm - 2 * scores[2 : 1 + n_scores], 0)
    assert_array_equal(distances[1:-2], expected)
    assert (distances[[0, -2, -1]] == NOISE).all()

    norms, given = np.abs(eighths(rng, n_scores, np.float64)), rng.random(n_scores)
    for is_kept in (False, True):
        sums, nearer = np.floor(8 * given), np.full(n_scores + 2, NOISE, dtype)
        called(sparse_vectors.fold_scores)(
            *(nearer, 1, is_kept, scores, 2, n_scores, norms, sq_norm, 0.25, 1.0, 0.5, sums)
        )
        distances = sq_norm - 2 * scores[2 : 2 + n_scores]
        is_felt = distances > 0.25 * (sq_norm + norms)
        folded = np.minimum(np.where(is_felt, distances, 0), 1.0)
        assert_array_equal(sums, np.floor(8 * given) + 0.5 * folded)
        assert_array_equal(nearer[1:-1], folded if is_kept else NOISE)
        assert (nearer[[0, -1]] == NOISE).all()
