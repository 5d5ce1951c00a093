"""The bucket behind DVC's remote: how it is reached, what it holds, and what is wrong with it, in one line.

DVC and gcsfs do the talking. aura adds a limit on silence (gcsfs waits for ever), the bucket's own MD5 of every
object (DVC goes by names, so it takes a damaged object for a good one), and errors that say what to do. Three
facts about the libraries, as locked, decide the shape:

- gcsfs probes a bucket's storage layout; `prepare_gcsfs` turns that off, `make setup` does so for plain `dvc`.
- dvc-gs has no option for time limits; fsspec's own configuration reaches gcsfs past it.
- What is stored under an MD5 as its name is right exactly if the bucket reports that MD5 for it.
"""

import base64
import hashlib
import logging
import re
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aura.core import console
from aura.core.bounded import require_shallow
from aura.core.dvc_environment import disk_full, is_disk_full
from aura.core.errors import UserError
from aura.storage.store import prepare_gcsfs

prepare_gcsfs()

import aiohttp  # noqa: E402 - gcsfs reads a variable when it is imported, by whomever
from dvc.config import ConfigError, NoRemoteError, RemoteConfigError  # noqa: E402
from dvc.exceptions import NotDvcRepoError  # noqa: E402
from dvc.repo import Repo  # noqa: E402
from dvc.utils import strictyaml  # noqa: E402
from dvc.utils.serialize import _yaml, parse_yaml  # noqa: E402
from dvc_objects.fs import generic  # noqa: E402
from dvc_objects.fs.base import FileSystem  # noqa: E402
from dvc_objects.fs.local import localfs  # noqa: E402
from fsspec.callbacks import DEFAULT_CALLBACK, Callback  # noqa: E402

NAME = "store"  # what `aura remote set` calls the remote
ABSENT = "is not in the bucket"
_LIBRARIES = ("gcsfs", "dvc", "dvc_data", "dvc_objects", "google.auth", "asyncio")


class AccessRefused(UserError):
    """The bucket wants to know who asks, or does not let the one who asks."""


class TransferError(Exception):
    """A fault of the network or the bucket in a request, which may well succeed the next time."""


def open_repo(folder: Path | None = None, config: dict[str, Any] | None = None) -> Repo:
    """The DVC project in `folder` (default: the working directory), whose libraries then keep quiet about retries."""
    strictyaml.parse_yaml = _yaml.parse_yaml = _parsed_by_dvc
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    try:
        return Repo(str(folder or "."), config=config)
    except NotDvcRepoError:
        raise UserError(f"{folder or 'this folder'} is no DVC project. Run this in the project's folder") from None
    except ConfigError as error:
        raise UserError(f".dvc/config: {error}") from None


def _parsed_by_dvc(text: str, path: str, typ: str = "safe") -> Any:  # noqa: ANN401 - whatever YAML holds
    """DVC's own reading of YAML, within the bounds of ours; beyond them it would end in a trace."""
    try:
        require_shallow(text)
        return parse_yaml(text, path, typ=typ)
    except (ValueError, RecursionError) as error:  # `Unreadable`, or a number with too many digits
        raise UserError(f"{path} cannot be read: {str(error)[:200]}. See: git diff {path}") from None


def set_url(url: str) -> None:
    """Make `url` (or a folder) the project's default remote, in .dvc/config; nothing secret is among what is written.

    A remote's other options, such as those in .dvc/config.local, stay.
    """
    is_folder = url.startswith((".", "/"))
    if not is_folder and not re.fullmatch(r"gs://[^/@?#]+(/[^@?#]*)?", url):
        raise UserError(f"expected gs://BUCKET/PREFIX, or a folder such as ../store; got {url.rpartition('@')[2]}")
    if is_folder:
        _require_folder(Path(url))
    repo = open_repo()
    with repo.config.edit("repo") as config:
        config["remote"].setdefault(NAME, {}).update(url=url.rstrip("/"), verify=True)
        config["core"]["remote"] = NAME


def _require_folder(path: Path) -> None:
    """Make the folder of a remote, and say so, if the folder that it lies in is there: otherwise a name is wrong."""
    if path.is_dir():
        return
    if path.exists() or not path.parent.is_dir():
        wrong = f"{path} is no folder" if path.exists() else f"there is no folder {path.parent}, which is to hold it"
        raise UserError(f"expected a folder, or a new one in a folder that is there; got {path}: {wrong}")
    path.mkdir()
    console.err.print(f"made the folder {path.resolve()}", markup=False)


def has_remote(repo: Repo) -> bool:
    """Return whether the project names a default remote, be it a good one or not."""
    try:
        repo.cloud.get_remote()
    except NoRemoteError:
        return False
    except (RemoteConfigError, ConfigError):
        return True
    return True


class DvcRemote:
    """A project's default remote: objects under names such as `files/md5/ab/cdef…`, relative to its URL."""

    def __init__(self, repo: Repo) -> None:
        """Connect to the project's default remote; none, or a bad configuration, is a `UserError`."""
        try:
            remote = repo.cloud.get_remote()
        except NoRemoteError:
            raise UserError("no remote is set. Set one: aura remote set gs://BUCKET/PREFIX") from None
        except (RemoteConfigError, ConfigError) as error:
            raise UserError(f".dvc/config: {error}") from None
        self._set(remote.fs, remote.path)

    def _set(self, system: FileSystem, path: str) -> None:
        self.fs, self.root = system, path.rstrip("/")
        self.url: str = self.fs.unstrip_protocol(self.root)

    def held(self, names: Iterable[str] | None = None, below: str = "") -> dict[str, str]:
        """The MD5 of the bytes stored under each of `names` (None: every name under `below`) that is there.

        A bucket reports it with its listing. An object without one (a composite object, a file in a folder) is read.
        """
        listed = {name: entry.get("md5Hash") for name, entry in self._entries(below).items()}
        wanted = listed if names is None else [name for name in names if name in listed]
        return {name: _hex(listed[name]) or self._read_md5(name) for name in wanted}

    def sizes_and_ages(self, below: str) -> dict[str, tuple[int, float]]:
        """Of every object under the name `below`: its bytes, and the seconds since it was written."""
        now = time.time()
        times = {name: (entry["size"], entry["mtime"]) for name, entry in self._entries(below).items()}
        return {
            name: (int(size), now - (written if isinstance(written, float) else written.timestamp()))
            for name, (size, written) in times.items()
        }

    def reach(self) -> None:
        """Raise unless the bucket is there and answers."""
        self.held((), below="files/md5/00")

    def upload(self, folder: Path, names: Sequence[str]) -> dict[str, str]:
        """Copy files of `folder` to the same names here; returns why, for each that failed."""
        there = [f"{self.root}/{name}" for name in names]
        if self.fs.protocol == "local":
            for path in there:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
        return self._copy(localfs, [str(folder / name) for name in names], self.fs, there, names)

    def download(self, names: Sequence[str], paths: Sequence[Path]) -> dict[str, str]:
        """Copy objects to local files; returns why, for each that failed. The caller must verify them."""
        return self._fetched(names, paths)

    def _fetched(
        self, names: Sequence[str], paths: Sequence[Path], callback: Callback = DEFAULT_CALLBACK
    ) -> dict[str, str]:
        there, here = [f"{self.root}/{name}" for name in names], [str(path) for path in paths]
        return self._copy(self.fs, there, localfs, here, names, callback)

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects."""
        try:
            self.fs.fs.rm([f"{self.root}/{name}" for name in names])
        except Exception as error:
            raise self.explain(error) from error

    def check(self) -> None:
        """Write, read back and delete a small object; what cannot be done is a `UserError` that says what to do."""
        name, text = f"aura-check-{uuid.uuid4().hex}", b"written by: aura remote set\n"
        path = f"{self.root}/{name}"
        try:
            self.reach()
            if self.fs.protocol == "local":
                Path(self.root).mkdir(parents=True, exist_ok=True)
            try:
                self.fs.fs.pipe_file(path, text)
                found = self.fs.fs.cat_file(path)
            except Exception as error:
                raise self.explain(error) from error
            self.remove([name])
        except TransferError as error:
            raise UserError(f"{self.url}: {error}. Try again") from None
        if found != text:
            raise UserError(f"{self.url}: what was written was read back altered. Try again")

    def explain(self, error: BaseException) -> Exception:
        """The error as a `UserError` where trying again is of no use, and as a `TransferError` otherwise."""
        if isinstance(error, UserError | TransferError):
            return error
        if is_disk_full(error):
            return UserError(disk_full(error))
        code, text = getattr(error, "code", None), str(error)
        bucket = f"gs://{self.root.partition('/')[0]}"
        if code == 401 or type(error).__name__ in ("DefaultCredentialsError", "RefreshError"):
            return AccessRefused(
                f"{bucket} does not know you (401). Log in: gcloud auth application-default login; or name a service "
                "account's key: dvc remote modify --local store credentialpath KEY.json"
            )
        if code == 403 or text.startswith("Forbidden"):
            return AccessRefused(
                f"{bucket} does not let you do this (403). Ask its owner for the role roles/storage.objectUser on it"
            )
        if code == 404 or (isinstance(error, FileNotFoundError) and self.fs.protocol == "gs"):
            return UserError(f"{self.url} is not there (404). Check the bucket's name: dvc remote list")
        if isinstance(error, aiohttp.ClientConnectorError):
            return TransferError(f"{bucket} cannot be reached ({error.os_error.strerror})")
        return TransferError(text.strip().partition("\n")[0] or type(error).__name__)

    def _entries(self, below: str) -> dict[str, dict[str, Any]]:
        if self.fs.protocol == "local":
            paths = [path for path in Path(self.root, below).rglob("*") if path.is_file()]
            stats = {path.relative_to(self.root).as_posix(): path.stat() for path in paths}
            return {name: {"size": stat.st_size, "mtime": stat.st_mtime} for name, stat in stats.items()}
        try:
            self.fs.fs.invalidate_cache()
            found = self.fs.fs.find(f"{self.root}/{below}".rstrip("/"), detail=True)
        except Exception as error:
            raise self.explain(error) from error
        return {path.removeprefix(f"{self.root}/"): entry for path, entry in found.items()}

    def _copy(
        self,
        from_fs: FileSystem,
        sources: list[str],
        to_fs: FileSystem,
        targets: list[str],
        names: Sequence[str],
        callback: Callback = DEFAULT_CALLBACK,
    ) -> dict[str, str]:
        """Copy with DVC's own mover; a failure that no retry can fix ends it."""
        named = dict(zip(zip(sources, targets, strict=True), names, strict=True))
        failed: dict[str, str] = {}
        fatal: list[UserError] = []

        def on_error(source: str, target: str, error: BaseException) -> None:
            name = named[source, target]
            failed[name] = ABSENT
            if not (isinstance(error, FileNotFoundError) and to_fs is localfs):
                explained = self.explain(error)
                failed[name] = str(explained)
                fatal.extend([explained] if isinstance(explained, UserError) else [])

        try:
            generic.copy(
                from_fs, sources, to_fs, targets, callback=callback, batch_size=self.fs.jobs, on_error=on_error
            )
        except FileNotFoundError:
            if not failed:  # having told of a lone file's failure, DVC's mover still looks for what did not come
                raise
        if fatal:
            raise fatal[0]
        return failed

    def _read_md5(self, name: str) -> str:
        try:
            with self.fs.fs.open(f"{self.root}/{name}", "rb") as file:
                return hashlib.file_digest(file, "md5").hexdigest()
        except Exception as error:
            raise self.explain(error) from error


def _hex(reported: str | None) -> str | None:
    return base64.b64decode(reported).hex() if reported else None
