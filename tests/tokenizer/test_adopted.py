"""Tokenizers that others made give the ids of their own libraries, from files that are kept as they are."""

from functools import partial
from pathlib import Path

import mistral_common
import numpy as np
import pytest
import sentencepiece

from aura.tokenizer import golden
from aura.tokenizer.adopted import AdoptedTokenizer
from tests.conftest import stdlib_texts

DATA = Path(mistral_common.__file__).parent / "data"
MODELS = (
    "tokenizer.model.v1",
    "mistral_instruct_tokenizer_240216.model.v2",
    "mistral_instruct_tokenizer_240323.model.v3",
    "mistral_instruct_tokenizer_241114.model.v7",
)
TEXTS = [*golden.TEXTS, *golden.WITH_SPECIAL, "[INST] <s></s> [/INST]", *stdlib_texts(20)]


@pytest.mark.parametrize("name", MODELS)
def test_a_sentencepiece_model_keeps_its_ids_and_its_bytes(name: str):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(DATA / name))
    tokenizer = AdoptedTokenizer(DATA / name)
    assert tokenizer.vocab_size == processor.GetPieceSize()
    assert tokenizer.roles == {"bos": 1, "eos": 2, "unk": 0}
    for text, ids in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
        assert ids.tolist() == processor.Encode(text) == tokenizer.encode(text)
        assert tokenizer.decode(ids) == processor.Decode(ids.tolist())
    ids = tokenizer.encode(TEXTS[14])
    decoder = tokenizer.incremental_decoder()
    assert "".join(map(decoder.decode, ids)) + decoder.decode([], final=True) == tokenizer.decode_bytes(ids).decode()


def test_tekken_keeps_its_ids():
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    theirs = Tekkenizer.from_file(DATA / "tekken_240911.json")
    tokenizer = AdoptedTokenizer(DATA / "tekken_240911.json")
    assert tokenizer.vocab_size == theirs.n_words
    assert tokenizer.roles == {"pad": 11, "bos": 1, "eos": 2, "unk": 0}
    for text, ids in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
        assert ids.tolist() == theirs.encode(text, bos=False, eos=False)
        assert tokenizer.decode(ids) == text


def test_an_old_model_with_default_flags_is_adopted(tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(line for part in stdlib_texts(60) for line in part.splitlines() if line.strip()))
    train = partial(sentencepiece.SentencePieceTrainer.train, input=str(text), minloglevel=2)
    train(model_prefix=str(tmp_path / "old"), vocab_size=500, hard_vocab_limit=False)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "old.model"))
    tokenizer = AdoptedTokenizer(tmp_path / "old.model")
    assert tokenizer.roles == {"bos": 1, "eos": 2, "unk": 0}
    for line, ids in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
        assert ids.tolist() == processor.Encode(line)
    lengths = tokenizer.byte_lengths[tokenizer.encode("hello world")]
    assert int(np.sum(lengths)) == len(" hello world")  # the dummy prefix is a byte


def test_special_tokens_are_text_unless_they_are_allowed():
    tokenizer = AdoptedTokenizer(DATA / MODELS[3])
    assert 3 not in tokenizer.encode("[INST] hi")
    ids = tokenizer.encode("[INST] hi [/INST]</s>", allowed_special={"[INST]", "[/INST]"})
    assert (ids[0], ids[-1] == 2, 4 in ids) == (3, False, True)
    assert tokenizer.encode("a</s>", allowed_special="all")[-1] == 2
    assert tokenizer.decode(ids, keep_special=True).startswith("[INST]")
    assert "INST" not in tokenizer.decode([3, *tokenizer.encode("hi"), 4])
    assert tokenizer.forgeable == {}
    with pytest.raises(ValueError, match="allowed_special: expected"):
        tokenizer.encode("a", allowed_special={"<none>"})
    with pytest.raises(ValueError, match="lone surrogate"):
        tokenizer.encode("\ud800")
    with pytest.raises(ValueError, match="expected ids from 0 to 32767, got 32768"):
        tokenizer.decode([32768])
