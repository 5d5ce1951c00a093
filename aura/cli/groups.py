"""A command with subcommands, whose help lists each with its whole summary."""

from typing import Any

from typer.core import TyperGroup

_WHOLE = 1000  # characters; no summary is as long, and Typer cuts the others to the width of the terminal


class Commands(TyperGroup):
    """The class of every group below `aura`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - Typer does not export their classes
        """Write the names and summaries."""
        there = {name: command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name))}
        rows = [(name, command.get_short_help_str(_WHOLE)) for name, command in there.items() if not command.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
