"""Decoding whole, in bytes, in batches and one id after the other: all agree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.tokenizer.model_file import Kind
from aura.tokenizer.symbols import SPACE

TEXT = f"naïve 🙂👩‍👩‍👧 {SPACE}中文 é\n\t x"
ANY_ID = st.integers(0, 999)
# Bytes that begin characters, bytes that go on with them, and all else: most random ids are no text at all.
IDS = st.lists(st.one_of(ANY_ID, st.integers(30, 290)), max_size=12)


def test_special_tokens_are_kept_or_vanish(tokenizer):
    ids = [tokenizer.bos_id, *tokenizer.encode("Hi 🙂"), tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id]
    assert tokenizer.decode(ids) == "Hi 🙂"
    assert tokenizer.decode(ids, keep_special=True) == "<bos>Hi 🙂<eos><unk><pad>"
    assert tokenizer.decode_bytes(ids) == "Hi 🙂".encode()
    assert tokenizer.decode_bytes(ids, keep_special=True) == "<bos>Hi 🙂<eos><unk><pad>".encode()
    assert tokenizer.decode_batch([ids, [], ids[:1]], keep_special=True) == ["<bos>Hi 🙂<eos><unk><pad>", "", "<bos>"]
    assert tokenizer.decode_batch(np.array([ids, ids])) == ["Hi 🙂", "Hi 🙂"]
    assert tokenizer.decode_batch(iter(tokenizer.encode_batch([TEXT, "b"]))) == [TEXT, "b"]


def test_kept_special_tokens_encode_to_the_same_ids(tokenizer):
    ids = [tokenizer.bos_id, *tokenizer.encode(TEXT), tokenizer.eos_id]
    assert tokenizer.encode(tokenizer.decode(ids, keep_special=True), allowed_special="all") == ids


def test_one_token_at_a_time_breaks_no_character(tokenizer):
    decoder = tokenizer.incremental_decoder()
    parts = [decoder.decode(token) for token in tokenizer.encode(TEXT)]
    assert "".join(parts) == TEXT
    assert "" in parts, "a character of several ids comes out with its last"
    assert "\ufffd" not in "".join(parts)
    assert decoder.decode([], final=True) == ""


def test_an_unfinished_character_waits_and_is_told_only_at_the_end(tokenizer):
    first, second, third = tokenizer.encode(SPACE)
    decoder = tokenizer.incremental_decoder()
    assert decoder.decode([first, second]) == ""
    assert decoder.decode(np.int32(third)) == SPACE
    assert decoder.decode(np.array([first, second], np.uint16)) == ""
    assert decoder.decode([], final=True) == "\ufffd\ufffd"
    assert decoder.decode(third, final=True) == "\ufffd", "ready for another text"
    assert decoder.decode([first, tokenizer.eos_id, second, third], final=True) == "\ufffd\ufffd\ufffd"


@settings(max_examples=300, deadline=None)
@given(ids=IDS, cut=st.integers(0, 12), keep=st.booleans())
def test_all_ways_of_decoding_agree_on_any_ids(tokenizers, ids, cut, keep):
    for tokenizer in tokenizers.values():
        whole = tokenizer.decode(ids, keep_special=keep)
        decoder = tokenizer.incremental_decoder(keep_special=keep)
        assert decoder.decode(ids[:cut]) + decoder.decode(ids[cut:], final=True) == whole
        assert "".join(map(decoder.decode, ids)) + decoder.decode([], final=True) == whole
        assert tokenizer.decode_batch([ids], keep_special=keep) == [whole]
        content = tokenizer.decode_bytes(ids, keep_special=keep)
        assert len(content) == len(tokenizer.decode_bytes(ids[:cut], keep_special=keep)) + len(
            tokenizer.decode_bytes(ids[cut:], keep_special=keep)
        )
        if keep or not any(tokenizer.is_special(token) for token in ids):
            assert content.decode(errors="replace").replace("\ufffd", "") == whole.replace("\ufffd", "")
        if not keep and tokenizer.unk_id not in ids:
            assert whole == tokenizer.proc.Decode(ids), "SentencePiece says the same"


@pytest.mark.parametrize("keep", [True, False])
def test_bytes_of_each_id_are_those_that_it_is_counted_for(tokenizer, keep):
    for token in range(tokenizer.vocab_size):
        content = tokenizer.decode_bytes([token], keep_special=keep)
        if tokenizer.kinds[token] is Kind.SPECIAL:
            assert content == (tokenizer.piece(token).encode() if keep else b"")
        else:
            assert len(content) == tokenizer.byte_lengths[token]
