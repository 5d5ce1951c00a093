"""Push and pull: which objects a project's outputs and runs are, delivered by `aura/sharing/delivery.py`.

Plain `dvc push` and `dvc pull` work on the same bucket. Unlike them, these drop no failure of the run cache.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.exceptions import CheckoutError, DvcException
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo

from aura.core.bounded import Unreadable, read_json
from aura.core.dvc_environment import disk_full, is_disk_full
from aura.core.errors import UserError
from aura.core.outside_names import object_hash, relative_names
from aura.sharing.delivery import Moved, RemoteObject, download, item, run_outputs, shared_runs, upload
from aura.sharing.remote import DvcRemote, open_repo
from aura.sharing.verified import FILE, Verified, md5


def push(targets: list[str], *, run_cache: bool = False, force: bool = False) -> Moved:
    """Upload what dvc.lock and .dvc files name (or `targets` do), and the runs that made it; then check the bucket.

    Args:
        targets: outputs or stages; all of them when empty.
        run_cache: also all other runs in this machine's history whose outputs it still has.
        force: upload again what the bucket says it holds.

    Raises:
        UserError: something did not move; it says what, and why.
    """
    with locked() as repo:
        store, cache = DvcRemote(repo), Path(repo.cache.local_cache_dir)
        outs = _outs(repo, targets)
        items = expand(store, cache, [(out.hash_info.value, str(out)) for out in outs if out.use_cache])
        recorded = {out.hash_info.value for out in outs}
        records, objects = _runs(cache, None if run_cache else recorded)
        items += expand(store, cache, [(oid, "a run's output") for oid in objects]) + records
        return upload(store, cache, items, force=force)


def pull(targets: list[str], *, run_cache: bool = True, force: bool = False) -> Moved:
    """Download what dvc.lock and .dvc files name (or `targets` do), check it, and put it into the workspace.

    Args:
        targets: outputs or stages; all of them when empty.
        run_cache: also the records of what others ran, for `dvc repro --pull` to take instead of running it.
        force: overwrite outputs whose changes are in no cache.

    Raises:
        UserError: something did not arrive, and the workspace is as it was; it says what, and why.
    """
    with locked() as repo:
        store, cache = DvcRemote(repo), Path(os.path.relpath(repo.cache.local_cache_dir))  # as `Verified` names files
        wanted = [(out.hash_info.value, str(out)) for out in _outs(repo, targets) if out.use_cache]
        moved, verified = Moved(), Verified(FILE if Path(repo.root_dir) == Path.cwd() else None)
        items = expand(store, cache, wanted, moved)
        if run_cache:
            items += shared_runs(store)
        moved = download(store, cache, items, moved, verified)
        verified.save()
        repo.drop_data_index()
        try:
            repo.checkout(targets or None, force=force, allow_missing=True)  # missing: what was never built
        except CheckoutError as error:
            raise UserError(
                f"cannot put into the workspace: {', '.join(error.target_infos)}. See: dvc status"
            ) from None
        except DvcException as error:
            if is_disk_full(error):
                raise UserError(disk_full(error)) from None
            raise UserError(f"{error}\nTo overwrite it: aura pull --force") from None
        return moved


def expand(
    store: DvcRemote | None, folder: Path, outs: Iterable[tuple[str, str]], moved: Moved | None = None
) -> list[RemoteObject]:
    """The objects of outputs, given as (hash, label): each itself and, of a folder, its files.

    The lists of files are fetched where `folder` does not have them; `store` may be None where it has all. Raises
    `UserError` if a list is no list of files, or names one that is not below the folder.
    """
    items = [item(oid, label) for oid, label in outs]
    lists = [entry for entry in items if entry.name.endswith(".dir")]
    if store:
        download(store, folder, lists, moved)
    for entry in lists:
        files = files_of(folder / entry.name, f"the list of files of {entry.label}")
        items += [item(oid, f"{entry.label}/{name}") for name, oid in files]
    return items


def files_of(path: Path, origin: str) -> list[tuple[str, str]]:
    """The names and hashes of the files in a folder's list."""
    try:
        listed = [(file["relpath"], file["md5"]) for file in read_json(path.read_bytes())]
    except (Unreadable, TypeError, KeyError):
        raise UserError(
            f"{path}: expected {origin}, got no list of files of DVC. In a project of yours remove it, then run: aura "
            "pull; or make it again: dvc repro"
        ) from None
    names = relative_names((name for name, _ in listed), origin)
    return list(zip(names, (object_hash(oid, origin) for _, oid in listed), strict=True))


@contextmanager
def locked() -> Iterator[Repo]:
    """The project of the working directory, with DVC's lock held; another DVC at work is a `UserError`."""
    with open_repo() as repo:
        try:
            with lock_repo(repo):
                yield repo
        except LockError as error:
            raise UserError(f"{str(error).partition(chr(10))[0]} Run this again when it has ended") from None


def _outs(repo: Repo, targets: list[str]) -> list[Any]:
    """The outputs to move: those with a hash, which are no import from elsewhere and not marked `push: false`."""
    try:
        outs = list(repo.index.targets_view(targets or None).outs)
    except DvcException as error:
        raise UserError(f"{error}. See: dvc stage list") from None
    return [out for out in outs if out.hash_info and out.can_push and not out.stage.is_repo_import]


def _runs(cache: Path, recorded: set[str] | None) -> tuple[list[RemoteObject], set[str]]:
    """The records of runs whose every output is among `recorded` (None: of any run), and those outputs' hashes.

    A run whose outputs this machine no longer has is left out: no one could use it.
    """
    records, objects = [], set()
    for path in sorted((cache / "runs").glob("*/*/*")):
        name = path.relative_to(cache).as_posix()
        outputs = run_outputs(path, name)
        if outputs is None or (recorded is not None and not outputs <= recorded):
            continue
        if all((cache / item(oid, "").name).exists() for oid in outputs):
            records.append(RemoteObject(name, md5(path), "a run's record"))
            objects |= outputs
    return records, objects
