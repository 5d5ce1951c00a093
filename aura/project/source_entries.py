"""The entry of a source in params.yaml and its line among select's deps in dvc.yaml, kept in step.

DVC keeps the output of a removed source and cannot take a list of deps from params.yaml, so `select` lists
`data/extracted/NAME` for each source in dvc.yaml. Both files are edited in place, comments and all.
"""

import shutil
from pathlib import Path
from typing import Any

from aura.core import params, paths
from aura.core.bounded import bounded_yaml, mismatch
from aura.core.errors import UserError
from aura.core.files import read_text, write_bytes
from aura.core.stage_inputs import account_of
from aura.project import whole_params, yaml_edits
from aura.sources import pins
from aura.sources.materialise import partial_folder, raw_folder
from aura.sources.options import Source

SOURCES, DEPS = ("extract", "sources"), ("stages", "select", "deps")  # where they stand in the two files


def extracted(name: str) -> Path:
    """Return the folder of a source's extracted shards."""
    return paths.EXTRACTED / name


def require_new(name: str) -> None:
    """Refuse a name that a source has already."""
    if name in whole_params.load().extract.sources:
        raise UserError(f"the source {name} exists already. Choose another name, or: aura source remove {name}")


def known(name: str) -> Source:
    """The source of this name; a `UserError` names those that there are."""
    options = whole_params.load()
    sources = options.extract.sources
    if name not in sources and name in options.conversations.sources:
        raise UserError(f"{name} is a source of conversations, not of text. For those: aura conversations --help")
    if name not in sources:
        raise UserError(f"no source is named {name}. There are: {', '.join(sources)}")
    return sources[name]


def enter(name: str, entry: dict[str, Any], removed: list[str]) -> None:
    """Write a source into params.yaml and its output among select's deps, and take `removed` out of both."""
    before = whole_params.load().extract.sources
    values, pipeline = read_both()
    listed = _deps(pipeline)
    last = max((place for place, dep in enumerate(listed, 1) if str(dep).startswith(f"{paths.EXTRACTED}/")), default=0)
    values = yaml_edits.with_entry(values, SOURCES, name, entry)
    pipeline = yaml_edits.with_item(pipeline, DEPS, str(extracted(name)), last)
    write_both(*without(removed, values, pipeline))
    for other in removed:
        _delete_made(other, before[other])


def remove(name: str, source: Source) -> None:
    """Take a source out of both files, with its caps, weight and preference, and delete what was made of it."""
    write_both(*without([name], *read_both()))
    _delete_made(name, source)


def without(names: list[str], values: str, pipeline: str) -> tuple[str, str]:
    """The texts of both files without some sources."""
    for name in names:
        values = yaml_edits.without_entry(values, SOURCES, name)
        for section, key in (("select", "caps"), ("pretrain", "source_weights")):
            if name in (bounded_yaml(values) or {})[section][key]:
                values = yaml_edits.without_entry(values, (section, key), name)
        if name in (bounded_yaml(values) or {})["select"].get("prefer", []):
            values = yaml_edits.without_item(values, ("select", "prefer"), name)
        if str(extracted(name)) in _deps(pipeline):
            pipeline = yaml_edits.without_item(pipeline, DEPS, str(extracted(name)))
    return values, pipeline


def _deps(pipeline: str) -> list[Any]:
    """Return the dependencies of `select`, by the text of dvc.yaml."""
    read = bounded_yaml(pipeline)
    if wrong := mismatch(read, {"stages": {"select": {"deps": [str]}}}):
        raise UserError(f"{paths.PIPELINE_FILE}: {wrong}. See: git diff {paths.PIPELINE_FILE}")
    return list(read["stages"]["select"]["deps"])


def read_both() -> tuple[str, str]:
    """The texts of params.yaml and dvc.yaml, line ends as they are."""
    return _read(params.PARAMS_FILE), _read(paths.PIPELINE_FILE)


def _read(path: Path) -> str:
    read_text(path)  # an absent or undecodable file is told
    return path.read_bytes().decode()  # line ends as they are


def write_both(values: str, pipeline: str) -> None:
    """Write both files, or neither: an edit that would leave params.yaml invalid is refused."""
    whole_params.parse(values, params.PARAMS_FILE)
    write_bytes(params.PARAMS_FILE, values.encode())
    write_bytes(paths.PIPELINE_FILE, pipeline.encode())


def remove_folders(folders: list[Path]) -> None:
    """Delete those that are there."""
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)


def _delete_made(name: str, source: Source) -> None:
    """Delete what was made of a removed source: DVC would keep it for ever."""
    Path(account_of(f"extract@{name}")).unlink(missing_ok=True)
    made = [extracted(name)]
    if pins.is_pin(Path(source.path)):
        rows = raw_folder(Path(source.path))
        made += [rows, partial_folder(rows)]
    remove_folders(made)
