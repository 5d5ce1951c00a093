"""Answers of a model, token by token, as they are drawn.

The keys and values of all that was read or drawn stay, so a chat's next prompt costs its new tokens alone. Prompts are
read in parts of `PART` tokens: three programs are compiled for any length. Padding of the last part stands behind the
prompt, where no token sees it until a drawn one takes its place.

`continuations` (generation.py) draws many texts of one length in one program, which is faster and shows nothing before
its end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from aura.model.model import LanguageModel
from aura.training.generation import Cache, empty_cache, next_logits

PART = 64  # tokens of a prompt that are read at a time


@dataclass(frozen=True)
class Drawing:
    """A way to draw tokens.

    Attributes:
        temperature: 0 takes the likeliest token each time; 1 draws from the model's own probabilities.
        top_p: draws from the likeliest tokens alone, as few as have this probability together (arXiv:1904.09751).
        seed: decides the draws.
    """

    temperature: float = 0.8
    top_p: float = 1.0
    seed: int = 0


class Answerer:
    """Draws the answers of one chat.

    Arguments:
        model: on one device.
        context: tokens that a prompt and its answer have together, at most: those of a sequence in training.
        drawing: the same drawing and the same prompts in the same order give the same answers.
    """

    def __init__(self, model: LanguageModel, context: int, drawing: Drawing = Drawing()) -> None:
        self.context = context
        self._model, self._drawing = model, drawing
        self._key = jax.random.key(drawing.seed)
        self._cache = empty_cache(model, 1, context + PART)  # padding never reaches over its end
        self._known: list[int] = []  # the ids whose keys and values the cache has, from its beginning
        self._drawn = 0

    def answer(self, prompt: npt.NDArray[np.int32], tokens: int) -> Iterator[int]:
        """Yield at most `tokens` ids after the prompt, as long as they fit into the context.

        A prompt that leaves no room for one token is a `ValueError`.
        """
        ids = prompt.tolist()
        if not 0 < len(ids) < self.context:
            raise ValueError(f"expected a prompt of 1 to {self.context - 1} tokens, got {len(ids)}")
        self._read(ids[:-1])
        last = ids[-1]
        for _ in range(min(tokens, self.context - len(ids))):
            place, self._known = len(self._known), [*self._known, last]
            chosen, self._cache = _drawn(
                self._model, last, place, self._cache, self._key, self._drawn, self._drawing.temperature,
                self._drawing.top_p,
            )  # fmt: skip
            self._drawn += 1
            last = int(chosen)
            yield last

    def _read(self, ids: list[int]) -> None:
        """Bring the cache to hold these ids and no others, from the first one on that it has not."""
        same = len([*takewhile(lambda pair: pair[0] == pair[1], zip(self._known, ids, strict=False))])
        for begin in range(same, len(ids), PART):
            part = np.zeros((1, PART), np.int32)
            some = ids[begin : begin + PART]
            part[0, : len(some)] = some
            self._cache = _read(self._model, part, begin, self._cache)
        self._known = ids


@partial(jax.jit, donate_argnames="cache")
def _read(model: LanguageModel, tokens_1xS: jax.Array, start: jax.Array, cache: Cache) -> Cache:
    _, cache = next_logits(model, tokens_1xS, start, cache)
    return cache


@partial(jax.jit, donate_argnames="cache")
def _drawn(
    model: LanguageModel,
    last: jax.Array,
    place: jax.Array,
    cache: Cache,
    key: jax.Array,
    number: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
) -> tuple[jax.Array, Cache]:
    """The token after `last`, which stands at `place`; `number` tokens were drawn before it."""
    logits_BxV, cache = next_logits(model, jnp.full((1, 1), last, jnp.int32), place, cache)
    logits_V = logits_BxV[0]
    scaled_V = within(logits_V / jnp.maximum(temperature, 1e-9), top_p)
    drawn = jax.random.categorical(jax.random.fold_in(key, number), scaled_V)
    return jnp.where(temperature > 0, drawn, jnp.argmax(logits_V)).astype(jnp.int32), cache


def within(logits_V: jax.Array, top_p: jax.Array | float) -> jax.Array:
    """The logits, without the tokens that the likeliest ones with probability `top_p` together leave out."""
    order_V = jnp.argsort(-logits_V)
    sorted_V = jax.nn.softmax(logits_V[order_V])
    kept_V = jnp.zeros(logits_V.shape, bool).at[order_V].set(jnp.cumsum(sorted_V) - sorted_V < top_p)
    return jnp.where(kept_V, logits_V, -jnp.inf)
