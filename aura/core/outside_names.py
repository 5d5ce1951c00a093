"""Names that come from outside, such as a folder's list in a bucket, before they become paths.

Whoever writes such a name chooses it, and `../` or a leading `/` in it would lead out of the folder that it is joined
to. Every such name passes through this module, and nowhere else does one become a path.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from aura.core.errors import UserError

LONGEST = 255  # bytes of a part of a path, as Linux and macOS allow
LONGEST_PATH = 1_000  # bytes; macOS allows 1,024
DEEPEST = 64  # parts of a path
MOST = 10_000  # files of a version
_NOT_ON_WINDOWS = frozenset('\\:*?"<>|')
_DEVICES = {"con", "prn", "aux", "nul", *(f"{device}{number}" for device in ("com", "lpt") for number in range(10))}
_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")


def relative_name(name: object, origin: str) -> str:
    """`name`, if it is a path to something below a folder; otherwise a `UserError` that names `origin`.

    Refused are absolute paths, parts that are empty, `.` or `..`, parts of more than `LONGEST` bytes, paths of more
    than `LONGEST_PATH` bytes or `DEEPEST` parts, and what is no text that a file system holds (NUL, lone surrogates, no
    string at all).
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


def plain_names(names: Iterable[object], origin: str) -> list[str]:
    """Names of files for a folder of a user: as in `relative_names`, and no program finds a meaning in them.

    Git obeys a folder with `.git` in it, or with `HEAD`, `config`, `objects` and `refs`; a shell takes `-rf` for an
    option; a terminal obeys an escape sequence; macOS has one file for `A` and `a`; Windows has a device named `aux`.
    Refused are parts that begin with a dot, a dash or a tilde, that hold characters which are not printed, that Windows
    does not allow, or that are `HEAD`; names that differ in case or in the form of their accents alone; and more than
    `MOST` files.
    """
    checked = relative_names(names, origin)
    if len(checked) > MOST:
        raise UserError(f"{origin} names {len(checked):,} files; expected at most {MOST:,}. Nothing was written.")
    seen = dict[str, str]()
    for name in checked:
        if not all(map(_is_plain, name.split("/"))):
            raise UserError(
                f"{origin} names {name[:200]!r}, which a program may take for something else than the name of a file. "
                "Nothing was written. Such a name is made on purpose or by a fault: tell the owner of what you fetch "
                "from."
            )
        place = ""
        for part in name.split("/"):
            place = f"{place}/{part}" if place else part
            if (other := seen.setdefault(_folded(place), place)) != place:
                raise UserError(
                    f"{origin} names {place[:200]!a} and {other[:200]!a}, which are one file on some disks. Nothing "
                    "was written."
                )
    return checked


def object_hash(oid: object, origin: str) -> str:
    """`oid`, if it is a hash as DVC writes it (32 hexadecimal digits, perhaps with `.dir`); otherwise a `UserError`."""
    if not isinstance(oid, str) or not _HASH.fullmatch(oid):
        raise UserError(f"{origin}: expected an MD5 of 32 hexadecimal digits, got {str(oid)[:200]!r}")
    return oid


def _is_plain(part: str) -> bool:
    ends_well = part[0] not in ".-~" and part[-1] not in ". "
    is_ours = part.casefold() != "head" and part.casefold().partition(".")[0] not in _DEVICES
    return part.isprintable() and _NOT_ON_WINDOWS.isdisjoint(part) and ends_well and is_ours


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _is_relative(name: str) -> bool:
    if len(name) > LONGEST_PATH:
        return False
    try:
        parts = [part.encode() for part in name.split("/")]
    except UnicodeEncodeError:
        return False
    if len(parts) > DEEPEST or sum(map(len, parts)) + len(parts) > LONGEST_PATH + 1:
        return False
    return all(part not in (b"", b".", b"..") and b"\0" not in part and len(part) <= LONGEST for part in parts)
