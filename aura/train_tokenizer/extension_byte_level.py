"""More pieces for byte-level BPE: tokenizer.json of tokenizers, and Mistral's tekken.json.

New merges stand behind those of the base, so the base's own run first, as ever. tokenizers knows a merge by its two
parts: each new piece lists all ways to make it of two pieces. tekken knows it by its bytes, and its rank is its id.
Bytes are spelt as GPT-2 spells them, one printable character for each, in both: names are then text.
"""

import base64
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from aura.core.errors import UserError
from aura.tokenizer import indented_json
from aura.tokenizer.byte_pairs import BYTE_LEVEL
from aura.train_tokenizer.extension_merges import settled

_CHARACTERS = {byte: character for character, byte in BYTE_LEVEL.items()}


class TokenizerJsonBase:
    """A byte-level BPE tokenizer.json to extend.

    Arguments:
        content: its JSON.
        name: what errors call it.

    Raises:
        UserError: another model than BPE, or one that is not byte-level.
    """

    file = "tokenizer.json"

    def __init__(self, content: dict[str, Any], name: str) -> None:
        import tokenizers

        model = content["model"]
        is_byte_level = '"ByteLevel"' in indented_json.dumps(content.get("pre_tokenizer"))
        if not is_byte_level or "merges" not in model or model.get("byte_fallback") or content.get("normalizer"):
            raise UserError(
                f"{name}: expected byte-level BPE without a normalizer to extend, got another tokenizer.json. A "
                "SentencePiece model that it was made of can be extended"
            )
        self._content = content
        self._loaded = tokenizers.Tokenizer.from_str(indented_json.dumps(content))
        self._loaded.encode_special_tokens = True
        self.vocabulary = set(self._loaded.get_vocab())
        self.vocab_size = max(self._loaded.get_vocab().values()) + 1
        self.ranks: dict[str, float] = {}  # merges are known by their parts: none applies to two new neighbours
        self._merges = {_pair(merge): float(rank) for rank, merge in enumerate(model["merges"])}

    def units(self, texts: Sequence[str]) -> list[list[str]]:
        """Each text as the names of its tokens."""
        return [found.tokens for found in self._loaded.encode_batch([*texts], add_special_tokens=False)]

    def spelt(self, pieces: Sequence[str]) -> list[list[int]]:
        """The ids of the base that spell each piece, by its merges."""
        ids: dict[str, int] = self._content["model"]["vocab"]
        return [[ids[unit] for unit in _merged(piece, self._merges)] for piece in pieces]

    def cost(self, unit: str) -> int:  # noqa: ARG002 - as other bases; no character is without a piece
        """Tokens that a unit is."""
        return 1

    def text(self, piece: str) -> str:
        """The text of a piece; parts of characters as `surrogateescape` decodes them."""
        return _text(piece)

    def extended(self, pieces: Sequence[str]) -> bytes:
        """The file with more pieces, and behind its merges theirs."""
        model = self._content["model"]
        added = {piece: self.vocab_size + place for place, piece in enumerate(pieces)}
        vocabulary = model["vocab"] | added
        as_text = bool(model["merges"]) and isinstance(model["merges"][0], str)
        merges = [
            [piece[:place], piece[place:]]
            for piece in pieces
            for place in range(1, len(piece))
            if piece[:place] in vocabulary and piece[place:] in vocabulary
        ]
        written = [" ".join(merge) for merge in merges] if as_text else merges
        changed = model | {"vocab": vocabulary, "merges": [*model["merges"], *written]}
        return (indented_json.dumps(self._content | {"model": changed}) + "\n").encode()


class TekkenBase:
    """A tekken.json to extend.

    Arguments:
        content: its JSON.
        name: what errors call it.
    """

    file = "tekken.json"

    def __init__(self, content: dict[str, Any], name: str) -> None:
        from aura.tokenizer.foreign import tiktoken_library

        self._content, config = content, content["config"]
        self._special, self.vocab_size = int(config["default_num_special_tokens"]), int(config["default_vocab_size"])
        pieces = [
            base64.b64decode(entry["token_bytes"]) for entry in content["vocab"][: self.vocab_size - self._special]
        ]
        self.vocab_size = self._special + len(pieces)
        self._names = [_name(piece) for piece in pieces]
        self.ranks = {piece: float(rank) for rank, piece in enumerate(self._names)}
        self.vocabulary = set(self._names)
        self._encoding = tiktoken_library(name).Encoding(
            name,
            pat_str=config["pattern"],
            mergeable_ranks={piece: rank for rank, piece in enumerate(pieces)},
            special_tokens={},
        )

    def units(self, texts: Sequence[str]) -> list[list[str]]:
        """Each text as the names of its tokens."""
        return [[self._names[rank] for rank in ranks] for ranks in self._encoding.encode_ordinary_batch([*texts])]

    def spelt(self, pieces: Sequence[str]) -> list[list[int]]:
        """The ids of the base that spell each piece, by its ranks."""
        return [[self._special + int(self.ranks[unit]) for unit in settled(piece, self.ranks)] for piece in pieces]

    def cost(self, unit: str) -> int:  # noqa: ARG002 - as other bases; no character is without a piece
        """Tokens that a unit is."""
        return 1

    def text(self, piece: str) -> str:
        """The text of a piece; parts of characters as `surrogateescape` decodes them."""
        return _text(piece)

    def extended(self, pieces: Sequence[str]) -> bytes:
        """The file with more ranks; those that the base lists beyond its size and does not use go."""
        kept = self._content["vocab"][: len(self._names)]
        added = [
            {"rank": rank, "token_bytes": base64.b64encode(_bytes(piece)).decode(), "token_str": _whole(piece)}
            for rank, piece in enumerate(pieces, len(kept))
        ]
        size = self.vocab_size + len(pieces)
        config = self._content["config"] | {"default_vocab_size": size, "num_vocab_tokens": len(kept) + len(added)}
        return (indented_json.dumps(self._content | {"config": config, "vocab": [*kept, *added]}) + "\n").encode()


def _merged(piece: str, merges: dict[tuple[str, str], float]) -> list[str]:
    """The units of a piece by merges that are known by their parts, the lowest rank first and there the leftmost."""
    units = [*piece]
    while True:
        found = [(rank, place) for place, pair in enumerate(pairwise(units)) if (rank := merges.get(pair)) is not None]
        if not found:
            return units
        _, place = min(found)
        units[place : place + 2] = [units[place] + units[place + 1]]


def _pair(merge: str | list[str]) -> tuple[str, str]:
    first, second = re.split(" ", merge) if isinstance(merge, str) else merge
    return first, second


def _name(piece: bytes) -> str:
    return "".join(_CHARACTERS[byte] for byte in piece)


def _bytes(name: str) -> bytes:
    return bytes(BYTE_LEVEL[character] for character in name)


def _text(name: str) -> str:
    return _bytes(name).decode(errors="surrogateescape") if BYTE_LEVEL.keys() >= {*name} else name


def _whole(name: str) -> str | None:
    try:
        return _bytes(name).decode()
    except UnicodeDecodeError:
        return None
