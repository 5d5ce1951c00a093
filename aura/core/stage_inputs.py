"""A stage's inputs did not change while it ran: otherwise it fails, and DVC records nothing.

DVC hashes a stage's dependencies after the stage has ended. A file or param that changed meanwhile would be recorded
with its new hash beside the result of the old one, and `aura push` would share it. So each stage takes the stamps of
its inputs before it reads them, and compares them at its end. dvc.yaml lists the inputs.

A stamp is size, time of modification and time of the last change of any kind; a folder's own stamp tells of files that
came and went. Code is stamped when this module is imported, which `stages/__init__.py` does before any other module
of aura. Of params.yaml the text is kept, and every text that `params.read` got counts as read.

A change after that comparison and before DVC's hashing is too late for the stage. So the stage leaves an account of
what it read, `reports/inputs/STAGE.json`, as one more output: dvc.lock then says in one entry what DVC hashed and what
the stage read, wherever the entry goes. `aura/project/recorded_inputs.py` compares the two.
"""

import fnmatch
import functools
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Callable
from typing import Any

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


def _folder_stamp(found: os.stat_result) -> Stamp:
    return 0, found.st_mtime_ns, found.st_ctime_ns, 1


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
        inside = {"": _folder_stamp(os.fstat(descriptor))}  # before its names are read: a later one changes it
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


_CODE = {  # before anything else of aura is imported
    folder: inside
    for root in ("aura", "stages")
    for folder, inside in stamps(root, lambda name: name == "__pycache__").items()
}


class Inputs:
    """Inputs of the stage `name` of dvc.yaml, as they are now.

    Args:
        name: the stage, such as `select`, or `extract@books` for one source.

    Raises:
        UserError: dvc.yaml, params.yaml or versions.json cannot be read, or dvc.yaml names a value that is not there.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        stage, variables = _stage(name)
        self._deps = [_resolved(str(dep), variables) for dep in stage.get("deps", [])]
        self.leaves_account = account_of(name) in [_resolved(str(out), variables) for out in stage.get("outs", [])]
        self._params = _keys(stage.get("params", []), variables)
        self._texts = {file: _text(file) for file in self._params}
        self._ignored = _ignored_by_dvc()
        self._stamps = self._stamps_now()
        for folder, inside in self._stamps.items():  # code is as it was when this process began to import it
            inside.update({name: _CODE[folder][name] for name in inside if name and name in _CODE.get(folder, {})})
        newest = max((max(stamp[1:3]) for inside in self._stamps.values() for stamp in inside.values()), default=0)
        if newest > time.time_ns() - _SETTLED:  # a second change in the same tick would leave the stamp as it is
            time.sleep(_TICK)

    def changes(self) -> list[str]:
        """Return the inputs that are no longer as they were: params with both values, and paths."""
        return self._other_values() + differences(self._stamps, self._stamps_now())

    def account(self) -> dict[str, Any]:
        """Return what the stage read, in the words of dvc.lock: params, and each dependency as `_described` has it.

        It holds once `require_unchanged` was called after it. 70 modules take 2 ms.
        """
        params = {
            file: {key: plain(value) for key, value in sorted(_values(self._texts[file], file, keys).items())}
            for file, keys in sorted(self._params.items())
        }
        countable = _is_countable(self._stamps)
        return {
            "format": ACCOUNT_FORMAT,
            "params": params,
            "deps": {dep: _described(dep, self._stamps, self._ignored, countable) for dep in sorted(self._deps)},
        }

    def require_unchanged(self) -> None:
        """Raise `UserError`, naming what changed, unless everything is as it was."""
        from aura.core.errors import UserError
        from aura.core.shown_text import on_one_line

        changes = [on_one_line(change) for change in self.changes()]
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
                found.setdefault(folder, {}).update(inside)
        return found

    def _other_values(self) -> list[str]:
        """Keys with other values in a file as it is now, or in what `params.read` got; equal texts are not parsed."""
        from aura.core import params

        found = {}
        for file, keys in self._params.items():
            read = params.texts_read if file == str(params.PARAMS_FILE) else []
            others = {text for text in (*read, _text(file)) if text != self._texts[file]}
            before = _parsed(self._texts[file], file) if others else {}
            for values in (_parsed(text, file) for text in sorted(others)):
                for key in keys:
                    was, became = _value(before, key), _value(values, key)
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
    return not any("/" in line or line.startswith("!") for line in _dvcignore())


def _md5(key: str, path: str) -> dict[str, str]:
    """The MD5 of a file under a key; nothing where the file is gone, which `require_unchanged` then says."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as the rest of this module
            return {key: hashlib.file_digest(file, "md5").hexdigest()}
    except OSError:
        return {}


def run(stage: str, main: Callable[[], None]) -> None:
    """Run the `main` of `stages/STAGE.py` between two looks at its inputs; mistakes and changes end with exit status 1.

    Then the account of what it read is written, where dvc.yaml lists it. Without a dvc.yaml in the working directory
    nothing is recorded, and nothing is compared.
    """
    from pathlib import Path

    from aura.core import console, files, libraries

    def checked() -> None:
        name = _name(stage) if os.path.exists("dvc.yaml") else None  # noqa: PTH110 - as the rest of this module
        if name is None:
            main()
            return
        inputs = Inputs(name)
        main()
        libraries.require_locked()  # again: an installation meanwhile may have been imported late
        account = inputs.account() if inputs.leaves_account else None
        inputs.require_unchanged()
        if account is not None:
            files.write_json(Path(account_of(name)), account)

    console.run(checked)


def _name(stage: str) -> str | None:
    """The name that dvc.yaml has for a stage with this program's arguments; None for `extract` without a source."""
    if stage != "extract":
        return stage
    sources = _value(_parsed(_text("params.yaml"), "params.yaml"), "extract.sources")
    return f"{stage}@{sys.argv[1]}" if sys.argv[1:] and sys.argv[1] in (sources or {}) else None


def _remedy(name: str) -> str:
    if name == "pretrain":
        return (
            "Checkpoints stay: put back what changed, and `dvc repro pretrain` goes on from the last one; "
            "or run it with the changes, and it begins anew where they change the training."
        )
    return f"Run the same command again: dvc repro {name}"


def _text(file: str) -> str:
    from pathlib import Path

    from aura.core.errors import UserError

    try:
        return Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{file} is missing. Run this in the project's folder, or: git checkout {file}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not valid UTF-8: {error}. See: git diff {file}") from None


@functools.lru_cache(maxsize=4)  # extract needs the sources of params.yaml twice
def _parsed(text: str, file: str) -> dict[str, Any]:
    """The mapping in the text of a YAML or JSON file."""
    from aura.core.bounded import Unreadable, read_json, read_yaml
    from aura.core.errors import UserError

    try:
        values = read_json(text) if file.endswith(".json") else read_yaml(text)
    except Unreadable as error:
        raise UserError(f"{file} cannot be read: {error}. See: git diff {file}") from None
    if not isinstance(values, dict):
        raise UserError(f"{file}: expected keys with values, got {type(values).__name__}. See: git diff {file}")
    return values


def _values(text: str, file: str, keys: list[str]) -> dict[str, Any]:
    """The values at some keys; the sections that hold them are parsed alone, which saves 7 ms, if they can be."""
    from aura.core.bounded import bounded_yaml

    sections = {key.partition(".")[0] for key in keys}
    lines = [re.findall(rf"^{re.escape(name)}:.*(?:\n(?![^\s#-]).*)*", text, re.MULTILINE) for name in sections]
    holding_dots = any("." in key and re.search(rf"^.?{re.escape(key)}", text, re.MULTILINE) for key in keys)
    if not file.endswith(".json") and not holding_dots and all(len(found) == 1 for found in lines):
        alone = bounded_yaml("\n".join(found[0] for found in lines))
        if isinstance(alone, dict) and alone.keys() == sections:
            return {key: _value(alone, key) for key in keys}
    return {key: _value(_parsed(text, file), key) for key in keys}


def _value(values: Any, key: str) -> Any:  # noqa: ANN401 - anything YAML holds
    """The value at a dotted key, or at a key that holds dots itself; None where there is none."""
    if isinstance(values, dict) and key in values:
        return values[key]
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _stage(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stage's entry in dvc.yaml, and the values for its templates."""
    from aura.core.errors import UserError

    group, _, key = name.partition("@")
    entry = _entry(_text("dvc.yaml"), group)
    if not isinstance(entry, dict):
        raise UserError(f"dvc.yaml: expected a stage {group}, got none. See: git diff dvc.yaml")
    templates = "${" in repr(entry)
    variables = _parsed(_text("params.yaml"), "params.yaml") if templates else {}
    if "do" not in entry:
        return entry, variables
    each = _resolved_value(entry["foreach"], variables) if isinstance(entry["foreach"], str) else entry["foreach"]
    return entry["do"], variables | {"key": key, "item": each[key]}


def _entry(text: str, stage: str) -> Any:  # noqa: ANN401 - anything YAML holds
    """A stage's entry in the text of dvc.yaml; its lines alone are parsed, for a fifth of the time, if they can be."""
    from aura.core.bounded import bounded_yaml

    lines = re.search(
        rf"^stages:\n(?:.*\n)*?(  {re.escape(stage)}:[ ]*\n(?:(?:   .*|[ ]*#.*|[ ]*)(?:\n|\Z))+)", text, re.MULTILINE
    )
    alone = bounded_yaml(lines[1]) if lines else None
    if isinstance(alone, dict) and list(alone) == [stage]:
        return alone[stage]
    return (_parsed(text, "dvc.yaml").get("stages") or {}).get(stage)


def _resolved_value(template: str, variables: dict[str, Any]) -> Any:  # noqa: ANN401 - anything YAML holds
    return _value(variables, template.removeprefix("${").removesuffix("}").strip())


def _resolved(template: str, variables: dict[str, Any]) -> str:
    """A string of dvc.yaml with the values that its `${…}` name."""

    def put(found: re.Match[str]) -> str:
        value = _value(variables, found[1].strip())
        if value is None:
            from aura.core.errors import UserError

            raise UserError(f"dvc.yaml names {found[0]}, which params.yaml does not have. See: git diff params.yaml")
        return str(value)

    return re.sub(r"\$\{([^}]+)\}", put, template)


def _keys(listed: list[Any], variables: dict[str, Any]) -> dict[str, list[str]]:
    """The keys that a stage lists under `params`, by file."""
    found: dict[str, list[str]] = {}
    for entry in listed:
        for file, keys in entry.items() if isinstance(entry, dict) else (("params.yaml", [entry]),):
            found.setdefault(file, []).extend(_resolved(str(key), variables) for key in keys)
    return found


def _dvcignore() -> list[str]:
    """The lines of .dvcignore that say something."""
    try:
        with open(".dvcignore", encoding="utf-8") as file:  # noqa: PTH123
            return [line for line in map(str.strip, file) if line and not line.startswith("#")]
    except OSError:
        return []


def _ignored_by_dvc() -> Callable[[str], object]:
    """Return a test of folders' names by .dvcignore. It skips lines with a slash: what they name is compared."""
    globs = [line for line in _dvcignore() if "/" not in line and not line.startswith("!")]
    return re.compile("|".join(map(fnmatch.translate, globs)) or r"(?!)").match
