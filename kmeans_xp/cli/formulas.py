"""Cells of text that spreadsheet programs would run as formulas."""

import re
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from kmeans_xp.cli.console import note

__all__ = ["Formulas"]

_STARTS = "=+-@\t\r"
_BEGINNING = r"^[=+\-@\t\r]"
_NUMBER = r"^[+-][\d.,' \x{a0}\x{202f}]*([eE][+-]?\d+)?%?$"
_IS_NUMBER = re.compile(_NUMBER.replace(r"\x{a0}\x{202f}", "\xa0\u202f"))


class Formulas:
    """Counts such cells in written files."""

    def __init__(self) -> None:
        self.n_cells = 0
        self.first = ""

    def add(self, cells: Iterable[str]) -> None:
        """Count them among some cells."""
        for cell in cells:
            if cell and cell[0] in _STARTS and not _IS_NUMBER.match(cell):
                self.n_cells += 1
                self.first = self.first or cell

    def add_table(self, table: pa.Table | pa.RecordBatch) -> None:
        """Count them in the text columns of a table."""
        for column in table.columns:
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                begins = pc.match_substring_regex(column, _BEGINNING)
                is_number = pc.match_substring_regex(column, _NUMBER)
                self.add(column.filter(pc.and_not(begins, is_number)).drop_null().to_pylist())

    def tell(self) -> None:
        """Print a note if there are any."""
        if self.n_cells:
            cells = "1 cell begins" if self.n_cells == 1 else f"{self.n_cells:,} cells begin"
            note(
                f"{cells} with =, +, - or @, such as {self.first[:40]!r}: a spreadsheet program "
                "would run them as formulas, so import these columns as text"
            )
