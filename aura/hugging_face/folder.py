"""A folder that `AutoModelForCausalLM` and `AutoTokenizer` load: weights, their config, and the tokenizer's files."""

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.hugging_face.cards import Facts
from aura.hugging_face.llama import Tensors, llama_config
from aura.model import tensor_file, weights
from aura.model.model import ModelConfig
from aura.tokenizer import hf_export, opening
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.tokenizer import EXPORTED

CARD, GENERATION, GGUF = "README.md", "generation_config.json", "model.gguf"
# What lies beside a tokenizer whose folder is that of a model.
NOT_OF_THE_TOKENIZER = {
    *(checksums.NAME, CARD, GENERATION, GGUF),
    *("config.json", "model.safetensors", "checkpoint.json"),
}
TEMPERATURE = 0.8  # of samples, as `aura sample` has it


@dataclass(frozen=True)
class Trained:
    """A trained model beside the tokenizer that it was trained on.

    Attributes:
        weights: the file of its weights, compared with its SHA-256.
        sha256: that of the file.
        record: its config.json.
        config: its shape.
        tokenizer: of the same encoding as in training.
        tokenizer_folder: the tokenizer's files.
    """

    weights: Path
    sha256: str
    record: dict[str, Any]
    config: ModelConfig
    tokenizer: AnyTokenizer
    tokenizer_folder: Path

    @classmethod
    def of(cls, model_folder: Path, tokenizer_folder: Path) -> "Trained":
        """Open models/lm and models/spm.

        Raises:
            UserError: the model was trained on another tokenizer, or a file is missing or altered.
        """
        checksums.verify(tokenizer_folder, "dvc repro train_tokenizer", required=False)
        weights_file, record = weights.checked(model_folder), weights.config(model_folder, tokenizer=str, seq_len=int)
        tokenizer = opening.load(tokenizer_folder / "spiece.model")
        if record["tokenizer"] != tokenizer.encoding_sha256:
            raise UserError(
                f"{model_folder} was trained on the tokenizer {record['tokenizer'][:16]}…, but {tokenizer_folder} "
                f"holds {tokenizer.encoding_sha256[:16]}…. Train on it: {weights.MADE_BY}"
            )
        sha256 = checksums.read(model_folder, weights.MADE_BY)[weights_file.name]
        return cls(weights_file, sha256, record, ModelConfig(**record["model"]), tokenizer, tokenizer_folder)


def write(
    output: Path,
    trained: Trained,
    tensors: Tensors,
    card: str,
    *,
    add_bos: bool,
    also: Callable[[Path], object] | None = None,
) -> None:
    """Make the folder `output` anew, whole or not at all.

    Arguments:
        output: the folder.
        trained: the tokenizer and the shape of the model.
        tensors: the weights under Llama's names.
        card: README.md.
        add_bos: <bos> began each training document, so it must begin each text that Hugging Face's libraries encode.
        also: writes further files into the folder, which holds all others by then.
    """
    with files.replaced_folder(output) as unfinished:
        for file in sorted(trained.tokenizer_folder.iterdir()):
            if file.is_file() and file.name not in NOT_OF_THE_TOKENIZER:
                shutil.copyfile(file, unfinished / file.name)
        for name, content in _of_model(trained, add_bos).items():
            files.write_bytes(unfinished / name, content)
        tensor_file.write(unfinished / "model.safetensors", tensors, {"format": "pt"})
        config = llama_config(trained.config, trained.tokenizer, weights.context_of(trained.record))
        files.write_json(unfinished / "config.json", config)
        files.write_json(unfinished / GENERATION, generation_config(trained.tokenizer))
        files.write_bytes(unfinished / CARD, card.encode())
        if also is not None:
            also(unfinished)
        checksums.write(unfinished)


def base_facts(base: Trained) -> Facts:
    """The base of an adapted model, for a card."""
    waived, began = base.record.get("waived_gates", []), base.record.get("base")
    return {
        "The base": {
            "parameters": base.record["parameters"],
            "layers": base.config.layers,
            "width": base.config.width,
            "context in tokens": weights.context_of(base.record),
            "pieces of the tokenizer": base.config.vocab_size,
            "SHA-256 of the weights": base.sha256,
            "SHA-256 of the tokenizer": base.tokenizer.encoding_sha256,
            **({"SHA-256 of the weights that it began from": str(began["sha256"])} if began else {}),
            **({"gates that the tokenizer misses, waived": ", ".join(map(str, waived))} if waived else {}),
        }
    }


def generation_config(tokenizer: AnyTokenizer) -> dict[str, Any]:
    """Say how transformers' `generate` begins, ends and draws."""
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    return {**ids, "do_sample": True, "temperature": TEMPERATURE, "top_k": 0}


def _of_model(trained: Trained, add_bos: bool) -> dict[str, bytes]:
    """Return the tokenizer's files for Hugging Face's libraries, with what is true only beside this model.

    An adopted tokenizer.json stays as it is, and so does its own rule for what begins a text. `add_bos_token` says what
    training did: converters to GGUF read it, and transformers does so where there is no tokenizer.json.
    """
    folder, tokenizer, context = trained.tokenizer_folder, trained.tokenizer, weights.context_of(trained.record)
    own_file = tokenizer.file.name if isinstance(tokenizer, AdoptedTokenizer) else None
    made_by = "dvc repro train_tokenizer" if own_file else f"aura export-tokenizer {shlex.quote(str(folder))}"
    config = files.read_object(folder / hf_export.CONFIG, made_by)
    token = tokenizer.bos_id if add_bos else None
    bos = None if token is None else (tokenizer.piece(token), token)
    if own_file and (own_file == EXPORTED or not (folder / EXPORTED).exists()):
        beside = {"add_bos_token": bos is not None, "model_max_length": context}
        return {hf_export.CONFIG: files.as_json(config | beside)}
    exported = files.read_object(folder / EXPORTED, made_by, added_tokens=[{"id": int, "content": str}])
    return hf_export.for_model(exported, config, bos=bos, max_tokens=context)
