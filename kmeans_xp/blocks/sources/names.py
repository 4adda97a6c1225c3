"""Choose the columns of a table by their names."""

from collections.abc import Callable, Sequence

__all__ = ["chosen_names"]


def chosen_names(
    all_names: Sequence[str],
    numeric: Sequence[str],
    columns: Sequence[str] | None,
    weight: str | None,
    name: str,
    kind_of: Callable[[str], str],
) -> list[str]:
    """Return the columns of points: the chosen ones, or all columns of numbers except the weight.

    Parameters
    ----------
    all_names, numeric : sequence of str
        All columns, and those of numbers, without those of true and false.
    columns : sequence of str, or None
        The chosen columns.
    weight : str, or None
        Column of weights.
    name : str
        Name of the source.
    kind_of : callable
        Describes the content of a column that cannot be used; "" for one that can.

    Returns
    -------
    list of str
        At least one, all of them usable.

    Raises
    ------
    ValueError
        If a column is missing, or holds no numbers, or its name is not unique.
    """
    if isinstance(columns, str):
        columns = [columns]
    twice = sorted({each for each in all_names if list(all_names).count(each) > 1})
    if twice:
        raise ValueError(f"{name} has several columns named {_listed(twice)}.")
    asked = [*(columns or []), *([] if weight is None else [weight])]
    missing = [each for each in asked if each not in all_names]
    if missing:
        raise ValueError(
            f"{name} has no column {_listed(missing)}. "
            f"Its columns: {', '.join(map(str, all_names))}."
        )
    for each in asked:
        if kind_of(each):
            raise ValueError(f"Column {each!r} of {name} holds {kind_of(each)}, not numbers.")
    chosen = list(columns) if columns is not None else [c for c in numeric if c != weight]
    if not chosen:
        found = ", ".join(f"{each} ({kind_of(each) or 'numbers'})" for each in all_names)
        raise ValueError(f"{name} has no column of numbers to cluster. Its columns: {found}.")
    return chosen


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
