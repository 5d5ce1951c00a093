"""Every command and every option of the command line says what it is for."""

from collections.abc import Iterator

import click
import pytest
import typer

from aura.cli import app


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """A command with all below it, each with its whole name."""
    yield name, command
    for below, other in getattr(command, "commands", {}).items():
        yield from commands(other, f"{name} {below}")


ALL = dict(commands(typer.main.get_command(app.app), "aura"))


@pytest.mark.parametrize("name", ALL)
def test_a_command_and_its_options_have_help(name: str):
    assert ALL[name].help
    assert [option.name for option in ALL[name].params if not getattr(option, "help", None)] == []


def test_the_commands_are_found():
    assert {"aura source add", "aura tpu launch", "aura push"} <= ALL.keys()
