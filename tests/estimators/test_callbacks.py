"""scikit-learn's callbacks get each iteration of a fit, and can stop it."""

import re
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans
from tests.datasets import blobs, cloud

pytestmark = pytest.mark.since_sklearn("1.9")


class Recording:
    """Writes down each hook: its name, the task's names from the root, and its number."""

    def __init__(self, stop_at: int | None = None, stop_task: str = "iteration") -> None:
        self.events: list[tuple[str, tuple[str, ...], int]] = []
        self.contexts: list[Any] = []
        self.stop_at = stop_at
        self.stop_task = stop_task

    def setup(self, estimator: Any, context: Any) -> None:
        self._record("setup", context)

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self._record("begin", context)

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        self._record("end", context)
        return context.task_name == self.stop_task and context.task_id == self.stop_at

    def teardown(self, estimator: Any, context: Any) -> None:
        self._record("teardown", context)

    def _record(self, hook: str, context: Any) -> None:
        names, task = [], context
        while task is not None:
            names.append(task.task_name)
            task = task.parent
        self.events.append((hook, tuple(reversed(names)), context.task_id))
        self.contexts.append(context)


class Fitted(Recording):
    """Asks at the end of each task for an estimator as fitted so far."""

    def __init__(self) -> None:
        super().__init__()
        self.estimators: list[tuple[str, Any, Any]] = []

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, X: Any = None, fitted_estimator: Any = None
    ) -> bool:
        self.estimators.append((context.task_name, fitted_estimator, X))
        return False


FIT, RUN, ITERATION = ("fit",), ("fit", "run"), ("fit", "run", "iteration")


def events_of_run(run: int, n_iter: int) -> list[tuple[str, tuple[str, ...], int]]:
    return [
        ("begin", RUN, run),
        *((hook, ITERATION, i) for i in range(n_iter) for hook in ("begin", "end")),
        ("end", RUN, run),
    ]


def test_a_fit_is_told_in_order(library: Library) -> None:
    recording = Recording()
    kmeans = KMeans(6, random_state=0, tol=0.0).set_callbacks(recording)
    kmeans.fit(library.asarray(cloud(), "float32"))
    assert kmeans.n_iter_ > 3
    assert recording.events == [
        ("setup", FIT, 0),
        ("begin", FIT, 0),
        *events_of_run(0, kmeans.n_iter_),
        ("end", FIT, 0),
        ("teardown", FIT, 0),
    ]


def test_each_run_of_n_init_is_a_task() -> None:
    recording = Recording()
    KMeans(6, n_init=3, init="random", random_state=0).set_callbacks(recording).fit(cloud())
    n_iter = [sum(event == ("end", ITERATION, i) for event in recording.events) for i in range(2)]
    assert n_iter == [3, 3]
    runs = [event for event in recording.events if event[1] == RUN]
    assert runs == [(hook, RUN, run) for run in range(3) for hook in ("begin", "end")]
    root = recording.contexts[0]
    assert root.max_subtasks == 3
    assert {context.max_subtasks for context in recording.contexts if context.parent is root} == {
        300
    }


def test_the_steps_of_mini_batches_are_told_in_order(library: Library) -> None:
    recording = Recording()
    estimator = MiniBatchKMeans(6, random_state=0, batch_size=64, max_iter=3)
    estimator.set_callbacks(recording).fit(library.asarray(cloud(), "float32"))
    assert recording.events == [
        ("setup", FIT, 0),
        ("begin", FIT, 0),
        *events_of_run(0, estimator.n_steps_),
        ("end", FIT, 0),
        ("teardown", FIT, 0),
    ]


@pytest.mark.parametrize("stop_at", [0, 2])
def test_a_callback_stops_the_iterations(stop_at: int, library: Library) -> None:
    points = library.asarray(cloud(), "float32")
    kmeans = KMeans(6, random_state=0, tol=0.0).set_callbacks(Recording(stop_at)).fit(points)
    assert kmeans.n_iter_ == stop_at + 1
    short = KMeans(6, random_state=0, tol=0.0, max_iter=stop_at + 1).fit(points)
    np.testing.assert_array_equal(library.to_host(kmeans.labels_), library.to_host(short.labels_))
    assert kmeans.inertia_ == short.inertia_


def test_a_callback_stops_the_steps(library: Library) -> None:
    points = library.asarray(cloud(), "float32")
    estimator = MiniBatchKMeans(6, random_state=0, batch_size=64).set_callbacks(Recording(4))
    assert estimator.fit(points).n_steps_ == 5
    np.testing.assert_array_equal(
        library.to_host(estimator.predict(points)), library.to_host(estimator.labels_)
    )


def test_a_callback_stops_the_runs_that_were_to_follow() -> None:
    recording = Recording(stop_at=1, stop_task="run")
    KMeans(6, n_init=5, init="random", random_state=0).set_callbacks(recording).fit(cloud())
    assert sum(event[:2] == ("end", RUN) for event in recording.events) == 2


def test_a_callback_is_given_an_estimator_as_fitted_so_far(library: Library) -> None:
    host = (cloud() + 1e4).astype(np.float32)
    points = library.asarray(host)
    callback = Fitted()
    kmeans = KMeans(6, random_state=0, tol=0.0).set_callbacks(callback).fit(points)
    iterations = [fitted for name, fitted, _ in callback.estimators if name == "iteration"]
    assert len(iterations) == kmeans.n_iter_
    for number, fitted in enumerate(iterations[:4], start=1):
        short = KMeans(6, random_state=0, tol=0.0, max_iter=number).fit(points)
        np.testing.assert_array_equal(
            library.to_host(fitted.predict(points)), library.to_host(short.labels_)
        )
        assert fitted.score(points) == -short.inertia_
    for name, fitted, X in callback.estimators:
        assert X is points
        if name in ("run", "fit"):
            np.testing.assert_array_equal(
                library.to_host(fitted.predict(points)), library.to_host(kmeans.labels_)
            )


class Begun(Recording):
    """Asks at the start of each task for an estimator as fitted so far."""

    def __init__(self) -> None:
        super().__init__()
        self.estimators: list[tuple[str, Any]] = []

    def on_fit_task_begin(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        self.estimators.append((context.task_name, fitted_estimator))


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_at_the_begin_of_a_run_it_predicts_by_the_initial_centroids(
    estimator_class: type, library: Library
) -> None:
    host = cloud().astype(np.float32)
    points, init = library.asarray(host), host[:6]
    callback = Begun()
    estimator_class(6, init=init, n_init=1, random_state=0).set_callbacks(callback).fit(points)
    (begun,) = (fitted for name, fitted in callback.estimators if name == "run")
    np.testing.assert_allclose(library.to_host(begun.cluster_centers_), init, atol=1e-5)
    nearest = np.square(host[:, None] - init).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(library.to_host(begun.predict(points)), nearest)


def test_a_callback_leaves_nothing_in_the_estimator() -> None:
    host, _ = blobs()
    with_callback = KMeans(5, random_state=0).set_callbacks(Recording()).fit(host)
    without = KMeans(5, random_state=0).fit(host)
    assert set(vars(with_callback)) - set(vars(without)) == {"_skl_callbacks"}
    np.testing.assert_array_equal(with_callback.labels_, without.labels_)
    assert with_callback.inertia_ == without.inertia_


class Broken(Recording):
    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        super().on_fit_task_end(estimator, context)
        raise LookupError("the disk is full")


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_a_callback_that_fails_is_torn_down_and_the_estimator_stays(estimator_class: type) -> None:
    host, _ = blobs()
    estimator = estimator_class(4, random_state=0).fit(host)
    broken = Broken()
    estimator.set_callbacks(broken)
    before = dict(vars(estimator))
    with pytest.raises(LookupError, match="the disk is full"):
        estimator.fit(host[:, :2])
    assert broken.events[-1][0] == "teardown"
    assert vars(estimator) == before


def test_a_fit_that_cannot_begin_is_not_told_of() -> None:
    recording = Recording()
    with pytest.raises(ValueError, match="n_samples=3 should be"):
        KMeans(5).set_callbacks(recording).fit(cloud(3))
    assert [hook for hook, *_ in recording.events if hook != "teardown"] == []


def test_a_warning_of_the_fit_does_not_keep_a_callback_from_its_end() -> None:
    recording = Recording()
    kmeans = KMeans(3, random_state=0).set_callbacks(recording)
    with pytest.warns(ConvergenceWarning):
        kmeans.fit(np.ones((9, 2)))
    assert [event[0] for event in recording.events[-2:]] == ["end", "teardown"]


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_the_progress_bar_is_drawn(
    estimator_class: type, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    estimator = estimator_class(5, random_state=0, n_init=2).set_callbacks(ProgressBar())
    labels = estimator.fit_predict(cloud())
    np.testing.assert_array_equal(
        labels, estimator_class(5, random_state=0, n_init=2).fit(cloud()).labels_
    )
    printed = capsys.readouterr().out
    assert f"{estimator_class.__name__} - fit" in printed
    assert len(re.findall("100%", printed)) >= 2


def test_without_callbacks_none_of_the_machinery_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def called(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("called without a callback")

    for estimator_class in (KMeans, MiniBatchKMeans):
        monkeypatch.setattr(estimator_class, "_init_callback_context", called)
        monkeypatch.setattr(estimator_class, "_fitted", counted := Counted(estimator_class._fitted))
        estimator_class(5, random_state=0).fit(blobs()[0])
        # Once, to store the result: not for each iteration.
        assert counted.n_calls == 1
    with pytest.raises(AssertionError, match="called without"):
        KMeans(5).set_callbacks(Recording()).fit(blobs()[0])


class Counted:
    """A method that counts its calls."""

    def __init__(self, method: Any) -> None:
        self.method = method
        self.n_calls = 0

    def __get__(self, instance: Any, owner: type) -> Any:
        def call(*args: Any) -> Any:
            self.n_calls += 1
            return self.method(instance, *args)

        return call


def test_what_is_no_callback_is_refused() -> None:
    with pytest.raises(TypeError, match="callbacks must be instances"):
        KMeans(5).set_callbacks(print)
