"""Fits while the interpreter shuts down, when no new thread can start."""

import subprocess
import sys
import textwrap

import pytest

AT_EXIT = "import atexit; atexit.register(fit)"
AFTER_THE_MAIN_THREAD = """
    import threading, time
    def later():
        threading.main_thread().join()
        time.sleep(0.2)
        fit()
    threading.Thread(target=later).start()
"""


@pytest.mark.sampled(1, numpy=2)
@pytest.mark.parametrize("when", [AT_EXIT, AFTER_THE_MAIN_THREAD], ids=["at exit", "after"])
@pytest.mark.parametrize("numba", ["0", "1"])
def test_a_fit_when_no_thread_can_be_begun(when: str, numba: str) -> None:
    program = f"""
import os
os.environ["KMEANS_XP_NUMBA"] = "{numba}"
import numpy as np
from kmeans_xp import KMeans
X = np.random.default_rng(0).normal(size=(50_000, 8)).astype(np.float32)
def fit():
    kmeans = KMeans(8, n_init=1, max_iter=3, random_state=0).fit(X)
    print((kmeans.predict(X) == kmeans.labels_).all())
{textwrap.dedent(when)}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
