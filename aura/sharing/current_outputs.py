"""Outputs of the pipeline that can be released: exactly what dvc.lock records, by stages that need not run again."""

from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.repo import Repo

from aura.core.errors import UserError
from aura.sharing.remote import open_repo


def require_current(path: Path, stage: str) -> dict[str, Any]:
    """Refuse an output that differs from dvc.lock, or whose stages up to `stage` would run again.

    Returns:
        What its own stage was made from: `inputs` (hashes by path, of data and models), `params` and `versions`.

    Raises:
        UserError: it names the output or the stages.
    """
    with open_repo() as repo:
        outs = repo.find_outs_by_path(str(path))
        if outs[0].workspace_status():
            raise UserError(f"{path} differs from dvc.lock. Run: dvc repro; or, to go back: dvc checkout {path}")
        outdated = _outdated(repo, stage)
        made_from = _made_from(outs[0].stage)
    if outdated:
        raise UserError(f"{', '.join(outdated)}: not up to date, see: aura why. Run: dvc repro")
    return made_from


def _outdated(repo: Repo, stage: str) -> list[str]:
    """The stages up to `stage` that would run again; data that is just not on this machine does not count."""
    status = repo.status(targets=[stage], with_deps=True)
    return [name for name, changes in status.items() if any(not _only_absent(change) for change in changes)]


def _only_absent(change: str | dict[str, dict[str, Any]]) -> bool:
    if isinstance(change, str):
        return False
    return all(what in ("deleted", "not in cache") for paths in change.values() for what in paths.values())


def _made_from(stage: Any) -> dict[str, Any]:  # noqa: ANN401 - a PipelineStage
    made_from: dict[str, Any] = {"inputs": {}, "params": {}, "versions": {}}
    for dependency in stage.deps:
        if not isinstance(dependency, ParamsDependency):
            if not str(dependency).startswith("aura/"):
                made_from["inputs"][str(dependency)] = dependency.hash_info.value
        elif str(dependency) == "versions.json":
            made_from["versions"] = dict(dependency.hash_info.value)
        else:
            made_from["params"] |= dependency.hash_info.value
    return made_from
