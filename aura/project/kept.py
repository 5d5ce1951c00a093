"""The DVC outputs that git still knows of, beyond the tips of branches and tags: stashes, reflogs, indexes, worktrees.

`git gc` keeps all commits that a ref, a reflog, a worktree, an index or an unfinished rebase or bisection names. The
same commits decide here: whoever can still reach one, can check it out and ask for its data. Queued experiments are
stash entries (`refs/exps/celery/stash`); one that runs aside is a repository of its own below `.dvc/tmp/exps`.

`dvc.lock` and `.dvc` files are read straight from git's trees, each distinct one once. No pipeline is loaded, so a
commit whose dvc.yaml is broken stops nothing.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from aura.core.bounded import read_yaml
from aura.sharing.git import git

EXPERIMENTS = ".dvc/tmp/exps"  # below a project: repositories of experiments that run aside
_NAMES = ("HEAD", "ORIG_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_HEAD", "REBASE_HEAD")
_RECORDS = ("*HEAD", "MERGE_AUTOSTASH", "AUTO_MERGE", "BISECT_LOG", "rebase-*/*", "sequencer/*")  # in a git folder
_OBJECT = re.compile(r"\b[0-9a-f]{32}(?:\.dir)?\b")  # as DVC writes an MD5
_COMMIT = re.compile(r"\b[0-9a-f]{7,64}\b")


def outputs(project: Path) -> dict[str, str]:
    """The MD5 of each output (`.dir` at its end for a folder) that git keeps of the project, with what it is, in words.

    Raises `UserError` (git's words) if git cannot say what it keeps.
    """
    found: dict[str, str] = {}
    for folder in (project, *_experiments(project)):
        for text, place in _records(folder):
            for oid, path in _outputs_of(text):
                found.setdefault(oid, f"{path} of {place}")
    return found


def commits(folder: Path) -> set[str]:
    """All commits that git would not remove from the repository of `folder`, without their ancestors.

    Among them are those of every worktree. The parents of a merge count, because a stash entry is one: they hold the
    index and the untracked files.
    """
    tips = set(git("rev-list", "--no-walk", "--all", "--reflog", folder=folder).split())
    words = set[str]()
    for place in _git_folders(folder):
        words.update(git("for-each-ref", "--format=%(objectname)", folder=folder, place=place).split())
        words.update(_resolved(_NAMES, "commit", folder, place))
        words.update(*(_COMMIT.findall(_read(path)) for record in _RECORDS for path in place.glob(record)))
    tips.update(_resolved(words, "commit", folder))
    listed = git("rev-list", "--no-walk", "--parents", "--stdin", folder=folder, text="\n".join(sorted(tips)))
    parents = (line.split()[1:] for line in listed.splitlines())
    return tips.union(*(found for found in parents if len(found) > 1))


def _experiments(project: Path) -> list[Path]:
    return [path.parent for path in sorted(project.glob(f"{EXPERIMENTS}/*/*/.git"))]


def _records(folder: Path) -> Iterator[tuple[str, str]]:
    """The text of every dvc.lock and .dvc file that git knows of in the project at `folder`, and whose it is."""
    prefix = git("rev-parse", "--show-prefix", folder=folder)
    below = [prefix] if prefix else []
    blobs: dict[str, str] = {}
    for tree in _resolved(commits(folder), "tree", folder):
        for line in git("ls-tree", "-r", "-z", "--full-tree", tree, "--", *below, folder=folder).split("\0"):
            _note(blobs, line, f"git tree {tree[:12]}")
    for place in _git_folders(folder):
        if (place / "index").exists():
            for line in git("ls-files", "--stage", "-z", folder=folder, place=place).split("\0"):
                _note(blobs, line, "an index", prefix)
    for blob, where in blobs.items():
        yield git("cat-file", "blob", blob, folder=folder), where
    for work in _worktrees(folder):
        yield from _files_of(work / prefix)


def _note(blobs: dict[str, str], line: str, place: str, prefix: str = "") -> None:
    """Add the object of a line of `ls-tree` or `ls-files --stage`, if it is a record of DVC's."""
    state, _, path = line.partition("\t")
    if path.startswith(prefix) and _is_record(path):
        words = state.split()
        blobs.setdefault(words[2] if words[1] == "blob" else words[1], place)


def _is_record(path: str) -> bool:
    return PurePosixPath(path).name == "dvc.lock" or path.endswith(".dvc")


def _files_of(folder: Path) -> Iterator[tuple[str, str]]:
    """The same of what lies in a worktree, committed or not."""
    if folder.is_dir():
        listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=folder)
        for path in {folder / name for name in listed.split("\0") if _is_record(name)}:
            if path.is_file():
                yield _read(path), str(folder)


def _git_folders(folder: Path) -> list[Path]:
    """Return the folders in which git keeps each worktree's own: HEAD, index, reflog of HEAD, an unfinished rebase."""
    common = (folder / git("rev-parse", "--git-common-dir", folder=folder)).resolve()
    return [common, *sorted(path for path in common.glob("worktrees/*") if (path / "HEAD").exists())]


def _worktrees(folder: Path) -> list[Path]:
    listed = git("worktree", "list", "--porcelain", folder=folder).splitlines()
    return [Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")]


def _resolved(names: Iterable[str], kind: str, folder: Path, place: Path | None = None) -> set[str]:
    """The objects of a kind that `names` lead to; a name that leads to none is passed over."""
    asked = "".join(f"{name}^{{{kind}}}\n" for name in sorted(names))
    answers = git("cat-file", "--batch-check", folder=folder, place=place, text=asked) if asked else ""
    return {line.split()[0] for line in answers.splitlines() if line.split()[1:2] == [kind]}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _outputs_of(text: str) -> Iterator[tuple[str, str]]:
    """MD5 and path of each output in a dvc.lock or .dvc file; of a text that is neither, all that looks like an MD5."""
    try:
        content = read_yaml(text)
        stages = content["stages"].values() if "stages" in content else [content]
        found = [out for stage in stages for out in stage.get("outs") or []]
        yield from [pair for out in found for pair in _hashes(out)]
    except (TypeError, AttributeError, KeyError, ValueError):  # conflict marks, cut off, another format
        yield from ((oid, "an output") for oid in _OBJECT.findall(text))


def _hashes(out: dict[str, Any]) -> list[tuple[str, str]]:
    entries = [out, *out.get("files", [])]
    return [(str(entry["md5"]), str(out["path"])) for entry in entries if "md5" in entry]
