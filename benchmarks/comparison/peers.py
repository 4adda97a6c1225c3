"""The libraries that are compared on a CPU, and the machine that they are compared on."""

import importlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import sklearn.cluster
from threadpoolctl import threadpool_info

import kmeans_xp
from kmeans_xp.devices.availability import n_threads

__all__ = [
    "BASELINE",
    "BLAS_SETTINGS",
    "OURS",
    "PEERS",
    "UNIMPORTABLE",
    "Peers",
    "busy_processors",
    "estimators",
    "load",
    "machine",
    "takes_faiss",
]

BASELINE = "scikit-learn"
OURS = "kmeans_xp"

#: peers beside those two: their modules
_MODULES = {"sklearnex": "sklearnex.cluster", "faiss": "faiss", "torch": "torch", "jax": "jax"}
PEERS = tuple(_MODULES)

#: how the reason begins why a peer is left out of every job
UNIMPORTABLE = "cannot be imported"

#: libraries whose arrays are given to kmeans_xp, and how they are made from NumPy's
_ARRAYS: dict[str, Callable[[Any, Any], Any]] = {
    "torch": lambda torch, array: torch.from_numpy(array),
    "jax": lambda jax, array: jax.numpy.asarray(array),
}

#: what OpenBLAS reads when it is loaded: set for the process, it would choose for every peer
BLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

#: cores of OpenBLAS whose kernels use AVX-512
_AVX512_CORES = ("SkylakeX", "Cooperlake", "SapphireRapids", "Zen4", "Zen5")


class Peers(NamedTuple):
    """What can be compared here.

    Parameters
    ----------
    modules : dict of str to module
        Of the peers beside scikit-learn and kmeans_xp.
    left_out : dict of str to str
        Peer to why it is not compared.
    """

    modules: dict[str, ModuleType]
    left_out: dict[str, str]


def load(wanted: Sequence[str] = PEERS) -> Peers:
    """Import the peers that can be imported."""
    _settle()  # NumPy's and SciPy's BLAS are loaded then, and have chosen their kernels
    # Else JAX makes every float64 a float32; it reads this on import.
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    modules, left_out = {}, {}
    for name in PEERS:
        if name not in wanted:
            left_out[name] = "not asked for"
            continue
        try:
            with _avx512_for_old_openblas(name):
                modules[name] = importlib.import_module(_MODULES[name])
        except Exception as error:  # noqa: BLE001 (libraries fail to start in their own ways)
            reason = (str(error).strip().splitlines() or [""])[0]
            left_out[name] = f"{UNIMPORTABLE}: {type(error).__name__}: {reason}"
    return Peers(modules, left_out)


def _settle() -> None:
    """Fit with both, so that each knows the BLAS libraries that its users have, not faiss's."""
    points = np.random.default_rng(0).random((20_000, 16), dtype=np.float32)
    for estimator in (sklearn.cluster.KMeans, kmeans_xp.KMeans):
        estimator(8, init=points[:8], n_init=1, max_iter=2).fit(points)


@contextmanager
def _avx512_for_old_openblas(name: str) -> Iterator[None]:
    """Let the OpenBLAS of faiss's wheels use AVX-512 where NumPy's does.

    It is older than many CPUs, and takes kernels of 256 bits for those that it does not know. It
    asks the environment once, when it is loaded; other libraries must not see the variable.
    """
    if name != "faiss" or not any(core in _AVX512_CORES for core in _blas_cores().values()):
        yield
        return
    before = os.environ.get("OPENBLAS_CORETYPE")
    os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    try:
        yield
    finally:
        del os.environ["OPENBLAS_CORETYPE"]
        if before is not None:
            os.environ["OPENBLAS_CORETYPE"] = before


def estimators(points: Any, peers: Peers) -> list[tuple[str, Any, Any]]:
    """Return name, module and points of all that have scikit-learn's interface, itself first."""
    found: list[tuple[str, Any, Any]] = [
        (BASELINE, sklearn.cluster, points),
        (OURS, kmeans_xp, points),
    ]
    if "sklearnex" in peers.modules:
        found.append(("sklearnex", peers.modules["sklearnex"], points))
    for name, convert in _ARRAYS.items():
        if name in peers.modules:
            found.append((f"{OURS} on {name}", kmeans_xp, convert(peers.modules[name], points)))
    return found


def takes_faiss(points: Any, peers: Peers) -> bool:
    """Return whether faiss is here and computes in the dtype of the points."""
    return "faiss" in peers.modules and points.dtype == np.float32


def machine(peers: Peers) -> dict[str, Any]:
    """Return what the times depend on beside the code."""
    versions = {BASELINE: sklearn.__version__, OURS: kmeans_xp.__version__}
    versions |= {"NumPy": np.__version__, "SciPy": scipy.__version__}
    for name in (*peers.modules, "numba"):
        if (version := _version(name)) is not None:
            versions[name] = version
    return {
        "cpu": _cpu(),
        "n_threads": n_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "blas": _blas_cores(),
    }


def busy_processors(watched_s: float) -> float | None:
    """Return how many processors other programs use while this one sleeps, or None if unknown.

    One is enough to spoil all: threads that wait for each other at each step then wait for
    the scheduler, and small fits by OpenMP take a hundred times as long.
    """
    time.sleep(watched_s / 5)  # until threads of this process have stopped to spin
    before = _busy_ticks()
    began = time.perf_counter()
    time.sleep(watched_s)
    after = _busy_ticks()
    if before is None or after is None:
        return None
    ticks_per_s: int = os.sysconf("SC_CLK_TCK")
    return (after - before) / ticks_per_s / (time.perf_counter() - began)


def _busy_ticks() -> int | None:
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are in user
    ticks = [int(field) for field in line.split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4]


def _version(name: str) -> str | None:
    distribution = {"sklearnex": "scikit-learn-intelex", "faiss": "faiss-cpu"}.get(name, name)
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        # A module without a distribution of that name, such as faiss from conda.
        return (
            getattr(importlib.import_module(name), "__version__", None) if name in PEERS else None
        )


def _blas_cores() -> dict[str, str]:
    """Return for each BLAS, by its package and version, the core that it has chosen kernels for."""
    cores = {}
    for library in threadpool_info():
        if library["user_api"] == "blas":
            # site-packages/numpy.libs/libscipy_openblas64_....so
            owner = Path(library["filepath"]).parent.name.removesuffix(".libs")
            name = f"{owner}: {library['internal_api']} {library['version']}"
            cores[name] = str(library.get("architecture", "unknown"))
    return dict(sorted(cores.items()))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
