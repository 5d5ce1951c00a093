"""Answers of a model, in parts as they are drawn, to one prompt or to many at once.

A call draws several tokens, as many as take about a tenth of a second: text flows, and a small model does not wait for
Python after each token. Where the parts end decides no token.

The keys and values of all that was read or drawn stay, so a chat's next prompt costs its new tokens alone. Prompts are
read in parts of `PART` tokens, and the cache has a power of two of places: a few programs are compiled for any length.
Padding of the last part stands behind the prompt, where no token sees it until a drawn one takes its place.

Each token reads the whole cache, empty places too, so a large cache begins short and doubles when it is full. A small
one (`CACHE_BYTES`) has all its places at once: it costs little to read, and each length is a program to compile.

The model is held twice, as it was given and as `generation.ready` lays it out. `continuations` (generation.py) draws
the same tokens in one program, for code that is compiled itself or runs on a mesh.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from aura.model.model import LanguageModel
from aura.training.generation import Cache, Choice, Drawn, Ready, draw, empty_cache, keys_of, longer, read, ready

PART = 64  # tokens of a prompt that are read at a time
ROOM = 128  # tokens that a call draws, at most
SECONDS = 0.1  # that a call is to take
SHORTEST = 128  # places of a cache, at least
CACHE_BYTES = 1 << 20  # of a cache that is made in its last length at once; half of the second cache of most processors

Ids = npt.NDArray[np.int32]


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
    """Draws the answers of one chat, or the continuations of some texts.

    Arguments:
        model: on one device.
        context: tokens that a prompt and its answer have together, at most: those of a sequence in training.
        drawing: the same drawing and the same prompts in the same order give the same answers.
        ends: ids with which an answer ends; an answer holds its end.
    """

    def __init__(
        self, model: LanguageModel, context: int, drawing: Drawing = Drawing(), ends: Collection[int] = ()
    ) -> None:
        self.context = context
        self._drawing, self._net = drawing, jax.jit(ready)(model)
        self._ends_V = np.zeros(model.config.vocab_size, bool)
        self._ends_V[[*ends]] = True
        self._cache: Cache = []
        self._length = 0  # places of the cache
        self._known = np.zeros((0, 0), np.int32)  # ids_BxS whose keys and values the cache has
        self._begins_B: npt.NDArray[np.int32] | None = None  # of the texts in it
        self._answers = 0

    def answer(self, prompt: Ids, tokens: int) -> Iterator[int]:
        """Yield at most `tokens` ids after the prompt, as long as they fit into the context.

        A prompt that leaves no room for one token is a `ValueError`.
        """
        for made_1xT in self.answers([prompt], tokens, np.zeros(1, bool)):
            yield from made_1xT[0].tolist()

    def answers(self, prompts: Sequence[Ids], tokens: int, ended_B: npt.NDArray[np.bool_]) -> Iterator[Ids]:
        """Yield the next ids_BxT of all prompts, with T of one to `ROOM`, until all have ended or `tokens` are drawn.

        A text that has ended repeats its last token. The caller may end texts itself, in `ended_B`, between two parts.
        A prompt gets the same answer, whatever stands beside it; the room that the context leaves is that of the
        longest prompt. A prompt that leaves no room for one token is a `ValueError`.
        """
        longest = max(map(len, prompts))
        for prompt in prompts:
            if not 0 < len(prompt) < self.context:
                raise ValueError(f"expected a prompt of 1 to {self.context - 1} tokens, got {len(prompt)}")
        tokens = min(tokens, self.context - longest)
        given_BxP = np.stack([np.pad(prompt, (longest - len(prompt), 0)) for prompt in prompts]).astype(np.int32)
        begins = np.array([longest - len(prompt) for prompt in prompts], np.int32)
        last = longest + max(tokens, PART)  # places that all of it takes
        self._read(given_BxP[:, :-1], begins if len(prompts) > 1 else None, last)
        key, number, limit = jax.random.key(self._drawing.seed), self._answers, 1
        self._answers += 1
        last_B, done = given_BxP[:, -1], 0
        while done < tokens and not ended_B.all():
            place = self._known.shape[1]
            self._lengthen(place + 1, last)
            began = time.perf_counter()
            made, ended, count, self._cache = _drawn(
                self._net, last_B, place, done, ended_B, self._cache, self._begins_B, key, number,
                self._drawing.temperature, self._drawing.top_p, self._ends_V,
                min(limit, tokens - done, self._length - place),
            )  # fmt: skip
            made_BxT = np.asarray(made)[:, : int(count)]
            self._known = np.concatenate([self._known, last_B[:, None], made_BxT[:, :-1]], axis=1)
            ended_B |= np.asarray(ended)
            done, last_B = done + made_BxT.shape[1], made_BxT[:, -1]
            per_token = (time.perf_counter() - began) / made_BxT.shape[1]
            limit = min(ROOM, 2 * limit, max(1, int(SECONDS / per_token)))
            yield made_BxT

    def _read(self, ids_BxS: Ids, begins_B: npt.NDArray[np.int32] | None, last: int) -> None:
        """Bring the cache to hold these ids and no others, from the first one on that it has not."""
        if self._known.shape[0] != len(ids_BxS) or not _same(self._begins_B, begins_B):
            self._known, self._cache, self._length = ids_BxS[:, :0], [], 0
        self._begins_B = begins_B
        both = min(self._known.shape[1], ids_BxS.shape[1])
        other = np.flatnonzero((self._known[:, :both] != ids_BxS[:, :both]).any(axis=0))
        first = int(other[0]) if len(other) else both
        self._known = ids_BxS[:, :first]  # if reading is interrupted below
        self._lengthen(ids_BxS.shape[1] + PART, last)
        for begin in range(first, ids_BxS.shape[1], PART):
            part_BxS = ids_BxS[:, begin : begin + PART]
            part_BxS = np.pad(part_BxS, ((0, 0), (0, PART - part_BxS.shape[1])))
            self._cache = _read(self._net, part_BxS, begin, self._cache, begins_B)
        self._known = ids_BxS

    def _lengthen(self, needed: int, last: int) -> None:
        """Give the cache the places that are needed now; up to the `last` one, if that is a small cache."""
        texts, config = len(self._known), self._net.model.config
        place = 2 * config.layers * texts * config.kv_heads * config.head_width
        small = CACHE_BYTES // (place * jnp.dtype(self._net.model.compute.dtype).itemsize)
        if needed <= self._length:
            return
        length = 1 << (max(needed, SHORTEST, min(small, last)) - 1).bit_length()
        self._cache = longer(self._cache, length) if self._cache else empty_cache(self._net.model, texts, length)
        self._length = length


def _same(one: npt.NDArray[np.int32] | None, other: npt.NDArray[np.int32] | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)


@partial(jax.jit, donate_argnames="cache")
def _read(net: Ready, tokens_BxS: jax.Array, start: jax.Array, cache: Cache, begins_B: jax.Array | None) -> Cache:
    return read(net, tokens_BxS, start, cache, begins_B)


@partial(jax.jit, donate_argnames="cache")
def _drawn(
    net: Ready,
    last_B: jax.Array,
    place: jax.Array,
    number: jax.Array,
    ended_B: jax.Array,
    cache: Cache,
    begins_B: jax.Array | None,
    key: jax.Array,
    answer: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    ends_V: jax.Array,
    limit: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, Cache]:
    """At most `limit` tokens after `last`, which stands at `place` behind `number` drawn ones.

    Returns them in `ROOM` places, what has ended, and how many they are.
    """
    keys_B = keys_of(jax.random.fold_in(key, answer), len(last_B))
    drawn = Drawn(last_B, jnp.asarray(place, jnp.int32), jnp.asarray(number, jnp.int32), ended_B, cache)
    made_BxR, drawn = draw(net, drawn, Choice(keys_B, temperature, top_p, ends_V), begins_B, limit, room=ROOM)
    return made_BxR, drawn.ended, drawn.number - number, drawn.cache
