"""A tokenizer, and all that holds one, can be copied and sent to another process, whatever was done with it before."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

from aura.one_shot.spm_tokenizer import SPMTokenizer
from aura.tokenizer import foreign
from tests.compare.test_comparison import SENTENCEPIECE, TEKKEN

TEXT = "Hello <eos> ▁ 🙂 naïve\n\t x = 12"
COPIES = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),  # noqa: S301 - its own bytes
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


def used(tokenizer):
    """The same after much text, with its table built."""
    assert len(tokenizer.encode_batch(["some text " * 25_000])[0]) > 1000
    tokenizer.decode(tokenizer.encode(TEXT))
    return tokenizer


def file_of(tokenizer, folder):
    (folder / "other.model").write_bytes(tokenizer.proc.serialized_model_proto())
    return folder / "other.model"


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", [SPMTokenizer, None])
def test_a_copy_is_the_same_tokenizer(tokenizer, tmp_path, way, kind):
    path = file_of(tokenizer, tmp_path)
    fresh = (kind or type(tokenizer))(path)
    for original in (fresh, used(fresh)):
        copied = COPIES[way](original)
        assert type(copied) is type(original)
        assert copied.sha256 == original.sha256
        assert copied.encode(TEXT) == original.encode(TEXT)
        assert copied.decode(copied.encode(TEXT)) == TEXT
        assert copied.incremental_decoder().decode(copied.encode(TEXT)) == TEXT
        assert (copied.byte_lengths == original.byte_lengths).all()
        [ids] = used(copied).encode_batch([TEXT * 10_000])
        assert ids.tolist() == original.encode_batch([TEXT * 10_000])[0].tolist()
        assert getattr(copied, "path", None) == getattr(original, "path", None)


def test_what_it_learnt_is_not_sent_along(tokenizers):
    tokenizer = copy.deepcopy(tokenizers["unigram"])
    before = len(pickle.dumps(tokenizer))
    assert len(pickle.dumps(used(tokenizer))) == before


@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
def test_a_table_alone_can_be_copied(tokenizers, way):
    tokenizer = used(copy.deepcopy(tokenizers["unigram"]))
    table = COPIES[way](tokenizer.table)
    assert len(table) == len(tokenizer.table) > 1
    assert table.encode_texts([TEXT], 2)[0].tolist() == tokenizer.encode(TEXT)


@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
def test_other_peoples_tokenizers_can_be_copied(tokenizers, tmp_path, way):
    (tmp_path / "tokenizer.json").write_bytes(
        foreign_json(
            tokenizers["unigram"].proc.serialized_model_proto()
        )  # special tokens in it, which text must not make
    )
    ours = foreign.from_ours(used(copy.deepcopy(tokenizers["unigram"])), "ours")
    others = [foreign.load(path, "theirs") for path in (SENTENCEPIECE, TEKKEN, tmp_path / "tokenizer.json")]
    for original in (ours, *others):
        copied = COPIES[way](original)
        ids = original.encode_batch([TEXT])[0].tolist()
        assert copied.encode_batch([TEXT])[0].tolist() == ids
        assert copied.decode(ids) == original.decode(ids)
        assert copied.pieces == original.pieces


@pytest.mark.parametrize("way", COPIES)
def test_a_decoder_in_the_middle_of_a_character_can_be_copied(tokenizer, way):
    """As a search over several continuations does."""
    ids = tokenizer.encode("▁")
    decoder = tokenizer.incremental_decoder()
    assert decoder.decode(ids[:2]) == ""
    copied = COPIES[way](decoder)
    assert copied.decode(ids[2:]) == "▁"


def foreign_json(model: bytes) -> bytes:
    from aura.tokenizer import hf_export

    return hf_export.export(model)["tokenizer.json"]


def test_a_pool_of_fresh_processes_encodes(tokenizers, tmp_path):
    """Neither fork nor a module's globals help here: all goes through pickle."""
    tokenizer = used(SPMTokenizer(file_of(tokenizers["bpe"], tmp_path)))
    texts = [f"{TEXT} {number}" for number in range(4)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(tokenizer.encode, texts)) == [tokenizer.encode(text) for text in texts]
