"""Pretraining from end to end: token shards in; weights, metrics, plots and samples out.

Results and timings go to different files: results are the same bytes each time on one machine, timings never.
`aura/training/loop.py` takes the steps. The model is never whole on a device or a host.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from aura.core import console, files
from aura.evaluation.sets import EvaluationSets
from aura.hugging_face.base import Base, open_base, require_mesh
from aura.model import weights
from aura.model.mesh import abstract, make_mesh, number_of_slices
from aura.model.model import Compute, ModelConfig
from aura.pretrain.identity import DECIDED_BY_BASE, run_identity
from aura.pretrain.options import Pretrain
from aura.pretrain.samples import sample_text
from aura.pretrain.step.batches import Batches, Source
from aura.pretrain.step.training import REMEDY, batch_layout, initial_state, make_step
from aura.tokenizer import opening
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.reader import Reader
from aura.tokenizer.scripts import dominant_script
from aura.tokens.token_shards import TokenShards
from aura.training import distributed, loop, spikes
from aura.training.batch_layout import require_devices
from aura.training.compiled_programs import keep_compiled
from aura.training.documents import document_start
from aura.training.evaluation import HeldOut, evaluation_windows
from aura.training.flops import flops_per_token
from aura.training.history import Row
from aura.training.kept_memory import keep_memory
from aura.training.optimizer import make_schedule, rate_at
from aura.training.run_identity import RunIdentity
from aura.training.steps import State, Step
from aura.training.timings import Stopwatch, write_timings


@dataclass(frozen=True)
class Metrics:
    """Results of a run: reports/pretrain/metrics.json."""

    parameters: int
    tokens: int  # seen in training
    skipped_steps: int  # of which the batch was a spike, and made no update
    loss: float  # of the last step that was not skipped, nats per token
    bits_per_byte: float  # held out
    bits_per_byte_by_source: dict[str, float]
    bits_per_byte_by_script: dict[str, float]  # that most letters of a window are in: nothing tells its language
    context_free_bits_per_byte: float  # of the best context-free model on the same text
    improvement: float  # share of the context-free bits that the model saves
    evaluations: dict[str, dict[str, Any]]  # by the names of the sets: what `EvaluationSet.told` says of each


def pretrain(
    tokens: Path, tokenizer_file: Path, output: Path, reports: Path, options: Pretrain, profile: Path | None = None
) -> Metrics:
    """Train on `tokens`, made by `tokenizer_file`; write the model to `output` and what it achieved to `reports`.

    With `profile`, a trace of a few steps is written there, for TensorBoard or XProf.

    Raises:
        UserError: the tokens are incomplete, altered, another tokenizer's or too few, the loss diverged, or a
            checkpoint cannot be read or written.
    """
    return pretrain_as(tokens, tokenizer_file, output, reports, options, profile)[0]


def pretrain_as(
    tokens: Path, tokenizer_file: Path, output: Path, reports: Path, options: Pretrain, profile: Path | None = None
) -> tuple[Metrics, RunIdentity]:
    """`pretrain`; returns also the identity of the run, under which its checkpoints lie."""
    watch = Stopwatch()
    keep_compiled()
    keep_memory()
    tokenizer = opening.load(tokenizer_file)
    shards = TokenShards(tokens, tokenizer.encoding_sha256)
    shards.verify()
    base = opened_base(options, tokenizer, tokenizer_file.parent)
    task = Pretraining(shards, tokenizer, options, base)
    trained = loop.run(task, reports, watch, profile)
    metrics: Metrics = trained.results
    del trained.state["optimizer"]  # its memory is free for what samples and saving need
    model = weights.plain(task.config, trained.state["model"])
    with jax.set_mesh(task.mesh) if task.mesh.size > 1 else nullcontext():
        samples = sample_text(model, shards, tokenizer, options)
    origin: dict[str, Any] = {
        "seq_len": options.seq_len,
        "tokenizer": tokenizer.encoding_sha256,
        "tokens": shards.sha256,
    }
    origin |= {"waived_gates": shards.waived_gates} if shards.waived_gates else {}
    origin |= {"base": base.record} if base else {}
    origin |= {"document_masks": True} if options.masks_documents else {}
    origin |= {} if shards.add_bos else {"add_bos": False}
    weights.save(output, model, origin, writes=distributed.is_first())
    if distributed.is_first():
        files.write_bytes(reports / "samples.txt", samples.encode())
        watch.lap("sample_and_save")
        tokens_timed = trained.steps_timed * options.batch_size * options.seq_len
        flops = flops_per_token(task.config, options.seq_len)
        write_timings(reports / "timings.json", watch, trained.attempts, tokens_timed, flops)
    return metrics, task.identity


def opened_base(options: Pretrain, tokenizer: AnyTokenizer, tokenizer_folder: Path) -> Base | None:
    """Open the weights that the run begins from, and tell what they decide; None for a run that begins from nothing."""
    if options.base is None:
        return None
    base = open_base(options.base, tokenizer, tokenizer_folder, affect=options.affect_conditioning)
    require_mesh(base.config, options.fsdp, options.tensor)
    if distributed.is_first():
        names = [f"pretrain.{name}" for name in DECIDED_BY_BASE]
        decided = f"the base decides the shape; {', '.join(names[:-1])} and {names[-1]} are not used"
        for note in (decided, *base.notes):
            console.err.print(f"note: {note}", markup=False)
    return base


class Pretraining:
    """A run's fixed parts, and what it measured last: a `loop.Task`.

    Arguments:
        shards: the tokens.
        tokenizer: the one that made them.
        options: section pretrain of params.yaml.
        base: the weights to begin from; None to begin from nothing.
    """

    activity = "pretraining"
    remedy = REMEDY

    def __init__(
        self, shards: TokenShards, tokenizer: AnyTokenizer, options: Pretrain, base: Base | None = None
    ) -> None:
        self.options, self._base = options, base
        self.config = base.config if base else ModelConfig.of(options, tokenizer.vocab_size)
        devices = jax.devices()
        slices = number_of_slices(devices)
        require_devices(options, options.batch_size, tokenizer.vocab_size, (len(devices) // slices, slices))
        self.mesh = make_mesh(options.fsdp, options.tensor)
        self.layout = batch_layout(options, self.mesh, affect=options.affect_conditioning)
        training = training_sources(shards, options)
        self.batches = Batches(training, options.batch_size, options.seq_len, options.seed, options.skip)
        streams = {source: shards.stream("held_out", source) for source in shards.sources("held_out")}
        windows, sources = evaluation_windows(streams, options.seq_len, options.eval_tokens)
        self._document_start = document_start(shards, tokenizer, masks=options.masks_documents)
        self.held_out = HeldOut(windows, sources, tokenizer.byte_lengths, self.layout.rows, self._document_start)
        self._windows, self._sources, self._tokenizer = windows, sources, tokenizer
        rows, tokens = self.layout.rows, options.eval_tokens
        reader = Reader.of(tokenizer, options.seq_len, add_bos=shards.add_bos)
        self.sets = EvaluationSets(options.evaluate, reader, rows, tokens)
        self.identity = run_identity(options, shards.sha256, base.decides if base else None, self.sets.plots)
        self._rate = make_schedule(options)
        self._bits_of_window: npt.NDArray[np.float64] | None = None  # held out, after the last evaluated step
        compute = Compute.of(options, self.mesh.devices.flat[0].platform)
        self._new_state = partial(initial_state, options, self.config, compute)

    def abstract_state(self) -> State:
        """Shapes and places of weights and optimiser."""
        state: State = abstract(self._new_state, self.mesh)
        return state

    def first_state(self) -> State:
        """A new model or the base's, and an optimiser that has seen nothing."""
        with jax.set_mesh(self.mesh):
            if self._base is None:
                state: State = jax.jit(self._new_state)()
                return state
            others = jax.jit(lambda: {name: part for name, part in self._new_state().items() if name != "model"})()
        return {"model": self._base.model(self.abstract_state()["model"]), **others}

    def compiled_step(self, state: State) -> Step:
        """The step, compiled."""
        step: Step = make_step(self.options, self._document_start).lower(state, self.layout.shapes()).compile()
        return step

    def before(self, number: int, state: State) -> None:
        """Do nothing: a step depends on its number and the state alone."""

    def measurements(self, step: int, outcome: dict[str, float]) -> dict[str, float]:
        """Loss and norm of the gradient before the step, its learning rate, and 1 if it was skipped as a spike."""
        updates = step - 1 - round(outcome["skipped_steps"] - outcome["skipped"])
        return {
            "loss": outcome["loss"],
            "gradient_norm": outcome["gradient_norm"],
            "learning_rate": rate_at(self._rate, updates),
            "skipped": outcome["skipped"],
        }

    def is_over(self, outcome: dict[str, float]) -> bool:  # noqa: ARG002
        """Never: every step is taken."""
        return False

    def evaluates(self, step: int) -> bool:
        """Every `pretrain.eval_every` steps."""
        return step % self.options.eval_every == 0

    def evaluate(self, step: int, state: State, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """Held-out bits per byte and the evaluation sets, which are measured whole after the last step."""
        bits_of_window = self.held_out.measure_windows(state["model"], interrupted)
        if bits_of_window is None:
            return None
        of_sets = self.sets.measure(state["model"], interrupted, whole=step == self.options.steps)
        if of_sets is None:
            return None
        self._bits_of_window = bits_of_window
        return {"bits_per_byte": self._bits_per_byte(bits_of_window), **of_sets}

    def _bits_per_byte(self, bits_of_window: npt.NDArray[np.float64]) -> float:
        return float(bits_of_window.sum() / self.held_out.bytes)

    def progress(self, outcome: dict[str, float], steps_a_second: float) -> str:
        """Loss, held-out bits per byte and speed."""
        tokens = steps_a_second * self.options.batch_size * self.options.seq_len
        bits = self._bits_of_window
        held_out = "" if bits is None else f", held out {self._bits_per_byte(bits):.3f} bits per byte"
        return f"loss {outcome['loss']:.3f}{held_out}, {tokens:,.0f} tokens a second"

    def results(self, state: State, last: Row) -> Metrics:  # noqa: ARG002
        """The results of the run."""
        bits, baseline = self._bits_of_window, self.held_out.context_free_bits_per_byte
        assert bits is not None  # noqa: S101 - the last step is always evaluated
        bits_per_byte = self._bits_per_byte(bits)
        scripts = [dominant_script(self._tokenizer.decode(window)) for window in self._windows[:, 1:]]
        return Metrics(
            parameters=sum(leaf.size for leaf in jax.tree.leaves(state["model"])),
            tokens=self.options.steps * self.options.batch_size * self.options.seq_len,
            skipped_steps=int(state["spikes"]["skipped"]),
            loss=spikes.last_kept_loss(state["spikes"]),
            bits_per_byte=bits_per_byte,
            bits_per_byte_by_source=self.held_out.by_group(bits, self._sources),
            bits_per_byte_by_script=self.held_out.by_group(bits, scripts),
            context_free_bits_per_byte=baseline,
            improvement=1 - bits_per_byte / baseline,
            evaluations=self.sets.told,
        )


def training_sources(shards: TokenShards, options: Pretrain) -> list[Source]:
    """All training tokens as one source; with `source_weights`, each source by itself."""
    names: list[str | None] = [None] if not options.source_weights else [*shards.sources("train")]
    return [
        Source(
            name=name or "training",
            tokens=shards.stream("train", name),
            weight=options.source_weights.get(name, 1.0) if name else 1.0,
            affect=shards.affect("train", name) if options.affect_conditioning else None,
            documents=partial(shards.documents_at, "train", name),
        )
        for name in names
    ]
