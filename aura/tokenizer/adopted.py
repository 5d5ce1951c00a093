"""An adopted tokenizer: other people's file, kept as it is, behind the methods of `Tokenizer`.

Ids are those of the library that the file is for (SentencePiece, tokenizers, tiktoken), which encodes. So nothing that
was made with the file elsewhere becomes invalid. What ours promise may not hold: a normalisation loses characters, a
rule adds a space. `aura.validate` measures that and says so.

A folder of one holds the file under a name that its library looks for, and adopted.json: where the file is from, its
SHA-256, and the ids of its roles. No special token comes out of text, whatever the library's own default is.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.tokenizer import foreign
from aura.tokenizer.arguments import checked_ids, checked_sequences, checked_text, checked_texts
from aura.tokenizer.decoding import Decoder, IncrementalDecoder
from aura.tokenizer.foreign import Foreign
from aura.tokenizer.id_arrays import Ids
from aura.tokenizer.model_file import Kind

RECORD, FORMAT = "adopted.json", 1
MADE_BY = "dvc repro train_tokenizer"
ROLES = ("pad", "bos", "eos", "unk")
NAMES = {  # of special tokens, as published tokenizers call them; of several in a file the first counts
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>"),
    "bos": ("<bos>", "<s>", "<|begin_of_text|>", "[CLS]", "<|startoftext|>", "<|bos|>"),
    "eos": ("<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>", "[SEP]", "<|eos|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
}


@dataclass(frozen=True)
class Roles:
    """Ids of the special tokens that stages use; None where the tokenizer has no such token."""

    pad: int | None = None
    bos: int | None = None
    eos: int | None = None
    unk: int | None = None


class AdoptedTokenizer:
    """A tokenizer that aura did not train.

    Arguments:
        file: spiece.model, tokenizer.model, tokenizer.json or tekken.json.
        roles: ids of special tokens; left out, those that `roles_of` finds.

    Attributes:
        sha256: hexadecimal hash of the file.
        encoding_sha256: the same; no slot of it can be named.
        roles: the ids of special tokens.

    Raises:
        UserError: the file is missing, damaged or none of these, or a role has an id that is no special token.
    """

    def __init__(self, file: Path, roles: Roles | None = None) -> None:
        self.file = file
        self._foreign = foreign.load(file, str(file))
        self.sha256 = self.encoding_sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        self.kinds = self._foreign.kinds
        self.roles = roles_of(self._foreign) if roles is None else roles
        for name, token in asdict(self.roles).items():
            if token is not None and not self._is_special(token):
                raise UserError(f"{file}: the role {name}: expected the id of a special token, got {token}")

    @classmethod
    def load(cls, folder: Path) -> "AdoptedTokenizer":
        """The tokenizer of a folder that `adopt` wrote; a missing or altered file is a `UserError`."""
        checksums.verify(folder, MADE_BY)
        shape: dict[str, Any] = {"file": str, "sha256": str, "roles": {}}
        record = files.read_format(folder / RECORD, MADE_BY, FORMAT, **shape)
        if record["file"] not in foreign.INSIDE:
            raise UserError(f"{folder / RECORD}: file: expected one of {', '.join(foreign.INSIDE)}, got another")
        return cls(folder / record["file"], Roles(**{name: record["roles"].get(name) for name in ROLES}))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.vocab_size:,} pieces, SHA-256 {self.sha256[:12]}…>"

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return self._foreign.vocab_size

    @cached_property
    def byte_lengths(self) -> Ids:
        """(vocab_size,) int32: bytes that each id decodes to, 0 for special tokens."""
        return np.array([*map(len, self._foreign.pieces)], np.int32)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens."""
        [ids] = self.encode_batch([checked_text(text)])
        return ids.tolist()

    def encode_batch(self, texts: Iterable[str], threads: int = 1) -> list[Ids]:  # noqa: ARG002 - as `Tokenizer`
        """The ids of each text, without special tokens; the library decides how many threads it uses."""
        listed = checked_texts(texts)
        return [ids.astype(np.int32, copy=False) for ids in self._foreign.encode_batch(listed)] if listed else []

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids by the library; special tokens vanish."""
        return self._foreign.decode(self._checked(ids))

    def decode_batch(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """The text of each sequence of ids."""
        return [self.decode(ids) for ids in checked_sequences(sequences)]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that ids stand for, one after the other; a rule of the library for the whole text does not act."""
        return b"".join(self._foreign.pieces[token] for token in self._checked(ids))

    def incremental_decoder(self, *, keep_special: bool = False) -> IncrementalDecoder:
        """A decoder for ids that come one after the other, by `decode_bytes`."""
        return IncrementalDecoder(self._decoder, self._checked, keep_special=keep_special)

    def piece(self, token: int) -> str:
        """The piece of an id as text; a part of a character is spelt as bytes."""
        [token] = self._checked([token])
        return self._foreign.pieces[token].decode(errors="backslashreplace")

    def is_special(self, token: int) -> bool:
        """Return whether an id is a special token, which no text encodes to."""
        [token] = self._checked([token])
        return self._is_special(token)

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder.of_bytes(self._foreign.pieces, self.kinds)

    def _is_special(self, token: int) -> bool:
        return 0 <= token < self.vocab_size and self.kinds[token] is Kind.SPECIAL

    def _checked(self, ids: object) -> list[int]:
        checked = checked_ids(ids)
        if outside := [token for token in checked if not 0 <= token < self.vocab_size]:
            raise ValueError(f"expected ids from 0 to {self.vocab_size - 1}, got {outside[0]}")
        return checked


def roles_of(tokenizer: Foreign) -> Roles:
    """The roles that a file states, or that its special tokens have by their usual names."""
    found = {
        role: next((tokenizer.special[name] for name in names if name in tokenizer.special), None)
        for role, names in NAMES.items()
    }
    return Roles(**{**found, **tokenizer.stated_roles})


def adopt(source: Path, output: Path, roles: Roles | None = None) -> AdoptedTokenizer:
    """Make the folder `output` anew: the file as it is, and what aura found out about it."""
    file = foreign.file_of(source, str(source))
    adopted = AdoptedTokenizer(file, roles)
    name = file.name if file.name in foreign.INSIDE else foreign.usual_name(file)
    record = {"format": FORMAT, "file": name, "sha256": adopted.sha256, "roles": asdict(adopted.roles)}
    with files.replaced_folder(output) as unfinished:
        files.write_bytes(unfinished / name, file.read_bytes())
        files.write_json(unfinished / RECORD, record)
        checksums.write(unfinished)
    return AdoptedTokenizer.load(output)
