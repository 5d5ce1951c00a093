"""Facts taken from a git repository of others: one artifact's hash, where its bytes are, and its model card.

Whoever wrote such a repository chose everything in it. DVC would obey its .dvc/config (an `endpointurl` gets the
caller's Google token), follow its links and expand its YAML. So nothing of it is checked out, and DVC never opens it:
git hands over single files of one commit, and of the configuration the remote's `url` alone is taken.

A tag is always named in full (`refs/tags/…`): git takes a branch of the same name otherwise, and who may push branches
need not be who may release.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from configobj import ConfigObj, ConfigObjError

from aura.core.bounded import ALIASES, bounded_yaml
from aura.core.errors import UserError
from aura.core.outside_names import object_hash, relative_name
from aura.sharing.foreign_git import foreign_git
from aura.sharing.git import GitFailed

LARGEST = 200_000  # bytes of a file that is read; a MB of YAML takes 20 s to parse
LARGEST_LOCK = 1_000_000  # of dvc.lock; that of 100 stages has as many
TAGS = "refs/tags/"
# Of the prefix, what gcsfs takes for a pattern, or a server for a part of its own address, is left out.
_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}(/[^@?#%*\[\]\\\s\x00-\x1f\x7f]*)?")
_REMOTE = re.compile(r"remote\s*\"(.*)\"")


@dataclass(frozen=True)
class Release:
    """One artifact as of a tag: its path in the repository, DVC's hash of it, and the URL or folder of the remote."""

    path: str
    hash: str
    url: str


def tags_of(address: str, pattern: str) -> list[str]:
    """The names of the tags of a repository that match a pattern of git; `GitFailed` if it cannot be read."""
    answer = foreign_git("ls-remote", "--refs", "--", address, f"{TAGS}{pattern}")
    names = (line.partition("\t")[2] for line in answer.split("\n"))
    return [name.removeprefix(TAGS) for name in names if name.startswith(TAGS)]


@contextmanager
def fetched_tags(address: str, tags: list[str]) -> Iterator[Path]:
    """A bare repository with these tags alone, and of each the one commit that it names; removed afterwards.

    Raises `GitFailed` if there is no such tag, or it cannot be fetched.
    """
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone.git")
        foreign_git("init", "--quiet", "--bare", "--template=", "--", str(clone))
        wanted = [f"{TAGS}{tag}:{TAGS}{tag}" for tag in tags]
        options = ("--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules")
        foreign_git("fetch", *options, "--", address, *wanted, clone=clone)
        yield clone


class ForeignRepository:
    """A repository made by `fetched_tags`, of which a tag is read; a mistake is a `UserError` that names `source`."""

    def __init__(self, clone: Path, source: str, tag: str) -> None:
        self._clone, self._source, self._tag = clone, source, tag

    def release(self, name: str) -> Release:
        """The artifact `name` of dvc.yaml."""
        artifacts = self._yaml("dvc.yaml").get("artifacts")
        artifact = artifacts.get(name) if isinstance(artifacts, dict) else None
        if not isinstance(artifact, dict) or "path" not in artifact:
            raise self._wrong(f"dvc.yaml has no artifact {name} with a path")
        path = relative_name(artifact["path"], self._title("dvc.yaml"))
        if not path.isprintable():  # it stands in messages
            raise self._wrong(f"dvc.yaml gives the artifact {name} a path with characters that are not printed")
        return Release(path, self._hash(path), self.url())

    def url(self) -> str:
        """The URL, or the folder, of the default remote: `gs://BUCKET/PREFIX`, or an absolute path."""
        try:
            config = ConfigObj(self._text(".dvc/config").splitlines(), interpolation=False)
        except (ConfigObjError, RecursionError) as error:
            raise self._wrong(f".dvc/config cannot be read ({' '.join(str(error).split())[:200]})") from None
        core = config.get("core")
        chosen = core.get("remote") if isinstance(core, dict) else None
        for section, values in config.items():
            named = _REMOTE.fullmatch(section)
            if named and named[1] == chosen and isinstance(values, dict):
                return self._checked_url(values.get("url"))
        raise self._wrong(".dvc/config names no default remote, so it is not known where the bytes are")

    def _checked_url(self, url: object) -> str:
        """A bucket, or a folder; one that is relative is so to the .dvc of a repository on this machine."""
        if isinstance(url, str) and _BUCKET.fullmatch(url) and {".", ".."}.isdisjoint(url.split("/")):
            return url
        if isinstance(url, str) and "://" not in url and "\0" not in url:
            if Path(url).is_absolute():
                return url
            if Path(self._source).is_absolute():
                return str(Path(self._source, ".dvc", url).resolve())
        raise self._wrong(f"the remote's url is {str(url)[:200]!r}; expected gs://BUCKET/PREFIX or an absolute folder")

    def _hash(self, path: str) -> str:
        """The hash that dvc.lock, or a .dvc file beside the artifact, records of `path`."""
        tracked = f"{path}.dvc"
        entries = self._yaml(tracked).get("outs") if self._size(tracked) is not None else None
        wanted = PurePosixPath(path).name
        if entries is None:
            entries, wanted = list(self._locked_outputs()), path
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("path") == wanted and "md5" in entry:
                return object_hash(entry["md5"], self._title(path))
        raise self._wrong(f"neither dvc.lock nor {tracked} records a hash of {path}")

    def _locked_outputs(self) -> Iterator[Any]:
        stages = self._yaml("dvc.lock").get("stages")
        for stage in stages.values() if isinstance(stages, dict) else ():
            outputs = stage.get("outs") if isinstance(stage, dict) else None
            yield from outputs if isinstance(outputs, list) else ()

    def _yaml(self, name: str) -> dict[str, Any]:
        values = bounded_yaml(self._text(name))
        if not isinstance(values, dict):
            raise self._wrong(
                f"{name} is no YAML that can be read here: expected a map, with at most {ALIASES} aliases"
            )
        return values

    def _text(self, name: str) -> str:
        size = self._size(name)
        if size is None:
            raise self._wrong(
                f"expected a DVC project in the root of the repository, got no file {name} there. A project in a "
                "subfolder cannot be fetched from; use: dvc get"
            )
        largest = LARGEST_LOCK if name == "dvc.lock" else LARGEST
        if size > largest:
            raise self._wrong(f"{name} has {size:,} bytes, and at most {largest:,} are read")
        return foreign_git("cat-file", "blob", f"{TAGS}{self._tag}:{name}", clone=self._clone)

    def _size(self, name: str) -> int | None:
        """Bytes of a file; None where there is none. A link is a file, of the length of its target's name."""
        path = f"{TAGS}{self._tag}:{name}"
        try:
            kind = foreign_git("cat-file", "-t", path, clone=self._clone)
            return int(foreign_git("cat-file", "-s", path, clone=self._clone)) if kind == "blob" else None
        except GitFailed:
            return None

    def _title(self, name: str) -> str:
        return f"{name} in {self._tag} of {self._source}"

    def _wrong(self, told: str) -> UserError:
        return UserError(f"{self._tag} of {self._source}: {told}")
