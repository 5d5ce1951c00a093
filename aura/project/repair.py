"""`aura repair`: what a power cut, a failing disk or a killed program damaged, found and put right.

DVC does not read a file again whose size, inode and time are as it remembers, nor an object of its cache with mode
0444. So a damaged file stays, and a stage that reads it gives other bytes under the hash of the right ones. Every such
file is hashed here, once (`aura/sharing/verified.py`), and so are the records of runs. Nothing is taken from a network.

The order makes it safe to be killed: first what stages made of damaged files is forgotten (their entries in dvc.lock
and their run records), then DVC's belief in the files, then the files go. Until then the damage is found again.
A stage that read what such a stage made needs no such care: its record is true of the bytes that it names.

A stage whose inputs changed between its end and DVC's hashing is recorded with other inputs than it read
(`aura/project/recorded_inputs.py`); its entry and its run's record are forgotten, too.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.fsutils import _localfs_info
from dvc_objects.fs.local import localfs

from aura.core.bounded import bounded_yaml
from aura.core.errors import UserError
from aura.core.files import make_readable, remove, write_bytes
from aura.core.outside_names import object_hash
from aura.project import dvc_state, recorded_inputs
from aura.project.dvc_state import set_aside
from aura.project.lock_merge import LOCK, Stages, dump, stages_of
from aura.sharing.delivery import HASHED, RemoteObject, accept, item, run_outputs, staging
from aura.sharing.transfer import files_of, locked
from aura.sharing.verified import FILE, Verified, cached_files, md5, stamp_of
from aura.storage.placement import at_once

CONFIGURATION = (".dvc/config", ".dvc/config.local", "dvc.yaml", "dvc.lock")


@dataclass
class Report:
    """Account of a repair: what was checked, done, and left to the user, a line each."""

    checked: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Output:
    """A file or folder that dvc.lock or a .dvc file records, and whether a stage of the pipeline makes it."""

    path: Path
    oid: str
    made: bool
    cached: bool


def repair(*, everything: bool = False) -> Report:
    """Check all that DVC would believe unread in the project of the working directory, and put it right.

    Args:
        everything: read also what did not change since it was last verified.

    Raises:
        UserError: this is no DVC project, a DVC command is at work, or a file must be repaired by hand first.
    """
    report, verified = Report(), Verified(FILE, trusted=not everything)
    report.done += dvc_state.repair()
    with locked() as repo:
        cache = Path(os.path.relpath(repo.cache.local_cache_dir))  # as a copy of the project has it, too
        outputs, sources = _recorded(repo)
        objects = [Path(name) for name in cached_files(cache) if (cache / "files") in Path(name).parents]
        bad_objects = _bad_objects(objects, verified)
        misrecorded = recorded_inputs.misrecorded(cache)
        _check_runs(cache, verified, report, all_again=bool(misrecorded))
        wrong = _bad_files(repo, [*outputs, *sources], verified)
        report.checked.append(
            f"checked {len(objects):,} objects of DVC's cache, and what DVC believes of the workspace; "
            f"read {verified.hashed:,} files, {verified.bytes / 1e6:,.1f} MB, and knew the others by their stamps"
        )
        if bad_objects or wrong:
            tainted = _tainted(cache, bad_objects, wrong, [*outputs, *sources])
            _forget_stages(repo, dict.fromkeys(_readers(tainted), "may have read damaged data"), report)
            _forget_runs(cache, tainted, report)
            _remove(repo, cache, outputs, bad_objects, wrong, report)
            repo.drop_data_index()
        _forget_stages(repo, {name: _other(found) for name, found in misrecorded.items()}, report)
        verified.cache = str(cache)
    verified.configuration = {path: stamp_of(path) for path in CONFIGURATION}
    verified.save(complete=True)
    return report


def _recorded(repo: Repo) -> tuple[list[_Output], list[_Output]]:
    """The outputs of stages and .dvc files, and all else that stages depend on."""
    try:
        stages = list(repo.index.stages)
    except DvcException as error:
        raise UserError(f"{error}. Repair that file first, or take it from git: git checkout -- dvc.yaml") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # DVC (3.67.1) does not check every key
        raise UserError(
            f"a .dvc file or dvc.yaml is damaged: DVC fails at {error}. See: git diff; take it from git: git checkout"
        ) from None
    outputs = [_output(out, bool(stage.cmd)) for stage in stages for out in stage.outs if out.hash_info]
    made = {out.path for out in outputs}
    sources = {dep.fs_path: dep for stage in stages for dep in stage.deps if dep.hash_info and dep.protocol == "local"}
    return outputs, [source for source in (_output(dep, False) for dep in sources.values()) if source.path not in made]


def _output(out: Any, made: bool) -> _Output:  # noqa: ANN401 - DVC's
    return _Output(Path(os.path.relpath(out.fs_path)), str(out.hash_info.value), made, bool(out.use_cache))


def _oid(path: Path) -> str | None:
    """The hash that an object's place says; None for a file that is no object."""
    try:
        return object_hash(path.parent.name + path.name, "")
    except UserError:
        return None


def _bad_objects(paths: list[Path], verified: Verified) -> dict[str, Path]:
    """The objects whose bytes do not have their hash."""

    def is_bad(path: Path) -> bool:
        oid = _oid(path)
        if oid is None:
            verified.note(path)
            return False
        make_readable(path)
        return not verified.holds(path, oid.removesuffix(".dir"))

    found = at_once(is_bad, paths, HASHED)
    return {path.parent.name + path.name: path for path, bad in zip(paths, found, strict=True) if bad}


def _check_runs(cache: Path, verified: Verified, report: Report, *, all_again: bool) -> None:
    """Remove the records of runs that are damaged, or say other inputs than were read: DVC would take from them."""
    for path in sorted((cache / "runs").glob("*/*/*")):
        if all_again or not verified.noted(path):
            make_readable(path)
            if run_outputs(path, path.relative_to(cache).as_posix()) is None:
                remove(path)
                report.done.append(f"removed {path}: a damaged record of a run")
            elif other := recorded_inputs.other_inputs(bounded_yaml(path.read_text(encoding="utf-8")), cache):
                path.unlink()
                report.done.append(f"removed {path}, a record of a run: it {_other(other)}")
            else:
                verified.note(path)
    _remove_empty(cache)


def _remove_empty(cache: Path) -> None:
    """Remove folders of the run cache that hold no record: DVC (3.67.1) fails on one, as a kill may leave it."""
    for folder in (cache / "runs").glob("*/*"):
        with suppress(OSError):  # it holds a record
            folder.rmdir()


def _bad_files(repo: Repo, recorded: list[_Output], verified: Verified) -> dict[Path, str]:
    """The files of the workspace that DVC believes to have an MD5 that they do not have."""
    absolute = [str(path.absolute()) for out in recorded for path in _files(out.path)]
    infos = {path: _localfs_info(path) for path in absolute}
    believed = [
        (Path(os.path.relpath(path)), str(found.value))
        for path, _, found in repo.state.get_many(absolute, localfs, infos)
        if found and found.name == "md5"
    ]
    right = at_once(lambda one: verified.holds(*one), believed, HASHED)
    return {path: digest for (path, digest), holds in zip(believed, right, strict=True) if not holds}


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in sorted(path.rglob("*")) if file.is_file())
    elif path.is_file():
        yield path


def _tainted(cache: Path, bad_objects: dict[str, Path], wrong: dict[Path, str], recorded: list[_Output]) -> set[str]:
    """The hashes under which a stage may have read other bytes: of damaged files, and of folders that hold one."""
    tainted = {*bad_objects, *wrong.values()}
    for path in (cache / "files/md5").glob("??/*.dir"):
        oid = path.parent.name + path.name
        if oid not in bad_objects and any(digest in tainted for _, digest in _listed(path)):
            tainted.add(oid)
    return tainted | {out.oid for out in recorded if any(out.path in (path, *path.parents) for path in wrong)}


def _listed(path: Path) -> list[tuple[str, str]]:
    try:
        return files_of(path, f"the list of files {path}")
    except (UserError, OSError):
        return []


def _recorded_stages() -> Stages:
    return stages_of(LOCK.read_text(encoding="utf-8")) if LOCK.exists() else {}


def _readers(tainted: set[str]) -> list[str]:
    """The stages of dvc.lock that read what is tainted."""
    stages = _recorded_stages().items()
    return [name for name, entry in stages if any(dep.get("md5") in tainted for dep in entry.get("deps", []))]


def _other(found: list[str]) -> str:
    return f"is recorded with other inputs than were read ({recorded_inputs.shown(found)})"


def _forget_stages(repo: Repo, reasons: dict[str, str], report: Report) -> None:
    """Take stages out of dvc.lock, so that DVC runs them; `reasons` says of each what is wrong with its entry."""
    if not reasons:
        return
    frozen = {stage.addressing for stage in repo.index.stages if stage.frozen}
    for name, reason in reasons.items():
        if name in frozen:
            report.needed.append(f"{name} {reason}, and is frozen. Run: dvc unfreeze {name}; aura repair; dvc repro")
        else:
            report.done.append(f"{name} {reason}: dvc repro runs it again")
    if gone := reasons.keys() - frozen:
        write_bytes(LOCK, dump({name: entry for name, entry in _recorded_stages().items() if name not in gone}))


def _forget_runs(cache: Path, tainted: set[str], report: Report) -> None:
    """Remove the records of runs that read what is tainted, so that DVC takes no result from them."""
    gone = 0
    for path in (cache / "runs").glob("*/*/*"):
        text = path.read_text(encoding="utf-8", errors="replace")
        dependencies = text.partition("\nouts:")[0]
        if any(digest in dependencies for digest in tainted):
            path.unlink()
            gone += 1
    _remove_empty(cache)
    if gone:
        report.done.append(f"removed {gone:,} records of runs that may have read damaged data")


def _remove(
    repo: Repo,
    cache: Path,
    outputs: list[_Output],
    bad_objects: dict[str, Path],
    wrong: dict[Path, str],
    report: Report,
) -> None:
    """Remove damaged files, put back from the workspace what is right there, and say what becomes of the rest."""
    asked = (place for place in _places(cache, outputs) if place[0] in bad_objects)
    places = dict(sorted(asked, key=lambda place: _right_bytes(place[1][0], place[0]) is not None))  # a right one wins
    for path, digest in wrong.items():
        repo.state.hashes.delete(str(path.absolute()))
        out = next((out for out in outputs if out.path in (path, *path.parents)), None)
        if out is None:
            report.done.append(
                f"{path} is not as DVC remembers it, at the same time and size: dvc repro reads it again"
            )
        elif out.made or _is_right(cache, digest, bad_objects):
            path.unlink()
            report.done.append(f"removed {path}: damaged; dvc repro (or: dvc checkout {path}) puts it back")
        else:
            report.needed.append(f"{path} is damaged, and no right copy is here. Run: aura pull --force {out.path}")
    for oid, path in bad_objects.items():
        place, out = places.get(oid, (None, None))
        content = _right_bytes(place, oid) if place else None
        if out and not out.made and content is None:
            kept = set_aside(path, oid)
            report.needed.append(
                f"{place} is damaged in DVC's cache, and no stage makes it. What is left of it: {kept}. "
                f"Run: aura pull --force {out.path}; or put the right file there, then run: dvc commit"
            )
        else:
            remove(path)
            _put_back(cache, item(oid, ""), content)
            report.done.append(
                f"{'replaced' if content is not None else 'removed'} {path} ({place or 'an old result'}): damaged"
            )
        if place and place.is_symlink() and not place.exists():
            place.unlink()


def _places(cache: Path, outputs: list[_Output]) -> Iterator[tuple[str, tuple[Path, _Output]]]:
    """Yield for each recorded object the place where the workspace has, or should have, its bytes."""
    for out in outputs:
        listed = cache / item(out.oid, "").name
        if out.oid.endswith(".dir") and listed.exists():
            yield from ((digest, (out.path / name, out)) for name, digest in _listed(listed))
        yield out.oid, (out.path, out)


def _is_right(cache: Path, digest: str, bad_objects: dict[str, Path]) -> bool:
    return digest not in bad_objects and (cache / item(digest, "").name).exists()


def _right_bytes(place: Path, oid: str) -> bytes | Path | None:
    """The bytes of an object by what the workspace has in its place (a file's path, a folder's list); None if wrong."""
    if not oid.endswith(".dir"):
        return place if place.is_file() and md5(place) == oid else None
    listed = [{"md5": md5(file), "relpath": file.relative_to(place).as_posix()} for file in _files(place)]
    text = json.dumps(sorted(listed, key=lambda one: one["relpath"]), sort_keys=True).encode()
    return text if hashlib.md5(text, usedforsecurity=False).hexdigest() == oid.removesuffix(".dir") else None


def _put_back(cache: Path, entry: RemoteObject, content: bytes | Path | None) -> None:
    if content is None:
        return
    with staging(cache) as folder:
        arrival = folder / "one"
        arrival.write_bytes(content.read_bytes() if isinstance(content, Path) else content)
        accept(arrival, entry, cache)
