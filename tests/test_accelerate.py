"""``accelerate`` replaces scikit-learn's k-means everywhere, and can be undone."""

import pickle
import py_compile
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from sklearn.base import clone
from sklearn.cluster import SpectralClustering, SpectralCoclustering
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import KBinsDiscretizer

import kmeans_xp
from kmeans_xp import accelerate, estimators
from kmeans_xp.accelerate.__main__ import main
from tests.datasets import blobs

HOST, _ = blobs()
NAMES = ["BisectingKMeans", "KMeans", "MiniBatchKMeans", "k_means", "kmeans_plusplus"]
CLASSES = [name for name in NAMES if name.endswith("KMeans")]

#: scikit-learn's own, in a container, where no name of a module finds them
THEIRS = {name: vars(sklearn.cluster)[name] for name in NAMES}


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """A module that has imported scikit-learn's names."""
    made = ModuleType("imported_before")
    vars(made).update(THEIRS)
    sys.modules["imported_before"] = made
    yield made
    del sys.modules["imported_before"]


def test_names_are_replaced_and_put_back(module: ModuleType) -> None:
    with accelerate() as acceleration:
        for holder in (sklearn.cluster, module):
            for name in NAMES:
                stand_in, ours = getattr(holder, name), getattr(kmeans_xp, name)
                assert stand_in is not THEIRS[name]
                assert stand_in.__name__ == name
                assert stand_in.__doc__
                if name in CLASSES:
                    assert issubclass(stand_in, ours)
                else:
                    assert stand_in.__wrapped__ is ours
    for holder in (sklearn.cluster, module):
        assert {name: getattr(holder, name) for name in NAMES} == THEIRS
    assert {f"sklearn.cluster.{name}" for name in NAMES} < set(acceleration.replaced)
    assert "imported_before.KMeans" in acceleration.replaced
    assert "sklearn.cluster._spectral.k_means" in acceleration.replaced
    assert "sklearn.cluster: BisectingKMeans, KMeans, MiniBatchKMeans, k_means" in str(acceleration)


def test_names_imported_meanwhile_are_put_back_too(module: ModuleType) -> None:
    with accelerate():
        module.Imported = sklearn.cluster.KMeans  # type: ignore[attr-defined]
        module.Own = kmeans_xp.KMeans  # type: ignore[attr-defined]
    assert module.Imported is THEIRS["KMeans"]
    assert module.Own is kmeans_xp.KMeans


def test_the_first_to_be_undone_leaves_the_other_in_force() -> None:
    outer = accelerate()
    with accelerate() as inner:
        stand_in = sklearn.cluster.KMeans
        assert stand_in is not THEIRS["KMeans"]
    assert inner.replaced == ()
    assert sklearn.cluster.KMeans is stand_in
    outer.undo()
    assert sklearn.cluster.KMeans is THEIRS["KMeans"]
    inner.undo()  # for the second time: nothing happens
    with accelerate():
        outer.undo()
        assert sklearn.cluster.KMeans is stand_in


def test_an_error_in_the_block_puts_them_back() -> None:
    with pytest.raises(RuntimeError, match="in the block"), accelerate():
        raise RuntimeError("in the block")
    assert sklearn.cluster.KMeans is THEIRS["KMeans"]


def test_a_module_that_cannot_be_changed_leaves_all_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fixed(ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(f"{name} is fixed")

    fixed = Fixed("fixed")
    vars(fixed).update(THEIRS)
    monkeypatch.setitem(sys.modules, "fixed", fixed)
    with pytest.raises(AttributeError, match="is fixed"):
        accelerate()
    assert {name: getattr(sklearn.cluster, name) for name in NAMES} == THEIRS


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What of this package is called, by name."""
    called: list[str] = []

    def counted(holder: Any, name: str, label: str) -> None:
        original = getattr(holder, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            called.append(label)
            return original(*args, **kwargs)

        monkeypatch.setattr(holder, name, call)

    counted(estimators.KMeans, "fit", "KMeans")
    counted(estimators.MiniBatchKMeans, "fit", "MiniBatchKMeans")
    counted(estimators, "k_means", "k_means")
    counted(estimators, "kmeans_plusplus", "kmeans_plusplus")
    return called


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (SpectralClustering(5, gamma=1e-3, random_state=0), "k_means"),
        (SpectralCoclustering(3, random_state=0), "KMeans"),
        (SpectralCoclustering(3, random_state=0, mini_batch=True), "MiniBatchKMeans"),
        (KBinsDiscretizer(3, strategy="kmeans", encode="ordinal", subsample=None), "KMeans"),
        (GaussianMixture(5, random_state=0), "KMeans"),
        (GaussianMixture(5, init_params="k-means++", random_state=0), "kmeans_plusplus"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_users_of_k_means_in_scikit_learn_take_it(
    estimator: Any, expected: str, calls: list[str]
) -> None:
    points = np.abs(HOST) + 0.1  # biclusters are of positive numbers
    estimator.fit(points)
    assert calls == []
    with accelerate():
        again = clone(estimator).fit(points)
    assert expected in calls
    for name in ("labels_", "row_labels_", "means_", "bin_edges_"):
        if hasattr(estimator, name):
            ours, theirs = (np.vstack(getattr(each, name)) for each in (again, estimator))
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("name", CLASSES)
def test_pickles_load_as_what_they_are(name: str) -> None:
    theirs = THEIRS[name](5, random_state=0).fit(HOST)
    before = pickle.dumps(theirs)
    with accelerate():
        model = getattr(sklearn.cluster, name)(5, random_state=0).fit(HOST)
        meanwhile = pickle.dumps(model)
        assert type(pickle.loads(before)) is THEIRS[name]
        assert pickle.loads(pickle.dumps(theirs)).inertia_ == theirs.inertia_
        assert pickle.loads(pickle.dumps(sklearn.cluster.k_means)) is sklearn.cluster.k_means
    loaded = pickle.loads(meanwhile)
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict(HOST), model.labels_)
    assert clone(loaded).fit(HOST).inertia_ == model.inertia_


@pytest.mark.parametrize("name", CLASSES)
def test_isinstance_holds_both_ways(name: str) -> None:
    theirs = THEIRS[name]()
    with accelerate():
        stand_in = getattr(sklearn.cluster, name)
    ours = stand_in()
    assert isinstance(ours, stand_in)
    assert isinstance(ours, THEIRS[name])
    assert isinstance(ours, getattr(kmeans_xp, name))
    assert isinstance(theirs, stand_in)
    assert not isinstance(theirs, getattr(kmeans_xp, name))
    assert not isinstance(getattr(kmeans_xp, name)(), THEIRS[name])
    others = [THEIRS[other]() for other in CLASSES if other != name]
    assert not any(isinstance(other, stand_in) for other in others)

    class OfTheUser(stand_in):  # type: ignore[misc, valid-type]
        pass

    assert isinstance(OfTheUser(), stand_in)
    assert not isinstance(ours, OfTheUser)
    assert not isinstance(theirs, OfTheUser)


@pytest.mark.parametrize("name", CLASSES)
def test_to_sklearn_is_scikit_learns_own(name: str) -> None:
    with accelerate():
        model = getattr(sklearn.cluster, name)(5, random_state=0).fit(HOST)
        assert type(model.to_sklearn()) is THEIRS[name]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("name", CLASSES)
def test_from_sklearn_takes_a_stand_in_as_it_is(name: str, metric: str) -> None:
    with accelerate():
        theirs = getattr(sklearn.cluster, name)(3, random_state=0, metric=metric).fit(HOST)
        ours = getattr(kmeans_xp, name).from_sklearn(theirs)
    assert type(ours) is getattr(kmeans_xp, name)
    assert ours.get_params() == theirs.get_params()
    np.testing.assert_array_equal(ours.predict(HOST), theirs.labels_)
    assert ours.cluster_centers_ is not theirs.cluster_centers_


def test_a_model_file_is_of_the_class_it_stands_for(tmp_path: Path) -> None:
    with accelerate():
        model = sklearn.cluster.KMeans(5, random_state=0).fit(HOST)
    model.save(tmp_path / "model")
    assert type(kmeans_xp.KMeans.load(tmp_path / "model")) is kmeans_xp.KMeans
    assert type(type(model).load(tmp_path / "model")) is type(model)


def test_a_search_in_worker_processes_takes_it() -> None:
    with accelerate():
        search = GridSearchCV(
            sklearn.cluster.KMeans(random_state=0), {"n_clusters": [2, 5]}, cv=2, n_jobs=2
        ).fit(HOST)
        assert search.best_estimator_.device_reason_
    own = GridSearchCV(kmeans_xp.KMeans(random_state=0), {"n_clusters": [2, 5]}, cv=2).fit(HOST)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], own.cv_results_["mean_test_score"]
    )


PROGRAM = """
import sys
from sklearn.cluster import KMeans
import beside

if __name__ == "__main__":
    model = KMeans(2, random_state=0).fit([[0.0], [1.0], [8.0], [9.0]])
    print(type(model).__mro__[1], beside.KMeans is KMeans, sys.argv[1:])
    sys.exit(3)
"""


def run(*arguments: str, cwd: Path, standard_input: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmeans_xp.accelerate", *arguments]
    return subprocess.run(
        command, cwd=cwd, input=standard_input, capture_output=True, text=True, check=False
    )


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "beside.py").write_text("from sklearn.cluster import KMeans\n")
    (folder / "program.py").write_text(PROGRAM)
    return folder / "program.py"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let child processes find the package that is tested."""
    monkeypatch.setenv("PYTHONPATH", str(Path(kmeans_xp.__file__).parents[1]))


SAYS = "<class 'kmeans_xp.estimators.kmeans.KMeans'> True ['--', '-q', '--verbose', 'x']\n"


def test_a_script_is_run(program: Path, here: None) -> None:
    done = run("programs/program.py", "--", "-q", "--verbose", "x", cwd=program.parents[1])
    assert (done.returncode, done.stdout) == (3, SAYS)
    assert done.stderr.startswith("kmeans_xp replaces scikit-learn's k-means in\n")
    assert "\n  sklearn.cluster._spectral: k_means\n" in done.stderr


def test_a_module_is_run_and_nothing_told(program: Path, here: None) -> None:
    done = run("-q", "-m", "program", "--", "-q", "--verbose", "x", cwd=program.parent)
    assert (done.returncode, done.stdout, done.stderr) == (3, SAYS, "")


@pytest.mark.parametrize("form", [["-"], ["-c", PROGRAM]], ids=["standard input", "code"])
def test_code_is_run_as_python_runs_it(form: list[str], program: Path, here: None) -> None:
    defines = "import pickle\nclass Own: pass\nassert pickle.loads(pickle.dumps(Own))\n"
    form = [part.replace(PROGRAM, defines + PROGRAM) for part in form]
    arguments = ("-q", *form, "--", "-q", "--verbose", "x")
    done = run(*arguments, cwd=program.parent, standard_input=defines + PROGRAM)
    assert (done.returncode, done.stdout, done.stderr) == (3, SAYS, "")


def test_a_script_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["accelerate", "absent.py"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "there is no file absent.py" in capsys.readouterr().err
    assert sklearn.cluster.KMeans is THEIRS["KMeans"]


@pytest.mark.parametrize("words", [[], ["-q"], ["-c"], ["-q", "-m"]], ids=" ".join)
def test_a_program_that_is_not_named_is_asked_for(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["accelerate", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "error: name a program" in capsys.readouterr().err


FORMS: dict[str, list[str]] = {
    "an option and its code in one word": ["-cimport sys; print(sys.argv, __name__)", "-c", "x"],
    "code that begins as an option": ["-c", "-len(repr(1))"],
    "a module in the same word": ["-mlate", "-q"],
    "a script with a thread": ["late.py", "-m"],
    "a compiled script": ["late.pyc"],
    "a folder": ["folder", "x"],
    "no module": ["-m", "absent"],
    "a package without a program": ["-m", "json"],
    "a folder without a program": ["empty"],
}
#: pickles its own class in a thread, after the last line, and when Python ends
LATE = """
import atexit, pickle, sys, threading

class Own: pass

def report(when):
    print(when, type(pickle.loads(pickle.dumps(Own()))) is Own)

def wait():
    threading.main_thread().join()
    report("thread")

atexit.register(report, "exit")
threading.Thread(target=wait).start()
print(sys.argv, sys.path[0], __name__, __file__, __spec__ and __spec__.name)
"""


@pytest.mark.parametrize("form", FORMS)
def test_programs_do_as_with_python_itself(form: str, tmp_path: Path, here: None) -> None:
    (tmp_path / "late.py").write_text(LATE)
    py_compile.compile(str(tmp_path / "late.py"), str(tmp_path / "late.pyc"))
    for folder in ("folder", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(LATE)
    found = run("-q", *FORMS[form], cwd=tmp_path)
    plain = subprocess.run(
        [sys.executable, *FORMS[form]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (
        plain.returncode,
        plain.stdout,
        plain.stderr,
    )
    assert "False" not in found.stdout
