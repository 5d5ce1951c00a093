"""aura's weights under the names and in the layout of Hugging Face's LlamaForCausalLM, or Qwen3ForCausalLM.

A Qwen3 is a Llama with an RMSNorm of queries and keys (`qk_norm`), so a model with one is exported as a Qwen3.

Ours multiplies embeddings by sqrt(width) and Llama does not, so the exported embeddings carry the factor; with tied
weights they are the output weights too, and the final norm's scale gives the factor back. A model that began from a
Llama's weights has no factor. A model that was told affect
vectors is exported as it is with the neutral one. Logits agree within float32 rounding (tests/slow/test_llama.py).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aura.hugging_face.llama_settings import LLAMA, QWEN3, SCALED, rope_settings
from aura.model import tensor_file
from aura.model.lora import INPUT_AXES
from aura.model.model import ModelConfig
from aura.model.tensor_file import Piece, Tensor
from aura.tokenizer.opening import AnyTokenizer

Array = npt.NDArray[np.float32]
Tensors = dict[str, Tensor]
MATRICES = {  # ours (inputs first) -> Llama's (outputs first)
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
SCALES = {"attention_norm": "input_layernorm", "hidden_norm": "post_attention_layernorm"}
HEAD_SCALES = {"query_norm": "self_attn.q_norm", "key_norm": "self_attn.k_norm"}  # of a Qwen3


def llama_tensors(config: ModelConfig, weights_file: Path) -> Tensors:
    """The weights under Llama's names, in Llama's layout; each is read from the file when it is written."""
    root = embedding_factor(config)
    stored = partial(tensor_file.stored, weights_file)
    tensors = {"model.embed_tokens.weight": _scaled(stored("embedding"), root)}
    if config.tied_embeddings:
        tensors["model.norm.weight"] = Tensor.whole((stored("final_norm").read() / root).astype(np.float32))
    else:
        tensors["model.norm.weight"], tensors["lm_head.weight"] = stored("final_norm"), stored("head")
    for number in range(config.layers):
        layer = f"model.layers.{number}"
        for ours, theirs in MATRICES.items():
            tensors[f"{layer}.{theirs}.weight"] = _of_layer(weights_file, f"blocks.{ours}", number, INPUT_AXES[ours])
        for ours, theirs in scales_of(config).items():
            tensors[f"{layer}.{theirs}.weight"] = _of_layer(weights_file, f"blocks.{ours}", number, 0)
    return tensors


def scales_of(config: ModelConfig) -> dict[str, str]:
    """The vectors of a layer: our names -> theirs."""
    return SCALES | (HEAD_SCALES if config.qk_norm else {})


def embedding_factor(config: ModelConfig) -> np.float32:
    """The factor between our embeddings and Llama's."""
    return np.float32(config.embedding_factor)


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


def llama_config(config: ModelConfig, tokenizer: AnyTokenizer, context: int) -> dict[str, Any]:
    """config.json as transformers 5 reads it, and 4 too (which looks for `rope_theta` and `torch_dtype`).

    `context` is in tokens: those of a sequence in training, or of the base that the model began from.
    """
    return {
        "architectures": [QWEN3 if config.qk_norm else LLAMA],
        "model_type": config.network,
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": context,
        "rms_norm_eps": config.epsilon,
        **rope_settings(config),
        **({SCALED: True} if config.scaled_embeddings else {}),
        "attention_bias": False,
        **({"use_sliding_window": False} if config.qk_norm else {"mlp_bias": False}),
        "tie_word_embeddings": config.tied_embeddings,
        "pad_token_id": tokenizer.pad_id,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "dtype": "float32",
        "torch_dtype": "float32",
    }
