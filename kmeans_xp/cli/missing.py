"""Drop rows with missing values, or fill the values in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from kmeans_xp.cli.asked import Missing
from kmeans_xp.cli.columns import check_all
from kmeans_xp.cli.listing import listed

__all__ = ["Fill", "Whole", "filled", "made_whole"]

Matrix = np.ndarray[Any, Any]

ROWS_A_STEP = 65_536

_ADVICE = (
    "Fill in or delete these rows, choose other columns with --columns or --exclude, or use "
    "--missing drop, mean or median"
)


class Fill(NamedTuple):
    """The replacement for missing values of each column.

    Parameters
    ----------
    values : array of shape (n_columns,)
    """

    values: Matrix

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Matrix]) -> Self | None:
        """Rebuild it from `to_arrays`; None if the arrays are missing."""
        return cls(arrays["input_fill"]) if "input_fill" in arrays else None

    def to_arrays(self) -> dict[str, Matrix]:
        """Return the arrays that a model file keeps."""
        return {"input_fill": self.values}

    def apply(self, values: Matrix) -> Matrix:
        """Return the rows with missing values filled in."""
        return np.where(np.isnan(values), self.values.astype(values.dtype), values)


class Whole(NamedTuple):
    """Rows without missing values.

    Parameters
    ----------
    values : array of shape (n_rows, n_columns)
    is_kept : array of bool, or None
        Whether each row of the table is kept; None if all are.
    fill : Fill or None
        The replacement for missing values.
    note : str or None
        A note for the user.
    """

    values: Matrix
    is_kept: Matrix | None = None
    fill: Fill | None = None
    note: str | None = None


def made_whole(
    values: Matrix, names: list[str], file: Path, how: Missing, advice: str = _ADVICE
) -> Whole:
    """Return the rows without missing values, or raise if that is not allowed."""
    if how in (Missing.fail, Missing.drop) and not _has_gaps(values):
        return Whole(values)
    if how is Missing.fail:
        check_all(~np.isnan(values), "missing values", names, file, advice)
    if how is Missing.drop:
        return _dropped(values, names, file)
    if empty := [name for name, column in zip(names, values.T, strict=True) if _is_empty(column)]:
        raise ValueError(f"{file} has no values in these columns: {listed(empty)}.")
    measure = np.nanmean if how is Missing.mean else np.nanmedian
    fill = Fill(np.asarray(measure(values.astype(np.float64, copy=False), axis=0)))
    return filled(values, names, fill, f"the {how.value} of their column")


def filled(values: Matrix, names: list[str], fill: Fill, by: str) -> Whole:
    """Return all rows, with missing values filled in."""
    where = _where(values, names)
    n_rows = int(np.isnan(values).any(axis=1).sum())
    told = f"missing values of {n_rows:,} rows are replaced by {by}: in {where}"
    return Whole(fill.apply(values), None, fill, told if n_rows else None)


def _dropped(values: Matrix, names: list[str], file: Path) -> Whole:
    is_kept = np.asarray(~np.isnan(values).any(axis=1))
    n_rows = len(values) - int(is_kept.sum())
    where = _where(values, names)
    if n_rows == len(values):
        raise ValueError(f"Every row of {file} has missing values, in {where}: no row is left.")
    told = f"{n_rows:,} of {len(values):,} rows have missing values and are left out: in {where}"
    return Whole(values[is_kept], is_kept, None, told)


def _has_gaps(values: Matrix) -> bool:
    """Return whether values are missing; needs little memory."""
    starts = range(0, len(values), ROWS_A_STEP)
    return any(np.isnan(values[start : start + ROWS_A_STEP]).any() for start in starts)


def _where(values: Matrix, names: list[str]) -> str:
    counts = zip(names, np.isnan(values).sum(axis=0), strict=True)
    return listed(f"{name} ({count:,})" for name, count in counts if count)


def _is_empty(column: Matrix) -> bool:
    return bool(np.isnan(column).all())
