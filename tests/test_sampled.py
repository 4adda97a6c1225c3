"""The mark ``sampled`` leaves out as many cases as it says, and never all of a test."""

from types import SimpleNamespace
from typing import Any

import pytest

import conftest


class Case:
    """A case of a test, as pytest collects it."""

    def __init__(self, number: int, library: str | None, numbers: dict[str, int] | None) -> None:
        name = library or "none"
        self.nodeid = f"tests/test_all.py::test_{name}[{name}-{number}]"
        self.mark = None
        if numbers is not None:
            others = {key: n for key, n in numbers.items() if key != "n"}
            self.mark = pytest.mark.sampled(numbers["n"], **others).mark
        if library is not None:
            its = SimpleNamespace(name=library, variant=library)
            self.callspec = SimpleNamespace(params={"library": its})

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        assert name == "sampled"
        return self.mark


def n_run(n_cases: int, library: str | None, numbers: dict[str, int] | None) -> int:
    cases: list[Any] = [Case(number, library, numbers) for number in range(n_cases)]
    left_out = conftest._not_sampled(cases)
    assert left_out < set(cases)
    return n_cases - len(left_out)


@pytest.mark.parametrize(
    ("name", "numbers", "expected"),
    [
        ("torch", {"n": 3}, 4),
        ("torch", {"n": 30}, 1),
        ("torch", {"n": 1, "cupy": 5}, 10),
        ("cupy", {"n": 1, "cupy": 5}, 2),
        ("numpy", {"n": 3}, 10),
        ("numpy", {"n": 3, "numpy": 2}, 5),
        (None, {"n": 1, "numpy": 2}, 5),
        (None, None, 10),
    ],
)
def test_one_case_of_n_is_run(
    name: str | None,
    numbers: dict[str, int] | None,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KMEANS_XP_FUZZ", raising=False)
    assert n_run(10, name, numbers) == expected
    monkeypatch.setenv("KMEANS_XP_FUZZ", "1")
    assert n_run(10, name, numbers) == 10
