"""The page of commands, written from the command line itself."""

from collections.abc import Iterator

import click

from api.cli import main

INTRODUCTION = """\
# The command line

Settings come from the environment (see [operations](operations.md)). Answers go to stdout, logs, progress and
complaints to stderr. Exit codes: 0 done, 1 the answer is no (an audit that found something, a schema of another
version), 2 refused, and then nothing was done. On SQLite a command that writes refuses while another process holds
the file.

This page is generated from the commands: `make docs` writes it.
"""


def commands_page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_told(main, "purser")]).rstrip() + "\n"


def _told(group: click.Group, path: str) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _told(command, f"{path} {name}")
            continue
        words = [parameter.make_metavar(_context(command)) for parameter in _arguments(command)]
        yield f"## `{' '.join([path, name, *words])}`\n"
        yield " ".join((command.help or "").split()) + "\n"
        options = list(_options(command))
        if options:
            yield "| option | does |"
            yield "|---|---|"
            yield from options
            yield ""


def _context(command: click.Command) -> click.Context:
    return click.Context(command)


def _arguments(command: click.Command) -> list[click.Argument]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Argument)]


def _options(command: click.Command) -> Iterator[str]:
    for option in command.params:
        if not isinstance(option, click.Option):
            continue
        named = " ".join([*option.opts, *([] if option.is_flag else [option.make_metavar(_context(command))])])
        parts = [option.help or "", f"Default: `{option.default}`." if option.show_default else ""]
        needed = "Required." if option.required else ""
        told = " ".join(part for part in (*parts, needed) if part).replace("|", "\\|")
        yield f"| {_code(named)} | {told} |"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")
