"""The work of `aura source`: it looks at sources of every kind, and pins, enters, moves and removes them."""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from aura.core import paths
from aura.core.errors import UserError
from aura.project import source_entries, source_folders, whole_params
from aura.sources import bucket, hub, hub_files, pins, url_pins
from aura.sources.addresses import is_url
from aura.sources.input_files import HIDDEN, SUFFIXES, InputFile, Links, chosen_by, is_hidden, names_hidden
from aura.sources.other_suffixes import instead_of, suffix_of
from aura.sources.url_pins import Objects
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


@dataclass(frozen=True)
class Rows:
    """The rows that are read of a Hugging Face dataset; `revision` may be a branch, a tag or None, the newest."""

    config: str | None = None
    split: str | None = None
    revision: str | None = None
    max_documents: int | None = None


@dataclass(frozen=True)
class NewSource:
    """A source that a user asked for: a folder, a URL or a dataset, and how to read it."""

    name: str
    path: str
    kind: str | None = None  # None: the files tell it
    reading: Reading = Reading()
    rows: Rows = Rows()  # of a dataset alone
    pin: bool = False  # DVC tracks the pin instead of the folder; what lies elsewhere is always pinned
    only: bool = False  # every other source is taken out
    pin_suffix: str = pins.SUFFIX

    @property
    def pin_file(self) -> Path:
        """The path of its pin, if it has one."""
        return paths.DATA / (self.name + self.pin_suffix)


@dataclass(frozen=True)
class Found:
    """A new source that was looked at: its entry, and a function that writes its pin and says what is in it."""

    entry: dict[str, Any]
    record: Callable[[], str]


def add(new: NewSource) -> tuple[str, list[str]]:
    """Add a source to the pipeline; returns what was found in it, in words, and the sources taken out.

    Raises `UserError`, with nothing written, if the name is taken, an option does not fit, or the folder, the URL or
    the dataset cannot be read, holds nothing to read, or belongs to the pipeline.
    """
    source_entries.require_new(new.name)
    found = look(new)
    removed = list(whole_params.load().extract.sources) if new.only else []
    source_entries.enter(new.name, found.entry, removed)
    return found.record(), removed


def look(new: NewSource) -> Found:
    """Look at a new source, of the corpus or of conversations; raises as `add`, and writes nothing."""
    _require_fitting(new)
    if new.kind == "dataset":
        return _look_at_dataset(new)
    return _look_behind_url(new) if is_url(new.path) else _look_in_folder(new)


def _require_fitting(new: NewSource) -> None:
    """Refuse options that do not go with the kind of place that the source is at, and a pin's file that is taken."""
    if (new.pin or new.kind == "dataset" or is_url(new.path)) and pins.pins_packages(new.pin_file):
        raise UserError(
            f"{new.pin_file} pins the packages of a built-in source, and a source {new.name} would replace it. Choose "
            "another name"
        )
    if new.kind == "dataset":
        if new.pin or new.reading != Reading(text_keys=new.reading.text_keys):
            raise UserError(
                "--pin, --glob, --encoding, --follow-links, --nested and --documents do not go with --kind dataset: it "
                "is always pinned, a row a document"
            )
        return
    if any(astuple(new.rows)):
        raise UserError("--config, --split, --revision and --max-documents need --kind dataset")
    if is_url(new.path) and new.pin:
        raise UserError("--pin is for folders: what lies behind a URL is always pinned")
    if is_url(new.path) and new.reading.links == "anywhere":
        raise UserError("--follow-links is for folders: behind a URL are no links")


def _look_in_folder(new: NewSource) -> Found:
    kind, path, glob = _kind_path_and_glob(new)
    files = [] if kind == "sample" else source_folders.source_files(kind, Path(path), glob, new.reading.links)
    if files and not new.pin:
        source_folders.refuse_unhashable(Path(path))
    entry = replace(new.reading, glob=glob).entry(kind, str(new.pin_file) if new.pin else path)
    return Found(entry, partial(_record_folder, new, kind, path, files))


def _kind_path_and_glob(new: NewSource) -> tuple[str, str, str | None]:
    """The kind of a folder's files, its shortest path, and the glob: the user's own, or that of a path with stars."""
    path, glob = source_folders.split_pattern(new.path, new.reading.glob)
    if glob and Path(path).is_file():
        raise UserError(f"--glob chooses among the files of a folder, and {path} is a file. Leave it out")
    source_folders.refuse_outputs(path)
    is_pattern = glob is not None and new.reading.glob is None
    meant = source_folders.matching_folders(glob) if is_pattern and glob else glob
    kind = new.kind or source_folders.kind_of(path, meant, new.reading.links)
    if is_pattern and glob and kind in SUFFIXES:
        glob = source_folders.with_folders(kind, Path(path), glob)
    return kind, path, glob


def _record_folder(new: NewSource, kind: str, path: str, files: list[InputFile]) -> str:
    if new.pin:
        files = pins.with_digests(files, project_cache())
        pins.write(new.pin_file, Path(path), files)
    if not files:
        return "the built-in sample"
    advice = f"; more than {PIN_ADVISED:,}: `--pin` keeps DVC fast" if len(files) > PIN_ADVISED and not new.pin else ""
    unread = source_folders.unread(files) if new.pin else ""
    return f"{source_folders.count(files):,} {kind} files{source_folders.left_aside(path, files)}{unread}{advice}"


def _look_behind_url(new: NewSource) -> Found:
    kind = new.kind or _kind_of_objects(new.path, new.reading.glob)
    objects, aside = _objects(new.path, kind, new.reading.glob)

    def record() -> str:
        url_pins.write(new.pin_file, new.path, objects)
        return f"{len(objects):,} {kind} objects{aside}"

    return Found(new.reading.entry(kind, str(new.pin_file)), record)


def _look_at_dataset(new: NewSource) -> Found:
    rows = new.rows
    pin = hub.DatasetPin(
        dataset=new.path,
        config=rows.config,
        split=rows.split or "train",
        revision=hub.resolve(new.path, rows.revision),
        max_documents=rows.max_documents,
    )

    if found := hub_files.find(pin, newest=rows.revision is None):
        url, files = found
        entry = new.reading.entry("parquet", str(new.pin_file))
        return Found(entry, partial(_record_files, new.pin_file, pin, url, files))

    def record() -> str:
        hub.write_pin(new.pin_file, pin)
        return f"{pin.title} at revision {pin.revision}"

    return Found(new.reading.entry("dataset", str(new.pin_file)), record)


def _record_files(path: Path, pin: hub.DatasetPin, url: str, files: Objects) -> str:
    hub_files.write_pin(path, pin, url, files)
    commit = url.rpartition("@")[2]
    made = "" if commit == pin.revision else f", as the Hub converted it ({hub_files.CONVERTED})"
    return f"{pin.title} at revision {commit}{made}: {len(files):,} Parquet files"


def _kind_of_objects(url: str, glob: str | None) -> str:
    names = bucket.names(url)
    if not names_hidden(glob):
        names = [name for name in names if not is_hidden(name)] or names
    return source_folders.kind_of_names(source_folders.meant(names, glob), url)


def _objects(url: str, kind: str, glob: str | None) -> tuple[Objects, str]:
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


def remove(name: str) -> None:
    """Take a source out of the pipeline, with its caps and extracted shards; the user's own files stay."""
    source = source_entries.known(name)
    if len(whole_params.load().extract.sources) == 1:
        raise UserError(f"{name} is the only source; add another one first: aura source add NAME PATH")
    source_entries.remove(name, source)


def scan(name: str) -> str:
    """Rewrite the pin of a source after its folder or dataset changed; returns what it names now, in words."""
    return scan_entry(name, source_entries.known(name))


def scan_entry(name: str, source: Any) -> str:  # noqa: ANN401 - a source of the corpus or of conversations
    """`scan` of an entry of params.yaml."""
    pin = Path(source.path)
    if source.kind == "dataset":
        dataset = hub.read_pin(pin)
        moved = dataset.model_copy(update={"revision": hub.resolve(dataset.dataset)})
        hub.write_pin(pin, moved)
        return f"revision {moved.revision}" + (", as before" if moved == dataset else "")
    if source.kind in ("sample", "docstrings") or not pins.is_pin(pin):
        raise UserError(f"the source {name} has no pin: DVC looks at {source.path} itself, so there is nothing to scan")
    if of_files := hub_files.read_pin(pin):
        return _scan_files(pin, of_files)
    if url := url_pins.url_of(pin):
        objects, aside = _objects(url, source.kind, source.glob)
        url_pins.write(pin, url, objects)
        return f"{len(objects):,} objects{aside}"
    folder = pins.folder_of(pin)
    files = source_folders.source_files(source.kind, folder, source.glob, source.links)
    files = pins.with_digests(files, project_cache())
    pins.write(pin, folder, files)
    return f"{source_folders.count(files):,} files{source_folders.unread(files)}"


def _scan_files(path: Path, pin: hub.DatasetPin) -> str:
    """Take in the newest Parquet files of a dataset."""
    moved = pin.model_copy(update={"revision": hub.resolve(pin.dataset)})
    found = hub_files.find(moved, newest=True)
    if found is None:
        raise UserError(
            f"{moved.title} has no Parquet files any more at revision {moved.revision}. To read its rows: "
            f"{pins.rescan(path).replace('scan', 'remove')}, then add it again"
        )
    before = url_pins.read(path)
    return _record_files(path, moved, *found) + (", as before" if found == before else "")
