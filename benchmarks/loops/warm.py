"""Runs commands in forks of a process that has imported their modules, which saves a second for each.

    python warm.py MODULE...

Imports the modules, then reads orders from standard input, a JSON object a line: `module` (`dvc.cli` and `aura.cli.app`
have a `main`, any other is run as `python -m` runs it), `arguments`, `folder`, and `output`, a file for what is said.
Each order runs in a session of its own. Answers with a line `PID` when it has begun and `STATUS` when it has ended.
"""

import contextlib
import importlib
import json
import os
import runpy
import sys
import traceback


def run(order: dict[str, object]) -> int:
    """Run an order in this process; returns the exit status."""
    module, arguments = str(order["module"]), [str(word) for word in order["arguments"]]
    try:
        if module == "dvc.cli":
            return importlib.import_module(module).main(arguments)
        sys.argv = [module, *arguments]
        if module == "aura.cli.app":
            importlib.import_module(module).main()
            return 0
        sys.modules.pop(module, None)  # otherwise runpy warns
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001 - printed, as Python prints what ends it
        traceback.print_exc()
        return 1
    return 0


def forked(order: dict[str, object]) -> int:
    """Fork a process for an order; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        os.chdir(str(order["folder"]))
        file = os.open(str(order["output"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (file, 1), (file, 2)):
            os.dup2(source, target)
        status = run(order)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        import threading

        threading._shutdown()  # as Python does at its end: it waits for all threads but daemons, and ends idle pools
        os._exit(status)


def main() -> None:
    """Serve until standard input ends."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        pid = forked(json.loads(line))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
