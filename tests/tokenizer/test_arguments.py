"""Every public function takes texts from any iterable; what is no text, or no ids, is an error with a sentence."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sentencepiece

from aura.compare import comparison, curve
from aura.one_shot.spm_tokenizer import SPMTokenizer
from aura.tokenizer import foreign
from aura.train_tokenizer import artifact, corpus_counts, counts, train

TEXTS = ["Hello there", "", "the end of it 🙂"]
ONE_PASS = {
    "generator": lambda texts: (text for text in texts),
    "iterator": iter,
    "map": lambda texts: map(str, texts),
    "tuple": tuple,
    "keys": lambda texts: dict.fromkeys(texts).keys(),
    "array": lambda texts: np.array(texts, object),
    "column": lambda texts: pd.Series(texts, index=range(7, 7 + len(texts))),
    "arrow": pa.array,
    "arrow in parts": lambda texts: pa.chunked_array([texts[:1], texts[1:]]),
}


@pytest.fixture(params=ONE_PASS)
def one_pass(request):
    """Makes an iterable of each kind of some texts."""
    return ONE_PASS[request.param]


def lists(encoded):
    return [ids.tolist() for ids in encoded]


def spm(tokenizer, tmp_path):
    (tmp_path / "other.model").write_bytes(tokenizer.proc.serialized_model_proto())
    return SPMTokenizer(tmp_path / "other.model")


def test_encode_batch_takes_any_iterable(tokenizer, tmp_path, one_pass):
    expected = [tokenizer.encode(text) for text in TEXTS]
    assert expected[0]
    assert lists(tokenizer.encode_batch(one_pass(TEXTS))) == expected
    assert lists(tokenizer.encode_batch(one_pass(TEXTS), 2, allowed_special="all")) == expected
    assert lists(spm(tokenizer, tmp_path).encode_batch(one_pass(TEXTS))) == expected
    assert lists(foreign.from_ours(tokenizer, "ours").encode_batch(one_pass(TEXTS))) == expected
    assert lists(tokenizer.table.encode_texts(one_pass(TEXTS), 2)) == expected


def test_much_text_of_a_generator_is_encoded_whole(tokenizer, documents):
    texts = documents[:60]
    assert sum(map(len, texts)) > 200_000
    assert lists(tokenizer.encode_batch(text for text in texts)) == [tokenizer.encode(text) for text in texts]


def test_a_file_is_its_lines(tokenizer):
    assert len(tokenizer.encode_batch(io.StringIO("a\nb\n"))) == 2


def test_training_and_measuring_take_what_can_be_read_only_once(tokenizers, documents, options):
    texts, one_pass = documents[1:9], iter
    ours = foreign.from_ours(tokenizers["unigram"], "ours")
    assert comparison.measured(ours, one_pass(texts)) == comparison.measured(ours, texts)
    parallel = {"en": one_pass(texts), "de": one_pass(texts)}
    assert comparison.parity(ours, parallel, "en") == {"en": 1.0, "de": 1.0}
    assert counts.texts_hash(one_pass(texts)) == counts.texts_hash(texts)
    small = options(vocab_size=450, model_type="bpe")
    made, again = (artifact.build_from_texts(given, small) for given in (one_pass(texts), texts))
    assert (made.model, made.config) == (again.model, again.config)
    counted = corpus_counts.count_texts(one_pass(texts), train.splitting_of(small))
    assert counted.account.documents == len(texts)
    [[size, value]] = curve.curve(counted, small, one_pass(texts), [450])
    assert (size, value) == next(curve.curve(counted, small, texts, [450]))


@pytest.mark.parametrize(
    "texts",
    ["Hi", b"Hi", {"a": "Hi"}, pd.DataFrame({"a": ["Hi"]}), [["Hi"]], ["Hi", None], ["Hi", b"Hi"], None, 3, {"a", "b"}],
)
def test_what_is_no_series_of_texts_is_refused_with_a_sentence(tokenizer, options, tmp_path, texts):
    ours = foreign.from_ours(tokenizer, "ours")
    for call in (
        tokenizer.encode_batch,
        spm(tokenizer, tmp_path).encode_batch,
        ours.encode_batch,
        lambda texts: comparison.measured(ours, texts),
        lambda texts: comparison.parity(ours, {"en": texts}, "en"),
        lambda texts: artifact.build_from_texts(texts, options()),
    ):
        with pytest.raises(TypeError, match=r"expected (several )?texts.*, got .*\. (Pass|Leave)"):
            call(texts)


@pytest.mark.parametrize("text", [None, b"x", bytearray(b"x"), 5, ["x"], np.array(["x"]), pa.scalar("x")])
def test_what_is_no_text_is_refused_with_a_sentence(tokenizer, tmp_path, text):
    for encode in (tokenizer.encode, spm(tokenizer, tmp_path).encode):
        with pytest.raises(TypeError, match=r"expected a text \(str\), got \w+\. "):
            encode(text)


@pytest.mark.parametrize(
    "ids",
    [
        *(
            "300",
            b"300",
            300,
            None,
            {5: 6},
            {5, 6},
            frozenset([5]),
            [300.7],
            ["300"],
            [True],
            [np.bool_(True)],
            [None],
            [[300]],
            [5, 6.0],
        ),
        *(np.array([5.5]), np.array([[5]]), np.array(5), np.array([True]), np.array(["5"]), pd.Series([1.0])),
        *([np.array([5])], pa.array([5, None])),
    ],
)
def test_what_are_no_ids_is_refused_with_a_sentence(tokenizer, ids):
    calls = [tokenizer.decode, tokenizer.decode_bytes, foreign.from_ours(tokenizer, "ours").decode]
    for call in calls:
        with pytest.raises(TypeError, match=r"expected ids as .*, got .*\. "):
            call(ids)
    with pytest.raises(TypeError, match="expected ids as"):
        tokenizer.decode_batch([ids])


@pytest.mark.parametrize("sequences", [None, 5, "300", {0: [5]}, {(5, 6)}])
def test_what_are_no_sequences_of_ids_is_refused_with_a_sentence(tokenizer, sequences):
    with pytest.raises(TypeError, match=r"expected several sequences of ids, got .*\. Pass a list"):
        tokenizer.decode_batch(sequences)


def test_sequences_of_ids_come_in_any_table(tokenizer):
    rows = [tokenizer.encode("Hello there"), tokenizer.encode("Hi 🙂")]
    for given in (rows, iter(rows), pd.Series(rows), pa.array(rows)):
        assert tokenizer.decode_batch(given) == ["Hello there", "Hi 🙂"]


def test_allowed_special_tokens_come_in_any_iterable(tokenizer):
    expected = [tokenizer.eos_id, *tokenizer.encode("<bos>")]
    for given in (["<eos>"], {"<eos>": 1}, (name for name in ["<eos>"]), np.array(["<eos>"]), pd.Series(["<eos>"])):
        assert tokenizer.encode("<eos><bos>", allowed_special=given) == expected
    [ids] = tokenizer.encode_batch(["<eos><bos>"], allowed_special=(name for name in ["<eos>"]))
    assert ids.tolist() == expected
    for wrong in (None, 5, "<eos>", ["<none>"], ["<0x0A>"]):
        with pytest.raises(ValueError, match='allowed_special: expected "all", or a set of names'):
            tokenizer.encode("<eos>", allowed_special=wrong)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_one_or_more(tokenizer, threads):
    with pytest.raises(ValueError, match="threads: expected 1 or more"):
        tokenizer.encode_batch(["x" * 300_000], threads)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.int64, np.uint64])
def test_integers_of_every_kind_are_ids(tokenizer, kind):
    ids = tokenizer.encode("Hello there")
    array = np.array(ids, kind)
    for given in (ids, tuple(ids), iter(ids), array, list(array), array[::-1][::-1], pd.Series(ids), pa.array(ids)):
        assert tokenizer.decode(given) == "Hello there"
    assert tokenizer.decode(np.array([])) == tokenizer.decode([]) == ""


@pytest.mark.parametrize("token", [-1, 1000, 2**63, -(2**70)])
def test_ids_outside_of_the_vocabulary_are_refused_everywhere(tokenizer, token):
    for call in (
        lambda: tokenizer.decode([5, token]),
        lambda: tokenizer.decode_bytes([token]),
        lambda: tokenizer.decode_batch([[5], [token]]),
        lambda: tokenizer.incremental_decoder().decode(token),
        lambda: tokenizer.piece(token),
        lambda: tokenizer.is_special(token),
    ):
        with pytest.raises(ValueError, match=f"expected ids from 0 to 999, got {token}. Load the tokenizer"):
            call()


def test_a_sentencepiece_model_of_nothing_encodes_nothing(tokenizer):
    model = foreign.from_model(tokenizer.proc.serialized_model_proto(), "model")
    assert model.encode_batch([]) == []
    assert isinstance(tokenizer.proc, sentencepiece.SentencePieceProcessor)
