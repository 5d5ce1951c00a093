"""Removes data that git can no longer reach, from the cache on this machine and, if asked, from the bucket.

Data stays that any ref of this clone names (branches, tags, experiments), that the workspace holds, and that git itself
keeps: stashes, reflogs, worktrees, indexes (`aura/project/kept.py`). DVC's own `gc` keeps what it is told to keep, and
does not look at the branches of colleagues; buckets have lost data that way (iterative/dvc#2325). So the bucket is
touched only by a clone that knows every branch, tag and experiment of its git remotes. Here and there an object stays
while it is young: a run may have made it, or a colleague pushed it, whose commit is still to come. Two projects must
not share a prefix, because neither knows what the other one needs. For shards in a store (`store` in params.yaml) the
same holds; the `shards.json` of all those commits name the shards that are needed.

DVC's lock is held from the first look to the last removal, so that no other DVC command of this folder runs between.

Records of runs stay. One whose outputs are gone does no harm: DVC then runs that stage.

Unfinished files beside the outputs go at any age. A stage at work holds a lock on those that it writes. DVC's own come
from a copy that failed or was killed, and no DVC copies while its lock is held here.
"""

import re
import shutil
import time
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from aura.core.errors import UserError
from aura.core.files import folder_size, leftovers
from aura.core.files import remove as remove_path
from aura.project import kept, whole_params
from aura.sharing.delivery import RemoteObject, download, item
from aura.sharing.git import git
from aura.sharing.remote import DvcRemote, TransferError, has_remote
from aura.sharing.transfer import expand, locked
from aura.storage import cache, placement, shard_lists
from aura.storage import store as stores

DAY = 24 * 3600.0  # seconds
_UNFINISHED = re.compile(r"\.(.+?)(\.[0-9a-f]{8})?\.partial")  # as `aura/core/files.py` names them
_UNFINISHED_BY_DVC = re.compile(r"\.[A-Za-z0-9_-]{22}\.tmp")  # as `dvc_objects.fs.utils.tmp_fname` names them


@dataclass(frozen=True)
class Deletable:
    """Things to delete: their kind, number and size, and how to remove them."""

    kind: str
    count: int
    bytes: int
    remove: Callable[[], object]


@contextmanager
def find_deletable(*, cloud: bool, older_than: float) -> Iterator[list[Deletable]]:
    """Find what can be removed, and remove nothing. Remove it inside the `with`: until its end no other DVC runs here.

    Args:
        cloud: also look into the bucket.
        older_than: days for which an object, or a run's checkpoints, must not have been written to.

    Raises:
        UserError: it cannot be known what is needed, or another DVC is at work.
    """
    with locked() as repo:
        if cloud:
            _know_every_branch()
        remote, folder = DvcRemote(repo) if cloud else None, Path(repo.cache.local_cache_dir)
        if not folder.is_relative_to(repo.root_dir):
            raise UserError(f"DVC's cache ({folder}) may be shared with other projects, whose needs are not known here")
        needed = {entry.name: entry for entry in _also_kept(Path(repo.root_dir), folder, remote)}
        needed |= {entry.name: entry for entry in _needed(repo, folder)}
        found = [_unused_locally(folder, needed, older_than * DAY), _unfinished(repo)]
        found += [_old_checkpoints(older_than), _action_cache()]
        if remote:
            found.append(_unused_in_bucket(remote, needed, older_than * DAY))
            place = placement.of(whole_params.load().store)
            if place.store:
                listed = _listed(remote, folder, needed.values())
                found.append(_unused_shards(place.store, listed, older_than * DAY))
        yield [one for one in found if one.count]


def _know_every_branch() -> None:
    """Fetch all branches, tags and experiments of the git remotes, so that what colleagues need is known."""
    if git("rev-parse", "--is-shallow-repository") == "true":
        raise UserError("this clone is shallow and does not know what others need. Run first: git fetch --unshallow")
    remotes = git("remote").splitlines()
    if not remotes:
        raise UserError(
            "this repository has no git remote, so what others need is not known. Use a clone of the team's"
        )
    for remote in remotes:
        git("fetch", "--quiet", "--tags", remote, f"+refs/heads/*:refs/remotes/{remote}/*")
        git("fetch", "--quiet", "--no-tags", "--prune", remote, f"+refs/exps/*:refs/aura/experiments/{remote}/*")


def _needed(repo: Repo, folder: Path) -> list[RemoteObject]:
    """All objects that some commit at a ref, or the workspace, is made of."""
    outs: dict[str, str] = {}
    commits = set(git("rev-list", "--no-walk", "--all").split())
    try:
        for revision in repo.brancher(revs=sorted(commits)):
            for out in repo.index.outs:
                here = (folder / item(out.hash_info.value, "").name).exists() if out.hash_info else False
                if out.hash_info and (out.use_cache or here):
                    outs[out.hash_info.value] = f"{out} of {revision[:12]}"
    except DvcException as error:
        raise UserError(f"cannot tell what is needed: {error}") from None
    missing = any(oid.endswith(".dir") and not (folder / item(oid, "").name).exists() for oid in outs)
    if missing and not has_remote(repo):
        # No one can ask for a folder whose list of files is nowhere: each clone lacks those of older commits.
        return expand(None, folder, _available(outs, folder, None))
    return expand(DvcRemote(repo) if missing else None, folder, outs.items())


def _also_kept(project: Path, folder: Path, remote: DvcRemote | None) -> Iterator[RemoteObject]:
    """All objects of what only a stash, reflog, index or worktree names.

    A folder's list that is nowhere, because it was removed before, needs nothing: no one can ask for its files. Without
    `remote`, one that is not here needs nothing here: its files are where it is.
    """
    for out in _available(kept.outputs(project), folder, remote):
        yield from expand(None, folder, [out])


def _available(outs: dict[str, str], folder: Path, remote: DvcRemote | None) -> Iterable[tuple[str, str]]:
    """Those of `outs` that are files, or folders whose list is here, after it was fetched where the bucket has it."""
    lists = {item(oid, label).name: (oid, label) for oid, label in outs.items() if oid.endswith(".dir")}
    absent = {name for name in lists if not (folder / name).exists()}
    if remote and absent:
        try:
            there = remote.held(absent, below="files/md5")
        except TransferError as error:
            raise UserError(f"{remote.url}: {error}. Try again") from None
        download(remote, folder, [item(*lists[name]) for name in there])
        absent.difference_update(there)
    unknown = {lists[name][0] for name in absent}
    return [(oid, label) for oid, label in outs.items() if oid not in unknown]


def _listed(remote: DvcRemote, folder: Path, needed: Iterable[RemoteObject]) -> set[str]:
    """The names of all shards and inner lists that lists among the needed objects name; absent lists are fetched.

    A shard's name is its hash, so one that was put under another spelling of the store's address counts as well.
    """
    lists = [entry for entry in needed if Path(entry.label).name == placement.LIST]
    download(remote, folder, lists)
    found = (shard_lists.names_of_objects(folder / entry.name, "aura repair; dvc repro") for entry in lists)
    return {name for names in found for name in names}


def _unused_shards(store: stores.ObjectStore, needed: Container[str], age: float) -> Deletable:
    """Shards that no list names; the action cache in the store is pruned by `aura cache prune`."""
    now = time.time()
    unused = {
        name: size
        for name, (size, written) in store.sizes_and_times(stores.OBJECTS).items()
        if name not in needed and now - written >= age
    }
    return Deletable(f"shards in {store.url}", len(unused), sum(unused.values()), lambda: store.remove(unused))


def _unused_locally(folder: Path, needed: Container[str], age: float) -> Deletable:
    now = time.time()
    there = (path for path in (folder / "files/md5").glob("??/*") if path.relative_to(folder).as_posix() not in needed)
    paths = [path for path in there if now - _written(path) >= age]

    def remove() -> None:
        # Lists of files first: a folder whose list is there counts as whole.
        for path in sorted(paths, key=lambda path: path.suffix != ".dir"):
            path.unlink(missing_ok=True)

    return Deletable("objects in DVC's cache", len(paths), sum(path.stat().st_size for path in paths), remove)


def _unfinished(repo: Repo) -> Deletable:
    """Find the unfinished files and folders that killed commands left, beside the outputs and in .aura."""
    root = Path(repo.root_dir)
    places = {root / ".aura"} | {folder for out in repo.index.outs for folder in Path(out.fs_path).parents}
    folders = sorted(folder for folder in places if folder.is_relative_to(root) and folder.is_dir())

    def left() -> list[Path]:
        entries = [entry for folder in folders for entry in folder.iterdir()]
        names = ((entry, _UNFINISHED.fullmatch(entry.name)) for entry in entries)
        outputs = {entry.with_name(name[1]) for entry, name in names if name}
        of_dvc = [entry for entry in entries if _UNFINISHED_BY_DVC.fullmatch(entry.name) and entry.is_file()]
        return [path for output in sorted(outputs) for path in leftovers(output)] + of_dvc

    def remove() -> None:
        for path in left():  # anew: a command may have begun to write meanwhile
            remove_path(path)

    found = left()
    size = sum(folder_size(path) if path.is_dir() else path.lstat().st_size for path in found)
    return Deletable("unfinished outputs that killed commands left", len(found), size, remove)


def _written(path: Path) -> float:
    """When a cached file was made or put here: DVC moves files into its cache with the time that they had."""
    return max(path.stat().st_mtime, path.stat().st_ctime)


def _unused_in_bucket(store: DvcRemote, needed: Container[str], age: float) -> Deletable:
    try:
        there = store.sizes_and_ages("files/md5")
    except TransferError as error:
        raise UserError(f"{store.url}: {error}. Try again") from None
    unused = {name: size for name, (size, old) in there.items() if name not in needed and old >= age}

    def remove() -> None:
        # Lists of files first: a folder whose list is there counts as whole.
        for lists in (True, False):
            names = [name for name in unused if name.endswith(".dir") is lists]
            if names:
                store.remove(names)

    return Deletable(f"objects in {store.url}", len(unused), sum(unused.values()), remove)


def _old_checkpoints(days: float) -> Deletable:
    """Checkpoints of runs that no one went on with; each run has a folder of its own, by what decides it.

    Those in a bucket (`pretrain.checkpoint_folder: gs://…`) are left to the bucket's own rules of ageing.
    """
    folder = Path(whole_params.load().pretrain.checkpoint_folder)  # of an address, a path that does not exist
    old = [run for run in folder.glob("*") if time.time() - _last_change(run) >= days * DAY]

    def remove() -> None:
        for run in old:
            shutil.rmtree(run)

    return Deletable(f"runs' checkpoints in {folder}", len(old), sum(map(folder_size, old)), remove)


def _last_change(folder: Path) -> float:
    paths: Iterable[Path] = [folder, *folder.rglob("*")]
    return max(path.stat().st_mtime for path in paths)


def _action_cache() -> Deletable:
    found, limit = cache.project_cache(), whole_params.load().cache.max_bytes
    held = found.stats()
    too_much = max(0, int(held.bytes - limit))
    return Deletable(
        f"of the action cache's {held.entries:,} entries, the oldest",
        int(too_much > 0),
        too_much,
        lambda: found.prune(limit),
    )
