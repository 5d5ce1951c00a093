"""Removing what no one can ask for any more, from the cache on this machine and, if asked, from the bucket.

Kept is what any branch, tag, remote branch, experiment or stash of this clone names, and the workspace. DVC's own
`gc` keeps what it is told to keep, and does not look at the branches of colleagues; buckets have lost data that way
(iterative/dvc#2325). So the bucket is touched only by a clone that knows every branch and tag of its git remotes,
and an object there stays while it is young: someone may have pushed it whose commit is still to come. Two projects
must not share a prefix, because neither knows what the other one needs.

Records of runs stay. One whose outputs are gone does no harm: DVC then runs that stage.
"""

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo

from aura import cache, params
from aura.delivery import item
from aura.errors import UserError
from aura.files import folder_size
from aura.git import git
from aura.remote import Store, TransferError, open_repo
from aura.transfer import expand

DAY = 24 * 3600.0  # seconds


@dataclass(frozen=True)
class Rubbish:
    """What is to go: what it is, how many there are, of what size, and how to remove it."""

    kind: str
    count: int
    bytes: int
    remove: Callable[[], object]


def find_rubbish(*, cloud: bool, older_than: float) -> list[Rubbish]:
    """What can be removed; nothing is yet.

    Args:
        cloud: also look into the bucket.
        older_than: days for which an object in the bucket, or a run's checkpoints, must not have been written to.

    Raises:
        UserError: it cannot be known what is needed.
    """
    with open_repo() as repo, lock_repo(repo):
        if cloud:
            _know_every_branch()
        store, folder = Store(repo) if cloud else None, Path(repo.cache.local_cache_dir)
        if not folder.is_relative_to(repo.root_dir):
            raise UserError(f"DVC's cache ({folder}) may be shared with other projects, whose needs are not known here")
        needed = _needed(repo, folder)
        found = [_unused_locally(folder, needed), _old_checkpoints(older_than), _action_cache()]
        if store:
            found.append(_unused_in_bucket(store, needed, older_than * DAY))
    return [rubbish for rubbish in found if rubbish.count]


def _know_every_branch() -> None:
    """Fetch all branches and tags of the git remotes, so that what colleagues need is known."""
    if git("rev-parse", "--is-shallow-repository") == "true":
        raise UserError("this clone is shallow and does not know what others need. Run first: git fetch --unshallow")
    remotes = git("remote").splitlines()
    if not remotes:
        raise UserError(
            "this repository has no git remote, so what others need is not known. Use a clone of the team's"
        )
    for remote in remotes:
        git("fetch", "--quiet", "--tags", remote, f"+refs/heads/*:refs/remotes/{remote}/*")


def _needed(repo: Repo, folder: Path) -> set[str]:
    """The names of all objects that some commit at a ref, or the workspace, is made of."""
    outs: dict[str, str] = {}
    commits = set(
        git("for-each-ref", "--format=%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)").split()
    )
    try:
        for revision in repo.brancher(revs=sorted(commits)):
            for out in repo.index.outs:
                here = (folder / item(out.hash_info.value, "").name).exists() if out.hash_info else False
                if out.hash_info and (out.use_cache or here):
                    outs[out.hash_info.value] = f"{out} of {revision[:12]}"
    except DvcException as error:
        raise UserError(f"cannot tell what is needed: {error}") from None
    missing = any(oid.endswith(".dir") and not (folder / item(oid, "").name).exists() for oid in outs)
    store = Store(repo) if missing else None
    return {entry.name for entry in expand(store, folder, outs.items())}


def _unused_locally(folder: Path, needed: set[str]) -> Rubbish:
    paths = [path for path in (folder / "files/md5").glob("??/*") if path.relative_to(folder).as_posix() not in needed]

    def remove() -> None:
        # Lists of files first: a folder whose list is there counts as whole.
        for path in sorted(paths, key=lambda path: path.suffix != ".dir"):
            path.unlink(missing_ok=True)

    return Rubbish("objects in DVC's cache", len(paths), sum(path.stat().st_size for path in paths), remove)


def _unused_in_bucket(store: Store, needed: set[str], age: float) -> Rubbish:
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

    return Rubbish(f"objects in {store.url}", len(unused), sum(unused.values()), remove)


def _old_checkpoints(days: float) -> Rubbish:
    """Checkpoints of runs that no one went on with; each run has a folder of its own, by what decides it.

    Those in a bucket (`pretrain.checkpoint_folder: gs://…`) are left to the bucket's own rules of ageing.
    """
    folder = Path(params.load().pretrain.checkpoint_folder)  # of an address, a path that does not exist
    old = [run for run in folder.glob("*") if time.time() - _last_change(run) >= days * DAY]

    def remove() -> None:
        for run in old:
            shutil.rmtree(run)

    return Rubbish(f"runs' checkpoints in {folder}", len(old), sum(map(folder_size, old)), remove)


def _last_change(folder: Path) -> float:
    paths: Iterable[Path] = [folder, *folder.rglob("*")]
    return max(path.stat().st_mtime for path in paths)


def _action_cache() -> Rubbish:
    found, limit = cache.project_cache(), params.load().cache.max_bytes
    held = found.stats()
    too_much = max(0, int(held.bytes - limit))
    return Rubbish(
        f"of the action cache's {held.entries:,} entries, the oldest",
        int(too_much > 0),
        too_much,
        lambda: found.prune(limit),
    )
