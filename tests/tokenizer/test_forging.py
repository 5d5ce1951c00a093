"""No text, whatever the vocabulary, makes a special token, and all encoders give it the same ids."""

import tempfile
from pathlib import Path
from typing import Any

import tokenizers as hugging_face
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aura.tokenizer.symbols import BASIC, ROLES
from aura.tokenizer.tokenizer import EXPORTED, Tokenizer
from aura.train_tokenizer import artifact
from aura.train_tokenizer.options import TrainTokenizer
from aura.train_tokenizer.train import VocabularyTooLarge, VocabularyTooSmall
from aura.validate import exported

NAMES = (*BASIC, *ROLES, "<reserved_0>", "<reserved_12>", "<0x0A>", "<0xE4>", "<0xFF>")
ALPHABETS = (  # what a corpus is written in: each lacks some character of a special token's name
    "<ab> ",
    "<>/abcdefghijklmnopqrstuvwxyz ",
    "<>padbose ",
    "<>0xAF1 ",
    "的一是不了人我在有他 <>",
    "абвгдежзи <b>",
    "กขฃคฅฆง<>",
    "नमस्ते <>P_",
    "USER<reserved_>",
    "aé☃\n\t<|",
)
SYMBOLS = ("##", "###", "#-", "USER", "eos>", "<EXPERT_0>", "<EXPERT_1>", "x<", "é🙂", "\n\n", "#", "0A", "r", "<pad>x")

corpora = st.builds(
    lambda alphabet, words: " ".join(words) + " " + alphabet * 3,
    st.shared(st.sampled_from(ALPHABETS), key="alphabet"),
    st.shared(st.sampled_from(ALPHABETS), key="alphabet").flatmap(
        lambda alphabet: st.lists(st.text(alphabet, min_size=1, max_size=6), min_size=20, max_size=60)
    ),
)
fragments = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(NAMES).flatmap(lambda name: st.integers(1, len(name)).map(lambda place: name[place:])),
    st.sampled_from(NAMES).flatmap(lambda name: st.integers(1, len(name)).map(lambda place: name[:place])),
    st.sampled_from([*SYMBOLS, *"".join(ALPHABETS), " ", "  ", "\n", "\0", "\u2581", "中", "🙂", "#"]),
    st.characters(exclude_categories=["Cs"]),
)
texts = st.lists(st.lists(fragments, max_size=8).map("".join), min_size=30, max_size=30)


def train(corpus: str, options: Any, **changes: object) -> artifact.Artifact:
    """A tokenizer of a few pieces more than this corpus needs, where it allows more."""
    chosen: TrainTokenizer = options(vocab_size=300, **changes)
    while True:
        try:
            return artifact.build_from_texts([corpus], chosen)
        except VocabularyTooSmall as error:
            chosen = artifact.with_changes(chosen, vocab_size=error.smallest + 12)
        except VocabularyTooLarge as error:
            chosen = artifact.with_changes(chosen, vocab_size=error.largest)


def check(made: artifact.Artifact, texts: list[str]) -> None:
    from transformers import AutoTokenizer

    tokenizer = Tokenizer.from_bytes(made.model)
    with tempfile.TemporaryDirectory() as folder:
        made.write(Path(folder))
        auto = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        bare = hugging_face.Tokenizer.from_file(str(Path(folder, EXPORTED)))
    bare.encode_special_tokens = True
    assert tokenizer.table is not None
    expected = [tokenizer.encode(text) for text in texts]
    found = {
        "encode_batch": [ids.tolist() for ids in tokenizer.encode_batch(texts)],
        "table": [ids.tolist() for ids in tokenizer.table.encode_texts(texts, 1)],
        "whole table": [tokenizer.table.encode_texts(["".join(texts)], 1)[0].tolist()],
        "tokenizers": [encoding.ids for encoding in bare.encode_batch(texts)],
        "AutoTokenizer": auto(texts, split_special_tokens=True)["input_ids"],
    }
    found["encode"] = expected
    for reader, rows in found.items():
        forged = [tokenizer.piece(token) for ids in rows for token in ids if tokenizer.is_special(token)]
        assert not forged, reader
        if reader != "whole table":
            assert rows == expected, reader
    assert found["whole table"] == [tokenizer.encode("".join(texts))]
    assert auto.batch_decode(expected) == texts
    with_special = [tokenizer.encode(text, allowed_special="all") for text in texts]
    assert auto(texts)["input_ids"] == with_special


@settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    corpora,
    st.sampled_from(["unigram", "unigram", "bpe"]),
    st.lists(st.sampled_from(SYMBOLS), unique=True, max_size=5),
    texts,
)
@example("<a> <b> " * 20, "unigram", [], ["<USER>", "<0x0A>", "<pad><eos>x<reserved_12>"])
@example("the cat sat on the mat " * 20, "unigram", ["<EXPERT_0>", "<EXPERT_1>"], ["<EXPERT_0>", "x<EXPERT_1><EXPERT"])
@example("some ## marks # and - more " * 20, "unigram", ["##", "###", "#-"], ["#" * 13, "a " + "#" * 14, "##-###-"])
@example("names of USER and eos > " * 20, "bpe", ["USER", "eos>"], ["<USER>", "<eos>", "x<eos><USER"])
def test_no_text_makes_a_special_token_and_all_encoders_agree(
    options: Any, corpus: str, model_type: str, symbols: list[str], texts: list[str]
):
    check(train(corpus, options, model_type=model_type, user_symbols=symbols), texts)


def test_the_gate_asks_about_every_name(tokenizer: Tokenizer):
    asked = exported.texts_for(tokenizer)
    assert {*NAMES, *(f"<0x{byte:02X}>" for byte in range(256))} <= set(asked)
    assert asked == exported.texts_for(tokenizer)
