"""Adapters of low rank (LoRA, Hu et al. 2021, arXiv:2106.09685): few weights are learnt beside a model that stays.

A chosen matrix W of every layer becomes `W + (alpha / rank) A B`. A begins as normal numbers and B as zeros, so a new
adapter changes nothing. Layers compute `x W + (alpha / rank) (x A) B`: no layer's sum is ever in memory, which costs
`2 rank (inputs + outputs)` operations per token and matrix. `merged` makes the sums once, for the end.

An adapter can also hold rows of the tables of embeddings and of output weights, for given token ids. Pretraining
never saw the special tokens of chats, and no matrix of a layer can give them embeddings. The rows replace those of
the base, as PEFT's `trainable_token_indices` do; with tied embeddings one row serves both tables.

Only an `Adapter` is differentiated and has an optimiser's state: `jax.grad` of its loss through `adapted` computes no
gradient of the base's weights. Letters as in model.py, and R the rank, T the chosen tokens.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from aura.core.errors import UserError
from aura.model.mesh import axes_of, has_mesh, per_device, placed
from aura.model.model import LanguageModel, LowRank

INPUT_AXES = {"query": 1, "key": 1, "value": 1, "output": 2, "gate": 1, "up": 1, "down": 1}  # of a layer's matrices
TABLES = ("embedding", "head")


@dataclass(frozen=True)
class LoraConfig:
    """Everything that decides an adapter's shape.

    Attributes:
        rank: the numbers between A and B; 0 adapts no matrix.
        alpha: A B is multiplied by alpha / rank.
        matrices: the adapted ones, out of INPUT_AXES.
        tokens: ids whose rows of the tables are learnt, too.

    Raises:
        UserError: a number is out of range, or a matrix has another name.
    """

    rank: int
    alpha: float
    matrices: tuple[str, ...] = tuple(INPUT_AXES)
    tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 0 or self.alpha <= 0:
            raise UserError(f"expected a rank of at least 0 and an alpha above 0, got {self.rank} and {self.alpha}.")
        if strange := [name for name in self.matrices if name not in INPUT_AXES]:
            raise UserError(f"expected matrices out of {', '.join(INPUT_AXES)}, got {', '.join(strange)}.")
        if len({*self.tokens}) != len(self.tokens) or min(self.tokens, default=0) < 0:
            raise UserError(f"expected different token ids of at least 0, got {[*self.tokens]}.")

    @property
    def scale(self) -> float:
        """The factor of A B."""
        return self.alpha / self.rank if self.rank else 0.0

    @property
    def adapted_matrices(self) -> tuple[str, ...]:
        """The adapted matrices in the order of INPUT_AXES; none at rank 0."""
        return tuple(name for name in INPUT_AXES if name in self.matrices) if self.rank else ()


class Factors(nnx.Module):  # type: ignore[misc]
    """A and B of one matrix of all layers: `a` is N x inputs x R, `b` is N x R x outputs."""

    def __init__(self, a: jax.Array, b: jax.Array) -> None:
        self.a, self.b = nnx.Param(a), nnx.Param(b)


class Adapter(nnx.Module):  # type: ignore[misc]
    """The weights that are learnt beside a model; new ones change nothing.

    Its leaves lie on the mesh as the matrix that they belong to. Their values depend on the seed and the shapes alone,
    but for the rows, which are the model's own. Each matrix draws by its own name, whatever others are adapted.

    Arguments:
        model: the base; its types and places are read, and the rows of `config.tokens`.
        config: the shape.
        seed: decides A.
    """

    def __init__(self, model: LanguageModel, config: LoraConfig, seed: int) -> None:
        self.config = config
        keys = dict(zip(INPUT_AXES, jax.random.split(jax.random.key(seed), len(INPUT_AXES)), strict=True))
        for name in config.adapted_matrices:
            setattr(
                self, name, _new_factors(getattr(model.blocks, name)[...], INPUT_AXES[name], config.rank, keys[name])
            )
        if config.tokens:
            if max(config.tokens) >= model.config.vocab_size:
                raise UserError(f"expected token ids below {model.config.vocab_size}, got {max(config.tokens)}.")
            for name in tables(model):
                table_VxD = getattr(model, name)[...]
                rows_TxD = table_VxD.at[jnp.array(config.tokens)].get(out_sharding=placed(None, "fsdp"))
                setattr(self, name, nnx.Param(rows_TxD))


class Rows(nnx.Module):  # type: ignore[misc]
    """A table of which some rows are others, to stand where a model has its own."""

    def __init__(self, base: nnx.Param[jax.Array], rows: nnx.Param[jax.Array], ids: tuple[int, ...]) -> None:
        self.base, self.rows, self.ids = base, rows, ids

    def __getitem__(self, _: object) -> jax.Array:
        """The whole table_VxD, as a Param gives it."""

        def local(part_VxD: jax.Array, rows_TxD: jax.Array) -> jax.Array:
            V = len(part_VxD)
            own_T = jnp.array(self.ids) - (jax.lax.axis_index("tensor") * V if has_mesh() else 0)
            own_T = jnp.where((own_T >= 0) & (own_T < V), own_T, V)  # past the end is dropped
            return part_VxD.at[own_T].set(rows_TxD.astype(part_VxD.dtype), mode="drop")

        places = PartitionSpec("tensor", "fsdp"), PartitionSpec(None, "fsdp")
        table_VxD: jax.Array = per_device(local, places, places[0])(self.base[...], self.rows[...])
        return table_VxD


def tables(model: LanguageModel) -> tuple[str, ...]:
    """The names of a model's tables: embeddings, and output weights where they are not the same."""
    return TABLES[:1] if model.config.tied_embeddings else TABLES


def adapted(model: LanguageModel, adapter: Adapter) -> LanguageModel:
    """The model as the adapter changes it, to compute and to differentiate with; it shares the weights of both."""
    changed = _copy(model)
    for name in adapter.config.adapted_matrices:
        factors = getattr(adapter, name)
        base = getattr(changed.blocks, name)
        setattr(changed.blocks, name, LowRank(base, factors.a, factors.b, adapter.config.scale))
    for name in tables(model) if adapter.config.tokens else ():
        setattr(changed, name, Rows(getattr(changed, name), getattr(adapter, name), adapter.config.tokens))
    return changed


def merged(model: LanguageModel, adapter: Adapter) -> LanguageModel:
    """A plain model with the adapter in its weights; its numbers are those of `adapted` within rounding."""
    changed = adapted(model, adapter)
    for name in adapter.config.adapted_matrices:
        weight: LowRank = getattr(changed.blocks, name)
        added = weight.scale * jax.vmap(_added)(weight.a[...], weight.b[...])
        base = weight.base[...]
        setattr(changed.blocks, name, nnx.Param((base.astype(jnp.float32) + added).astype(base.dtype)))
    for name in tables(model) if adapter.config.tokens else ():
        setattr(changed, name, nnx.Param(getattr(changed, name)[...]))
    return changed


def _added(a: jax.Array, b: jax.Array) -> jax.Array:
    """A B of one layer, over the rank; inputs, then outputs."""
    product: jax.Array = jax.lax.dot_general(a, b, (((a.ndim - 1,), (0,)), ((), ())), precision="highest")
    return product


def _new_factors(weight: jax.Array, inputs: int, rank: int, key: jax.Array) -> Factors:
    """A with the variance that gives `x A` that of x, and B of zeros, for a stacked matrix."""
    axes, cut = axes_of(weight), 1 + inputs
    fan_in = 1
    for size in weight.shape[1:cut]:
        fan_in *= size
    a = jax.random.normal(key, (*weight.shape[:cut], rank), jnp.float32, out_sharding=placed(*axes[:cut], None))
    b = jnp.zeros((weight.shape[0], rank, *weight.shape[cut:]), out_sharding=placed(axes[0], None, *axes[cut:]))
    return Factors(a * fan_in**-0.5, b)


def _copy(model: LanguageModel) -> LanguageModel:
    """The same weights in a model of its own, whose attributes can be set."""
    made: LanguageModel = jax.tree.unflatten(jax.tree.structure(model), jax.tree.leaves(model))
    return made
