import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aura.tokenizer.symbols import BASIC, ROLES
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact

PER_EXAMPLE = 50
LOOK_ALIKES = (*BASIC, *ROLES, "<reserved_0>", "<0x0A>", "<s>", "</s>", "⁇")
NASTY = "\0\x01\x1f\x7f\x85\u00a0\u200b\u200d\u2028\u2047\u2581\u2585\ufeff\ufffd\uffff\u0301\u0338\U0001f469\U0010ffff"
HARD = [
    *("", " ", "  ", "\0", "\0\0a\0", "\x1f", "\u2581", "\u2581\u2581 \u2581a", " \u2581 ", "\u2585"),
    *("\u0301", "e\u0301", "a\u0338\u0301", "\ufeffstart", "a\r\nb\r\n", "\r", "\n\n\n", "\t\tx\t", " lead", "trail "),
    *(
        "a" + " " * 500 + "b",
        " " * 4096,
        "x" * 5000,
        "\n" * 300,
        "👩‍👩‍👧‍👦",
        "🇩🇪🏳️‍🌈",
        "\U0010ffff",
        "𝔘𝔫𝔦",
        "ﬁ",
        "\x85\u2028",
    ),
    *LOOK_ALIKES,
    "".join(LOOK_ALIKES),
]

fragments = st.sampled_from([*NASTY, *LOOK_ALIKES, " ", "   ", "\n", "\t", "\r\n", "the", " def", "123", "é", "中"])
strings = st.one_of(
    st.text(max_size=12),
    st.text(alphabet=NASTY + " \n\tab", max_size=12),
    st.lists(fragments, max_size=6).map("".join),
)


@pytest.mark.parametrize("number", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_decode_inverts_encode_for_any_text(tokenizers: dict[str, Tokenizer], number: int):
    tried = 0

    @settings(max_examples=number // PER_EXAMPLE, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(strings, min_size=PER_EXAMPLE, max_size=PER_EXAMPLE))
    @example(HARD)
    def check(texts: list[str]) -> None:
        nonlocal tried
        tried += len(texts)
        for tokenizer in tokenizers.values():
            ids = tokenizer.encode_batch(texts)
            assert [tokenizer.decode(row) for row in ids] == texts
            assert [tokenizer.byte_lengths[row].sum() for row in ids] == [len(text.encode()) for text in texts]

    check()
    assert tried >= number


def test_every_training_document_round_trips(tokenizer: Tokenizer, documents: list[str]):
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(documents, threads=2)] == documents


def test_text_cannot_forge_special_tokens(tokenizer: Tokenizer):
    ids = tokenizer.encode("".join(LOOK_ALIKES) + "text" + " ".join(LOOK_ALIKES))
    assert not any(tokenizer.is_special(token) for token in ids)


def test_a_corpus_without_spaces_still_round_trips_them(tmp_path, options):
    made = artifact.build_from_texts(["中文字符也要能用" * 50], options(vocab_size=300, reserved_tokens=18))
    (tmp_path / "spiece.model").write_bytes(made.model)
    tokenizer = Tokenizer.load(tmp_path / "spiece.model")
    assert tokenizer.decode(tokenizer.encode(" 中 文 ")) == " 中 文 "
