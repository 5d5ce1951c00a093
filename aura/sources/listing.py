"""From a source to its files."""

from pathlib import Path

from aura.core.errors import UserError
from aura.sources import bucket, pins, url_pins
from aura.sources.documents.sample import sample_files
from aura.sources.input_files import (
    HIDDEN,
    SUFFIXES,
    InputFile,
    chosen_by,
    files_at,
    files_below,
    input_file,
    names_hidden,
)
from aura.sources.materialise import materialise
from aura.sources.options import DatasetSource, SampleSource, Source
from aura.sources.other_suffixes import found_instead
from aura.storage.cache import Cache


def list_files(source: Source, cache: Cache | None = None) -> list[InputFile]:
    """The files of a source, sorted by name; `cache` may know what is in those that a pin must describe.

    A dataset's rows, and objects that cannot be read where they are, are fetched now, unless they are there already.
    Raises `UserError` if the folder is missing or holds no file of the source's kind, a pin is stale, or what lies
    elsewhere cannot be had.
    """
    if isinstance(source, DatasetSource):
        return files_below(materialise(Path(source.path), source.text_keys), lambda name: name.endswith(".jsonl"))
    if isinstance(source, SampleSource):
        return [input_file(name, str(path)) for name, path in sample_files(Path(source.path))]
    if pins.is_pin(Path(source.path)) and url_pins.url_of(Path(source.path)):
        chosen, hidden = chosen_by(source.kind, source.glob), names_hidden(source.glob)
        return bucket.files(Path(source.path), chosen, hidden=hidden)
    folder = pins.folder_of(Path(source.path))
    wanted = [source.glob] if source.glob else list(SUFFIXES[source.kind])
    if not folder.exists():
        raise UserError(f"No {wanted[0]} files found: the folder {folder} does not exist. {_remedy(folder)}")
    chosen, hidden = chosen_by(source.kind, source.glob), names_hidden(source.glob)
    files = files_at(folder, chosen, hidden=hidden, links=source.links)
    if all(file.problem == HIDDEN for file in files):
        raise UserError(f"No {' or '.join(wanted)} files found in {folder}: {found_instead(folder)} {_remedy(folder)}")
    if pins.is_pin(Path(source.path)):
        files = pins.with_digests(files, cache) if cache else files
        pins.require_current(Path(source.path), files)
    return files


def _remedy(folder: Path) -> str:
    return f"Look with `ls -la {folder}`, add text files, or name another folder: aura source add NAME PATH"
