"""Pickles and joblib files of a fit load also where its library or device is missing."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from array_api_compat import array_namespace, device

import kmeans_xp
from conftest import Library
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans
from kmeans_xp.devices.homes import back_home
from tests.assertions import assert_at_home
from tests.datasets import blobs

HOST, _ = blobs()
ESTIMATORS = [KMeans, MiniBatchKMeans, BisectingKMeans]

#: loads files in a process that finds no such library, and predicts
ELSEWHERE = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        is_it = name.partition(".")[0] == sys.argv[1]
        return None if is_it else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
import joblib
import numpy as np
points = np.load(sys.argv[2])
for file in sys.argv[3:]:
    model = joblib.load(file)
    np.save(f"{file}.npy", model.predict(points))
    arrays = [value for value in vars(model).values() if hasattr(value, "shape")]
    assert {type(array) for array in arrays} == {np.ndarray}
"""


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_pickles_load_where_the_arrays_lay(estimator_class: Any, library: Library) -> None:
    points = library.asarray(HOST, "float32")
    model = estimator_class(5, random_state=0).fit(points)
    deep = model if library.name == "dpnp" else copy.deepcopy(model)  # it copies none of its arrays
    for loaded in (pickle.loads(pickle.dumps(model)), deep, copy.copy(model)):
        assert set(vars(loaded)) == set(vars(model))
        assert_at_home(loaded.cluster_centers_, library, "float32", (5, 3))
        np.testing.assert_array_equal(
            library.to_host(loaded.predict(points)), library.to_host(model.labels_)
        )


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_pickles_hold_numpy_arrays_alone(estimator_class: Any, library: Library) -> None:
    init = library.asarray(HOST[:5], "float32")
    model = estimator_class(5, random_state=0).fit(library.asarray(HOST, "float32"))
    if estimator_class is not BisectingKMeans:
        model.set_params(init=init)
    state = model.__getstate__()
    assert all(type(v) is np.ndarray for v in state.values() if hasattr(v, "shape"))
    if library.name != "numpy":
        assert "cluster_centers_" in state["_pickled_homes"]
    assert "_pickled_homes" not in vars(pickle.loads(pickle.dumps(model)))


@pytest.mark.skip_library("numpy", "array_api_strict", "dpnp", "cupy", reason="has no bfloat16")
def test_pickles_hold_bfloat16_as_float32(library: Library) -> None:
    init = library.xp.astype(library.asarray(HOST[:5], "float32"), library.xp.bfloat16)
    state = KMeans(5, init=init).__getstate__()
    assert state["init"].dtype == np.float32
    expected = library.to_host(library.xp.astype(init, library.xp.float32))
    np.testing.assert_array_equal(state["init"], expected)


@pytest.mark.parametrize("missing", ["no device of this name", "cuda:99"])
def test_arrays_of_a_missing_device_come_to_the_default_one(missing: str, library: Library) -> None:
    array = back_home(HOST.astype(np.float32), (library.name, missing))
    assert array_namespace(array) is library.xp
    default = library.xp.empty(0, dtype=library.xp.float32)
    assert str(device(array)) == str(device(default))


def test_a_file_cannot_choose_what_is_imported() -> None:
    state = KMeans(5, random_state=0).fit(HOST).__getstate__()
    state["_pickled_homes"] = {"cluster_centers_": ("antigravity", "cpu")}
    loaded = KMeans.__new__(KMeans)
    loaded.__setstate__(state)
    assert type(loaded.cluster_centers_) is np.ndarray
    assert "antigravity" not in sys.modules


@pytest.mark.skip_library("numpy", reason="every process has it")
def test_files_open_without_the_library_of_the_fit(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "points.npy", HOST.astype(np.float32))
    # JAX compiles each fit for seconds.
    is_long = library.name == "jax" and "KMEANS_XP_FUZZ" not in os.environ
    # All in one process, which takes longer to start than to load them.
    expected = {}
    for estimator_class in ESTIMATORS[:1] if is_long else ESTIMATORS:
        model = estimator_class(5, random_state=0).fit(library.asarray(HOST, "float32"))
        file = str(tmp_path / estimator_class.__name__)
        joblib.dump(model, file)
        expected[file] = library.to_host(model.labels_)
    monkeypatch.setenv("PYTHONPATH", str(Path(kmeans_xp.__file__).parents[1]))
    command = [sys.executable, "-c", ELSEWHERE, library.name, str(tmp_path / "points.npy")]
    subprocess.run([*command, *expected], check=True)
    for file, labels in expected.items():
        np.testing.assert_array_equal(np.load(f"{file}.npy"), labels)
