"""Pretraining from end to end: token shards in; weights, metrics, plots and samples out.

Results and timings go to different files: results are the same bytes each time on one machine, timings never.
DVCLive writes the metrics and a row per step for the plots; a killed run starts again from nothing.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
from dvclive import Live

from aura import console, files
from aura.data.batches import Batches, evaluation_windows
from aura.data.token_shards import TokenShards
from aura.params import Pretrain
from aura.self_teaching_llm import weights
from aura.self_teaching_llm.evaluation import HeldOut
from aura.self_teaching_llm.model import ModelConfig, initial_model
from aura.self_teaching_llm.sampling import sample_text
from aura.self_teaching_llm.training import State, initial_state, make_optimizer, train
from aura.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Metrics:
    """What a run came to: reports/pretrain/metrics.json."""

    parameters: int
    tokens: int  # seen in training
    loss: float  # of the last step, nats per token
    bits_per_byte: float  # held out
    context_free_bits_per_byte: float  # of the best context-free model on the same text
    improvement: float  # share of the context-free bits that the model saves


class Stopwatch:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Count the time since the lap before as spent on `name`."""
        now = time.perf_counter()
        self.seconds[name] += now - self._last
        self._last = now


def pretrain(tokens: Path, tokenizer_file: Path, output: Path, reports: Path, options: Pretrain) -> Metrics:
    """Train on `tokens`, made by `tokenizer_file`; write the model to `output` and what it achieved to `reports`.

    Raises:
        UserError: the tokens are incomplete, altered, another tokenizer's or too few, or the loss diverged.
    """
    watch = Stopwatch()
    tokenizer = Tokenizer.load(tokenizer_file)
    shards = TokenShards(tokens, tokenizer.sha256)
    shards.verify()
    batches = Batches(shards.stream("train"), options.batch_size, options.seq_len, options.seed)
    windows = evaluation_windows(shards.stream("held_out"), options.seq_len, options.eval_tokens)
    held_out = HeldOut(windows, tokenizer.byte_lengths, options.batch_size)
    optimizer = make_optimizer(options)
    model = initial_model(ModelConfig.of(options, tokenizer.vocab_size), options.seed)
    state = initial_state(model, optimizer)
    watch.lap("prepare")
    losses = train(state, optimizer, batches, options.steps)
    metrics = _run(losses, state, held_out, reports, options, watch)
    prompts = sample_text(state["model"], shards, tokenizer, options)
    files.write_bytes(reports / "samples.txt", prompts.encode())
    weights.save(output, state["model"], {"tokenizer": tokenizer.sha256, "tokens": shards.sha256})
    watch.lap("sample_and_save")
    _write_timings(reports / "timings.json", watch.seconds, options)
    return metrics


def _run(
    losses: Iterator[float], state: State, held_out: HeldOut, reports: Path, options: Pretrain, watch: Stopwatch
) -> Metrics:
    """Take every step; log each loss, and held-out bits per byte now and then and at the end."""
    with Live(str(reports), dvcyaml=None, save_dvc_exp=False, report=None) as live:  # by default it edits dvc.yaml
        for step, loss in enumerate(console.track(losses, "pretraining", total=options.steps), start=1):
            watch.lap("first_step" if step == 1 else "train")
            live.step = step
            live.log_metric("loss", loss)
            if step % options.eval_every == 0 or step == options.steps:
                bits_per_byte = held_out.bits_per_byte(state["model"])
                live.log_metric("bits_per_byte", bits_per_byte)
                watch.lap("evaluate")
        baseline = held_out.context_free_bits_per_byte
        metrics = Metrics(
            parameters=sum(leaf.size for leaf in jax.tree.leaves(state["model"])),
            tokens=options.steps * options.batch_size * options.seq_len,
            loss=loss,
            bits_per_byte=bits_per_byte,
            context_free_bits_per_byte=baseline,
            improvement=1 - bits_per_byte / baseline,
        )
        live.summary = asdict(metrics)  # what `with` writes to metrics.json, beside the step
    return metrics


def _write_timings(path: Path, seconds: dict[str, float], options: Pretrain) -> None:
    later_tokens = (options.steps - 1) * options.batch_size * options.seq_len
    timings = {
        "tokens_per_second": later_tokens / seconds["train"] if later_tokens else None,
        "seconds": dict(seconds),
    }
    files.write_json(path, timings)
