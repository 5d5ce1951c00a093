"""Early ends of our own programs: one line for Ctrl-C, for a fault of the machine and for an output nobody reads.

`aura/__init__.py` calls `begin` before anything else is imported, so that this holds during imports, too, which take
seconds. It does nothing in a program of somebody else that imports aura. `aura.core.console.run` does the rest.
"""

import errno
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import IO, Any, NoReturn

INTERRUPTED = 128 + signal.SIGINT  # exit status, as a shell gives it
NOT_READ = 128 + signal.SIGPIPE  # that of every program whose output nobody reads
_INTERRUPTED = "interrupted. Run the same command again to go on."
_MEMORY = "the memory of this machine, or what this process may take of it, is used up. See: free -m; ulimit -a"
_MORE = "this machine gives no more threads, processes or memory ({}). See: ulimit -a"
_OPEN = "too many files are open{}. Allow more (ulimit -n 4096), then run the same command again."
# What libraries say where the system's loader, or a thread, gets no memory, and where no file can be opened.
_NO_MEMORY = (
    *("annot allocate memory", "failed to map segment", "static TLS", "malloc of size", "bad_alloc"),
    *("can't start new thread", "Resource temporarily unavailable", "RESOURCE_EXHAUSTED: Out of memory"),
)
_NO_FILES = ("Too many open files", "shared object file: Error 24")
_NO_DATABASE = "unable to open database file"  # SQLite's words, whatever the reason
_LEAST = 1 << 30  # bytes of address space; with less, libraries in C++ end the process in words of their own
_REFUSALS = {  # of libraries, for a user to fix; by their names, because to import them takes a second
    ("dvc.exceptions", "DvcException"): "DVC",
    ("scmrepo.exceptions", "SCMError"): "git",
    ("ruamel.yaml.error", "YAMLError"): "a YAML file cannot be read",
}
_LONGEST = 300  # characters of a library's own words
_state = {"ours": False, "said": False, "raised": False}


def begin() -> None:
    """Arrange that this process, if it runs a program of ours, never ends with a traceback for a fault of the machine.

    Standard streams that are closed are opened on nothing: otherwise the next file of ours would get their number, and
    whatever a library prints would go into it.
    """
    if _state["ours"] or not _is_ours():
        return
    _state["ours"] = True
    # Python's own handler, or none (`dvc_environment.quiet_interrupts`); not where a shell has it ignored.
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_DFL):
        signal.signal(signal.SIGINT, _leave)
    sys.excepthook, sys.unraisablehook = _uncaught, _unraisable
    # NumPy's library would start a thread for each core, none of which we use, and fails loudly where it gets none.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= allowed < _LEAST:
        end(f"this process may have {allowed:,} bytes of address space (ulimit -v); expected at least {_LEAST:,}")
    with suppress(OSError):
        while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(opened)


def _is_ours() -> bool:
    """Return whether the program is `aura`, or a module or a file of ours."""
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # as Python has it while it looks for the module
        named = sys.orig_argv[sys.orig_argv.index("-m") + 1 :] if "-m" in sys.orig_argv else []
        return bool(named) and named[0].partition(".")[0] in ("aura", "stages")
    folder = os.path.abspath(os.path.join(__file__, "../../.."))  # noqa: PTH100, PTH118 - pathlib takes 5 ms
    of_a_file = (os.path.join(folder, name, "") for name in ("aura", "stages"))  # noqa: PTH118
    return os.path.basename(program) == "aura" or os.path.abspath(program).startswith(tuple(of_a_file))  # noqa: PTH100, PTH119


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the first Ctrl-C in here raise KeyboardInterrupt, for unfinished work to be removed; the second one ends all.

    Outside, each ends the process at once. Some libraries turn KeyboardInterrupt into an error or a status of their own
    (pydantic while it builds a model, Typer): whatever ends the work after a Ctrl-C is KeyboardInterrupt again.
    """
    if signal.getsignal(signal.SIGINT) is not _leave:
        yield
        return
    signal.signal(signal.SIGINT, _raise)
    try:
        yield
    except BaseException as error:
        if _state["raised"] and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, _leave)


def worded(error: BaseException) -> str | None:
    """Say what a user can do about a fault of the machine, or what DVC refuses. Any other error is a bug: None."""
    if isinstance(error, OSError) and error.errno:
        return _worded_by_number(error)
    if isinstance(error, MemoryError):
        return _MEMORY
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        return _other_python(error)
    for kind in type(error).__mro__:
        if library := _REFUSALS.get((kind.__module__, kind.__name__)):
            return f"{library}: {_refusal(error)}"
    if any(words in text for words in _NO_FILES):
        return _OPEN.format("")
    if text == _NO_DATABASE:
        return "DVC cannot open its database. Allow more open files (ulimit -n 4096), or check the owner of .dvc/tmp"
    if any(words in text for words in _NO_MEMORY):
        return _MORE.format(" ".join(text.split())[-200:])
    return None


def _refusal(error: BaseException) -> str:
    """The words of a library's refusal and of its cause, which may name the line of a file, and what to look at."""
    said = [" ".join(str(each).split()).rstrip(".")[:_LONGEST] for each in (error, error.__cause__) if each]
    told = " ".join([said[0], *(f"({more})" for more in said[1:] if more and more not in said[0])])
    if "not a git repository" in told:
        return f"{told}. Work in a clone, or run: git init"
    return f"{told}. See: {'git diff' if 'YAML' in told else 'git status'}"


def _other_python(error: ModuleNotFoundError) -> str | None:
    """Say that the packages are not in this Python, which is most often another one than the project's."""
    name = (error.name or "").partition(".")[0]
    if name in ("", "aura", "stages"):
        return None
    remedy = "source .venv/bin/activate" if os.path.exists(".venv/bin/activate") else "make setup"  # noqa: PTH110
    return f"the package {name} is not installed in {sys.executable}. Run: {remedy}; then the same command again"


def _worded_by_number(error: OSError) -> str | None:
    number, place = error.errno, error.filename or "an output"
    said = os.strerror(number or 0)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk while writing {place}. Free some space, then run the same command again."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR):
        return f"cannot write or read {place}: {said}. Check its owner and permissions."
    if number == errno.EIO:
        return f"the disk failed at {place} (input/output error). Look at its log (dmesg), then run the command again."
    if number in (errno.EMFILE, errno.ENFILE):
        return _OPEN.format(f", at {place}")
    if number in (errno.ENOMEM, errno.EAGAIN):
        return _MORE.format(said)
    if number in (errno.ENAMETOOLONG, errno.ELOOP, errno.EFBIG):
        return f"cannot write or read {place}: {said}. Choose another place for it."
    return None


class OutputLost(Exception):
    """Standard output takes nothing more; `silent` if its reader has ended, who then wants no message either."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}. Write it somewhere else.")
        self.silent = error.errno == errno.EPIPE


def lost(stream: IO[str], error: OSError) -> None:
    """Deal with a standard stream that cannot be written; from now on it goes nowhere.

    Nobody reads the messages of a broken standard error, and work goes on without them. Standard output is what was
    asked for: `OutputLost`.
    """
    number = stream.fileno()
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, number)
        os.close(nothing)
    if number != 2:  # of standard error
        raise OutputLost(error) from None


def flush() -> None:
    """Write what waits for standard output; otherwise Python would, and leave a traceback where it cannot."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        lost(sys.stdout, error)


def end(message: str, status: int = 1) -> NoReturn:
    """End the program with an error message in one line; without Rich, for which there may be no memory."""
    _say(message)
    sys.exit(status)


def interrupted() -> NoReturn:
    """End the program after Ctrl-C; one more while it ends changes nothing."""
    if not _state["said"]:
        _state["said"] = True
        _say(_INTERRUPTED)
    _forget_interrupt()
    sys.exit(INTERRUPTED)


def _forget_interrupt() -> None:
    """Let `python -m` end with the status that we give.

    If KeyboardInterrupt leaves code that was run from a string (dataclasses are made so), Python 3.11 to 3.13 notes it,
    and ends itself by SIGINT after all else, though the error was caught. The next such code clears the note.
    """
    exec("pass")  # noqa: S102 - a constant


def _say(message: str) -> None:
    line = " ".join(message.split())
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
    with suppress(OSError, AttributeError):  # nobody reads it; None where there is no standard error
        sys.stderr.write(f"error: {shown}\n")
        sys.stderr.flush()


def _leave(*_: object) -> NoReturn:
    """End the process at once."""
    if not _state["said"]:
        with suppress(OSError):
            os.write(2, f"error: {_INTERRUPTED}\n".encode())
    os._exit(INTERRUPTED)


def _raise(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, _leave)
    _state["raised"] = True
    signal.default_int_handler(number, frame)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """`sys.excepthook` of a program of ours."""
    if issubclass(kind, KeyboardInterrupt):
        _leave()
    if words := worded(error):
        _say(words)
    else:
        sys.__excepthook__(kind, error, trace)


def _unraisable(lost_error: Any) -> None:  # noqa: ANN401 - sys.UnraisableHookArgs, which is no class at run time
    """`sys.unraisablehook` of a program of ours: an interrupt in a destructor ends it, too."""
    if isinstance(lost_error.exc_value, KeyboardInterrupt):
        _leave()
    if not (lost_error.exc_value and worded(lost_error.exc_value)):
        sys.__unraisablehook__(lost_error)
