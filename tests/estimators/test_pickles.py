"""Pickles and joblib files of a fit load also where its library or device is missing."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

import kmeans_xp
from conftest import Library
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans
from tests.assertions import assert_at_home
from tests.datasets import blobs

HOST, _ = blobs()
ESTIMATORS = [KMeans, MiniBatchKMeans, BisectingKMeans]

#: loads a file in a process in which the library cannot be imported, and predicts
ELSEWHERE = """
import sys
sys.modules[sys.argv[1]] = None
import joblib
import numpy as np
model = joblib.load(sys.argv[2])
np.save(sys.argv[3], model.predict(np.load(sys.argv[4])))
assert all(type(value) is np.ndarray for value in vars(model).values() if hasattr(value, "shape"))
"""


@pytest.mark.skip_library(
    "dpnp", reason="its arrays cannot be pickled: NumPy's stay in their place"
)
@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_pickles_load_where_the_arrays_lay(estimator_class: Any, library: Library) -> None:
    points = library.asarray(HOST, "float32")
    model = estimator_class(5, random_state=0).fit(points)
    for loaded in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert set(vars(loaded)) == set(vars(model))
        assert_at_home(loaded.cluster_centers_, library, "float32", (5, 3))
        np.testing.assert_array_equal(
            library.to_host(loaded.predict(points)), library.to_host(model.labels_)
        )


@pytest.mark.sampled(1, cupy=3, dpnp=3)
@pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax"),
    reason="arrays of this library lie on the host, and pickles of them need it",
)
@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_files_made_on_a_device_open_without_its_library(
    estimator_class: Any, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = estimator_class(5, random_state=0).fit(library.asarray(HOST, "float32"))
    files = [str(tmp_path / name) for name in ("model.joblib", "labels.npy", "points.npy")]
    joblib.dump(model, files[0])
    np.save(files[2], HOST.astype(np.float32))
    monkeypatch.setenv("PYTHONPATH", str(Path(kmeans_xp.__file__).parents[1]))
    subprocess.run([sys.executable, "-c", ELSEWHERE, library.name, *files], check=True)
    np.testing.assert_array_equal(np.load(files[1]), library.to_host(model.labels_))
