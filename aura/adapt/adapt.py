"""Adaptation from end to end: conversations and a pretrained model in; an adapter, a merged model and reports out.

`aura/training/loop.py` takes the steps, and this module gives it the task. The model that stays, the one that is
trained and the teacher lie on the mesh as in pretraining. At each evaluation the same held-out conversations and the
same held-out text of pretraining are measured: what was gained, and what was forgotten. The first one measures the
model as it was, too.
"""

import typing
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aura.adapt import samples
from aura.adapt.evaluation import HeldOutAnswers, OnAnswers, answered, exact_matches
from aura.adapt.exchanges import HINT, ExchangeBatches, Exchanges, Hint, Room
from aura.adapt.identity import data_of, run_identity
from aura.adapt.options import Adapt
from aura.adapt.packing import PackedBatches, PackingCounts, pack
from aura.adapt.step import (
    REMEDY,
    Answers,
    Rates,
    assembled,
    compute_of,
    first_trained,
    initial_state,
    learns_from_own,
    make_own_step,
    make_step,
    role_ids,
)
from aura.core import files
from aura.core.errors import UserError
from aura.core.terms import EMOTIONS
from aura.model import lora, weights
from aura.model.mesh import abstract, make_mesh, number_of_slices
from aura.model.model import LanguageModel, ModelConfig
from aura.tokenizer import opening
from aura.tokenizer.chat_encoding import end_id
from aura.tokenizer.opening import AnyTokenizer
from aura.tokens.conversation_shards import ConversationShards
from aura.tokens.token_shards import TokenShards
from aura.training import distributed, loop
from aura.training.batch_layout import Batch, BatchLayout, Machine, require_devices
from aura.training.compiled_programs import keep_compiled
from aura.training.documents import document_start
from aura.training.evaluation import HeldOut, evaluation_windows
from aura.training.flops import flops_per_token
from aura.training.history import Row
from aura.training.kept_memory import keep_memory
from aura.training.optimizer import make_schedule, rate_at
from aura.training.steps import State, Step
from aura.training.timings import Stopwatch, write_timings

MATCHED = 32  # held-out prompts that the model answers at the end, greedily, all in one batch


@dataclass(frozen=True)
class Inputs:
    """Folders and files that an adaptation reads.

    Attributes:
        conversations: data/conversations.
        model: models/lm.
        tokenizer: models/spm/spiece.model.
        tokens: data/tokens, of which the held-out part shows what is forgotten.
    """

    conversations: Path
    model: Path
    tokenizer: Path
    tokens: Path


@dataclass(frozen=True)
class Metrics:
    """Results of an adaptation: reports/adapt/metrics.json. Losses and divergences are nats per learnt token."""

    trained_parameters: int
    loss: float  # of the last step
    response_loss: float  # on held-out answers, after the last step
    response_loss_before: float  # of the model that was adapted
    response_loss_fall: float  # share of it
    start_divergence: float  # KL(adapted ‖ start) on held-out answers
    exact_match: float  # share of held-out prompts that are answered with the very reference
    bits_per_byte: float  # on the held-out text of pretraining
    bits_per_byte_before: float
    forgetting: float  # its rise, as a share
    learnt_tokens: int  # in the windows of the training part
    held_out_learnt_tokens: int
    packing: dict[str, float]  # what of the training conversations got into windows, and why others did not
    held_out_packing: dict[str, float]  # the same of the held-out ones
    held_out_prompts: dict[str, int]  # of these: that can be answered, and those that are too long for it
    own_prompts: dict[str, int]  # of `packing`, the same for own answers; empty without them


@dataclass(frozen=True)
class Adapted:
    """An adapted model, on its devices.

    Attributes:
        base: the model as it was.
        trained: the adapter, or with rank 0 the whole model.
        metrics: what it achieved.
    """

    base: LanguageModel
    trained: Any
    metrics: Metrics


def adapt(
    inputs: Inputs,
    reports: Path,
    options: Adapt,
    machine: Machine,
    write: Callable[[Adapted], None],
    profile: Path | None = None,
) -> Metrics:
    """Adapt a model to conversations; write metrics, plots and samples to `reports`.

    Arguments:
        inputs: what is read.
        reports: the folder of reports.
        options: section adapt of params.yaml.
        machine: section pretrain, for precision, mesh, accumulation and checkpoints.
        write: writes the model; every process calls it.
        profile: if given, a trace of a few steps is written there, for TensorBoard or XProf.

    Raises:
        UserError: an input is incomplete, altered or another tokenizer's, the loss diverged, or a checkpoint cannot
            be read or written.
    """
    watch = Stopwatch()
    keep_compiled()
    keep_memory()
    task = Adaptation(inputs, options, machine)
    trained = loop.run(task, reports, watch, profile)
    metrics: Metrics = trained.results
    state = trained.state
    del state["optimizer"]
    state.pop("teacher", None)  # its memory is free for what saving needs
    write(Adapted(task.base, state["trained"], metrics))
    if distributed.is_first():
        files.write_bytes(reports / "samples.txt", task.samples.encode())
        watch.lap("sample_and_save")
        tokens = trained.steps_timed * options.batch_size * task.seq_len
        write_timings(reports / "timings.json", watch, trained.attempts, tokens, task.flops_per_token)
    return metrics


def read_metrics(reports: Path) -> Metrics:
    """Return the results of an adaptation that wrote its reports there.

    Raises:
        UserError: metrics.json is missing or damaged.
    """
    groups = {"packing": float, "held_out_packing": float, "held_out_prompts": int, "own_prompts": int}
    shape = typing.get_type_hints(Metrics) | {name: {str: kind} for name, kind in groups.items()}
    told = files.read_object(reports / "metrics.json", "dvc repro adapt", **shape)
    return Metrics(**{name: told[name] for name in shape})


def require_kept(metrics: Metrics, options: Adapt) -> None:
    """Refuse a model that forgot more than `adapt.max_forgetting` allows.

    Raises:
        UserError: it says by how much, and what to do.
    """
    limit = options.max_forgetting
    if limit is not None and metrics.forgetting > limit:
        raise UserError(
            f"adapt.max_forgetting: expected bits per byte of the pretraining text to rise by at most {limit:.1%}, got "
            f"{metrics.forgetting:.1%} ({metrics.bits_per_byte_before:.3f} before, {metrics.bits_per_byte:.3f} after). "
            "Lower adapt.learning_rate, adapt.steps or adapt.rank, or raise adapt.teacher_weight; or raise the limit. "
            "Then run: dvc repro adapt"
        )


class Adaptation:
    """A run's fixed parts, and what it measured: a `loop.Task`.

    Arguments:
        inputs: what is read.
        options: section adapt of params.yaml.
        machine: section pretrain.

    Attributes:
        base: the model that stays, on the mesh.
        seq_len: inputs of a window, those of pretraining.
        samples: prompts, references and answers, as text; after `results`.
    """

    activity = "adapting"
    remedy = REMEDY

    def __init__(self, inputs: Inputs, options: Adapt, machine: Machine) -> None:
        self.options, self._tokenizer = options, opening.load(inputs.tokenizer)
        self._record = _record_of(inputs.model, self._tokenizer)
        self.seq_len, self.config = self._record["seq_len"], ModelConfig(**self._record["model"])
        devices = jax.devices()
        slices = number_of_slices(devices)
        vocabulary = self._tokenizer.vocab_size
        require_devices(machine, options.batch_size, vocabulary, (len(devices) // slices, slices), "adapt")
        self.mesh = make_mesh(machine.fsdp, machine.tensor)
        self._compute = compute_of(machine, self.seq_len, self.mesh.devices.flat[0].platform)
        self.base = weights.load_on(inputs.model, self.mesh, self._compute)
        self._tokens = role_ids(self._tokenizer)

        conversations = ConversationShards(inputs.conversations, self._tokenizer.encoding_sha256)
        training, held_out = conversations.split("train"), conversations.split("held_out")
        if not len(held_out):
            raise UserError(
                f"expected held-out conversations in {inputs.conversations}, got none. Raise conversations.held_out, "
                "or add conversations."
            )
        packed, measured = pack(training, self.seq_len, options.seed), pack(held_out, self.seq_len, 0, "held-out")
        self._counts: PackingCounts = packed.counts
        self._hint = Hint(*(np.array(self._tokenizer.encode(text), np.int32) for text in HINT))
        self._exchanges = Exchanges(held_out, measured, Room.half(self.seq_len))
        self._own: Exchanges | None = None
        self._held_out_counts: PackingCounts = measured.counts
        windows = PackedBatches(packed, options.batch_size, options.seed, affect=self.config.affect)
        self.batches, arrays = _Batches(options, windows, None), window_arrays(self.config, self.seq_len)
        if options.teach == "own":
            self._own = prompts = Exchanges(training, packed, Room.hinted(self.seq_len, self._hint))
            if not len(prompts):
                raise UserError(
                    f"adapt.teach: own: expected an answer of at most {prompts.room.answer} tokens, and of "
                    f"{prompts.room.both} with its prompt, got none in {inputs.conversations}. Raise pretrain.seq_len, "
                    "or set adapt.teach: reference"
                )
            own = ExchangeBatches(prompts, self._hint, options.batch_size, options.seed)
            self.batches = _Batches(options, windows, own)
            arrays |= exchange_arrays(prompts.room.prompt, prompts.hinted_tokens(self._hint))
        self.layout = BatchLayout(self.mesh, options.batch_size, machine.accumulation, arrays, "adapt")

        self.identity = run_identity(options, machine, data_of(inputs.model, conversations))
        self._rate = make_schedule(Rates.of(options))
        rows = self.layout.rows
        self._answers = HeldOutAnswers(measured, self.seq_len, machine.eval_tokens, rows)
        masks = self._record.get("document_masks") is True
        self._text = _held_out_text(
            inputs.tokens, self._tokenizer, self.seq_len, machine.eval_tokens, rows, masks=masks
        )
        self._new_state = partial(initial_state, options, self._tokens)
        self._number, self._before = 0, dict[str, float]()
        self._measured: dict[str, float] = {}
        self.samples = ""

    @property
    def flops_per_token(self) -> float:
        """Those of `adapt_flops_per_token`."""
        return adapt_flops_per_token(self.options, self.config, self.seq_len)

    def abstract_state(self) -> State:
        """Shapes and places of what is trained."""
        state: State = abstract(lambda: self._new_state(LanguageModel(self.config, 0, self._compute)), self.mesh)
        return state

    def first_state(self) -> State:
        """An adapter that changes nothing, or a copy of the model."""
        with jax.set_mesh(self.mesh):
            state: State = jax.jit(self._new_state)(self.base)
            return state

    def compiled_step(self, state: State) -> Step:
        """The step, compiled; with `adapt.teach: own`, every `own_every`-th one is the other program."""
        shapes = self.layout.shapes()
        reference = make_step(self.options).lower(state, shapes, self.base).compile()
        own = reference
        if self._own:
            answers = Answers(self._own.room.answer, end_id(self._tokenizer))
            own = make_own_step(self.options, answers).lower(state, shapes, self.base).compile()

        def run_step(state: State, batch: dict[str, Any]) -> tuple[State, dict[str, jax.Array]]:
            program = own if learns_from_own(self.options, self._number) else reference
            moved: tuple[State, dict[str, jax.Array]] = program(state, batch, self.base)
            return moved

        return run_step

    def before(self, number: int, state: State) -> None:  # noqa: ARG002
        """Note the number of the step, which decides what it learns from."""
        self._number = number

    def measurements(self, step: int, outcome: dict[str, float]) -> dict[str, float]:
        """Loss, divergence from the teacher and norm of the gradient before the step, and its learning rate."""
        return {**outcome, "learning_rate": rate_at(self._rate, step - 1)}

    def is_over(self, outcome: dict[str, float]) -> bool:  # noqa: ARG002
        """Never: every step is taken."""
        return False

    def evaluates(self, step: int) -> bool:
        """Every `adapt.eval_every` steps."""
        return step % self.options.eval_every == 0

    def evaluate(self, step: int, state: State, interrupted: Callable[[], bool]) -> dict[str, float] | None:  # noqa: ARG002
        """Loss on held-out answers, the divergence from the start on them, and bits per byte of pretraining's text."""
        if not self._before:
            start = partial(first_trained, self.options, self._tokens)
            unchanged = jax.jit(start)(self.base) if self.options.rank else self.base
            before = self._measure(unchanged, interrupted)
            if before is None:
                return None
            self._before = before
        measured = self._measure(state["trained"], interrupted)
        if measured is not None:
            self._measured = measured
        return measured

    def _measure(self, trained: Any, interrupted: Callable[[], bool]) -> dict[str, float] | None:  # noqa: ANN401 - Weights
        model = assembled(self.base, trained)
        on_answers: OnAnswers | None = self._answers.measure(model, self.base, interrupted)
        text = self._text.measure(model, interrupted) if on_answers else None
        if on_answers is None or text is None:
            return None
        return {
            "response_loss": on_answers.loss,
            "start_divergence": on_answers.divergence,
            "bits_per_byte": text[0],
        }

    def progress(self, outcome: dict[str, float], steps_a_second: float) -> str:
        """Loss, held-out response loss and speed."""
        tokens = steps_a_second * self.options.batch_size * self.seq_len
        held_out = f", held out {self._measured['response_loss']:.3f}" if self._measured else ""
        return f"loss {outcome['loss']:.3f}{held_out}, {tokens:,.0f} tokens a second"

    def results(self, state: State, last: Row) -> Metrics:
        """The results of the run; the model answers held-out prompts for them."""
        before, after = self._before, self._measured
        matched = self._answer(state["trained"])
        return Metrics(
            trained_parameters=sum(leaf.size for leaf in jax.tree.leaves(state["trained"])),
            loss=last.values["loss"],
            response_loss=after["response_loss"],
            response_loss_before=before["response_loss"],
            response_loss_fall=1 - after["response_loss"] / before["response_loss"],
            start_divergence=after["start_divergence"],
            exact_match=matched,
            bits_per_byte=after["bits_per_byte"],
            bits_per_byte_before=before["bits_per_byte"],
            forgetting=after["bits_per_byte"] / before["bits_per_byte"] - 1,
            learnt_tokens=self._counts.learnt_tokens,
            held_out_learnt_tokens=self._answers.learnt_tokens,
            packing=asdict(self._counts),
            held_out_packing=asdict(self._held_out_counts),
            held_out_prompts=_found(self._exchanges),
            own_prompts=_found(self._own) if self._own else {},
        )

    def _answer(self, trained: Any) -> float:  # noqa: ANN401 - Weights
        """Answer held-out prompts, for the samples and the share of exact matches."""
        numbers = self._exchanges.spread(MATCHED)
        if not len(numbers):
            self.samples = "No held-out conversation has a prompt and an answer that are short enough.\n"
            return 0.0
        with jax.set_mesh(self.mesh):
            model = merged(self.base, trained)
        model = weights.plain(self.config, model)
        holders = self.mesh.shape["data"] * self.mesh.shape["fsdp"]
        rows = -(-len(numbers) // holders) * holders
        with jax.set_mesh(self.mesh) if self.mesh.size > 1 else nullcontext():
            answers = answered(model, self._exchanges, numbers, rows, end_id(self._tokenizer))
        references = self._exchanges.answers(numbers)
        self.samples = samples.text(self._tokenizer, self._exchanges, numbers, answers)
        return exact_matches(answers, references)


def _found(exchanges: Exchanges) -> dict[str, int]:
    return {"used": len(exchanges), "too_long": exchanges.left_out}


def merged(base: LanguageModel, trained: Any) -> LanguageModel:  # noqa: ANN401 - Weights
    """Return the adapted model with the adapter in its weights; called with the mesh in force."""
    if not isinstance(trained, lora.Adapter):
        model: LanguageModel = trained
        return model
    whole: LanguageModel = jax.jit(lora.merged)(base, trained)
    return whole


class _Batches:
    """Windows, and with `adapt.teach: own` prompts beside them."""

    def __init__(self, options: Adapt, windows: PackedBatches, own: ExchangeBatches | None) -> None:
        self._options, self._windows, self._own = options, windows, own

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        return self._windows.batch(step, rows) | (self._own.batch(step, rows) if self._own else {})

    def describe(self, step: int) -> str:
        if self._own and learns_from_own(self._options, step):
            return self._own.describe(step)
        return self._windows.describe(step)


def adapt_flops_per_token(options: Adapt, config: ModelConfig, seq_len: int) -> float:
    """Of the student's passes and the teacher's. With an adapter no gradient of the base's weights is computed."""
    passes = (2 if options.rank else 3) + options.has_teacher
    return flops_per_token(config, seq_len) * passes / 3


def window_arrays(config: ModelConfig, seq_len: int) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
    """The arrays of a window, as `BatchLayout` has them."""
    arrays: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "tokens": ((seq_len + 1,), np.int32),
        "segments": ((seq_len + 1,), np.int32),
        "learnt": ((seq_len + 1,), np.bool_),
    }
    return arrays | ({"affect": ((seq_len, len(EMOTIONS)), np.float32)} if config.affect else {})


def exchange_arrays(prompt_tokens: int, hinted_tokens: int) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
    """The arrays of a prompt that the model answers by itself."""
    return {
        "prompts": ((prompt_tokens,), np.int32),
        "prompt_lengths": ((), np.int32),
        "hinted": ((hinted_tokens,), np.int32),
        "hinted_lengths": ((), np.int32),
    }


def _record_of(folder: Path, tokenizer: AnyTokenizer) -> dict[str, Any]:
    """The model's config.json, after a comparison of its tokenizer."""
    record = weights.config(folder, tokenizer=str, seq_len=int)
    if record["tokenizer"] != tokenizer.encoding_sha256:
        raise UserError(
            f"{folder} was trained on the tokenizer {record['tokenizer'][:16]}…, but the one at hand is "
            f"{tokenizer.encoding_sha256[:16]}…. Train on it: {weights.MADE_BY}"
        )
    return record


def _held_out_text(
    folder: Path, tokenizer: AnyTokenizer, seq_len: int, tokens: int, rows: int, *, masks: bool
) -> HeldOut:
    """The text that pretraining measured, with `masks` of documents if it had them."""
    shards = TokenShards(folder, tokenizer.encoding_sha256)
    streams = {source: shards.stream("held_out", source) for source in shards.sources("held_out")}
    windows, sources = evaluation_windows(streams, seq_len, tokens)
    start = document_start(shards, tokenizer, masks=masks)
    return HeldOut(windows, sources, tokenizer.byte_lengths, rows, start)
