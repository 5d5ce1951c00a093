"""A stage's entry in dvc.yaml, and the values of params.yaml that it names; parsed in part, because YAML is slow.

Like `stage_inputs`, which reads dvc.yaml before anything else, it imports the parser where it is needed.
"""

import fnmatch
import functools
import re
from collections.abc import Callable
from typing import Any

PARAMS = "params.yaml"


def name_of(stage: str, arguments: list[str]) -> str | None:
    """The name that dvc.yaml has for a stage with these arguments; None for `extract` without a source."""
    if stage != "extract":
        return stage
    sources = value_at(parsed(text_of(PARAMS), PARAMS), "extract.sources")
    return f"{stage}@{arguments[0]}" if arguments and arguments[0] in (sources or {}) else None


def text_of(file: str) -> str:
    """Read one of the project's own files; raises `UserError` if it is missing or no UTF-8."""
    from pathlib import Path

    from aura.core.errors import UserError

    try:
        return Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{file} is missing. Run this in the project's folder, or: git checkout {file}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not valid UTF-8: {error}. See: git diff {file}") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}. See: git status {file}") from None


@functools.lru_cache(maxsize=4)  # extract needs the sources of params.yaml twice
def parsed(text: str, file: str) -> dict[str, Any]:
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


def values_at(text: str, file: str, keys: list[str]) -> dict[str, Any]:
    """The values at some keys; the sections that hold them are parsed alone, which saves 7 ms, if they can be."""
    from aura.core.bounded import bounded_yaml

    sections = {key.partition(".")[0] for key in keys}
    lines = [re.findall(rf"^{re.escape(name)}:.*(?:\n(?![^\s#-]).*)*", text, re.MULTILINE) for name in sections]
    holding_dots = any("." in key and re.search(rf"^.?{re.escape(key)}", text, re.MULTILINE) for key in keys)
    if not file.endswith(".json") and not holding_dots and all(len(found) == 1 for found in lines):
        alone = bounded_yaml("\n".join(found[0] for found in lines))
        if isinstance(alone, dict) and alone.keys() == sections:
            return {key: value_at(alone, key) for key in keys}
    return {key: value_at(parsed(text, file), key) for key in keys}


def value_at(values: Any, key: str) -> Any:  # noqa: ANN401 - anything YAML holds
    """The value at a dotted key, or at a key that holds dots itself; None where there is none."""
    if isinstance(values, dict) and key in values:
        return values[key]
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def stage_entry(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stage's entry in dvc.yaml, and the values for its templates."""
    from aura.core.errors import UserError

    group, _, key = name.partition("@")
    entry = _entry(text_of("dvc.yaml"), group)
    if not isinstance(entry, dict):
        raise UserError(f"dvc.yaml: expected a stage {group}, got none. See: git diff dvc.yaml")
    templates = "${" in repr(entry)
    variables = parsed(text_of(PARAMS), PARAMS) if templates else {}
    if "do" in entry:
        each = entry.get("foreach")
        if isinstance(each, str):  # a template of one value
            each = value_at(variables, each.removeprefix("${").removesuffix("}").strip())
        if not isinstance(each, dict) or key not in each:
            raise UserError(f"dvc.yaml: {group}: expected foreach over {key}, got {each!r:.80}. See: git diff dvc.yaml")
        entry, variables = entry["do"], variables | {"key": key, "item": each[key]}
    lists = [entry.get(name, []) for name in ("deps", "params", "outs")] if isinstance(entry, dict) else [entry]
    if wrong := [value for value in lists if not isinstance(value, list)]:
        raise UserError(f"dvc.yaml: {group}: expected lists of names, got {wrong[0]!r:.80}. See: git diff dvc.yaml")
    return entry, variables


def dependencies(name: str) -> list[str]:
    """The paths that a stage lists under `deps`."""
    entry, variables = stage_entry(name)
    return [resolved(str(dep), variables) for dep in entry.get("deps", [])]


def _entry(text: str, stage: str) -> Any:  # noqa: ANN401 - anything YAML holds
    """A stage's entry in the text of dvc.yaml; its lines alone are parsed, for a fifth of the time, if they can be."""
    from aura.core.bounded import bounded_yaml

    lines = re.search(
        rf"^stages:\n(?:.*\n)*?(  {re.escape(stage)}:[ ]*\n(?:(?:   .*|[ ]*#.*|[ ]*)(?:\n|\Z))+)", text, re.MULTILINE
    )
    alone = bounded_yaml(lines[1]) if lines else None
    if isinstance(alone, dict) and list(alone) == [stage]:
        return alone[stage]
    stages = parsed(text, "dvc.yaml").get("stages")
    return stages.get(stage) if isinstance(stages, dict) else None


def resolved(template: str, variables: dict[str, Any]) -> str:
    """A string of dvc.yaml with the values that its `${…}` name."""

    def put(found: re.Match[str]) -> str:
        value = value_at(variables, found[1].strip())
        if value is None:
            from aura.core.errors import UserError

            raise UserError(f"dvc.yaml names {found[0]}, which params.yaml does not have. See: git diff params.yaml")
        return str(value)

    return re.sub(r"\$\{([^}]+)\}", put, template)


def keys_of(listed: list[Any], variables: dict[str, Any]) -> dict[str, list[str]]:
    """The keys that a stage lists under `params`, by file."""
    found: dict[str, list[str]] = {}
    for entry in listed:
        for file, keys in entry.items() if isinstance(entry, dict) else ((PARAMS, [entry]),):
            found.setdefault(file, []).extend(resolved(str(key), variables) for key in keys)
    return found


def dvcignore() -> list[str]:
    """The lines of .dvcignore that say something."""
    try:
        with open(".dvcignore", encoding="utf-8") as file:  # noqa: PTH123
            return [line for line in map(str.strip, file) if line and not line.startswith("#")]
    except OSError:
        return []


def ignored_by_dvc() -> Callable[[str], object]:
    """Return a test of folders' names by .dvcignore. It skips lines with a slash: what they name is compared."""
    globs = [line for line in dvcignore() if "/" not in line and not line.startswith("!")]
    return re.compile("|".join(map(fnmatch.translate, globs)) or r"(?!)").match
