"""The entry of a source in params.yaml and its line among select's deps in dvc.yaml, kept in step.

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
from aura.ingestion import pins
from aura.ingestion.materialise import partial_folder, raw_folder

PIPELINE_FILE = Path("dvc.yaml")


def extracted(name: str) -> Path:
    """Where a source's extracted shards lie."""
    return Path("data/extracted", name)


def require_new(name: str) -> None:
    """Refuse a name that a source has already."""
    if name in params.load().extract.sources:
        raise UserError(f"the source {name} exists already. Choose another name, or: aura source remove {name}")


def known(name: str) -> params.Source:
    """The source of this name; a `UserError` names those that there are."""
    sources = params.load().extract.sources
    if name not in sources:
        raise UserError(f"no source is named {name}. There are: {', '.join(sources)}")
    return sources[name]


def enter(name: str, entry: dict[str, Any], removed: list[str]) -> None:
    """Write a source into params.yaml and its output among select's deps, and take `removed` out of both."""
    before = params.load().extract.sources
    with _edited_pipeline() as (values, deps):
        values["extract"]["sources"][name] = _flow(entry)
        deps.insert(sum(str(dep).startswith("data/extracted/") for dep in deps), str(extracted(name)))
        for other in removed:
            _take_out(other, values, deps)
    for other in removed:
        _delete_made(other, before[other])


def remove(name: str, source: params.Source) -> None:
    """Take a source out of both files, with its caps, and delete what was made of it."""
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
