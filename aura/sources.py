"""Adding and removing sources: one entry in params.yaml and one line among select's deps, kept in step.

DVC keeps the output of a removed source and cannot take a list of deps from params.yaml, so `select` lists
`data/extracted/NAME` for each source in dvc.yaml. Both files are edited in place, comments and all.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from aura import params
from aura.errors import UserError
from aura.files import write_bytes
from aura.ingestion import bucket, hub, pins
from aura.ingestion.input_files import SUFFIXES, InputFile, chosen_by, files_below
from aura.ingestion.materialise import partial_folder, raw_folder

PIPELINE_FILE = Path("dvc.yaml")
PIN_ADVISED = 3000  # files; above, DVC's own work for one changed file takes longer than extracting it


def extracted(name: str) -> Path:
    """Where a source's extracted shards lie."""
    return Path("data/extracted", name)


def add(
    name: str,
    path: str,
    kind: str | None,
    documents: str | None,
    text_keys: list[str],
    *,
    glob: str | None,
    pin: bool,
    only: bool,
) -> tuple[str, list[str]]:
    """Add a source to the pipeline; returns what was found in it, in words, and the sources taken out.

    `kind` is told by the files when not given. With `pin`, DVC tracks data/NAME.pin.json instead of the folder;
    with `only`, every other source is taken out. Raises `UserError`, with nothing written, if the name is taken,
    the folder holds nothing readable or belongs to the pipeline, or an option does not fit.
    """
    _new(name)
    _refuse_outputs(path)
    kind = kind or _kind_of(path)
    entry: dict[str, Any] = {"kind": kind, "path": path}
    entry |= {"glob": glob} if glob else {}
    entry |= {"documents": documents} if documents else {}
    entry |= {"text_keys": text_keys} if text_keys else {}
    files = [] if kind == "sample" else _files(kind, Path(path), glob)
    if files and not pin:
        _refuse_unhashable(Path(path))
    if pin:
        entry["path"] = str(Path("data", name + pins.SUFFIX))
    removed = list(params.load().extract.sources) if only else []
    _enter(name, entry, removed)
    if pin:
        pins.write(Path(entry["path"]), Path(path), files)
    advice = f"; more than {PIN_ADVISED:,}: `--pin` keeps DVC fast" if len(files) > PIN_ADVISED and not pin else ""
    if not files:
        return "the built-in sample", removed
    aside = _unread(files) if pin else ""
    return f"{len(files):,} {kind} files{_left_aside(path, files)}{aside}{advice}", removed


def add_url(
    name: str, url: str, kind: str | None, documents: str | None, text_keys: list[str], *, glob: str | None, only: bool
) -> tuple[str, list[str]]:
    """Add what lies behind a URL, pinned object by object in data/NAME.pin.json; returns what `add` does.

    Raises `UserError` if the name is taken, or the URL cannot be listed or holds nothing to read.
    """
    _new(name)
    if kind is None:
        names = list(bucket.look(url, bool))
        kind = max(SUFFIXES, key=lambda kind: sum(map(chosen_by(kind, None), names)))
    objects = _objects(url, kind, glob)
    pin = Path("data", name + pins.SUFFIX)
    entry: dict[str, Any] = {"kind": kind, "path": str(pin)} | ({"glob": glob} if glob else {})
    entry |= {"documents": documents} if documents else {}
    entry |= {"text_keys": text_keys} if text_keys else {}
    removed = list(params.load().extract.sources) if only else []
    _enter(name, entry, removed)
    bucket.write_pin(pin, url, objects)
    return f"{len(objects):,} {kind} objects", removed


def _objects(url: str, kind: str, glob: str | None) -> bucket.Objects:
    _require_kind(kind)
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
    _new(name)
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
    _enter(name, entry | ({"text_keys": text_keys} if text_keys else {}), removed)
    hub.write_pin(path, pin)
    return f"{pin.title} at revision {pin.revision}", removed


def remove(name: str) -> None:
    """Take a source out of the pipeline, with its caps and extracted shards; the user's own files stay."""
    source = _known(name)
    if len(params.load().extract.sources) == 1:
        raise UserError(f"{name} is the only source; add another one first: aura source add NAME PATH")
    with _edited_pipeline() as (values, deps):
        _take_out(name, values, deps)
    _delete_made(name, source)


def _take_out(name: str, values: Any, deps: Any) -> None:  # noqa: ANN401 - YAML documents
    del values["extract"]["sources"][name]
    caps = values["select"]["caps"]
    if name in caps:  # a new map, because an emptied one would lose its place in the file
        values["select"]["caps"] = _flow({other: cap for other, cap in caps.items() if other != name})
    deps[:] = [dep for dep in deps if dep != str(extracted(name))]


def _delete_made(name: str, source: params.Source) -> None:
    """Delete what was made of a removed source: DVC would keep it for ever."""
    made = [extracted(name)]
    if pins.is_pin(Path(source.path)):
        rows = raw_folder(Path(source.path))
        made += [rows, partial_folder(rows)]
    for folder in made:
        if folder.exists():
            shutil.rmtree(folder)


def _refuse_outputs(path: str) -> None:
    """Refuse a folder that is, holds or lies in one that the pipeline writes: DVC would find a circle."""
    chosen = Path(path).resolve()
    for made in ("data/extracted", "data/corpus", "data/tokens", "models"):
        output = Path(made).resolve()
        if chosen == output or output in chosen.parents or chosen in output.parents:
            raise UserError(
                f"expected a folder of your own text, such as data/txt; {path} holds or is the output {made}"
            )


def _left_aside(path: str, files: list[InputFile]) -> str:
    """Which files of the folder the source does not read, in words."""
    read = {file.place for file in files}
    others = Counter(
        file.path.suffix or "no suffix" for file in files_below(Path(path), bool) if file.place not in read
    )
    return (
        f" (not read: {', '.join(f'{count:,} {suffix}' for suffix, count in others.most_common(5))})" if others else ""
    )


def scan(name: str) -> str:
    """Rewrite the pin of a source after its folder or dataset changed; returns what it names now, in words."""
    source = _known(name)
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
    files = _files(source.kind, folder, source.glob)
    pins.write(pin, folder, files)
    return f"{len(files):,} files{_unread(files)}"


def _new(name: str) -> None:
    if name in params.load().extract.sources:
        raise UserError(f"the source {name} exists already. Choose another name, or: aura source remove {name}")


def _enter(name: str, entry: dict[str, Any], removed: list[str]) -> None:
    """Write a source into params.yaml and its output among select's deps, and take `removed` out of both."""
    before = params.load().extract.sources
    with _edited_pipeline() as (values, deps):
        values["extract"]["sources"][name] = _flow(entry)
        deps.insert(sum(str(dep).startswith("data/extracted/") for dep in deps), str(extracted(name)))
        for other in removed:
            _take_out(other, values, deps)
    for other in removed:
        _delete_made(other, before[other])


def _known(name: str) -> params.Source:
    sources = params.load().extract.sources
    if name not in sources:
        raise UserError(f"no source is named {name}. There are: {', '.join(sources)}")
    return sources[name]


def _kind_of(path: str) -> str:
    if pins.source_name(Path(path)) == "sample":
        return "sample"
    counts = {
        kind: sum(not file.problem for file in files_below(Path(path), chosen_by(kind, None))) for kind in SUFFIXES
    }
    if not any(counts.values()):
        wanted = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        raise UserError(f"expected a folder with {wanted} files at {path}, found none. Look with: ls -la {path}")
    return max(counts, key=lambda kind: counts[kind])


def _files(kind: str, folder: Path, glob: str | None) -> list[InputFile]:
    _require_kind(kind)
    files = files_below(folder, chosen_by(kind, glob))
    if all(file.problem for file in files):
        raise UserError(f"No {glob or ' or '.join(SUFFIXES[kind])} files found in {folder}. Look with: ls -la {folder}")
    return files


def _require_kind(kind: str) -> None:
    if kind not in SUFFIXES:
        raise UserError(f"expected --kind to be one of {', '.join([*SUFFIXES, 'dataset', 'sample'])}; came {kind}")


def _refuse_unhashable(folder: Path) -> None:
    """Refuse a folder at which DVC would fail or hang, naming what it cannot hash."""
    found = [f"{file.name} ({problem})" for file in files_below(folder, bool) if (problem := _unhashable(file))]
    if found:
        shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        raise UserError(
            f"DVC cannot hash the folder {folder}: {shown}. Remove them; or use --pin, and DVC will look at a list of "
            "hashes instead (extraction counts what it cannot read)."
        )


def _unhashable(file: InputFile) -> str:
    """Why DVC fails at a file, if it does; it follows links to folders."""
    try:
        os.fsencode(file.place).decode()
        file.path.stat()
    except UnicodeDecodeError:
        return "a name that is no valid UTF-8"
    except OSError as error:
        return f"a link that leads nowhere: {error.strerror}"
    return file.problem if file.problem.startswith("not a file") else ""


def _unread(files: list[InputFile]) -> str:
    """What of a pinned folder cannot be read, in words."""
    found = [f"{file.name} ({digest})" for file, (digest, _) in pins.state(files).items() if " " in digest]
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return f" (not readable, counted as lost: {shown})" if found else ""


def _flow(entry: dict[str, Any]) -> CommentedMap:
    """An entry on one line, as in the rest of the file."""
    flow = CommentedMap(entry)
    flow.fa.set_flow_style()
    return flow


@contextmanager
def _edited_pipeline() -> Iterator[tuple[Any, Any]]:
    """Give the content of params.yaml and select's deps to edit; both files are written, or neither is."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    paths = (params.PARAMS_FILE, PIPELINE_FILE)
    values, pipeline = (yaml.load(path.read_text(encoding="utf-8")) for path in paths)
    yield values, pipeline["stages"]["select"]["deps"]
    texts = []
    for content in (values, pipeline):
        text = StringIO()
        yaml.dump(content, text)
        texts.append(text.getvalue())
    params.parse(texts[0], params.PARAMS_FILE)  # refuses an edit that would leave params.yaml invalid
    for path, content in zip(paths, texts, strict=True):
        write_bytes(path, content.encode())
