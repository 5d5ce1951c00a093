"""A model of any folder that the pipeline writes, with its tokenizer, ready to draw tokens on one device.

models/lm       the pretrained model; the tokenizer lies elsewhere and is compared with the record
models/adapter  matrices of low rank over models/lm, in PEFT's format
models/chat     the two merged, with the tokenizer's files beside them; models/hf has the same form
"""

from dataclasses import dataclass
from pathlib import Path

from aura.core import files
from aura.core.errors import UserError
from aura.hugging_face import llama_reading
from aura.model import weights
from aura.model.model import LanguageModel
from aura.tokenizer.tokenizer import Tokenizer

MADE_BY = "dvc repro adapt"
ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model, the tokenizer of its ids, and the tokens that it reads at once (a sequence of its training)."""

    model: LanguageModel
    tokenizer: Tokenizer
    context: int


def load(folder: Path, tokenizer_file: Path) -> Loaded:
    """The model in `folder`.

    Arguments:
        folder: models/chat, models/adapter or models/lm, or one like them.
        tokenizer_file: a spiece.model, for a folder that has none.

    Raises:
        UserError: the folder is missing, altered, none of these, or of another tokenizer.
    """
    if not folder.is_dir():
        made_by = weights.MADE_BY if folder.name == "lm" else MADE_BY
        raise UserError(f"{folder} is missing: no such model was made yet. Run: {made_by}")
    if (folder / ADAPTER_CONFIG).exists():
        raise UserError(f"{folder} holds an adapter alone. Talk with the merged model: --model models/chat")
    if not (folder / "config.json").exists():
        raise UserError(f"expected a model in {folder}, but it has no config.json. Name another folder with --model")
    if "architectures" in files.read_object(folder / "config.json", MADE_BY):
        model, context = llama_reading.read(folder, MADE_BY)
        own = folder / "spiece.model"
        file = own if own.exists() else tokenizer_file
        tokenizer = Tokenizer.load(file)
        if tokenizer.vocab_size != model.config.vocab_size:
            raise UserError(
                f"{folder} was trained on {model.config.vocab_size:,} pieces, but {file} has "
                f"{tokenizer.vocab_size:,}. Name the right one with --tokenizer"
            )
        return Loaded(model, tokenizer, context)
    return _ours(folder, tokenizer_file)


def _ours(folder: Path, tokenizer_file: Path) -> Loaded:
    tokenizer, record = Tokenizer.load(tokenizer_file), weights.config(folder, tokenizer=str, seq_len=int)
    if tokenizer.encoding_sha256 != record["tokenizer"]:
        raise UserError(
            f"{folder} was trained on the tokenizer {record['tokenizer'][:16]}…, but {tokenizer_file} is "
            f"{tokenizer.encoding_sha256[:16]}…. Name the right one with --tokenizer, or run: dvc repro"
        )
    return Loaded(weights.load(folder), tokenizer, record["seq_len"])
