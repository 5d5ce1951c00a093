"""Llama's and Qwen3's forward pass in numpy and float64, read from a Hugging Face folder without code of the model."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


def _scaled(frequency: float, rope: dict) -> float:
    """Llama 3.1's rule as it is published, by wavelengths: short ones stay, long ones grow, and those between blend."""
    if rope.get("rope_type") != "llama3":
        return frequency
    old, low, high = (
        rope[f"{name}"] for name in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )
    wavelength = 2 * np.pi / frequency
    if wavelength < old / high:
        return frequency
    if wavelength > old / low:
        return frequency / rope["factor"]
    smooth = (old / wavelength - low) / (high - low)
    return (1 - smooth) * frequency / rope["factor"] + smooth * frequency


class NumpyLlama:
    """What transformers' LlamaForCausalLM, or Qwen3ForCausalLM, computes from the same files."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = {
            name: array.astype(np.float64)
            for file in sorted(folder.glob("*.safetensors"))
            for name, array in load_file(file).items()
        }

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """(S, V) of S ids."""
        x = self.weights["model.embed_tokens.weight"][ids]
        for number in range(self.config["num_hidden_layers"]):
            layer = f"model.layers.{number}."
            x = x + self._attention(layer + "self_attn.", self._norm(layer + "input_layernorm", x))
            y = self._norm(layer + "post_attention_layernorm", x)
            gate = self._linear(layer + "mlp.gate_proj", y)
            hidden = gate / (1 + np.exp(-gate)) * self._linear(layer + "mlp.up_proj", y)
            x = x + self._linear(layer + "mlp.down_proj", hidden)
        tied = self.config["tie_word_embeddings"]
        head = self.weights["model.embed_tokens.weight" if tied else "lm_head.weight"]
        return self._norm("model.norm", x) @ head.T

    def _attention(self, name: str, y: np.ndarray) -> np.ndarray:
        heads, groups = self.config["num_attention_heads"], self.config.get("num_key_value_heads")
        groups = groups or heads
        width, length = self.config.get("head_dim", self.config["hidden_size"] // heads), len(y)
        query, key, value = (
            self._linear(f"{name}{part}_proj", y).reshape(length, count, width).transpose(1, 0, 2)
            for part, count in (("q", heads), ("k", groups), ("v", groups))
        )
        if self.config["architectures"] == ["Qwen3ForCausalLM"]:
            query, key = self._norm(f"{name}q_norm", query), self._norm(f"{name}k_norm", key)
        query, key = self._rotated(query), np.repeat(self._rotated(key), heads // groups, axis=0)
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(width) + np.triu(np.full((length, length), -np.inf), 1)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = shares @ np.repeat(value, heads // groups, axis=0)
        return self._linear(f"{name}o_proj", mixed.transpose(1, 0, 2).reshape(length, heads * width))

    def _rotated(self, x: np.ndarray) -> np.ndarray:
        """x cos + rotate_half(x) sin, with the angles of the first half repeated in the second."""
        half = x.shape[-1] // 2
        rope = self.config.get("rope_parameters") or self.config.get("rope_scaling") or {}
        theta = rope.get("rope_theta", self.config.get("rope_theta"))
        frequencies = [_scaled(1 / theta ** (place / half), rope) for place in range(half)]
        angles = np.outer(np.arange(x.shape[1]), frequencies)
        angles = np.concatenate([angles, angles], axis=-1)
        rotated_half = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
        return x * np.cos(angles) + rotated_half * np.sin(angles)

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        root = np.sqrt((x**2).mean(axis=-1, keepdims=True) + self.config["rms_norm_eps"])
        return self.weights[f"{name}.weight"] * (x / root)

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T
