"""Tokenizers that others made give the ids of their own libraries, from files that are kept as they are."""

import json
from functools import partial
from pathlib import Path

import mistral_common
import numpy as np
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer import golden
from aura.tokenizer.adopted import AdoptedTokenizer, Roles, adopt
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
def test_a_sentencepiece_model_keeps_its_ids_and_its_bytes(tmp_path: Path, name: str):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(DATA / name))
    tokenizer = adopt(DATA / name, tmp_path / "spm")
    assert (tmp_path / "spm/tokenizer.model").read_bytes() == (DATA / name).read_bytes()
    assert tokenizer.vocab_size == processor.GetPieceSize()
    assert tokenizer.roles == Roles(bos=1, eos=2, unk=0)
    for text, ids in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
        assert ids.tolist() == processor.Encode(text) == tokenizer.encode(text)
        assert tokenizer.decode(ids) == processor.Decode(ids.tolist())
    ids = tokenizer.encode(TEXTS[14])
    decoder = tokenizer.incremental_decoder()
    assert "".join(map(decoder.decode, ids)) + decoder.decode([], final=True) == tokenizer.decode_bytes(ids).decode()


def test_tekken_keeps_its_ids(tmp_path: Path):
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    theirs = Tekkenizer.from_file(DATA / "tekken_240911.json")
    tokenizer = adopt(DATA / "tekken_240911.json", tmp_path / "spm")
    assert tokenizer.vocab_size == theirs.n_words
    assert tokenizer.roles == Roles(pad=11, bos=1, eos=2, unk=0)
    for text, ids in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
        assert ids.tolist() == theirs.encode(text, bos=False, eos=False)
        assert tokenizer.decode(ids) == text


def test_an_old_model_with_default_flags_is_adopted(tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(line for part in stdlib_texts(60) for line in part.splitlines() if line.strip()))
    train = partial(sentencepiece.SentencePieceTrainer.train, input=str(text), minloglevel=2)
    train(model_prefix=str(tmp_path / "old"), vocab_size=500, hard_vocab_limit=False)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "old.model"))
    tokenizer = adopt(tmp_path / "old.model", tmp_path / "spm")
    assert tokenizer.roles == Roles(bos=1, eos=2, unk=0)
    for line, ids in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
        assert ids.tolist() == processor.Encode(line)
    lengths = tokenizer.byte_lengths[tokenizer.encode("hello world")]
    assert int(np.sum(lengths)) == len(" hello world")  # the dummy prefix is a byte


def test_a_folder_is_verified_and_hostile_records_are_refused(tmp_path: Path):
    folder = tmp_path / "spm"
    adopt(DATA / MODELS[0], folder)
    with pytest.raises(UserError, match="the role eos: expected the id of a special token, got 5000"):
        adopt(DATA / MODELS[0], tmp_path / "other", Roles(eos=5000))
    assert not (tmp_path / "other").exists()
    record = folder / "adopted.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"file": "../../etc/passwd"}))
    with pytest.raises(UserError, match=r"adopted\.json was altered"):
        AdoptedTokenizer.load(folder)
    (folder / "_SHA256SUMS").unlink()
    with pytest.raises(UserError):
        AdoptedTokenizer.load(folder)
    model = model_pb2.ModelProto.FromString((DATA / MODELS[0]).read_bytes())
    (tmp_path / "cut.model").write_bytes(model.SerializeToString()[:1000])
    with pytest.raises(UserError, match="is no SentencePiece model"):
        adopt(tmp_path / "cut.model", tmp_path / "cut")
