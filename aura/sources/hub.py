"""Hugging Face datasets at a pinned revision, opened for streaming.

A pin, `data/NAME.pin.json`, is what DVC hashes; the revision in it is a commit, never a branch, so the same rows
come for ever. A local folder (a dataset repository, or what `save_to_disk` wrote) goes through the same call; its
revision is a hash of its files. Nothing of a dataset is executed: the `datasets` library runs no dataset scripts any
more, picks its readers by file suffix, and has none for pickles. It is imported where it is used (0.8 s).
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
import pydantic
import xxhash
from pydantic import Field

from aura.core.errors import UserError
from aura.core.files import read_json, read_object, write_json
from aura.core.section import Section
from aura.sources import pins
from aura.sources.dataset_files import Tables
from aura.sources.input_files import hash_file

LOCAL = "xxh3:"  # begins the revision of a local folder
TIMEOUT = 30  # seconds for the Hub to say whether it has a revision
# Of a read that broke off. Each has five tries inside: a network that stays away ends a run after a minute, and the
# next run goes on where it was; the library's own 20 would take ten minutes.
READ_RETRIES = 2


class DatasetPin(Section):
    """One split of one dataset at one commit; of `max_documents` rows at most."""

    dataset: str
    config: str | None = None
    split: str
    revision: Annotated[str, Field(pattern=rf"^([0-9a-f]{{40}}|{LOCAL}[0-9a-f]{{32}})$")]
    max_documents: int | None = Field(default=None, ge=1)

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"dataset {self.dataset} (config {self.config or 'default'}, split {self.split})"


class Rows(NamedTuple):
    """The rows of a dataset as a `datasets.IterableDataset`, and whether they are texts: bytes or null, in `text`."""

    stream: Any
    are_texts: bool


def read_pin(path: Path) -> DatasetPin:
    """Read a pin; one that is absent, or names no dataset at a commit, is a `UserError`."""
    return pin_of(read_json(path, made_by="aura source add NAME DATASET --kind dataset"), path)


def pin_of(values: Any, path: Path) -> DatasetPin:  # noqa: ANN401 - what the file at `path` holds
    """A pin from its values; raises as `read_pin`."""
    try:
        return DatasetPin.model_validate(values)
    except pydantic.ValidationError as error:
        mistake = error.errors()[0]
        key = ".".join(map(str, mistake["loc"])) or "the whole"
        raise UserError(
            f"{path}: {key}: {mistake['msg']}; got {mistake['input']!r}. Fix it by hand, "
            f"or: {pins.rescan(path).replace('scan', 'remove')}, then add it again."
        ) from None


def write_pin(path: Path, pin: DatasetPin) -> None:
    """Write a pin, with what was left out left out."""
    write_json(path, pin.model_dump(exclude_none=True))


def resolve(dataset: str, revision: str | None = None) -> str:
    """The commit that `revision` (a branch, tag or commit; by default the newest) of a dataset means now.

    Asks the Hub, unless `dataset` is a local folder. Raises `UserError` if it cannot be had.
    """
    if Path(dataset).is_dir():
        present = LOCAL + _folder_hash(Path(dataset))
        if revision not in (None, present):
            raise UserError(f"expected the folder {dataset} at revision {revision}, its files are at {present}")
        return present
    import huggingface_hub

    with explained(f"dataset {dataset}" + (f" at revision {revision}" if revision else "")):
        found = huggingface_hub.HfApi().dataset_info(dataset, revision=revision, timeout=TIMEOUT).sha
    if found is None:
        raise UserError(f"the Hub names no commit for dataset {dataset}. Give one: --revision COMMIT")
    return found


def open_rows(pin: DatasetPin, text_keys: Sequence[str] | None = None, *, begun: bool = False) -> Rows:
    """The rows of a pinned dataset, as a stream that can tell and take up its state, or has `begun` elsewhere.

    With `text_keys`, rows of JSON and Parquet files are texts: what those keys lead to, or null.
    Raises `UserError` if they cannot be had, or if a local folder is not what its pin recorded.
    """
    folder = Path(pin.dataset)
    if pin.revision.startswith(LOCAL):
        if not folder.is_dir():
            raise UserError(f"{pin.title} was a local folder when it was pinned, and {folder} is no folder now.")
        if resolve(pin.dataset) != pin.revision:
            raise UserError(
                f"the files in {folder} are not those that were pinned. Take the change in with: aura source scan NAME"
            )
    else:
        resolve(pin.dataset, pin.revision)  # says at once what `datasets` says after five tries
    be_quiet()
    with explained(pin.title):
        if not pin.revision.startswith(LOCAL):
            return _streamed(pin, pin.dataset, pin.revision, text_keys, begun)
        if not _was_saved(folder):
            return _streamed(pin, str(folder.resolve()), None, text_keys, begun)
        return Rows(_saved(folder, pin).to_iterable_dataset(), are_texts=False)


def be_quiet() -> None:
    """Let the Hub's libraries print nothing, and give up before long; what they log, they raise too."""
    import datasets
    import huggingface_hub

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    datasets.config.STREAMING_READ_MAX_RETRIES = READ_RETRIES
    huggingface_hub.logging.set_verbosity(logging.ERROR)


def _streamed(pin: DatasetPin, path: str, revision: str | None, text_keys: Sequence[str] | None, begun: bool) -> Rows:
    """Rows of JSON and Parquet files are read as sources of those kinds are, those of other files by `datasets`."""
    import datasets
    from datasets.packaged_modules.json.json import Json
    from datasets.packaged_modules.parquet.parquet import Parquet

    builder = datasets.load_dataset_builder(path, pin.config, revision=revision)
    are_texts = bool(text_keys) and isinstance(builder, Json | Parquet)
    if are_texts:
        tables = Tables(text_keys or [], pin.title, begun)
        builder.info.features = datasets.Features({"text": datasets.Value("large_binary")})
        builder._generate_tables = tables.of_json if isinstance(builder, Json) else tables.of_parquet
    return Rows(builder.as_streaming_dataset(split=pin.split), are_texts)


def iterate(rows: Rows, title: str) -> Iterator[dict[str, Any]]:
    """Yield rows; what goes wrong with the network or the dataset's files on the way is a `UserError`."""
    iterator = iter(rows.stream)
    while True:
        with explained(title):
            row = next(iterator, None)
        if row is None:
            return
        yield row


def _was_saved(folder: Path) -> bool:
    """Return whether `save_to_disk` wrote this folder."""
    return (folder / "dataset_dict.json").exists() or (folder / "state.json").exists()


def _saved(folder: Path, pin: DatasetPin) -> Any:  # noqa: ANN401 - a datasets.Dataset
    """Load the files of `save_to_disk`: one dataset, or one for each split."""
    import datasets

    made_by = "datasets.Dataset.save_to_disk"
    if (folder / "dataset_dict.json").exists():
        splits = read_object(folder / "dataset_dict.json", made_by, splits=[str])["splits"]
        folder /= pin.split
    else:
        splits = [read_object(folder / "state.json", made_by, _split=str | None)["_split"] or pin.split]
    if pin.split not in splits:
        raise ValueError(f"Bad split: {pin.split}. Available splits: {splits}")
    if not read_object(folder / "state.json", made_by, _data_files=list)[
        "_data_files"
    ]:  # which `datasets` cannot load again
        raise no_rows(pin)
    return datasets.load_from_disk(str(folder))


def no_rows(pin: DatasetPin) -> UserError:
    """Return the error about a dataset without rows."""
    return UserError(f"{pin.title} has no rows. Look at its page, and name another split.")


def _folder_hash(folder: Path) -> str:
    """Of names and contents; what is hidden (.git, .cache) is no data, for `datasets` either."""
    found = ((path.relative_to(folder), path) for path in folder.rglob("*") if path.is_file())
    files = sorted(
        (name.as_posix(), path) for name, path in found if not any(part.startswith(".") for part in name.parts)
    )
    hashed = ((name, *hash_file(path)) for name, path in files)
    lines = [f"{name}\0{size}\0{digest}\n" for name, digest, size in hashed]
    return xxhash.xxh3_128_hexdigest("".join(lines).encode("utf-8", "surrogateescape"))


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the failures of the Hub and of `datasets` into one message that says what to do."""
    from datasets.exceptions import DatasetsError
    from httpx2 import HTTPError  # what huggingface_hub lets through when there is no answer
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (HfHubHTTPError, HTTPError, ConnectionError, TimeoutError, FileNotFoundError, DatasetsError) as error:
        raise UserError(f"{what}: {_reason(error)}") from None
    except (ValueError, RuntimeError, NotImplementedError, pa.ArrowException) as error:
        said = " ".join(str(error).split())
        if "Dataset scripts" in said:
            raise UserError(f"{what}: it is made by a program, which is never run here ({said}).") from None
        raise UserError(f"{what}: {said[:500]}. Look at its config and split, and at its page.") from None


def _reason(error: Exception) -> str:
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    said = " ".join(str(error).split())
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError) or "is a gated dataset" in said:
        return "it is gated. Ask for access on its page, then give your token: hf auth login, or HF_TOKEN=..."
    if isinstance(error, RevisionNotFoundError) or said.startswith("Revision"):
        return "it has no such revision. Look at its commits, or take the newest: aura source scan NAME"
    if isinstance(error, RepositoryNotFoundError) or "exist on the Hub" in said:
        return "there is none of this name on the Hub, or it is private. Check the name (OWNER/NAME); or: hf auth login"
    if status in (401, 403):
        return f"the Hub refuses access ({status}). Check your token: hf auth whoami"
    if isinstance(error, DatasetsError | FileNotFoundError):
        return f"{said[:500]}. Look at its config and split, and at its files."
    return f"the Hub cannot be reached ({said[:200]}). Check the network, then run the same command again."
