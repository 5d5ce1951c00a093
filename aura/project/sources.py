"""The work of `aura source`: it looks at sources of every kind, and pins, enters, moves and removes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aura.core import paths
from aura.core.errors import UserError
from aura.extract.sources import bucket, hub, pins
from aura.extract.sources.input_files import HIDDEN, SUFFIXES, Links, chosen_by, is_hidden, names_hidden
from aura.extract.sources.other_suffixes import instead_of, suffix_of
from aura.project import source_entries, source_folders, whole_params
from aura.storage.cache import project_cache

PIN_ADVISED = 3000  # files; above, DVC's own work for one changed file takes longer than extracting it


@dataclass(frozen=True)
class Reading:
    """The way a source's files are read, as its entry in params.yaml says; a key that is left out has its default."""

    glob: str | None = None
    documents: str | None = None
    text_keys: Sequence[str] = ()
    nested: bool = False
    encoding: str | None = None
    links: Links = "inside"

    def entry(self, kind: str, path: str) -> dict[str, Any]:
        """The entry of a source that is read so."""
        given = {
            "glob": self.glob,
            "documents": self.documents,
            "text_keys": list(self.text_keys),
            "nested": self.nested,
            "encoding": self.encoding,
            "links": None if self.links == "inside" else self.links,
        }
        return {"kind": kind, "path": path} | {key: value for key, value in given.items() if value}


def add(name: str, path: str, kind: str | None, reading: Reading, *, pin: bool, only: bool) -> tuple[str, list[str]]:
    """Add a source to the pipeline; returns what was found in it, in words, and the sources taken out.

    `kind` is told by the files when not given. With `pin`, DVC tracks data/NAME.pin.json instead of the folder;
    with `only`, every other source is taken out. Raises `UserError`, with nothing written, if the name is taken,
    the folder holds nothing readable or belongs to the pipeline, or an option does not fit.
    """
    source_entries.require_new(name)
    path, glob = source_folders.split_pattern(path, reading.glob)
    if glob and Path(path).is_file():
        raise UserError(f"--glob chooses among the files of a folder, and {path} is a file. Leave it out")
    source_folders.refuse_outputs(path)
    is_pattern = glob is not None and reading.glob is None
    meant = source_folders.matching_folders(glob) if is_pattern and glob else glob
    kind = kind or source_folders.kind_of(path, meant, reading.links)
    if is_pattern and glob and kind in SUFFIXES:
        glob = source_folders.with_folders(kind, Path(path), glob)
    entry = replace(reading, glob=glob).entry(kind, path)
    files = [] if kind == "sample" else source_folders.source_files(kind, Path(path), glob, reading.links)
    if files and not pin:
        source_folders.refuse_unhashable(Path(path))
    if pin:
        entry["path"] = str(paths.DATA / (name + pins.SUFFIX))
    removed = list(whole_params.load().extract.sources) if only else []
    source_entries.enter(name, entry, removed)
    if pin:
        files = pins.with_digests(files, project_cache())
        pins.write(Path(entry["path"]), Path(path), files)
    advice = f"; more than {PIN_ADVISED:,}: `--pin` keeps DVC fast" if len(files) > PIN_ADVISED and not pin else ""
    if not files:
        return "the built-in sample", removed
    aside = source_folders.unread(files) if pin else ""
    count = source_folders.count(files)
    return f"{count:,} {kind} files{source_folders.left_aside(path, files)}{aside}{advice}", removed


def add_url(name: str, url: str, kind: str | None, reading: Reading, *, only: bool) -> tuple[str, list[str]]:
    """Add what lies behind a URL, pinned object by object in data/NAME.pin.json; returns what `add` does.

    Raises `UserError` if the name is taken, or the URL cannot be listed or holds nothing to read.
    """
    source_entries.require_new(name)
    kind = kind or _kind_of_objects(url, reading.glob)
    objects, aside = _objects(url, kind, reading.glob)
    pin = paths.DATA / (name + pins.SUFFIX)
    removed = list(whole_params.load().extract.sources) if only else []
    source_entries.enter(name, reading.entry(kind, str(pin)), removed)
    bucket.write_pin(pin, url, objects)
    return f"{len(objects):,} {kind} objects{aside}", removed


def _kind_of_objects(url: str, glob: str | None) -> str:
    names = bucket.names(url)
    if not names_hidden(glob):
        names = [name for name in names if not is_hidden(name)] or names
    return source_folders.kind_of_names(source_folders.meant(names, glob), url)


def _objects(url: str, kind: str, glob: str | None) -> tuple[bucket.Objects, str]:
    """The objects that a source reads, and in words those that it leaves; none to read is a `UserError`."""
    source_folders.require_kind(kind)
    chosen, all_levels, left = chosen_by(kind, glob), names_hidden(glob), list[str]()

    def is_read(name: str) -> bool:
        read = chosen(name) and (all_levels or not is_hidden(name))
        left.extend([] if read else [name])
        return read

    if objects := bucket.look(url, is_read):
        return objects, source_folders.not_read(HIDDEN if is_hidden(name) else suffix_of(name) for name in left)
    seen = [name for name in left if not is_hidden(name)]
    raise UserError(
        f"No {glob or ' or '.join(SUFFIXES[kind])} objects found at {url}: {instead_of(seen, len(left) - len(seen))} "
        "Check the address, --kind and --glob."
    )


def add_dataset(
    name: str,
    dataset: str,
    config: str | None,
    split: str,
    revision: str | None,
    max_documents: int | None,
    text_keys: list[str],
    *,
    only: bool,
) -> tuple[str, list[str]]:
    """Add a Hugging Face dataset, pinned to a commit in data/NAME.pin.json; returns what `add` does.

    `revision` may be a branch, a tag or left out: the Hub says which commit it means. Raises `UserError` if the name
    is taken or the dataset cannot be had.
    """
    source_entries.require_new(name)
    pin = hub.DatasetPin(
        dataset=dataset,
        config=config,
        split=split,
        revision=hub.resolve(dataset, revision),
        max_documents=max_documents,
    )
    path = paths.DATA / (name + pins.SUFFIX)
    entry: dict[str, Any] = {"kind": "dataset", "path": str(path)}
    removed = list(whole_params.load().extract.sources) if only else []
    source_entries.enter(name, entry | ({"text_keys": text_keys} if text_keys else {}), removed)
    hub.write_pin(path, pin)
    return f"{pin.title} at revision {pin.revision}", removed


def remove(name: str) -> None:
    """Take a source out of the pipeline, with its caps and extracted shards; the user's own files stay."""
    source = source_entries.known(name)
    if len(whole_params.load().extract.sources) == 1:
        raise UserError(f"{name} is the only source; add another one first: aura source add NAME PATH")
    source_entries.remove(name, source)


def scan(name: str) -> str:
    """Rewrite the pin of a source after its folder or dataset changed; returns what it names now, in words."""
    source = source_entries.known(name)
    pin = Path(source.path)
    if source.kind == "dataset":
        dataset = hub.read_pin(pin)
        moved = dataset.model_copy(update={"revision": hub.resolve(dataset.dataset)})
        hub.write_pin(pin, moved)
        return f"revision {moved.revision}" + (", as before" if moved == dataset else "")
    if source.kind == "sample" or not pins.is_pin(pin):
        raise UserError(f"the source {name} has no pin: DVC looks at {source.path} itself, so there is nothing to scan")
    if url := bucket.url_of(pin):
        objects, aside = _objects(url, source.kind, source.glob)
        bucket.write_pin(pin, url, objects)
        return f"{len(objects):,} objects{aside}"
    folder = pins.folder_of(pin)
    files = source_folders.source_files(source.kind, folder, source.glob, source.links)
    files = pins.with_digests(files, project_cache())
    pins.write(pin, folder, files)
    return f"{source_folders.count(files):,} files{source_folders.unread(files)}"
