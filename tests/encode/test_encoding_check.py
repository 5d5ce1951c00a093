"""Encoding compares what it made with the text: wrong ids end the run, whatever made them wrong."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core.errors import UserError
from aura.core.keys import action_key, code_key
from aura.corpus import corpus
from aura.encode import kept_units
from aura.encode.encoding_check import ENDS, EncodingCheck
from aura.encode.options import Encode
from aura.storage.cache import Cache
from aura.tokenizer import symbols, unit_table, units
from aura.tokenizer import tokenizer as tokenizer_module
from tests.mini_tokens import MiniTokens

LAYOUT = Encode(add_bos=True, add_eos=True)


def documents_of(mini: MiniTokens) -> pa.Table:
    return pq.read_table(mini.corpus / "train/a-000.parquet").cast(corpus.SCHEMA).combine_chunks()


def with_marks(mini: MiniTokens, ids: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A shard of documents with <bos> and <eos>, and the number of ids of each."""
    tokenizer = mini.tokenizer
    whole = [np.array([tokenizer.bos_id, *one, tokenizer.eos_id], np.uint16) for one in ids]
    return np.concatenate(whole), np.array([len(one) for one in whole])


def test_a_kept_table_of_units_with_wrong_ids_ends_the_run(mini: MiniTokens):
    """Each entry of the cache is whole, so its checksum holds; the ids in it are another unit's."""
    tokenizer, cache = mini.tokenizer, Cache(mini.folder / "cache")
    cache.prune(0)
    table = tokenizer.table
    assert table is not None
    table.encode_block(documents_of(mini)["text"].chunk(0))
    known, ids = table._known
    table._known = (known, pa.concat_arrays([ids[:2], ids[2:][::-1]]))
    code = code_key((symbols, tokenizer_module, unit_table, units), kept_units.LIBRARIES)
    cache.put(action_key("units", tokenizer.sha256, code), None, {"table": table.content()})
    with pytest.raises(UserError, match=r"encoding held_out/a-000\.parquet went wrong: .*aura cache prune"):
        mini.encode()


@given(st.data())
def test_a_wrong_id_in_a_decoded_document_is_found(made: MiniTokens, data: st.DataObject):
    """Any id in any document of a small block: too small or large, of other text, or of a special token.

    An id that spells the same bytes, as <0x20> and a piece of one space do, is not told from the right one.
    """
    tokenizer, documents = made.tokenizer, documents_of(made).slice(0, 5)
    check = EncodingCheck(tokenizer, LAYOUT)
    ids = tokenizer.encode_batch(documents["text"].to_pylist())
    flat, counts = np.concatenate(ids), np.array([len(one) for one in ids])
    check.block("a", documents, flat, counts)
    decoded = [
        place
        for place, end in zip(range(len(flat)), np.repeat(np.cumsum(counts), counts), strict=True)
        if end - place <= ENDS
    ]
    place = data.draw(st.sampled_from(decoded))
    spelling = [tokenizer.decode_bytes([token]) for token in range(tokenizer.vocab_size)]
    same = {token for token, spelt in enumerate(spelling) if spelt == spelling[flat[place]]}
    wrong = data.draw(st.integers(-5, tokenizer.vocab_size + 5).filter(lambda token: token not in same))
    altered = flat.copy()
    altered[place] = wrong
    with pytest.raises(UserError, match="encoding a went wrong"):
        check.block("a", documents, altered, counts)


@given(place=st.integers(0, 10_000), data=st.data())
def test_a_missing_or_foreign_special_token_in_a_shard_is_found(made: MiniTokens, place: int, data: st.DataObject):
    tokenizer = made.tokenizer
    ids, counts = with_marks(made, tokenizer.encode_batch(documents_of(made)["text"].to_pylist()[:9]))
    check = EncodingCheck(tokenizer, LAYOUT)
    check.marks("a", ids, counts)
    place %= len(ids)
    altered = ids.copy()
    special = [token for token in range(tokenizer.vocab_size) if tokenizer.is_special(token)]
    altered[place] = data.draw(st.sampled_from([one for one in special if one != ids[place]]))
    with pytest.raises(UserError, match="encoding a went wrong: expected"):
        check.marks("a", altered, counts)


@pytest.mark.parametrize(("add_bos", "add_eos"), [(True, False), (False, True), (False, False)])
def test_marks_that_the_layout_does_not_ask_for_are_found(made: MiniTokens, add_bos: bool, add_eos: bool):
    ids, counts = with_marks(made, made.tokenizer.encode_batch(documents_of(made)["text"].to_pylist()[:3]))
    with pytest.raises(UserError, match="special tokens"):
        EncodingCheck(made.tokenizer, Encode(add_bos=add_bos, add_eos=add_eos)).marks("a", ids, counts)


def test_an_empty_block_and_an_empty_shard_are_right(made: MiniTokens):
    check, none = EncodingCheck(made.tokenizer, LAYOUT), np.empty(0, np.int64)
    check.block("a", corpus.SCHEMA.empty_table(), np.empty(0, np.int32), none)
    check.marks("a", np.empty(0, np.uint16), none)
