"""The order in which partial results merge depends only on their number."""

import math
import weakref
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Library
from kmeans_xp.kernels import ClusterTotals, added, merged_in_tree


class Part:
    """A partial result that can be seen to be held."""

    def __init__(self, text: str, depth: int = 0) -> None:
        self.text = text
        self.depth = depth


def paired(left: Part, right: Part) -> Part:
    return Part(f"({left.text}{right.text})", 1 + max(left.depth, right.depth))


def letters(n_parts: int) -> list[str]:
    return [chr(ord("a") + index) for index in range(n_parts)]


@pytest.mark.parametrize(
    ("n_parts", "expected"),
    [
        (1, "a"),
        (2, "(ab)"),
        (3, "((ab)c)"),
        (4, "((ab)(cd))"),
        (5, "(((ab)(cd))e)"),
        (6, "(((ab)(cd))(ef))"),
        (7, "(((ab)(cd))((ef)g))"),
        (8, "(((ab)(cd))((ef)(gh)))"),
    ],
)
def test_the_tree_is_known_for_each_number_of_parts(n_parts: int, expected: str) -> None:
    parts = (Part(letter) for letter in letters(n_parts))
    assert merged_in_tree(parts, paired).text == expected


@given(n_parts=st.integers(1, 300))
def test_the_tree_keeps_the_order_and_is_as_low_as_can_be(n_parts: int) -> None:
    merged = merged_in_tree((Part(f"{index} ") for index in range(n_parts)), paired)
    assert merged.text.replace("(", "").replace(")", "").split() == list(map(str, range(n_parts)))
    assert merged.depth == math.ceil(math.log2(n_parts))


@given(n_parts=st.integers(1, 300))
def test_a_logarithm_of_the_parts_is_held_at_a_time(n_parts: int) -> None:
    held: weakref.WeakSet[Part] = weakref.WeakSet()
    most = 0

    def watched(part: Part) -> Part:
        nonlocal most
        held.add(part)
        most = max(most, len(held))
        return part

    def parts() -> Iterator[Part]:
        for _ in range(n_parts):
            yield watched(Part(""))

    merged_in_tree(parts(), lambda left, right: watched(paired(left, right)))
    # Besides one for each binary digit: the newest part, and the two that it is merged of.
    assert most <= n_parts.bit_length() + 3


def test_many_equal_roundings_do_not_add_up() -> None:
    # One after the other, these sums stay at 2**24: each 1 is lost.
    ones = [np.float32(2**12)] * 2**12 + [np.float32(1.0)] * 2**12
    assert merged_in_tree(ones) == 2**24 + 2**12


def test_arrays_are_added(library: Library) -> None:
    parts = [library.asarray([1.0, float(index)], "float32") for index in range(5)]
    np.testing.assert_array_equal(library.to_host(merged_in_tree(parts)), [5.0, 10.0])


def test_named_tuples_are_added_field_by_field(library: Library) -> None:
    left, right = (
        ClusterTotals(library.asarray(sums, "float32"), library.asarray(mass, "float32"))
        for sums, mass in (([[1.0, 2.0]], [3.0]), ([[10.0, 20.0]], [30.0]))
    )
    total = added(left, right)
    assert isinstance(total, ClusterTotals)
    np.testing.assert_array_equal(library.to_host(total.sums), [[11.0, 22.0]])
    np.testing.assert_array_equal(library.to_host(total.mass), [33.0])


class Both(NamedTuple):
    totals: ClusterTotals
    n_points: int


def test_named_tuples_in_named_tuples_are_added_too(library: Library) -> None:
    parts = [
        Both(ClusterTotals(library.asarray([[x]], "float32"), library.asarray([1.0], "float32")), 2)
        for x in (1.0, 2.0, 4.0)
    ]
    total = merged_in_tree(parts)
    assert isinstance(total, Both)
    assert isinstance(total.totals, ClusterTotals)
    np.testing.assert_array_equal(library.to_host(total.totals.sums), [[7.0]])
    np.testing.assert_array_equal(library.to_host(total.totals.mass), [3.0])
    assert total.n_points == 6


def test_named_tuples_of_different_length_are_not_added() -> None:
    class Longer(NamedTuple):
        sums: int
        mass: int
        more: int

    with pytest.raises(ValueError, match=r"shorter|longer"):
        added(Longer(1, 2, 3), ClusterTotals(1, 2))
