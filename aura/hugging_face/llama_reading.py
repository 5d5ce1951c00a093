"""A LlamaForCausalLM folder read back as a `LanguageModel`: models/chat and models/hf.

The inverse of the export: embeddings lose the factor sqrt(width) that Llama has inside them, and a tied final norm gets
it back, so weights return within one rounding of float32. A Llama of others is read too, if its shape is one that
`LanguageModel` computes: these rotary positions, this epsilon, no biases, float32 weights in one file.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.hugging_face.llama import MATRICES, SCALES, Array, embedding_factor
from aura.model import tensor_file, weights
from aura.model.model import EPSILON, ROPE_BASE, LanguageModel, ModelConfig, leaf_name

LLAMA = "LlamaForCausalLM"
_COUNTS = {  # of ModelConfig -> of config.json
    "vocab_size": "vocab_size",
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "hidden": "intermediate_size",
}


def read(folder: Path, made_by: str) -> tuple[LanguageModel, int]:
    """The model of a folder, and its context in tokens.

    Arguments:
        folder: with config.json and model.safetensors. Where it has a record of hashes, both are compared with it.
        made_by: the command that makes such a folder, for messages.

    Raises:
        UserError: a file is missing, altered or of another model than `LanguageModel` can be.
    """
    checksums.verify(folder, made_by, "config.json", "model.safetensors", required=False)
    path, file = folder / "config.json", folder / "model.safetensors"
    record = files.read_object(path, made_by, max_position_embeddings=int, **dict.fromkeys(_COUNTS.values(), int))
    config = _config(path, record, made_by)
    _check_tensors(file, config, made_by)
    shapes: LanguageModel = jax.eval_shape(lambda: LanguageModel(config, seed=0))
    model: LanguageModel = jax.tree_util.tree_map_with_path(
        lambda place, leaf: jax.numpy.asarray(_weight(file, config, leaf_name(place)).reshape(leaf.shape)), shapes
    )
    return model, record["max_position_embeddings"]


def _config(path: Path, record: dict[str, Any], made_by: str) -> ModelConfig:
    """The shape; what `LanguageModel` computes otherwise is refused."""
    counts = {ours: record[theirs] for ours, theirs in _COUNTS.items()}
    shape = weights.shape_of({**counts, "tied_embeddings": record.get("tie_word_embeddings") is True}, path, made_by)
    rope = record.get("rope_parameters") or {"rope_type": "default", "rope_theta": record.get("rope_theta", ROPE_BASE)}
    computed = {
        "architectures": ([LLAMA], record.get("architectures")),
        "hidden_act": ("silu", record.get("hidden_act", "silu")),
        "head_dim": (counts["width"] // counts["heads"], record.get("head_dim") or counts["width"] // counts["heads"]),
        "rms_norm_eps": (EPSILON, record.get("rms_norm_eps")),
        "rope_parameters": ({"rope_type": "default", "rope_theta": ROPE_BASE}, rope),
        "tie_word_embeddings": (shape.tied_embeddings, record.get("tie_word_embeddings", False)),
        "rope_scaling": (None, record.get("rope_scaling")),  # transformers 4 has it beside rope_theta
        "attention_bias": (False, record.get("attention_bias", False)),
        "mlp_bias": (False, record.get("mlp_bias", False)),
    }
    for name, (expected, got) in computed.items():
        if got != expected:
            raise UserError(
                f"{path}: {name}: expected {expected!r}, which aura's models have, got {got!r:.80}. Use this model "
                "with Hugging Face transformers"
            )
    return shape


def _check_tensors(file: Path, config: ModelConfig, made_by: str) -> None:
    """Compare names and shapes of the file's tensors with what the configuration asks for."""
    try:
        got = tensor_file.shapes(file)
    except FileNotFoundError:
        raise UserError(
            f"{file} is missing: expected all weights in one file of this name. It is written by: {made_by}"
        ) from None
    except SafetensorError as error:
        raise UserError(f"{file}: expected a safetensors file ({error}). Make it again with: {made_by}") from None
    if len(got) < config.layers:  # before the names of so many layers fill the memory
        raise UserError(
            f"{file} does not fit its config.json: expected tensors of {config.layers:,} layers, got {len(got):,} "
            f"tensors. Make it again with: {made_by}"
        )
    expected = _shapes(config)
    if got != expected:
        wrong = sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))
        told = "; ".join(f"{name}: expected {expected.get(name)}, got {got.get(name)}" for name in wrong[:3])
        raise UserError(f"{file} does not fit its config.json: {told}. Make it again with: {made_by}")


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Llama's names and shapes of all tensors."""
    D, E = config.width, config.head_width
    rows = {"query": config.heads * E, "key": config.kv_heads * E, "value": config.kv_heads * E, "output": D}
    rows |= {"gate": config.hidden, "up": config.hidden, "down": D}
    columns = {"output": config.heads * E, "down": config.hidden}
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab_size, D),
        "model.norm.weight": (D,),
    }
    if not config.tied_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, D)
    for number in range(config.layers):
        for ours, theirs in MATRICES.items():
            shapes[_of_layer(number, theirs)] = (rows[ours], columns.get(ours, D))
        shapes |= {_of_layer(number, theirs): (D,) for theirs in SCALES.values()}
    return shapes


def _weight(file: Path, config: ModelConfig, name: str) -> Array:
    """A weight of ours, by its name there; a matrix has inputs first, and layers are stacked."""
    root = embedding_factor(config)
    whole = partial(_float32, file)
    if name == "embedding":
        return whole("model.embed_tokens.weight") / root
    if name == "final_norm":
        return whole("model.norm.weight") * (root if config.tied_embeddings else np.float32(1))
    if name == "head":
        return whole("lm_head.weight")
    name = name.removeprefix("blocks.")
    theirs = MATRICES.get(name) or SCALES[name]
    layers = [whole(_of_layer(number, theirs)) for number in range(config.layers)]
    return np.stack([np.ascontiguousarray(layer.T) for layer in layers])  # of a scale, T changes nothing


def _of_layer(number: int, name: str) -> str:
    return f"model.layers.{number}.{name}.weight"


def _float32(file: Path, name: str) -> Array:
    found = tensor_file.stored(file, name).read()
    return found.astype(np.float32, copy=False)
