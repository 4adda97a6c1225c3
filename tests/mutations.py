"""Damaged copies of a good file, like those from disks, networks and attackers."""

import os
import random
from pathlib import Path

__all__ = ["Mutations", "n_mutations", "write_anew"]


def n_mutations(usual: int) -> int:
    """Return how many mutations a test tries: ``KMEANS_XP_FUZZ`` times the usual number."""
    return usual * int(os.environ.get("KMEANS_XP_FUZZ", "1"))


def write_anew(path: Path, raw: bytes) -> None:
    """Write a file after the one of that name is gone.

    A file system such as ext4 flushes a file that is cut to nothing and written again, which takes
    a hundred times as long.
    """
    path.unlink(missing_ok=True)
    path.write_bytes(raw)


class Mutations:
    """Mutations of bytes, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def of_bits(self, raw: bytes) -> bytes:
        changed = bytearray(raw)
        for _ in range(self.random.choice([1, 1, 4])):
            changed[self.random.randrange(len(changed))] ^= 1 << self.random.randrange(8)
        return bytes(changed)

    def of_length(self, raw: bytes) -> bytes:
        return raw[: self.random.randrange(len(raw))]

    def of_pieces(self, raw: bytes) -> bytes:
        """Have a piece twice, or at another place, or not at all."""
        start, stop = sorted(self.random.randrange(len(raw)) for _ in range(2))
        at = self.random.randrange(len(raw))
        without = self.random.choice([raw, raw[:start] + raw[stop:]])
        return without[:at] + raw[start:stop] * self.random.choice([0, 1, 1, 3]) + without[at:]

    def of_words(self, raw: bytes) -> bytes:
        """Put a number where one may be: of rows, bytes, pixels."""
        size = self.random.choice([1, 2, 4, 8])
        number = self.random.choice([0, 1, 2**7, 2**31 - 1, 2**31, 2**63, 2**64 - 1])
        word = (number % 2 ** (8 * size)).to_bytes(size, self.random.choice(["little", "big"]))
        at = self.random.randrange(len(raw))
        return raw[:at] + word + raw[at + size :]

    def one_of(self, raw: bytes) -> bytes:
        """Return one mutation of any kind."""
        ways = (self.of_bits, self.of_length, self.of_pieces, self.of_words)
        return self.random.choice(ways)(raw)
