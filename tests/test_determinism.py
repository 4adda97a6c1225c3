"""The same bits for any number of threads, and whichever code BLAS has for the processor."""

import json
import os
import platform
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="OpenBLAS calls others' kernels otherwise"
)

#: kernels of OpenBLAS with vectors of 256 bits, with and without fused multiply-adds
BLAS_KERNELS = ("Haswell", "Sandybridge")

PROGRAM = textwrap.dedent("""
    import hashlib, json, sys
    import numpy as np
    from threadpoolctl import threadpool_info, threadpool_limits
    from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans, config_context, kmeans_plusplus

    def digest(arrays):
        found = hashlib.sha256()
        for array in arrays:
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def results(X, weights, k):
        for estimator in (
            KMeans(k, random_state=0, max_iter=4, tol=0.0),
            MiniBatchKMeans(k, random_state=0, max_iter=2),
            BisectingKMeans(5, random_state=0, max_iter=3),
        ):
            estimator.fit(X, sample_weight=weights)
            yield from (estimator.labels_, estimator.cluster_centers_, estimator.predict(X))
            yield np.float64(estimator.inertia_)
        yield kmeans_plusplus(X, k, random_state=1)[1]

    found = {}
    for n, d, k in ((9_000, 2, 30), (9_000, 16, 24), (3_000, 40, 130), (1_500, 300, 20)):
        for dtype in ("float32", "float64"):
            rng = np.random.default_rng(0)
            X = rng.normal(size=(n, d)).astype(dtype)
            weights = rng.random(n).astype(dtype)
            for n_threads in (1, 2, 4):
                with config_context(n_threads=n_threads), threadpool_limits(n_threads):
                    name = f"{n} x {d}, k={k}, {dtype}"
                    found.setdefault(name, set()).add(digest(results(X, weights, k)))
    kernels = {each["architecture"] for each in threadpool_info() if "openblas" in each["filepath"]}
    print(json.dumps([sorted(kernels), {name: sorted(of) for name, of in found.items()}]))
""")


def digests(blas_kernel: str, numba: str) -> dict[str, list[str]]:
    """Return for each problem the digests of its results, one if threads change nothing."""
    setting = {"OPENBLAS_CORETYPE": blas_kernel, "KMEANS_XP_NUMBA": numba}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | setting,
        capture_output=True,
        text=True,
        check=True,
    )
    kernels, found = json.loads(done.stdout)
    if kernels != [blas_kernel]:
        pytest.skip(f"BLAS has other kernels: {kernels}")
    return dict(found)


def test_with_numba_neither_threads_nor_blas_change_a_bit() -> None:
    one, other = (digests(kernel, "1") for kernel in BLAS_KERNELS)
    assert one == other
    assert {len(of) for of in one.values()} == {1}


def test_without_numba_threads_do_not_change_a_bit() -> None:
    found = digests(BLAS_KERNELS[0], "0")
    assert {len(of) for of in found.values()} == {1}
