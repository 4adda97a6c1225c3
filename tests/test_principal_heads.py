"""Counts of what heads of principal components rule out."""

import numpy as np
import pytest

from benchmarks.principal_heads import candidates_left, principal_axes

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((200, 12)) * 0.5 ** np.arange(12)
CENTROIDS = POINTS[:30]


def test_the_first_axes_have_the_greatest_variance() -> None:
    variances = (POINTS @ principal_axes(POINTS)).var(axis=0)
    assert (np.diff(variances) < 0.0).all()


def test_longer_heads_leave_fewer_centroids_and_whole_rows_only_the_nearest() -> None:
    axes = principal_axes(POINTS)
    left = [candidates_left(POINTS, CENTROIDS, axes, length) for length in (1, 3, 6, 12)]
    assert left == sorted(left, reverse=True)
    assert left[0] > 1.0
    assert left[-1] == 1.0


def test_equal_centroids_are_all_left() -> None:
    twins = np.repeat(CENTROIDS[:5], 3, axis=0)
    left = candidates_left(POINTS, twins, principal_axes(POINTS), 12)
    assert left == pytest.approx(3.0)
