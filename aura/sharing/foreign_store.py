"""The bucket or folder that somebody else's repository names: read within a limit of bytes, and with nobody's settings.

Its owner chooses what lies there. So the size of every object is asked before it is fetched, what a server would unpack
on the way is refused, and so is whatever is no regular file in a folder: a pipe that never ends, a device, a link.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.fs import get_cloud_fs
from fsspec.callbacks import Callback

from aura.core.errors import UserError
from aura.sharing.remote import DvcRemote
from aura.storage.placement import at_once
from aura.storage.store import CONNECTIONS

LARGEST_LIST = 4_000_000  # bytes of a folder's list of files, which holds 40,000 of them


class ForeignStore(DvcRemote):
    """Objects at a URL or in a folder of others, of which at most so many bytes are taken."""

    def __init__(self, url: str, *, anonymous: bool, most: int) -> None:
        """Take at most `most` bytes of what is at `url`; `anonymous` sends no credentials."""
        is_bucket = url.startswith("gs://")
        kind, options, path = get_cloud_fs({}, url=url, **({"allow_anonymous_login": anonymous} if is_bucket else {}))
        self._most, self._taken = most, dict[str, int]()  # the sizes of what was fetched, once however often tried
        self._set(kind(**options), path)

    def reach(self) -> None:
        """Raise unless the bucket is there and answers; unlike in a store of ours, nothing is listed to its end."""
        if self.fs.protocol == "gs":
            bucket, _, prefix = self.root.partition("/")
            self._asked("b/{}/o", bucket, prefix=f"{prefix}/files/md5/00".lstrip("/"), maxResults=1)

    def download(self, names: Sequence[str], paths: Sequence[Path]) -> dict[str, str]:
        """Copy objects to local files; returns why, for each that failed. Going beyond the limit is a `UserError`."""
        sizes = dict(zip(names, at_once(self._size, names, CONNECTIONS), strict=True))
        for name, size in sizes.items():
            left = self._most - sum(self._taken.values()) + self._taken.get(name, 0)
            largest = min(left, LARGEST_LIST) if name.endswith(".dir") else left
            if size > largest:
                raise self._refused(name, f"has {size:,} bytes, and at most {largest:,} more are taken")
            self._taken[name] = size
        by_path = {f"{self.root}/{name}": size for name, size in sizes.items()}
        return self._fetched(names, paths, limited(by_path))

    def _size(self, name: str) -> int:
        """Bytes of an object; 0 where there is none, which the copying then reports."""
        try:
            if self.fs.protocol == "gs":
                bucket, _, key = f"{self.root}/{name}".partition("/")
                found = self._asked("b/{}/o/{}", bucket, key)
                if found.get("contentEncoding"):
                    raise self._refused(name, f"is kept as {str(found['contentEncoding'])[:20]!r}, which swells")
                return int(found["size"])
            status = os.lstat(f"{self.root}/{name}")
        except FileNotFoundError:
            return 0
        if not stat.S_ISREG(status.st_mode):
            raise self._refused(name, "is no regular file")
        return status.st_size

    def _asked(self, path: str, *parts: str, **query: Any) -> dict[str, Any]:  # noqa: ANN401 - as gcsfs has it
        try:
            found: dict[str, Any] = self.fs.fs.call("GET", path, *parts, json_out=True, **query)
        except FileNotFoundError:
            if len(parts) > 1:
                raise
            raise self.explain(FileNotFoundError(self.url)) from None
        except Exception as error:
            raise self.explain(error) from error
        return found

    def _refused(self, name: str, why: str) -> UserError:
        return UserError(
            f"{self.url}: the object {name} {why}, so it was not fetched. Ask its owner; a larger version "
            "that you trust can be fetched with: aura fetch --max-gb NUMBER"
        )


def limited(sizes: dict[str, int]) -> Callback:
    """A listener to copies that ends each with `UserError` where it goes on beyond the size that was told before."""

    def branched(source: str, _target: str, **_: object) -> Callback:
        most = sizes.get(source, 0)

        def listen(_size: int | None, value: int) -> None:
            if value > most:
                raise UserError(f"{source} goes on beyond the {most:,} bytes that its store tells. It was not kept")

        return Callback(hooks={"limit": listen})

    listener = Callback()
    listener.branched = branched
    return listener
