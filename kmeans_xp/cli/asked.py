"""The options that choose columns and rows of a table, and their treatment."""

import csv
from enum import StrEnum
from typing import NamedTuple

from kmeans_xp.cli.text_format import TextFormat

__all__ = ["Asked", "Missing"]


class Missing(StrEnum):
    """What to do with rows that have missing values."""

    fail = "fail"
    drop = "drop"
    mean = "mean"
    median = "median"


class Asked(NamedTuple):
    """The options that say which part of a table to cluster, and how.

    Parameters
    ----------
    columns, exclude : str or None
        Names, separated by commas.
    missing : Missing
    scale : bool
    encode : bool
        Whether to turn columns of text into columns of 0 and 1.
    text : TextFormat
        Format of a text file.
    """

    columns: str | None = None
    exclude: str | None = None
    missing: Missing = Missing.fail
    scale: bool = False
    encode: bool = False
    text: TextFormat = TextFormat()

    @property
    def names(self) -> list[str] | None:
        """Columns to cluster; None for all columns of numbers."""
        return None if self.columns is None else names_of(self.columns)

    @property
    def excluded(self) -> list[str]:
        """Columns not to cluster."""
        return [] if self.exclude is None else names_of(self.exclude)

    def words(self) -> list[str]:
        """Return these options as words of a command line."""
        words = [] if self.columns is None else ["--columns", self.columns]
        words += [] if self.exclude is None else ["--exclude", self.exclude]
        words += [] if self.missing is Missing.fail else ["--missing", self.missing.value]
        words += self.text.words()
        words += ["--encode"] if self.encode else []
        return words + (["--scale"] if self.scale else [])


def names_of(text: str) -> list[str]:
    """Split names at commas, without repeats; a name with a comma needs quotes."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return list(dict.fromkeys(name.strip() for name in names))
