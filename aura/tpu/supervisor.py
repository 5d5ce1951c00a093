"""One run in several processes of this machine, all started again when one is lost.

    python -m aura.tpu.supervisor --processes 4 -- python -m aura.stages.pretrain

JAX cannot replace a process of a running program, and ends the others when one is lost; so they are started again
together, and the run goes on from its last checkpoint. A process that ends by itself with an error has met a
mistake that another start would meet too: then the supervisor ends as well. On a pod the launcher does this.

SIGTERM is passed on: the processes agree on a step, save it and end, and so does the supervisor.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Annotated

import typer

from aura.core import console
from aura.core.errors import UserError
from aura.tpu.worker import PR_SET_PDEATHSIG

POLL = 0.02  # seconds between two looks at the processes
TERMINATED = 128 + signal.SIGTERM  # the status of a process that was told to end and has saved
GRACE = 28.0  # seconds for all to save and end after SIGTERM; of the 30 that a preemption gives

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    command: Annotated[list[str], typer.Argument(help="The command of each process, after --.")],
    processes: Annotated[int, typer.Option(help="Number of processes.", min=1)],
    restarts: Annotated[int, typer.Option(help="Starts after the first one, before it gives up.", min=0)] = 20,
) -> None:
    """Run a command in several processes that form one run; start all again when one is lost."""
    supervise(command, processes, restarts)


def supervise(command: list[str], processes: int, restarts: int) -> None:
    """Return once every process has ended well.

    Raises:
        UserError: a process ended with an error of its own, or processes were lost more than `restarts` times.
    """
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        for attempt in range(restarts + 1):
            lost = _run_once(command, processes, told)
            if lost is None:
                return
            if told.is_set():
                console.err.print(f"ended by SIGTERM: {lost}. Run the same command again to go on.", markup=False)
                sys.exit(TERMINATED)
            console.err.print(f"{lost}; all are started again ({attempt + 1} of {restarts})", markup=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    raise UserError(f"processes were lost {restarts + 1} times; the last time, {lost}. See the messages above.")


def _run_once(command: list[str], processes: int, told: threading.Event) -> str | None:
    """None if all ended well; otherwise which one was lost, and how. `told` is set by SIGTERM, which is passed on."""
    place = f"127.0.0.1:{_free_port()}"
    environment = os.environ | {"AURA_COORDINATOR": place, "AURA_PROCESSES": str(processes)}
    running = [
        subprocess.Popen(
            command, env=environment | {"AURA_PROCESS": str(number)}, preexec_fn=end_with_parent(os.getpid())
        )
        for number in range(processes)
    ]
    try:
        number, status = _first_failure(running, told)
    finally:
        for process in running:
            process.kill()  # also wakes one that was stopped
            process.wait()
    if status == 0:
        return None
    if status == TERMINATED:
        return f"process {number} of {processes} was ended by SIGTERM, after it saved"
    if status > 0:
        raise UserError(f"process {number} of {processes} ended with status {status}. Fix what it says above.")
    return f"process {number} of {processes} was ended by {signal.Signals(-status).name}"


def _first_failure(running: list["subprocess.Popen[bytes]"], told: threading.Event) -> tuple[int, int]:
    """(number, status) of the first process to fail, or (0, 0) when all have ended well.

    Processes that end because of SIGTERM save together, so the others are waited for, GRACE seconds at most.
    """
    deadline: float | None = None
    while True:
        statuses = [process.poll() for process in running]
        failed = [(number, status) for number, status in enumerate(statuses) if status]
        if deadline is None and (told.is_set() or any(status == TERMINATED for _, status in failed)):
            deadline = time.monotonic() + GRACE
            for process in running if told.is_set() else []:
                process.terminate()
        if failed and (deadline is None or None not in statuses):
            return min(failed, key=lambda entry: entry[1] == -signal.SIGABRT)  # others abort because of it
        if all(status == 0 for status in statuses):
            return 0, 0
        if deadline is not None and time.monotonic() > deadline:
            return failed[0] if failed else (statuses.index(None), -signal.SIGTERM)
        time.sleep(POLL)


def end_with_parent(parent: int) -> Callable[[], None]:
    """Return what a child must run first, so that Linux kills it when `parent` ends, however that ends."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if library:
            library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it died before

    return prepare


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    console.run(lambda: app(prog_name="python -m aura.tpu.supervisor"))
