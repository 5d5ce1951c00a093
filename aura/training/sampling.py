"""Drawing text from a model, on one device or on a mesh; and the end of a drawn text."""

import jax
import numpy as np
import numpy.typing as npt
from jax.sharding import NamedSharding, PartitionSpec

from aura.core.errors import UserError
from aura.model.mesh import BATCH
from aura.model.model import LanguageModel
from aura.tokenizer.opening import AnyTokenizer
from aura.training.generation import continuations


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
    model: LanguageModel, tokenizer: AnyTokenizer, text: str, *, tokens: int, temperature: float, seed: int
) -> str:
    """Return the model's continuation of `text`: at most `tokens`, fewer if the document ends; <bos> goes before.

    The bytes of a last character that is not whole are left out. An adopted tokenizer may have no <bos>.

    Raises:
        UserError: there is not one token to continue.
    """
    begin = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    prompt_1xP = np.array([[*begin, *tokenizer.encode(text)]], np.int32)
    if not prompt_1xP.size:
        raise UserError("expected a text to continue, got none: this tokenizer has no token that begins a document")
    made_1xT = np.asarray(continuations(model, prompt_1xP, jax.random.key(seed), temperature, tokens=tokens))
    return tokenizer.incremental_decoder().decode(until_end(made_1xT[0], tokenizer))


def until_end(ids: npt.NDArray[np.int32], tokenizer: AnyTokenizer) -> npt.NDArray[np.int32]:
    """The ids before the first <eos>."""
    ends = np.flatnonzero(ids == (-1 if tokenizer.eos_id is None else tokenizer.eos_id))
    return ids[: ends[0]] if len(ends) else ids
