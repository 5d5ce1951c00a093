"""What `aura source` does: sources of every kind are looked at, pinned, entered, moved and removed."""

from pathlib import Path
from typing import Any

from aura import params, source_entries, source_folders
from aura.cache import project_cache
from aura.errors import UserError
from aura.ingestion import bucket, hub, pins
from aura.ingestion.input_files import SUFFIXES, chosen_by

PIN_ADVISED = 3000  # files; above, DVC's own work for one changed file takes longer than extracting it


def add(
    name: str,
    path: str,
    kind: str | None,
    documents: str | None,
    text_keys: list[str],
    *,
    nested: bool = False,
    glob: str | None,
    pin: bool,
    only: bool,
) -> tuple[str, list[str]]:
    """Add a source to the pipeline; returns what was found in it, in words, and the sources taken out.

    `kind` is told by the files when not given. With `pin`, DVC tracks data/NAME.pin.json instead of the folder;
    with `only`, every other source is taken out. Raises `UserError`, with nothing written, if the name is taken,
    the folder holds nothing readable or belongs to the pipeline, or an option does not fit.
    """
    source_entries.require_new(name)
    source_folders.refuse_outputs(path)
    kind = kind or source_folders.kind_of(path)
    entry: dict[str, Any] = {"kind": kind, "path": path}
    entry |= {"glob": glob} if glob else {}
    entry |= {"documents": documents} if documents else {}
    entry |= {"text_keys": text_keys} if text_keys else {}
    entry |= {"nested": True} if nested else {}
    files = [] if kind == "sample" else source_folders.source_files(kind, Path(path), glob)
    if files and not pin:
        source_folders.refuse_unhashable(Path(path))
    if pin:
        entry["path"] = str(Path("data", name + pins.SUFFIX))
    removed = list(params.load().extract.sources) if only else []
    source_entries.enter(name, entry, removed)
    if pin:
        files = pins.with_digests(files, project_cache())
        pins.write(Path(entry["path"]), Path(path), files)
    advice = f"; more than {PIN_ADVISED:,}: `--pin` keeps DVC fast" if len(files) > PIN_ADVISED and not pin else ""
    if not files:
        return "the built-in sample", removed
    aside = source_folders.unread(files) if pin else ""
    return f"{len(files):,} {kind} files{source_folders.left_aside(path, files)}{aside}{advice}", removed


def add_url(
    name: str,
    url: str,
    kind: str | None,
    documents: str | None,
    text_keys: list[str],
    *,
    nested: bool = False,
    glob: str | None,
    only: bool,
) -> tuple[str, list[str]]:
    """Add what lies behind a URL, pinned object by object in data/NAME.pin.json; returns what `add` does.

    Raises `UserError` if the name is taken, or the URL cannot be listed or holds nothing to read.
    """
    source_entries.require_new(name)
    if kind is None:
        names = list(bucket.look(url, bool))
        kind = max(SUFFIXES, key=lambda kind: sum(map(chosen_by(kind, None), names)))
    objects = _objects(url, kind, glob)
    pin = Path("data", name + pins.SUFFIX)
    entry: dict[str, Any] = {"kind": kind, "path": str(pin)} | ({"glob": glob} if glob else {})
    entry |= {"documents": documents} if documents else {}
    entry |= {"text_keys": text_keys} if text_keys else {}
    entry |= {"nested": True} if nested else {}
    removed = list(params.load().extract.sources) if only else []
    source_entries.enter(name, entry, removed)
    bucket.write_pin(pin, url, objects)
    return f"{len(objects):,} {kind} objects", removed


def _objects(url: str, kind: str, glob: str | None) -> bucket.Objects:
    source_folders.require_kind(kind)
    objects = bucket.look(url, chosen_by(kind, glob))
    if not objects:
        raise UserError(f"No {glob or ' or '.join(SUFFIXES[kind])} objects found at {url}. Check the address.")
    return objects


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
    path = Path("data", name + pins.SUFFIX)
    entry: dict[str, Any] = {"kind": "dataset", "path": str(path)}
    removed = list(params.load().extract.sources) if only else []
    source_entries.enter(name, entry | ({"text_keys": text_keys} if text_keys else {}), removed)
    hub.write_pin(path, pin)
    return f"{pin.title} at revision {pin.revision}", removed


def remove(name: str) -> None:
    """Take a source out of the pipeline, with its caps and extracted shards; the user's own files stay."""
    source = source_entries.known(name)
    if len(params.load().extract.sources) == 1:
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
        objects = _objects(url, source.kind, source.glob)
        bucket.write_pin(pin, url, objects)
        return f"{len(objects):,} objects"
    folder = pins.folder_of(pin)
    files = source_folders.source_files(source.kind, folder, source.glob)
    files = pins.with_digests(files, project_cache())
    pins.write(pin, folder, files)
    return f"{len(files):,} files{source_folders.unread(files)}"
