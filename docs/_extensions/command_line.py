"""The directive ``commands``: every command and option, as the command line itself knows them."""

from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from kmeans_xp.cli.app import app as command_line


class Commands(SphinxDirective):
    """Write a section for each command."""

    def run(self) -> list[nodes.Node]:
        """Return the sections that the text below makes."""
        lines = list(_all_commands(typer.main.get_command(command_line)))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _all_commands(group: Any) -> Iterator[str]:
    for name, command in group.commands.items():
        yield from _one_command(name, command)


def _one_command(name: str, command: Any) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context)).translate({ord(c): "" for c in "{}"})
    yield from (f"## {name}", "", "```sh", f"kmeans-xp {name} {usage}", "```", "")
    yield from (command.help.strip(), "", command.epilog, "")
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [_row(*record) for record in records if record and record[0].startswith("-")]
    if rows:
        yield from ("| option | |", "|---|---|", *rows, "")


def _row(names: str, told: str) -> str:
    names, told = (" ".join(text.split()).replace("|", "\\|") for text in (names, told))
    return f"| `{names}` | {told} |"


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
