"""The work of `aura conversations`: sources of conversations are looked at, pinned, entered, moved and removed.

The looking is that of `aura source` (`sources.py`). An entry of params.yaml has its path among the dependencies of the
stage in dvc.yaml; both files change together or not at all. A pin is called NAME.conversations.pin.json.
"""

from bisect import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aura.conversations import listing
from aura.conversations.accounts import Account
from aura.conversations.conversation import Conversation
from aura.conversations.options import ConversationSource, DocstringConversations
from aura.conversations.readers import conversations
from aura.core.bounded import bounded_yaml, mismatch
from aura.core.errors import UserError
from aura.project import source_entries, source_folders, sources, whole_params, yaml_edits
from aura.project.sources import NewSource
from aura.sources import bucket, pins
from aura.sources.addresses import is_url
from aura.sources.input_files import SUFFIXES, files_at, has_suffix
from aura.sources.materialise import partial_folder, raw_folder
from aura.storage.cache import project_cache

SOURCES, DEPS = ("conversations", "sources"), ("stages", "conversations", "deps")
KINDS = ("json", "parquet", "dataset", "docstrings")
PIN_SUFFIX = pins.CONVERSATIONS + pins.SUFFIX
DOCSTRINGS_PIN = "conversations.pin.json"


def add(new: NewSource) -> str:
    """Add a source to the stage `conversations`; returns what was found in it, in words.

    Raises `UserError`, with nothing written, as `sources.add` does.
    """
    there = whole_params.load().conversations.sources
    if new.name in there:
        raise UserError(
            f"the source {new.name} exists already. Choose another name, or: aura conversations remove {new.name}"
        )
    kind = new.kind or _kind_of(new.path)
    if kind not in KINDS:
        raise UserError(f"expected --kind to be one of {', '.join(KINDS)}; got {kind}")
    if (kind == "docstrings") != pins.pins_packages(Path(new.path)):
        raise UserError(
            f"expected --kind docstrings with a pin of packages, such as data/{DOCSTRINGS_PIN}, and another kind with "
            f"anything else; got {kind} and {new.path}"
        )
    if kind == "docstrings":
        listing.files_of(DocstringConversations(kind="docstrings", path=new.path))
        _enter(new.name, {"kind": kind, "path": new.path})
        return "questions about the packages that it pins"
    found = sources.look(replace(new, kind=kind, pin_suffix=PIN_SUFFIX))
    _enter(new.name, found.entry)
    return found.record()


def _kind_of(path: str) -> str:
    """The kind that the names of the files say; JSON where there are both."""
    if Path(path).name == DOCSTRINGS_PIN:
        return "docstrings"
    folder, glob = (path, None) if is_url(path) else source_folders.split_pattern(path, None)
    if is_url(path):
        names = bucket.names(path)
    else:
        names = [file.name for file in files_at(Path(folder), bool)] if Path(folder).exists() else []
    kinds = [kind for kind in ("json", "parquet") if any(has_suffix(name, SUFFIXES[kind]) for name in names)]
    if kinds or (glob and names):
        return kinds[0] if kinds else "json"
    suffixes = ", ".join((*SUFFIXES["json"], *SUFFIXES["parquet"]))
    raise UserError(
        f"expected a file or a folder with {suffixes} files at {path}, found none. If it is a dataset of the Hugging "
        f"Face Hub, add --kind dataset; look with: ls -la {path}"
    )


def _enter(name: str, entry: dict[str, Any]) -> None:
    source_entries.write_both(*entered(name, entry, *source_entries.read_both()))


def entered(name: str, entry: dict[str, Any], values: str, pipeline: str) -> tuple[str, str]:
    """The texts of params.yaml and dvc.yaml with a source."""
    values = yaml_edits.with_entry(values, SOURCES, name, entry)
    listed = _deps(pipeline)
    if entry["path"] not in listed:
        pipeline = yaml_edits.with_item(pipeline, DEPS, entry["path"], bisect(listed, entry["path"]))
    return values, pipeline


def _deps(pipeline: str) -> list[str]:
    """The dependencies of the stage, by the text of dvc.yaml."""
    read = bounded_yaml(pipeline)
    if wrong := mismatch(read, {"stages": {"conversations": {"deps": [str]}}}):
        raise UserError(f"dvc.yaml: {wrong}. See: git diff dvc.yaml; in a project of your own: aura init --update")
    return list(read["stages"]["conversations"]["deps"])


def known(name: str) -> ConversationSource:
    """The source of this name; a `UserError` names those that there are."""
    options = whole_params.load()
    found = options.conversations.sources
    if name not in found and name in options.extract.sources:
        raise UserError(f"{name} is a source of text, not of conversations. For those: aura source --help")
    if name not in found:
        raise UserError(f"no source of conversations is named {name}. There are: {', '.join(found)}")
    return found[name]


def remove(name: str) -> None:
    """Take a source out, with its fetched rows; the user's own files and its pin stay."""
    source = known(name)
    others = {other: one for other, one in whole_params.load().conversations.sources.items() if other != name}
    if not others:
        raise UserError(f"{name} is the only source; add another one first: aura conversations add NAME PATH")
    source_entries.write_both(*without([name], *source_entries.read_both()))
    is_shared = source.path in {one.path for one in others.values()}
    if pins.is_pin(Path(source.path)) and not is_shared and source.kind != "docstrings":
        rows = raw_folder(Path(source.path))
        source_entries.remove_folders([rows, partial_folder(rows)])


def without(names: Iterable[str], values: str, pipeline: str) -> tuple[str, str]:
    """The texts of params.yaml and dvc.yaml without some sources."""
    for name in names:
        listed = bounded_yaml(values)["conversations"]["sources"]
        path = listed.pop(name)["path"]
        values = yaml_edits.without_entry(values, SOURCES, name)
        if path not in {entry["path"] for entry in listed.values()} and path in _deps(pipeline):
            pipeline = yaml_edits.without_item(pipeline, DEPS, path)
    return values, pipeline


def scan(name: str) -> str:
    """Take in what changed behind a pinned source; returns what its pin names now, in words."""
    return sources.scan_entry(name, known(name))


@dataclass(frozen=True)
class Shown:
    """Some conversations of a source, and the account of what was read until then."""

    conversations: list[Conversation]
    account: Account


def show(name: str, number: int) -> Shown:
    """The first conversations of a source, as they are read, without a tokenizer."""
    source, account = known(name), Account()
    found: list[Conversation] = []
    for conversation in _all(source, whole_params.load().conversations.max_record_bytes, account):
        found.append(conversation)
        if len(found) == number:
            break
    return Shown(found, account)


def _all(source: ConversationSource, max_record_bytes: int, account: Account) -> Iterator[Conversation]:
    for file in listing.files_of(source, project_cache()):
        yield from conversations(file, source, max_record_bytes, account)
