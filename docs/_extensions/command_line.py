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
    yield from (f"## {name}", "", command.help.strip(), "")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("```sh", f"kmeans-xp {name} {usage}", "```", "")
    yield from ("| option | | |", "|---|---|---|")
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield _row(parameter, context)
    yield ""


def _row(option: Any, context: Any) -> str:
    names, _ = option.get_help_record(context)
    flags = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = names.rpartition(" ")[2] if not option.is_flag and " " in names else ""
    value = f"`{value}`".replace("|", "\\|") if value and not value.startswith("-") else ""
    default = option.default
    told = option.help or ""
    if default not in (None, False) and not option.required:
        told += f" Default: `{default}`."
    if option.required:
        told += " Required."
    return f"| {flags} | {value} | {told.strip()} |"


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
