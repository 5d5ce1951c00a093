"""The trained model as a Hugging Face folder that `AutoModelForCausalLM` loads as a LlamaForCausalLM.

Ours multiplies embeddings by sqrt(width) and Llama does not, so the exported embeddings carry the factor; with tied
weights they are the output weights too, and the final norm's scale gives the factor back. A model that was told affect
vectors is exported as it is with the neutral one. Logits agree within float32 rounding (tests/slow/test_llama.py).
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save as serialised

from aura import files
from aura.errors import UserError
from aura.self_teaching_llm import weights
from aura.self_teaching_llm.model import EPSILON, ROPE_BASE, LanguageModel
from aura.tokenizer import hf_export
from aura.tokenizer.tokenizer import EXPORTED, Tokenizer

Arrays = dict[str, npt.NDArray[np.float32]]
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


def export(model_folder: Path, tokenizer_folder: Path, output: Path, *, add_bos: bool) -> Arrays:
    """Write config.json, model.safetensors and the tokenizer's files into `output`; returns the tensors.

    Arguments:
        model_folder: the trained model, models/lm.
        tokenizer_folder: the tokenizer's files, models/spm.
        output: the folder to make, or to make anew.
        add_bos: <bos> began each training document, so it must begin each text that Hugging Face's libraries encode.

    Raises:
        UserError: the model was trained on another tokenizer than `tokenizer_folder` holds, or a file is missing there.
    """
    model, record = weights.load(model_folder), weights.config(model_folder)
    tokenizer = Tokenizer.load(tokenizer_folder / "spiece.model")
    if record["tokenizer"] != tokenizer.encoding_sha256:
        raise UserError(
            f"{model_folder} was trained on the tokenizer {record['tokenizer'][:16]}…, but {tokenizer_folder} holds "
            f"{tokenizer.encoding_sha256[:16]}…. Train on it: {weights.MADE_BY}"
        )
    tensors = llama_tensors(model)
    with files.replaced_folder(output) as partial:
        for file in sorted(tokenizer_folder.iterdir()):
            shutil.copyfile(file, partial / file.name)
        for name, content in _of_model(tokenizer_folder, add_bos, record["seq_len"]).items():
            files.write_bytes(partial / name, content)
        files.write_bytes(partial / "model.safetensors", serialised(tensors, metadata={"format": "pt"}))
        files.write_json(partial / "config.json", llama_config(model, tokenizer, record["seq_len"]))
    return tensors


def _of_model(tokenizer_folder: Path, add_bos: bool, seq_len: int) -> dict[str, bytes]:
    """What Hugging Face's libraries read of the tokenizer, with what is true only beside this model."""
    exported = {}
    for name in (EXPORTED, hf_export.CONFIG):
        files.read_json(tokenizer_folder / name, made_by="dvc repro -f train_tokenizer")
        exported[name] = (tokenizer_folder / name).read_bytes()
    return hf_export.for_model(exported, add_bos=add_bos, max_tokens=seq_len)


def llama_tensors(model: LanguageModel) -> Arrays:
    """The weights under Llama's names, in Llama's layout."""
    root = np.float32(model.config.width**0.5)
    embedding, final_norm = np.asarray(model.embedding[...]), np.asarray(model.final_norm[...])
    tensors = {"model.embed_tokens.weight": (embedding * root).astype(np.float32)}
    if model.config.tied_embeddings:
        tensors["model.norm.weight"] = (final_norm / root).astype(np.float32)
    else:
        tensors["model.norm.weight"] = final_norm
        tensors["lm_head.weight"] = np.asarray(model.head[...])
    for number in range(model.config.layers):
        layer = f"model.layers.{number}"
        for ours, (theirs, inputs) in MATRICES.items():
            weight = np.asarray(getattr(model.blocks, ours)[...][number])
            inputs_size = int(np.prod(weight.shape[:inputs]))
            tensors[f"{layer}.{theirs}.weight"] = np.ascontiguousarray(weight.reshape(inputs_size, -1).T)
        for ours, theirs in SCALES.items():
            tensors[f"{layer}.{theirs}.weight"] = np.asarray(getattr(model.blocks, ours)[...][number])
    return tensors


def llama_config(model: LanguageModel, tokenizer: Tokenizer, seq_len: int) -> dict[str, Any]:
    """config.json as transformers 5 reads it, and 4 too (which looks for `rope_theta` and `torch_dtype`)."""
    config = model.config
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
