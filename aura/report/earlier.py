"""The project at an earlier commit, as git has it, and what changed since: options, figures and outputs."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura.core import bounded, paths
from aura.core.errors import UserError
from aura.core.params import PARAMS_FILE
from aura.core.shown_text import on_one_line
from aura.project.lock_merge import LOCK, Stages, stages_of
from aura.project.results import PRETRAINED, VALIDATED
from aura.report.figures import Headline, number
from aura.sharing.git import GitFailed, git

COMMITS = 20  # that are listed
LONGEST = 200  # characters of a value, a path or a subject that are shown
LARGEST = 200_000  # bytes of a file of the commit that is read; params.yaml has 8,000
_KINDS = {"120000": "a link", "040000": "a folder", "160000": "a submodule"}  # modes of git, beside those of files
Row = tuple[str, str, str]


@dataclass(frozen=True)
class Earlier:
    """A commit, and what git has of its results; empty where it has none."""

    name: str  # as the user wrote it
    commit: str
    lock: Stages
    params: dict[str, Any]
    validated: dict[str, Any]
    pretrained: dict[str, Any]
    unread: dict[str, str]  # its files that cannot be read, and why

    def same_text(self, lock: Stages, validated: Mapping[str, Any]) -> bool:
        """Return whether its figures, if it has any, are about the held-out text that those of now are about."""
        if not (self.validated or self.pretrained):
            return True
        then, now = (output(stages, str(paths.HELD_OUT)).get("md5") for stages in (self.lock, lock))
        sizes = [[values.get(key) for key in ("documents", "bytes")] for values in (self.validated, validated)]
        return (then is None or now is None or then == now) and (not self.validated or sizes[0] == sizes[1])


def at(revision: str | None) -> Earlier | None:
    """The project at a revision; at HEAD when that is None, and then None where git knows no commit.

    Raises:
        UserError: a revision was named, and does not exist.
    """
    try:
        commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision or 'HEAD'}^{{commit}}")
    except (GitFailed, FileNotFoundError):
        if revision is None:
            return None
        raise UserError(
            f"--since: expected a commit, branch or tag of this repository, got {on_one_line(revision)!r}. "
            "See: git log --oneline, git tag"
        ) from None
    unread: dict[str, str] = {}
    return Earlier(
        name=revision or "HEAD",
        commit=commit,
        lock=_read(commit, LOCK, stages_of, unread, bounded.LARGEST),
        params=_read(commit, PARAMS_FILE, bounded.read_yaml, unread),
        validated=_read(commit, VALIDATED, bounded.read_json, unread),
        pretrained=_read(commit, PRETRAINED, bounded.read_json, unread),
        unread=unread,
    )


def lock_now() -> Stages:
    """The stages of dvc.lock; empty if there is none."""
    try:
        return stages_of(LOCK.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, UserError):
        return {}


def output(lock: Stages, path: str) -> dict[str, Any]:
    """The entry of an output in dvc.lock; empty if it has none."""
    return next((out for _, out in outputs(lock) if out.get("path") == path), {})


def outputs(lock: Stages) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the stage and the entry of each output in dvc.lock."""
    for name, entry in lock.items():
        for out in entry.get("outs", []) if isinstance(entry, dict) else []:
            yield name, out


def changed_params(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Row]:
    """The keys of params.yaml whose values differ, with both values in words."""
    old, new = _flat(before), _flat(now)
    worded = ((key, _worded(old, key), _worded(new, key)) for key in dict.fromkeys([*new, *old]))
    return [(_cut(key), _cut(then), _cut(since)) for key, then, since in worded if then != since]


def changed_figures(
    headlines: Sequence[Headline], before: Mapping[str, Any], now: Mapping[str, Any], *, same_text: bool
) -> list[dict[str, str]]:
    """The headlines that both have: the values, and where they are about the same text, the change and its tone."""
    rows = []
    for headline in headlines:
        old, new = number(before, headline.key), number(now, headline.key)
        if old is None or new is None:
            continue
        change, tone = headline.change(new, old) if same_text else ("other text", "")
        values = {"before": headline.formatted(old), "now": headline.formatted(new)}
        rows.append({"name": headline.name, "change": change, "tone": tone} | values)
    return rows


def changed_outputs(before: Stages, now: Stages) -> list[Row]:
    """The outputs whose hashes differ in dvc.lock: path, earlier and present hash."""
    old, new = ({str(out.get("path")): str(out.get("md5", "")) for _, out in outputs(lock)} for lock in (before, now))
    shown = [path for path in dict.fromkeys([*new, *old]) if not path.startswith("reports/inputs/")]
    return [
        (_cut(path), old.get(path, "")[:8], new.get(path, "")[:8]) for path in shown if old.get(path) != new.get(path)
    ]


def commits_since(commit: str) -> list[tuple[str, str, str]]:
    """The last commits behind an earlier one: short hash, date and subject."""
    try:
        log = ("-c", "log.showSignature=false", "log", f"--max-count={COMMITS}", "--format=%h%x09%cs%x09%s")
        listed = git(*log, f"{commit}..HEAD")
    except GitFailed:
        return []
    parts = [line.split("\t", 2) for line in listed.split("\n") if line]  # a subject may hold other line ends
    return [(short, date, _cut(subject)) for short, date, subject in parts]


def _read(
    commit: str, path: Path, parse: Callable[[str], Any], unread: dict[str, str], most: int = LARGEST
) -> dict[str, Any]:
    """What a file of the project holds at a commit, which anybody may have made; nothing where there is none.

    `unread` gets the reason for a file that is there and cannot be read.
    """
    try:
        found = git("ls-tree", "-l", "-z", commit, "--", path.as_posix())
        if not found:
            return {}
        mode, kind, name, size = found.partition("\t")[0].split()
        if kind != "blob" or mode in _KINDS:
            raise bounded.Unreadable(f"it is {_KINDS.get(mode, kind)}")
        if int(size) > most:
            raise bounded.Unreadable(f"it has {int(size):,} bytes; at most {most:,} are read")
        content = parse(git("cat-file", "blob", name))
        if not isinstance(content, dict):
            raise bounded.Unreadable(f"expected keys with values, got {type(content).__name__}")
    except (bounded.Unreadable, UserError) as error:
        unread[path.as_posix()] = _cut(str(error))
        return {}
    return content


def mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a file holds
    """The value if it has keys; otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        inside = isinstance(value, dict) and value
        found |= _flat(value, f"{before}{key}.") if inside else {f"{before}{key}": value}
    return found


def _worded(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "not there")
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):  # YAML has keys that JSON has not, and integers of any length
        return f"a value that cannot be shown ({type(value).__name__})"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
