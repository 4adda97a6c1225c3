"""Labels by bytes and by heads, where code is compiled for other processors than this one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

numba = pytest.importorskip("numba", reason="about kernels that numba compiles")

from llvmlite import binding  # noqa: E402

from kmeans_xp.kernels.for_numba import candidates  # noqa: E402

_COMMON = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c"
_WIDE = f"{_COMMON},+avx512f,+avx512bw,+avx512vl,+avx512dq"

PROCESSORS = [("haswell", _COMMON)]
if "KMEANS_XP_FUZZ" in os.environ:  # each compiles for fifteen seconds
    PROCESSORS += [("skylake-avx512", _WIDE), ("alderlake", f"{_COMMON},+avxvnni")]

#: in one process, as both use much of the same code
PROGRAM = """
from tests.kernels import test_certified_bytes as of_bytes, test_headed as of_heads

rows, centroids = of_bytes.embedded(2500, 130, 600)
print(*of_bytes.checked(rows, centroids))
rows, centroids = of_heads.smooth(2500, 130, 600)
print(*of_heads.checked(rows, centroids, 16))
for tests in (of_bytes, of_heads):
    for kind in ("twins one ulp apart", "midpoints", "Cauchy", "rows of all lengths", "zeros"):
        tests.test_labels_are_those_of_the_dense_kernel(kind, "float32")
"""


@pytest.mark.parametrize(("name", "features"), PROCESSORS)
def test_other_processors_give_the_same_labels(name: str, features: str, tmp_path: Path) -> None:
    host = binding.get_host_cpu_features()
    if not all(host.get(each.lstrip("+")) for each in features.split(",")):
        pytest.skip("this processor cannot run that code")
    settings = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env=os.environ | settings | {"NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = [candidates.Counts(*map(int, line.split())) for line in done.stdout.splitlines()]
    for counts, most_candidates in zip(found, (30, 10), strict=True):
        assert counts.n_points == 2500
        assert counts.n_dense == counts.n_doubtful == 0
        assert counts.n_candidates < most_candidates * 2500
