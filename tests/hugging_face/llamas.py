"""Folders of small Llamas and Qwen3s as other people save them: any of the shapes that a base may have."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False}
QWEN3 |= {"sliding_window": None, "use_sliding_window": False, "max_window_layers": 2}
LLAMA3 |= {"original_max_position_embeddings": 64}
TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def config(**changes: object) -> dict[str, object]:
    """A config.json as transformers 4 writes it; None leaves a key out."""
    plain = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 40,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-6,
        "rope_theta": 500_000.0,
        "tie_word_embeddings": False,
    }
    return {key: value for key, value in (plain | changes).items() if value is not None}


def tensors(settings: dict[str, object], dtype: str = "float32", seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of the shapes that a config.json asks for."""
    D, F, V, N, H = (
        int(str(settings[key]))
        for key in ("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers", "num_attention_heads")
    )
    K, E = int(str(settings.get("num_key_value_heads", H))), int(str(settings.get("head_dim", D // H)))
    shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    shapes |= {} if settings["tie_word_embeddings"] else {"lm_head.weight": (V, D)}
    for number in range(N):
        layer = f"model.layers.{number}"
        shapes |= {f"{layer}.self_attn.{name}_proj.weight": (rows * E, D) for name, rows in zip("qkv", (H, K, K))}  # noqa: B905
        shapes |= {f"{layer}.self_attn.o_proj.weight": (D, H * E), f"{layer}.mlp.down_proj.weight": (D, F)}
        shapes |= {f"{layer}.mlp.{name}_proj.weight": (F, D) for name in ("gate", "up")}
        shapes |= {f"{layer}.{name}_layernorm.weight": (D,) for name in ("input", "post_attention")}
        if settings["model_type"] == "qwen3":
            shapes |= {f"{layer}.self_attn.{name}_norm.weight": (E,) for name in "qk"}
    random = np.random.default_rng(seed)
    return {
        name: (random.normal(size=shape) * 0.2 + (len(shape) == 1)).astype(TYPES[dtype])
        for name, shape in sorted(shapes.items())
    }


def write_llama(folder: Path, *, dtype: str = "float32", shards: int = 1, **changes: object) -> dict[str, np.ndarray]:
    """Write a folder; returns its tensors as float64."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = config(**changes)
    made = tensors(settings, dtype)
    (folder / "config.json").write_text(json.dumps(settings))
    if shards == 1:
        save_file(made, folder / "model.safetensors")
    else:
        files = {name: f"model-{place % shards + 1:05}-of-{shards:05}.safetensors" for place, name in enumerate(made)}
        for file in {*files.values()}:
            save_file({name: made[name] for name in made if files[name] == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return {name: array.astype(np.float64) for name, array in made.items()}
