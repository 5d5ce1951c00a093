"""Proof that token shards hold the text that they were made from.

Each block of documents is checked while its text is at hand: its ids lie in the vocabulary, and a sample of its
documents is decoded and compared with their text. An adopted tokenizer may be lossy: it encodes the sample once more.
Each shard is checked as it will be written: <bos> and <eos> stand
where the layout puts them, and no other special token is in it. A wrong table of units, a fault of a library or of
memory therefore ends the run before it becomes training data. The price is 1 to 2 % of the time of encoding. A shard
that the action cache kept was checked when it was made.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aura.core.errors import UserError
from aura.encode.options import Encode
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.id_arrays import Ids
from aura.tokenizer.model_file import Kind
from aura.tokenizer.opening import AnyTokenizer

DOCUMENTS_OF_ONE = 200  # one document out of so many is decoded
LEAST_DOCUMENTS = 8  # documents of each block that are decoded at least; the first and the last are among them
ENDS = 2048  # ids that are decoded at the beginning of such a document, and as many at its end

AnyIds = npt.NDArray[np.integer]


class EncodingCheck:
    """Compares ids with the documents that they were made from; every difference is a `UserError`."""

    def __init__(self, tokenizer: AnyTokenizer, layout: Encode) -> None:
        self._tokenizer = tokenizer
        self._layout = layout
        special = [token for token, kind in enumerate(tokenizer.kinds) if kind is Kind.SPECIAL]
        if isinstance(tokenizer, AdoptedTokenizer):
            of_text = {tokenizer.unk_id, *tokenizer.forgeable.values()}
            special = [token for token in special if token not in of_text]
        self._special = special
        self._special_come_first = bool(special) and special == list(
            range(len(special))
        )  # then one comparison finds them

    def block(self, path: str, documents: pa.Table, ids: Ids, counts: AnyIds) -> None:
        """Check the ids of some documents, without <bos> and <eos>.

        Arguments:
            path: the corpus file of the documents.
            documents: rows of the corpus's schema.
            ids: (tokens,) the ids of all documents, one after the other.
            counts: (documents,) the number of ids of each document.
        """
        for got in (int(ids.min()), int(ids.max())) if len(ids) else ():
            if not 0 <= got < self._tokenizer.vocab_size:
                raise _wrong(path, f"expected ids from 0 to {self._tokenizer.vocab_size - 1}, got {got}")
        ends = np.cumsum(counts)
        for row in _sample(len(documents)):
            self._document(path, documents.slice(row, 1), ids[ends[row] - counts[row] : ends[row]])

    def marks(self, path: str, ids: AnyIds, counts: AnyIds, before: int = 0) -> None:
        """Check the special tokens of some documents.

        Arguments:
            path: the corpus file of the documents.
            ids: (tokens,) all ids.
            counts: (documents,) the number of ids of each document, <bos> and <eos> included.
            before: the number of documents of the file before these.
        """
        ends = np.cumsum(counts)
        tokenizer, layout = self._tokenizer, self._layout
        firsts = ids[ends - counts] if layout.add_bos else ids[:0]
        lasts = ids[ends - 1] if layout.add_eos else ids[:0]
        for token, found in ((tokenizer.bos_id, firsts), (tokenizer.eos_id, lasts)):
            if token is not None and (found != token).any():
                row = int(np.flatnonzero(found != token)[0])
                raise _wrong(
                    path, f"expected {tokenizer.piece(token)} in document {before + row + 1}, got id {found[row]}"
                )
        expected = int(np.isin(firsts, self._special).sum() + np.isin(lasts, self._special).sum())
        special = np.count_nonzero(
            ids <= self._special[-1] if self._special_come_first else np.isin(ids, self._special)
        )
        if special != expected:
            raise _wrong(path, f"expected {expected:,} special tokens in {len(counts):,} documents, got {special:,}")

    def _document(self, path: str, document: pa.Table, ids: Ids) -> None:
        """Compare one document, a table of one row, with what its ids spell: its size, its beginning and its end."""
        if isinstance(self._tokenizer, AdoptedTokenizer):
            self._encoded_again(path, document, ids)
            return
        name, content = document["doc"][0].as_py(), document["text"][0].as_py().encode()
        size = int(self._tokenizer.byte_lengths[ids].sum(dtype=np.int64))
        if size != len(content):
            raise _wrong(path, f"the ids of {name} stand for {size:,} bytes of text, expected {len(content):,}")
        head, tail = self._tokenizer.decode_bytes(ids[:ENDS]), self._tokenizer.decode_bytes(ids[-ENDS:])
        for spelt, expected in ((head, content[: len(head)]), (tail, content[len(content) - len(tail) :])):
            if spelt != expected:
                at = next(at for at in range(len(expected)) if spelt[at] != expected[at])
                told = f"expected {expected[at : at + 20]!r}, got {spelt[at : at + 20]!r}"
                raise _wrong(path, f"the ids of {name} stand for other text: {told}")

    def _encoded_again(self, path: str, document: pa.Table, ids: Ids) -> None:
        """Compare one document of a tokenizer that may be lossy with the ids that its text gets alone."""
        name, expected = document["doc"][0].as_py(), self._tokenizer.encode(document["text"][0].as_py())
        if expected != ids.tolist():
            raise _wrong(path, f"{name} has {len(ids):,} ids, and other ones than its text alone, {len(expected):,}")


def _sample(documents: int) -> list[int]:
    """The rows of the documents that are decoded, spread evenly; the same for the same number of documents."""
    number = min(documents, max(LEAST_DOCUMENTS, documents // DOCUMENTS_OF_ONE))
    rows: list[int] = np.linspace(0, documents - 1, number).astype(np.int64).tolist() if number else []
    return rows


def _wrong(path: str, told: str) -> UserError:
    return UserError(
        f"encoding {path} went wrong: {told}. No token shard was written for it. What encoding keeps between runs, a "
        "library or this machine's memory may be damaged: remove what is kept (aura cache prune --max-gb 0), then run "
        "dvc repro encode. If it happens again, run make setup, and report it with this message."
    )
