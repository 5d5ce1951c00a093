"""Does tokenizer.json, which Hugging Face's libraries read, give the ids of `Tokenizer`?

A difference shows in no measure: a model is trained on the one and asked through the other. The worst is a special
token that text can make there and not here. So the file itself is loaded and asked, with the golden texts and with
texts made of this very vocabulary: its characters, its pieces, and every name that is no text, whole and cut.
"""

import random
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import tokenizers

from aura.core.errors import UserError
from aura.tokenizer.golden import TEXTS, WITH_SPECIAL
from aura.tokenizer.model_file import Kind
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import EXPORTED, Tokenizer

STRINGS = 2000  # made of the vocabulary's parts
PARTS = 12  # of a string, at most
FOREIGN = ("\0", "\t", "\n", " ", "  ", SPACE, "e\u0301", "ß", "Ж", "中", "ไ", "\U0001f642", "<", ">")


def differences(tokenizer: Tokenizer, path: Path) -> Iterator[str]:
    """Sentences on texts to which the exported file gives other ids, the shortest text first.

    A file that `tokenizers` cannot load is a `UserError`.
    """
    other = _load(path)
    yield from _as_text(tokenizer, other, texts_for(tokenizer))
    yield from _with_special(tokenizer, other, [*WITH_SPECIAL, *_names(tokenizer)])
    yield from _vocabulary(tokenizer, other)


def remedy(folder: Path) -> str:
    """Say how to replace a wrong export in a folder: also right if training would give another tokenizer."""
    return f"Write it again from spiece.model: aura export-tokenizer {shlex.quote(str(folder))}"


def texts_for(tokenizer: Tokenizer) -> list[str]:
    """The golden texts, every name that is no text, and random strings of the vocabulary's parts, always the same."""
    names, parts = _names(tokenizer), _parts(tokenizer)
    chosen = random.Random(0)  # noqa: S311 - reproducible, not secret
    texts = [*TEXTS, *names, "".join(names), " ".join(names)]
    for _ in range(STRINGS):
        name = chosen.choice(names)
        cut = chosen.randrange(len(name))
        sources = (*parts, FOREIGN, names, [name[:cut], name[cut:]])
        texts.append("".join(chosen.choice(chosen.choice(sources)) for _ in range(chosen.randint(1, PARTS))))
    return texts


def _names(tokenizer: Tokenizer) -> list[str]:
    """The names of special tokens, reserved slots and byte pieces."""
    return [tokenizer.piece(token) for token, kind in enumerate(tokenizer.kinds) if kind in (Kind.SPECIAL, Kind.BYTE)]


def _parts(tokenizer: Tokenizer) -> list[list[str]]:
    """The characters, the longer pieces and the user symbols of the vocabulary; those that there are."""
    texts = [(tokenizer.piece(token).replace(SPACE, " "), kind) for token, kind in enumerate(tokenizer.kinds)]
    learnt = [text for text, kind in texts if kind is Kind.LEARNT]
    symbols = [text for text, kind in texts if kind is Kind.USER]
    groups = [[text for text in learnt if len(text) == 1], [text for text in learnt if len(text) > 1], symbols]
    return [group for group in groups if group]


def _load(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises no class of its own
        raise UserError(
            f"{path}: expected a file that Hugging Face's tokenizers loads, got one that it refuses ({error}). "
            f"{remedy(path.parent)}"
        ) from None


def _vocabulary(tokenizer: Tokenizer, other: tokenizers.Tokenizer) -> Iterator[str]:
    """Names that have another id, or that only one of the two knows: no text made of the one's parts holds them all."""
    ours = {tokenizer.piece(token).replace(SPACE, " "): token for token in range(tokenizer.vocab_size)}
    theirs = other.get_vocab()
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{EXPORTED} has the id {theirs.get(name)} for {name!r}, and the model {ours.get(name)}"


def _ids(other: tokenizers.Tokenizer, text: str) -> list[int] | str:
    """The ids that the exported file gives a text, or why it gives none."""
    try:
        found: list[int] = other.encode(text, add_special_tokens=False).ids
    except Exception as error:  # noqa: BLE001 - tokenizers raises no class of its own
        return f"none ({error})"
    return found


def _as_text(tokenizer: Tokenizer, other: tokenizers.Tokenizer, texts: Sequence[str]) -> Iterator[str]:
    """Differences where no text may become a special token."""
    texts = sorted(texts, key=len)
    other.encode_special_tokens = True
    by_table = tokenizer.table.encode_texts(texts, threads=1) if tokenizer.table else tokenizer.encode_batch(texts)
    for text, of_block in zip(texts, by_table, strict=True):
        expected = tokenizer.encode(text)
        readers = {"encode_batch": of_block.tolist(), EXPORTED: _ids(other, text)}
        for reader, ids in {"encode": expected, **readers}.items():
            forged = [token for token in ids if isinstance(token, int) and tokenizer.is_special(token)]
            if forged:
                yield f"{reader} makes the special token {tokenizer.piece(forged[0])} of the text {text!r}"
            elif ids != expected:
                yield f"{reader} gives the text {text!r} the ids {ids}, and encode gives it {expected}"
        decoded = other.decode(expected, skip_special_tokens=False)
        if decoded != text:
            yield f"{EXPORTED} decodes the ids of the text {text!r} to {decoded!r}"


def _with_special(tokenizer: Tokenizer, other: tokenizers.Tokenizer, texts: Sequence[str]) -> Iterator[str]:
    """Differences where each special token's name stands for it, as in a chat."""
    other.encode_special_tokens = False
    for text in texts:
        expected = tokenizer.encode(text, allowed_special="all")
        ids = _ids(other, text)
        if ids != expected:
            yield f"{EXPORTED} gives the text {text!r}, with special tokens, the ids {ids}, and encode {expected}"
