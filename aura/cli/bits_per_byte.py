"""`aura bits-per-byte`: tokenizers judged by the same small model."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from aura.cli import places
from aura.compare import named
from aura.core import console, files, paths
from aura.project import whole_params
from aura.storage import placement

DIGITS = 4  # decimals in reports


def bits_per_byte(
    tokenizers: Annotated[list[str], typer.Argument(parser=places.path_or_name, metavar="TOKENIZER…", help=named.HELP)],
    mb: Annotated[float, typer.Option(help="Train each model on so many MB of data/corpus/train.", min=0.001)] = 2.0,
    seeds: Annotated[int, typer.Option(help="Models for each tokenizer.", min=1)] = 3,
    output: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="Folder for runs.csv and summary.csv.")
    ] = paths.BITS_PER_BYTE,
) -> None:
    """Train the model of params.yaml for equal bytes of text on each tokenizer, and compare held-out bits per byte.

    Finished models are remembered, so an interrupted comparison goes on, and another tokenizer costs its own runs only.
    """
    from aura.compare import bits_per_byte as judging  # here, because JAX takes seconds to import

    values = whole_params.load()
    loaded = [named.load(name) for name in tokenizers]
    held_out = judging.sample(paths.HELD_OUT, values.pretrain.eval_tokens * judging.NOMINAL)
    texts = judging.Texts(judging.sample(paths.TRAIN, mb * 1e6), held_out)
    known = placement.of(values.store).cache()
    trials = list(judging.trials(loaded, texts, values, seeds, known))
    summaries = [judging.Summary.of(trials[start : start + seeds]) for start in range(0, len(trials), seeds)]
    table = Table(
        Column("tokenizer", overflow="fold"),
        "pieces",
        "bytes per token",
        "text kept",
        "bits per byte",
        "spread",
        "seconds",
    )
    for row in summaries:
        numbers = (f"{row.vocab_size:,}", f"{row.bytes_per_token:.3f}", f"{row.kept:.2%}", f"{row.bits_per_byte:.4f}")
        cells = (*numbers, f"± {row.spread:.4f}" if seeds > 1 else "-", f"{row.seconds:.0f}")
        table.add_row(row.tokenizer, *(Text(cell, justify="right") for cell in cells))
    console.out.print(table, soft_wrap=False)
    body, width = judging.body_parameters(values), values.pretrain.shape.width
    console.out.print(
        f"{judging.size(texts.train) / 1e6:.2f} MB to learn from and {judging.size(held_out) / 1e6:.2f} MB held out, "
        f"{seeds} seeds. All models have a body of {body:,} weights, and embeddings of {width} for each piece.",
        markup=False,
    )
    _write(output / "runs.csv", [asdict(trial) for trial in trials])
    _write(output / "summary.csv", [asdict(summary) for summary in summaries])
    console.out.print(f"written: {output}/runs.csv, {output}/summary.csv", markup=False)


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """As CSV; without seconds, which are never the same twice."""
    kept = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    written = io.StringIO()
    writer = csv.DictWriter(written, list(kept[0]), lineterminator="\n")
    writer.writeheader()
    for row in kept:
        writer.writerow({k: round(value, DIGITS) if isinstance(value, float) else value for k, value in row.items()})
    files.write_bytes(path, written.getvalue().encode())
