"""Tokenizers side by side on the same text, which pieces came and went, and parity over parallel text."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from aura.core.errors import UserError
from aura.tokenizer.arguments import checked_texts
from aura.tokenizer.foreign import Foreign
from aura.validate import measures
from aura.validate.measures import Lengths, Tally

BATCH = 256  # documents encoded at once


@dataclass(frozen=True)
class Changed:
    """The pieces of one tokenizer that another lacks, and the other way round, longest first."""

    came: list[bytes]
    went: list[bytes]


def measured(tokenizer: Foreign, texts: Iterable[str]) -> dict[str, float]:
    """All measures of `tokenizer` on `texts`, and what its vocabulary tells."""
    texts, parts = checked_texts(texts), []
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        encoded = tokenizer.encode_batch(batch)
        parts.append(measures.count(tokenizer, batch, encoded, measures.round_trip_failures(tokenizer, batch, encoded)))
    total = Tally.total(parts, tokenizer.vocab_size)
    found = measures.measure(tokenizer, total, Lengths(tokenizer, total, tokenizer.word_prefix))
    return {"vocab_size": tokenizer.vocab_size, **asdict(found), "invalid_utf8_pieces": tokenizer.invalid_utf8}


def changed(old: Foreign, new: Foreign) -> Changed:
    """List the pieces that `new` lost and gained against `old`, by the bytes that they stand for."""
    before, after = set(filter(None, old.pieces)), set(filter(None, new.pieces))
    came, went = (sorted(pieces, key=lambda piece: (-len(piece), piece)) for pieces in (after - before, before - after))
    return Changed(came, went)


def parity(tokenizer: Foreign, texts: Mapping[str, Iterable[str]], reference: str) -> dict[str, float]:
    """The premium of each language: its tokens over those of `reference` for the same content; 1 is parity.

    Petrov et al. 2023, arXiv 2305.15425, of sums over all aligned texts. `texts` must be aligned: as many of each.
    """
    tokens = {name: sum(map(len, tokenizer.encode_batch(part))) for name, part in texts.items()}
    if not tokens[reference]:
        raise UserError(f"expected text in the reference language {reference}, found none. Add text, or name another.")
    return {name: number / tokens[reference] for name, number in tokens.items()}


def aligned(folders: Mapping[str, Path]) -> dict[str, list[str]]:
    """Parallel text: of folders, the files that all have under the same name; of single files, their lines.

    Raises:
        UserError: a folder or file is missing, lines differ in number, or no file is in all folders.
    """
    for name, path in folders.items():
        if not path.exists():
            raise UserError(f"the text {name} is missing: {path}")
    if all(path.is_file() for path in folders.values()):
        lines = {name: lines_of(read_text(path)) for name, path in folders.items()}
        if len({len(part) for part in lines.values()}) != 1:
            numbers = ", ".join(f"{name} {len(part):,}" for name, part in lines.items())
            raise UserError(f"expected files aligned by line, got different numbers of lines: {numbers}")
        return lines
    names = set.intersection(
        *(
            {found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file()}
            for path in folders.values()
        )
    )
    if not names:
        raise UserError("expected parallel text: folders with files of the same names, or files aligned by line")
    return {language: [read_text(path / name) for name in sorted(names)] for language, path in folders.items()}


def read_text(path: Path) -> str:
    """The text of a file as it is: Python's text mode would turn carriage returns into line feeds.

    Raises:
        UserError: it is no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid UTF-8 ({error}). Convert it, or take it out.") from None


def lines_of(text: str) -> list[str]:
    r"""The lines of a text, which end at `\n` or `\r\n` alone: U+2028 or a form feed stands inside of a line."""
    *whole, rest = text.split("\n")
    return [line.removesuffix("\r") for line in whole] + ([rest] if rest else [])
