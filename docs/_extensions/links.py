"""Links that lead, on the pages as they lie in the repository, out of this folder."""

import re

from sphinx.application import Sphinx

_EXAMPLE = re.compile(r"\]\(\.\./examples/(plot_\w+)\.py\)")

#: what stands on a page, and what it is in the built pages
_INSIDE = {
    "](../CONTRIBUTING.md)": "](contributing.md)",
    "](../CHANGELOG.md)": "](changelog.md)",
    "](../examples)": "](gallery/index)",
}


def _turn_inside(app: Sphinx, name: str, source: list[str]) -> None:
    for outside, inside in _INSIDE.items():
        source[0] = source[0].replace(outside, inside)
    source[0] = _EXAMPLE.sub(r"](gallery/\1)", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Look at every page before it is read."""
    app.connect("source-read", _turn_inside)
    return {"parallel_read_safe": True}
