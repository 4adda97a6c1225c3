"""scikit-learn's array API dispatch: whole pipelines stay in the library of their input.

Each test is a process of its own: SciPy reads once, on import, whether it takes other arrays.
"""

import os
import subprocess
import sys

import pytest

from conftest import Library

pytestmark = [
    pytest.mark.skip_library(
        *("numpy", "jax", "dpnp", "mlx"),
        reason="scikit-learn dispatches to NumPy, torch, CuPy and strict",
    ),
    pytest.mark.skip_library(
        "array_api_strict-device1", reason="the processes make arrays on the first device"
    ),
]

PIPELINE = """
import numpy as np, sklearn
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans

host = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
X = {asarray}(host)
with sklearn.config_context(array_api_dispatch=True):
    for make in (KMeans, MiniBatchKMeans, BisectingKMeans):
        pipeline = make_pipeline(
            StandardScaler(), {steps} make(4, random_state=0)
        ).fit(X)
        results = [
            pipeline[-1].cluster_centers_, pipeline[-1].labels_, pipeline.predict(X),
            pipeline.transform(X), pipeline.fit_transform(X), pipeline.fit_predict(X),
        ]
        assert {{type(result) for result in results}} == {{type(X)}}, results
        assert isinstance(pipeline.score(X), float)
print("as it should be")
"""

CHECKS = """
import unittest
from sklearn.utils.estimator_checks import _yield_array_api_checks
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans

for estimator in (make(2, random_state=0) for make in (KMeans, MiniBatchKMeans, BisectingKMeans)):
    n_passed = 0
    for check in _yield_array_api_checks(estimator):
        # This one wants an error for arrays of another library than those of the fit. A model
        # predicts arrays of any library, as the page for users of scikit-learn says.
        passes = check.func.__name__ != "check_array_api_same_namespace"
        try:
            check(type(estimator).__name__, estimator)
        except unittest.SkipTest:
            continue
        except AssertionError as error:
            assert not passes and "predict() did not raise when called with" in str(error), error
        else:
            assert passes
            n_passed += 1
    assert n_passed >= 3, n_passed
print("as it should be")
"""

ASARRAY = {
    "array_api_strict": "__import__('array_api_strict').asarray",
    "torch": "__import__('torch').asarray",
    "cupy": "__import__('cupy').asarray",
}


def run(command: str) -> None:
    env = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", command], env=env, capture_output=True, text=True
    )
    assert done.stdout == "as it should be\n", done.stderr


def test_a_pipeline_stays_in_the_library(library: Library) -> None:
    # The emulated CUDA has no singular values.
    steps = "" if library.name == "cupy" else "PCA(3, svd_solver='full'),"
    run(PIPELINE.format(asarray=ASARRAY[library.name], steps=steps))


def test_scikit_learns_checks_of_dispatch_pass(library: Library) -> None:
    run(CHECKS)
