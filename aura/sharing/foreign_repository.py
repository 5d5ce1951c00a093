"""What is taken of a git repository that is not ours: one artifact's hash, where its bytes are, and its model card.

Whoever wrote such a repository chose everything in it. DVC would obey its .dvc/config (an `endpointurl` gets the
caller's Google token), follow its links and expand its YAML. So nothing of it is checked out, and DVC never opens it:
git hands over single files of one commit, and of the configuration the remote's `url` alone is taken.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from configobj import ConfigObj, ConfigObjError

from aura.core.bounded import ALIASES, LARGEST, bounded_yaml
from aura.core.errors import UserError
from aura.core.outside_names import object_hash, relative_name
from aura.sharing.git import GitFailed, git

_BUCKET = re.compile(r"gs://[^/@?#\s]+(/[^@?#\s]*)?")
_REMOTE = re.compile(r"remote\s*\"(.*)\"")


@dataclass(frozen=True)
class Release:
    """One artifact as of a tag: its path in the repository, DVC's hash of it, and the URL or folder of the remote."""

    path: str
    hash: str
    url: str


class ForeignRepository:
    """A bare clone of a repository, of which a tag is read; a mistake in it is a `UserError` that names `source`."""

    def __init__(self, clone: Path, source: str, tag: str) -> None:
        self._clone, self._source, self._tag = clone, source, tag

    def release(self, name: str) -> Release:
        """The artifact `name` of dvc.yaml."""
        artifacts = self._yaml("dvc.yaml").get("artifacts")
        artifact = artifacts.get(name) if isinstance(artifacts, dict) else None
        if not isinstance(artifact, dict) or "path" not in artifact:
            raise self._wrong(f"dvc.yaml has no artifact {name} with a path")
        path = relative_name(artifact["path"], self._title("dvc.yaml"))
        return Release(path, self._hash(path), self.url())

    def url(self) -> str:
        """The URL, or the folder, of the default remote: `gs://BUCKET/PREFIX`, or an absolute path."""
        try:
            config = ConfigObj(self._text(".dvc/config").splitlines(), interpolation=False)
        except ConfigObjError as error:
            raise self._wrong(f".dvc/config cannot be read ({error})") from None
        core = config.get("core")
        chosen = core.get("remote") if isinstance(core, dict) else None
        for section, values in config.items():
            named = _REMOTE.fullmatch(section)
            if named and named[1] == chosen and isinstance(values, dict):
                return self._checked_url(values.get("url"))
        raise self._wrong(".dvc/config names no default remote, so it is not known where the bytes are")

    def _checked_url(self, url: object) -> str:
        """A bucket, or a folder; one that is relative is so to the .dvc of a repository on this machine."""
        if isinstance(url, str) and _BUCKET.fullmatch(url):
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
        if size > LARGEST:
            raise self._wrong(f"{name} has {size:,} bytes, and at most {LARGEST:,} are read")
        return git("cat-file", "blob", f"{self._tag}:{name}", folder=self._clone)

    def _size(self, name: str) -> int | None:
        """Bytes of a file; None where there is none. A link is a file, of the length of its target's name."""
        try:
            kind = git("cat-file", "-t", f"{self._tag}:{name}", folder=self._clone)
            return int(git("cat-file", "-s", f"{self._tag}:{name}", folder=self._clone)) if kind == "blob" else None
        except GitFailed:
            return None

    def _title(self, name: str) -> str:
        return f"{name} in {self._tag} of {self._source}"

    def _wrong(self, told: str) -> UserError:
        return UserError(f"{self._tag} of {self._source}: {told}")
