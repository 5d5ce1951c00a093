"""`aura compare` and `aura parity`: tokenizers side by side."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from aura.cli import places
from aura.compare import comparison, named
from aura.core import console, paths
from aura.core.errors import UserError
from aura.corpus import corpus
from aura.storage import placement
from aura.validate.measures import PROBES

SHOWN = 20  # pieces that came or went, at most
MAX_MB = 8.0
Tokenizers = Annotated[list[str], typer.Argument(parser=places.path_or_name, metavar="TOKENIZER…", help=named.HELP)]
ROWS = (
    *("vocab_size", "tokens", "bytes_per_token", "characters_per_token", "fertility", "continued_word_share"),
    *("single_token_retention_rate", "unseen_share", "renyi_efficiency", "unknown_share", "byte_fallback_share"),
    *("round_trip_failures", "invalid_utf8_pieces", *(f"{name}_bytes_per_token" for name in PROBES)),
)
HIGHER = ("per_token", "retention_rate", "efficiency")  # ends of the names of measures of which more is better
UNJUDGED = ("vocab_size",)


def compare(
    tokenizers: Tokenizers,
    text: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="Corpus split, folder of .txt files, or one file.")
    ] = paths.HELD_OUT,
    max_mb: Annotated[float, typer.Option(help="Measure at most so many MB of it.", min=0.001)] = MAX_MB,
) -> None:
    """Measure tokenizers on the same text, and name the pieces that each gained or lost against the first."""
    loaded = [named.load(name) for name in tokenizers]
    texts = _texts(text, max_mb * 1e6)
    found = [comparison.measured(tokenizer, texts) for tokenizer in loaded]
    table = Table("measure", *(tokenizer.name for tokenizer in loaded))
    for row in ROWS:
        best = _best(row, [values[row] for values in found])
        table.add_row(row, *(_cell(values[row], best) for values in found))
    console.out.print(table, soft_wrap=False)
    if len(loaded) > 1:
        console.out.print("* the best of a line, where one is better for every text", markup=False)
    for tokenizer in loaded[1:]:
        pieces = comparison.changed(loaded[0], tokenizer)
        for verb, changed in (("gained", pieces.came), ("lost", pieces.went)):
            shown = " ".join(repr(piece.decode(errors="replace")) for piece in changed[:SHOWN])
            told = f"{len(changed):,} pieces {verb}" + (f": {shown}" if changed else "")
            console.out.print(f"{loaded[0].name} -> {tokenizer.name}: {told}", markup=False)


def parity(
    tokenizers: Tokenizers,
    text: Annotated[list[str], typer.Option(help="NAME=PATH of one language, repeated: folders or files, aligned.")],
    reference: Annotated[str, typer.Option(help="The language that others are compared with.")] = "en",
) -> None:
    """Over parallel text, how many tokens each language costs for one of the reference language."""
    paths: dict[str, Path] = {}
    for entry in text:
        name, _, path = entry.partition("=")
        if not path or name in paths:
            raise UserError(f"--text: expected NAME=PATH, each name once; got {entry!r}")
        paths[name] = places.path(path)
    if reference not in paths:
        raise UserError(f"expected --text {reference}=PATH, got {', '.join(paths)}. Or name another --reference")
    texts = comparison.aligned(paths)
    loaded = [named.load(name) for name in tokenizers]
    table = Table("language", *(tokenizer.name for tokenizer in loaded))
    premiums = [comparison.parity(tokenizer, texts, reference) for tokenizer in loaded]
    for language in texts:
        table.add_row(language, *(Text(f"{values[language]:.2f}", justify="right") for values in premiums))
    console.out.print(table, soft_wrap=False)


def _texts(path: Path, limit: float) -> list[str]:
    """Documents in order, until they hold `limit` bytes."""
    if path.is_file():
        found = iter([comparison.read_text(path)])
    elif any(path.glob("*.parquet")) or (path / placement.LIST).exists() or path == paths.HELD_OUT:
        found = corpus.read_texts(path)
    else:
        found = (comparison.read_text(file) for file in sorted(path.rglob("*.txt")))
    texts, size = [], 0
    for text in found:
        texts.append(text)
        size += len(text.encode())
        if size >= limit:
            break
    if not texts:
        raise UserError(f"expected text in {path}, found none. Name some: --text PATH")
    return texts


def _best(row: str, values: list[float]) -> float | None:
    """The best of different values: more text for a token, fewer of everything that is lost or wasted."""
    if row in UNJUDGED or len(set(values)) < 2:
        return None
    return max(values) if row.endswith(HIGHER) else min(values)


def _cell(value: float, best: float | None) -> Text:
    return Text(f"{_number(value)} *" if value == best else _number(value), justify="right")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
