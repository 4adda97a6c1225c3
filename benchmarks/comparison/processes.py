"""Measurements that need a fresh process each: memory of a fit, imports and first fits.

``python benchmarks/comparison/processes.py MEASUREMENT CASE`` is how the comparison calls itself;
the answer is a line of JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

__all__ = ["fit_memory", "start_times"]

#: peer to the module that its users import
_MODULES = {"scikit-learn": "sklearn.cluster", "kmeans_xp": "kmeans_xp"}
_EMPTY_CACHE = "kmeans_xp, empty numba cache"
_SEED = 0


def fit_memory(case: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return what a fit adds to a process's memory, in bytes, for scikit-learn and kmeans_xp.

    Parameters
    ----------
    case : dict
        The fields of a ``Case``.

    Returns
    -------
    dict of str to dict
        ``peak_bytes`` of the fit, above the data and what was loaded before; ``loaded_bytes``
        that a first fit of a hundred rows leaves.
    """
    return {peer: _answer("memory", {"peer": peer, **case}) for peer in _MODULES}


def start_times(shape: tuple[int, int, int], n_repeats: int) -> dict[str, dict[str, list[float]]]:
    """Return how long the import and a first fit take in fresh interpreters, in seconds.

    The first start of each is not counted: it reads files from the disk, and fills the caches
    of Python's bytecode and of what numba compiles.
    """
    times: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as warm:
        for number in range(n_repeats + 1):
            for peer in (*_MODULES, _EMPTY_CACHE):
                for what, taken in _start(peer, shape, warm).items():
                    of_peer = times.setdefault(peer, {}).setdefault(what, [])
                    of_peer.extend([taken] if number else [])
    return times


def _start(peer: str, shape: tuple[int, int, int], warm: str) -> dict[str, float]:
    question = {"peer": peer.partition(",")[0], "shape": shape}
    # What users have, whatever this environment says.
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{warm}/bytecode"}
    if peer != _EMPTY_CACHE:
        return _answer("start", question, NUMBA_CACHE_DIR=f"{warm}/numba", **bytecode)
    with tempfile.TemporaryDirectory() as empty:
        return _answer("start", question, NUMBA_CACHE_DIR=empty, **bytecode)


def _answer(measurement: str, question: dict[str, Any], **env: str) -> dict[str, Any]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, __file__, measurement, json.dumps(question)]
    environment = os.environ | {"PYTHONPATH": path} | env
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ran.returncode:
        raise RuntimeError(f"{measurement} of {question} failed:\n{ran.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


# ---- in the fresh process: nothing is imported above that the measurement is about ----


def _memory(peer: str, **fields: Any) -> dict[str, float]:
    from benchmarks.comparison.data import Case, problem
    from benchmarks.roofline import Size

    module = __import__(_MODULES[peer], fromlist=["KMeans"])
    case = Case(**fields | {"size": Size(*fields["size"])})
    points = problem(case).points
    settings = {"random_state": _SEED, "max_iter": case.max_iter}
    empty = _resident_bytes()
    module.KMeans(2, **settings).fit(points[:100])
    loaded = _resident_bytes()
    peak = _peak_bytes(lambda: module.KMeans(case.size.n_clusters, **settings).fit(points))
    return {"peak_bytes": peak - loaded, "loaded_bytes": loaded - empty}


def _peak_bytes(work: Callable[[], Any]) -> int:
    """Return the most memory that the process has while it works."""
    # Linux: the peak so far, that of making the data, is forgotten.
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    work()
    if reset.exists():
        # Not getrusage: its ru_maxrss begins with that of the process that started this one.
        return _status_bytes("VmHWM")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _resident_bytes() -> int:
    if Path("/proc/self/status").exists():
        return _status_bytes("VmRSS")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _started(peer: str, shape: tuple[int, int, int]) -> dict[str, float]:
    began = time.perf_counter()
    module = __import__(_MODULES[peer], fromlist=["KMeans"])
    imported = time.perf_counter()
    import numpy as np

    n_points, n_features, n_clusters = shape
    points = np.random.default_rng(_SEED).random((n_points, n_features), dtype=np.float32)
    taken = []
    for _ in range(2):
        before = time.perf_counter()
        module.KMeans(n_clusters, random_state=_SEED, max_iter=20).fit(points)
        taken.append(time.perf_counter() - before)
    return {"import": imported - began, "first fit": taken[0], "second fit": taken[1]}


_MEASUREMENTS: dict[str, Callable[..., dict[str, float]]] = {"memory": _memory, "start": _started}

if __name__ == "__main__":
    print(json.dumps(_MEASUREMENTS[sys.argv[1]](**json.loads(sys.argv[2]))))
