"""A fit that was killed continues from its file, with the bits of an uninterrupted fit."""

import contextlib
import errno
import importlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.base import clone

from conftest import Library
from kmeans_xp import Checkpoint, KMeans, MiniBatchKMeans, open_rows, persistence
from tests.datasets import cloud, positive_weights
from tests.estimators.test_callbacks import Recording
from tests.interrupted import CASES, bits_of

pytestmark = pytest.mark.since_sklearn("1.9")

ROOT = Path(__file__).parents[2]
ESTIMATORS = [KMeans, MiniBatchKMeans]


class Killed(BaseException):
    """As an interrupt from the keyboard, which no handler of errors catches."""


class Killing(Recording):
    """Records, and kills the fit after ``n_left`` iterations."""

    def __init__(self, n_left: int) -> None:
        super().__init__()
        self.n_left = n_left

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        super().on_fit_task_end(estimator, context)
        self.n_left -= context.task_name == "iteration"
        if self.n_left == 0:
            raise Killed
        return False


def kill(estimator: Any, X: Any, path: Path, after: int, **options: Any) -> None:
    """Fit until ``after`` iterations are done."""
    with pytest.raises(Killed):
        estimator.set_callbacks(Checkpoint(path, **options), Killing(after)).fit(X)
    assert path.exists()


def go_on(estimator: Any, X: Any, path: Path) -> str | None:
    """Fit from the file, and return where that was."""
    checkpoint = Checkpoint(path)
    estimator.set_callbacks(checkpoint).fit(X)
    return checkpoint.resumed


def assert_same_fit(one: Any, other: Any, library: Library | None = None) -> None:
    """All that was fitted has the same bits."""
    to_host = np.asarray if library is None else library.to_host
    for name in ("cluster_centers_", "_centroids", "_origin", "labels_"):
        ours, theirs = (to_host(getattr(each, name)) for each in (one, other))
        assert ours.tobytes() == theirs.tobytes(), name
    assert one.inertia_ == other.inertia_
    assert one.n_iter_ == other.n_iter_
    for name, values in one.history_.items():
        assert values.tobytes() == other.history_[name].tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fit.ckpt"


@pytest.mark.sampled(1, numpy=2)
@pytest.mark.parametrize("numba", ["1", "0"])
def test_a_fit_killed_by_the_system_ends_with_the_same_bits(numba: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.interrupted", str(tmp_path)],
        env={**os.environ, "KMEANS_XP_NUMBA": numba, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    assert set(ends) == set(CASES)
    for name, end in ends.items():
        assert end["signal"] == 9, name
        assert end["resumed"], name
        assert end["n_attributes"] > 15
        assert end["differing"] == [], name
        assert end["is_removed"]


@pytest.mark.sampled(1, cupy=3)
@pytest.mark.parametrize("estimator_class", ESTIMATORS)
@pytest.mark.parametrize("after", [1, 2, 5])
def test_every_library_ends_with_the_same_bits(
    after: int, estimator_class: type, path: Path, library: Library
) -> None:
    points = library.asarray(cloud() + 100.0, "float32")

    def make() -> Any:
        options = {"batch_size": 64} if estimator_class is MiniBatchKMeans else {"n_init": 2}
        return estimator_class(6, random_state=0, init="random", **options)

    kill(make(), points, path, after)
    estimator, uninterrupted = make(), make().fit(points)
    assert go_on(estimator, points, path) in (f"iteration {after} of run 1", f"step {after}")
    assert_same_fit(estimator, uninterrupted, library)
    assert not path.exists()


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
@pytest.mark.parametrize("make_state", [np.random.RandomState, np.random.default_rng])
def test_a_generator_ends_where_it_would_have_ended(
    make_state: Callable[[int], Any], estimator_class: type, path: Path
) -> None:
    def make(state: Any) -> Any:
        return estimator_class(6, init="random", n_init=3, max_iter=5, random_state=state)

    kill(make(make_state(3)), cloud(), path, 2)
    states = make_state(3), make_state(3)
    estimator, uninterrupted = (make(state) for state in states)
    assert go_on(estimator, cloud(), path) is not None
    assert_same_fit(estimator, uninterrupted.fit(cloud()))
    drawn = [
        state.random_sample() if isinstance(state, np.random.RandomState) else state.random()
        for state in states
    ]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("after", [1, 8, 11])
def test_no_seed_goes_on_with_the_numbers_of_the_file(after: int, path: Path) -> None:
    def make() -> KMeans:
        return KMeans(6, init="random", n_init=4, max_iter=5, tol=0.0)

    state = np.random.get_state()  # noqa: NPY002 (what random_state=None means in scikit-learn)
    try:
        np.random.seed(11)  # noqa: NPY002
        uninterrupted = make().fit(cloud())
        np.random.seed(11)  # noqa: NPY002
        kill(make(), cloud(), path, after)
        np.random.seed(12)  # noqa: NPY002
        before = np.random.get_state()[1].tolist()  # noqa: NPY002
        estimator = make()
        assert go_on(estimator, cloud(), path) == f"iteration {after % 5} of run {after // 5 + 1}"
        assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    finally:
        np.random.set_state(state)  # noqa: NPY002
    assert_same_fit(estimator, uninterrupted)


def test_a_fit_killed_while_it_seeds_draws_the_same_rows(path: Path) -> None:
    def broken(X: Any, n_clusters: int, random_state: Any) -> Any:
        raise Killed

    def make(init: Any) -> KMeans:
        return KMeans(6, init=init, n_init=2, random_state=np.random.RandomState(0))

    broken.__qualname__ = plain.__qualname__  # else it would be another fit
    with pytest.raises(Killed):
        make(broken).set_callbacks(Checkpoint(path)).fit(cloud())
    estimator = make(plain)
    assert go_on(estimator, cloud(), path) == "iteration 0 of run 1"
    assert_same_fit(estimator, make(plain).fit(cloud()))


def plain(X: Any, n_clusters: int, random_state: Any) -> Any:
    """Return the first rows of some that are drawn."""
    return X[random_state.permutation(len(X))[:n_clusters]]


def test_given_centroids_and_weights_go_on_too(path: Path) -> None:
    host, weights = cloud(), positive_weights(400)

    def make() -> KMeans:
        return KMeans(6, init=host[:6].copy(), n_init=1, tol=0.0)

    with pytest.raises(Killed):
        make().set_callbacks(Checkpoint(path), Killing(3)).fit(host, sample_weight=weights)
    estimator, uninterrupted = make(), make().fit(host, sample_weight=weights)
    estimator.set_callbacks(Checkpoint(path)).fit(host, sample_weight=weights)
    assert_same_fit(estimator, uninterrupted)


@pytest.mark.parametrize("after", [3, 12])
def test_bounds_of_sizes_go_on_too(after: int, path: Path) -> None:
    def make() -> KMeans:
        return KMeans(6, size_min=60, init="random", n_init=2, max_iter=8, tol=0.0, random_state=0)

    points = np.round(cloud())  # where labels tie
    kill(make(), points, path, after)
    estimator, uninterrupted = make(), make().fit(points)
    assert go_on(estimator, points, path) is not None
    assert_same_fit(estimator, uninterrupted)


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_rows_that_are_read_from_a_file_go_on_too(
    estimator_class: type, path: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "rows.npy", cloud(3000))
    rows = open_rows(tmp_path / "rows.npy", block_rows=700)
    estimator = estimator_class(6, random_state=0, tol=0.0)
    kill(estimator, rows, path, 3)
    assert go_on(estimator, rows, path) in ("iteration 3 of run 1", "step 3")
    assert bits_of(estimator) == bits_of(estimator_class(6, random_state=0, tol=0.0).fit(rows))


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_other_callbacks_see_the_iterations_that_are_left(
    estimator_class: type, path: Path
) -> None:
    host = cloud()

    def n_iterations(recording: Recording) -> int:
        return sum(event[0] == "end" and len(event[1]) == 3 for event in recording.events)

    whole, killing, rest = Recording(), Killing(3), Recording()
    for callbacks in ([whole], [Checkpoint(path), killing], [Checkpoint(path), rest]):
        estimator = estimator_class(6, random_state=0, tol=0.0).set_callbacks(*callbacks)
        with pytest.raises(Killed) if killing in callbacks else contextlib.nullcontext():
            estimator.fit(host)
    assert n_iterations(killing) == 3
    assert n_iterations(rest) == n_iterations(whole) - 3


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_a_file_that_is_kept_ends_the_same_fit_at_once(estimator_class: type, path: Path) -> None:
    first = estimator_class(6, n_init=2, init="random", random_state=0)
    again, recording = clone(first), Recording()
    first.set_callbacks(Checkpoint(path, keep=True)).fit(cloud())
    again.set_callbacks(Checkpoint(path), recording).fit(cloud())
    assert_same_fit(first, again)
    assert [event for event in recording.events if len(event[1]) == 3] == []
    assert not path.exists()


def test_verbose_goes_on_in_its_words(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    estimator = KMeans(6, random_state=0, tol=0.0, verbose=1).fit(cloud())
    whole = capsys.readouterr().out.splitlines()
    kill(estimator, cloud(), path, 3)
    capsys.readouterr()
    go_on(estimator, cloud(), path)
    assert capsys.readouterr().out.splitlines() == whole[4:]


# ---- another fit ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_clusters": 7}, "n_clusters is 6 there and 7 here"),
        ({"tol": 0.5}, r"tol is 0\.0001 there and 0\.5 here"),
        ({"random_state": 1}, "random_state is 0 there and 1 here"),
        ({"init": cloud()[:6]}, r"init is 'auto' there and an array of shape \(6, 4\) \(float64, "),
        ({"init": plain}, "init is 'auto' there and plain here"),
        (
            {"algorithm": "elkan", "max_iter": 9},
            "algorithm is 'auto' .* here; max_iter is 300 there",
        ),
    ],
)
def test_other_parameters_are_another_fit(
    changes: dict[str, Any], message: str, path: Path
) -> None:
    kill(KMeans(6, random_state=0), cloud(), path, 2)
    before = path.read_bytes()
    params = {"n_clusters": 6, "random_state": 0, **changes}
    recording = Recording()
    estimator = KMeans(**params).set_callbacks(Checkpoint(path), recording)
    with pytest.raises(ValueError, match=message) as caught:
        estimator.fit(cloud())
    assert f"The checkpoint {str(path)!r} is of another fit: " in str(caught.value)
    assert "Delete it, or choose another path." in str(caught.value)
    assert path.read_bytes() == before
    assert [event for event in recording.events if len(event[1]) > 1] == []
    assert not hasattr(estimator, "cluster_centers_")


def test_the_same_parameters_in_other_words_are_the_same_fit(path: Path) -> None:
    kill(KMeans(6, random_state=0), cloud(), path, 2)
    estimator = KMeans(
        np.int64(6), random_state=0, tol=np.float64(1e-4), verbose=False, copy_x=False
    )
    assert go_on(estimator, cloud(), path) is not None


ROWS = cloud()
SHIFTED = ROWS.copy()
SHIFTED[17, 2] += 1e-6


@pytest.mark.parametrize(
    ("rows", "weights", "message"),
    [
        (cloud(399), None, "X is 400 x 4 float64 there and 399 x 4 float64 here"),
        (cloud(400, 3), None, "X is 400 x 4 float64 there and 400 x 3 float64 here"),
        (ROWS.astype(np.float32), None, "X is 400 x 4 float64 there and 400 x 4 float32 here"),
        (
            SHIFTED,
            None,
            r"the mean and spread of the rows is \w{8}\.\.\. there and \w{8}\.\.\. here",
        ),
        (ROWS, positive_weights(400), "the mean and spread of the rows is"),
    ],
    ids=["rows", "columns", "dtype", "values", "weights"],
)
def test_other_rows_are_another_fit(rows: Any, weights: Any, message: str, path: Path) -> None:
    kill(KMeans(6, random_state=0), ROWS, path, 2)
    estimator = KMeans(6, random_state=0).set_callbacks(Checkpoint(path))
    with pytest.raises(ValueError, match=f"is of another fit: {message}"):
        estimator.fit(rows, sample_weight=weights)


def test_another_estimator_is_another_fit(path: Path) -> None:
    kill(KMeans(6, random_state=0), cloud(), path, 2)
    with pytest.raises(ValueError, match="estimator is KMeans there and MiniBatchKMeans here"):
        MiniBatchKMeans(6, random_state=0).set_callbacks(Checkpoint(path)).fit(cloud())


def test_a_file_of_something_else_is_left_alone(path: Path) -> None:
    estimator = KMeans(6, random_state=0).set_callbacks(Checkpoint(path))
    for write, message in (
        (lambda: path.write_text("a,b\n1,2\n"), "is truncated, or not a safetensors file"),
        (lambda: KMeans(2).save(path), "holds a KMeans, not a checkpoint"),
    ):
        write()
        before = path.read_bytes()
        with pytest.raises(ValueError, match=message):
            estimator.fit(cloud())
        assert path.read_bytes() == before


def test_a_checkpoint_is_no_model(path: Path) -> None:
    kill(KMeans(6, random_state=0), cloud(), path, 2)
    with pytest.raises(ValueError, match="holds a checkpoint, not a KMeans"):
        KMeans.load(path)


def test_damaged_values_are_one_clear_error(path: Path) -> None:
    header = {"format": 1, "class": "checkpoint", "values": {"state": {"pickle": "gASV"}}}
    save_file({}, path, metadata={persistence.METADATA_KEY: json.dumps(header)})
    with pytest.raises(ValueError, match="holds a checkpoint that cannot be rebuilt: unknown kind"):
        KMeans(6).set_callbacks(Checkpoint(path)).fit(cloud())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be an integer of at least 1, got 0"),
        ({"seconds": -1.0}, "seconds must be"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Checkpoint("fit.ckpt", **options)


# ---- when it is written ----


class Counting(Checkpoint):
    """Writes down the number of iterations of each state that is written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.written: list[int] = []

    def _write(self, state: Any) -> None:
        self.written.append(len(state["iterations"]) if state["centroids"] is not None else -1)
        super()._write(state)


def test_every_iteration_is_written(path: Path) -> None:
    checkpoint = Counting(path)
    kmeans = KMeans(6, random_state=0).set_callbacks(checkpoint).fit(cloud())
    # At the start, when it is seeded, and after each iteration.
    assert checkpoint.written == [-1, *range(kmeans.n_iter_ + 1)]


def test_some_iterations_are_written(path: Path) -> None:
    checkpoint = Counting(path, every=4)
    kmeans = KMeans(6, init="random", n_init=2, max_iter=10, tol=0.0, random_state=0)
    kmeans.set_callbacks(checkpoint).fit(cloud())
    # The end of the first run is written, that of the fit is not.
    assert checkpoint.written == [-1, 0, 4, 8, -1, 0, 4, 8]


def test_time_passes_between_writings(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))  # looked at twice where it is time to, once where it is not
    module = importlib.import_module("kmeans_xp.estimators.checkpoint")
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    checkpoint = Counting(path, seconds=5.0)
    KMeans(6, max_iter=12, tol=0.0, random_state=0).set_callbacks(checkpoint).fit(cloud())
    assert checkpoint.written == [-1, 4, 9]


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_a_disk_that_is_full_leaves_the_file_before(estimator_class: type, path: Path) -> None:
    host = cloud(2000, 60)

    class Filling(Recording):
        """Lets no file grow beyond a few bytes, after some iterations."""

        def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
            if context.task_name == "iteration" and context.task_id == 1:
                resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
            return False

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    estimator = estimator_class(20, random_state=0, tol=0.0)
    estimator.set_callbacks(Checkpoint(path), Filling())
    try:
        with pytest.raises(OSError, match=r"fit\.ckpt' could not be written: .*File too large"):
            estimator.fit(host)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(path.parent.iterdir()) == [path]
    assert not hasattr(estimator, "cluster_centers_")
    again = estimator_class(20, random_state=0, tol=0.0)
    assert go_on(again, host, path) in ("iteration 2 of run 1", "step 2")
    assert bits_of(again) == bits_of(estimator_class(20, random_state=0, tol=0.0).fit(host))


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_a_path_that_cannot_be_written_is_known_before_any_work(
    estimator_class: type, tmp_path: Path
) -> None:
    recording = Recording()
    estimator = estimator_class(6).set_callbacks(Checkpoint(tmp_path / "absent" / "x"), recording)
    with pytest.raises(OSError, match="absent") as caught:
        estimator.fit(cloud())
    assert caught.value.errno == errno.ENOENT
    assert [event for event in recording.events if len(event[1]) > 1] == []


def test_what_a_kill_left_half_written_is_removed(path: Path) -> None:
    half, other = path.with_name(".0123abcd-fit.ckpt"), path.with_name(".0123abcd-fit.ckpt.csv")
    kill(KMeans(6, random_state=0), cloud(), path, 2)
    half.write_bytes(b"half")
    other.write_bytes(b"another's")
    go_on(KMeans(6, random_state=0), cloud(), path)
    assert list(path.parent.iterdir()) == [other]


def test_a_write_that_is_interrupted_leaves_the_file_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator, n_left, fsync = KMeans(6, random_state=0, tol=0.0), [5], os.fsync

    def fail(file: int) -> None:
        n_left[0] -= 1
        if n_left[0] == 0:
            raise Killed
        fsync(file)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Killed):
        estimator.set_callbacks(Checkpoint(path)).fit(cloud())
    assert go_on(estimator, cloud(), path) == "iteration 2 of run 1"
    assert_same_fit(estimator, KMeans(6, random_state=0, tol=0.0).fit(cloud()))
