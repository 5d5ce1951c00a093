"""A stage's inputs did not change while it ran: otherwise it fails, and DVC records nothing.

DVC hashes a stage's dependencies after the stage has ended. A file or param that changed meanwhile would be recorded
with its new hash beside the result of the old one, and `aura push` would share it. So each stage takes the stamps of
its inputs before it reads them, and compares them at its end. What the inputs are, dvc.yaml says.

A stamp is size, time of modification and, where no other name of the file exists, time of the last change of any
kind; a folder's own stamp tells of files that came and went. Code is stamped when this module is imported, which
`stages/__init__.py` does before any other module of aura. Stamps of 30,000 files take 0.1 s.
"""

import fnmatch
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Stamp = tuple[int, int, int]
_SETTLED, _TICK = 1_000_000_000, 0.02  # ns, s; file systems' clocks advance every 0.01 s at the latest
_SHOWN = 5  # changes that a message names


def _stamp(found: os.stat_result) -> Stamp:
    """Hard links to a file, such as those of a shared DVC cache, change its ctime and not its content."""
    alone = found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)
    size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return size, found.st_mtime_ns, found.st_ctime_ns if alone else 0


def stamps(path: str, ignored: Callable[[str], object] = lambda _: False) -> dict[str, Stamp]:
    """Stamps of a file, or of a folder and everything below it, by path; empty where nothing is there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - as the rest of this module
    except OSError:
        return {}
    if not stat.S_ISDIR(found.st_mode):
        return {path: _stamp(found)}
    return dict(_below(path, ignored))


def _below(folder: str, ignored: Callable[[str], object]) -> Iterator[tuple[str, Stamp]]:
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            descriptor = os.open(place, os.O_RDONLY)
        except OSError:  # removed a moment ago, which the stamp of the folder above tells
            continue
        try:
            yield f"{place}/", _stamp(os.fstat(descriptor))  # before its names are read: a later one changes it
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if ignored(entry.name):
                        continue
                    path = f"{place}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                        continue
                    try:
                        yield path, _stamp(os.stat(entry.name, dir_fd=descriptor))
                    except OSError:  # a link that leads nowhere, or a file that was removed
                        yield path, (-1, 0, 0)
        finally:
            os.close(descriptor)


_CODE = {  # before anything else of aura is imported
    path: stamp
    for folder in ("aura", "stages")
    for path, stamp in stamps(folder, lambda name: name == "__pycache__").items()
    if path.endswith(".py")
}


class Inputs:
    """What the stage `name` of dvc.yaml reads, as it is now.

    Args:
        name: the stage, such as `select`, or `extract@books` for one source.

    Raises:
        UserError: dvc.yaml, params.yaml or versions.json cannot be read, or dvc.yaml names a value that is not there.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        params = _values("params.yaml")
        stage, variables = _stage(name, params)
        self._deps = [_resolved(str(dep), variables) for dep in stage.get("deps", [])]
        self._params = _keys(stage.get("params", []), variables)
        self._values = self._values_now()
        self._ignored = _ignored_by_dvc()
        self._stamps = self._stamps_now() | {path: _CODE[path] for path in self._deps if path in _CODE}
        newest = max((max(stamp[1:]) for stamp in self._stamps.values()), default=0)
        if newest > time.time_ns() - _SETTLED:  # a second change in the same tick would leave the stamp as it is
            time.sleep(_TICK)

    def changes(self) -> list[str]:
        """What is no longer as it was: params with both values, and paths."""
        values, now = self._values_now(), self._stamps_now()
        told = [
            f"{key} in {file} ({was!r} → {values[file, key]!r})"
            for (file, key), was in self._values.items()
            if repr(was) != repr(values[file, key])
        ]
        before = self._stamps
        paths = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
        files = [path for path in paths if not path.endswith("/")]
        return told + (files or paths)  # a folder is named only where no file in it tells more

    def require_unchanged(self) -> None:
        """Raise `UserError`, naming what changed, unless everything is as it was."""
        from aura.errors import UserError

        changes = self.changes()
        if not changes:
            return
        more = f"; and {len(changes) - _SHOWN:,} more" if len(changes) > _SHOWN else ""
        raise UserError(
            f"changed while {self.name} ran: {'; '.join(changes[:_SHOWN])}{more}. The result may be of the old state "
            f"or of the new one, so it is not recorded. {_remedy(self.name)}"
        )

    def _stamps_now(self) -> dict[str, Stamp]:
        return {path: stamp for dep in self._deps for path, stamp in stamps(dep, self._ignored).items()}

    def _values_now(self) -> dict[tuple[str, str], Any]:
        read = {file: _values(file) for file in self._params}
        return {(file, key): _value(read[file], key) for file, keys in self._params.items() for key in keys}


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main` between two looks at its inputs; mistakes and changes end it with exit status 1.

    Without a dvc.yaml in the working directory nothing is recorded, and nothing is compared.
    """
    from aura import console, libraries

    def checked() -> None:
        name = _name()
        if not os.path.exists("dvc.yaml") or name is None:  # noqa: PTH110 - as the rest of this module
            main()
            return
        inputs = Inputs(name)
        main()
        libraries.require_locked()  # again: an installation meanwhile may have been imported late
        inputs.require_unchanged()

    console.run(checked)


def _name() -> str | None:
    """The name that dvc.yaml has for this program with its arguments; None for `extract` without a known source."""
    stem = os.path.basename(sys.argv[0]).removesuffix(".py")  # noqa: PTH119
    if stem != "extract":
        return stem
    sources = _value(_values("params.yaml"), "extract.sources")
    return f"{stem}@{sys.argv[1]}" if sys.argv[1:] and sys.argv[1] in (sources or {}) else None


def _remedy(name: str) -> str:
    if name == "pretrain":
        return (
            "Checkpoints stay: put back what changed, and `dvc repro pretrain` goes on from the last one; "
            "or run it with the changes, and it begins anew where they change the training."
        )
    return f"Run the same command again: dvc repro {name}"


def _values(file: str) -> dict[str, Any]:
    """The mapping in a YAML or JSON file."""
    import json
    from pathlib import Path

    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from aura.errors import UserError

    try:
        text = Path(file).read_text(encoding="utf-8")
        values = json.loads(text) if file.endswith(".json") else YAML(typ="safe").load(text)
    except FileNotFoundError:
        raise UserError(f"{file} is missing. Run this in the project's folder, or: git checkout {file}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, YAMLError) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}. See: git diff {file}") from None
    if not isinstance(values, dict):
        raise UserError(f"{file}: expected keys with values, got {type(values).__name__}. See: git diff {file}")
    return values


def _value(values: Any, key: str) -> Any:  # noqa: ANN401 - anything YAML holds
    """The value at a dotted key, or at a key that holds dots itself; None where there is none."""
    if isinstance(values, dict) and key in values:
        return values[key]
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _stage(name: str, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stage's entry in dvc.yaml, and the values for its templates."""
    from aura.errors import UserError

    group, _, key = name.partition("@")
    entry = (_values("dvc.yaml").get("stages") or {}).get(group)
    if not isinstance(entry, dict):
        raise UserError(f"dvc.yaml: expected a stage {group}, got none. See: git diff dvc.yaml")
    if "do" not in entry:
        return entry, params
    each = _resolved_value(entry["foreach"], params) if isinstance(entry["foreach"], str) else entry["foreach"]
    return entry["do"], params | {"key": key, "item": each[key]}


def _resolved_value(template: str, variables: dict[str, Any]) -> Any:  # noqa: ANN401 - anything YAML holds
    return _value(variables, template.removeprefix("${").removesuffix("}").strip())


def _resolved(template: str, variables: dict[str, Any]) -> str:
    """A string of dvc.yaml with the values that its `${…}` name."""

    def put(found: re.Match[str]) -> str:
        value = _value(variables, found[1].strip())
        if value is None:
            from aura.errors import UserError

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


def _ignored_by_dvc() -> Callable[[str], object]:
    """Whether a name matches a line of .dvcignore; lines with a slash are left out: what they name is compared."""
    try:
        with open(".dvcignore", encoding="utf-8") as file:  # noqa: PTH123
            lines = [line.strip() for line in file]
    except OSError:
        return lambda _: False
    globs = [line for line in lines if line and "/" not in line and not line.startswith(("#", "!"))]
    return re.compile("|".join(map(fnmatch.translate, globs)) or r"(?!)").match
