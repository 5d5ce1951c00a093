"""Sample continuations: what the model says when given the beginning of a text."""

import jax
import numpy as np

from aura.model.model import LanguageModel
from aura.pretrain.options import Pretrain
from aura.tokenizer.opening import AnyTokenizer
from aura.tokens.mapped_ids import Ids
from aura.tokens.token_shards import TokenShards
from aura.training.sampling import drawn, until_end

PROMPTS = 4
PROMPT_TOKENS = 32  # at most; half of a sequence where that is less
SAMPLE_TOKENS = 64  # of a continuation, at most, like PROMPT_TOKENS
TEMPERATURE = 0.8


def sample_text(model: LanguageModel, shards: TokenShards, tokenizer: AnyTokenizer, options: Pretrain) -> str:
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
    made_BxT = drawn(model, prompts_BxP, key, TEMPERATURE, tokenizer.eos_id, tokens=tokens)
    parts = []
    for (doc, prompt), made in zip(prompts, made_BxT, strict=True):
        decoder = tokenizer.incremental_decoder()  # a character that the prompt cuts belongs to what follows
        begun, continued = decoder.decode(prompt), decoder.decode(until_end(made, tokenizer))
        parts.append(f"=== {doc}\n{begun}\n--- continued by the model\n{continued}\n")
    return "\n".join(parts)


def lengths(options: Pretrain) -> tuple[int, int]:
    """Tokens of a prompt, and of its continuation."""
    return min(PROMPT_TOKENS, options.seq_len // 2), min(SAMPLE_TOKENS, options.seq_len // 2)
