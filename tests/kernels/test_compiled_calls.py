"""Compiled functions that others call where they lie, and what a first fit compiles."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels.for_numba.compiled import (  # noqa: E402
    COUNT,
    NUMBERS,
    RESULTS,
    Compiled,
    call_at,
    compiled,
    inline,
    shared,
)

FIT = """
import sys
import numpy as np
from kmeans_xp import KMeans
from kmeans_xp.kernels.for_numba import compiled, runs

X = np.random.default_rng(0).random((300, 3), dtype=sys.argv[1])
if "by columns" in sys.argv:
    X = np.asfortranarray(X)
if "often" in sys.argv:
    compiled.USES_BEFORE_COMPILING = 0
model = KMeans(4, n_init=2, random_state=0).fit(X)
print("numba.np.linalg" in sys.modules, len(runs._take_runs.of_dtype))
print(model.inertia_, *model.labels_)
"""

#: what a fit of few rows uses
USED = {
    *("pack_tile", "label_panels", "keep_nearer_panels", "fold_panels"),
    *("add_tile", "label_rows", "add_distances", "pack_few_features"),
}

#: what Python or NumPy does in the first fits
USED_LATER = {
    *("add_moments", "sum_lanes", "measure_spread", "add_blocks", "find", "first_least"),
    *("update_clusters", "pack_groups"),
}

#: what only saves time in later ones
USED_OFTEN = {"choose_rows", "fold_few_features", "run_steps", "_take_runs"}


@shared(RESULTS, NUMBERS)
def add(values, added):
    """Add to values where they are."""
    for number in range(len(values)):
        values[number] += added[number]


@shared(RESULTS, COUNT)
def fill_from_room(values, n_numbers):
    """Take room for ``n_numbers`` numbers."""
    room = np.zeros(n_numbers)
    for number in range(len(values)):
        values[number] = room[number]


@inline
def _add_twice(values, added):
    add(values, added)
    add(values, added)


@compiled(RESULTS, NUMBERS)
def add_three_times(values, added):
    """Add, by a function and by one that is inlined."""
    _add_twice(values, added)
    add(values, added)


@compiled(RESULTS, COUNT)
def zeros(values, n_numbers):
    """Write zeros."""
    fill_from_room(values, n_numbers)


_add_at = call_at(RESULTS, NUMBERS)
doubled = compiled(RESULTS, NUMBERS)(lambda values, added: add(values, added))


@compiled(COUNT, RESULTS, NUMBERS)
def add_by_address(address, values, added):
    """Add by the function at an address."""
    _add_at(address, values, added)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_function_is_called_by_its_name_or_its_address(dtype: Any) -> None:
    values, added = np.arange(3, dtype=dtype), np.ones(3, dtype)
    add_three_times[values.dtype](values, added)
    assert values.tolist() == [3.0, 4.0, 5.0]
    add_by_address[values.dtype](doubled.address(values.dtype, _add_at), values, added)
    assert values.tolist() == [4.0, 5.0, 6.0]


def test_an_address_is_for_calls_of_the_same_parameters() -> None:
    from kmeans_xp.kernels.for_numba.seeding import first_least
    from kmeans_xp.kernels.for_numba.tiling import sum_lanes

    dtype = np.dtype(np.float32)
    for function, call in (
        (zeros, _add_at),
        (add_three_times, call_at(NUMBERS, RESULTS)),
        (add_three_times, add),
        (first_least, call_at(*first_least.parameters)),  # it returns a number
    ):
        with pytest.raises(TypeError, match="differ from those of this call"):
            function.address(dtype, call)
    assert not zeros.of_dtype.keys() & {dtype}  # nothing was compiled for it
    at = call_at(*sum_lanes.parameters)
    assert sum_lanes.address(dtype, at) == sum_lanes.address(np.dtype(np.float64), at)


added_later = compiled(RESULTS, NUMBERS)(lambda values, added: add(values, added))
_found = added_later.found_if_made()


@compiled(RESULTS, NUMBERS)
def add_if_there(values, added):
    """Add by a function that is compiled later, if at all."""
    address = _found(values)
    if address != 0:
        _add_at(address, values, added)


def test_code_uses_a_function_that_is_compiled_later() -> None:
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    values = {dtype: np.zeros(2, dtype) for dtype in (single, double)}
    for expected in ([0.0, 0.0], [1.0, 0.0], [2.0, 1.0]):
        for dtype, sums in values.items():
            add_if_there[dtype](sums, np.ones(2, dtype))
        assert [sums[0] for sums in values.values()] == expected
        added_later[single if expected == [0.0, 0.0] else double]


def test_memory_that_runs_out_in_there_is_an_error_of_the_caller() -> None:
    values = np.ones(2)
    zeros[values.dtype](values, 2)
    assert values.tolist() == [0.0, 0.0]
    with pytest.raises(MemoryError):
        zeros[values.dtype](values, 2**57)


def test_what_could_not_be_found_when_code_is_loaded_is_not_compiled() -> None:
    @shared(RESULTS, NUMBERS)
    def local(values, added):
        values[0] = added[0]

    elsewhere: Any = ModuleType("elsewhere")
    elsewhere.copy_first = local

    @compiled(RESULTS, NUMBERS)
    def calling(values, added):
        elsewhere.copy_first(values, added)

    with pytest.raises(numba.TypingError, match="local is called neither by a global name nor"):
        calling[np.dtype(np.float64)]


def test_what_computes_in_no_dtype_of_its_own_is_compiled_once() -> None:
    from kmeans_xp.kernels.for_numba.tiling import sum_lanes

    assert sum_lanes[np.dtype(np.float32)] is sum_lanes[np.dtype(np.float64)]


class Fit(NamedTuple):
    """A fit by a new interpreter, and the code that is kept in a folder after it."""

    can_compile: str  #: whether it has imported what compiles
    n_of_runs: str  #: functions for whole runs that it has used
    result: list[str]
    kept: dict[str, int]  #: files, and when each was written

    @property
    def functions(self) -> set[str]:
        names = [name.split("-")[0].split(".")[-1] for name in self.kept if name.endswith(".nbc")]
        assert len(names) == len(set(names))  # each was compiled once
        return {name.rsplit("_", 1)[0] for name in names}


def fit_in(folder: Path, *arguments: str) -> Fit:
    command = [sys.executable, "-c", FIT, *arguments]
    # Threads that wait awake would compile how.
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    can_compile, n_of_runs, *result = done.stdout.split()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.nb[ci]")}
    return Fit(can_compile, n_of_runs, result, kept)


def test_a_first_fit_compiles_what_it_uses_once_and_keeps_it(tmp_path: Path) -> None:
    first = fit_in(tmp_path, "float32")
    assert first.functions == USED
    # The second loads it, without what compiles.
    second = fit_in(tmp_path, "float32")
    assert (first.can_compile, second.can_compile) == ("True", "False")
    assert first[1:] == second[1:]
    by_columns = fit_in(tmp_path, "float32", "by columns")
    assert by_columns.functions == USED  # few such rows are copied
    often = fit_in(tmp_path, "float32", "often")
    assert often.functions == by_columns.functions | USED_LATER | USED_OFTEN
    # What is kept is used from the first fit on.
    after = fit_in(tmp_path, "float32")
    assert (first.n_of_runs, often.n_of_runs, after.n_of_runs) == ("0", "1", "1")
    assert after.can_compile == "False"
    assert after.result == often.result == first.result


def test_what_only_saves_time_is_compiled_after_many_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_numba import compiled as settings

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(settings, "USES_BEFORE_COMPILING", 3)
    single, double = np.dtype(np.float32), np.dtype(np.float64)

    def declared() -> Compiled:
        @compiled(RESULTS)
        def clear(values):
            values[:] = 0.0

        return clear

    asked = declared()
    assert [asked.pays(single) for _ in range(5)] == [False, False, False, True, True]
    assert [asked.pays(double, 2) for _ in range(2)] == [False, True]
    assert declared().pays(single, 4)
    assert not asked.of_dtype
    asked[single]
    in_next_process = declared()
    assert in_next_process.pays(single)
    assert in_next_process.pays(single)  # before it is loaded
    assert not in_next_process.pays(double)


def test_loops_of_few_turns_are_interpreted_until_they_were_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_numba import compiled as settings

    @compiled(NUMBERS, RESULTS)
    def invert(values, inverses):
        for number in range(len(values)):
            inverses[number] = values.dtype.type(1) / values[number]

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(settings, "USES_BEFORE_COMPILING", 3)
    values = np.array([0.0, 3.0], np.float32)
    for n_made in (0, 0, 0, 1):
        inverses = np.empty_like(values)
        invert.for_turns(len(values), values.dtype)(values, inverses)  # does not warn of infinity
        assert len(invert.of_dtype) == n_made
        assert inverses.tolist() == [np.inf, np.float32(1) / np.float32(3)]
    assert np.dtype(np.float64) not in invert.of_dtype
    invert.for_turns(2**20, np.dtype(np.float64))  # as many as would take longer
    assert np.dtype(np.float64) in invert.of_dtype


KERNEL = """
import numpy as np
from kmeans_xp.kernels.for_numba.compiled import RESULTS, compiled

@compiled(RESULTS)
def fill(values):
    for number in range(len(values)):
        values[number] = {}

values = np.zeros(2)
fill[values.dtype](values)
print(values[0])
"""


def test_code_is_kept_for_a_source_and_for_settings_of_numba(tmp_path: Path) -> None:
    file, folder = tmp_path / "kernel.py", tmp_path / "kept"
    for number, constant, is_checked in ((1, 2.0, "0"), (2, 3.0, "0"), (3, 3.0, "1")):
        file.write_text(KERNEL.format(constant))
        settings = {"NUMBA_CACHE_DIR": str(folder), "NUMBA_BOUNDSCHECK": is_checked}
        command, environment = [sys.executable, str(file)], os.environ | settings
        printed = subprocess.run(command, env=environment, check=True, capture_output=True)
        assert float(printed.stdout) == constant
        assert len(list(folder.rglob("*.nbc"))) == number
