"""A conversation: who says what, in the roles of the chat template, with the place where it was read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import xxhash

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"


class Message(NamedTuple):
    """A message: its role (system, user, assistant, thought, action or observation) and its text."""

    role: str
    content: str


class Unusable(ValueError):
    """A record that is no conversation: the reason, of a fixed set, and in `detail` what there was instead."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Conversation:
    """The messages of one record.

    Attributes:
        name: the file, and the place in it.
        messages: at least one of the assistant, after one of somebody else.
        group: what decides the split; conversations of one group are held out together. Empty: each for itself.
    """

    name: str
    messages: tuple[Message, ...]
    group: str = ""

    @property
    def digest(self) -> bytes:
        """XXH3 of roles and contents, 16 bytes: equal for exact duplicates alone."""
        return digest_of(part for message in self.messages for part in message)

    @property
    def split_key(self) -> bytes:
        """The hash that decides the split, 16 bytes."""
        return digest_of([self.group]) if self.group else self.digest


def digest_of(parts: Iterable[str]) -> bytes:
    """XXH3 of texts and of where each ends."""
    hashed = xxhash.xxh3_128()
    for part in parts:
        data = part.encode()
        hashed.update(len(data).to_bytes(8, "little"))
        hashed.update(data)
    return hashed.digest()
