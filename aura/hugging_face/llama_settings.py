"""config.json of a LlamaForCausalLM or a Qwen3ForCausalLM, as transformers writes it, and as a `ModelConfig`.

transformers 5 has the rotary positions in `rope_parameters`, transformers 4 in `rope_theta` and `rope_scaling`. Both
are read, and both are written. Anything that `LanguageModel` does not compute is refused by its key, because a model
that computes something else would run and be wrong.

A Llama does not multiply its embeddings; a model that began from nothing here does. Of the export of such a model the
key `scaled_embeddings` says so. It changes no logit, but the steps of a training that goes on.
"""

from pathlib import Path
from typing import Any

from aura.core import bounded, files
from aura.core.errors import UserError
from aura.model import weights
from aura.model.model import ROPE_BASE, ModelConfig

LLAMA, QWEN3 = "LlamaForCausalLM", "Qwen3ForCausalLM"  # the latter has an RMSNorm of queries and keys
CONFIG, SCALED = "config.json", "scaled_embeddings"
LARGEST_FILE = 8_000_000  # bytes of a config.json or of an index; those of 405 billion weights have 0.1 MB
LONGEST = 2**20  # tokens of a context, as pretrain.seq_len has at most
_COUNTS = {  # of ModelConfig -> of config.json
    "vocab_size": "vocab_size",
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "hidden": "intermediate_size",
}
_SCALING = {  # of ModelConfig -> of `rope_type: llama3`
    "rope_factor": "factor",
    "rope_low": "low_freq_factor",
    "rope_high": "high_freq_factor",
    "rope_context": "original_max_position_embeddings",
}
_DEFAULTS: dict[str, dict[str, Any]] = {  # of transformers, where the file says nothing
    LLAMA: {"rms_norm_eps": 1e-6, "max_position_embeddings": 2048},
    QWEN3: {"rms_norm_eps": 1e-6, "max_position_embeddings": 32_768, "head_dim": 128, "num_key_value_heads": 32},
}


def read_config(folder: Path, made_by: str) -> tuple[ModelConfig, int]:
    """The shape of the model in a folder, and its context in tokens.

    Raises:
        UserError: config.json is missing, damaged, too large, or of a model that `LanguageModel` does not compute.
    """
    path = folder / CONFIG
    require_small(path)
    record = files.read_object(path, made_by)
    record = _DEFAULTS[QWEN3 if _is_qwen3(record) else LLAMA] | record
    if record.get("num_key_value_heads") is None:
        record["num_key_value_heads"] = record.get("num_attention_heads")
    if record.get("head_dim") is None:
        record.pop("head_dim", None)
    shape = dict.fromkeys(_COUNTS.values(), int) | {"max_position_embeddings": int, "rms_norm_eps": float}
    files.require_shape(path, record, made_by, **shape, **({"head_dim": int} if "head_dim" in record else {}))
    _require_computed(path, record)
    return _config(path, record, made_by), record["max_position_embeddings"]


def require_small(path: Path) -> None:
    """Refuse a file of JSON that would fill the memory; one that is missing is not judged."""
    if path.is_file() and path.stat().st_size > LARGEST_FILE:
        raise UserError(f"{path}: expected at most {LARGEST_FILE:,} bytes, got {path.stat().st_size:,}. Look into it")


def _is_qwen3(record: dict[str, Any]) -> bool:
    return record.get("architectures") == [QWEN3]


def _require_computed(path: Path, record: dict[str, Any]) -> None:
    """Refuse a model that `LanguageModel` would compute otherwise."""
    if record.get("architectures") not in ([LLAMA], [QWEN3]):
        raise refusal(path, "architectures", f"{[LLAMA]} or {[QWEN3]}", record.get("architectures"))
    computed = {
        "hidden_act": ("silu", record.get("hidden_act", "silu")),
        "attention_bias": (False, record.get("attention_bias", False)),
        "mlp_bias": (False, record.get("mlp_bias", False)),
        "quantization_config": (None, record.get("quantization_config")),
        "use_sliding_window": (False, record.get("use_sliding_window", False)),
    }
    for name, (expected, got) in computed.items():
        if got != expected:
            raise refusal(path, name, repr(expected), got)
    for name in ("tie_word_embeddings", SCALED):
        if not isinstance(record.get(name, False), bool):
            raise refusal(path, name, "true or false", record[name])
    layers = record.get("layer_types")
    if layers is not None and (not isinstance(layers, list) or any(kind != "full_attention" for kind in layers)):
        raise refusal(path, "layer_types", "full_attention alone", layers)
    if not 1 <= record["max_position_embeddings"] <= LONGEST:
        raise UserError(
            f"{path}: max_position_embeddings: expected 1 to {LONGEST:,} tokens, got "
            f"{record['max_position_embeddings']:,}. Write the context that the model was trained for there"
        )


def _config(path: Path, record: dict[str, Any], made_by: str) -> ModelConfig:
    counts = {ours: record[theirs] for ours, theirs in _COUNTS.items()}
    own = record.get("head_dim")
    if own is not None and counts["heads"] * own == counts["width"]:
        own = None
    values = counts | {
        "tied_embeddings": record.get("tie_word_embeddings", False),
        "own_head_width": own,
        "qk_norm": _is_qwen3(record),
        "scaled_embeddings": record.get(SCALED, False),
        "epsilon": record["rms_norm_eps"],
        **_rope(path, record),
    }
    config = weights.shape_of({name: value for name, value in values.items() if value is not None}, path, made_by)
    if config.head_width % 2:
        raise refusal(path, "head_dim", "an even number: rotary positions turn pairs", config.head_width)
    return config


def _rope(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The rotary positions: base and scaling, by attribute of ModelConfig."""
    stated = {name: record[name] for name in ("rope_parameters", "rope_scaling") if record.get(name) is not None}
    for name, value in stated.items():
        if not isinstance(value, dict):
            raise refusal(path, name, "keys with values", value)
    plain: list[dict[str, Any]] = [
        {key: value for key, value in of.items() if key != "rope_theta"} for of in stated.values()
    ]
    if len(plain) == 2 and plain[0] != plain[1]:
        raise refusal(path, "rope_scaling", f"{plain[0]!r:.200}, as rope_parameters have it", plain[1])
    bases = [of["rope_theta"] for of in (record, *stated.values()) if of.get("rope_theta") is not None]
    if wrong := [base for base in bases if bounded.mismatch(base, float) or base != bases[0]]:
        raise refusal(path, "rope_theta", f"{bases[0]!r:.80} alone", wrong[0])
    none: tuple[str, dict[str, Any]] = ("rope_parameters", {})
    name, scaling = next(iter(stated.items()), none)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in ("default", "llama3"):
        raise refusal(path, f"{name}.rope_type", "default or llama3", kind)
    known = {"rope_theta", "rope_type", "type"} | ({*_SCALING.values()} if kind == "llama3" else set())
    if strange := sorted(str(key) for key in scaling.keys() - known if scaling[key] is not None):
        raise refusal(path, f"{name}.{strange[0]:.60}", "no such key", scaling.get(strange[0]))
    base = {"rope_base": bases[0] if bases else ROPE_BASE}
    if kind == "default":
        return base
    shape = {theirs: int if theirs == _SCALING["rope_context"] else float for theirs in _SCALING.values()}
    if wrong_shape := bounded.mismatch(scaling, shape, name):
        raise UserError(f"{path}: {wrong_shape}. Use this model with Hugging Face transformers")
    return base | {ours: scaling[theirs] for ours, theirs in _SCALING.items()}


def refusal(path: Path, name: str, expected: str, got: object) -> UserError:
    """The error of a model that `LanguageModel` cannot be."""
    return UserError(
        f"{path}: {name}: expected {expected}, which aura's models have, got {got!r:.80}. Use this model with Hugging "
        "Face transformers"
    )


def rope_settings(config: ModelConfig) -> dict[str, Any]:
    """The rotary positions for config.json: as transformers 5 reads them, and 4 (`rope_theta`, `rope_scaling`)."""
    base = {"rope_theta": config.rope_base}
    if config.rope_factor == 1:
        return {"rope_parameters": {"rope_type": "default", **base}, **base}
    scaling = {"rope_type": "llama3"} | {theirs: getattr(config, ours) for ours, theirs in _SCALING.items()}
    return {"rope_parameters": {**scaling, **base}, **base, "rope_scaling": scaling}
