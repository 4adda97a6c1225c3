"""When numba compiles the kernels for NumPy, and where the compiled code is kept."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmeans_xp.devices import why_numba_is_unusable
from kmeans_xp.kernels import DenseRows, compile_ahead, nearest_labels
from tests.chain import chain_labels, of_tenths
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


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a new interpreter."""
    env = os.environ | environment
    return subprocess.run(
        [sys.executable, "-c", command], env=env, capture_output=True, text=True, check=True
    )


def printed(command: str, **environment: str) -> list[str]:
    """Return the words that a new interpreter prints."""
    return run(command, **environment).stdout.split()


def test_compiled_kernels_are_tried_first_and_can_be_left_out() -> None:
    modules, inertia, *labels = printed(FIT)
    names = ["for_numba.assignment", "for_numpy.assignment"]
    expected = ",".join(f"{KERNELS}.{name}" for name in names)
    assert modules in (expected, f"{KERNELS}.for_numba.certified,{expected}")
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


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def with_a_bit_changed(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(changed) * 2 // 3] ^= 16
    return bytes(changed)


def kept_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes a function as a new process would, with its code kept in a folder."""
    from kmeans_xp.kernels.for_numba import compiled, kept_code

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    monkeypatch.setattr(kept_code, "_told", set())
    monkeypatch.setattr(compiled, "every_function", [])

    def made() -> Any:
        @compiled.compiled(compiled.RESULTS)
        def doubled(values):
            for number in range(len(values)):
                values[number] *= 2

        return doubled

    return made


def doubles(made: Any, dtype: Any) -> bool:
    values = np.arange(3, dtype=dtype)
    made[values.dtype](values)
    return values.tolist() == [0.0, 2.0, 4.0]


def test_compiling_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="kmeans_xp.kernels")
    made = kept_in(tmp_path, monkeypatch)
    assert all(doubles(made(), dtype) for dtype in (np.float32, np.float64))
    assert [record.getMessage()[:17] for record in caplog.records] == ["Compiling kernels"]
    caplog.clear()
    made = kept_in(tmp_path, monkeypatch)
    assert all(doubles(made(), dtype) for dtype in (np.float32, np.float64))
    assert not caplog.records  # what is kept is not compiled


def test_all_functions_are_compiled_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept_in(tmp_path, monkeypatch)
    functions, counts = [made(), made()], []
    assert compile_ahead(lambda *done: counts.append(done)) == 4
    assert counts == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [list(map(str, each.of_dtype)) for each in functions] == [["float32", "float64"]] * 2


def test_without_numba_there_is_nothing_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmeans_xp.kernels.ahead.why_numba_is_unusable", lambda: "it is off")
    with pytest.raises(ImportError, match="nothing to compile: it is off"):
        compile_ahead()


@pytest.mark.parametrize("damage", [cut, emptied, with_a_bit_changed])
def test_damaged_code_is_compiled_anew(
    damage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = kept_in(tmp_path, monkeypatch)
    assert doubles(made(), np.float32)
    (path,) = tmp_path.rglob("*.nbc")
    good = path.read_bytes()
    path.write_bytes(damage(good))
    with pytest.warns(RuntimeWarning, match=f"in {path} is damaged: it is compiled again"):
        assert doubles(made(), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = made()
        assert doubles(again, np.float32)
    assert sum(again[np.dtype("float32")].stats.cache_hits.values()) == 1


def test_damage_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept_in(tmp_path, monkeypatch)
    for dtype in (np.float32, np.float64):
        assert doubles(made(), dtype)
    for path in tmp_path.rglob("*.nbc"):
        path.write_bytes(b"")
    with pytest.warns(RuntimeWarning) as told:
        assert all(doubles(made(), dtype) for dtype in (np.float32, np.float64))
    assert len(told) == 1


def test_a_disk_that_is_full_does_not_stop_a_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = kept_in(tmp_path, monkeypatch)

    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(Path, "write_bytes", full)
        with pytest.warns(RuntimeWarning, match=f"could not be kept in {tmp_path}"):
            assert doubles(made(), np.float32)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


FORKED = """
import os, signal, threading
import numpy as np
from kmeans_xp import KMeans
from kmeans_xp.kernels.for_numba import compiled, kept_code

X = np.random.default_rng(0).random((300, 3), dtype=np.float32)
begun, load = threading.Event(), kept_code._Files.load

def slowly(files, key):  # the locks are held meanwhile
    begun.set()
    threading.Event().wait(0.05)
    return load(files, key)

kept_code._Files.load = slowly
fitting = threading.Thread(target=lambda: KMeans(4, random_state=0).fit(X))
fitting.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(100)  # a child that waits for ever is ended
    print(KMeans(4, random_state=0).fit(X).inertia_, flush=True)
    os._exit(0)
fitting.join()
_, status = os.waitpid(child, 0)
print(KMeans(4, random_state=0).fit(X).inertia_, status)
"""


def test_a_child_that_is_forked_while_a_thread_compiles_fits() -> None:
    ours, theirs, status = printed(FORKED)
    assert ours == theirs
    assert status == "0"


def test_without_a_folder_to_keep_code_in_each_process_compiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kmeans_xp.kernels.for_numba import compiled

    def refusing(function: Any) -> Any:
        raise RuntimeError("cannot cache function 'doubled': no locator available")

    monkeypatch.setattr(compiled, "KeptCode", refusing)

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
    compiled = assignment.label_rows.of_dtype[points.dtype]
    assert len(compiled.signatures) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("band", [(1, 100), (3, 900), (16, 100), (33, 60), (128, 64), (130, 300)])
def test_labels_are_those_that_cuda_gives(band: tuple[int, int], dtype: str) -> None:
    import array_api_compat.numpy as xp

    from kmeans_xp.kernels.for_numba.emitted.vectors import MULTIPLY_ADD

    points, origin, centroids = of_tenths(400, band, dtype, 0)
    rows = DenseRows(points, None, origin)
    labels = nearest_labels(rows, centroids, xp=xp)
    # A processor without fused multiply-adds rounds each product, and some ties break otherwise.
    expected = chain_labels(points, origin, centroids, is_fused=MULTIPLY_ADD == "fma")
    np.testing.assert_array_equal(labels, expected)


def test_kept_code_is_of_all_that_it_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_numba import kept_code

    for folder in ("portable", "for_numba/emitted", "for_cupy"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "one.py").write_text("1")
    monkeypatch.setattr(kept_code, "__file__", str(tmp_path / "for_numba" / "kept_code.py"))

    def digest() -> str:
        kept_code._digest_of.cache_clear()
        return kept_code._sources.__wrapped__()

    before = digest()
    (tmp_path / "for_cupy" / "one.py").write_text("2")
    assert digest() == before
    for folder in ("portable", "for_numba/emitted"):
        (tmp_path / folder / "one.py").write_text("2")
        assert digest() != before
        before = digest()
    files = [kept_code._Files(tmp_path, "name", sources) for sources in ("older", "newer")]
    files[0].save("key", "code")
    assert (files[0].load("key"), files[1].load("key")) == ("code", None)
