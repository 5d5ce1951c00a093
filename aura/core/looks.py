"""The two looks at a stage's inputs: `Look` takes them in this process, `Beside` in one beside the stage.

A look at 30,000 files takes 0.1 s. The first one is taken while the stage imports its libraries, and the second one may
begin once every input is read (`all_read`), while the stage still writes. So a second core hides most of both. The
process is forked before anything else is imported, holds the stamps in place of the stage, and ends with it.
"""

import json
import os
import signal
import traceback
from typing import Any, NoReturn

from aura.core.pipeline_file import name_of
from aura.core.stage_inputs import Inputs

_QUESTION = "{}\n"  # take the second look now; a line with the texts that were read asks for its result


class Look:
    """The two looks at the inputs of `aura/stages/STAGE.py` with its arguments, taken in this process.

    Without a dvc.yaml in the working directory, nothing is compared and nothing is recorded.
    """

    def __init__(self, stage: str, arguments: list[str]) -> None:
        self._name = name_of(stage, arguments) if os.path.exists("dvc.yaml") else None  # noqa: PTH110 - as in `stage_inputs`
        self._inputs = Inputs(self._name) if self._name else None
        self._account: dict[str, Any] | None = None

    def begun(self) -> str | None:
        """Return the stage's name in dvc.yaml."""
        return self._name

    def all_read(self) -> None:
        """Take the second look: no input is read any more."""
        if self._inputs is not None:
            self._account = self._inputs.account() if self._inputs.leaves_account else None
            self._inputs.look_again()

    def account(self, texts: list[str]) -> dict[str, Any] | None:
        """Return what the stage read, None if dvc.yaml lists no account; raises `UserError` if an input changed.

        `texts` are those of params.yaml that the stage read.
        """
        if self._inputs is None:
            return None
        if self._account is None:
            self.all_read()
        self._inputs.require_unchanged(texts)
        return self._account


class Beside:
    """A `Look` that another process takes, with the same methods."""

    def __init__(self, stage: str, arguments: list[str]) -> None:
        asked, asks = os.pipe()
        tells, told = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is told by the stage alone
        try:
            self._process = os.fork()
            if not self._process:
                os.close(asks)
                os.close(tells)
                _serve(stage, arguments, asked, told)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(asked)
        os.close(told)
        self._asks, self._tells = asks, os.fdopen(tells, encoding="utf-8")

    def begun(self) -> str | None:
        """Wait for the first look; returns the stage's name in dvc.yaml."""
        name: str | None = self._answer()
        return name

    def all_read(self) -> None:
        """Begin the second look."""
        self._ask(_QUESTION)

    def account(self, texts: list[str]) -> dict[str, Any] | None:
        """Return the account of the inputs; raises `UserError` if they changed."""
        self._ask(json.dumps({"texts": texts}) + "\n")
        account: dict[str, Any] | None = self._answer()
        self._end()
        return account

    def _ask(self, question: str) -> None:
        left = question.encode()
        try:
            while left:
                left = left[os.write(self._asks, left) :]
        except BrokenPipeError:
            pass  # the answer says why

    def _end(self) -> None:
        """Close the pipes, so that the process ends, and wait for that."""
        os.close(self._asks)
        self._tells.close()
        os.waitpid(self._process, 0)

    def _answer(self) -> Any:  # noqa: ANN401 - what `_serve` gives
        from aura.core.errors import UserError

        line = self._tells.readline()
        kind, value = json.loads(line) if line else ("end", None)
        if kind not in ("name", "account"):
            self._end()
        if kind == "end":
            raise UserError(
                "the process that watches this stage's inputs ended early: something killed it, or memory ran out "
                "(dmesg). Run the same command again."
            )
        if kind == "mistake":
            raise UserError(value)
        if kind == "fault":
            raise RuntimeError(value)
        return value


def _serve(stage: str, arguments: list[str], asked: int, told: int) -> NoReturn:
    """Take the looks that are asked for, then end this process; it prints nothing and obeys no Ctrl-C."""
    from aura.core import endings
    from aura.core.errors import UserError

    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # whoever reads what the stage prints need not wait for this process
            os.dup2(nothing, stream)
        with os.fdopen(asked, encoding="utf-8") as questions, os.fdopen(told, "w", encoding="utf-8") as answers:
            try:
                look = Look(stage, arguments)
                print(json.dumps(["name", look.begun()]), file=answers, flush=True)
                for question in questions:
                    if question == _QUESTION:
                        look.all_read()
                        continue
                    print(json.dumps(["account", look.account(json.loads(question)["texts"])]), file=answers)
                    break
            except UserError as error:
                print(json.dumps(["mistake", str(error)]), file=answers)
            except BaseException as error:  # noqa: BLE001 - the stage raises it
                words = endings.worded(error)  # a fault of the machine is no bug
                answer = ["mistake", words] if words else ["fault", traceback.format_exc()]
                print(json.dumps(answer), file=answers)
        status = 0
    finally:
        os._exit(status)
