"""Adding and removing sources: one entry in params.yaml and one line among select's deps, kept in step.

DVC keeps the output of a removed source and cannot take a list of deps from params.yaml, so `select` lists
`data/extracted/NAME` for each source in dvc.yaml. Both files are edited in place, comments and all.
"""

import shutil
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
from aura.ingestion import hub, pins
from aura.ingestion.materialise import partial_folder, raw_folder
from aura.ingestion.readers import SUFFIXES, files_below

PIPELINE_FILE = Path("dvc.yaml")
PIN_ADVISED = 3000  # files; above, DVC's own work for one changed file takes longer than extracting it


def extracted(name: str) -> Path:
    """Where a source's extracted shards lie."""
    return Path("data/extracted", name)


def add(name: str, path: str, kind: str | None, documents: str | None, text_keys: list[str], pin: bool) -> str:
    """Add a source to the pipeline; returns what was found in it, in words.

    `kind` is told by the files when not given. With `pin`, DVC tracks data/NAME.pin.json instead of the folder.
    Raises `UserError` if the name is taken, the folder holds nothing readable, or an option does not fit.
    """
    _new(name)
    kind = kind or _kind_of(path)
    entry: dict[str, Any] = {"kind": kind, "path": path}
    entry |= {"documents": documents} if documents else {}
    entry |= {"text_keys": text_keys} if text_keys else {}
    files = [] if kind == "sample" else _files(kind, Path(path))
    if pin:
        entry["path"] = str(Path("data", name + pins.SUFFIX))
        pins.write(Path(entry["path"]), Path(path), files)
    _enter(name, entry)
    advice = f"; more than {PIN_ADVISED:,}: `--pin` keeps DVC fast" if len(files) > PIN_ADVISED and not pin else ""
    return f"{len(files):,} {kind} files{advice}" if files else "the built-in sample"


def add_dataset(
    name: str,
    dataset: str,
    config: str | None,
    split: str,
    revision: str | None,
    max_documents: int | None,
    text_keys: list[str],
) -> str:
    """Add a Hugging Face dataset, pinned to a commit in data/NAME.pin.json; returns the revision, in words.

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
    _enter(name, entry | ({"text_keys": text_keys} if text_keys else {}))
    hub.write_pin(path, pin)
    return f"{pin.title} at revision {pin.revision}"


def remove(name: str) -> None:
    """Take a source out of the pipeline, with its extracted shards; the user's own files stay."""
    source = _known(name)
    if len(params.load().extract.sources) == 1:
        raise UserError(f"{name} is the only source; add another one first: aura source add NAME PATH")
    with _edited(params.PARAMS_FILE) as values, _edited(PIPELINE_FILE) as pipeline:
        del values["extract"]["sources"][name]
        pipeline["stages"]["select"]["deps"].remove(str(extracted(name)))
        _check(values)
    ours = [extracted(name)]  # DVC would keep it for ever
    if source.kind == "dataset":
        rows = raw_folder(Path(source.path))
        ours += [rows, partial_folder(rows)]
    for folder in ours:
        if folder.exists():
            shutil.rmtree(folder)


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
    folder = pins.folder_of(pin)
    files = _files(source.kind, folder)
    pins.write(pin, folder, files)
    return f"{len(files):,} files"


def _new(name: str) -> None:
    if name in params.load().extract.sources:
        raise UserError(f"the source {name} exists already. Choose another name, or: aura source remove {name}")


def _enter(name: str, entry: dict[str, Any]) -> None:
    """Write a source into params.yaml, and its output among select's deps."""
    with _edited(params.PARAMS_FILE) as values, _edited(PIPELINE_FILE) as pipeline:
        values["extract"]["sources"][name] = _flow(entry)
        deps = pipeline["stages"]["select"]["deps"]
        position = sum(str(dep).startswith("data/extracted/") for dep in deps)
        deps.insert(position, str(extracted(name)))
        _check(values)


def _known(name: str) -> params.Source:
    sources = params.load().extract.sources
    if name not in sources:
        raise UserError(f"no source is named {name}. There are: {', '.join(sources)}")
    return sources[name]


def _kind_of(path: str) -> str:
    counts = {kind: len(files_below(Path(path), suffixes)) for kind, suffixes in SUFFIXES.items()}
    if not any(counts.values()):
        wanted = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        raise UserError(f"expected a folder with {wanted} files at {path}, found none. Look with: ls -la {path}")
    return max(counts, key=lambda kind: counts[kind])


def _files(kind: str, folder: Path) -> list[tuple[str, Path]]:
    suffixes = SUFFIXES.get(kind)
    if suffixes is None:
        raise UserError(f"expected --kind to be one of {', '.join([*SUFFIXES, 'dataset', 'sample'])}; came {kind}")
    files = files_below(folder, suffixes)
    if not files:
        raise UserError(f"No {' or '.join(suffixes)} files found in {folder}. Look with: ls -la {folder}")
    return files


def _flow(entry: dict[str, Any]) -> CommentedMap:
    """An entry on one line, as in the rest of the file."""
    flow = CommentedMap(entry)
    flow.fa.set_flow_style()
    return flow


@contextmanager
def _edited(path: Path) -> Iterator[Any]:
    """Load a YAML file, let the caller edit it, and write it back with its comments unless an error rose."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(path.read_text(encoding="utf-8"))
    yield content
    text = StringIO()
    yaml.dump(content, text)
    write_bytes(path, text.getvalue().encode())


def _check(values: Any) -> None:  # noqa: ANN401 - the YAML document
    """Refuse an edit that would leave params.yaml invalid, before anything is written."""
    text = StringIO()
    YAML().dump(values, text)
    params.parse(text.getvalue(), params.PARAMS_FILE)
