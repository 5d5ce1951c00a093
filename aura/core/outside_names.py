"""Names that come from outside, such as a folder's list in a bucket, before they become paths.

Whoever writes such a name chooses it, and `../` or a leading `/` in it would lead out of the folder that it is joined
to. Every such name passes through this module, and nowhere else does one become a path.
"""

import re
from collections import Counter
from collections.abc import Iterable

from aura.core.errors import UserError

LONGEST = 255  # bytes of a part of a path, as Linux and macOS allow
_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")


def relative_name(name: object, origin: str) -> str:
    """`name`, if it is a path to something below a folder; otherwise a `UserError` that names `origin`.

    Refused are absolute paths, parts that are empty, `.` or `..`, parts of more than `LONGEST` bytes, and what is no
    text that a file system holds (NUL, lone surrogates, no string at all).
    """
    if not isinstance(name, str) or not _is_relative(name):
        raise UserError(
            f"{origin} names {str(name)[:200]!r}, which is no path below a folder. Nothing was written. "
            "Such a name is made on purpose or by a fault: tell the owner of what you fetch from."
        )
    return name


def relative_names(names: Iterable[object], origin: str) -> list[str]:
    """Names of files below one folder: each as in `relative_name`, none of them twice or the folder of another."""
    checked = [relative_name(name, origin) for name in names]
    folders = set[str]()
    for name in checked:
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    for name, times in Counter(checked).items():
        if times > 1 or name in folders:
            raise UserError(f"{origin} names {name!r} twice, or as a file and as a folder. Nothing was written.")
    return checked


def object_hash(oid: object, origin: str) -> str:
    """`oid`, if it is a hash as DVC writes it (32 hexadecimal digits, perhaps with `.dir`); otherwise a `UserError`."""
    if not isinstance(oid, str) or not _HASH.fullmatch(oid):
        raise UserError(f"{origin}: expected an MD5 of 32 hexadecimal digits, got {str(oid)[:200]!r}")
    return oid


def _is_relative(name: str) -> bool:
    try:
        parts = [part.encode() for part in name.split("/")]
    except UnicodeEncodeError:
        return False
    return all(part not in (b"", b".", b"..") and b"\0" not in part and len(part) <= LONGEST for part in parts)
