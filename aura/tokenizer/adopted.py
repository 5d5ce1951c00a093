"""An adopted tokenizer: other people's file, kept as it is, behind the methods of `Tokenizer`.

Ids are those of the library that the file is for (SentencePiece, tokenizers, tiktoken), which encodes. So nothing that
was made with the file elsewhere becomes invalid. What ours promise may not hold: a normalisation loses characters, a
rule adds a space, text spells the name of a special token. `aura.validate` measures that and says so.

A folder of one holds the file under a name that its library looks for, golden encodings, and adopted.json: where the
file is from, its SHA-256, and the ids of its roles. No control token comes out of text, whatever the library's own
default is.
"""

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aura.core import checksums
from aura.core.errors import UserError
from aura.tokenizer import foreign
from aura.tokenizer.adopted_record import BASE, ROLES, read_record
from aura.tokenizer.arguments import checked_ids, checked_sequences, checked_text, checked_texts, refuse_surrogates
from aura.tokenizer.chat import TOKENS
from aura.tokenizer.decoding import Decoder, IncrementalDecoder
from aura.tokenizer.foreign import Foreign
from aura.tokenizer.id_arrays import Ids
from aura.tokenizer.model_file import Kind
from aura.tokenizer.tokenizer import GOLDEN, MADE_BY, AllowedSpecial, verify_golden

NAMES = {  # of special tokens, as published tokenizers call them; of several in a file the first counts
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>"),
    "bos": ("<bos>", "<s>", "<|begin_of_text|>", "[CLS]", "<|startoftext|>", "<|bos|>"),
    "eos": ("<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>", "[SEP]", "<|eos|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
}
Roles = Mapping[str, int | None]
ALGORITHMS = ("BPE", "Unigram")
NEAREST = 5  # names in a message


class AdoptedTokenizer:
    """A tokenizer that aura did not train.

    Arguments:
        file: spiece.model, tokenizer.model, tokenizer.json or tekken.json.
        roles: ids of some roles out of `ROLES`, None for a role that the tokenizer has not; the other roles have what
            the file states, or a special token by its usual name.
        title: what errors call the file; by default its path.

    Attributes:
        sha256: hexadecimal hash of the file.
        encoding_sha256: hash of the file and of the ids of roles, which decide the ids around documents and messages.
        roles: the id of each role that there is.
        special: ids of special tokens by their names, those of roles among them.
        table: None; the library of the file encodes whole documents.

    Raises:
        UserError: the file is missing, damaged or none of these, or a role has an id out of the vocabulary.
    """

    table = None

    def __init__(self, file: Path, roles: Roles | None = None, title: str | None = None) -> None:
        self.file = file
        title = title or str(file)
        self._foreign = foreign.load(file, title)
        if self._foreign.algorithm not in ALGORITHMS:
            raise UserError(
                f"{title}: expected BPE or unigram, whose pieces spell the text; got {self._foreign.algorithm}, whose "
                "pieces do not. aura compare measures it; the pipeline takes another tokenizer"
            )
        self.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        wanted = {**_stated_roles(self._foreign), **(roles or {})}
        self.roles = {role: token for role, token in wanted.items() if token is not None}
        self.encoding_sha256 = encoding_hash(self.sha256, self.roles)
        for role, token in self.roles.items():
            if not 0 <= token < self.vocab_size:
                raise UserError(
                    f"{title}: the role {role}: expected an id from 0 to {self.vocab_size - 1}, got {token}. "
                    "See train_tokenizer.roles in params.yaml"
                )
        named = self.roles.values()
        self.kinds = tuple(Kind.SPECIAL if token in named else kind for token, kind in enumerate(self._foreign.kinds))
        self.special = dict(self._foreign.special) | {
            self._foreign.pieces[token].decode(errors="backslashreplace"): token
            for token in named
            if self._foreign.pieces[token]
        }

    @classmethod
    def load(cls, folder: Path) -> "AdoptedTokenizer":
        """The tokenizer of a folder that `adopt` wrote; a missing or altered file is a `UserError`."""
        record = read_record(folder)
        tokenizer = cls(folder / record["file"], {role: record["roles"].get(role) for role in ROLES})
        if tokenizer.sha256 != record["sha256"]:
            raise checksums.altered(tokenizer.file, record["sha256"], tokenizer.sha256, MADE_BY)
        if (folder / GOLDEN).exists():
            verify_golden(tokenizer, folder / GOLDEN)
        return tokenizer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.vocab_size:,} pieces, SHA-256 {self.sha256[:12]}…>"

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return self._foreign.vocab_size

    @property
    def pad_id(self) -> int | None:
        """The id that fills up; None without one."""
        return self.roles.get("pad")

    @property
    def bos_id(self) -> int | None:
        """The id that begins a document; None without one."""
        return self.roles.get("bos")

    @property
    def eos_id(self) -> int | None:
        """The id that ends a document; None without one."""
        return self.roles.get("eos")

    @property
    def unk_id(self) -> int | None:
        """The id of what cannot be encoded; None without one."""
        return self.roles.get("unk", self._foreign.unk_id)

    @property
    def word_prefix(self) -> str:
        """The text before a word alone that makes it look as in running text: empty if a rule adds a space anyway."""
        return self._foreign.word_prefix

    @cached_property
    def byte_lengths(self) -> Ids:
        """(vocab_size,) int32: bytes that each id stands for, 0 for special tokens.

        Over the ids of a text they sum to the size of the text as the tokenizer normalises it.
        """
        lengths = [0 if kind is Kind.SPECIAL else len(piece) for piece, kind in self._pieces()]
        return np.array(lengths, np.int32)

    @cached_property
    def forgeable(self) -> dict[str, int]:
        """Names of special tokens that a text can write: encoded, the name gives the id of the token."""
        names = [*self.special]
        encoded = self.encode_batch(names) if names else []
        return {name: self.special[name] for name, ids in zip(names, encoded, strict=True) if self.special[name] in ids}

    def encode(self, text: str, *, allowed_special: AllowedSpecial = ()) -> list[int]:
        """The ids of a text, without <bos> or <eos>; the arguments and errors are those of `Tokenizer.encode`.

        Where special tokens are allowed, each part between two of them is encoded alone.
        """
        [encoded] = self.encode_batch([checked_text(text)], allowed_special=allowed_special)
        ids: list[int] = encoded.tolist()
        return ids

    def encode_batch(
        self,
        texts: Iterable[str],
        threads: int = 1,  # noqa: ARG002 - as `Tokenizer`; the library decides
        *,
        allowed_special: AllowedSpecial = (),
    ) -> list[Ids]:
        """The ids of each text, without <bos> or <eos>."""
        listed, allowed = checked_texts(texts), self._allowed(allowed_special)
        refuse_surrogates(listed)
        if allowed:
            return [self._with_special(text, allowed) for text in listed]
        return [ids.astype(np.int32, copy=False) for ids in self._foreign.encode_batch(listed)] if listed else []

    def decode(self, ids: Iterable[int], *, keep_special: bool = False) -> str:
        """The text of ids by the library; special tokens vanish, or become their names."""
        checked = self._checked(ids)
        if not keep_special:
            return self._foreign.decode([token for token in checked if self.kinds[token] is not Kind.SPECIAL])
        runs = self._decoder.runs(checked)
        return "".join(
            self._decoder.to_text(run, keep_special=True)
            if self._decoder.is_special(run[0])
            else self._foreign.decode(run)
            for run in runs
        )

    def decode_batch(self, sequences: Iterable[Iterable[int]], *, keep_special: bool = False) -> list[str]:
        """The text of each sequence of ids."""
        return [self.decode(ids, keep_special=keep_special) for ids in checked_sequences(sequences)]

    def decode_bytes(self, ids: Iterable[int], *, keep_special: bool = False) -> bytes:
        """The bytes that ids stand for, one after the other; a rule of the library for the whole text does not act."""
        return self._decoder.to_bytes(self._checked(ids), keep_special=keep_special)

    def incremental_decoder(self, *, keep_special: bool = False) -> IncrementalDecoder:
        """A decoder for ids that come one after the other, by `decode_bytes`."""
        return IncrementalDecoder(self._decoder, self._checked, keep_special=keep_special)

    def piece(self, token: int) -> str:
        """The piece of an id as text: a special token's name; a part of a character is spelt as bytes."""
        [token] = self._checked([token])
        name = self._special_names.get(token)
        return self._foreign.pieces[token].decode(errors="backslashreplace") if name is None else name

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """`piece` of each id."""
        return [self.piece(token) for token in self._checked(ids)]

    def learnt_texts(self) -> dict[int, str]:
        """The text of each learnt piece that is no part of a character, by its id."""
        texts = {}
        for token, (piece, kind) in enumerate(self._pieces()):
            if kind is Kind.LEARNT:
                with suppress(UnicodeDecodeError):
                    texts[token] = piece.decode()
        return texts

    def is_special(self, token: int) -> bool:
        """Return whether an id is a special token."""
        [token] = self._checked([token])
        return self.kinds[token] is Kind.SPECIAL

    @cached_property
    def _special_names(self) -> dict[int, str]:
        return {token: name for name, token in self.special.items()}

    @cached_property
    def _decoder(self) -> Decoder:
        pieces = [b"" if kind is Kind.SPECIAL else piece for piece, kind in self._pieces()]
        names = {token: name.encode() for token, name in self._special_names.items()}
        return Decoder.of_bytes(pieces, self.kinds, names)

    def _pieces(self) -> Iterable[tuple[bytes, Kind]]:
        return zip(self._foreign.pieces, self.kinds, strict=True)

    def _with_special(self, text: str, allowed: Iterable[str]) -> Ids:
        longest_first = sorted(allowed, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
        encoded = iter(self._foreign.encode_batch(parts[::2]))
        ids = [[self.special[part]] if place % 2 else next(encoded) for place, part in enumerate(parts)]
        return np.concatenate(ids).astype(np.int32, copy=False)

    def _allowed(self, allowed_special: AllowedSpecial) -> list[str]:
        if isinstance(allowed_special, str):
            if allowed_special == "all":
                return [name for name in self.special if name]
            allowed_special = [allowed_special]
        unknown = [name for name in allowed_special if name not in self.special]
        if unknown:
            raise ValueError(
                f'allowed_special: expected "all", or a set of names out of {" ".join(self.special)}; '
                f"got {', '.join(map(repr, unknown))}"
            )
        return [name for name in allowed_special if name]

    def _checked(self, ids: object) -> list[int]:
        checked = checked_ids(ids)
        if outside := [token for token in checked if not 0 <= token < self.vocab_size]:
            raise ValueError(f"expected ids from 0 to {self.vocab_size - 1}, got {outside[0]}")
        return checked


def base_of(folder: Path) -> "AdoptedTokenizer | None":
    """The tokenizer that an extended one was made of; None for one that was not extended."""
    for suffix in (".model", ".json"):
        if (folder / f"{BASE}{suffix}").exists():
            return AdoptedTokenizer(folder / f"{BASE}{suffix}")
    return None


def roles_by_name(file: Path, wanted: Mapping[Any, str | int | None]) -> dict[str, int | None]:
    """The ids of roles that are given as names of tokens, or as ids; an unknown name is a `UserError`.

    A name that the file calls a special token is that one; otherwise it must be the text of one piece.
    """
    if not wanted:
        return {}
    found = foreign.load(file, str(file))
    return {role: _named(found, file, role, name) for role, name in wanted.items()}


def _named(found: Foreign, file: Path, role: str, name: str | int | None) -> int | None:
    if name is None or isinstance(name, int):
        return name
    if name in found.special:
        return found.special[name]
    learnt = zip(found.pieces, found.kinds, strict=True)
    tokens = [token for token, (piece, kind) in enumerate(learnt) if kind is Kind.LEARNT and piece == name.encode()]
    if name and len(tokens) == 1:
        return tokens[0]
    if tokens:
        told = f"{name!r}, which {len(tokens)} tokens spell ({', '.join(map(str, tokens[:5]))}). Give the id"
    else:
        close = difflib.get_close_matches(name, [*found.special], NEAREST, cutoff=0.0)
        told = f"{name!r}; its special tokens are {', '.join(close) or 'without names'}"
        told += ", …" if len(found.special) > len(close) else ""
    raise UserError(f"train_tokenizer.roles.{role}: expected the name of a token of {file}, got {told}")


def encoding_hash(sha256: str, roles: Mapping[str, int]) -> str:
    """The identity of a file with roles, which stand for it in token shards and models."""
    told = "".join(f"\n{role} {token}" for role, token in sorted(roles.items()))
    return hashlib.sha256(f"{sha256}{told}".encode()).hexdigest()


def _stated_roles(tokenizer: Foreign) -> dict[str, int]:
    """The roles that a file states, or that its special tokens have by their usual names."""
    found = {
        role: next((tokenizer.special[name] for name in names if name in tokenizer.special), None)
        for role, names in {**NAMES, **{role: (token,) for role, token in TOKENS.items()}}.items()
    }
    return {role: token for role, token in found.items() if token is not None} | dict(tokenizer.stated_roles)
