"""The bound of docs/design.md, term by term: rows just below it are in doubt, rows above are not.

No label need be wrong where a term is too small by half, since terms are hardly ever at their worst
together. So each problem is made for some terms: rounding takes off only what they say, and rows
lie some hundredths to one side of the bound, which is evaluated here in float64.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import Library
from kmeans_xp.kernels import DenseRows
from tests.kernels.test_certified import labelled

pytestmark = pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp"), reason="is of CUDA"
)

Host = NDArray[Any]

#: scaled: the greatest numbers lie from 2^14 to 2^15, where neighbouring halves are 16 apart
UNIT, LOST = 2.0**14, 7.0

#: gap of two scores over the bound: in doubt, and proven
BELOW, ABOVE = (0.968, 0.99), (1.015, 1.04)


class Case(NamedTuple):
    """What is lost by rounding, and at which scale."""

    of_rows: float
    of_centroids: float
    exponent: int  # of the scale of rows and centroids


CASES = {
    # Nothing is rounded: what tensor cores and the chain may err decides.
    "sums": Case(0.0, 0.0, 14),
    # Squares of 2^-130: the chain rounds to multiples of 2^-149.
    "below normal": Case(0.0, 0.0, 79),
    "rows": Case(LOST, 0.0, 14),
    "centroids": Case(0.0, LOST, 14),
}


def centroids_of(case: Case, n_features: int) -> Host:
    """Return two centroids, scaled, which differ in the first feature alone."""
    centroids = np.zeros((2, n_features))
    centroids[:, 0] = UNIT, -UNIT
    if case.of_centroids:
        centroids[:, 1] = UNIT + case.of_centroids
    return centroids


def rows_of(case: Case, n_features: int) -> Host:
    """Return rows, scaled: nearer to the first centroid by little, and as far to the side."""
    nearer, aside = np.meshgrid(np.arange(1, 1200) / 64, 1 + np.arange(1, 64) / 64)
    rows = np.zeros((nearer.size, n_features))
    rows[:, 0], rows[:, 1] = nearer.ravel(), aside.ravel() * UNIT + case.of_rows
    return rows


def gap_over_bound(rows: Host, centroids: Host, depth: int, exponent: int) -> Host:
    """Return it for each scaled row, by the formula in docs/design.md."""
    halves, near = (each.astype(np.float16).astype(float) for each in (rows, centroids))
    scores = np.square(near).sum(axis=1) / 2 - halves @ near.T
    lost = np.linalg.norm(rows - halves, axis=1)
    of_centroids = np.linalg.norm(centroids - near, axis=1).max()
    length, greatest = (np.linalg.norm(each, axis=1) for each in (rows, centroids))
    bias = np.square(near).sum(axis=1).max() / 2
    reach = bias + (length + lost) * (greatest.max() + of_centroids)
    error = (depth / 8 + 2) * 1.25 * 2.0**-21 + 2.0**-19 + (depth + 3) * 1.02 * 2.0**-24
    error = reach * error + (depth + 3) * 2.0 ** (2 * exponent - 149)
    squares = np.square(halves).sum(axis=1)[:, None] + 2 * (scores + 2 * error[:, None])
    both = np.sqrt(squares).sum(axis=1)
    of_rows = lost * np.minimum(both, 2 * greatest.max())
    bound = 2 * error + of_rows + of_centroids * both
    gap: Host = (scores[:, 1] - scores[:, 0]) / bound
    return gap


@pytest.mark.sampled(1, cupy=3)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("n_features", "depth"), [(16, 16), (128, 128), (150, 192)])
def test_a_row_has_a_proof_just_above_the_bound_and_none_below(
    n_features: int, depth: int, case: str, library: Library
) -> None:
    given = CASES[case]
    centroids, rows = centroids_of(given, n_features), rows_of(given, n_features)
    ratios = gap_over_bound(rows, centroids, depth, given.exponent)
    for (least, most), share in ((BELOW, 1.0), (ABOVE, 0.0)):
        chosen = rows[(ratios > least) & (ratios < most)][:40]
        assert len(chosen) > 4
        scaled = (np.ldexp(each, -given.exponent) for each in (chosen, centroids))
        points, near = (library.asarray(each, "float32") for each in scaled)
        _, n_doubtful = labelled(DenseRows(points), near)
        assert n_doubtful == share * len(chosen)
