"""Pretraining from end to end: token shards in; weights, metrics, plots and samples out.

Results and timings go to different files: results are the same bytes each time on one machine, timings never.
A killed run goes on from its last checkpoint to the same bytes, and its plots from the history beside it.
In a run of several processes all compute, and the first one writes. The model is never whole on a device or a host.
"""

import platform
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import jax
from dvclive import Live

from aura.core import console, files, keys
from aura.core.errors import UserError
from aura.model import weights
from aura.model.mesh import abstract, make_mesh, number_of_slices
from aura.model.model import Compute, ModelConfig
from aura.pretrain import distributed
from aura.pretrain.history import History, Plots, Row
from aura.pretrain.options import Pretrain
from aura.pretrain.sampling import sample_text
from aura.pretrain.step.batches import Batches, Source, evaluation_windows
from aura.pretrain.step.checkpoints import Checkpoints
from aura.pretrain.step.evaluation import HeldOut
from aura.pretrain.step.optimizer import make_schedule
from aura.pretrain.step.training import BatchLayout, State, initial_state, make_step, require_devices, train
from aura.pretrain.termination import Termination
from aura.pretrain.timings import Attempts, Stopwatch, write_timings
from aura.tokenizer.tokenizer import Tokenizer
from aura.tokens.token_shards import TokenShards

COMPILED, COMPILED_BYTES = Path(".aura/compiled"), 1_000_000_000  # where XLA's programs are kept, and how much of them
PROFILED = range(5, 10)  # steps of an attempt that a trace covers: after compilation, and few, for they fill 100 MB


@dataclass(frozen=True)
class Metrics:
    """Results of a run: reports/pretrain/metrics.json."""

    parameters: int
    tokens: int  # seen in training
    loss: float  # of the last step, nats per token
    bits_per_byte: float  # held out
    bits_per_byte_by_source: dict[str, float]
    context_free_bits_per_byte: float  # of the best context-free model on the same text
    improvement: float  # share of the context-free bits that the model saves


@dataclass(frozen=True)
class Evaluation:
    """Held-out bits per byte after `step` steps, of all text and by source."""

    step: int
    bits_per_byte: float
    by_source: dict[str, float]


def pretrain(
    tokens: Path, tokenizer_file: Path, output: Path, reports: Path, options: Pretrain, profile: Path | None = None
) -> Metrics:
    """Train on `tokens`, made by `tokenizer_file`; write the model to `output` and what it achieved to `reports`.

    With `profile`, a trace of a few steps is written there, for TensorBoard or XProf.

    Raises:
        UserError: the tokens are incomplete, altered, another tokenizer's or too few, the loss diverged, or a
            checkpoint cannot be read or written.
    """
    watch = Stopwatch()
    keep_compiled()
    tokenizer = Tokenizer.load(tokenizer_file)
    shards = TokenShards(tokens, tokenizer.encoding_sha256)
    shards.verify()
    run = TrainingRun(shards, tokenizer, options)
    watch.lap("prepare")
    with ExitStack() as stack:
        stack.callback(run.checkpoints.unlock)
        termination = stack.enter_context(Termination(run.checkpoints.unlock))
        run.begin()
        watch.lap("initialise")
        # By default DVCLive edits dvc.yaml.
        live = Live(str(reports), dvcyaml=None, save_dvc_exp=False, report=None) if distributed.is_first() else None
        if live:
            stack.enter_context(live)
        first = run.history.step
        attempts = Attempts(run.checkpoints.folder if run.checkpoints.worthwhile else None, first, watch.began)
        run.loop(Plots(live), attempts, watch, termination, profile)
        metrics = run.metrics()
        if live:
            live.summary = asdict(metrics)  # what `with` writes to metrics.json, beside the step
    del run.state["optimizer"]  # its memory is free for what samples and saving need
    model = weights.plain(run.config, run.state["model"])
    with jax.set_mesh(run.mesh) if run.mesh.size > 1 else nullcontext():
        samples = sample_text(model, shards, tokenizer, options)
    origin = {"seq_len": options.seq_len, "tokenizer": tokenizer.encoding_sha256, "tokens": shards.sha256}
    weights.save(output, model, origin, writes=distributed.is_first())
    if distributed.is_first():
        files.write_bytes(reports / "samples.txt", samples.encode())
        watch.lap("sample_and_save")
        steps_timed = max(0, options.steps - first - 1)
        write_timings(reports / "timings.json", watch, attempts, options, run.config, steps_timed)
    return metrics


def keep_compiled() -> None:
    """Have JAX keep compiled programs between runs, unless JAX_COMPILATION_CACHE_DIR says where, or not to.

    Its key is the program with its options, the versions and the devices; a folder is for processors that know the
    same instructions. An entry that a kill cut short lacks the time of its last use, which JAX writes after it; it is
    removed here, for JAX would compile its program again at each start and never replace it.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    folder = COMPILED.absolute() / _processor()
    for entry in folder.glob("*-cache"):
        if not entry.with_name(f"{entry.name.removesuffix('-cache')}-atime").exists():
            entry.unlink(missing_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)


def _processor() -> str:
    """A hash of what the processor can do, as Linux tells it; elsewhere of the kind of machine."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return keys.action_key(platform.machine(), features)


class TrainingRun:
    """A run's fixed parts, its state on the devices, and what it has measured so far.

    Arguments:
        shards: the tokens.
        tokenizer: the one that made them.
        options: section pretrain of params.yaml.
    """

    def __init__(self, shards: TokenShards, tokenizer: Tokenizer, options: Pretrain) -> None:
        self.options = options
        self.config = ModelConfig.of(options, tokenizer.vocab_size)
        devices = jax.devices()
        slices = number_of_slices(devices)
        require_devices(options, tokenizer.vocab_size, len(devices) // slices, slices)
        self.mesh = make_mesh(options.fsdp, options.tensor)
        self.layout = BatchLayout(options, self.mesh, affect=options.affect_conditioning)
        self.batches = Batches(training_sources(shards, options), options.batch_size, options.seq_len, options.seed)
        streams = {source: shards.stream("held_out", source) for source in shards.sources("held_out")}
        windows, sources = evaluation_windows(streams, options.seq_len, options.eval_tokens)
        self.held_out = HeldOut(windows, sources, tokenizer.byte_lengths, self.layout.rows)
        self.checkpoints = Checkpoints(options, shards.sha256)
        self.history, self.past_in = History(self.checkpoints.folder), self.checkpoints.folder
        self.rate = make_schedule(options)
        self.evaluation: Evaluation | None = None  # of the last step that was evaluated
        self.state: State = {}

    def begin(self) -> None:
        """Fill `state` and `history`: from a checkpoint of this very run, or anew."""
        compute = Compute.of(self.options, self.mesh.devices.flat[0].platform)
        new_state = partial(initial_state, self.options, self.config, compute)
        restored = self.checkpoints.restore(abstract(new_state, self.mesh))
        if restored is None:
            with jax.set_mesh(self.mesh):
                self.state = jax.jit(new_state)()
            return
        self.state, self.past_in = restored.state, restored.folder
        self.history.go_on(restored.step, restored.folder, restored.row)
        if distributed.is_first():
            console.err.print(f"going on after step {restored.step:,}, from {restored.folder}", markup=False)

    def loop(
        self, plots: Plots, attempts: Attempts, watch: Stopwatch, termination: Termination, profile: Path | None
    ) -> None:
        """Take the steps that are left; evaluate, save and report in between. SIGTERM ends it with a checkpoint."""
        first, last = self.history.step, self.options.steps
        if distributed.is_first():
            console.err.print("pretraining: compiles a step")
        with jax.set_mesh(self.mesh):
            run_step = make_step(self.options).lower(self.state, self.layout.shapes()).compile()
        distributed.meet("compiled")
        watch.lap("compile")
        outcomes = train(self.state, run_step, self.batches, self.layout, first, last)
        if distributed.is_first():
            outcomes = console.track(outcomes, "pretraining", total=last - first, told=self._told)
        if profile:
            outcomes = _profiled(outcomes, profile)
        with jax.set_mesh(self.mesh):
            self._catch_up(plots, termination, watch)
            with termination.steps():
                for step, outcome in enumerate(outcomes, start=first + 1):
                    watch.lap("first_step" if step == first + 1 else "train")
                    self._record(step, outcome, termination, watch)
                    plots.write(self._last_row)
                    self.checkpoints.check()
                    if distributed.is_first():
                        attempts.reached(step, watch.seconds["first_step"] + watch.seconds["train"])
                    ends = termination.due(step)
                    self._save(due=ends or self.checkpoints.due(step))
                    if ends:
                        self.checkpoints.close()
                        termination.end(f"step {step:,} of {last:,} is saved. Run the same command again to go on.")
                    watch.lap("log_and_save")
                self.checkpoints.close()
        watch.lap("log_and_save")
        if termination.asked:  # since the last step
            termination.end(f"step {last:,} of {last:,} is saved. Run the same command again to go on.")

    def _catch_up(self, plots: Plots, termination: Termination, watch: Stopwatch) -> None:
        """Plot the steps before a resumption; evaluate after the last one if that is still due, or ends the run."""
        row, step = self.history.last, self.history.step
        if step == 0:
            return
        if row is None and step == self.options.steps:
            raise UserError(
                f"{self.past_in}: the loss of step {step} is lost, in its record and in its history. "
                f"Remove {self.past_in}/{step}, and the run goes on from the checkpoint before it."
            )
        if row and (step == self.options.steps or (row.bits_per_byte is None and self._evaluates(step))):
            row = replace(row, bits_per_byte=self._evaluate(step, termination, watch))
            self.history.add(row)
        if not distributed.is_first():
            return
        copied = plots.copy(self.history.past(self.past_in))
        if row:
            plots.write(row)
        if lost := step - copied - bool(row):
            console.err.print(
                f"the history in {self.past_in} is damaged: the plots lack {lost:,} of {step:,} steps", markup=False
            )

    def _record(self, step: int, outcome: dict[str, float], termination: Termination, watch: Stopwatch) -> None:
        row = Row(step, outcome["loss"], outcome["gradient_norm"], float(self.rate(step - 1)))
        if self._evaluates(step):
            row = replace(row, bits_per_byte=self._evaluate(step, termination, watch))
        self.history.add(row)

    def _told(self, outcome: dict[str, float], steps_a_second: float) -> str:
        """Return what the line of progress says of the newest step."""
        tokens = steps_a_second * self.options.batch_size * self.options.seq_len
        held_out = f", held out {self.evaluation.bits_per_byte:.3f} bits per byte" if self.evaluation else ""
        return f"loss {outcome['loss']:.3f}{held_out}, {tokens:,.0f} tokens a second"

    def _evaluates(self, step: int) -> bool:
        return step % self.options.eval_every == 0 or step == self.options.steps

    def _evaluate(self, step: int, termination: Termination, watch: Stopwatch) -> float | None:
        """Held-out bits per byte now; None if SIGTERM cut it short, and then a resumption makes up for it."""
        measured = self.held_out.measure(self.state["model"], lambda: termination.asked)
        watch.lap("evaluate")
        if measured is None:
            return None
        self.evaluation = Evaluation(step, *measured)
        return self.evaluation.bits_per_byte

    @property
    def _last_row(self) -> Row:
        assert self.history.last is not None  # noqa: S101 - a step was taken, and its row added
        return self.history.last

    def _save(self, *, due: bool) -> None:
        if due:
            self.checkpoints.lock()
            self.history.save(write=distributed.is_first())
            self.checkpoints.save(self._last_row, self.state)

    def metrics(self) -> Metrics:
        """Return the results of the run, after its last step."""
        last, baseline = self.evaluation, self.held_out.context_free_bits_per_byte
        assert last is not None  # noqa: S101 - the last step is always evaluated
        return Metrics(
            parameters=sum(leaf.size for leaf in jax.tree.leaves(self.state["model"])),
            tokens=self.options.steps * self.options.batch_size * self.options.seq_len,
            loss=self._last_row.loss,
            bits_per_byte=last.bits_per_byte,
            bits_per_byte_by_source=last.by_source,
            context_free_bits_per_byte=baseline,
            improvement=1 - last.bits_per_byte / baseline,
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
        )
        for name in names
    ]


def _profiled(outcomes: Iterator[dict[str, float]], folder: Path) -> Iterator[dict[str, float]]:
    """`outcomes`, with a trace of the steps PROFILED of this attempt."""
    tracing = False
    try:
        for place, outcome in enumerate(outcomes):
            if place == PROFILED.start:
                jax.profiler.start_trace(str(folder))
                tracing = True
            if place == PROFILED.stop:
                jax.profiler.stop_trace()
                tracing = False
            yield outcome
    finally:
        if tracing:  # the run was shorter
            jax.profiler.stop_trace()
