"""The trained model as a Hugging Face folder that `AutoModelForCausalLM` loads as a LlamaForCausalLM."""

from pathlib import Path

from aura.core import files
from aura.export import gguf_file, gguf_vocabulary
from aura.export.model_card import gguf_notice, model_card
from aura.hugging_face import folder
from aura.hugging_face.llama import Tensors, llama_tensors
from aura.tokenizer import hf_export


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
            altered, or llama.cpp cannot read the tokenizer; this last is found out before any work.
    """
    differences = gguf_vocabulary.vocabulary(tokenizer_folder).differences if gguf else ()
    trained = folder.Trained.of(model_folder, tokenizer_folder)
    tensors = llama_tensors(trained.config, trained.weights)
    made_from = files.read_object(tokenizer_folder / "spiece_config.json", "dvc repro train_tokenizer")
    notice = hf_export.gguf_notice((tokenizer_folder / "spiece.model").read_bytes())
    notice = gguf_notice(differences) if gguf else notice
    card = model_card(trained.record, trained.config, made_from, trained.tokenizer.encoding_sha256, notice)
    also = (lambda unfinished: gguf_file.convert(unfinished, unfinished / folder.GGUF)) if gguf else None
    folder.write(output, trained, tensors, card, add_bos=add_bos, also=also)
    return tensors
