"""Sample continuations: what the model says when given the beginning of a text."""

import jax
import numpy as np
import numpy.typing as npt
from jax.sharding import NamedSharding, PartitionSpec

from aura.model.mesh import BATCH
from aura.model.model import LanguageModel
from aura.pretrain.generation import continuations
from aura.pretrain.options import Pretrain
from aura.tokenizer.tokenizer import Tokenizer
from aura.tokens.mapped_ids import Ids
from aura.tokens.token_shards import TokenShards

PROMPTS = 4
PROMPT_TOKENS = 32  # at most; half of a sequence where that is less
SAMPLE_TOKENS = 64  # of a continuation, at most, like PROMPT_TOKENS
TEMPERATURE = 0.8


def sample_text(model: LanguageModel, shards: TokenShards, tokenizer: Tokenizer, options: Pretrain) -> str:
    """Prompts and their continuations, as text to read; prompts begin the first held-out documents long enough."""
    length, tokens = lengths(options)
    prompts: list[tuple[str, Ids]] = []
    for ids, row in shards.documents("held_out"):
        if len(ids) >= length:
            prompts.append((row["doc"], ids[:length]))
        if len(prompts) == PROMPTS:
            break
    if not prompts:
        return f"No held-out document has the {length} tokens of a prompt.\n"
    prompts_BxP = np.stack([ids for _, ids in prompts]).astype(np.int32)
    key = jax.random.key(options.seed)
    made_BxT = drawn(model, prompts_BxP, key, TEMPERATURE, tokens=tokens)
    parts = []
    for (doc, prompt), made in zip(prompts, made_BxT, strict=True):
        decoder = tokenizer.incremental_decoder()  # a character that the prompt cuts belongs to what follows
        begun, continued = decoder.decode(prompt), decoder.decode(until_end(made, tokenizer))
        parts.append(f"=== {doc}\n{begun}\n--- continued by the model\n{continued}\n")
    return "\n".join(parts)


def lengths(options: Pretrain) -> tuple[int, int]:
    """Tokens of a prompt, and of its continuation."""
    return min(PROMPT_TOKENS, options.seq_len // 2), min(SAMPLE_TOKENS, options.seq_len // 2)


def drawn(
    model: LanguageModel, prompts_BxP: npt.NDArray[np.int32], key: jax.Array, temperature: float, *, tokens: int
) -> npt.NDArray[np.int32]:
    """`continuations`, on every process. On a mesh, prompts are repeated until each device of a batch has one."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return np.asarray(continuations(model, prompts_BxP, key, temperature, tokens=tokens))
    holders = mesh.shape["data"] * mesh.shape["fsdp"]
    repeated = np.resize(prompts_BxP, (-(-len(prompts_BxP) // holders) * holders, prompts_BxP.shape[1]))
    places = NamedSharding(mesh, PartitionSpec(BATCH))
    placed_BxP = jax.make_array_from_callback(repeated.shape, places, lambda index: repeated[index])
    made_BxT = continuations(model, placed_BxP, key, temperature, tokens=tokens)
    return np.asarray(made_BxT.addressable_data(0))[: len(prompts_BxP)]


def continue_text(
    model: LanguageModel, tokenizer: Tokenizer, text: str, *, tokens: int, temperature: float, seed: int
) -> str:
    """Return the model's continuation of `text`: at most `tokens`, fewer if the document ends; <bos> goes before.

    The bytes of a last character that is not whole are left out.
    """
    prompt_1xP = np.array([[tokenizer.bos_id, *tokenizer.encode(text)]], np.int32)
    made_1xT = np.asarray(continuations(model, prompt_1xP, jax.random.key(seed), temperature, tokens=tokens))
    return tokenizer.incremental_decoder().decode(until_end(made_1xT[0], tokenizer))


def until_end(ids: npt.NDArray[np.int32], tokenizer: Tokenizer) -> npt.NDArray[np.int32]:
    """The ids before the first <eos>."""
    ends = np.flatnonzero(ids == tokenizer.eos_id)
    return ids[: ends[0]] if len(ends) else ids
