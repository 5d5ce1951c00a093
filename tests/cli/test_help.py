"""Every command and every option of the command line says what it is for."""

from collections.abc import Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

from aura.cli import app
from aura.cli import commands as commands_module


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


def test_commands_stand_in_groups_with_their_whole_summaries():
    told = CliRunner().invoke(app.app, ["-h"]).stdout
    assert [title for title in commands_module.GROUPS if f"\n{title}:\n" not in told] == []
    told = " ".join((told + CliRunner().invoke(app.app, ["source", "--help"]).stdout).split())
    assert "\u2026" not in told
    assert "..." not in told.replace("[ARGS]...", "")
    assert "Add a folder, what lies behind a URL, or a Hugging Face dataset, to the corpus." in told


def test_a_shell_completes_names_of_commands():
    asked = {"_AURA_COMPLETE": "complete_bash", "COMP_WORDS": "aura en", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app.app, [], env=asked, prog_name="aura")
    assert done.stdout.split() == ["encode"]
