"""The Parquet files of a dataset on the Hub: its own, or those that the Hub made of it (`refs/convert/parquet`).

Workers read them where they are, as files of kind parquet, by their commit: no row goes through `datasets`, and nothing
is written to this disk. `datasets` tells only which files a split has, because a dataset's page may say that in many
ways. The pin names the commit and each file with its size and SHA-256.

The Hub converts a dataset some time after it changed, and a large one in part. A part is not taken. The pin names the
commit of the conversion, so the text is what this commit holds.
"""

from pathlib import Path
from typing import Any

from aura.core.errors import UserError
from aura.core.files import read_object
from aura.sources import hub, url_pins
from aura.sources.hub import DatasetPin
from aura.sources.input_files import SUFFIXES
from aura.sources.object_reader import HUB, Stored
from aura.sources.url_pins import Objects

CONVERTED = "refs/convert/parquet"


def find(pin: DatasetPin, *, newest: bool) -> tuple[str, Objects] | None:
    """The URL of a commit, and the Parquet files in it that are a pinned split; None if it has none, or not all.

    The conversion is looked for only if the pin is of the `newest` commit. With `max_documents`, and of a folder on
    this machine, rows are read instead. Raises `UserError` if the dataset or its split cannot be had.
    """
    if pin.max_documents is not None or pin.revision.startswith(hub.LOCAL):
        return None
    hub.be_quiet()
    with hub.explained(pin.title):
        config, names = _own(pin)
        if names is not None:
            return _commit(pin.dataset, pin.revision), _described(pin.dataset, pin.revision, "", names)
        return _converted(pin, config) if newest else None


def write_pin(path: Path, pin: DatasetPin, url: str, files: Objects) -> None:
    """Write the pin of a dataset's files."""
    url_pins.write(path, url, files, pin.model_dump(exclude_none=True))


def read_pin(path: Path) -> DatasetPin | None:
    """The dataset that a pin of files is of; None if it is of none."""
    values = read_object(path, made_by="aura source add NAME DATASET --kind dataset")
    known = {key: value for key, value in values.items() if key in DatasetPin.model_fields}
    return hub.pin_of(known, path) if "dataset" in known else None


def _own(pin: DatasetPin) -> tuple[str, set[str] | None]:
    """The config's name, and the names of its split's files; None if some are not Parquet."""
    import datasets
    from datasets.packaged_modules.parquet.parquet import Parquet

    try:
        builder = datasets.load_dataset_builder(pin.dataset, pin.config, revision=pin.revision)
    except RuntimeError as error:
        if "Dataset scripts" not in str(error):
            raise
        return pin.config or "default", None  # made by a program, which is not run; the Hub may have run it
    splits: Any = builder.config.data_files or {}
    if not isinstance(builder, Parquet):
        return builder.config.name, None
    if pin.split not in splits:
        raise ValueError(f"Bad split: {pin.split}. Available splits: {list(splits)}")
    inside = f"{_commit(pin.dataset, pin.revision)}/"
    files = list(splits[pin.split])
    if all(file.startswith(inside) and file.endswith(SUFFIXES["parquet"]) for file in files):
        return builder.config.name, {file.removeprefix(inside) for file in files}
    return builder.config.name, None


def _converted(pin: DatasetPin, config: str) -> tuple[str, Objects] | None:
    """The same of the Hub's own conversion."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

    try:
        commit = huggingface_hub.HfApi().dataset_info(pin.dataset, revision=CONVERTED, timeout=hub.TIMEOUT).sha
        if commit is None:
            return None
        files = _described(pin.dataset, commit, f"{config}/{pin.split}", None)  # of a part: CONFIG/partial-SPLIT
    except (RevisionNotFoundError, EntryNotFoundError):
        return None
    return (_commit(pin.dataset, commit), files) if files else None


def _described(dataset: str, commit: str, folder: str, names: set[str] | None) -> Objects:
    """Size and hash of files below a folder of a commit: those with some names, or all Parquet files."""
    import huggingface_hub
    from huggingface_hub.hf_api import RepoFile

    tree = huggingface_hub.HfApi().list_repo_tree(
        dataset, folder or None, recursive=True, revision=commit, repo_type="dataset"
    )
    found = {
        entry.path: Stored(entry.size, f"sha256:{entry.lfs.sha256}" if entry.lfs else f"blob:{entry.blob_id}")
        for entry in tree
        if isinstance(entry, RepoFile)
        and (entry.path in names if names is not None else entry.path.endswith(SUFFIXES["parquet"]))
    }
    if missing := (names or set()) - found.keys():
        raise UserError(f"dataset {dataset}: the Hub does not list {min(missing)} at {commit}. Run the command again.")
    return dict(sorted(found.items()))


def _commit(dataset: str, commit: str) -> str:
    return f"{HUB}{dataset}@{commit}"
