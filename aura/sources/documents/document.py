"""The items that readers yield: the raw bytes of a document, the rest of one that was cut, or the reason for a loss."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Lost:
    """Documents, or a whole file, that cannot be used, and why; `place` says where in the file, if that is known.

    `count` is how many documents there were, where that is known; otherwise the loss counts as one.
    """

    reason: str
    place: str = field(default="", compare=False)
    count: int = field(default=1, compare=False)


class Continued(bytes):
    """The rest of a document that was too long and was cut: a document of its own, and counted as a cut."""


Item = bytes | Lost


def cut(document: bytes, limit: int, first: type[bytes] = bytes) -> Iterator[bytes]:
    """A document in pieces of at most `limit` bytes, each but the first `Continued`."""
    kind, start = first, 0
    while len(document) - start > limit:
        end = cut_place(document, start, limit)
        yield kind(document[start:end])
        kind, start = Continued, end
    yield kind(document[start:])


def cut_place(data: bytes, start: int, limit: int) -> int:
    """Return the place to cut `data`, at most `limit` bytes after `start`: behind a line, or otherwise a character."""
    end = data.rfind(b"\n", start, start + limit) + 1
    if end > start:
        return end
    end = start + limit
    while end > start + limit - 3 and data[end] & 0xC0 == 0x80:  # inside a UTF-8 sequence, which has up to 4 bytes
        end -= 1
    return end
