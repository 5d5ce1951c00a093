"""The trained model as a Hugging Face folder that `AutoModelForCausalLM` loads as a LlamaForCausalLM."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aura.core import files
from aura.core.errors import UserError
from aura.export import gguf_file, gguf_vocabulary
from aura.export.model_card import gguf_notice, model_card
from aura.hugging_face import folder
from aura.hugging_face.llama import Tensors, llama_tensors
from aura.tokenizer import adopted_export, adopted_record, hf_export
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.tokenizer import EXPORTED, MADE_BY


def export(model_folder: Path, tokenizer_folder: Path, output: Path, *, add_bos: bool, gguf: bool = False) -> Tensors:
    """Write config.json, model.safetensors and the tokenizer's files into `output`; returns the tensors.

    Arguments:
        model_folder: the trained model, models/lm.
        tokenizer_folder: the tokenizer's files, models/spm.
        output: the folder to make, or to make anew.
        add_bos: <bos> began each training document, so it must begin each text that Hugging Face's libraries encode.
        gguf: also write model.gguf, for llama.cpp.

    Raises:
        UserError: the model was trained on another tokenizer than `tokenizer_folder` holds, a file is missing or
            altered, or llama.cpp cannot read the tokenizer or needs its eos; these last are found out before any work.
    """
    differences = _differences(tokenizer_folder) if gguf else ()
    trained = folder.Trained.of(model_folder, tokenizer_folder)
    tensors = llama_tensors(trained.config, trained.weights)
    record, sha256, notices = _of_tokenizer(trained, gguf_notice(differences) if gguf else None, add_bos=add_bos)
    card = model_card(trained.record, trained.config, record, sha256, notices)

    def write_gguf(unfinished: Path) -> None:
        gguf_file.convert(unfinished, unfinished / folder.GGUF, add_bos=add_bos)

    folder.write(output, trained, tensors, card, add_bos=add_bos, also=write_gguf if gguf else None)
    return tensors


def _differences(tokenizer_folder: Path) -> Iterable[str]:
    """Texts that llama.cpp reads otherwise; a tokenizer that it cannot read, or without an end, is a `UserError`."""
    differences = gguf_vocabulary.vocabulary(tokenizer_folder).differences
    if adopted_record.is_adopted(tokenizer_folder):
        record = adopted_record.read_record(tokenizer_folder)
        if not record["ours"] and "eos" not in record["roles"]:
            raise UserError(
                f"export.gguf: true: expected a tokenizer with the role eos for llama.cpp, got {tokenizer_folder} "
                "without one. Name its token in train_tokenizer.roles of params.yaml, {eos: TOKEN}, or set "
                "export.gguf: false"
            )
    return differences


def _of_tokenizer(
    trained: folder.Trained, of_gguf: str | None, *, add_bos: bool
) -> tuple[dict[str, Any], str, list[str]]:
    """The record of a tokenizer, its hash, and paragraphs for the card: what it loses, and who cannot read it."""
    place, tokenizer = trained.tokenizer_folder, trained.tokenizer
    if isinstance(tokenizer, AdoptedTokenizer):
        record = adopted_record.read_record(place)
        lacking = record.get("no_tokenizer_json")
        told = [f"There is no tokenizer.json for Hugging Face's libraries: {lacking}."] if lacking else []
        notices = [*_origin(trained), *told, *_other_marks(tokenizer, add_bos=add_bos)]
        return record, tokenizer.encoding_sha256, notices + ([of_gguf] if of_gguf else [])
    config = place / "spiece_config.json"
    record = files.read_object(config, "dvc repro train_tokenizer") if config.exists() else {}
    notice = of_gguf or hf_export.gguf_notice((place / "spiece.model").read_bytes())
    lossless = (
        "The tokenizer loses nothing: it decodes to the text that it encoded, for any Unicode text. By default, "
        "transformers makes special tokens out of text that spells their names. For text from elsewhere, pass "
        "`split_special_tokens=True`."
    )
    return record, tokenizer.encoding_sha256, [*_origin(trained), lossless, *([notice] if notice else [])]


def _origin(trained: folder.Trained) -> Iterator[str]:
    """Yield a paragraph on where an adopted tokenizer is from, and what was added to it."""
    place = trained.tokenizer_folder
    if not adopted_record.is_adopted(place):
        return
    record = adopted_record.read_record(place)
    extended = adopted_record.read_extended(place)
    if extended is None:
        others = "" if record["ours"] else ": aura did not train it"
        yield f"Its tokenizer was adopted as it is from `{record['from']}`{others}."
        return
    files.require_shape(place / adopted_record.RECORD, record, MADE_BY, extended={"pieces": int})
    first = trained.tokenizer.vocab_size - extended["pieces"]
    yield (
        f"Its tokenizer is that of `{record['from']}` with {extended['pieces']:,} more pieces, which aura learnt from "
        f"the corpus {extended['corpus']:.16}…. They have the ids from {first:,} on. Ids below are as they were."
    )


def _other_marks(tokenizer: AdoptedTokenizer, *, add_bos: bool) -> Iterator[str]:
    """Yield a paragraph if an adopted tokenizer.json puts other tokens around a text than training did."""
    if tokenizer.file.name != EXPORTED:
        return
    trained = [tokenizer.piece(tokenizer.bos_id)] if add_bos and tokenizer.bos_id is not None else []
    before, after = adopted_export.own_marks(tokenizer)
    if (before, after) != (trained, []):
        yield (
            f"Its tokenizer.json keeps its own rule for the start and end of a text. The rule puts {_shown(before)} "
            f"before a text and {_shown(after)} after it. In training, {_shown(trained)} stood before a text. To "
            f"encode as in training, pass `add_special_tokens=False` and put {_shown(trained)} there yourself."
        )


def _shown(names: list[str]) -> str:
    return " ".join(f"`{name}`" for name in names) or "nothing"
