"""Merging dvc.lock, stage by stage, as git's merge driver and after a conflict.

Text merges tear dvc.lock apart at any two changes that lie close. But each stage's entry is a record of its own: what
it ran with and what came out. So a stage that one side changed is taken from that side, and one that both
changed alike from either. One that both changed differently is a conflict, and what it gives cannot be known without
running it. `resolve` leaves such a stage out: DVC then runs it, or takes it from the run cache.

A merged entry may be out of date, as when one side changed a stage and the other one downstream of it. DVC sees that
from the hashes, and `aura why` tells.
"""

import hashlib
import shlex
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from aura.core.bounded import Unreadable, mismatch, read_yaml
from aura.core.errors import UserError
from aura.core.files import write_bytes
from aura.sharing.git import GitFailed, git

LOCK = Path("dvc.lock")
DRIVER = "aura-lock"  # as .gitattributes calls it
Stages = dict[str, Any]


def merge(base: Stages, ours: Stages, theirs: Stages) -> tuple[Stages, list[str]]:
    """The merged stages, and the names of those that both sides changed differently, which are left out."""
    merged, conflicts = {}, []
    for name in dict.fromkeys([*ours, *theirs]):
        entries = base.get(name), ours.get(name), theirs.get(name)
        old, mine, other = entries
        if mine != other and old not in (mine, other):
            conflicts.append(name)
        elif (entry := other if mine == old else mine) is not None:
            merged[name] = entry
    return merged, conflicts


def merge_files(base: Path, ours: Path, theirs: Path) -> list[str]:
    """Git's merge driver: merge three versions of dvc.lock into `ours`; returns the stages in conflict.

    Raises `UserError`, and leaves `ours` as it is, if one of them is no dvc.lock.
    """
    merged, conflicts = merge(*(stages_of(path.read_text(encoding="utf-8")) for path in (base, ours, theirs)))
    write_bytes(ours, dump(merged))
    return conflicts


def resolve() -> list[str]:
    """End a conflict in dvc.lock: keep what merges, leave the rest out; returns the stages to be rebuilt.

    Works on git's own record of the three versions, whatever the file has become since. Conflicts in files that stages
    make and git keeps (metrics, plots) are ended, too: what belongs to a stage that merged is taken from its side, and
    what belongs to one that is rebuilt from ours until then.
    """
    versions = {
        line.split()[2]: line.split()[1] for line in git("ls-files", "--unmerged", "--", str(LOCK)).splitlines()
    }
    if not versions:  # the driver merged it, but what stages make may be in conflict
        present = stages_of(LOCK.read_text(encoding="utf-8")) if LOCK.exists() else {}
        if not _settle_generated([present], present):
            raise UserError(f"neither {LOCK} nor anything that stages make has a conflict. See: git status")
        return []
    texts = (git("cat-file", "blob", versions[side]) if side in versions else "" for side in "123")
    sides = [stages_of(text) for text in texts]
    merged, conflicts = merge(*sides)
    write_bytes(LOCK, dump(merged))
    git("add", "--", str(LOCK))
    _settle_generated(sides, merged)
    return conflicts


def _settle_generated(sides: list[Stages], merged: Stages) -> int:
    """Take one side of every file in conflict that a stage makes, and stage it; returns how many there were."""
    settled = 0
    generated = {out["path"] for stages in sides for entry in stages.values() for out in entry.get("outs", [])}
    kept = {out["path"]: out.get("md5") for entry in merged.values() for out in entry.get("outs", [])}
    prefix = git("rev-parse", "--show-prefix")
    for path in dict.fromkeys(git("diff", "--name-only", "--diff-filter=U", "-z").split("\0")):
        name = path.removeprefix(prefix)
        if name not in generated:
            continue
        there = {line.split()[2] for line in git("ls-files", "--unmerged", "--", name).splitlines()}
        for side in [side for number, side in (("3", "--theirs"), ("2", "--ours")) if number in there]:
            git("checkout", side, "--", name)
            if _md5(Path(name)) == kept.get(name):
                break
        git("add", "--", name)
        settled += 1
    return settled


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def register(folder: Path | None = None) -> None:
    """Tell the git of a folder (the working directory) how to merge dvc.lock; .gitattributes says when."""
    command = f"{shlex.quote(sys.executable)} -m aura lock merge %O %A %B"
    try:
        git("config", f"merge.{DRIVER}.name", "dvc.lock, stage by stage", folder=folder)
        git("config", f"merge.{DRIVER}.driver", command, folder=folder)
    except GitFailed as error:
        raise UserError(f"cannot set git's merge driver: {error}") from None


def stages_of(text: str) -> Stages:
    """The stages of a dvc.lock; none for an empty text."""
    try:
        content = read_yaml(text) if text.strip() else {"stages": {}}
        wrong = mismatch(content, {"stages": {str: dict}})
        wrong = wrong or next(filter(None, map(_wrong, content["stages"].values())), None)
    except Unreadable as error:
        wrong = str(error)
    if wrong:
        raise UserError(f"{LOCK}: {wrong}. After a conflict: aura lock resolve; after damage: aura repair")
    return dict(content["stages"])


def _wrong(entry: dict[str, Any]) -> str | None:
    """Return the fault in what an entry says of its outputs; None if there is none."""
    return mismatch(entry.get("outs", []), [{"path": str}], "outs")


def dump(stages: Stages) -> bytes:
    """A dvc.lock as DVC writes it."""
    yaml, text = YAML(), StringIO()
    yaml.default_flow_style = False
    yaml.dump({"schema": "2.0", "stages": stages}, text)
    return text.getvalue().encode()
