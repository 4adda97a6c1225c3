"""The format of a text file: its delimiter, its number format and its encoding."""

import codecs
import csv
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from kmeans_xp.cli.paths import DELIMITERS, format_of, opened_bytes, opened_text

__all__ = ["TextFormat", "delimiter_named", "pattern_of", "perhaps_a_number"]

#: number of rows to detect the format from
_ROWS_SEEN = 200
#: name of the array in a model file
_ARRAY = "file_text_format"
_BYTES_SEEN = 2**16
_DELIMITERS = ",;\t|"
_NAMED = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: thousands separators, beside "." and ","
_SPACES = (" ", "\u00a0", "\u202f", "'", "\u2019")
_STYLES = [
    (decimal, thousands)
    for decimal, other in ((".", ","), (",", "."))
    for thousands in (None, other, *_SPACES)
]
_PERHAPS = re.compile(r"[+-]?\d{1,3}(?:[.,]\d{3})+(?:[.,]\d+)?|[+-]?\d+,\d+")


class TextFormat(NamedTuple):
    """The format of a text file; None means to detect a part of it.

    Parameters
    ----------
    delimiter : str or None
        Character between cells.
    decimal : str or None
        Decimal separator of numbers.
    thousands : str or None
        Separator between groups of three digits; "" for no separator.
    encoding : str or None
    """

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None

    def words(self) -> list[str]:
        """Return these options as words of a command line."""
        given = zip(self._fields, self, strict=True)
        return [word for name, value in given if value for word in (f"--{name}", value)]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild it from `to_arrays`; if the array is missing, return a format to detect."""
        if _ARRAY not in arrays:
            return cls()
        parts = arrays[_ARRAY].tolist()
        are_strings = isinstance(parts, list) and all(isinstance(part, str) for part in parts)
        if not are_strings or len(parts) != len(cls._fields):
            raise ValueError(f"{_ARRAY} is not a delimiter, two separators and an encoding")
        delimiter, decimal, thousands, encoding = parts
        try:
            delimiter_named(delimiter)
            "".encode(encoding)
        except (LookupError, ValueError) as error:
            raise ValueError(f"{_ARRAY} holds an unknown format: {error}") from error
        if decimal not in (".", ",") or len(thousands) > 1 or thousands.isalnum():
            raise ValueError(f"{_ARRAY} holds unknown separators: {decimal!r}, {thousands!r}")
        return cls(delimiter, decimal, thousands, encoding)

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the arrays that a model file keeps; none if a part is not known."""
        return {} if None in self else {_ARRAY: np.array(self, dtype=object)}

    def of(self, path: Path, usual: "TextFormat | None" = None) -> "TextFormat":
        """Return the format of a file: detect each part that is None.

        Parameters
        ----------
        path : Path
        usual : TextFormat or None
            The format of an earlier file. This file has it too, unless its first rows show
            another one.
        """
        usual = usual or TextFormat()
        expected = DELIMITERS[format_of(path)]
        encoding = self.encoding or _encoding(path, usual.encoding)
        delimiter = self.delimiter or _delimiter(path, encoding, expected, usual.delimiter)
        decimal, thousands = self.decimal, self.thousands
        if decimal is None or thousands is None:
            rows = list(_first_rows(path, encoding, delimiter))[1:]
            seen = _style(rows, decimal, thousands)
            if usual.decimal is not None:
                kept = (
                    decimal or usual.decimal,
                    usual.thousands if thousands is None else thousands,
                )
                seen = kept if kept[0] != kept[1] and _fits(rows, kept) else seen
            decimal, thousands = decimal or seen[0], seen[1] if thousands is None else thousands
        return TextFormat(delimiter, decimal, thousands or "", encoding)

    def seen(self, path: Path) -> str | None:
        """Return how the format differs from that of the file's extension; None if it does not.

        Parameters
        ----------
        path : Path
            The file, whose complete format this is.
        """
        told = []
        if self.delimiter != DELIMITERS[format_of(path)]:
            told.append(f"{self.delimiter!r} between cells")
        if self.decimal != ".":
            told.append(f"{self.decimal!r} before decimals")
        if self.thousands:
            told.append(f"{self.thousands!r} between thousands")
        if self.encoding != "utf-8":
            told.append(f"encoding {self.encoding}")
        return f"{path.name} is read with {', '.join(told)}" if told else None


def delimiter_named(text: str) -> str:
    """Return the delimiter for a name such as "tab", or the character itself."""
    delimiter = _NAMED.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"must be one character, or tab or space, not {text!r}")
    return delimiter


def pattern_of(decimal: str, thousands: str | None) -> str:
    """Return a regular expression for numbers with these separators."""
    point, digits = re.escape(decimal), r"\d+"
    if thousands:  # the first group is not 0: "0,123" is a fraction
        digits = rf"(?:[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+|\d+)"
    return rf"\s*[+-]?(?:{digits}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?\s*"


def perhaps_a_number(cell: str) -> bool:
    """Return whether a cell is a number under some meaning of "," and "."."""
    return _PERHAPS.fullmatch(cell.strip()) is not None


def _encoding(path: Path, usual: str | None) -> str:
    with opened_bytes(path) as file:
        begin = file.read(_BYTES_SEEN)
    for mark, encoding in _MARKS:
        if begin.startswith(mark):
            return encoding
    # In UTF-16, every other byte of Latin letters and digits is zero.
    even, odd = begin[::2].count(0), begin[1::2].count(0)
    if max(even, odd) > 0.3 * len(begin):
        return "utf-16-le" if odd > even else "utf-16-be"
    if usual is None or "a".encode(usual) != b"a":  # UTF-16 and UTF-32 show themselves
        return "utf-8"
    try:
        # Other encodings of letters such as é are hardly ever valid UTF-8.
        is_ascii = codecs.getincrementaldecoder("utf-8")().decode(begin).isascii()
    except UnicodeDecodeError:
        return usual
    return usual if is_ascii else "utf-8"


def _first_rows(path: Path, encoding: str, delimiter: str) -> Iterator[list[str]]:
    with opened_text(path, encoding) as file:
        rows = filter(None, csv.reader(file, delimiter=delimiter))
        yield from itertools.islice(rows, _ROWS_SEEN)


def _delimiter(path: Path, encoding: str, expected: str, usual: str | None) -> str:
    """Return the only delimiter that splits all rows into equally many cells, or the expected one.

    The usual one comes before others.
    Raise ValueError if several do, and another one gives more numbers than the expected one:
    "1,5;2,5" is two numbers, or three cells with text in one.
    """
    found: dict[str, float] = {}
    for delimiter in dict.fromkeys([*(usual or ""), *_DELIMITERS]):
        try:
            rows = list(_first_rows(path, encoding, delimiter))
        except csv.Error:
            continue
        if len(widths := {len(row) for row in rows}) == 1 and widths != {1}:
            found[delimiter] = _share_of_numbers(rows)
    if usual in found or len(found) == 1:
        return next(iter(found))
    if doubtful := [each for each in found if found[each] > found.get(expected, 1.0)]:
        raise ValueError(
            f"{' and '.join(map(repr, [expected, *doubtful]))} each split all rows into equally "
            "many cells, but into different numbers: choose one with --delimiter"
        )
    return expected


def _share_of_numbers(rows: Sequence[Sequence[str]]) -> float:
    """Return the share of columns that are numbers in some number format."""
    patterns = {style: re.compile(pattern_of(*style)) for style in _STYLES}
    columns = _columns(rows[1:] or rows)
    return sum(bool(_possible(column, patterns)) for column in columns) / max(1, len(columns))


def _style(
    rows: Sequence[Sequence[str]], decimal: str | None, thousands: str | None
) -> tuple[str, str | None]:
    """Return the decimal and thousands separators, as far as the cells leave no doubt."""
    allowed = [
        style
        for style in _STYLES
        if decimal in (None, style[0]) and thousands in (None, style[1] or "")
    ]
    patterns = {style: re.compile(pattern_of(*style)) for style in allowed}
    possible = [found for column in _columns(rows) if (found := _possible(column, patterns))]
    certain = {found[0] for found in possible if len(found) == 1}
    decimals = {style[0] for style in certain}
    if len(decimals) > 1:
        return decimal or ".", thousands
    point = decimals.pop() if decimals else decimal or "."
    groups = {style[1] for style in certain if style[1]}
    for found in possible:
        # "1 234" is a number with either decimal separator.
        between = {style[1] for style in found}
        groups |= {mark for mark in _SPACES if between == {mark}}
    return point, groups.pop() if len(groups) == 1 else thousands


def _fits(rows: Sequence[Sequence[str]], style: tuple[str, str | None]) -> bool:
    """Return whether all columns that are numbers in some format are numbers in this one."""
    number = re.compile(pattern_of(*style))
    patterns = {each: re.compile(pattern_of(*each)) for each in _STYLES}
    return all(
        all(map(number.fullmatch, column)) or not _possible(column, patterns)
        for column in _columns(rows)
    )


def _columns(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the nonempty cells of each column."""
    columns = itertools.zip_longest(*rows, fillvalue="")
    return [cells for column in columns if (cells := [cell for cell in column if cell.strip()])]


def _possible(
    column: list[str], patterns: dict[tuple[str, str | None], re.Pattern[str]]
) -> list[tuple[str, str | None]]:
    """Return the number formats that fit all cells; without thousands separators not in use."""
    fit = [style for style, number in patterns.items() if all(map(number.fullmatch, column))]
    return [style for style in fit if style[1] is None or (style[0], None) not in fit]
