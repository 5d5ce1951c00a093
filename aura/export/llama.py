"""The trained model as a Hugging Face folder that `AutoModelForCausalLM` loads as a LlamaForCausalLM.

Ours multiplies embeddings by sqrt(width) and Llama does not, so the exported embeddings carry the factor; with tied
weights they are the output weights too, and the final norm's scale gives the factor back. A model that was told affect
vectors is exported as it is with the neutral one. Logits agree within float32 rounding (tests/slow/test_llama.py).
"""

import shlex
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.export import model_card
from aura.model import tensor_file, weights
from aura.model.model import EPSILON, ROPE_BASE, ModelConfig
from aura.model.tensor_file import Piece, Tensor
from aura.tokenizer import hf_export
from aura.tokenizer.tokenizer import EXPORTED, Tokenizer

Tensors = dict[str, Tensor]
MATRICES = {  # ours (inputs first) -> Llama's (outputs first), and the number of axes that are inputs
    "query": ("self_attn.q_proj", 1),
    "key": ("self_attn.k_proj", 1),
    "value": ("self_attn.v_proj", 1),
    "output": ("self_attn.o_proj", 2),
    "gate": ("mlp.gate_proj", 1),
    "up": ("mlp.up_proj", 1),
    "down": ("mlp.down_proj", 1),
}
SCALES = {"attention_norm": "input_layernorm", "hidden_norm": "post_attention_layernorm"}


def export(model_folder: Path, tokenizer_folder: Path, output: Path, *, add_bos: bool) -> Tensors:
    """Write config.json, model.safetensors and the tokenizer's files into `output`; returns the tensors.

    Arguments:
        model_folder: the trained model, models/lm.
        tokenizer_folder: the tokenizer's files, models/spm.
        output: the folder to make, or to make anew.
        add_bos: <bos> began each training document, so it must begin each text that Hugging Face's libraries encode.

    Raises:
        UserError: the model was trained on another tokenizer than `tokenizer_folder` holds, or a file is missing or
            altered.
    """
    checksums.verify(tokenizer_folder, "dvc repro train_tokenizer", required=False)
    weights_file, record = weights.checked(model_folder), weights.config(model_folder, tokenizer=str, seq_len=int)
    config = ModelConfig(**record["model"])
    tokenizer = Tokenizer.load(tokenizer_folder / "spiece.model")
    if record["tokenizer"] != tokenizer.encoding_sha256:
        raise UserError(
            f"{model_folder} was trained on the tokenizer {record['tokenizer'][:16]}…, but {tokenizer_folder} holds "
            f"{tokenizer.encoding_sha256[:16]}…. Train on it: {weights.MADE_BY}"
        )
    tensors = llama_tensors(config, weights_file)
    with files.replaced_folder(output) as unfinished:
        for file in sorted(tokenizer_folder.iterdir()):
            if file.name != checksums.NAME:
                shutil.copyfile(file, unfinished / file.name)
        for name, content in _of_model(tokenizer_folder, add_bos, record["seq_len"]).items():
            files.write_bytes(unfinished / name, content)
        tensor_file.write(unfinished / "model.safetensors", tensors, {"format": "pt"})
        files.write_json(unfinished / "config.json", llama_config(config, tokenizer, record["seq_len"]))
        files.write_json(unfinished / model_card.GENERATION, model_card.generation_config(tokenizer))
        made_from = files.read_object(tokenizer_folder / "spiece_config.json", "dvc repro train_tokenizer")
        notice = hf_export.gguf_notice((tokenizer_folder / "spiece.model").read_bytes())
        card = model_card.model_card(record, config, made_from, tokenizer.encoding_sha256, notice)
        files.write_bytes(unfinished / model_card.NAME, card.encode())
        checksums.write(unfinished)
    return tensors


def _of_model(tokenizer_folder: Path, add_bos: bool, seq_len: int) -> dict[str, bytes]:
    """Return the tokenizer's files for Hugging Face's libraries, with what is true only beside this model."""
    made_by = f"aura export-tokenizer {shlex.quote(str(tokenizer_folder))}"
    tokenizer, config = (
        files.read_object(tokenizer_folder / name, made_by, **shape)
        for name, shape in ((EXPORTED, {"added_tokens": [{"id": int, "content": str}]}), (hf_export.CONFIG, {}))
    )
    return hf_export.for_model(tokenizer, config, add_bos=add_bos, max_tokens=seq_len)


def llama_tensors(config: ModelConfig, weights_file: Path) -> Tensors:
    """The weights under Llama's names, in Llama's layout; each is read from the file when it is written."""
    root = np.float32(config.width**0.5)
    stored = partial(tensor_file.stored, weights_file)
    tensors = {"model.embed_tokens.weight": _scaled(stored("embedding"), root)}
    if config.tied_embeddings:
        tensors["model.norm.weight"] = Tensor.whole((stored("final_norm").read() / root).astype(np.float32))
    else:
        tensors["model.norm.weight"], tensors["lm_head.weight"] = stored("final_norm"), stored("head")
    for number in range(config.layers):
        layer = f"model.layers.{number}"
        for ours, (theirs, inputs) in MATRICES.items():
            tensors[f"{layer}.{theirs}.weight"] = _of_layer(weights_file, f"blocks.{ours}", number, inputs)
        for ours, theirs in SCALES.items():
            tensors[f"{layer}.{theirs}.weight"] = _of_layer(weights_file, f"blocks.{ours}", number, 0)
    return tensors


def _scaled(tensor: Tensor, factor: np.float32) -> Tensor:
    return Tensor(tensor.shape, lambda: ((place, piece * factor) for place, piece in tensor.pieces()))


def _of_layer(weights_file: Path, name: str, number: int, inputs: int) -> Tensor:
    """A layer's weight, of which the first `inputs` axes are inputs; outputs first, as Llama has matrices."""
    shape = tensor_file.shapes(weights_file)[name][1:]
    rows = int(np.prod(shape[:inputs], dtype=np.int64))

    def pieces() -> Iterator[Piece]:
        weight = tensor_file.row(weights_file, name, number)
        yield 0, np.ascontiguousarray(weight.reshape(rows, -1).T) if inputs else weight

    return Tensor((int(np.prod(shape, dtype=np.int64)) // rows, rows) if inputs else shape, pieces)


def llama_config(config: ModelConfig, tokenizer: Tokenizer, seq_len: int) -> dict[str, Any]:
    """config.json as transformers 5 reads it, and 4 too (which looks for `rope_theta` and `torch_dtype`)."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": seq_len,
        "rms_norm_eps": EPSILON,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE},
        "rope_theta": ROPE_BASE,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": config.tied_embeddings,
        "pad_token_id": tokenizer.pad_id,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "dtype": "float32",
        "torch_dtype": "float32",
    }
