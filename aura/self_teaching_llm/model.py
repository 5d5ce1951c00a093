"""The model: a Llama-style decoder (Touvron et al. 2023, arXiv:2302.13971), small enough to check by eye.

Pre-norm RMSNorm (arXiv:1910.07467), rotary positions (arXiv:2104.09864), SwiGLU (arXiv:2002.05202),
grouped-query attention (arXiv:2305.13245), no biases. Modules are plain JAX pytrees: `jax.jit`, `jax.grad`
and optax take the model itself. Layers are stacked and scanned, so compile time does not grow with depth.
Parameters and arithmetic are float32; on CPU bfloat16 gains under a fifth.

Shapes are part of names, by these letters:
    B sequences   S positions   V pieces of the vocabulary   D width        N layers
    H query heads K key/value heads             E features of a head        F features of the SwiGLU layer
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from aura.params import Pretrain

EPSILON = 1e-5  # of RMSNorm
ROPE_BASE = 10_000.0
EMBEDDING_STD = 0.02  # GPT-2's and Llama's
MATRICES = ("query", "key", "value", "output", "gate", "up", "down", "head")  # weight decay is for these


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the model's shape; see the letters above."""

    vocab_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    tied_embeddings: bool

    @classmethod
    def of(cls, options: Pretrain, vocab_size: int) -> "ModelConfig":
        """The shape that params.yaml asks for; the vocabulary's size is the tokenizer's."""
        shape = options.model_dump(include={"layers", "width", "heads", "kv_heads", "hidden", "tied_embeddings"})
        return cls(vocab_size=vocab_size, **shape)

    @property
    def head_width(self) -> int:
        """Features of one head (E)."""
        return self.width // self.heads


class Block(nnx.Module):  # type: ignore[misc]
    """One layer: attention, then SwiGLU, each added to the stream `x_BxSxD`."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        D, H, K, E, F = config.width, config.heads, config.kv_heads, config.head_width, config.hidden
        into_stream = (2 * config.layers) ** -0.5  # keeps the stream's variance at depth (GPT-2, section 2.3)
        self.attention_norm = nnx.Param(jnp.ones(D))
        self.query = _matrix(rngs, (D, H, E), fan_in=D)
        self.key = _matrix(rngs, (D, K, E), fan_in=D)
        self.value = _matrix(rngs, (D, K, E), fan_in=D)
        self.output = _matrix(rngs, (H, E, D), fan_in=H * E, scale=into_stream)
        self.hidden_norm = nnx.Param(jnp.ones(D))
        self.gate = _matrix(rngs, (D, F), fan_in=D)
        self.up = _matrix(rngs, (D, F), fan_in=D)
        self.down = _matrix(rngs, (F, D), fan_in=F, scale=into_stream)

    def __call__(self, x_BxSxD: jax.Array) -> jax.Array:
        """The stream after this layer."""
        x_BxSxD += self.attention(rms_norm(x_BxSxD, self.attention_norm[...]))
        y_BxSxD = rms_norm(x_BxSxD, self.hidden_norm[...])
        hidden_BxSxF = jax.nn.silu(y_BxSxD @ self.gate[...]) * (y_BxSxD @ self.up[...])
        x_BxSxD += hidden_BxSxF @ self.down[...]
        return x_BxSxD

    def attention(self, y_BxSxD: jax.Array) -> jax.Array:
        """Causal attention; H / K query heads share each key/value head."""
        query_BxSxHxE = rotate(jnp.einsum("BSD,DHE->BSHE", y_BxSxD, self.query[...]))
        key_BxSxKxE = rotate(jnp.einsum("BSD,DKE->BSKE", y_BxSxD, self.key[...]))
        value_BxSxKxE = jnp.einsum("BSD,DKE->BSKE", y_BxSxD, self.value[...])
        mixed_BxSxHxE = jax.nn.dot_product_attention(query_BxSxHxE, key_BxSxKxE, value_BxSxKxE, is_causal=True)
        return jnp.einsum("BSHE,HED->BSD", mixed_BxSxHxE, self.output[...])


class LanguageModel(nnx.Module):  # type: ignore[misc]
    """Ids to logits.

    Arguments:
        config: the shape.
        seed: decides the initial weights.
    """

    def __init__(self, config: ModelConfig, seed: int) -> None:
        rngs = nnx.Rngs(seed)
        self.config = config
        self.embedding = nnx.Param(EMBEDDING_STD * jax.random.normal(rngs(), (config.vocab_size, config.width)))
        keys_N = jax.random.split(rngs(), config.layers)
        self.blocks = jax.vmap(lambda key: Block(config, nnx.Rngs(key)))(keys_N)  # every leaf gains a first axis N
        self.final_norm = nnx.Param(jnp.ones(config.width))
        if not config.tied_embeddings:
            self.head = nnx.Param(EMBEDDING_STD * jax.random.normal(rngs(), (config.vocab_size, config.width)))

    def __call__(self, tokens_BxS: jax.Array) -> jax.Array:
        """Logits of the token after each position: logits_BxSxV, float32."""
        return self.features(tokens_BxS) @ self.output_table.T

    def features(self, tokens_BxS: jax.Array) -> jax.Array:
        """What the output table is applied to: x_BxSxD."""
        # Times sqrt(D), as in section 3.4 of arXiv:1706.03762: without it the default run saves 24 % of the
        # context-free bits, with it 32 %. Exact in Llama's form: embedding * sqrt(D), final_norm / sqrt(D) if tied.
        x_BxSxD = self.embedding[...][tokens_BxS] * self.config.width**0.5
        x_BxSxD, _ = jax.lax.scan(lambda x, block: (block(x), None), x_BxSxD, self.blocks)
        return rms_norm(x_BxSxD, self.final_norm[...])

    @property
    def output_table(self) -> jax.Array:
        """table_VxD, one row of output weights per piece: the embeddings themselves when tied (arXiv:1608.05859)."""
        table_VxD: jax.Array = self.embedding[...] if self.config.tied_embeddings else self.head[...]
        return table_VxD


initial_model = jax.jit(LanguageModel, static_argnums=(0, 1))  # (config, seed), compiled: half the time


def rms_norm(x_BxSxD: jax.Array, scale_D: jax.Array) -> jax.Array:
    """Divide by the root mean square over features, then scale."""
    mean_square_BxSx1 = jnp.mean(jnp.square(x_BxSxD), axis=-1, keepdims=True)
    return x_BxSxD * jax.lax.rsqrt(mean_square_BxSx1 + EPSILON) * scale_D[None, None, :]


def rotate(x_BxSxHxE: jax.Array) -> jax.Array:
    """Turn feature pairs (i, i + E/2) by position times base^(-2i/E), as Llama in Hugging Face does ("rotate half")."""
    S, E = x_BxSxHxE.shape[1], x_BxSxHxE.shape[3]
    frequency_P = ROPE_BASE ** (-jnp.arange(0, E, 2, dtype=jnp.float32) / E)  # P pairs
    angle_SxP = jnp.arange(S, dtype=jnp.float32)[:, None] * frequency_P[None, :]
    cos_1xSx1xP, sin_1xSx1xP = jnp.cos(angle_SxP)[None, :, None, :], jnp.sin(angle_SxP)[None, :, None, :]
    first, second = jnp.split(x_BxSxHxE, 2, axis=-1)
    turned = (first * cos_1xSx1xP - second * sin_1xSx1xP, second * cos_1xSx1xP + first * sin_1xSx1xP)
    return jnp.concatenate(turned, axis=-1)


def _matrix(rngs: nnx.Rngs, shape: tuple[int, ...], *, fan_in: int, scale: float = 1.0) -> nnx.Param[jax.Array]:
    return nnx.Param(scale * fan_in**-0.5 * jax.random.normal(rngs(), shape))
