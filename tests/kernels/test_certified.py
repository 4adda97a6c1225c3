"""Labels by tensor cores equal those of the chain, and few rows need the chain."""

import os
from typing import Any

import numpy as np
import pytest
from sklearn import datasets

from benchmarks import doubtful_rows
from benchmarks.doubtful_rows import chapters, weather
from conftest import Library
from kmeans_xp import lloyd
from kmeans_xp.kernels import DenseRows, lloyd_step
from tests.certified_problems import KINDS, Problem, problem_of
from tests.chain import chain_labels

pytestmark = pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp"), reason="is of CUDA"
)

#: With KMEANS_XP_FUZZ 462 problems and 63 wide ones; `benchmarks.doubtful_rows --fuzz` has more.
N_ROUNDS, N_WIDE_ROUNDS = (22, 3) if "KMEANS_XP_FUZZ" in os.environ else (3, 1)
#: of the kinds of problems, for each other arithmetic; each shape compiles a kernel
ONE_OF_KINDS = 1 if "KMEANS_XP_FUZZ" in os.environ else 4


def rows_of(problem: Problem, library: Library) -> DenseRows:
    origin = None if problem.origin is None else library.xp.asarray(problem.origin)
    return DenseRows(library.xp.asarray(problem.points), None, origin)


def labelled(rows: DenseRows, centroids: Any, part_rows: int = 2**22) -> tuple[Any, int]:
    """Return the labels, and how many rows had no proof."""
    labels, counts = written(rows, centroids, part_rows, by_tensor_cores=True)
    return labels, int(counts.sum())


def test_the_benchmark_counts_the_same_rows(library: Library) -> None:
    _, points, _, centroids = problem_of(2, is_wide=True)
    rows, given = (library.asarray(each) for each in (points, centroids))
    found = doubtful_rows.labelled(points, None, centroids)
    assert found == (labelled(DenseRows(rows), given)[1], 0)


def by_the_chain(rows: DenseRows, centroids: Any) -> Any:
    """Return the labels that ``exact_labels`` gives to all rows."""
    labels, counts = written(rows, centroids, 2**22, by_tensor_cores=False)
    assert counts is None
    return labels


def written(
    rows: DenseRows, centroids: Any, part_rows: int, *, by_tensor_cores: bool
) -> tuple[Any, Any]:
    import cupy

    from kmeans_xp.kernels.for_cupy.certified import Labelling
    from kmeans_xp.kernels.for_cupy.launching import types_of

    types = types_of(rows, centroids)
    assert types is not None
    labelling = Labelling(rows, centroids, types, part_rows, by_tensor_cores=by_tensor_cores)
    labels = cupy.full(rows.n_points, -1, dtype=np.int32)
    for number, (place, part) in enumerate(rows.tiles(part_rows)):
        labelling.write(number, part, labels[place])
    return labels.get(), labelling.counts


def check(seeds: range, library: Library, *, is_wide: bool = False) -> None:
    for seed in seeds:
        problem = problem_of(seed, 24, is_wide=is_wide)
        rows, centroids = rows_of(problem, library), library.xp.asarray(problem.centroids)
        labels, _ = labelled(rows, centroids)
        np.testing.assert_array_equal(labels, by_the_chain(rows, centroids), f"seed {seed}")


@pytest.mark.sampled(1, cupy=3)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_those_of_the_chain(kind: str, library: Library) -> None:
    first = KINDS.index(kind)
    check(range(first, first + N_ROUNDS * len(KINDS), len(KINDS)), library)


@pytest.mark.sampled(1, cupy=3)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_many_features_are_those_of_the_chain(kind: str, library: Library) -> None:
    first = KINDS.index(kind)
    check(range(first, first + N_WIDE_ROUNDS * len(KINDS), len(KINDS)), library, is_wide=True)


@pytest.mark.parametrize("arithmetic", ["a100", "wide"])
def test_the_bound_holds_for_other_tensor_cores(
    arithmetic: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPY_ON_CPU_MMA", arithmetic)
    check(range(1000, 1000 + len(KINDS), ONE_OF_KINDS), library)
    check(range(1000, 1000 + len(KINDS), ONE_OF_KINDS), library, is_wide=True)


@pytest.mark.parametrize("n_features", [16, 100, 150])
@pytest.mark.parametrize("order", ["reverse", None])
def test_no_wait_and_no_barrier_is_missing(
    n_features: int, order: str | None, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    centroids = rng.standard_normal((300, n_features)).astype(np.float32)
    points = centroids[rng.integers(300, size=150)]
    points += rng.standard_normal(points.shape).astype(np.float32) / 2
    rows, given = DenseRows(library.xp.asarray(points)), library.xp.asarray(centroids)
    labels, n_doubtful = labelled(rows, given)
    # What is read too early is NaN, and the chain would hide it: so both must be equal.
    assert n_doubtful < 40
    monkeypatch.setenv("CUPY_ON_CPU_ASYNC", "late")
    if order:
        monkeypatch.setenv("CUPY_ON_CPU_ORDER", order)
    again, n_again = labelled(rows, given)
    np.testing.assert_array_equal(again, labels)
    assert n_again == n_doubtful


@pytest.mark.sampled(1, cupy=3)
@pytest.mark.parametrize("band", [(16, 100), (128, 64), (150, 40)])
@pytest.mark.parametrize(
    "dtype",
    ["float16", pytest.param("bfloat16", marks=pytest.mark.needs("bfloat16")), "float32"],
)
def test_every_dtype_gives_the_labels_of_the_chain(
    band: tuple[int, int], dtype: str, library: Library
) -> None:
    type_of = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    n_features, n_clusters = band
    rng = np.random.default_rng(0)
    points = rng.standard_normal((300, n_features)).astype(type_of)
    origin = points[0].astype(np.float32)
    centroids = points[1 : n_clusters + 1].astype(np.float32) - origin
    rows = DenseRows(library.xp.asarray(points), None, library.xp.asarray(origin))
    labels, n_doubtful = labelled(rows, library.xp.asarray(centroids))
    np.testing.assert_array_equal(labels, chain_labels(points, origin, centroids))
    assert n_doubtful < 30


@pytest.mark.parametrize("n_features", [80, 150])
def test_rows_in_parts_are_labelled_and_counted_as_in_one(
    n_features: int, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import certified, labels

    rng = np.random.default_rng(0)
    points = rng.standard_normal((1500, n_features)).astype(np.float32)
    centroids = library.xp.asarray(points[:70])
    rows = DenseRows(library.xp.asarray(points))
    in_one, n_doubtful = labelled(rows, centroids)
    monkeypatch.setattr(certified, "_HALVES_BYTES", 2 * 192 * 200)
    in_parts, n_in_parts = labelled(rows, centroids, 400)
    np.testing.assert_array_equal(in_parts, in_one)
    assert n_in_parts == n_doubtful > 0
    # Rows with a proof and rows without are counted where their labels say.
    monkeypatch.setattr(labels, "PART_ROWS", 1100)
    monkeypatch.setattr(certified, "_LEAST_WORK", 1)
    step = lloyd_step(rows, centroids, xp=library.xp)
    np.testing.assert_array_equal(step.mass.get(), np.bincount(in_one, minlength=70))
    sums = np.zeros((70, n_features))
    np.add.at(sums, in_one, points.astype(np.float64))
    np.testing.assert_allclose(step.sums.get(), sums, atol=1e-9)


@pytest.mark.sampled(1, cupy=2)
@pytest.mark.parametrize("order", ["reverse", None])
@pytest.mark.parametrize(("n_features", "n_points"), [(16, 700), (150, 385), (150, 31)])
def test_rows_without_a_proof_are_labelled_whichever_blocks_they_are_of(
    n_features: int,
    n_points: int,
    order: str | None,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    centroids = np.repeat(rng.standard_normal((20, n_features)), 2, axis=0).astype(np.float32)
    points = rng.standard_normal((n_points, n_features)).astype(np.float32)
    # Each nearest centroid is there twice, so no row has a proof; some rows of each block get one.
    for n_alone in (0, 150):
        points[n_points // 2 :][:n_alone] += 50
        centroids[1] = 50 if n_alone else centroids[0]
        if order:
            monkeypatch.setenv("CUPY_ON_CPU_ORDER", order)
        rows = DenseRows(library.xp.asarray(points))
        labels, n_doubtful = labelled(rows, library.xp.asarray(centroids))
        nothing = np.zeros(n_features, np.float32)
        np.testing.assert_array_equal(labels, chain_labels(points, nothing, centroids))
        n_proven = min(n_alone, n_points - n_points // 2)
        assert n_points - n_proven - 40 <= n_doubtful <= n_points - n_proven


@pytest.mark.parametrize("arithmetic", ["h100", "a100"])
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize(
    ("n_features", "dtype", "problems"),
    [
        *((100, dtype, (1, 0, 1)) for dtype in ("float32", "float16")),
        pytest.param(100, "bfloat16", (0, 1), marks=pytest.mark.needs("bfloat16")),
        *((150, dtype, problems) for dtype, problems in (("float16", (1, 0)), ("float32", None))),
        *((20, dtype, problems) for dtype, problems in (("float32", None), ("float64", (1, 1)))),
    ],
)
@pytest.mark.sampled(1, cupy=3)
def test_labels_of_several_runs_are_those_of_each_in_two_launches(
    n_features: int,
    dtype: str,
    problems: tuple[int, ...] | None,
    is_late: bool,
    arithmetic: str,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import cupy

    from kmeans_xp.kernels.for_cupy import certified
    from kmeans_xp.kernels.for_cupy.labels import running_minimum_labels
    from kmeans_xp.kernels.for_cupy.launching import ManyRows

    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")
    type_of = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    computed = "float64" if dtype == "float64" else "float32"
    rng = np.random.default_rng(0)
    points = rng.standard_normal((2, 300, n_features)).astype(type_of)
    origins = points[:, 0].astype(computed)
    of_runs = problems or (0, 0)
    # Of the last run each centroid is there twice, so none of its rows has a proof.
    centroids = points[list(of_runs), 1:141].astype(computed) - origins[list(of_runs), None]
    centroids[-1, 70:] = centroids[-1, :70]
    expected = [
        chain_labels(points[problem], origins[problem], centroids[run])
        for run, problem in enumerate(of_runs)
    ]
    placed = [library.xp.asarray(each) for each in (points, origins)]
    rows: Any = DenseRows(placed[0][0], None, placed[1][0])
    if problems:
        rows = ManyRows(placed[0], None, placed[1], cupy.asarray(problems, dtype=np.int32))
    monkeypatch.setenv("CUPY_ON_CPU_MMA", arithmetic)
    if is_late:
        monkeypatch.setenv("CUPY_ON_CPU_ASYNC", "late")
        monkeypatch.setenv("CUPY_ON_CPU_ORDER", "reverse")
    made = []

    class Noted(certified.Labelling):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr("kmeans_xp.kernels.for_cupy.labels.Labelling", Noted)
    monkeypatch.setattr(certified, "_LEAST_WORK", 0)
    stats.reset()
    labels = running_minimum_labels(rows, cupy.asarray(centroids), xp=library.xp)
    assert stats.read()["kernel_launches"] == 2
    np.testing.assert_array_equal(labels.get(), expected)
    if computed == "float64":
        assert made[0].counts is None
        return
    *others, last = made[0].counts.sum(axis=1).tolist()
    assert last == 300
    assert max(others) < 30


# ---- the share of rows without a proof: the chain hides a bound that proves nothing ----


def share_of(points: Any, n_clusters: int, n_iter: int, library: Library) -> float:
    """Return it after some iterations on centred rows."""
    centred = (points - points.mean(axis=0)).astype(np.float32)
    centroids = lloyd(centred, centred[:n_clusters], max_iter=n_iter)[0]
    rows = DenseRows(library.xp.asarray(centred))
    labels, n_doubtful = labelled(rows, library.xp.asarray(centroids))
    nothing = np.zeros(centred.shape[1], np.float32)
    np.testing.assert_array_equal(labels, chain_labels(centred, nothing, centroids))
    return n_doubtful / len(points)


REAL = {
    "digits": lambda: datasets.load_digits().data,
    "breast cancer": lambda: datasets.load_breast_cancer().data,
    "wine": lambda: datasets.load_wine().data,
    "iris": lambda: datasets.load_iris().data,
    "weather": lambda: weather()[::6],
    "chapters": lambda: chapters(100, every=4),
}


@pytest.mark.parametrize(
    ("name", "n_clusters", "most"),
    [
        ("digits", 10, 0.002),
        ("digits", 100, 0.008),
        ("breast cancer", 20, 0.03),
        ("wine", 10, 0.02),
        ("iris", 5, 0.01),
        ("weather", 24, 0.01),
        ("chapters", 20, 0.01),
    ],
)
def test_most_real_rows_have_a_proof(
    name: str, n_clusters: int, most: float, library: Library
) -> None:
    assert share_of(REAL[name](), n_clusters, 10, library) <= most


@pytest.mark.parametrize(("n_features", "most"), [(16, 0.03), (128, 0.03), (300, 0.08)])
def test_most_rows_of_clusters_have_a_proof(n_features: int, most: float, library: Library) -> None:
    rng = np.random.default_rng(0)
    centres = rng.uniform(-2, 2, (64, n_features))
    points = centres[rng.integers(64, size=600)] + rng.standard_normal((600, n_features))
    # From rows as first centroids: the hardest of the iterations.
    assert share_of(points, 64, 1, library) <= most
