"""Recommended numbers of clusters, and the reasons for them."""

import io
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from conftest import Library
from kmeans_xp import KMeans, config_context
from kmeans_xp.algorithms import more_centroids
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.devices import choose, why_numba_is_unusable
from kmeans_xp.estimators.preparation import prepared
from kmeans_xp.kernels import DenseRows, solved_at_once
from kmeans_xp.selection import Candidate, Selection, choose_n_clusters
from kmeans_xp.selection import references as fitting
from kmeans_xp.selection.criteria import by_elbow, by_gap, by_silhouette
from kmeans_xp.selection.fits import Search
from kmeans_xp.selection.gap import gaps, reference_rows
from kmeans_xp.selection.references import inertias_alone, inertias_at_once
from tests import oracle
from tests.assertions import PRECISIONS, assert_at_home, assert_same_partition
from tests.datasets import blobs, cloud

FEW: dict[str, Any] = {"n_init": 2, "n_references": 3, "random_state": 0}


compiles_for_minutes = pytest.mark.skip_library(
    "jax", reason="every operation is compiled for every number of clusters: minutes"
)


def square(n_points: int = 300) -> NDArray[np.float64]:
    """Rows without clusters."""
    return np.random.default_rng(0).random((n_points, 2))


@pytest.mark.sampled(2, cupy=6)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("criterion", ["silhouette", "gap", "elbow"])
def test_clusters_that_lie_apart_are_counted(criterion: str, dtype: str, library: Library) -> None:
    host, truth = blobs(200, 3, 4)
    points = library.asarray(host, dtype)
    selection = choose_n_clusters(points, range(2, 8), criterion=criterion, **FEW)
    assert selection.n_clusters == 4
    assert selection.criterion == criterion
    assert selection.recommendations == {"silhouette": 4, "gap": 4, "elbow": 4}
    assert selection.reason.startswith("4 clusters: ")
    assert selection.reason.count("agrees") == 2
    assert [candidate.n_clusters for candidate in selection.table] == [2, 3, 4, 5, 6, 7]
    estimator = selection.estimator
    assert_at_home(estimator.labels_, library, "int32", (200,))
    assert_at_home(estimator.cluster_centers_, library, dtype, (4, 3))
    labels = library.to_host(estimator.labels_)
    assert_same_partition(labels, truth)
    np.testing.assert_array_equal(library.to_host(estimator.predict(points)), labels)
    best = selection.table[2]
    assert best.inertia == estimator.inertia_
    expected = sklearn.metrics.silhouette_score(host, labels)
    assert best.silhouette == pytest.approx(expected, abs=1e-5)


@pytest.mark.sampled(2, cupy=4)
@compiles_for_minutes
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("make", [cloud, square])
def test_inertia_never_rises_with_the_number(make: Any, dtype: str, library: Library) -> None:
    points = library.asarray(make(), dtype)
    for n_init in (1, 2):
        selection = choose_n_clusters(
            points, [3, 1, 2, 7, 4, 12], n_init=n_init, n_references=0, random_state=1
        )
        inertias = [candidate.inertia for candidate in selection.table]
        assert inertias == sorted(inertias, reverse=True)
        assert [candidate.n_clusters for candidate in selection.table] == [1, 2, 3, 4, 7, 12]


def test_the_best_of_several_starts_is_kept() -> None:
    points = cloud()
    few, many = (
        choose_n_clusters(points, [8], n_init=n_init, n_references=0, random_state=0)
        for n_init in (1, 20)
    )
    assert many.table[0].inertia < few.table[0].inertia
    expected = min(KMeans(8, random_state=i).fit(points).inertia_ for i in range(20))
    assert many.table[0].inertia == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_more_centroids_keep_those_given_and_lower_the_inertia(
    dtype: str, library: Library
) -> None:
    host = cloud(120, 3)
    blocks = InMemory(DenseRows(library.asarray(host, dtype)), xp=library.xp)
    given = library.asarray(host[:2] + 0.25, dtype)
    found = library.to_host(more_centroids(blocks, given, 5, np.random.RandomState(0)))
    assert found.shape == (5, 3)
    np.testing.assert_array_equal(found[:2], library.to_host(given))
    distances = oracle.sq_distances(host, found.astype(np.float64))
    assert (distances[:, 2:].min(axis=0) < 1e-12).all()  # rows of the data
    potentials = [distances[:, :k].min(axis=1).sum() for k in (2, 3, 4, 5)]
    assert potentials == sorted(potentials, reverse=True)
    again = library.to_host(more_centroids(blocks, given, 5, np.random.RandomState(0)))
    np.testing.assert_array_equal(again, found)


def test_more_centroids_are_drawn_as_k_means_plus_plus_does(library: Library) -> None:
    # Of one given row and rows at two places, the one that is away is drawn.
    host = np.array([[0.0]] * 30 + [[5.0]])
    blocks = InMemory(DenseRows(library.asarray(host, "float32")), xp=library.xp)
    for seed in range(5):
        found = more_centroids(
            blocks, library.asarray([[0.0]], "float32"), 2, np.random.RandomState(seed)
        )
        assert library.to_host(found).ravel().tolist() == [0.0, 5.0]


def same(one: Selection, other: Selection) -> bool:
    return (
        one.table == other.table
        and one.one_cluster == other.one_cluster
        and one.reason == other.reason
        and one.estimator.labels_.tobytes() == other.estimator.labels_.tobytes()
    )


def test_the_result_hangs_on_the_seed_alone() -> None:
    points = cloud(300, 3)
    one = choose_n_clusters(points, range(2, 6), sample_size=100, **FEW)
    for n_jobs, n_threads in ((2, 1), (3, 2), (-1, 1)):
        with config_context(n_threads=n_threads):
            other = choose_n_clusters(points, range(2, 6), sample_size=100, n_jobs=n_jobs, **FEW)
        assert same(one, other)
    state = np.random.RandomState(0)
    assert same(
        one,
        choose_n_clusters(points, range(2, 6), sample_size=100, **FEW | {"random_state": state}),
    )
    others = FEW | {"random_state": 1}
    assert not same(one, choose_n_clusters(points, range(2, 6), sample_size=100, **others))
    generator = FEW | {"random_state": np.random.default_rng(0)}
    assert choose_n_clusters(points, [2, 3], **generator).n_clusters in (2, 3)


def test_settings_of_the_caller_hold_in_its_threads() -> None:
    points = cloud(100, 2)
    with config_context(device="abacus"), pytest.raises(ValueError, match="abacus"):
        choose_n_clusters(points, [2, 3], n_jobs=2)


def test_rows_without_clusters_are_told() -> None:
    points = square()
    by_silhouettes = choose_n_clusters(points, range(2, 7), random_state=0, n_init=3)
    assert by_silhouettes.recommendations["gap"] == 1
    assert by_silhouettes.n_clusters == by_silhouettes.recommendations["silhouette"] >= 2
    assert "The gap statistic finds no structure (one cluster)." in by_silhouettes.reason
    by_gaps = choose_n_clusters(points, range(2, 7), criterion="gap", random_state=0, n_init=3)
    assert by_gaps.n_clusters == 1
    assert by_gaps.reason.startswith("No structure: the gap statistic is for the first")
    assert by_gaps.estimator.cluster_centers_.shape == (1, 2)
    np.testing.assert_allclose(by_gaps.estimator.cluster_centers_[0], points.mean(axis=0))
    assert by_gaps.one_cluster is not None
    assert by_gaps.one_cluster.inertia == pytest.approx(by_gaps.estimator.inertia_)
    assert 1 not in [candidate.n_clusters for candidate in by_gaps.table]


def test_the_gap_statistic_is_that_of_its_definition() -> None:
    inertias, references = [8.0, 2.0], [[16.0, 4.0], [32.0, 16.0]]
    one, two = gaps(inertias, references)
    logs = np.log2(np.array(references) / inertias) * np.log(2)
    assert one is not None
    assert two is not None
    np.testing.assert_allclose([one.value, two.value], logs.mean(axis=0))
    spread = np.array([0.5, 1.0]) * np.log(2) * np.sqrt(1.5)
    np.testing.assert_allclose([one.error, two.error], spread)
    assert gaps([0.0], [[1.0]]) == [None]


def test_rows_without_clusters_fill_the_box_of_the_data(library: Library) -> None:
    # A bar that lies across: along the axes its box would hold mostly nothing.
    rng = np.random.default_rng(0)
    bar = rng.random((500, 2)) * [10.0, 0.1] @ (np.array([[1, 1], [-1, 1]]) / np.sqrt(2)) + 50.0
    points = library.asarray(bar)
    drawn = reference_rows(prepared(points, None, choose(points)))
    made = drawn(3)
    assert made.shape == (500, 2)
    centred = bar - bar.mean(axis=0)
    for rows in (centred, made):
        assert np.ptp(rows @ [1, 1]) / np.sqrt(2) == pytest.approx(10.0, rel=0.05)
        assert np.ptp(rows @ [-1, 1]) / np.sqrt(2) == pytest.approx(0.1, rel=0.1)
    np.testing.assert_array_equal(drawn(3), made)
    assert not np.array_equal(drawn(4), made)


def references(library: Library, dtype: str, n_points: int = 80) -> Any:
    """Return the data, and the arguments of a fit of five references."""
    points = library.asarray(cloud(n_points, 3), dtype)
    data = prepared(points, None, choose(points))
    return data, reference_rows(data), [1, 2, 3, 6], [5, 6, 7, 8, 9], Search(3, 300)


@pytest.mark.sampled(1, cupy=2)
@compiles_for_minutes
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_references_that_are_fitted_together_have_the_bits_of_each_alone(
    dtype: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, drawn, numbers, seeds, search = references(library, dtype)
    is_compiled = library.name == "numpy" and why_numba_is_unusable() is None
    if is_compiled:
        monkeypatch.setattr("kmeans_xp.kernels.for_numba.compiled.USES_BEFORE_COMPILING", 0)
    for n_init in (1, 3):
        search = search._replace(n_init=n_init)
        alone = [inertias_alone(data, drawn, numbers, seed, search) for seed in seeds]
        for n_held in (5, 2, 1):
            monkeypatch.setattr(fitting, "_GROUP_BYTES", n_held * 16 * 80 * 3)
            found = list(inertias_at_once(data, drawn, numbers, seeds, search))
            if is_compiled or library.name == "cupy":
                assert found == alone
            else:
                assert found in (alone, [None] * 5)


@pytest.mark.skipif(why_numba_is_unusable() is not None, reason="only numba fits them together")
def test_references_are_fitted_together_in_groups_of_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, drawn, numbers, seeds, search = references(Library("numpy", "numpy", np, None), "float64")
    n_held = []

    def counted(points: Any, *others: Any, xp: Any) -> Any:
        n_held.append(len(points))
        return solved_at_once(points, *others, xp=xp)

    monkeypatch.setattr(fitting, "solved_at_once", counted)
    monkeypatch.setattr("kmeans_xp.kernels.for_numba.compiled.USES_BEFORE_COMPILING", 0)
    monkeypatch.setattr(fitting, "_GROUP_BYTES", 2 * 16 * 80 * 3)
    assert None not in list(inertias_at_once(data, drawn, numbers, seeds, search))
    assert n_held == [2] * 7 + [2] * 7 + [1] * 7  # four numbers, and three chains


@pytest.mark.skipif(why_numba_is_unusable() is not None, reason="only numba fits them together")
def test_references_that_need_more_are_fitted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmeans_xp.kernels.for_numba.compiled.USES_BEFORE_COMPILING", 0)
    data, drawn, numbers, seeds, search = references(Library("numpy", "numpy", np, None), "float64")

    def or_few_places(seed: int) -> Any:
        rows = drawn(seed)
        return np.repeat(rows[:2], 40, axis=0) if seed == 7 else rows  # clusters stay empty

    found = list(inertias_at_once(data, or_few_places, numbers, seeds, search))
    assert [each is None for each in found] == [False, False, True, False, False]
    for seed, inertias in zip(seeds, found, strict=True):
        if inertias is not None:
            assert inertias == inertias_alone(data, drawn, numbers, seed, search)


def candidate(n_clusters: int, gap: float | None, error: float | None = 0.1) -> Candidate:
    return Candidate(n_clusters, 1.0 / n_clusters, None, gap, error)


def test_the_first_peak_of_the_gap_is_recommended() -> None:
    table = [candidate(2, 0.5), candidate(3, 0.7), candidate(4, 0.75), candidate(5, 2.0)]
    assert by_gap(candidate(1, 0.2), table).n_clusters == 3
    assert by_gap(candidate(1, 0.45), table).n_clusters == 1
    rising = by_gap(candidate(1, 0.0), [candidate(2, 1.0), candidate(5, 2.0)])
    assert rising == (None, "the gap statistic still grows at 5 clusters")
    unbounded = by_gap(candidate(1, 0.0), [candidate(2, 1.0), candidate(3, None, None)])
    assert unbounded.n_clusters is None
    assert "without bound at 3 clusters" in unbounded.reason
    assert by_gap(None, table) == (None, "the gap statistic was not measured")


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_the_greatest_silhouette_is_recommended(silhouettes: list[float]) -> None:
    table = [Candidate(k, 1.0, s, None, None) for k, s in enumerate(silhouettes, start=2)]
    verdict = by_silhouette(table)
    assert verdict.n_clusters == 2 + int(np.argmax(silhouettes))
    assert ("hardly form clusters" in verdict.reason) == (max(silhouettes) <= 0.25)


def test_an_elbow_is_recommended_where_there_is_one() -> None:
    def curve(inertias: list[float]) -> list[Candidate]:
        return [Candidate(k, x, None, None, None) for k, x in enumerate(inertias, start=2)]

    assert by_elbow(curve([100.0, 50.0, 10.0, 9.0, 8.0, 7.0])).n_clusters == 4
    assert by_elbow(curve([5.0, 4.0, 3.0, 2.0, 1.0])) == (None, "the inertia has no elbow")
    assert by_elbow(curve([5.0, 4.0])).reason == "an elbow needs at least 3 numbers of clusters"
    same = "the inertia is the same for all the numbers asked for"
    assert by_elbow(curve([1.0, 1.0, 1.0])) == (None, same)


def test_another_criterion_decides_where_one_has_no_answer() -> None:
    points, _ = blobs(100, 2, 3)
    selection = choose_n_clusters(points, [2, 3], criterion="elbow", **FEW)
    assert selection.recommendations["elbow"] is None
    assert selection.criterion == "silhouette"
    assert selection.n_clusters == 3
    assert selection.reason.startswith(
        "An elbow needs at least 3 numbers of clusters. 3 clusters: the mean silhouette"
    )


def test_without_references_there_is_no_gap() -> None:
    selection = choose_n_clusters(blobs(100, 2, 3)[0], range(2, 6), n_references=0, random_state=0)
    assert selection.recommendations == {"silhouette": 3, "gap": None, "elbow": 3}
    assert selection.one_cluster is None
    assert {(each.gap, each.gap_error) for each in selection.table} == {(None, None)}
    assert "The gap statistic was not measured." in selection.reason


def test_equal_rows_have_no_answer(library: Library) -> None:
    points = library.asarray(np.ones((12, 2)))
    selection = choose_n_clusters(points, [2, 3, 4], **FEW)
    assert selection.recommendations == {"silhouette": None, "gap": None, "elbow": None}
    assert selection.n_clusters == 2
    assert "No criterion has an answer: 2 clusters, the least" in selection.reason
    assert str(selection).count("-") >= 9


def test_as_many_clusters_as_rows_have_no_silhouette() -> None:
    points, _ = blobs(6, 2, 3)
    selection = choose_n_clusters(points, [1, 3, 6], **FEW)
    assert [each.silhouette is None for each in selection.table] == [True, False, True]
    assert selection.table[2].inertia == 0.0
    assert selection.n_clusters == 3


def test_more_clusters_than_different_rows_have_no_silhouette() -> None:
    points = np.repeat([[0.0, 0.0], [5.0, 5.0]], 20, axis=0)
    selection = choose_n_clusters(points, range(2, 5), **FEW)
    assert [each.silhouette for each in selection.table] == [pytest.approx(1.0), None, None]
    assert selection.n_clusters == 2


@compiles_for_minutes
def test_a_sample_is_measured_where_there_are_many_rows(library: Library) -> None:
    host, _ = blobs(600, 2, 3)
    points = library.asarray(host, "float32")
    whole, sampled = (
        choose_n_clusters(points, range(2, 6), sample_size=size, **FEW) for size in (None, 60)
    )
    assert sampled.n_clusters == whole.n_clusters == 3
    assert sampled.recommendations == whole.recommendations
    assert [each.inertia for each in sampled.table] == [each.inertia for each in whole.table]
    for one, other in zip(whole.table, sampled.table, strict=True):
        assert one.silhouette == pytest.approx(other.silhouette, abs=0.1)
        assert one.silhouette != other.silhouette
        assert one.gap == pytest.approx(other.gap, abs=0.5)
    assert sampled.estimator.labels_.shape == (600,)


def test_arrays_stay_on_the_device_that_is_asked_for(library: Library) -> None:
    points = library.asarray(blobs(60, 2, 3)[0], "float32")
    selection = choose_n_clusters(points, [2, 3, 4], device="cpu", **FEW)
    assert_at_home(selection.estimator.labels_, library, "int32", (60,))
    assert selection.estimator.device == "cpu"
    assert "was asked for" in selection.estimator.device_reason_
    assert_at_home(selection.estimator.predict(points), library, "int32", (60,))


def test_names_of_features_are_kept() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(blobs(60, 2, 3)[0], columns=["width", "height"])
    selection = choose_n_clusters(frame, [2, 3, 4], **FEW)
    assert selection.estimator.feature_names_in_.tolist() == ["width", "height"]
    assert selection.estimator.predict(frame).shape == (60,)
    params = selection.estimator.get_params()
    expected = {"n_clusters": 3, "n_init": 2, "random_state": 0, "init": "auto"}
    assert expected.items() <= params.items()


def test_parts_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    points, told = blobs(60, 2, 3)[0], []
    choose_n_clusters(points, [2, 3], n_jobs=2, progress=lambda *n: told.append(n), **FEW)
    assert told == [(i, 7) for i in range(1, 8)]
    choose_n_clusters(points, [2, 3], progress=True, **FEW)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("\rchoosing the number of clusters: 7 of 7 parts\n")
    choose_n_clusters(points, [2, 3], **FEW)
    assert capsys.readouterr().err == ""


def test_the_table_is_told() -> None:
    selection = choose_n_clusters(blobs(100, 2, 3)[0], [2, 3, 4], **FEW)
    lines = str(selection).splitlines()
    assert lines[0].split() == ["clusters", "inertia", "silhouette", "gap", "gap", "error"]
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert lines[3].split()[2] == f"{selection.table[1].silhouette:.4f}"
    assert len({len(line) for line in lines[:5]}) == 1
    assert lines[-1] == selection.reason


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "no number": ({"n_clusters": []}, "n_clusters must be one or more integers of at least 1"),
    "zero": ({"n_clusters": [0, 2]}, "n_clusters must be one or more integers of at least 1"),
    "a fraction": ({"n_clusters": [2.5]}, "n_clusters must be one or more integers"),
    "one number": ({"n_clusters": 5}, r"such as range\(2, 11\), got 5"),
    "too many": ({"n_clusters": [2, 31]}, "n_samples=30 should be >= n_clusters=31"),
    "criterion": ({"criterion": "dice"}, "criterion must be one of silhouette, gap, elbow"),
    "no references": ({"criterion": "gap", "n_references": 0}, "needs n_references of at least 1"),
    "references": ({"n_references": -1}, "n_references must be an integer of at least 0, got -1"),
    "sample": (
        {"sample_size": 10},
        "sample_size must be None or an int greater than .* 10, got 10",
    ),
    "n_jobs": ({"n_jobs": 0}, "n_jobs must be None for 1"),
    "n_init": ({"n_init": 0}, "n_init must be an integer of at least 1, got 0"),
    "a word": ({"n_init": "auto"}, "n_init must be an integer of at least 1, got 'auto'"),
    "max_iter": ({"max_iter": 0}, "The 'max_iter' parameter of KMeans"),
    "random_state": ({"random_state": "dice"}, "The 'random_state' parameter of KMeans"),
    "device": ({"device": "abacus"}, "device='abacus' is not known"),
    "X": ({"X": [[np.nan]] * 30}, "NaN"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_wrong_parameters_are_one_error_each(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kmeans_xp.selection import choose

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(choose, "prepared", fail)
    wrong, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        choose_n_clusters(**{"X": blobs(30, 2, 3)[0], **wrong})


def test_the_curves_are_drawn() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    selection = choose_n_clusters(blobs(100, 2, 3)[0], range(2, 6), **FEW)
    axes = selection.plot()
    assert [ax.get_title() for ax in axes] == ["Inertia", "Silhouette", "Gap statistic"]
    curves = [ax.get_lines()[0].get_xydata() for ax in axes]
    expected = [[(each.n_clusters, each[i]) for each in selection.table] for i in (1, 2)]
    np.testing.assert_array_equal(curves[0], expected[0])
    np.testing.assert_array_equal(curves[1], expected[1])
    assert curves[2][:, 0].tolist() == [1, 2, 3, 4, 5]
    names = [
        "elbow: 3 clusters",
        "greatest: 3 clusters",
        "first within one error of the next: 3 clusters",
    ]
    for ax, name in zip(axes, names, strict=True):
        assert [text.get_text() for text in ax.get_legend().get_texts()] == [name, "chosen: 3"]
    axes[0].figure.savefig(io.BytesIO(), format="png")
    again = selection.plot(axes[::-1])
    assert again[0] is axes[2]
    with pytest.raises(ValueError, match="axes must be 3, one for each curve, got 2"):
        selection.plot(axes[:2])


def test_what_was_not_found_is_drawn_as_such() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    selection = choose_n_clusters(np.ones((12, 2)), [2, 3, 4], **FEW)
    (ax,) = selection.plot()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["no elbow", "chosen: 2"]
    no_structure = choose_n_clusters(square(), range(2, 5), criterion="gap", random_state=0)
    gap = no_structure.plot()[2]
    assert gap.get_legend().get_texts()[0].get_text() == "no structure: 1 cluster"


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_directions_are_counted_by_cosine_distances(kind: str) -> None:
    rng = np.random.default_rng(0)
    directions = np.eye(6)[:4]
    host = directions[np.arange(200) % 4] + 0.1 * rng.normal(size=(200, 6))
    if kind == "sparse":
        host[np.abs(host) < 0.15] = 0.0
    host *= 10.0 ** rng.uniform(-3, 3, (200, 1))
    X = sparse.csr_array(host) if kind == "sparse" else host
    selection = choose_n_clusters(X, range(2, 7), metric="cosine", **FEW)
    assert selection.n_clusters == 4
    assert selection.recommendations["gap"] == 4
    assert selection.estimator.metric == "cosine"
    units = host / np.linalg.norm(host, axis=1, keepdims=True)
    theirs = sklearn.metrics.silhouette_score(units, selection.estimator.labels_, metric="cosine")
    best = max(each.silhouette for each in selection.table)
    assert best == pytest.approx(theirs)
