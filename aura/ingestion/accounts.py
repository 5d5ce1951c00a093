"""Accounts: what became of each input file, counted where it happens and never by subtraction."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aura.errors import UserError
from aura.ingestion.document import Lost

HARMLESS = frozenset({"empty", "too short", "no documentation"})  # reasons that make no file a bad one
_NUMBERS = ("bytes_read", "bytes_decompressed", "bytes_decoded", "bytes_kept", "documents")


@dataclass(slots=True)
class FileAccount:
    """What became of one input file, or of a block of a large one."""

    file: str
    bytes_read: int = 0
    bytes_decompressed: int = 0  # what readers were given: all of a plain file, nothing of a damaged one
    bytes_decoded: int = 0  # UTF-8 bytes of the documents a reader found in it
    bytes_kept: int = 0
    documents: int = 0
    cut: int = 0  # how often a document was cut for its size
    lost: Counter[str] = field(default_factory=Counter)  # documents by reason
    first_bad: str = ""  # place and reason of the first loss that makes a file a bad one
    digest: str = ""  # XXH3 of the bytes that were read, or why they could not be
    rows: dict[int, int] = field(default_factory=dict)  # documents by shard

    def lose(self, lost: Lost, place: str) -> None:
        """Count a loss; `place` says where, if the loss itself does not."""
        self.lost[lost.reason] += 1
        if not self.first_bad and lost.reason not in HARMLESS:
            where = ", ".join(filter(None, (place, lost.place)))
            self.first_bad = f"{where}: {lost.reason}" if where else lost.reason

    def as_list(self) -> list[Any]:
        """What the cache keeps."""
        return [getattr(self, name) for name in _FIELDS]

    def as_json(self) -> dict[str, Any]:
        """What the manifest says."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return {"file": self.file, **numbers, **_cut(self.cut), "lost": dict(sorted(self.lost.items()))}


_FIELDS = tuple(FileAccount.__dataclass_fields__)


def from_list(values: list[Any]) -> FileAccount:
    """The account that `as_list` gave, after JSON."""
    account = FileAccount(**dict(zip(_FIELDS, values, strict=True)))
    account.lost = Counter(account.lost)
    account.rows = {int(shard): count for shard, count in account.rows.items()}  # JSON's keys are strings
    return account


def per_file(accounts: Iterable[FileAccount]) -> Iterator[FileAccount]:
    """The accounts with those of a large file's blocks, which follow each other, added up."""
    held: FileAccount | None = None
    for account in accounts:
        if held is not None and held.file == account.file:
            held = _added(held, account)
            continue
        if held is not None:
            yield held
        held = account
    if held is not None:
        yield held


def _added(one: FileAccount, other: FileAccount) -> FileAccount:
    numbers = {name: getattr(one, name) + getattr(other, name) for name in (*_NUMBERS, "cut", "lost")}
    return FileAccount(one.file, **numbers, first_bad=one.first_bad or other.first_bad)


def totals(accounts: Iterable[FileAccount]) -> dict[str, Any]:
    """The sums of a manifest, over files."""
    files, cuts, lost = 0, 0, Counter[str]()
    numbers = dict.fromkeys(_NUMBERS, 0)
    for account in per_file(accounts):
        files, cuts = files + 1, cuts + account.cut
        lost.update(account.lost)
        for name in _NUMBERS:
            numbers[name] += getattr(account, name)
    documents = numbers.pop("documents")
    return {"files": files, "documents": documents, **numbers, **_cut(cuts), "lost": dict(sorted(lost.items()))}


def _cut(number: int) -> dict[str, int]:
    return {"cut": number} if number else {}


def stop_on_bad(accounts: Iterable[FileAccount]) -> None:
    """Raise `UserError` at the first file that something was lost of, with its name and the place in it."""
    for account in accounts:
        if account.first_bad:
            raise UserError(
                f"{account.file}: {account.first_bad}. Mend or remove the file, "
                "or set extract.on_bad_file: skip to leave such files out and count them."
            )
