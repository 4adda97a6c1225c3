"""k-means|| makes few visits, and finds the same good candidates for every division into blocks."""

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import Library
from kmeans_xp import (
    KMeans,
    MiniBatchKMeans,
    blocks,
    inertia,
    k_means,
    kmeans_parallel,
    open_rows,
)
from kmeans_xp import kmeans_plusplus as public_plusplus
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.kernels import DenseRows
from tests import oracle
from tests.assertions import PRECISIONS
from tests.datasets import blobs, cloud, positive_weights
from tests.doubles import Chopped, sizes_of, skip_many_launches

pytestmark = pytest.mark.sampled(1, cupy=2)

algorithm = importlib.import_module("kmeans_xp.algorithms.kmeans_parallel")

N_CLUSTERS, N_ROUNDS = 6, 5

Host = NDArray[Any]


def rows_of(
    library: Library, host: Host, weights: Host | None = None, dtype: str = "float32"
) -> DenseRows:
    given = (host, weights, host.mean(axis=0))
    return DenseRows(*(None if each is None else library.asarray(each, dtype) for each in given))


def candidates_of(given: Any, library: Library, seed: int = 0, n_wanted: float = 12.0) -> Any:
    """Return points, indices and mass of the candidates, on the host."""
    random_state = np.random.RandomState(seed)
    found, mass = algorithm._candidates(given, n_wanted, N_ROUNDS, random_state)
    return tuple(library.to_host(part) for part in (*found, mass))


def expected_candidates(
    host: Host, weights: Host, seed: int, n_wanted: float
) -> tuple[list[int], list[float]]:
    """Return the candidates and their mass, found row by row."""
    random_state = np.random.RandomState(seed)
    share = random_state.random_sample()
    chosen = [int(np.searchsorted(np.cumsum(weights), share * weights.sum(), side="right"))]
    key = algorithm._drawn_key(random_state)
    for number in range(N_ROUNDS):
        mass = weights * oracle.sq_distances(host, host[chosen]).min(axis=1)
        chances = n_wanted * mass / mass.sum()
        uniforms = [oracle.philox_uniform(row, key, number) for row in range(len(host))]
        chosen += np.flatnonzero(uniforms < chances).tolist()
    labels = oracle.nearest_labels(host, host[chosen])
    return chosen, [float(weights[labels == at].sum()) for at in range(len(chosen))]


@pytest.mark.sampled(1, cupy=4)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_candidates_are_those_of_a_loop_over_the_rows(
    weighted: bool, dtype: str, library: Library
) -> None:
    host = cloud(120, 3)
    weights = positive_weights(120) if weighted else None
    given = InMemory(rows_of(library, host, weights, dtype), xp=library.xp)
    for seed in range(4):
        points, indices, mass = candidates_of(given, library, seed)
        ones = np.ones(120) if weights is None else weights
        chosen, expected_mass = expected_candidates(host, ones, seed, 12.0)
        assert indices.tolist() == chosen
        assert mass.tolist() == expected_mass
        np.testing.assert_allclose(points, (host - host.mean(axis=0))[chosen], atol=1e-5)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1, 2, 40, 103])
def test_rows_in_blocks_have_the_same_candidates_in_few_visits(
    size: int, weighted: bool, library: Library
) -> None:
    skip_many_launches(size, library.xp)
    weights = np.random.default_rng(0).integers(0, 4, 103).astype(float) if weighted else None
    rows = rows_of(library, cloud(103, 3), weights)
    expected = candidates_of(InMemory(rows, xp=library.xp), library)
    cut = Chopped(rows, sizes_of(103, size), xp=library.xp)
    for found, part in zip(candidates_of(cut, library), expected, strict=True):
        assert found.tobytes() == part.tobytes()
    # One a round, one to weigh the candidates, and one for weights to draw the first row by.
    assert cut.n_visits == N_ROUNDS + 1 + weighted
    seeds = [
        algorithm.kmeans_parallel(each, N_CLUSTERS, np.random.RandomState(0))
        for each in (cut, InMemory(rows, xp=library.xp))
    ]
    for one, other in zip(*seeds, strict=True):
        assert library.to_host(one).tobytes() == library.to_host(other).tobytes()


@pytest.mark.parametrize("n_kept", [1, 3])
def test_more_candidates_than_a_visit_brings_back_cost_another(
    n_kept: int, monkeypatch: pytest.MonkeyPatch, library: Library
) -> None:
    rows = rows_of(library, cloud(103, 3))
    expected = candidates_of(InMemory(rows, xp=library.xp), library)
    monkeypatch.setattr(algorithm, "_MORE_KEPT", n_kept - 24)
    cut = Chopped(rows, sizes_of(103, 40), xp=library.xp)
    for found, part in zip(candidates_of(cut, library), expected, strict=True):
        assert found.tobytes() == part.tobytes()
    assert cut.n_visits > N_ROUNDS + 1


def test_every_library_chooses_numpys_rows(library: Library) -> None:
    host = (cloud(300, 8) + 1e4).astype(np.float32)
    for seed in range(5):
        _, expected = kmeans_parallel(host.astype(np.float64), 8, random_state=seed)
        centroids, indices = kmeans_parallel(library.asarray(host), 8, random_state=seed)
        assert library.to_host(indices).tolist() == expected.tolist()
        np.testing.assert_array_equal(library.to_host(centroids), host[expected])


@pytest.mark.parametrize("n_rounds", [1, 2, 5])
def test_rows_without_weight_are_never_chosen(n_rounds: int, library: Library) -> None:
    weights = np.zeros(60)
    allowed = [3, 17, 31, 42, 59]
    weights[allowed] = [1.0, 0.5, 2.0, 1.0, 4.0]
    points = library.asarray(cloud(60, 2), "float32")
    for seed in range(10):
        _, indices = kmeans_parallel(
            points, 5, sample_weight=weights, n_rounds=n_rounds, random_state=seed
        )
        assert sorted(library.to_host(indices).tolist()) == allowed


def test_weights_are_as_good_as_rows_that_are_repeated() -> None:
    host = cloud(640, 2)  # enough for as many choices among the candidates as repeated
    counts = np.random.default_rng(0).integers(1, 6, 640)
    repeated = np.repeat(host, counts, axis=0)

    def mean_inertia(points: Host, weights: Host | None) -> float:
        chosen = [
            kmeans_parallel(points, 5, sample_weight=weights, random_state=seed)[0]
            for seed in range(150)
        ]
        return float(np.mean([inertia(repeated, centroids) for centroids in chosen]))

    weighted, plain = mean_inertia(host, counts.astype(float)), mean_inertia(repeated, None)
    assert weighted == pytest.approx(plain, rel=0.03)
    assert mean_inertia(host, None) > 1.005 * weighted


@pytest.mark.parametrize("oversampling", [1e-6, 0.1, 0.5])
def test_too_few_candidates_are_filled_up(oversampling: float, library: Library) -> None:
    host = cloud(100, 3)
    points = library.asarray(host, "float32")
    for seed in range(5):
        centroids, indices = kmeans_parallel(
            points, 9, oversampling=oversampling, n_rounds=1, random_state=seed
        )
        chosen = library.to_host(indices)
        assert len(set(chosen.tolist())) == 9
        np.testing.assert_array_equal(library.to_host(centroids), host[chosen])


@pytest.mark.parametrize("n_clusters", [1, 2, 20])
def test_of_few_rows_each_may_be_a_centroid(n_clusters: int, library: Library) -> None:
    points = library.asarray(cloud(20, 2), "float32")
    for seed in range(5):
        _, indices = kmeans_parallel(points, n_clusters, random_state=seed)
        assert len(set(library.to_host(indices).tolist())) == n_clusters


def test_rows_that_are_equal_are_chosen_once_while_there_are_others(library: Library) -> None:
    host = cloud(7, 2).repeat(30, axis=0)
    points = library.asarray(host, "float32")
    for seed in range(5):
        _, indices = kmeans_parallel(points, 7, random_state=seed)
        assert sorted(library.to_host(indices) // 30) == list(range(7))
        _, indices = kmeans_parallel(points, 9, random_state=seed)
        assert sorted(set(library.to_host(indices) // 30)) == list(range(7))
        assert len(library.to_host(indices)) == 9


def test_rows_that_are_all_equal_are_clustered_too(library: Library) -> None:
    points = library.asarray(np.ones((30, 2)), "float32")
    centroids, _ = kmeans_parallel(points, 3, random_state=0)
    np.testing.assert_array_equal(library.to_host(centroids), np.ones((3, 2)))


def test_separated_blobs_are_each_given_a_seed(library: Library) -> None:
    host, truth = blobs(n_clusters=8)
    points = library.asarray(host, "float32")
    for seed in range(10):
        rows = library.to_host(kmeans_parallel(points, 8, random_state=seed)[1])
        assert sorted(truth[rows]) == list(range(8))


def test_seeds_are_as_good_as_those_of_kmeans_plusplus() -> None:
    rng = np.random.default_rng(0)
    host = rng.normal(size=(2000, 5)) + 4.0 * rng.normal(size=(40, 5))[rng.integers(40, size=2000)]
    means = [
        np.mean([inertia(host, choose(host, 40, random_state=seed)[0]) for seed in range(8)])
        for choose in (kmeans_parallel, public_plusplus)
    ]
    assert means[0] < 1.05 * means[1]


def test_more_rounds_are_better() -> None:
    host = cloud(3000, 4)
    one, two, five = (
        np.mean(
            [
                inertia(host, kmeans_parallel(host, 20, n_rounds=n_rounds, random_state=seed)[0])
                for seed in range(8)
            ]
        )
        for n_rounds in (1, 2, 5)
    )
    assert one > two > five


def test_the_best_of_several_choices_among_the_candidates_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    host = rng.normal(size=(4000, 5)) + 3.0 * rng.normal(size=(20, 5))[rng.integers(20, size=4000)]

    def mean_inertia() -> float:
        fits = (KMeans(20, init="k-means||", random_state=seed).fit(host) for seed in range(8))
        return float(np.mean([fit.inertia_ for fit in fits]))

    best_of_eight = mean_inertia()
    monkeypatch.setattr(algorithm, "_MOST_CHOICES", 1)
    assert best_of_eight < 0.99 * mean_inertia()


@pytest.mark.parametrize(
    ("n_points", "n_features", "n_choices"),
    [(100_000, 8, 8), (800, 8, 5), (100, 8, 1), (100_000, 2**21, 1)],
    ids=["many rows", "few rows", "very few rows", "wide rows"],
)
def test_choices_take_no_longer_than_the_rounds(
    n_points: int, n_features: int, n_choices: int
) -> None:
    blocks: Any = SimpleNamespace(n_points=n_points, n_features=n_features)
    assert algorithm._n_choices(blocks, 100, 10) == n_choices


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_clusters": 0}, "n_clusters must be an integer of at least 1, got 0"),
        ({"n_clusters": 31}, r"n_samples=30 should be >= n_clusters=31\."),
        ({"n_clusters": 3, "n_rounds": 0}, "n_rounds must be an integer of at least 1, got 0"),
        ({"n_clusters": 3, "oversampling": 0.0}, r"oversampling must be .* above 0, got 0\.0"),
        ({"n_clusters": 3, "oversampling": np.inf}, "oversampling must be .* above 0, got inf"),
    ],
)
def test_what_cannot_be_is_one_clear_error(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kmeans_parallel(cloud(30), **params)


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_estimators_begin_from_its_rows(estimator_class: type, library: Library) -> None:
    host, truth = blobs()
    points = library.asarray(host, "float32")
    fitted = estimator_class(5, init="k-means||", random_state=0).fit(points)
    assert fitted._n_init == 1
    assert len(np.unique(truth * 5 + library.to_host(fitted.labels_))) == 5
    assert fitted.to_sklearn().init == "k-means++"


def test_k_means_begins_from_its_rows() -> None:
    host = cloud()
    begun = kmeans_parallel(host, 6, random_state=3)[0]
    ours = k_means(host, 6, init="k-means||", random_state=3)[0]
    assert ours.tobytes() == k_means(host, 6, init=begun, n_init=1)[0].tobytes()


def fitted_in_blocks(
    monkeypatch: pytest.MonkeyPatch, host: Host, size: int, **params: Any
) -> KMeans:
    """Return an estimator whose rows were shown a block at a time."""

    def of(points: Any, weights: Any, placement: Any, **_: Any) -> Chopped:
        return Chopped(DenseRows(points, weights), sizes_of(len(points), size), xp=placement.xp)

    with monkeypatch.context() as patch:
        patch.setattr(blocks, "of", of)
        return KMeans(N_CLUSTERS, random_state=0, **params).fit(host)


def test_the_default_is_kmeans_parallel_for_rows_in_blocks_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = cloud()
    assert KMeans().init == MiniBatchKMeans().init == "auto"
    whole = {
        init: KMeans(N_CLUSTERS, init=init, random_state=0, max_iter=1).fit(host)
        for init in ("auto", "k-means++", "k-means||")
    }
    assert whole["auto"].inertia_ == whole["k-means++"].inertia_ != whole["k-means||"].inertia_
    for init, expected in (
        ("auto", "k-means||"),
        ("k-means||", "k-means||"),
        ("k-means++", "k-means++"),
    ):
        cut = fitted_in_blocks(monkeypatch, host, 37, init=init, max_iter=1)
        np.testing.assert_array_equal(cut.labels_, whole[expected].labels_)


def test_nothing_of_the_size_of_the_rows_goes_to_the_device_or_back(library: Library) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs counters of copies and waits")
    if library.name != "cupy":
        pytest.skip("the emulation counts what CuPy does")
    given = InMemory(rows_of(library, cloud(20_000), positive_weights(20_000)), xp=library.xp)

    def choose() -> Any:
        return algorithm.kmeans_parallel(given, N_CLUSTERS, np.random.RandomState(0))

    choose()  # compiles
    before = stats.read()
    choose()
    after = stats.read()
    counts = {key: after[key] - before[key] for key in ("h2d_bytes", "d2h_bytes", "d2h_count")}
    assert max(counts["h2d_bytes"], counts["d2h_bytes"]) < 20_000
    # Keys, indices and the potential of each round; the mass of the candidates; and a number for
    # each iteration on them, and each end of a run.
    of_choices = algorithm._MOST_CHOICES * (algorithm._ITERATIONS_A_CHOICE + 2)
    assert counts["d2h_count"] <= 3 * N_ROUNDS + 1 + of_choices


class Passes:
    """Makes iterators over the rows in blocks, and counts them."""

    def __init__(self, host: Host) -> None:
        self.host, self.n = host, 0

    def __call__(self) -> Any:
        self.n += 1
        yield from (self.host[start : start + 70] for start in range(0, len(self.host), 70))


def test_rows_that_are_read_are_read_few_times() -> None:
    host = cloud()
    passes = Passes(host)
    rows = open_rows(passes)
    assert rows.shape == host.shape
    passes.n = 0
    centroids, indices = kmeans_parallel(rows, 40, random_state=0)
    expected, expected_indices = kmeans_parallel(host, 40, random_state=0)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(centroids, expected)
    # Two for the mean: one takes the row that serves as origin. One takes the first candidate.
    # One for each round. One weighs the candidates, and one takes those chosen.
    assert passes.n == 2 + 1 + N_ROUNDS + 1 + 1


def test_kmeans_plusplus_takes_rows_that_are_read_too() -> None:
    host = cloud()
    found, expected = (
        public_plusplus(rows, 6, random_state=0) for rows in (open_rows(Passes(host)), host)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
