"""Every public function and every parameter with every wrong thing: one clear error, before work.

``wrong_arguments`` lists what is given; each has to raise one of ``DOCUMENTED`` by a ``raise`` of
this package or of scikit-learn's checks: an error of Python or NumPy says nothing of the parameter.
"""

import gc
import inspect
import linecache
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.cluster import DBSCAN
from sklearn.exceptions import NotFittedError

import kmeans_xp
from kmeans_xp import (
    BisectingKMeans,
    Checkpoint,
    KMeans,
    MiniBatchKMeans,
    ProgressLine,
    config_context,
    metrics,
    open_rows,
    plotting,
    selection,
)
from kmeans_xp.devices import DeviceUnavailableError
from kmeans_xp.kernels.kernel import Kernel
from tests.datasets import blobs

DOCUMENTED = (
    ValueError,
    TypeError,
    OSError,
    NotImplementedError,
    NotFittedError,
    DeviceUnavailableError,
)

#: kernels that visit all rows more than once would, or that a fit takes its time for
WORK = ("lloyd_step", "nearest_labels", "nearest_centroid", "closer_of", "sq_distances")

N = 40
X = blobs(N)[0][:, :2].astype(np.float64)  # two columns: regions are drawn of those
LABELS = np.repeat([0, 1], N // 2)
CENTROIDS = np.stack([X[: N // 2].mean(axis=0), X[N // 2 :].mean(axis=0)])
WEIGHTS = np.ones(N)
NOTHING = object()

Values = Mapping[str, Any]


def one_is(value: float, array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.flat[5] = value
    return changed


ROWS: Values = {
    "None": None,
    "str": "rows",
    "number": 3.0,
    "object": NOTHING,
    "1-D": X[:, 0],
    "3-D": X[None],
    "no rows": X[:0],
    "no columns": X[:, :0],
    "NaN": one_is(np.nan, X),
    "infinity": one_is(np.inf, X),
    "complex": X + 1j,
    "words": X.astype(str).astype(object) + "x",
    "objects": np.array([[NOTHING] * 3] * N),
    "dates": np.zeros(X.shape, "M8[s]"),
    "durations": np.zeros(X.shape, "m8[s]"),
    "ragged": [[1, 2], [3]],
    "set": {1, 2},
    "dict": {"a": 1},
    "function": len,
    "masked": np.ma.masked_array(X, X > 1.0),
}
NEW_ROWS: Values = {**ROWS, "fewer columns": X[:, :1]}
CENTROIDS_OF: Values = {
    "None": None,
    "str": "abc",
    "number": 1.0,
    "object": NOTHING,
    "1-D": CENTROIDS[0],
    "3-D": CENTROIDS[None],
    "fewer columns": CENTROIDS[:, :1],
    "none of them": CENTROIDS[:0],
    "NaN": CENTROIDS * np.nan,
    "complex": CENTROIDS + 1j,
    "dict": {},
}
LABELS_OF: Values = {
    "None": None,
    "str": "a",
    "number": 3,
    "object": NOTHING,
    "2-D": np.stack([LABELS, LABELS], axis=1),
    "too few": LABELS[:-1],
    "none of them": LABELS[:0],
    "NaN": one_is(np.nan, LABELS.astype(np.float64)),
    "complex": LABELS + 1j,
    "dict": {},
}
WEIGHTS_OF: Values = {
    "str": "a",
    "object": NOTHING,
    "2-D": WEIGHTS[:, None],
    "too few": WEIGHTS[:-1],
    "NaN": WEIGHTS * np.nan,
    "infinity": WEIGHTS * np.inf,
    "negative": -WEIGHTS,
    "all zero": WEIGHTS * 0.0,
    "complex": WEIGHTS + 1j,
    "words": np.array(["a"] * N),
}
COUNT: Values = {
    "None": None,
    "str": "3",
    "float": 2.5,
    "zero": 0,
    "negative": -3,
    "NaN": float("nan"),
    "array": np.ones(3),
    "list": [2],
    "object": NOTHING,
}
CLUSTERS: Values = {**COUNT, "more than rows": N + 1, "bool": True}
AMOUNT: Values = {
    "None": None,
    "str": "a",
    "negative": -1.0,
    "NaN": float("nan"),
    "list": [1.0],
    "object": NOTHING,
}
CHOICE: Values = {"None": None, "str": "no such", "number": 1, "list": ["a"], "object": NOTHING}
DEVICE: Values = {
    "str": "no such",
    "number": 3,
    "list": ["cpu"],
    "object": NOTHING,
    "a GPU that is not there": "cuda:99",
}
SEED: Values = {"str": "a", "float": 1.5, "negative": -1, "list": [1], "object": NOTHING}
FLAG: Values = {"str": "a"}
AXES: Values = {"str": "a", "number": 3, "object": NOTHING}
NAMES: Values = {"too few": ["a"], "str": "ab", "number": 3, "object": NOTHING}


def but(values: Values, *names: str) -> Values:
    """Return the wrong things but those that are right for this parameter."""
    return {name: value for name, value in values.items() if name not in names}


OPTIONAL_COUNT = but(COUNT, "None")
ESTIMATOR: Mapping[str, Values] = {
    "n_clusters": CLUSTERS,
    "n_init": COUNT,
    "max_iter": COUNT,
    "tol": AMOUNT,
    "verbose": {"str": "a", "negative": -1, "object": NOTHING},
    "random_state": SEED,
    "metric": CHOICE,
    "device": DEVICE,
    "init": {
        **CHOICE,
        "fewer columns": CENTROIDS[:, :1],
        "more of them": X[:5],
        "NaN": CENTROIDS * np.nan,
    },
}
SIZES: Mapping[str, Values] = {
    "size_min": {**OPTIONAL_COUNT, "too large": N},
    "size_max": {**OPTIONAL_COUNT, "too small": 1},
}
ESTIMATORS: Mapping[type, Mapping[str, Values]] = {
    KMeans: {**ESTIMATOR, **SIZES, "algorithm": CHOICE, "copy_x": FLAG},
    MiniBatchKMeans: {
        **ESTIMATOR,
        "batch_size": COUNT,
        "compute_labels": FLAG,
        "max_no_improvement": but(COUNT, "None", "zero"),
        "init_size": OPTIONAL_COUNT,
        "reassignment_ratio": AMOUNT,
    },
    BisectingKMeans: {
        **ESTIMATOR,
        "init": CHOICE,
        "algorithm": CHOICE,
        "bisecting_strategy": CHOICE,
        "copy_x": FLAG,
    },
}


class Called(NamedTuple):
    """A function with good arguments, and wrong values for some of its parameters."""

    name: str
    function: Callable[..., Any]
    good: Mapping[str, Any]
    wrong: Mapping[str, Values]


def fitted_with(estimator_class: type, **parameters: Any) -> Any:
    return estimator_class(**parameters).fit(X)


def of_estimators() -> Iterator[Called]:
    for kind, parameters in ESTIMATORS.items():
        name, good = kind.__name__, {"n_clusters": 2, "random_state": 0}
        yield Called(f"{name}()", partial(fitted_with, kind), good, parameters)
        for method in ("fit", "fit_predict", "fit_transform", "partial_fit"):
            if hasattr(kind, method):
                call = getattr(kind(2, random_state=0), method)
                wrong = {"X": ROWS, "sample_weight": WEIGHTS_OF}
                yield Called(f"{name}.{method}", call, {"X": X}, wrong)
        fitted = kind(2, random_state=0).fit(X)
        for method in ("predict", "transform", "score"):
            yield Called(f"{name}.{method}", getattr(fitted, method), {"X": X}, {"X": NEW_ROWS})
        weights = {"sample_weight": WEIGHTS_OF}
        yield Called(f"{name}.score weighted", fitted.score, {"X": X}, weights)
        out = {"number": 3, "object": NOTHING, "folder": "/", "no folder": "/no/such/x.npy"}
        yield Called(f"{name}.predict to a file", fitted.predict, {"X": X}, {"out": out})
        path = {"None": None, "number": 3, "folder": "/", "no folder": "/no/such/model"}
        yield Called(f"{name}.save", fitted.save, {"path": "/no/such/model"}, {"path": path})
        yield Called(f"{name}.load", kind.load, {"path": "/no/such/model"}, {"path": path})
        yield Called(f"{name}.to_sklearn", fitted.to_sklearn, {}, {"centred": FLAG})
        theirs = fitted.to_sklearn()
        fits = {"None": None, "number": 3, "object": NOTHING, "a class": kind, "ours": fitted}
        fits["not fitted"] = type(theirs)(2)
        wrong = {"fitted": fits, "device": DEVICE}
        yield Called(f"{name}.from_sklearn", kind.from_sklearn, {"fitted": theirs}, wrong)


def of_functions() -> Iterator[Called]:
    of_rows = {"X": ROWS, "n_clusters": CLUSTERS, "sample_weight": WEIGHTS_OF}
    shared = {**of_rows, "random_state": SEED, "metric": CHOICE, "device": DEVICE}
    good = {"X": X, "n_clusters": 2, "random_state": 0}
    yield Called(
        "k_means", kmeans_xp.k_means, good, {**ESTIMATOR, **SIZES, **shared, "algorithm": CHOICE}
    )
    norms = {"too few": WEIGHTS[:-1], "str": "a", "object": NOTHING, "2-D": X}
    plusplus = {**shared, "n_local_trials": OPTIONAL_COUNT, "x_squared_norms": norms}
    yield Called("kmeans_plusplus", kmeans_xp.kmeans_plusplus, good, plusplus)
    parallel = {**shared, "oversampling": {**AMOUNT, "zero": 0.0}, "n_rounds": COUNT}
    yield Called("kmeans_parallel", kmeans_xp.kmeans_parallel, good, parallel)

    placed = {"points": ROWS, "centroids": CENTROIDS_OF, "metric": CHOICE, "device": DEVICE}
    good = {"points": X, "centroids": CENTROIDS}
    lloyd = {**placed, "weights": WEIGHTS_OF, "max_iter": COUNT, "tol": AMOUNT}
    yield Called("lloyd", kmeans_xp.lloyd, good, lloyd)
    yield Called("assign", kmeans_xp.assign, good, placed)
    outside = {"too large": LABELS + 5, "negative": LABELS - 1, "halves": LABELS * 0.5}
    of_inertia = {"labels": but(LABELS_OF, "None") | outside, "weights": WEIGHTS_OF}
    yield Called("inertia", kmeans_xp.inertia, good, {**placed, **of_inertia})

    wrong = {
        **but(ESTIMATOR, "verbose"),
        "X": {**as_problem(ROWS), "2-D": X},
        "n_clusters": CLUSTERS,
        "sample_weight": {**as_problem(WEIGHTS_OF), "1-D": WEIGHTS},
    }
    good = {"X": X[None], "n_clusters": 2, "random_state": 0}
    yield Called("k_means_batched", kmeans_xp.k_means_batched, good, wrong)


def as_problem(values: Values) -> Values:
    """Return the wrong things as the only one of several problems."""
    return {
        name: value[None] if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def with_settings(**settings: Any) -> None:
    with config_context(**settings):
        KMeans(2, random_state=0).fit(X)


def of_settings() -> Iterator[Called]:
    source = {
        "None": None,
        "number": 3,
        "object": NOTHING,
        "no file": "/no/such/file.npy",
        "no paths": [],
        "1-D": X[:, 0],
        "iterator": iter([X]),
    }
    columns = {"str": ["a"], "outside": [7], "float": [0.5], "number": 3, "object": NOTHING}
    weight = {"str": "w", "outside": 9, "float": 0.5, "object": NOTHING}
    rows = {"source": source, "columns": columns, "weight": weight, "block_rows": OPTIONAL_COUNT}
    yield Called("open_rows", open_rows, {"source": X}, rows)
    settings = {
        "device": DEVICE,
        "n_threads": OPTIONAL_COUNT,
        "precision": but(CHOICE, "None"),
        "compute": but(CHOICE, "None"),
    }
    yield Called("config_context", with_settings, {}, settings)
    path = {"None": None, "number": 3, "object": NOTHING}
    checkpoint = {"path": path, "every": COUNT, "seconds": AMOUNT, "keep": FLAG}
    yield Called("Checkpoint", Checkpoint, {"path": "x"}, checkpoint)
    line = {"seconds": AMOUNT, "write": {"number": 3, "str": "a"}}
    yield Called("ProgressLine", ProgressLine, {}, line)


def of_metrics() -> Iterator[Called]:
    on_rows = {"X": ROWS, "metric": CHOICE, "device": DEVICE}
    labels = {**LABELS_OF, "one cluster": LABELS * 0, "a cluster a row": np.arange(N)}
    for name in metrics.__all__:
        function = getattr(metrics, name)
        parameters = inspect.signature(function).parameters
        if "X" not in parameters:
            wrong: dict[str, Values] = {"labels_true": LABELS_OF, "labels_pred": LABELS_OF}
            wrong |= {"average_method": CHOICE, "beta": AMOUNT}
            good = {"labels_true": LABELS, "labels_pred": LABELS}
        else:
            wrong = {**on_rows, "labels": labels, "centroids": but(CENTROIDS_OF, "None")}
            wrong |= {"sample_size": OPTIONAL_COUNT, "random_state": SEED, "metric": CHOICE}
            good = {"X": X, "labels": LABELS}
            if "sample_size" in parameters:
                good["sample_size"] = 30  # the seed is of no use without
        yield Called(name, function, good, {key: wrong[key] for key in wrong if key in parameters})


def of_selection() -> Iterator[Called]:
    numbers = {
        "None": None,
        "number": 3,
        "str": "ab",
        "none of them": [],
        "zero": [0, 1],
        "float": [2.5, 3],
        "more than rows": [N + 1],
        "NaN": [float("nan")],
        "object": NOTHING,
    }
    wrong = {
        "X": ROWS,
        "n_clusters": numbers,
        "criterion": CHOICE,
        "n_init": COUNT,
        "n_references": but(COUNT, "zero"),
        "sample_size": OPTIONAL_COUNT,
        "max_iter": COUNT,
        "random_state": SEED,
        "n_jobs": but(COUNT, "None", "negative"),
        "metric": CHOICE,
        "device": DEVICE,
        "progress": {"number": 3, "str": "a"},
    }
    good = {"X": X, "n_clusters": [2, 3], "n_init": 1, "n_references": 2, "random_state": 0}
    yield Called("choose_n_clusters", selection.choose_n_clusters, good, wrong)


def of_pictures() -> Iterator[Called]:
    model = KMeans(2, random_state=0).fit(X)
    fitted = {
        "None": None,
        "number": 3,
        "object": NOTHING,
        "rows": X,
        "a class": KMeans,
        "not fitted": KMeans(2),
        "no centroids": DBSCAN().fit(X),
    }
    options = {
        "ax": AXES,
        "feature_names": NAMES,
        "sample_size": OPTIONAL_COUNT,
        "random_state": SEED,
        "metric": CHOICE,
    }
    centroids = but(CENTROIDS_OF, "None")
    of_labels = {"X": ROWS, "labels": LABELS_OF, "centroids": centroids, **options}
    of_fit = {"estimator": fitted, "X": {**ROWS, "fewer columns": X[:, :1]}, **options}
    for display in (
        plotting.ClustersDisplay,
        plotting.VoronoiDisplay,
        plotting.ProfilesDisplay,
        plotting.SilhouetteDisplay,
    ):
        of_arrays, good = display.from_predictions, {"X": X, "labels": LABELS}
        yield picture(of_arrays, good, of_labels)
        optional = inspect.signature(display.from_estimator).parameters["X"].default is None
        wrong = {**of_fit, "X": but(of_fit["X"], "None")} if optional else of_fit
        yield picture(display.from_estimator, {"estimator": model, "X": X}, wrong)
    history = {"estimator": fitted, "ax": AXES}
    yield picture(plotting.InertiaHistoryDisplay.from_estimator, {"estimator": model}, history)
    curve = {"None": None, "str": "abc", "too few": [2], "none of them": [], "object": NOTHING}
    of_curve = {
        "n_clusters": curve,
        "inertias": {**curve, "NaN": [np.nan] * 3},
        "chosen": {"none of them": 9, "str": "a"},
        "ax": AXES,
    }
    good = {"n_clusters": [2, 3, 4], "inertias": [3.0, 2.0, 1.0]}
    yield picture(plotting.ElbowDisplay.from_inertias, good, of_curve)
    of_path = {
        "X": ROWS,
        "centroids_path": {
            "None": None,
            "str": "ab",
            "number": 3,
            "object": NOTHING,
            "empty": [],
            "one": [CENTROIDS],
            "of several shapes": [CENTROIDS, CENTROIDS[:1]],
            "fewer columns": [CENTROIDS[:, :1]] * 2,
        },
        "panels": {"zero": 0, "str": "1", "float": 1.5, "too late": [2], "object": NOTHING},
        "max_iterations": COUNT,
        "interval": COUNT,
        **options,
    }
    good = {"X": X, "centroids_path": [CENTROIDS, CENTROIDS + 0.1]}
    yield picture(plotting.ConvergenceDisplay.from_path, good, of_path)
    yield picture(plotting.animation, good, of_path)


def picture(draw: Callable[..., Any], good: Values, wrong: Mapping[str, Values]) -> Called:
    """Return what draws, with what is wrong for the parameters that it has."""
    has = inspect.signature(draw).parameters
    chosen = {name: values for name, values in wrong.items() if name in has}
    owner = getattr(draw, "__self__", None)
    name = draw.__name__ if owner is None else f"{owner.__name__}.{draw.__name__}"
    return Called(f"plotting.{name}", draw, good, chosen)


def every_call() -> list[Called]:
    """Return every public function with what is wrong for it."""
    parts = (
        of_estimators,
        of_functions,
        of_settings,
        of_metrics,
        of_selection,
        of_pictures,
    )
    return [called for part in parts for called in part()]


EVERY_CALL = every_call()


def is_told(trace: TracebackType | None) -> bool:
    """Return whether the last line of a traceback is a ``raise`` of ours or of scikit-learn's."""
    last = traceback.extract_tb(trace)[-1]
    if "sklearn" in last.filename:
        return True
    assert last.lineno is not None
    numbers = range(last.lineno, last.lineno - 8, -1)  # a raise may be of several lines
    lines = (linecache.getline(last.filename, number).strip() for number in numbers)
    return "kmeans_xp" in last.filename and any(line.startswith("raise ") for line in lines)


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the kernels of ``WORK`` that have run."""
    names: list[str] = []
    run = Kernel.__call__

    def noted(kernel: Kernel[..., Any], *arguments: Any, **options: Any) -> Any:
        if kernel.__name__ in WORK:
            names.append(kernel.__name__)
        return run(kernel, *arguments, **options)

    monkeypatch.setattr(Kernel, "__call__", noted)
    return names


@pytest.mark.parametrize("called", EVERY_CALL, ids=[called.name for called in EVERY_CALL])
def test_each_wrong_argument_is_told_before_any_work(called: Called, worked: list[str]) -> None:
    faults = []
    for parameter, values in called.wrong.items():
        for name, value in values.items():
            fault = fault_of(called.function, {**called.good, parameter: value})
            if fault or worked:
                faults.append(f"{parameter}={name}: {fault or f'worked first: {worked}'}")
            worked.clear()
    assert not faults, "\n".join(faults)


def fault_of(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    """Return what is wrong with how a call fails, "" if nothing is."""
    try:
        function(**arguments)
    except DOCUMENTED as error:
        if not str(error):
            return f"{type(error).__name__} says nothing"
        names_file = isinstance(error, OSError) and error.filename is not None
        is_clear = names_file or is_told(error.__traceback__)
        return "" if is_clear else f"not told: {type(error).__name__}: {error}"
    return "no error"


@pytest.mark.filterwarnings("ignore:Animation was deleted:UserWarning")
def test_good_arguments_are_good(worked: list[str]) -> None:
    for called in EVERY_CALL:
        if called.good.get("path") != "/no/such/model":
            called.function(**called.good)
    gc.collect()  # a film that was not saved warns when it goes, here and not in another test
    assert {"nearest_labels", "nearest_centroid"} <= set(worked)


def test_nothing_public_is_left_out() -> None:
    names = {called.name.partition("(")[0].partition(".")[0] for called in EVERY_CALL}
    public = {*kmeans_xp.__all__, *metrics.__all__, "choose_n_clusters"}
    assert public - names == {"__version__", "accelerate", "devices"}  # which take no argument
    pictures = {called.name.split(".")[1] for called in of_pictures()}
    assert set(plotting.__all__) - pictures == {"CentroidPath", "check_format"}
    assert sum(len(values) for called in EVERY_CALL for values in called.wrong.values()) > 1900
