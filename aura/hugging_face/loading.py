"""A model of any folder that the pipeline writes, with its tokenizer, ready to draw tokens on one device.

models/lm       the pretrained model; the tokenizer lies elsewhere and is compared with the record
models/adapter  matrices of low rank over models/lm, in PEFT's format
models/chat     the two merged, with the tokenizer's files beside them; models/hf has the same form
"""

from dataclasses import dataclass
from pathlib import Path

import jax

from aura.core import files, paths
from aura.core.errors import UserError
from aura.hugging_face import folder as model_folder
from aura.hugging_face import llama_reading, peft_adapter
from aura.hugging_face.llama_settings import require_small
from aura.model import lora, weights
from aura.model.model import LanguageModel
from aura.tokenizer import hf_export, opening
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.adopted_record import INSIDE
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.reader import Reader

MADE_BY, EXPORTED_BY = peft_adapter.MADE_BY, "dvc repro export"


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that can draw tokens.

    Attributes:
        model: on one device.
        reader: of its texts; its context is that of a sequence of its training.
        adapted: whether it may have been adapted to conversations; models/lm was not.
    """

    model: LanguageModel
    reader: Reader
    adapted: bool = True

    @property
    def tokenizer(self) -> AnyTokenizer:
        """Of its ids."""
        return self.reader.tokenizer

    @property
    def context(self) -> int:
        """Tokens that it reads at once."""
        return self.reader.context


def load(folder: Path, tokenizer_file: Path) -> Loaded:
    """The model in `folder`.

    Arguments:
        folder: models/chat, models/adapter or models/lm, or one like them.
        tokenizer_file: a spiece.model, for models/lm and models/adapter; a Llama's own lies in its folder.

    Raises:
        UserError: the folder is missing, altered, none of these, or of another tokenizer.
    """
    if not folder.is_dir():
        if folder.exists():
            raise UserError(f"{folder} is a file: expected the folder of a model, such as {paths.CHAT_MODEL}")
        raise UserError(f"{folder} is missing: no such model was made yet. {_remedy(folder)}")
    if (folder / peft_adapter.CONFIG).exists():
        return _adapted(folder, tokenizer_file)
    if not (folder / "config.json").exists():
        raise UserError(f"expected a model in {folder}, but it has no config.json. Name another folder with --model")
    require_small(folder / "config.json")
    if "architectures" in files.read_object(folder / "config.json", MADE_BY):
        file, tokenizer = tokenizer_beside(folder)
        model, context = llama_reading.read(folder, MADE_BY, tokenizer.vocab_size)
        if tokenizer.vocab_size != model.config.vocab_size:
            raise UserError(
                f"{folder} was trained on {model.config.vocab_size:,} pieces, but {file} has "
                f"{tokenizer.vocab_size:,}. Copy the tokenizer there that it was trained on"
            )
        return Loaded(model, Reader.of(tokenizer, context, add_bos=_adds_bos(folder)))
    return _ours(folder, tokenizer_file)


def _remedy(folder: Path) -> str:
    """Say what makes a model that is missing, or which ones are there."""
    ours = (paths.LANGUAGE_MODEL, paths.ADAPTER, paths.CHAT_MODEL, paths.HUGGING_FACE_MODEL)
    made_by = dict(zip([known.name for known in ours], (weights.MADE_BY, MADE_BY, MADE_BY, EXPORTED_BY), strict=True))
    if folder.name in made_by:
        return f"Run: {made_by[folder.name]}"
    there = [str(known) for known in ours if known.is_dir()]
    return f"Name one that is there: {', '.join(there)}" if there else f"Run: {weights.MADE_BY}"


def tokenizer_beside(folder: Path) -> tuple[Path, AnyTokenizer]:
    """The tokenizer in a model's own folder, and its file: one of ours, an adopted one, or other people's as it is.

    Raises:
        UserError: there is none; another one with a vocabulary of equal size would not be noticed.
    """
    file = folder / "spiece.model"
    if opening.is_there(file):
        return file, opening.load(file)
    there = next((folder / name for name in INSIDE if (folder / name).is_file()), None)
    if there is None:
        raise UserError(f"{file} is missing: expected the model's own tokenizer. Copy it there, as spiece.model")
    return there, AdoptedTokenizer(there)


def _adapted(folder: Path, tokenizer_file: Path) -> Loaded:
    """The model of models/lm with an adapter in its weights."""
    adapter, record = peft_adapter.load_adapter(folder)
    base = model_folder.Trained.of(paths.LANGUAGE_MODEL, tokenizer_file.parent)
    peft_adapter.fit(record, base, folder)
    merged: LanguageModel = jax.jit(lora.merged)(weights.load(paths.LANGUAGE_MODEL), adapter)
    return Loaded(merged, Reader.of(base.tokenizer, record["seq_len"], add_bos=base.record.get("add_bos", True)))


def _ours(folder: Path, tokenizer_file: Path) -> Loaded:
    tokenizer, record = opening.load(tokenizer_file), weights.config(folder, tokenizer=str, seq_len=int)
    if tokenizer.encoding_sha256 != record["tokenizer"]:
        raise UserError(
            f"{folder} was trained on the tokenizer {record['tokenizer'][:16]}…, but {tokenizer_file} is "
            f"{tokenizer.encoding_sha256[:16]}…. Name the right one with --tokenizer, or run: dvc repro"
        )
    reader = Reader.of(tokenizer, weights.context_of(record), add_bos=record.get("add_bos", True))
    return Loaded(weights.load(folder), reader, adapted=False)


def _adds_bos(folder: Path) -> bool:
    """Whether <bos> began each training document, as far as tokenizer_config.json of a folder says so."""
    file = folder / hf_export.CONFIG
    require_small(file)
    return not file.is_file() or files.read_object(file, MADE_BY).get("add_bos_token") is not False
