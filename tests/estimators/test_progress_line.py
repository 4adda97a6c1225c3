"""Long fits write a line from time to time."""

import re
from typing import Any

import pytest

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans, ProgressLine
from kmeans_xp.estimators import progress_line
from tests.datasets import cloud
from tests.estimators.test_callbacks import Recording

pytestmark = pytest.mark.since_sklearn("1.9")

LINE = (
    r"(run \d+ of \d+, )?iteration (?P<iteration>[\d,]+) of (?P<most>[\d,]+) at most, "
    r"inertia (?P<inertia>[\d.e+]+), (?P<rate>[\d,]+) rows a second, "
    r"(?P<left>\d+:\d\d:\d\d) left at most"
)


class Clock:
    """Goes on by a second at each look, or as told."""

    def __init__(self, step: float = 1.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def lines_of(
    estimator: Any, X: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, step: float = 1.0
) -> list[dict[str, str]]:
    """Return what the lines of a fit tell."""
    lines: list[str] = []
    monkeypatch.setattr(progress_line.time, "monotonic", Clock(step))
    estimator.set_callbacks(ProgressLine(seconds=seconds, write=lines.append)).fit(X)
    matches = [re.fullmatch(LINE, line) for line in lines]
    assert None not in matches, lines
    return [match.groupdict() for match in matches if match]


def test_each_iteration_has_a_line(monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    points = library.asarray(cloud(), "float32")
    kmeans = KMeans(6, random_state=0, max_iter=12, tol=0.0)
    lines = lines_of(kmeans, points, monkeypatch, seconds=0.0)
    assert [int(line["iteration"]) for line in lines] == list(range(1, kmeans.n_iter_ + 1))
    assert [float(line["inertia"]) for line in lines] == pytest.approx(
        kmeans.history_["inertia"], rel=1e-5
    )
    # 400 rows an iteration, of a second each.
    assert {line["rate"] for line in lines} == {"400"}
    assert [line["left"] for line in lines] == [f"0:00:{12 - n:02d}" for n in range(1, 13)]


def test_a_line_comes_after_so_many_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    kmeans = KMeans(6, random_state=0, max_iter=20, tol=0.0)
    lines = lines_of(kmeans, cloud(), monkeypatch, seconds=30.0, step=10.0)
    assert [int(line["iteration"]) for line in lines] == [3, 6, 9, 12, 15, 18]
    assert {line["rate"] for line in lines} == {"40"}
    assert lines[0]["left"] == "0:02:50"


def test_steps_of_mini_batches_count_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = MiniBatchKMeans(6, random_state=0, batch_size=64)
    lines = lines_of(estimator, cloud(), monkeypatch, seconds=5.0)
    assert [int(line["iteration"]) for line in lines] == list(range(5, estimator.n_steps_ + 1, 5))
    assert {line["most"] for line in lines} == {"625"}
    assert {line["rate"] for line in lines} == {"64"}


def test_runs_are_numbered() -> None:
    lines: list[str] = []
    kmeans = KMeans(6, init="random", n_init=3, max_iter=2, random_state=0, tol=0.0)
    kmeans.set_callbacks(ProgressLine(seconds=0.0, write=lines.append)).fit(cloud())
    assert [line.partition(" of 2 at most")[0] for line in lines] == [
        f"run {run} of 3, iteration {iteration}" for run in (1, 2, 3) for iteration in (1, 2)
    ]


def test_a_short_fit_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    KMeans(6, random_state=0).set_callbacks(ProgressLine(seconds=3600.0)).fit(cloud())
    assert capsys.readouterr() == ("", "")


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    kmeans = KMeans(6, random_state=0).set_callbacks(ProgressLine(seconds=0.0)).fit(cloud())
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == kmeans.n_iter_
    assert all(re.fullmatch(LINE, line) for line in err.splitlines())


def test_seconds_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match=r"seconds must be a number of at least 0, got -1\."):
        ProgressLine(seconds=-1.0)


class Asking(Recording):
    """Asks for the numbers of each iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[dict[str, Any]] = []

    def on_fit_task_end(self, estimator: Any, context: Any, *, metadata: Any = None) -> bool:
        if context.task_name == "iteration":
            self.numbers.append(metadata)
        return False


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_a_callback_may_ask_for_the_numbers_of_an_iteration(estimator_class: type) -> None:
    asking = Asking()
    estimator = estimator_class(6, random_state=0).set_callbacks(asking).fit(cloud())
    shifts = [numbers["shift"] for numbers in asking.numbers]
    assert shifts == estimator.history_["shift"].tolist()
    assert [numbers["iteration"] for numbers in asking.numbers] == list(range(1, len(shifts) + 1))
    if estimator_class is KMeans:
        inertias = [numbers["inertia"] for numbers in asking.numbers]
        assert inertias == estimator.history_["inertia"].tolist()
