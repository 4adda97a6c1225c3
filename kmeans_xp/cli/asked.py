"""What a command is asked to do with the columns and rows of a table."""

import csv
from enum import StrEnum
from typing import NamedTuple

from kmeans_xp.cli.text_format import TextFormat

__all__ = ["Asked", "Missing"]


class Missing(StrEnum):
    """What to do with rows that have no number in some column."""

    fail = "fail"
    drop = "drop"
    mean = "mean"
    median = "median"


class Asked(NamedTuple):
    """The options that say what of a table is clustered.

    Parameters
    ----------
    columns, exclude : str or None
        Names, separated by commas.
    missing : Missing
    scale : bool
    encode : bool
        Whether columns of text become columns of 0 and 1.
    text : TextFormat
        How a text file is written.
    """

    columns: str | None = None
    exclude: str | None = None
    missing: Missing = Missing.fail
    scale: bool = False
    encode: bool = False
    text: TextFormat = TextFormat()

    @property
    def names(self) -> list[str] | None:
        """Columns to cluster; None for all that hold numbers."""
        return None if self.columns is None else names_of(self.columns)

    @property
    def excluded(self) -> list[str]:
        """Columns that are not clustered."""
        return [] if self.exclude is None else names_of(self.exclude)

    def words(self) -> list[str]:
        """Return what a command line says of all this."""
        words = [] if self.columns is None else ["--columns", self.columns]
        words += [] if self.exclude is None else ["--exclude", self.exclude]
        words += [] if self.missing is Missing.fail else ["--missing", self.missing.value]
        words += self.text.words()
        words += ["--encode"] if self.encode else []
        return words + (["--scale"] if self.scale else [])


def names_of(text: str) -> list[str]:
    """Return names that commas separate, each once; quotes hold a name that has a comma."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return list(dict.fromkeys(name.strip() for name in names))
