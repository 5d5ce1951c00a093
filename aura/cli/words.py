"""Words of a command line that are taken as they were typed, without Pydantic.

Typer (0.29) has Pydantic look at each word, and at each option that was left out, though any text is right there. To
import Pydantic takes 0.1 s, a third of what `aura encode` takes. So only numbers, choices and the like go to it. The
place is Typer's own and may move: a Typer without it works as before, and tests/cli/test_startup.py then fails.
"""

from typing import Any

import typer.core


class _Lazily:
    """Gives a command what was typed for one parameter, and asks Typer where that is more than a word."""

    def __init__(self, descriptor: Any) -> None:  # noqa: ANN401 - a TypeDescriptor of Typer
        self._descriptor = descriptor
        self._read = descriptor.parameter_info.parser
        if self._read is None and descriptor.annotation in (str, list[str]):
            self._read = str
        self._others: Any = None

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ANN401 - as Typer has it
        """Return what the command gets for `value`: a word, several, a default, or None where there is none."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if self._read and not several:
            return self._read(value)
        if self._read and isinstance(value, list | tuple):
            return [self._read(word) for word in value]
        self._others = self._others or _build(self._descriptor)
        return self._others.coerce(value, param=param, ctx=ctx)


def take_as_typed() -> None:
    """Let Typer take words so, in this process."""
    if _build not in (None, _Lazily):
        vars(typer.core)["build_runtime_param"] = _Lazily


_build: Any = getattr(typer.core, "build_runtime_param", None)
