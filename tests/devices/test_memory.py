"""Sizes of memory as people read them."""

import pytest

from kmeans_xp.devices import readable_size


@pytest.mark.parametrize(
    ("n_bytes", "expected"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (3 * 2**20, "3.0 MiB"),
        (2**30 - 2**28, "768.0 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**41, "2,048.0 GiB"),
    ],
)
def test_a_size_has_the_largest_unit_that_it_fills(n_bytes: int, expected: str) -> None:
    assert readable_size(n_bytes) == expected


@pytest.mark.parametrize("power", range(42))
def test_no_size_reads_as_zero(power: int) -> None:
    assert not readable_size(2**power).startswith("0")
