"""A stage's inputs did not change while it ran: otherwise it fails, and DVC records nothing.

DVC hashes a stage's dependencies after the stage has ended. A file or param that changed meanwhile would be recorded
with its new hash beside the result of the old one, and `aura push` would share it. So each stage takes the stamps of
its inputs before it reads them, and compares them at its end. dvc.yaml lists the inputs.

A stamp is size, time of modification and time of the last change of any kind; a folder's own stamp tells of files that
came and went. Code is stamped when this module is imported, which `aura/stages/__init__.py` does before other modules
of aura. Of params.yaml the text is kept, and every text that `params.read` got counts as read.

A change after that comparison and before DVC's hashing is too late for the stage. So the stage leaves an account of
what it read, `reports/inputs/STAGE.json`, as one more output: dvc.lock then says in one entry what DVC hashed and what
the stage read, wherever the entry goes. `aura/project/recorded_inputs.py` compares the two.
"""

import hashlib
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aura.core.looks import Beside

Stamp = tuple[int, int, int, int]  # size, time of modification and of the last change in ns, number of names
ACCOUNTS = "reports/inputs/"  # one file a stage, among its outputs in dvc.yaml
ACCOUNT_FORMAT = 1
SUMS = "_SHA256SUMS"  # as `aura/core/checksums.py` writes it
_HASHED = 16_000_000  # bytes; a larger file's size stands for it in the account, because hashing takes 25 ms for these
_GONE = (-1, 0, 0, 1)  # what a link has that leads nowhere
_SETTLED, _TICK = 1_000_000_000, 0.02  # ns, s; file systems' clocks advance every 0.01 s at the latest
_SHOWN = 5  # changes that a message names


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_nlink


def same(one: Stamp | None, other: Stamp | None) -> bool:
    """Return whether two stamps are of the same content.

    Another hard link to a file, such as that of a shared DVC cache, changes its ctime and not its content.
    """
    if one is None or other is None:
        return one is other
    return one[:3] == other[:3] or (max(one[3], other[3]) > 1 and one[:2] == other[:2])


def stamps(path: str, ignored: Callable[[str], object] = lambda _: False) -> dict[str, dict[str, Stamp]]:
    """Stamps of a file, or of a folder and all below it: by folder, then by name, with "" for the folder itself.

    Folders whose names are `ignored` are left out. Empty where nothing is there. 30,000 files take 0.1 s.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - as the rest of this module
    except OSError:
        return {}
    if not stat.S_ISDIR(found.st_mode):
        folder, name = os.path.split(path)
        return {folder: {name: _stamp(found)}}
    stamped, waiting = {}, [path]
    while waiting:
        folder = waiting.pop()
        inside, folders = _inside(folder, ignored)
        stamped[folder] = inside
        waiting += [f"{folder}/{name}" for name in folders]
    return stamped


def _inside(folder: str, ignored: Callable[[str], object]) -> tuple[dict[str, Stamp], list[str]]:
    """Stamps of what lies in a folder, and the names of the folders in it."""
    folders: list[str] = []
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # removed a moment ago, which the stamp of the folder above tells
        return {}, folders
    try:
        own = os.fstat(descriptor)  # before its names are read: a later one changes it
        inside = {"": (0, own.st_mtime_ns, own.st_ctime_ns, 1)}
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not ignored(entry.name):
                        folders.append(entry.name)
                    continue
                try:
                    found = os.stat(entry.name, dir_fd=descriptor)  # a path for each file takes half as long again
                except OSError:  # a link that leads nowhere, or a file that was removed
                    inside[entry.name] = _GONE
                    continue
                size = -1 if stat.S_ISDIR(found.st_mode) else found.st_size  # a linked folder, which DVC leaves out
                inside[entry.name] = (size, found.st_mtime_ns, found.st_ctime_ns, found.st_nlink)
        return inside, folders
    finally:
        os.close(descriptor)


def differences(before: dict[str, dict[str, Stamp]], now: dict[str, dict[str, Stamp]]) -> list[str]:
    """Paths, sorted, whose stamps are not the same; a folder (with / at its end) only where no file tells more."""
    files: list[str] = []
    folders: list[str] = []
    for folder in before.keys() | now.keys():
        was, has = before.get(folder, {}), now.get(folder, {})
        if was == has:
            continue
        for name in was.keys() | has.keys():
            if not same(was.get(name), has.get(name)):
                (files if name else folders).append(os.path.join(folder, name))  # noqa: PTH118
    return sorted(files or folders)


_CODE = stamps("aura", lambda name: name == "__pycache__")  # before anything else of aura is imported

from aura.core import pipeline_file  # noqa: E402 - once the code is stamped


class Inputs:
    """Inputs of the stage `name` of dvc.yaml, as they are now.

    Args:
        name: the stage, such as `select`, or `extract@books` for one source.

    Raises:
        UserError: dvc.yaml, params.yaml or versions.json cannot be read, or dvc.yaml names a value that is not there.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        stage, variables = pipeline_file.stage_entry(name)
        self._deps = [pipeline_file.resolved(str(dep), variables) for dep in stage.get("deps", [])]
        self.leaves_account = account_of(name) in [
            pipeline_file.resolved(str(out), variables) for out in stage.get("outs", [])
        ]
        self._params = pipeline_file.keys_of(stage.get("params", []), variables)
        self._texts = {file: pipeline_file.text_of(file) for file in self._params}
        self._ignored = pipeline_file.ignored_by_dvc()
        self._stamps = self._stamps_now()
        self._again: dict[str, dict[str, Stamp]] = {}
        for folder, inside in self._stamps.items():  # code is as it was when this process began to import it
            inside.update({name: _CODE[folder][name] for name in inside if name and name in _CODE.get(folder, {})})
        newest = max((max(stamp[1:3]) for inside in self._stamps.values() for stamp in inside.values()), default=0)
        if newest > time.time_ns() - _SETTLED:  # a second change in the same tick would leave the stamp as it is
            time.sleep(_TICK)

    def changes(self, read: Iterable[str] = ()) -> list[str]:
        """Return the inputs that are no longer as they were: params with both values, and paths.

        `read` are texts that the stage got from params.yaml. Stamps are of now, or of `look_again`.
        """
        return self._other_values(read) + differences(self._stamps, self._again or self._stamps_now())

    def look_again(self) -> None:
        """Take the stamps that `changes` compares."""
        self._again = self._stamps_now()

    def account(self) -> dict[str, Any]:
        """Return what the stage read, in the words of dvc.lock: params, and each dependency as `_described` has it.

        It holds once `require_unchanged` was called after it. 70 modules take 2 ms.
        """
        params = {
            file: {
                key: plain(value)
                for key, value in sorted(pipeline_file.values_at(self._texts[file], file, keys).items())
            }
            for file, keys in sorted(self._params.items())
        }
        countable = _is_countable(self._stamps)
        return {
            "format": ACCOUNT_FORMAT,
            "params": params,
            "deps": {dep: _described(dep, self._stamps, self._ignored, countable) for dep in sorted(self._deps)},
        }

    def require_unchanged(self, read: Iterable[str] = ()) -> None:
        """Raise `UserError`, naming what changed, unless everything is as it was."""
        from aura.core.errors import UserError
        from aura.core.shown_text import on_one_line

        changes = [on_one_line(change) for change in self.changes(read)]
        if not changes:
            return
        more = f"; and {len(changes) - _SHOWN:,} more" if len(changes) > _SHOWN else ""
        raise UserError(
            f"changed while {self.name} ran: {'; '.join(changes[:_SHOWN])}{more}. The result may be of the old state "
            f"or of the new one, so it is not recorded. {_remedy(self.name)}"
        )

    def _stamps_now(self) -> dict[str, dict[str, Stamp]]:
        found: dict[str, dict[str, Stamp]] = {}
        for dep in self._deps:
            for folder, inside in stamps(dep, self._ignored).items():
                if folder in _CODE:  # Python makes a folder of bytecode in it; names of files tell what else changes
                    inside.pop("", None)
                found.setdefault(folder, {}).update(inside)
        return found

    def _other_values(self, read: Iterable[str]) -> list[str]:
        """Keys with other values in a file as it is now, or in the texts `read`; equal texts are not parsed."""
        found = {}
        for file, keys in self._params.items():
            texts = {pipeline_file.text_of(file), *(read if file == pipeline_file.PARAMS else ())}
            others = texts - {self._texts[file]}
            before = pipeline_file.parsed(self._texts[file], file) if others else {}
            for values in (pipeline_file.parsed(text, file) for text in sorted(others)):
                for key in keys:
                    was, became = pipeline_file.value_at(before, key), pipeline_file.value_at(values, key)
                    if repr(was) != repr(became):  # 1, 1.0 and true are equal, and not the same
                        found[file, key] = f"{key} in {file} ({was!r} → {became!r})"
        return list(found.values())


def account_of(name: str) -> str:
    """The file in which a stage (`select`, `extract@books`) says what it read."""
    return f"{ACCOUNTS}{name.replace('@', '/')}.json"


def plain(value: Any) -> Any:  # noqa: ANN401 - anything YAML holds
    """A value of YAML as JSON gives it back, with the keys in order."""
    if isinstance(value, dict):
        return {key: plain(value[name]) for key, name in sorted((str(name), name) for name in value)}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _described(
    dep: str, stamped: dict[str, dict[str, Stamp]], ignored: Callable[[str], object], countable: bool
) -> dict[str, Any]:
    """A dependency as dvc.lock has it: `md5` and `size`, of a folder `nfiles` and `size`; what takes time is left out.

    `sums` is the MD5 of the `_SHA256SUMS` of a folder that a stage made: it stands for every file.
    """
    if dep not in stamped:
        folder, name = os.path.split(dep)
        size = stamped.get(folder, {}).get(name, _GONE)[0]
        if size < 0:
            return {}
        return {"size": size} | (_md5("md5", dep) if size <= _HASHED else {})
    sums = _md5("sums", f"{dep}/{SUMS}") if SUMS in stamped[dep] else {}
    if not countable:
        return sums
    sizes = [
        stamp[0]
        for folder, inside in stamped.items()
        if folder == dep or folder.startswith(f"{dep}/")
        for name, stamp in inside.items()
        if name and stamp[0] >= 0 and not ignored(name)
    ]
    return {"nfiles": len(sizes), "size": sum(sizes)} | sums


def _is_countable(stamped: dict[str, dict[str, Stamp]]) -> bool:
    """Return whether `_ignored_by_dvc` knows all that DVC leaves out: no .dvcignore has a slash or an exception."""
    if any(".dvcignore" in inside for folder, inside in stamped.items() if folder):
        return False
    return not any("/" in line or line.startswith("!") for line in pipeline_file.dvcignore())


def _md5(key: str, path: str) -> dict[str, str]:
    """The MD5 of a file under a key; nothing where the file is gone, which `require_unchanged` then says."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as the rest of this module
            return {key: hashlib.file_digest(file, "md5").hexdigest()}
    except OSError:
        return {}


_beside: list["Beside"] = []  # the one that `begin` started


def begin(program: list[str]) -> None:
    """Take the first look in a process beside this one, if this `program` is `python -m aura.stages.NAME ARGUMENTS`."""
    from aura.core.looks import Beside

    module, *arguments = program[program.index("-m") + 1 :] if "-m" in program else [""]
    package, _, stage = module.rpartition(".")
    if package.removeprefix("aura.") == "stages" and (
        stage == "extract" or not arguments
    ):  # any other with arguments is the one-shot program
        _beside.append(Beside(stage, arguments))


def all_read() -> None:
    """Begin the second look while the stage still writes: the caller promises that it reads no input any more."""
    for beside in _beside:
        beside.all_read()


def run(stage: str, main: Callable[[], None]) -> None:
    """Run a stage's `main` between two looks at its inputs; mistakes and changes end with exit status 1.

    Then the account of what it read is written, where dvc.yaml lists it.
    """
    from pathlib import Path

    from aura.core import console, files, libraries, params
    from aura.core.looks import Look

    if stage != "pretrain":  # which has options, and help of its own
        console.run(lambda: _arguments(stage, main))

    def checked() -> None:
        look = _beside[0] if _beside else Look(stage, sys.argv[1:])
        name = look.begun()
        main()
        if name is None:
            return
        libraries.require_locked()  # again: an installation meanwhile may have been imported late
        account = look.account(params.texts_read)
        if account is not None:
            files.write_json(Path(account_of(name)), account)

    console.run(checked)


def _arguments(stage: str, main: Callable[[], None]) -> None:
    """Answer `--help`, which ends the program, and refuse what a stage does not take."""
    from aura.core import console
    from aura.core.errors import UserError

    given, takes = sys.argv[1:], "NAME" if stage == "extract" else ""
    usage = f"python -m aura.stages.{stage} {takes}".rstrip()
    if {"-h", "--help"} & set(given):
        told = getattr(main, "__globals__", {}).get("__doc__") or stage  # of the module of `main`
        target = f"{stage}@{takes}" if takes else stage
        console.out.print(
            f"{told.strip()}\n\nUsage: {usage}\nOptions: the section {stage} of params.yaml\n"
            f"In the pipeline, after all that it needs: dvc repro {target}",
        )
        sys.exit()
    if len(given) > bool(takes):
        raise UserError(f"expected {usage}, got {' '.join(given)} besides. Options stand in params.yaml")


def _remedy(name: str) -> str:
    if name == "pretrain":
        return (
            "Checkpoints stay: put back what changed, and `dvc repro pretrain` goes on from the last one; "
            "or run it with the changes, and it begins anew where they change the training."
        )
    return f"Run the same command again: dvc repro {name}"
