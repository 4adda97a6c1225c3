"""When NumPy's kernels are compiled by numba, when not, and where compiled code is kept."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmeans_xp.devices import why_numba_is_unusable
from tests.datasets import cloud

numba = pytest.importorskip("numba", reason="about what is done where numba can be imported")

KERNELS = "kmeans_xp.kernels"

FIT = (
    "import numpy as np; from kmeans_xp import KMeans;"
    "from kmeans_xp.kernels import lloyd_step;"
    "X = np.random.default_rng(0).random((300, 3), dtype=np.float32);"
    "model = KMeans(4, random_state=0).fit(X);"
    "bodies = lloyd_step.overrides('numpy');"
    "print(','.join(body.__module__ for body in bodies), model.inertia_, *model.labels_)"
)


def printed(command: str, **environment: str) -> list[str]:
    """Return the words that a new interpreter prints."""
    env = os.environ | environment
    run = subprocess.run(
        [sys.executable, "-c", command], env=env, capture_output=True, text=True, check=True
    )
    return run.stdout.split()


def test_compiled_kernels_are_tried_first_and_can_be_left_out() -> None:
    modules, inertia, *labels = printed(FIT)
    assert modules == f"{KERNELS}.for_numba.assignment,{KERNELS}.for_numpy.assignment"
    for setting in ({"KMEANS_XP_NUMBA": "0"}, {"NUMBA_DISABLE_JIT": "1"}):
        modules, plain_inertia, *plain_labels = printed(FIT, **setting)
        assert modules == f"{KERNELS}.for_numpy.assignment"
        assert labels == plain_labels
        assert float(inertia) == pytest.approx(float(plain_inertia), rel=1e-6)


def test_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    why = why_numba_is_unusable.__wrapped__
    assert why() is None
    monkeypatch.setitem(sys.modules, "numba", None)  # an import of it raises
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert "does not import" in why()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install" in why()


def test_compiled_code_is_kept_and_used_again(tmp_path: Path) -> None:
    kept = str(tmp_path)
    first = printed(FIT, NUMBA_CACHE_DIR=kept)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb[ci]")}
    assert files
    assert printed(FIT, NUMBA_CACHE_DIR=kept) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb[ci]")} == files


def test_without_a_folder_to_keep_code_in_each_process_compiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kmeans_xp.kernels.for_numba import compiled

    njit = compiled.numba.njit

    def refusing(*args: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function 'doubled': no locator available")
        return njit(*args, **options)

    monkeypatch.setattr(compiled.numba, "njit", refusing)

    @compiled.compiled(compiled.RESULTS)
    def doubled(values):
        for number in range(len(values)):
            values[number] *= 2

    values = np.arange(3.0)
    doubled[values.dtype](values)
    np.testing.assert_array_equal(values, [0.0, 2.0, 4.0])


def test_memory_layouts_share_one_compiled_function() -> None:
    import array_api_compat.numpy as xp

    from kmeans_xp.kernels import DenseRows, nearest_labels
    from kmeans_xp.kernels.for_numba import assignment

    points = cloud(200, 5)
    centroids = points[:3].copy()
    expected = nearest_labels(DenseRows(points), centroids, xp=xp)
    read_only = points.copy()
    read_only.flags.writeable = False
    for same in (np.asfortranarray(points), np.repeat(points, 2, axis=1)[:, ::2], read_only):
        np.testing.assert_array_equal(nearest_labels(DenseRows(same), centroids, xp=xp), expected)
    compiled = assignment._label_rows.of_dtype[points.dtype]
    assert len(compiled.signatures) == 1
