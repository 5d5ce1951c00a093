"""A tokenizer from elsewhere for `train_tokenizer.from`: fetched if it has to be, and entered into the pipeline.

A released version and a revision of the Hub never change, so their names are enough for DVC. A file or folder changes,
so dvc.yaml lists it among the stage's deps.
"""

import re
from pathlib import Path

from aura.core import params, pipeline_file
from aura.core.errors import UserError
from aura.project import source_entries, whole_params, yaml_edits
from aura.sharing import versions
from aura.sources import hub
from aura.tokenizer import adopted_record, foreign

STAGE = "train_tokenizer"
KEY, DEPS = (STAGE, "from"), ("stages", STAGE, "deps")
FETCHED = Path(".aura/adopted")  # files of versions, by their names
HUB = "hf://"
_AT_HUB = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})", re.ASCII)
_VERSION = re.compile(r"(?:[a-z][a-z0-9_-]*@)?v\d+\.\d+\.\d+\S*", re.ASCII)


def is_elsewhere(base: str) -> bool:
    """Return whether `base` names a version or a repository of the Hub, and no path."""
    return base.startswith(HUB) or (_VERSION.fullmatch(base) is not None and not Path(base).exists())


def fetched(base: str) -> Path:
    """The file or folder of a tokenizer that is elsewhere; only the first time from the network.

    Raises:
        UserError: there is no such tokenizer, or it cannot be had; the message says what to do.
    """
    if base.startswith(HUB):
        return _from_hub(base)
    tag = versions.tag_of(base)
    return versions.fetch(base, ".", FETCHED / tag.replace("@", "-"))


def enter(base: str) -> None:
    """Write the tokenizer into params.yaml, and a path among the stage's deps in dvc.yaml in the place of the last.

    Raises:
        UserError: there is no such tokenizer, or an edit cannot be made; nothing is changed then.
    """
    elsewhere = is_elsewhere(base)
    foreign.file_of(fetched(base) if elsewhere else Path(base), base)
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
    """Train again: `from` becomes null, and dvc.yaml lists no tokenizer."""
    before = whole_params.load().train_tokenizer.base
    values, pipeline = source_entries.read_both()
    if before in pipeline_file.dependencies(STAGE):
        pipeline = yaml_edits.without_item(pipeline, DEPS, before)
    source_entries.write_both(yaml_edits.with_value(values, KEY, None), pipeline)


def _from_hub(base: str) -> Path:
    """The first of a repository's files that is a tokenizer."""
    found = _AT_HUB.fullmatch(base)
    if found is None:
        raise UserError(
            f"{params.PARAMS_FILE}: train_tokenizer.from: expected hf://ORG/NAME@REVISION with a full commit hash (40 "
            f"hexadecimal digits), which never changes; got {base!r}. The page of the repository lists its commits"
        )
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, revision = found["name"], found["revision"]
    for name in adopted_record.INSIDE:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
    with hub.explained(f"{params.PARAMS_FILE}: train_tokenizer.from: {base}"):
        names = set(huggingface_hub.HfApi().list_repo_files(repository, revision=revision))
        there = [name for name in adopted_record.INSIDE if name in names]
        if not there:
            raise UserError(f"{base}: expected one of {', '.join(adopted_record.INSIDE)} in it, found none")
        return Path(huggingface_hub.hf_hub_download(repository, there[0], revision=revision))
