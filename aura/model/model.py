"""The model: a Llama-style decoder (Touvron et al. 2023, arXiv:2302.13971), small enough to check by eye.

Pre-norm RMSNorm (arXiv:1910.07467), rotary positions (arXiv:2104.09864), SwiGLU (arXiv:2002.05202),
grouped-query attention (arXiv:2305.13245), no biases. With `qk_norm` it is a Qwen3 (arXiv:2505.09388).
Modules are plain JAX pytrees: `jax.jit`, `jax.grad` and optax take the model itself. Layers are stacked and
scanned, so compile time does not grow with depth. Parameters are float32 and lie on the mesh as their `placed`
says; a layer gathers its own along fsdp, in the type it computes with, and frees them after.

Shapes are part of names, by these letters:
    B sequences   S positions   V pieces of the vocabulary   D width        N layers
    H query heads K key/value heads             E features of a head        F features of the SwiGLU layer
    A features of an affect vector
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx

from aura.core.terms import EMOTIONS
from aura.model.attention import causal_attention, implementation_for
from aura.model.mesh import BATCH, axes_of, gathered, placed

if TYPE_CHECKING:
    from aura.pretrain.options import Pretrain

EPSILON = 1e-5  # of RMSNorm, where a configuration says nothing else
ROPE_BASE = 10_000.0
ADDED = (  # attributes that a record leaves out where they have their defaults: records of older models lack them
    *("own_head_width", "qk_norm", "scaled_embeddings", "epsilon", "rope_base"),
    *("rope_factor", "rope_low", "rope_high", "rope_context"),
)
NETWORKS = {"llama": "Llama", "qwen3": "Qwen3"}  # `model_type` of transformers and llama.cpp's name -> for people
EMBEDDING_STD = 0.02  # GPT-2's and Llama's
COPIED_FROM = 64  # tokens, beside whose product a copy of the weight takes little time
UNROLL = 4  # on a CPU, where it saves 10 % of the default run's step

Attend = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # query, key, value -> mixed


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides what the weights compute; see the letters above.

    The defaults of the later attributes are those of the models that begin from nothing. Models that go on from a Llama
    or a Qwen3 have its values.

    Attributes:
        affect: whether each position is told its document's affect vector.
        own_head_width: features of a head (E); None for `width / heads`.
        qk_norm: whether queries and keys of each head pass through an RMSNorm with a learnt scale before they are
            turned (arXiv:2302.05442), as Qwen3's do: attention's scores then cannot grow without end.
        scaled_embeddings: whether embeddings are multiplied by sqrt(width), which Llama's are not.
        epsilon: of RMSNorm.
        rope_base: of the frequencies of rotary positions; Llama's `rope_theta`.
        rope_factor: by which Llama 3.1 divides low frequencies (`rope_type: llama3`); 1 divides none.
        rope_low: rotations in `rope_context` tokens, of which and below a frequency is divided.
        rope_high: the same, of which and above it stays; between the two it changes evenly.
        rope_context: tokens; Llama's `original_max_position_embeddings`.
    """

    vocab_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    tied_embeddings: bool
    affect: bool = False
    own_head_width: int | None = None
    qk_norm: bool = False
    scaled_embeddings: bool = True
    epsilon: float = EPSILON
    rope_base: float = ROPE_BASE
    rope_factor: float = 1.0
    rope_low: float = 1.0
    rope_high: float = 4.0
    rope_context: int = 8192

    @classmethod
    def of(cls, options: "Pretrain", vocab_size: int) -> "ModelConfig":
        """The shape that params.yaml asks for; the vocabulary's size is the tokenizer's."""
        shape = options.shape
        return cls(
            vocab_size=vocab_size,
            affect=options.affect_conditioning,
            tied_embeddings=options.tied_embeddings,
            qk_norm=options.qk_norm,
            rope_base=options.rotary_base,
            own_head_width=shape.own_head_width,
            **shape.model_dump(exclude={"head_width"}),
        )

    @property
    def head_width(self) -> int:
        """Features of one head (E)."""
        return self.own_head_width or self.width // self.heads

    @property
    def network(self) -> str:
        """The name of such a network in other libraries, a key of `NETWORKS`."""
        return "qwen3" if self.qk_norm else "llama"

    @property
    def embedding_factor(self) -> float:
        """The factor of an embedding on its way into the first layer."""
        return self.width**0.5 if self.scaled_embeddings else 1.0

    def record(self) -> dict[str, Any]:
        """The attributes as a file tells them, without those of `ADDED` that have their defaults."""
        defaults = {field.name: field.default for field in fields(self) if field.name in ADDED}
        return {name: value for name, value in asdict(self).items() if name not in defaults or value != defaults[name]}


@dataclass(frozen=True)
class Compute:
    """A way to carry out the same mathematics: it changes rounding, speed and memory, and nothing else."""

    dtype: str = "float32"  # of activations and of the weights as layers see them
    remat: bool = False  # compute each layer's activations again on the way back (arXiv:1604.06174)
    attention: str = "plain"
    unroll: int = 1  # layers written out in a turn of the loop over layers: a larger program with fewer copies

    @classmethod
    def of(cls, options: "Pretrain", platform: str) -> "Compute":
        """Return the settings that params.yaml asks for on devices of this platform (cpu, gpu, tpu)."""
        attention = implementation_for(platform, seq_len=options.seq_len, dtype=options.precision)
        return cls(options.precision, options.remat, attention, UNROLL if platform == "cpu" else 1)


class Block(nnx.Module):  # type: ignore[misc]
    """One layer: attention, then SwiGLU, each added to the stream `x_BxSxD`."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        D, H, K, E, F = config.width, config.heads, config.kv_heads, config.head_width, config.hidden
        into_stream = (2 * config.layers) ** -0.5  # keeps the stream's variance at depth (GPT-2, section 2.3)
        matrix = partial(_matrix, rngs)
        self.config = config
        self.attention_norm = nnx.Param(_ones(D))
        self.query = matrix((D, H, E), "fsdp", "tensor", None, fan_in=D)
        self.key = matrix((D, K, E), "fsdp", "tensor", None, fan_in=D)
        self.value = matrix((D, K, E), "fsdp", "tensor", None, fan_in=D)
        self.output = matrix((H, E, D), "tensor", None, "fsdp", fan_in=H * E, scale=into_stream)
        if config.qk_norm:
            self.query_norm, self.key_norm = nnx.Param(_ones(E)), nnx.Param(_ones(E))
        self.hidden_norm = nnx.Param(_ones(D))
        self.gate = matrix((D, F), "fsdp", "tensor", fan_in=D)
        self.up = matrix((D, F), "fsdp", "tensor", fan_in=D)
        self.down = matrix((F, D), "tensor", "fsdp", fan_in=F, scale=into_stream)

    def __call__(self, x_BxSxD: jax.Array, positions: jax.Array, attend: Attend) -> jax.Array:
        """The stream after this layer."""
        epsilon = self.config.epsilon
        x_BxSxD += self.attention(rms_norm(x_BxSxD, self.attention_norm[...], epsilon), positions, attend)
        x_BxSxD += self.swiglu(rms_norm(x_BxSxD, self.hidden_norm[...], epsilon))
        return x_BxSxD

    def attention(self, y_BxSxD: jax.Array, positions: jax.Array, attend: Attend) -> jax.Array:
        """Projections into heads, their norm if there is one, rotation, `attend`, and the projection back."""
        heads = partial(_product, y_BxSxD)
        query_BxSxHxE, key_BxSxKxE = heads(self.query), heads(self.key)
        if self.config.qk_norm:
            query_BxSxHxE = rms_norm(query_BxSxHxE, self.query_norm[...], self.config.epsilon)
            key_BxSxKxE = rms_norm(key_BxSxKxE, self.key_norm[...], self.config.epsilon)
        query_BxSxHxE = rotate(query_BxSxHxE, positions, self.config)
        key_BxSxKxE = rotate(key_BxSxKxE, positions, self.config)
        mixed_BxSxHxE = attend(query_BxSxHxE, key_BxSxKxE, heads(self.value))
        return _product(mixed_BxSxHxE, self.output)

    def swiglu(self, y_BxSxD: jax.Array) -> jax.Array:
        """The gated layer."""
        gate_BxSxF, up_BxSxF = (_product(y_BxSxD, weight) for weight in (self.gate, self.up))
        return _product(jax.nn.silu(gate_BxSxF) * up_BxSxF, self.down)


class LanguageModel(nnx.Module):  # type: ignore[misc]
    """Ids to logits.

    Arguments:
        config: the shape.
        seed: decides the initial weights, the same on every mesh.
        compute: how to compute; by default float32 on one device.
    """

    def __init__(self, config: ModelConfig, seed: int, compute: Compute = Compute()) -> None:
        rngs, table = nnx.Rngs(seed), (config.vocab_size, config.width)
        self.config, self.compute = config, compute
        self.embedding = nnx.Param(_normal(rngs(), table, EMBEDDING_STD, "tensor", "fsdp"))
        keys_N = jax.random.split(rngs(), config.layers)
        self.blocks = jax.vmap(lambda key: Block(config, nnx.Rngs(key)))(keys_N)  # every leaf gains a first axis N
        self.final_norm = nnx.Param(_ones(config.width))
        if not config.tied_embeddings:
            self.head = nnx.Param(_normal(rngs(), table, EMBEDDING_STD, "tensor", "fsdp"))
        if config.affect:
            self.affect = nnx.Param(jnp.zeros((len(EMOTIONS), config.width), out_sharding=placed(None, "fsdp")))

    def __call__(self, tokens_BxS: jax.Array, affect_BxSxA: jax.Array | None = None) -> jax.Array:
        """Logits of the token after each position: logits_BxSxV, float32."""
        x_BxSxD = self.features(tokens_BxS, affect_BxSxA)
        table_VxD = self.output_table.astype(x_BxSxD.dtype)
        return jnp.einsum("BSD,VD->BSV", x_BxSxD, table_VxD, preferred_element_type=jnp.float32)

    def features(
        self,
        tokens_BxS: jax.Array,
        affect_BxSxA: jax.Array | None = None,
        segments_BxS: jax.Array | None = None,
    ) -> jax.Array:
        """Compute the input of the output table: x_BxSxD. A missing affect vector is the neutral one, zeros.

        With `segments_BxS`, int32, a window holds several texts: neighbours with one number are a text, and 0 is
        padding. A position sees its own text alone, whose positions begin at 0. Without, a window is one text.
        """
        positions = jnp.arange(tokens_BxS.shape[1]) if segments_BxS is None else positions_within(segments_BxS)
        attend = partial(causal_attention, implementation=self.compute.attention, segments_BxS=segments_BxS)

        def layer(x_BxSxD: jax.Array, block: Block) -> tuple[jax.Array, None]:
            return block(x_BxSxD, positions, attend), None

        body = jax.checkpoint(layer, prevent_cse=self.compute.unroll > 1) if self.compute.remat else layer
        x_BxSxD, _ = jax.lax.scan(
            body, self.embedded(tokens_BxS, affect_BxSxA), self.blocks, unroll=self.compute.unroll
        )
        return rms_norm(x_BxSxD, self.final_norm[...], self.config.epsilon)

    def embedded(self, tokens_BxS: jax.Array, affect_BxSxA: jax.Array | None = None) -> jax.Array:
        """The stream before the first layer: x_BxSxD."""
        # Times sqrt(D), as in section 3.4 of arXiv:1706.03762: without it the default run saves 24 % of the
        # context-free bits, with it 32 %. Exact in Llama's form: embedding * sqrt(D), final_norm / sqrt(D) if tied.
        table_VxD = gathered(self.embedding[...].astype(self.compute.dtype))
        x_BxSxD: jax.Array = table_VxD.at[tokens_BxS].get(out_sharding=_stream())
        if self.config.scaled_embeddings:
            x_BxSxD *= self.config.embedding_factor
        if self.config.affect and affect_BxSxA is not None:
            weight_AxD = gathered(self.affect[...].astype(x_BxSxD.dtype))
            x_BxSxD += affect_BxSxA.astype(x_BxSxD.dtype) @ weight_AxD
        return x_BxSxD

    @property
    def output_table(self) -> jax.Array:
        """table_VxD, one row of output weights per piece: the embeddings themselves when tied (arXiv:1608.05859)."""
        table_VxD: jax.Array = self.embedding[...] if self.config.tied_embeddings else self.head[...]
        return table_VxD


initial_model = jax.jit(LanguageModel, static_argnums=(0, 1, 2))  # (config, seed, compute), compiled: half the time


def rms_norm(x_BxSxD: jax.Array, scale_D: jax.Array, epsilon: float = EPSILON) -> jax.Array:
    """Divide by the root mean square over features, then scale; in float32, returned in the type that came.

    `x` may have more axes before its features, such as heads.
    """
    wide_BxSxD, axes = x_BxSxD.astype(jnp.float32), tuple(range(x_BxSxD.ndim - 1))
    mean_square_BxSx1 = jnp.mean(jnp.square(wide_BxSxD), axis=-1, keepdims=True)
    normed_BxSxD = wide_BxSxD * jax.lax.rsqrt(mean_square_BxSx1 + epsilon) * jnp.expand_dims(scale_D, axes)
    return normed_BxSxD.astype(x_BxSxD.dtype)


def positions_within(segments_BxS: jax.Array) -> jax.Array:
    """positions_BxS: how many places before each one belong to the same text, a row of equal numbers."""
    places_1xS = jnp.arange(segments_BxS.shape[1])[None]
    begins_BxS = segments_BxS != jnp.roll(segments_BxS, 1, axis=1)
    return places_1xS - jax.lax.cummax(jnp.where(begins_BxS, places_1xS, 0), axis=1)


def rotate(x_BxSxHxE: jax.Array, positions: jax.Array, config: ModelConfig | None = None) -> jax.Array:
    """Turn feature pairs (i, i + E/2) by position times base^(-2i/E), as Llama in Hugging Face does ("rotate half").

    `positions` are those of every sequence (S), or of each (BxS). `config` has the base and the scaling; without it,
    they are the defaults.
    """
    E = x_BxSxHxE.shape[3]
    base = config.rope_base if config else ROPE_BASE
    frequency_P = pair_frequencies(E, base)
    if config and config.rope_factor != 1:
        frequency_P = stretched(frequency_P, config)
    if positions.ndim == 1:
        angle_SxP = positions.astype(jnp.float32)[:, None] * frequency_P[None, :]
        cos, sin = jnp.cos(angle_SxP)[None, :, None, :], jnp.sin(angle_SxP)[None, :, None, :]
    else:
        angle_BxSxP = positions.astype(jnp.float32)[:, :, None] * frequency_P[None, None, :]
        cos, sin = jnp.cos(angle_BxSxP)[:, :, None, :], jnp.sin(angle_BxSxP)[:, :, None, :]
    # The radius is 1 but for rounding. XLA computes a cosine again for each head and sequence that it turns, and a
    # quotient once: 5 % of a step on CPU.
    radius = jnp.sqrt(jnp.square(cos) + jnp.square(sin))
    cos, sin = cos / radius, sin / radius
    first, second = jnp.split(x_BxSxHxE.astype(jnp.float32), 2, axis=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return jnp.concatenate(turned, axis=-1).astype(x_BxSxHxE.dtype)


def pair_frequencies(width: int, base: float) -> jax.Array:
    """(P,) float32: radians per token by which each pair of a head of `width` features turns."""
    return base ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)


def stretched(frequency_P: jax.Array, config: ModelConfig) -> jax.Array:
    """Frequencies for a longer context, as Llama 3.1 has them (arXiv:2407.21783, section 3.4.1; `rope_type: llama3`).

    A frequency of many turns within the original context stays, one of few turns is divided by the factor.
    """
    turns_P = config.rope_context * frequency_P / (2 * math.pi)
    kept_P = jnp.clip((turns_P - config.rope_low) / (config.rope_high - config.rope_low), 0, 1)
    return frequency_P * (kept_P + (1 - kept_P) / config.rope_factor)


class LowRank(nnx.Module):  # type: ignore[misc]
    """A matrix that stands where a Block has its own: `base + scale a b` (LoRA, arXiv:2106.09685), never added up.

    Arguments:
        base: the matrix; its axes are inputs, then outputs.
        a: the same inputs, then the rank.
        b: the rank, then the same outputs.
        scale: of the product.
    """

    def __init__(
        self, base: nnx.Param[jax.Array], a: nnx.Param[jax.Array], b: nnx.Param[jax.Array], scale: float
    ) -> None:
        self.base, self.a, self.b, self.scale = base, a, b, scale


def _product(x: jax.Array, weight: nnx.Param[jax.Array] | LowRank) -> jax.Array:
    """A weight applied at each position of `x_BxSx…`."""
    if isinstance(weight, LowRank):
        return _product(x, weight.base) + weight.scale * _product(_product(x, weight.a), weight.b)
    return _applied(x, weight[...])


def _applied(x: jax.Array, weight: jax.Array) -> jax.Array:
    """The product with a matrix.

    In the product sequences and positions are one axis: over two, XLA transposes on CPU a copy of all that went in
    for the weight's gradient, and runs at 45 GFLOP/s where it could at 104 (8 x 128 x 128 by 128 x 384, one core).
    """
    B, S, *inner = x.shape
    outer, axes = weight.shape[len(inner) :], axes_of(weight)
    in_axis, out_axis = (None if axis == "fsdp" else axis for axis in (axes[0], axes[len(inner)]))
    x_TxI = _reshaped(x, (B * S, math.prod(inner)), BATCH, in_axis)
    weight_IxO = _reshaped(weight.astype(x.dtype), (math.prod(inner), math.prod(outer)), axes[0], axes[len(inner)])

    def product(x_TxI: jax.Array, weight_IxO: jax.Array) -> jax.Array:
        whole_IxO = gathered(weight_IxO)
        if len(weight_IxO) <= weight_IxO.shape[1] or B * S < COPIED_FROM:
            return jnp.einsum("TI,IO->TO", x_TxI, whole_IxO, out_sharding=placed(BATCH, out_axis))
        # The weight's gradient is then O x I, for which XLA on CPU copies the smaller of its two sides.
        return jnp.einsum("TI,OI->TO", x_TxI, _transposed(whole_IxO), out_sharding=placed(BATCH, out_axis))

    # Of a weight only this device's part is kept for the way back, and gathered again.
    y_TxO = jax.checkpoint(product, prevent_cse=False)(x_TxI, weight_IxO)
    return _reshaped(y_TxO, (B, S, *outer), BATCH, None, out_axis)


def _transposed(matrix: jax.Array) -> jax.Array:
    """Return the transpose; on a CPU a copy of it, where XLA would else undo it and read the matrix by columns."""
    whole: jax.Array = jax.lax.platform_dependent(matrix.T, cpu=jax.lax.optimization_barrier, default=lambda same: same)
    return whole


def _reshaped(array: jax.Array, shape: tuple[int, ...], *axes: str | tuple[str, ...] | None) -> jax.Array:
    reshaped: jax.Array = jax.lax.reshape(array, shape, out_sharding=placed(*axes))
    return reshaped


def _stream() -> jax.sharding.PartitionSpec | None:
    return placed(BATCH, None, None)


def _ones(D: int) -> jax.Array:
    return jnp.ones(D, out_sharding=placed(None))


def _matrix(
    rngs: nnx.Rngs, shape: tuple[int, ...], *axes: str | None, fan_in: int, scale: float = 1.0
) -> nnx.Param[jax.Array]:
    return nnx.Param(_normal(rngs(), shape, scale * fan_in**-0.5, *axes))


def _normal(key: jax.Array, shape: tuple[int, ...], std: float, *axes: str | None) -> jax.Array:
    return std * jax.random.normal(key, shape, jnp.float32, out_sharding=placed(*axes))


def leaf_name(path: tuple[Any, ...]) -> str:
    """A weight's name from its place in the model: `blocks.query`."""
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
