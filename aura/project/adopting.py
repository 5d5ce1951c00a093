"""A tokenizer from elsewhere for `train_tokenizer.from`: fetched if it has to be, and entered into the pipeline.

A released version and a revision of the Hub never change, so their names are enough for DVC. A file or folder changes,
so dvc.yaml lists it among the stage's deps.
"""

import re
from pathlib import Path

from aura.core import files, hub_address, params, pipeline_file
from aura.core.errors import UserError
from aura.project import source_entries, whole_params, yaml_edits
from aura.sharing import versions
from aura.sources import hub
from aura.tokenizer import adopted_record, foreign
from aura.train_tokenizer.adoption import Base

STAGE = "train_tokenizer"
KEY, DEPS = (STAGE, "from"), ("stages", STAGE, "deps")
FETCHED = Path(".aura/adopted")  # files of versions, by their names
KEY_IN_FILE = f"{params.PARAMS_FILE}: {'.'.join(KEY)}"
LISTING_FORMAT = 1  # of COMMIT.json in FETCHED: sizes in bytes of the files of a repository that are tokenizers
_VERSION = re.compile(r"(?:[a-z][a-z0-9_-]*@)?v\d+\.\d+\.\d+\S*", re.ASCII)


def is_elsewhere(base: str) -> bool:
    """Return whether `base` names a version or a repository of the Hub, and no path."""
    return hub_address.is_address(base) or (_VERSION.fullmatch(base) is not None and not Path(base).exists())


def fetched(base: str) -> Path:
    """The file or folder of a tokenizer that is elsewhere; only the first time from the network.

    Raises:
        UserError: there is no such tokenizer, or it cannot be had; the message says what to do.
    """
    if hub_address.is_address(base):
        return _from_hub(base)
    tag = versions.tag_of(base)
    return versions.fetch(base, ".", FETCHED / tag.replace("@", "-"))


def enter(base: str) -> None:
    """Write the tokenizer into params.yaml, and a path among the stage's deps in dvc.yaml in the place of the last.

    Raises:
        UserError: there is no such tokenizer, it is damaged, or an edit cannot be made; nothing is changed then.
    """
    elsewhere = is_elsewhere(base)
    foreign.load(Base(fetched(base) if elsewhere else Path(base), base, {}).file, base)
    before = whole_params.load().train_tokenizer.base
    values, pipeline = source_entries.read_both()
    listed = pipeline_file.dependencies(STAGE)
    if before in listed and before != base:
        pipeline = yaml_edits.without_item(pipeline, DEPS, before)
        listed.remove(before)
    if not elsewhere and base not in listed:
        pipeline = yaml_edits.with_item(pipeline, DEPS, base, sum(dep < base for dep in listed))
    source_entries.write_both(yaml_edits.with_value(values, KEY, base), pipeline)


def leave() -> None:
    """Train again: `from` becomes null, what belongs to it becomes empty, and dvc.yaml lists no tokenizer."""
    before = whole_params.load().train_tokenizer
    values, pipeline = source_entries.read_both()
    if before.base in pipeline_file.dependencies(STAGE):
        pipeline = yaml_edits.without_item(pipeline, DEPS, before.base)
    values = yaml_edits.with_value(values, KEY, None)
    values = yaml_edits.with_value(values, (STAGE, "extend"), 0)
    for role in before.roles:
        values = yaml_edits.without_entry(values, (STAGE, "roles"), role)
    for source in before.keep:
        values = yaml_edits.without_item(values, (STAGE, "keep"), source)
    source_entries.write_both(values, pipeline)


def _from_hub(base: str) -> Path:
    """The first of a repository's files that is a tokenizer.

    The list of its files alone decides, whatever the Hub's cache holds. It is kept, so that no network is needed
    afterwards.
    """
    repository, revision = hub_address.parsed(base)
    import huggingface_hub

    with hub.explained(f"{KEY_IN_FILE}: {base}"):
        name, size = _chosen(base, _listed(repository, revision))
        if size > foreign.LARGEST:
            raise UserError(f"{base}: expected {name} of at most {foreign.LARGEST:,} bytes, got {size:,}")
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))


def _chosen(base: str, sizes: dict[str, int]) -> tuple[str, int]:
    """Name and size of the file that counts."""
    for name in adopted_record.INSIDE:
        if name in sizes:
            return name, sizes[name]
    raise UserError(f"{base}: expected one of {', '.join(adopted_record.INSIDE)} in it, found none")


def _listed(repository: str, revision: str) -> dict[str, int]:
    """Sizes of the files of a commit that are tokenizers, by their names; asked of the Hub once."""
    kept = FETCHED / f"{revision}.json"
    if kept.exists():
        made_by = f"aura tokenizer adopt {hub_address.PREFIX}{repository}@{revision}, once this file is deleted"
        sizes: dict[str, int] = files.read_format(kept, made_by, LISTING_FORMAT, sizes={str: int})["sizes"]
        return sizes
    from huggingface_hub import HfApi, RepoFile

    found = {
        entry.path: entry.size
        for entry in HfApi().list_repo_tree(repository, revision=revision)
        if isinstance(entry, RepoFile) and entry.path in adopted_record.INSIDE
    }
    files.write_json(kept, {"format": LISTING_FORMAT, "sizes": found})
    return found
