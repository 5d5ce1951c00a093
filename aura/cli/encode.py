"""`aura encode` and `aura decode`: the trained tokenizer on a text, from the command line or a pipe."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from aura.cli import places
from aura.core import console, endings, paths
from aura.core.errors import UserError
from aura.core.shown_text import escaped

if TYPE_CHECKING:
    from aura.tokenizer.opening import AnyTokenizer

_ID = r"-?[0-9]{1,18}"  # of a piece; the tokenizer knows how many there are
PIPE = "-"  # an argument that stands for standard input
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
Model = Annotated[
    Path, typer.Option("--tokenizer", parser=places.path, metavar="PATH", help="The spiece.model, or its folder.")
]


def encode(
    text: Annotated[str, typer.Argument(help="The text; - or none: standard input, as in: aura encode < a.txt")] = PIPE,
    pieces: Annotated[bool, typer.Option("--pieces/--ids", help="Print pieces of text, or their numbers.")] = False,
    special: Annotated[bool, typer.Option("--special", help="Take names of special tokens for these tokens.")] = False,
    as_json: AsJson = False,
    model: Model = paths.TOKENIZER_MODEL,
) -> None:
    """Encode a text with the trained tokenizer: its ids on one line, as `aura decode` takes them.

    The ids are those of the text alone, without <bos> and <eos>.
    """
    tokenizer = _loaded(model)
    given = _text(sys.stdin.buffer.read() if text == PIPE else text.encode(errors="surrogateescape"))
    ids = tokenizer.encode(given, allowed_special="all" if special else ())
    size = len(given.encode())
    if as_json:
        told = {"ids": ids, "pieces": tokenizer.pieces(ids), "bytes": size, "tokens": len(ids)}
        _write_json(told)
        return
    _write_line(" ".join(tokenizer.pieces(ids) if pieces else map(str, ids)))
    if sys.stdout.isatty() and ids:
        console.err.print(f"{size:,} bytes, {len(ids):,} tokens: {size / len(ids):.2f} bytes per token", style="dim")


def decode(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help="Numbers of pieces; - or none: standard input.")
    ] = None,
    special: Annotated[bool, typer.Option("--special", help="Print special tokens by name, too.")] = False,
    as_json: AsJson = False,
    model: Model = paths.TOKENIZER_MODEL,
) -> None:
    """Turn ids back into text, byte for byte; into a file or a pipe, nothing is added to it."""
    tokenizer = _loaded(model)
    given = ids if ids and ids != [PIPE] else _text(sys.stdin.buffer.read()).split()
    parts = " ".join(given).replace(",", " ").strip(" []").split()
    wrong = [part for part in parts if not re.fullmatch(_ID, part)]
    if wrong:
        raise UserError(f"expected ids such as 1 2 3, got {wrong[0][:80]!r}")
    try:
        content = tokenizer.decode_bytes(map(int, parts), keep_special=special)
    except ValueError as error:
        raise UserError(str(error)) from None
    if as_json:
        _write_json({"text": content.decode(errors="replace")})
    elif sys.stdout.isatty():
        console.out.print(Text(content.decode(errors="replace")))
    else:
        _write(content)


def _loaded(model: Path) -> "AnyTokenizer":
    from aura.tokenizer import opening  # NumPy and SentencePiece take a while to import

    return opening.load(model)


def _write_line(text: str) -> None:
    """Write a line, which may be of any length: Rich takes a minute for 10 MB."""
    _write(f"{escaped(text)}\n".encode(sys.stdout.encoding, errors="replace"))


def _write_json(told: dict[str, Any]) -> None:
    """Write an object that any reader of JSON takes, and that means the same in any terminal."""
    readable = json.dumps(told, ensure_ascii=False)
    is_plain = sys.stdout.encoding.lower() == "utf-8" and escaped(readable) == readable
    _write_line(readable if is_plain else json.dumps(told))


def _write(content: bytes) -> None:
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()  # before what standard error says about it
    except OSError as error:
        endings.lost(sys.stdout, error)


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"expected text in UTF-8, got the byte {content[error.start]:#04x} at {error.start:,}. Convert it: "
            "iconv -f ENCODING -t UTF-8"
        ) from None
