"""Tokenizers judged by a model: the same small one is trained on equal bytes of text with each, once per seed.

Tokens per text say how much a tokenizer compresses, not how well a model predicts what comes out; bits per byte of
held-out text does, and can be compared between vocabularies. Equal for all are the text, the bytes that a step sees and
that a window holds (so tokenizers differ in the tokens of a window, and in compute), the learning rates, and the
model's body. The embeddings differ: they have a row per piece, so a larger vocabulary has more weights.

Every vocabulary gets one more id, which begins each document: tokenizers differ in what they have for that.
"""

import hashlib
import heapq
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aura.core import console
from aura.core.errors import UserError
from aura.core.keys import action_key, code_key
from aura.corpus import corpus
from aura.model.mesh import abstract, make_mesh
from aura.model.model import Compute, ModelConfig
from aura.pretrain import identity, recipe
from aura.pretrain.step.batches import Batches, Source
from aura.pretrain.step.training import REMEDY, batch_layout, initial_state, make_step
from aura.project import whole_params
from aura.project.whole_params import Params
from aura.storage.cache import Cache
from aura.tokenizer.foreign import Foreign
from aura.tokens.mapped_ids import Ids
from aura.tokens.streams import TokenStream, Windows
from aura.training import evaluation
from aura.training.evaluation import HeldOut
from aura.training.run_identity import LIBRARIES
from aura.training.steps import train

NOMINAL = 4  # bytes: a window holds as many of them as pretrain.seq_len tokens of this length
BATCH = 256  # documents encoded at once


@dataclass(frozen=True)
class Texts:
    """The documents that every tokenizer is judged on."""

    train: list[str]
    held_out: list[str]


@dataclass(frozen=True)
class Trial:
    """The outcome of one training run."""

    tokenizer: str
    vocab_size: int
    bytes_per_token: float  # of the held-out text
    kept: float  # bytes that the held-out tokens stand for / bytes of the text; 1 if nothing is lost or added
    seed: int
    bits_per_byte: float  # of what the held-out tokens stand for
    seconds: float  # of training and evaluation


@dataclass(frozen=True)
class Summary:
    """The trials of one tokenizer."""

    tokenizer: str
    vocab_size: int
    bytes_per_token: float
    kept: float
    bits_per_byte: float  # mean over seeds
    spread: float  # standard deviation over seeds; 0 of a single one
    seconds: float  # mean over seeds

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> "Summary":
        """Of trials that differ by their seeds alone."""
        one, bits = trials[0], [trial.bits_per_byte for trial in trials]
        return cls(
            one.tokenizer,
            one.vocab_size,
            one.bytes_per_token,
            one.kept,
            statistics.mean(bits),
            statistics.stdev(bits) if len(bits) > 1 else 0.0,
            statistics.mean(trial.seconds for trial in trials),
        )


def sample(folder: Path, max_bytes: float) -> list[str]:
    """At most `max_bytes` of a corpus split, but one document at least: those with the smallest hashes, in their order.

    So it is the same sample each time, and a larger one holds a smaller one. Memory holds the sample.
    """
    kept: list[tuple[int, int, str]] = []  # a heap: the largest hash first
    bytes_kept, below = 0, 2**64
    for place, text in enumerate(corpus.read_texts(folder)):
        rank = int.from_bytes(corpus.text_hash(text.encode())[8:])  # the first half decides the split: uneven here
        if rank >= below:
            continue
        heapq.heappush(kept, (-rank, place, text))
        bytes_kept += len(text.encode())
        while bytes_kept > max_bytes and len(kept) > 1:
            largest, _, dropped = heapq.heappop(kept)
            below, bytes_kept = -largest, bytes_kept - len(dropped.encode())
    if not bytes_kept:
        raise UserError(f"expected text in {folder}, got {len(kept):,} documents without any. Add text.")
    return [text for _, _, text in sorted(kept, key=lambda entry: entry[1])]


def size(texts: Iterable[str]) -> int:
    """UTF-8 bytes of texts."""
    return sum(len(text.encode()) for text in texts)


def trials(tokenizers: Sequence[Foreign], texts: Texts, values: Params, seeds: int, cache: Cache) -> Iterator[Trial]:
    """Train once for each tokenizer and seed (from 0) and yield what came of it; runs in `cache` are not repeated.

    Arguments:
        values: of the section `pretrain`, all holds that is about the model and its optimiser; `seq_len`, `steps` and
            `seed` are set here.

    Raises:
        UserError: a tokenizer makes nothing of the text, or there is too little text for `pretrain.warmup_steps`.
    """
    for tokenizer in tokenizers:
        course = Course(tokenizer, texts, values)
        for seed in range(seeds):
            key = action_key(course.identity, seed)
            found = cache.get(key)
            record: dict[str, float] = found.record if found else course.run(seed)
            if not found:
                cache.put(key, record, {})
            yield Trial(tokenizer.name, tokenizer.vocab_size, course.bytes_per_token, course.kept, seed, **record)


def body_parameters(values: Params) -> int:
    """Weights of the model without its embeddings: what all tokenizers share."""
    run = recipe.decided(values.pretrain)
    config = ModelConfig.of(run.model_copy(update={"affect_conditioning": False}), 1)
    state = jax.eval_shape(partial(initial_state, run, config, Compute()))
    model = state["model"]
    tables = 1 if config.tied_embeddings else 2
    return int(sum(leaf.size for leaf in jax.tree.leaves(model))) - tables * config.width


class Course:
    """The training runs of one tokenizer, which differ by their seeds alone.

    Arguments:
        tokenizer: whatever encodes.
        texts: what all tokenizers are judged on.
        values: params.yaml, see `trials`.

    Attributes:
        bytes_per_token, kept: as in `Trial`.
        identity: hash of everything that decides the results, but for the seed.
    """

    def __init__(self, tokenizer: Foreign, texts: Texts, values: Params) -> None:
        self.name = tokenizer.name
        boundary = self._boundary = tokenizer.vocab_size
        self._tokens = _stream(tokenizer, texts.train, boundary)
        evaluated = _stream(tokenizer, texts.held_out, boundary)
        self._byte_lengths = np.array([*map(len, tokenizer.pieces), 0], np.int32)
        train_bytes, held_out_bytes = (size(part) for part in (texts.train, texts.held_out))
        self._options = recipe.decided(equal_bytes(values, train_bytes, len(self._tokens)).pretrain)
        self._windows = _padded_windows(evaluated, self._options.seq_len, boundary)
        self._config = ModelConfig.of(self._options, boundary + 1)
        self._mesh = make_mesh(1, 1, jax.devices()[:1])
        self._layout = batch_layout(self._options, self._mesh, affect=False)
        self.bytes_per_token = held_out_bytes / int((evaluated != boundary).sum())
        self.kept = self._held_out.bytes / held_out_bytes
        self.identity = self._identity()

    def run(self, seed: int) -> dict[str, float]:
        """Train with the weights and order of `seed`; the fields of a `Trial` that it decides."""
        began = time.perf_counter()
        options = self._options.model_copy(update={"seed": seed})
        stream = Source("training", TokenStream([self._tokens]))
        batches = Batches([stream], options.batch_size, options.seq_len, options.seed)
        with jax.set_mesh(self._mesh):
            state = jax.jit(partial(initial_state, options, self._config, self._compute))()
            steps = train(state, self._step, batches, self._layout, 0, options.steps, remedy=REMEDY)
            for _ in console.track(steps, f"{self.name}, seed {seed}", total=options.steps):
                pass
            bits_per_byte, _ = self._held_out.bits_per_byte(state["model"])
        return {"bits_per_byte": bits_per_byte, "seconds": time.perf_counter() - began}

    @cached_property
    def _held_out(self) -> HeldOut:
        sources = ["held out"] * len(self._windows)
        return HeldOut(self._windows, sources, self._byte_lengths, self._layout.rows, self._document_start)

    @property
    def _document_start(self) -> int | None:
        return self._boundary if self._options.masks_documents else None

    @cached_property
    def _compute(self) -> Compute:
        return Compute.of(self._options, self._mesh.devices.flat[0].platform)

    @cached_property
    def _step(self) -> Any:  # noqa: ANN401 - a compiled Step
        """Compiled once: no seed is in it."""
        state = abstract(partial(initial_state, self._options, self._config, self._compute), self._mesh)
        with jax.set_mesh(self._mesh):
            return make_step(self._options, self._document_start).lower(state, self._layout.shapes()).compile()

    def _identity(self) -> str:
        arrays = (self._tokens, self._windows, self._byte_lengths)
        hashes = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
        options = self._options.model_dump(exclude=identity.PLACEMENT | identity.AFTERWARDS)
        code = code_key((*identity.CODE, evaluation, sys.modules[__name__]), LIBRARIES)
        return action_key("bits per byte", hashes, options, asdict(self._config), code)


def equal_bytes(values: Params, train_bytes: int, tokens: int) -> Params:
    """Options under which `tokens`, which stand for `train_bytes`, are seen once, in windows of equal bytes."""
    bytes_per_token = train_bytes / tokens
    seq_len = max(8, round(values.pretrain.seq_len * NOMINAL / bytes_per_token))
    batch_size = recipe.decided(values.pretrain).batch_size
    steps, warmup = max(1, round(tokens / (batch_size * seq_len))), values.pretrain.warmup_steps
    if warmup != "auto" and steps < warmup:
        raise UserError(
            f"expected text for pretrain.warmup_steps ({warmup}) steps at least, got {train_bytes:,} bytes, which are "
            f"{steps}. Raise --mb, or lower pretrain.warmup_steps."
        )
    run = {
        "seq_len": seq_len,
        "batch_size": batch_size,
        "steps": steps,
        "affect_conditioning": False,
        "source_weights": {},
        "seed": 0,
    }
    run |= {"from": None, "train_embeddings_first": 0, "skip": [], "token_budget": None, "evaluate": {}}
    # What `auto` makes of the length of a sequence must be one for all tokenizers.
    run |= {"rope_base": values.pretrain.rotary_base, "document_masks": values.pretrain.masks_documents}
    one_device = {"fsdp": 1, "tensor": 1}
    return whole_params.changed(values, {f"pretrain.{name}": value for name, value in (run | one_device).items()})


def _stream(tokenizer: Foreign, texts: Sequence[str], boundary: int) -> Ids:
    """The ids of documents, each after the id `boundary`."""
    parts: list[Any] = []
    for start in range(0, len(texts), BATCH):
        for ids in tokenizer.encode_batch(texts[start : start + BATCH]):
            parts += [np.array([boundary]), ids]
    stream = np.concatenate(parts).astype(np.uint32)
    if len(stream) == len(texts):
        raise UserError(f"{tokenizer.name}: expected tokens for {size(texts):,} bytes of text, got none")
    return stream


def _padded_windows(ids: Ids, seq_len: int, boundary: int) -> Windows:
    """All of `ids` in windows: the last one is filled with boundaries, which stand for no text and do not count."""
    number = -(-(len(ids) - 1) // seq_len)
    padded = np.full(number * seq_len + 1, boundary, np.uint32)
    padded[: len(ids)] = ids
    return TokenStream([padded]).windows(np.arange(number), seq_len)
