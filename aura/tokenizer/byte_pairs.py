"""Byte-level BPE, in the three formats that hold it: tekken.json, .tiktoken with a .pattern, and tokenizer.json.

All cut a text by a regular expression and merge the bytes of each part. What a format cannot hold exactly is refused
with the reason. tokenizer.json lists merges and the others do not: see `aura.tokenizer.merges`.
Files are read as data, and a number of theirs is checked before it sizes anything.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aura.core.errors import UserError
from aura.tokenizer import indented_json
from aura.tokenizer.crafted import MOST_HOLES, MOST_IDS
from aura.tokenizer.merges import LONGEST, last_pair, merges

LONGEST_PATTERN = 10_000  # characters; that of o200k has 500
TEKKEN_SPECIAL = (  # of files that list none: mistral_common's own
    {"rank": 0, "token_str": "<unk>"},
    {"rank": 1, "token_str": "<s>"},
    {"rank": 2, "token_str": "</s>"},
    {"rank": 11, "token_str": "<pad>"},
)
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # of ByteLevel with use_regex


@dataclass(frozen=True, kw_only=True)
class BytePairs:
    """A table of ranks: the piece of rank R has the id `first` + R.

    Attributes:
        pieces: the bytes of each rank, all of them different.
        pattern: a regular expression; what it does not match has no ids.
        first: the number of ids before the first rank.
        special: ids of special tokens by their names; they lie before or after those of the ranks.
    """

    pieces: tuple[bytes, ...]
    pattern: str
    first: int = 0
    special: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no library reads alike."""
        if len(set(self.pieces)) != len(self.pieces) or b"" in self.pieces or not self.pieces:
            raise UserError("expected pieces that all differ, none of them empty")
        if missing := {bytes([byte]) for byte in range(256)}.difference(self.pieces):
            raise UserError(f"expected a piece for each of 256 bytes, got none for {min(missing)!r}")
        if not 0 <= self.first <= MOST_HOLES or len(self.pieces) > MOST_IDS:
            raise UserError(f"expected at most {MOST_HOLES:,} ids before the others, got {self.first:.20g}")
        if not isinstance(self.pattern, str) or not 0 < len(self.pattern) <= LONGEST_PATTERN:
            raise UserError(f"expected a pattern of at most {LONGEST_PATTERN:,} characters, got {self.pattern!r:.80}")


def read_tekken(content: dict[str, Any]) -> BytePairs:
    """Mistral's tekken.json: ids of special tokens come first, then the ranks."""
    config = content["config"]
    special, size = int(config["default_num_special_tokens"]), int(config["default_vocab_size"])
    if not 0 <= special <= size <= MOST_IDS:
        raise UserError(f"expected from 0 to {MOST_IDS:,} ids, of them {special} special; got {size}")
    listed: Iterable[Mapping[str, Any]] = content.get("special_tokens") or TEKKEN_SPECIAL
    return BytePairs(
        pieces=tuple(base64.b64decode(entry["token_bytes"]) for entry in content["vocab"][: size - special]),
        pattern=config["pattern"],
        first=special,
        special={str(entry["token_str"]): int(entry["rank"]) for entry in listed if 0 <= int(entry["rank"]) < special},
    )


def read_tiktoken(content: bytes, pattern: str) -> BytePairs:
    """Lines of base64 and rank; the ranks are the ids, and follow one another from any number on."""
    try:
        lines = [line.split() for line in content.splitlines() if line]
        table = sorted((int(rank), base64.b64decode(piece, validate=True)) for piece, rank in lines)
    except (ValueError, binascii.Error) as error:
        raise UserError(f"this is no tiktoken file ({str(error)[:100]}). Expected lines of: base64 rank") from None
    first = table[0][0] if table else 0
    for place, (rank, _) in enumerate(table, first):
        if rank != place:
            raise UserError(
                f"expected ranks that follow one another, got {str(rank)[:20]} in the place of {str(place)[:20]}"
            )
    return BytePairs(pieces=tuple(piece for _, piece in table), pattern=pattern, first=first)


def read_tokenizer_json(content: dict[str, Any]) -> BytePairs:
    """Byte-level BPE whose merges are those of its ranks; any other tokenizer.json is a `UserError` with the reason."""
    model = content["model"]
    pattern = _pattern(content)
    special = {str(entry["content"]): int(entry["id"]) for entry in content.get("added_tokens") or []}
    if text := next((entry for entry in content.get("added_tokens") or [] if not entry["special"]), None):
        raise UserError(
            f"the added token {text['content']!r:.80} is found in text before merging, which only it can do"
        )
    table = sorted((int(token), piece) for piece, token in model["vocab"].items() if piece not in special)
    first = table[0][0] if table else 0
    for place, (token, _) in enumerate(table, first):
        if token != place:
            raise UserError(f"expected ids that follow one another, got none for {place}")
    if inside := [name for name, token in special.items() if first <= token < first + len(table)]:
        raise UserError(f"expected special tokens before or after all others, got {inside[0]!r:.80} among them")
    found = BytePairs(
        pieces=tuple(to_bytes(piece) for _, piece in table), pattern=pattern, first=first, special=special
    )
    _require_own_merges(found, model)
    return found


def tekken(pairs: BytePairs) -> bytes:
    """The content of tekken.json."""
    if outside := [name for name, token in pairs.special.items() if token >= pairs.first]:
        raise UserError(f"tekken.json puts special tokens before all others, and {outside[0]!r:.80} comes after them")
    entries = [
        {"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": _text(piece)}
        for rank, piece in enumerate(pairs.pieces)
    ]
    content: dict[str, Any] = {
        "config": {
            "pattern": pairs.pattern,
            "num_vocab_tokens": len(entries),
            "default_vocab_size": pairs.first + len(entries),
            "default_num_special_tokens": pairs.first,
            "version": "v3",
        },
        "vocab": entries,
    }
    if pairs.first:
        content["special_tokens"] = [
            {"rank": token, "token_str": name, "is_control": True} for token, name in enumerate(_special_names(pairs))
        ]
    return (json.dumps(content, indent=1) + "\n").encode()


def tiktoken(pairs: BytePairs) -> bytes:
    """The content of a .tiktoken file, whose ranks are the ids."""
    return b"".join(
        b"%s %d\n" % (base64.b64encode(piece), token) for token, piece in enumerate(pairs.pieces, pairs.first)
    )


def tokenizer_json(pairs: BytePairs) -> bytes:
    """The content of tokenizer.json."""
    spelt = {_spelt(piece): token for token, piece in enumerate(pairs.pieces, pairs.first)}
    after = {name: token for name, token in pairs.special.items() if token >= pairs.first}
    special = {name: token for token, name in enumerate(_special_names(pairs))} | after
    if both := sorted(special.keys() & spelt.keys()):
        raise UserError(
            f"{both[0]!r:.80} is the name of a special token and of a piece: tokenizer.json needs two names"
        )
    if any(len(piece) > LONGEST for piece in pairs.pieces):
        raise UserError(f"expected pieces of at most {LONGEST:,} bytes")
    ranks = {piece: rank for rank, piece in enumerate(pairs.pieces)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    split = {"type": "Split", "pattern": {"Regex": pairs.pattern}, "behavior": "Removed", "invert": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token, "content": name} | flags for name, token in special.items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": special | spelt,
            "merges": [[*map(_spelt, pair)] for pair in merges(pairs.pieces, ranks).values()],
        },
    }
    return (indented_json.dumps(content) + "\n").encode()


def to_bytes(text: str) -> bytes:
    """Undo GPT-2's spelling of bytes as printable characters; an added token is not spelt so."""
    try:
        return bytes(BYTE_LEVEL[character] for character in text)
    except KeyError:
        return text.encode()


def _pattern(content: dict[str, Any]) -> str:
    """The one pattern that cuts text; any other rule is a `UserError`."""
    if content.get("normalizer") is not None:
        raise UserError("its normalizer changes text, which only tokenizer.json can do")
    before = content.get("pre_tokenizer") or {}
    steps = before.get("pretokenizers", []) if before.get("type") == "Sequence" else [before]
    match [step.get("type") for step in steps]:
        case ["ByteLevel"] if steps[0].get("use_regex", True):
            pattern: Any = GPT_2
        case ["Split", "ByteLevel"] if not steps[1].get("use_regex", True):
            split = steps[0]
            pattern = split["pattern"].get("Regex")
            if (split.get("behavior"), split.get("invert")) not in (("Isolated", False), ("Removed", True)):
                raise UserError("its pattern says what is between parts of text, and not what they are")
        case kinds:
            raise UserError(f"expected one pattern and ByteLevel to cut text, got {kinds!r:.200}")
    if steps[-1].get("add_prefix_space", True):
        raise UserError("it puts a space before a text, which only tokenizer.json can do")
    return str(pattern)


def _require_own_merges(pairs: BytePairs, model: dict[str, Any]) -> None:
    """Refuse a model whose list of merges is not the one that its ranks give."""
    kept = {
        name: model.get(name) for name in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")
    }
    if model["type"] != "BPE" or any(kept.values()) or model.get("byte_fallback"):
        raise UserError(f"expected byte-level BPE, got {model['type']!r:.40} with {kept!r:.200}")
    if any(len(piece) > LONGEST for piece in pairs.pieces):
        raise UserError(f"expected pieces of at most {LONGEST:,} bytes")
    ranks = {piece: rank for rank, piece in enumerate(pairs.pieces)}
    listed = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]]
    made = [(to_bytes(left), to_bytes(right)) for left, right in listed]
    places = [ranks[left + right] for left, right in made]
    if places != sorted(places):
        raise UserError("its merges are in another order than its ids, and the other formats have only ids")
    there = set(made)
    for piece in pairs.pieces:
        pair = last_pair(piece, ranks) if len(piece) > 1 else None
        if pair and pair not in there:
            raise UserError(f"the merge {pair!r:.200} follows from its ids, and is not in its list")
        if len(piece) > 1 and not pair and not model.get("ignore_merges"):
            raise UserError(f"no merges make its piece {piece!r:.80}, which the other formats take for a whole part")


def _special_names(pairs: BytePairs) -> list[str]:
    """The names of the ids before the ranks; one without a name gets mistral_common's."""
    names = {token: name for name, token in pairs.special.items()}
    return [names.get(token, f"<SPECIAL_{token}>") for token in range(pairs.first)]


def _text(piece: bytes) -> str | None:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def _byte_level() -> dict[str, int]:
    """Printable Latin-1 characters stand for themselves; the other bytes, in order, for U+0100 and on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


BYTE_LEVEL = _byte_level()
_SPELT = {byte: character for character, byte in BYTE_LEVEL.items()}


def _spelt(piece: bytes) -> str:
    return "".join(map(_SPELT.__getitem__, piece))
