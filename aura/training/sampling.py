"""Drawing text from a model: continuations of texts on one device, of ids on a mesh; and the end of a drawn text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np
import numpy.typing as npt
from jax.sharding import NamedSharding, PartitionSpec

from aura.core.errors import UserError
from aura.model.mesh import BATCH
from aura.model.model import LanguageModel
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.reader import Reader
from aura.training.answers import Answerer, Drawing
from aura.training.generation import continuations


@dataclass(frozen=True)
class Wish:
    """A wish for continuations.

    Attributes:
        tokens: of a continuation, at most.
        drawing: how tokens are drawn.
        stops: a continuation ends before the first of these; each is the name of a special token, or a text.
        number: continuations of each text.
    """

    tokens: int = 64
    drawing: Drawing = field(default_factory=Drawing)
    stops: Sequence[str] = ()
    number: int = 1


def drawn(
    model: LanguageModel,
    prompts_BxP: npt.NDArray[np.int32],
    key: jax.Array,
    temperature: float,
    end: int | None = None,
    *,
    tokens: int,
) -> npt.NDArray[np.int32]:
    """`continuations`, on every process. On a mesh, prompts are repeated until each device of a batch has one."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return np.asarray(continuations(model, prompts_BxP, key, temperature, None, end, tokens=tokens))
    holders = mesh.shape["data"] * mesh.shape["fsdp"]
    repeated = np.resize(prompts_BxP, (-(-len(prompts_BxP) // holders) * holders, prompts_BxP.shape[1]))
    places = NamedSharding(mesh, PartitionSpec(BATCH))
    placed_BxP = jax.make_array_from_callback(repeated.shape, places, lambda index: repeated[index])
    made_BxT = continuations(model, placed_BxP, key, temperature, None, end, tokens=tokens)
    return np.asarray(made_BxT.addressable_data(0))[: len(prompts_BxP)]


def continued(model: LanguageModel, reader: Reader, texts: Sequence[str], wish: Wish) -> Iterator[list[str]]:
    """Yield what the next tokens add to each continuation, as they are drawn; `wish.number` of each text, in a row.

    A document's end ends a continuation, too. The bytes of a last character that is not whole are left out. All texts
    are drawn at once: together with its longest text, a continuation has no more tokens than the reader's context.

    Raises:
        UserError: a text has no token to continue or more than the model reads, or a stop is empty.
    """
    tokenizer, context = reader.tokenizer, reader.context
    prompts = [prompt for text in texts for prompt in [reader.ids(text)] * wish.number]
    for text, prompt in zip(texts, prompts[:: wish.number], strict=True):
        _require_room(text, len(prompt), context)
    ends, ended_B = ends_of(tokenizer, wish.stops), np.zeros(len(prompts), bool)
    tails = [Tail(tokenizer, ends, [stop for stop in wish.stops if stop]) for _ in prompts]
    answerer = Answerer(model, context, wish.drawing, ends)
    for made_BxT in answerer.answers(prompts, wish.tokens, ended_B):
        yield [tail.text(ids) for tail, ids in zip(tails, made_BxT, strict=True)]
        ended_B |= [tail.ended for tail in tails]
    yield [tail.rest for tail in tails]


def ends_of(tokenizer: AnyTokenizer, stops: Sequence[str]) -> set[int]:
    """The ids that end a text: <eos>, and the special tokens among the stops; `UserError` for an empty stop."""
    if "" in stops:
        raise UserError("--stop: expected a text or the name of a special token, such as '<eos>', got nothing")
    special = [token for token in range(tokenizer.vocab_size) if tokenizer.is_special(token)] if stops else []
    named = {token for token in special if tokenizer.piece(token) in stops}
    return named | (set() if tokenizer.eos_id is None else {tokenizer.eos_id})


class Tail:
    """A continuation, from its ids to its text; ends before a stop.

    Attributes:
        ended: whether its end was drawn.
        rest: text at its end that is held back, because a stop may begin with it.
    """

    def __init__(self, tokenizer: AnyTokenizer, ends: set[int], stops: Sequence[str]) -> None:
        self._decoder, self._ends, self._stops = tokenizer.incremental_decoder(), ends, stops
        self.ended, self.rest = False, ""

    def text(self, ids: npt.NDArray[np.int32]) -> str:
        """The text that these ids add."""
        if self.ended:
            return ""
        places = np.flatnonzero(np.isin(ids, [*self._ends]))
        self.ended = len(places) > 0
        said = self.rest + self._decoder.decode(ids[: places[0]] if self.ended else ids)
        found = [place for stop in self._stops if (place := said.find(stop)) >= 0]
        self.ended |= bool(found)
        said = said[: min(found)] if found else said
        held = 0 if self.ended else max((_overlap(said, stop) for stop in self._stops), default=0)
        self.rest = said[len(said) - held :]
        return said[: len(said) - held]


def _overlap(said: str, stop: str) -> int:
    """Characters at the end of a text with which a stop begins."""
    return next((size for size in range(min(len(stop) - 1, len(said)), 0, -1) if said.endswith(stop[:size])), 0)


def _require_room(text: str, tokens: int, context: int) -> None:
    if not tokens:
        raise UserError("expected a text to continue, got none: this tokenizer has no token that begins a document")
    if tokens >= context:
        raise UserError(
            f"expected a text of at most {context - 1:,} tokens, which leaves room for one of the {context:,} that "
            f"the model reads; got {tokens:,} in the one that begins {text[:30]!r}. Give its end alone"
        )


def until_end(ids: npt.NDArray[np.int32], tokenizer: AnyTokenizer) -> npt.NDArray[np.int32]:
    """The ids before the first <eos>."""
    ends = np.flatnonzero(ids == (-1 if tokenizer.eos_id is None else tokenizer.eos_id))
    return ids[: ends[0]] if len(ends) else ids
