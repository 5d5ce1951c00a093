"""Why a stage would run: dvc.lock's record of its last run, compared with what is there now.

DVC decides by hashes and says which file they differ in. Here the two records are set side by side, so that each
difference has its old and new value, and its kind: a parameter, a library, a module of the program, data, or what an
earlier stage gives. DVC keeps no list of the files in a folder, so git names those that changed. `reasons` is a pure
function of two records; with `--since`, the older one is another commit's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.stage import PipelineStage
from dvc.stage.serialize import to_single_stage_lockfile
from networkx import topological_sort

from aura.core.errors import UserError
from aura.core.libraries import VERSIONS_FILE, is_code
from aura.project import recorded_inputs
from aura.project.lock_merge import LOCK, Stages, stages_of
from aura.sharing.git import GitFailed, git
from aura.sharing.remote import open_repo

Record = dict[str, Any]
_NAMED = 5  # files of a folder that a reason names


def why(stage: str | None, since: str | None) -> dict[str, list[str]]:
    """The reasons for each stage that would run, in the order of the pipeline; no entry for those that would not.

    A frozen stage runs for no change before it.

    Args:
        stage: a stage and what it depends on; all stages when None.
        since: the git revision whose dvc.lock to compare with, instead of that of the working directory.
    """
    before = _recorded(since)
    found: dict[str, list[str]] = {}
    changed = _changed_files(since)
    with open_repo() as repo, lock_repo(repo):
        producers: dict[str, str] = {}
        misrecorded = recorded_inputs.misrecorded(Path(repo.cache.local_cache_dir)) if since is None else {}
        for entry in _stages(repo, stage):
            name = entry.addressing
            told = [] if entry.frozen else list(reasons(before.get(name), _now(entry), producers))
            told = [_with_files(reason, changed) for reason in told]
            upstream = [] if entry.frozen else [name for name in _upstream(entry, producers) if name in found]
            told += [f"upstream: {', '.join(upstream)} would run, and may give other bytes"] if upstream else []
            if name in misrecorded:
                told.append(recorded_inputs.told(misrecorded[name]))
            if since is None:
                told += [f"output {out}: {out.workspace_status()[str(out)]}" for out in entry.outs if _lost(out)]
            if told:
                found[name] = told
            producers |= {str(out): name for out in entry.outs}
    return found


def reasons(before: Record | None, now: Record, producers: dict[str, str]) -> Iterator[str]:
    """Yield the differences between the record of a stage's last run and that of a run now, a line each.

    Args:
        before: the stage's entry in dvc.lock, or None.
        now: the same, of what is there now.
        producers: the stage that each output of the pipeline comes from, by path.
    """
    if before is None:
        yield "never run: dvc.lock has no record of it"
        return
    if before["cmd"] != now["cmd"]:
        yield f"command: {before['cmd']} → {now['cmd']}"
    yield from _params(before.get("params", {}), now.get("params", {}))
    old, new = ({dep["path"]: dep for dep in record.get("deps", [])} for record in (before, now))
    for path in sorted(old.keys() | new.keys()):
        kind = _kind(path, producers)
        if path not in new:
            yield f"{kind} {path}: no longer a dependency"
        elif path not in old:
            yield f"{kind} {path}: a new dependency"
        elif new[path].get("md5") is None:
            yield f"{kind} {path}: is not here (dvc repro --pull fetches what is needed)"
        elif old[path].get("md5") != new[path]["md5"]:
            yield f"{kind} {path}: changed{_sizes(old[path], new[path])}"


def _params(old: dict[str, Record], new: dict[str, Record]) -> Iterator[str]:
    for file in sorted(old.keys() | new.keys()):
        before, now = old.get(file, {}), new.get(file, {})
        kind = "library" if file == str(VERSIONS_FILE) else "param"
        for key in sorted(before.keys() | now.keys()):
            was, is_now = before.get(key, "not there"), now.get(key, "not there")
            if was != is_now:
                yield f"{'code' if is_code(file, key) else kind} {key}: {was} → {is_now}"


def _kind(path: str, producers: dict[str, str]) -> str:
    if path in producers:
        return f"output of {producers[path]},"
    return "module" if path.endswith(".py") else "file" if Path(path).suffix else "folder"


def _sizes(old: Record, new: Record) -> str:
    """Say how many files or bytes there were and are, if the number is another one."""
    for key, unit in (("nfiles", "files"), ("size", "bytes")):
        if old.get(key) != new.get(key) and key in old and key in new:
            return f" ({old[key]:,} → {new[key]:,} {unit})"
    return ""


def _with_files(reason: str, changed: list[str]) -> str:
    """A reason that names a folder, with the files in it that changed; any other reason as it is."""
    kind, _, rest = reason.partition(" ")
    folder, _, _ = rest.partition(":")
    names = [path for path in changed if path.startswith(f"{folder}/")] if kind == "folder" else []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{reason}: {', '.join(names[:_NAMED])}{more}" if names else reason


def _changed_files(since: str | None) -> list[str]:
    """Files that git knows to differ from `since`, or from the commit that last wrote dvc.lock; new ones, too."""
    try:
        revision = since or git("log", "-1", "--format=%H", "--", str(LOCK)).strip()
        changed = git("diff", "--name-only", "--relative", "-z", revision, "--") if revision else ""
        return sorted(filter(None, (changed + git("ls-files", "--others", "--exclude-standard", "-z")).split("\0")))
    except GitFailed:  # a project without git, which DVC allows
        return []


def _recorded(since: str | None) -> Stages:
    if since is None:
        return stages_of(LOCK.read_text(encoding="utf-8")) if LOCK.exists() else {}
    try:
        git("rev-parse", "--verify", "--quiet", f"{since}^{{commit}}")
        return stages_of(git("show", f"{since}:./{LOCK}"))
    except GitFailed as error:
        raise UserError(f"expected a git revision with a {LOCK}, got {since} ({error})") from None


def _stages(repo: Repo, name: str | None) -> list[PipelineStage]:
    """The pipeline's stages, each after those it depends on."""
    ordered = [
        stage for stage in reversed(list(topological_sort(repo.index.graph))) if isinstance(stage, PipelineStage)
    ]
    if name is None:
        return ordered
    try:
        wanted = plan_repro(get_active_graph(repo.index.graph), list(repo.stage.collect(name)))
    except DvcException:
        known = ", ".join(stage.addressing for stage in ordered)
        raise UserError(f"there is no stage {name}. There are: {known}") from None
    return [stage for stage in ordered if stage in wanted]


def _now(stage: PipelineStage) -> Record:
    """The record that dvc.lock would get if the stage ran now; what is not there has no hash."""
    stage.save_deps(allow_missing=True)
    record: Record = to_single_stage_lockfile(stage)
    for dep in stage.deps:
        if not dep.exists:
            next(entry for entry in record["deps"] if entry["path"] == dep.def_path).pop("md5", None)
    return record


def _upstream(stage: PipelineStage, producers: dict[str, str]) -> list[str]:
    return sorted({producers[str(dep)] for dep in stage.deps if str(dep) in producers})


def _lost(out: Any) -> bool:  # noqa: ANN401 - DVC's
    """Return whether an output is not what dvc.lock says; one that was never made is no reason of its own."""
    return bool(out.hash_info) and bool(out.workspace_status())
