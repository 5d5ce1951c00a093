"""Documents inside a window: which tokens begin one, and the segments that attention then keeps apart.

A window runs across documents (`aura/tokens/streams.py`). With `pretrain.document_masks`, a token sees its own document
alone, and positions begin anew with each. A step finds documents by the ids that it has anyway: no index of documents
is in memory, and a batch has no further array. So a document must begin with a token that no text becomes.

The target after a document's last token stays. With <bos>, it is the <bos> of the next document, which the evaluation
does not count. Without <bos>, <eos> is what begins a document: it is learnt as the last one's end, and the next one's
first token is learnt from it alone.
"""

import jax
import jax.numpy as jnp

from aura.core.errors import UserError
from aura.tokenizer.opening import AnyTokenizer
from aura.tokens.token_shards import TokenShards


def document_start(shards: TokenShards, tokenizer: AnyTokenizer, *, masks: bool = True) -> int | None:
    """The id that begins each document in token shards; None without `masks`.

    Raises:
        UserError: documents begin with no such id.
    """
    if not masks:
        return None
    for added, token in ((shards.add_bos, tokenizer.bos_id), (shards.add_eos, tokenizer.eos_id)):
        if added and token is not None:
            return int(token)
    raise UserError(
        f"pretrain.document_masks: expected <bos> before or <eos> after each document in {shards.folder}, got neither. "
        "Set encode.add_bos: true, with a tokenizer that has such a token, or pretrain.document_masks: false"
    )


def segments_of(tokens_BxS: jax.Array, start: int) -> jax.Array:
    """segments_BxS, int32, from 1 on: one number for the tokens of one document of a window."""
    return 1 + jnp.cumsum(tokens_BxS == start, axis=1, dtype=jnp.int32)
