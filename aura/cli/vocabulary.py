"""`aura vocabulary`: what a vocabulary size is worth."""

from pathlib import Path
from typing import Annotated

import typer

from aura.cli import places
from aura.cli.groups import Commands
from aura.compare.curve import SIZES, curve
from aura.core import console, files, paths
from aura.core.errors import UserError
from aura.corpus import corpus
from aura.project import whole_params
from aura.storage import placement
from aura.train_tokenizer import train
from aura.train_tokenizer.corpus_counts import count_corpus

app = typer.Typer(cls=Commands, no_args_is_help=True, help="The worth of each vocabulary size on this corpus.")


@app.callback()
def vocabulary() -> None:
    """Keep `curve` a subcommand while it is the only one."""


@app.command("curve")
def vocabulary_curve(
    output: Annotated[
        Path,
        typer.Option(parser=places.path, metavar="PATH", help="The CSV file to write: vocab_size,bytes_per_token."),
    ] = paths.VOCABULARY_CURVE,
    max_bytes: Annotated[
        int, typer.Option(help="Judge on at most so many bytes of held-out text.", min=1)
    ] = 10_000_000,
) -> None:
    """Measure bytes per token on held-out text for unigram vocabularies of 4,000 to 64,000 pieces."""
    settings = whole_params.load()
    options, known = settings.train_tokenizer, placement.of(settings.store).cache()
    held_out, size = [], 0
    for text in corpus.read_texts(paths.HELD_OUT):
        size += len(text.encode())
        if size > max_bytes:
            break
        held_out.append(text)
    counts = count_corpus(paths.TRAIN, train.splitting_of(options), known, options.max_segments, settings.cluster)
    found = dict(sorted(console.track(curve(counts, options, held_out), "vocabulary curve", len(SIZES))))
    if not found:
        raise UserError(
            f"expected text for {SIZES[-1]:,} pieces at least, got {len(counts.table):,} distinct parts of words in "
            f"{paths.TRAIN}. Add text."
        )
    for pieces, value in found.items():
        console.out.print(f"{pieces:>7,} pieces  {value:.3f} bytes per token", markup=False)
    if left_out := [f"{size:,}" for size in sorted(SIZES) if size not in found]:
        console.out.print(f"left out, as the text is too little for so many pieces: {', '.join(left_out)}")
    rows = (f"{pieces},{value:.6f}\n" for pieces, value in found.items())
    files.write_bytes(output, "".join(["vocab_size,bytes_per_token\n", *rows]).encode())
    console.out.print(f"written: {output}", markup=False)
