"""HTML in which all text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["Html", "table", "tag", "void"]


class Html(str):
    """Text that is already markup."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: object) -> Html:
    """Return an element; text other than `Html` is escaped, and `class_` means `class`."""
    inside = "".join(part if isinstance(part, Html) else escape(part) for part in content)
    return Html(f"<{name}{_written(attributes)}>{inside}</{name}>")


def void(name: str, /, **attributes: object) -> Html:
    """Return an element without content."""
    return Html(f"<{name}{_written(attributes)}>")


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, class_: str
) -> Html:
    """Return a table that scrolls if it is wide; the first cell of each row is a heading."""
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    body = (
        tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in others))
        for first, *others in rows
    )
    parts = tag("caption", caption), tag("thead", head), tag("tbody", *body)
    whole = tag("table", *parts, class_=class_)
    return tag("div", whole, class_="wide", role="region", aria_label=caption, tabindex="0")


def _written(attributes: dict[str, object]) -> str:
    return "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
    )
