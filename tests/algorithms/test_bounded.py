"""Bounds change which rows are visited, but not a bit of the result."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import Library
from kmeans_xp import KMeans, config_context, k_means
from kmeans_xp.algorithms import ALGORITHMS, BoundedStep, LloydResult, bounded, lloyd
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.devices import namespace_of, to_host
from kmeans_xp.kernels import (
    Bounds,
    ClusterTotals,
    DenseRows,
    SphereRows,
    bounded_step,
    bounded_steps,
    lloyd_step,
    means_on_sphere,
    nearest_labels,
    rows_on_sphere,
    sphere_factors,
    update_centroids,
)
from tests.strategies import WEIGHTS, Problem, problem_of, problems

Host = NDArray[Any]

DTYPES = ["float32", pytest.param("float64", marks=pytest.mark.needs("float64"))]

with_bounds = pytest.mark.skip_library(
    "array_api_strict", "torch", "jax", "dpnp", "cupy", reason="takes plain steps anyway"
)

NUMPY = namespace_of(np.empty(0))


def compiled(name: str) -> Any:
    """Return a module of compiled kernels."""
    pytest.importorskip("numba")
    bounded_step.overrides("numpy")  # imports all of them, in the order in which they are tried
    return importlib.import_module(f"kmeans_xp.kernels.{name}")


@contextmanager
def cut(n_tile_rows: int, most_private: int) -> Iterator[None]:
    """Limit the rows of a tile and the private sums, and have as many tasks as possible."""
    tiling, assignment = compiled("for_numba.tiling"), compiled("for_numba.assignment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "_MOST_TILE_ROWS", n_tile_rows)
        patch.setattr(assignment, "_MOST_PRIVATE", most_private)
        patch.setattr(tiling, "_WORTH_A_TASK", 1)
        patch.setattr(tiling, "_WORTH_A_CELL", 0)
        yield


def rows_of(problem: Problem, scale: float = 1.0) -> DenseRows:
    """Return the problem's rows for NumPy, and times the scale."""
    points = (problem.points * problem.points.dtype.type(scale)).astype(problem.dtype)
    origin = None if problem.origin is None else problem.origin * points.dtype.type(scale)
    return DenseRows(points, problem.weights, origin)


def directions_of(problem: Problem) -> SphereRows:
    """Return the problem's rows, scaled as they are read, of any length but 0."""
    lengths = 10.0 ** np.random.default_rng(0).uniform(-9, 9, (len(problem.points), 1))
    points = (problem.points * lengths).astype(problem.dtype)
    points[~points.any(axis=1), 0] = 1.0
    given = DenseRows(points, problem.weights)
    rows = rows_on_sphere(given, sphere_factors(given, xp=NUMPY))
    assert isinstance(rows, SphereRows)
    return rows.seen_from(problem.origin)


def moves(draw: st.DrawFn, rows: Any, centroids: Host) -> Iterator[Host]:
    """Yield centroids as runs have them: means, and now and then something else."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="moves"))
    for kind in draw(st.lists(st.sampled_from(MOVES), min_size=2, max_size=8), label="kinds"):
        yield centroids
        if kind == "mean":
            totals = lloyd_step(rows, centroids, xp=NUMPY)
            centroids = update_centroids(totals, centroids, xp=NUMPY).centroids
        elif kind == "relocate":
            centroids = centroids.copy()
            row = rows.points[rng.integers(rows.n_points)]
            centroids[rng.integers(len(centroids))] = (
                row if rows.origin is None else row - rows.origin
            )
        elif kind == "collapse":
            centroids = np.repeat(centroids[:1], len(centroids), axis=0)
        elif kind == "permute":
            centroids = rng.permutation(centroids)


MOVES = ("mean", "mean", "mean", "stay", "relocate", "collapse", "permute")


def assert_same_bits(actual: Any, expected: Any) -> None:
    for part, other in zip(actual, expected, strict=True):
        assert to_host(part).tobytes() == to_host(other).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
def test_every_step_is_bit_equal_to_a_plain_one(dtype: str, data: st.DataObject) -> None:
    problem = data.draw(problems(dtype, max_points=400))
    scale = data.draw(st.sampled_from([1.0, 1.0, 1e-22, 1e17, 1e19]), label="scale")
    rows, centroids = rows_of(problem, scale), problem.centroids * problem.points.dtype.type(scale)
    n_tile_rows = data.draw(st.sampled_from([1, 64, 1024]), label="tile")
    most_private = data.draw(st.sampled_from([16, 2**16]), label="most_private")
    n_threads = data.draw(st.sampled_from([1, 2, 4]), label="threads")
    bounds = Bounds()
    with cut(n_tile_rows, most_private), config_context(n_threads=n_threads):
        for place in moves(data.draw, rows, centroids):
            totals = bounded_step(rows, place, bounds, xp=NUMPY)
            assert_same_bits(totals, lloyd_step(rows, place, xp=NUMPY))
            assert bounds.labels is not None
            np.testing.assert_array_equal(bounds.labels, nearest_labels(rows, place, xp=NUMPY))
            assert 0 <= bounds.n_visited <= rows.n_points


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
def test_every_step_of_directions_is_bit_equal_to_a_plain_one(
    dtype: str, data: st.DataObject
) -> None:
    pytest.importorskip("numba")
    problem = data.draw(problems(dtype, max_points=400))
    rows, centroids, bounds = directions_of(problem), problem.centroids, Bounds()
    if data.draw(st.booleans(), label="from rows"):
        centroids = rows.centred()[np.arange(len(centroids)) % rows.n_points]
    n_tile_rows = data.draw(st.sampled_from([1, 64, 1024]), label="tile")
    most_private = data.draw(st.sampled_from([16, 2**16]), label="most_private")
    n_threads = data.draw(st.sampled_from([1, 2, 4]), label="threads")
    is_moved = rows.origin is not None and bool(rows.origin.any())
    with cut(n_tile_rows, most_private), config_context(n_threads=n_threads):
        for place in moves(data.draw, rows, centroids):
            totals = bounded_step(rows, place, bounds, xp=NUMPY)
            assert_same_bits(totals, lloyd_step(rows, place, xp=NUMPY))
            if is_moved:
                assert bounds.labels is None
                continue
            assert bounds.labels is not None
            np.testing.assert_array_equal(bounds.labels, nearest_labels(rows, place, xp=NUMPY))


def run(problem: Problem, library: Library, algorithm: str, **options: Any) -> LloydResult:
    """Run Lloyd's algorithm on the problem."""
    rows = DenseRows(
        library.asarray(problem.points, problem.dtype),
        None if problem.weights is None else library.asarray(problem.weights, problem.computing),
        None if problem.origin is None else library.asarray(problem.origin, problem.computing),
    )
    centroids = library.asarray(problem.centroids, problem.computing)
    return lloyd(InMemory(rows, xp=library.xp), centroids, algorithm=algorithm, **options)


def assert_same_run(actual: LloydResult, expected: LloydResult) -> None:
    found, wanted = ((run.centroids, run.labels.whole()) for run in (actual, expected))
    assert_same_bits(found, wanted)
    assert actual.inertia == expected.inertia
    assert actual.iterations == expected.iterations


@with_bounds
@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_runs_are_bit_equal_to_plain_ones(
    dtype: str, library: Library, data: st.DataObject
) -> None:
    """Among them runs that relocate: some centroids are equal, so clusters are empty."""
    problem = data.draw(problems(dtype, few_shapes=library.name == "jax"))
    expected = run(problem, library, "lloyd", max_iter=20)
    with pytest.MonkeyPatch.context() as patch:
        for name in vars(bounded):
            if name.startswith("_FEWEST"):
                patch.setattr(bounded, name, 0)
        patch.setattr(bounded, "_SHORT", bounded.Patience(n_plain=1, share=0.5))
        for algorithm in ALGORITHMS:
            assert_same_run(run(problem, library, algorithm, max_iter=20), expected)


@with_bounds
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("shape", [(5000, 33, 70), (3000, 3, 17), (64, 2, 64), (4097, 5, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_longer_runs_are_bit_equal_to_plain_ones(
    dtype: str, shape: tuple[int, int, int], weights: str, library: Library
) -> None:
    if library.name != "numpy":
        shape = tuple(min(n, 100) for n in shape)  # type: ignore[assignment]
    for kind in ("grid", "normal", "far blobs"):
        problem = problem_of(shape, dtype, kind=kind, weights=weights, has_origin=True)
        expected = run(problem, library, "lloyd")
        for algorithm in ALGORITHMS:
            assert_same_run(run(problem, library, algorithm), expected)


@pytest.mark.sampled(1, cupy=4)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_estimators_are_bit_equal_whatever_the_algorithm(algorithm: str, library: Library) -> None:
    points = library.asarray(problem_of((700, 5, 6), "float32", kind="blobs").points)
    plain = KMeans(6, random_state=0, algorithm="lloyd").fit(points)
    fitted = KMeans(6, random_state=0, algorithm=algorithm).fit(points)
    found = (fitted.cluster_centers_, fitted.labels_)
    assert_same_bits(found, (plain.cluster_centers_, plain.labels_))
    assert (fitted.inertia_, fitted.n_iter_) == (plain.inertia_, plain.n_iter_)
    assert_same_bits(fitted.history_.values(), plain.history_.values())
    assert_same_bits(k_means(points, 6, random_state=0, algorithm=algorithm)[:2], found)


def separated(n_points: int = 20_000, n_features: int = 16, n_clusters: int = 64) -> Problem:
    """Return blobs far from each other, and centroids that are not one in each of them."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(-10.0, 10.0, (n_clusters, n_features))
    points = centres[rng.integers(n_clusters, size=n_points)]
    points = (points + rng.standard_normal(points.shape)).astype(np.float32)
    return Problem(points, None, None, points[:n_clusters], "float32")


def uniform(n_points: int = 20_000, n_features: int = 16, n_clusters: int = 64) -> Problem:
    """Return rows without clusters."""
    points = np.random.default_rng(0).random((n_points, n_features), dtype=np.float32)
    return Problem(points, None, None, points[:n_clusters], "float32")


def visits(problem: Problem, n_steps: int, *patience: Any) -> list[int]:
    """Return how many rows each of the steps visits."""
    pytest.importorskip("numba")
    rows, centroids = rows_of(problem), problem.centroids
    step = BoundedStep(*patience)
    for _ in range(n_steps):
        taken = step.steps(rows, centroids, 1, 0.0, update_centroids, xp=NUMPY)
        totals = ClusterTotals(*(of_steps[0] for of_steps in taken.totals))
        assert_same_bits(totals, lloyd_step(rows, centroids, xp=NUMPY))
        centroids = taken.update.centroids[0]
    return step.n_visited


def test_most_rows_of_separated_clusters_are_skipped() -> None:
    n_visited = visits(separated(), 12)
    assert n_visited[0] == 20_000
    assert max(n_visited[6:]) < 5_000


def test_most_directions_of_separated_clusters_are_skipped() -> None:
    pytest.importorskip("numba")
    rows, bounds = directions_of(separated()), Bounds()
    centroids, n_visited = rows.centred()[:64], []
    for _ in range(12):
        totals = bounded_step(rows, centroids, bounds, xp=NUMPY)
        n_visited.append(bounds.n_visited)
        centroids = means_on_sphere(totals, centroids, xp=NUMPY).centroids
    assert n_visited[0] == 20_000
    assert max(n_visited[6:]) < 5_000


def test_no_row_is_visited_where_nothing_moves() -> None:
    problem = separated()
    rows, bounds = rows_of(problem), Bounds()
    for expected in (20_000, 0, 0):
        bounded_step(rows, problem.centroids, bounds, xp=NUMPY)
        assert bounds.n_visited <= max(expected, 200)


def test_steps_are_plain_while_bounds_do_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    bounded_at: list[int] = []

    def counted(*given: Any, xp: Any) -> Any:
        bounded_at.append(len(step.n_visited))
        return bounded_steps(*given, xp=xp)

    monkeypatch.setattr(bounded, "bounded_steps", counted)
    rows, centroids = rows_of(uniform(n_points=300)), uniform(n_points=300).centroids
    step = BoundedStep(bounded.Patience(n_plain=3, pause=2, share=-1.0))
    for _ in range(16):
        step.steps(rows, centroids, 1, 0.0, update_centroids, xp=NUMPY)
    # Two of them, since the first from nowhere visits all rows whatever the data.
    assert bounded_at == [3, 4, 7, 8, 13, 14]
    assert len(step.n_visited) == 16


def test_steps_do_not_pause_where_bounds_pay() -> None:
    pytest.importorskip("numba")
    patience = bounded.Patience(share=0.9)
    assert visits(separated(), 8, patience) == visits(separated(), 8)


def test_uniform_data_are_mostly_plain_steps() -> None:
    pytest.importorskip("numba")
    n_visited = visits(uniform(n_clusters=200), 16, bounded._SHORT)
    assert n_visited[:6] == [20_000] * 6
    assert sum(n_visited) > 0.9 * 16 * 20_000


def test_auto_chooses_by_library_and_shape() -> None:
    pytest.importorskip("numba")

    def chosen(n_points: int, n_features: int, n_clusters: int, dtype: str = "float32") -> Any:
        rows = DenseRows(np.zeros((n_points, n_features), dtype))
        return bounded.bounds_for(rows, n_clusters, "auto", xp=NUMPY)

    assert chosen(100_000, 16, 100).patience == bounded._SHORT
    assert chosen(20_000, 128, 100).patience == bounded._LONG
    directions = SphereRows(np.zeros((100_000, 128), "float32"), factors=np.zeros(100_000, "f4"))
    for n_clusters in (2, 100):
        assert bounded.bounds_for(directions, n_clusters, "auto", xp=NUMPY) is not None
    assert bounded.bounds_for(directions._replace(factors=None), 100, "auto", xp=NUMPY) is None
    for shape in ((100_000, 2, 100), (1_000_000, 100, 8), (9_000, 200, 100), (20_000, 16, 100)):
        assert chosen(*shape) is None
    assert chosen(100_000, 16, 100, "float16") is None


def test_bounds_take_the_memory_that_is_documented() -> None:
    pytest.importorskip("numba")
    problem = separated()
    n_points = len(problem.points)
    bounds = Bounds()
    bounded_step(rows_of(problem), problem.centroids, bounds, xp=NUMPY)
    kept = [array for array in vars(bounds.kept).values() if isinstance(array, np.ndarray)]
    a_row = sum(array.nbytes for array in kept if len(array) == n_points)
    assert a_row == 12 * n_points
    assert sum(array.nbytes for array in kept) - a_row < 2**20
    assert sum(task.totals.nbytes for task in bounds.kept.tasks.values()) <= 2**26


def test_libraries_without_bounds_take_plain_steps(library: Library) -> None:
    if bounded_step.overrides(library.name):
        pytest.skip("has bounds")
    rows = DenseRows(library.asarray(separated().points[:100]))
    for algorithm in ALGORITHMS:
        assert bounded.bounds_for(rows, 20, algorithm, xp=library.xp) is None


def test_columns_far_apart_in_memory_are_computed_as_ever() -> None:
    problem = separated(n_points=500)
    rows, bounds = DenseRows(np.asfortranarray(problem.points)), Bounds()
    for _ in range(2):
        totals = bounded_step(rows, problem.centroids, bounds, xp=NUMPY)
        assert_same_bits(totals, lloyd_step(rows, problem.centroids, xp=NUMPY))
        assert (bounds.labels, bounds.n_visited) == (None, 500)


def test_bounds_of_other_rows_are_not_used() -> None:
    pytest.importorskip("numba")
    bounds = Bounds()
    for problem in (separated(), uniform(), uniform(n_clusters=30)):
        rows = rows_of(problem)
        totals = bounded_step(rows, problem.centroids, bounds, xp=NUMPY)
        assert bounds.n_visited == rows.n_points
        assert_same_bits(totals, lloyd_step(rows, problem.centroids, xp=NUMPY))


def test_a_step_after_an_error_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, bounds = separated(), Bounds()
    rows = rows_of(problem)
    bounded_step(rows, problem.centroids, bounds, xp=NUMPY)

    def failing(_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(compiled("for_numba.bounds"), "merged_in_tree", failing)
        with pytest.raises(MemoryError):
            bounded_step(rows, problem.centroids + 1.0, bounds, xp=NUMPY)
    assert bounds.labels is None
    totals = bounded_step(rows, problem.centroids, bounds, xp=NUMPY)
    assert_same_bits(totals, lloyd_step(rows, problem.centroids, xp=NUMPY))
