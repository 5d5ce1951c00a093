"""Ids from the table of units are SentencePiece's own, whatever the text."""

import random
import sysconfig
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer import unit_table
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import Tokenizer
from aura.tokenizer.units import SEPARATOR
from tests.tokenizer.test_round_trip import HARD, LOOK_ALIKES, NASTY
from tests.tokenizers import SCRIPTS

FUZZ = 100_000
LANGUAGES = [  # of the same sentence, in scripts that the vocabulary has pieces for, or not
    "All human beings are born free and equal in dignity and rights.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "人人生而自由,在尊严和权利上一律平等。",
]


def sentencepieces_ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """SentencePiece's ids of each part between literal U+2581, which are three byte pieces."""
    bytes_of_space = [tokenizer.proc.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]
    found: list[list[int]] = tokenizer.proc.Encode(texts)
    for place, text in enumerate(texts):
        if SPACE in text:
            first, *others = tokenizer.proc.Encode(text.split(SPACE))
            found[place] = sum(([*bytes_of_space, *other] for other in others), start=first)
    return found


def around_symbols(tokenizer: Tokenizer, text: str, symbols: list[str]) -> list[int]:
    """The same with user symbols cut out first, character by character: the leftmost, and there the longest."""
    ids, plain, place = [], "", 0
    while place <= len(text):
        found = [symbol for symbol in symbols if text.startswith(symbol, place)]
        if found or place == len(text):
            ids += sentencepieces_ids(tokenizer, [plain])[0]
            plain = ""
        if found:
            symbol = max(found, key=len)
            ids.append(tokenizer.proc.piece_to_id(symbol))
            place += len(symbol)
        else:
            plain += text[place : place + 1]
            place += 1
    return ids


def table_ids(tokenizer: Tokenizer, texts: list[str], threads: int = 1) -> list[list[int]]:
    assert tokenizer.table is not None
    return [ids.tolist() for ids in tokenizer.table.encode_texts(texts, threads)]


@pytest.fixture(scope="module")
def fuzz_strings() -> list[str]:
    """Strings of random characters of all planes, of the nasty ones, and of fragments of text."""
    chosen = random.Random(1)  # noqa: S311 - reproducible, not secret
    fragments = [
        *LOOK_ALIKES,
        *HARD[:12],
        *SCRIPTS.split(),
        "the",
        "ing",
        "12",
        "345",
        "();",
        "\n\t\n",
        "é",
        "中",
        "ab",
        "c",
    ]
    codes = [chosen.randrange(chosen.choice((0x80, 0x800, 0x3000, 0xA000, 0x20000))) for _ in range(5000)]
    characters = [chr(code) for code in codes if not 0xD800 <= code < 0xE000]
    alphabet = [*characters, *[*fragments, *NASTY, " ", " ", "  "] * 50]
    return ["".join(chosen.choices(alphabet, k=chosen.randrange(14))) for _ in range(FUZZ)]


def test_fuzz_strings_get_sentencepieces_ids(tokenizer: Tokenizer, fuzz_strings: list[str]):
    assert sum(SPACE in text for text in fuzz_strings) > FUZZ // 100
    assert table_ids(tokenizer, fuzz_strings) == sentencepieces_ids(tokenizer, fuzz_strings)


def test_documents_code_and_languages_get_sentencepieces_ids(tokenizer: Tokenizer, documents: list[str]):
    code = [path.read_text("utf-8") for path in sorted(Path(sysconfig.get_paths()["stdlib"], "json").glob("*.py"))]
    texts = [*documents, *code, *LANGUAGES, "", *HARD]
    expected = sentencepieces_ids(tokenizer, texts)
    assert table_ids(tokenizer, texts) == expected
    assert table_ids(tokenizer, texts) == expected, "once more, now that the table knows every unit"


def test_very_long_lines_get_sentencepieces_ids(tokenizer: Tokenizer, documents: list[str]):
    line = " ".join(documents).replace("\n", " ")
    texts = [line, line[::-1], "a" * 100_000, " " * 100_001, "ab " * 50_000, "中" * 30_000, f"{SPACE} " * 10_000]
    assert table_ids(tokenizer, texts) == sentencepieces_ids(tokenizer, texts)


def test_user_symbols_are_cut_nowhere(build, documents: list[str]):
    symbols = ["<A>", "\n\n", "<A>b", "é🙂", ",x", "##", "###", "#-", "-##"]
    for model_type in ("unigram", "bpe"):
        tokenizer = build(model_type=model_type, user_symbols=symbols)
        texts = ["a<A>b<A>", "\n\n\n", "\n" * 7 + "<A", "é🙂é🙂 ,,x<A>b", *documents[:3]]
        texts += ["#" * 13, f"x {'#' * 13}", f"{documents[3][:500]}{'#' * 14}y", "###-##-###", "#-##-#"]
        expected = [around_symbols(tokenizer, text, symbols) for text in texts]
        assert table_ids(tokenizer, texts) == expected
        assert [tokenizer.encode(text) for text in texts] == expected
        assert [ids.tolist() for ids in tokenizer.encode_batch(texts)] == expected
        if model_type == "bpe":
            assert sentencepieces_ids(tokenizer, texts) == expected


def test_blocks_and_threads_change_nothing(tokenizer: Tokenizer, documents: list[str], monkeypatch):
    texts = [text for document in documents for text in (document, "")]
    expected = table_ids(tokenizer, texts)
    monkeypatch.setattr(unit_table, "BLOCK_CHARS", (10_000, 20_000))
    monkeypatch.setattr("aura.tokenizer.units.STEP", 1000)
    assert table_ids(tokenizer, texts, threads=4) == expected


def test_a_full_table_changes_nothing(tokenizer: Tokenizer, documents: list[str], monkeypatch):
    expected = table_ids(tokenizer, documents)
    monkeypatch.setattr(unit_table, "MAX_UNITS", 50)
    del tokenizer.__dict__["table"]
    assert table_ids(tokenizer, documents) == expected
    assert tokenizer.table is not None
    assert len(tokenizer.table) == 50
    del tokenizer.__dict__["table"]


def test_a_kept_table_spares_encoding(tokenizer: Tokenizer, documents: list[str], monkeypatch):
    assert tokenizer.table is not None
    monkeypatch.setattr(unit_table, "MAX_UNIT_BYTES", 10_000)
    texts = pa.array(documents, pa.large_string())
    expected, counts = tokenizer.table.encode_block(texts)

    def refuse(texts: list[str]) -> list[unit_table.Ids]:
        assert texts == [SEPARATOR], "only the separator's own id is asked for"
        return [np.array([9], np.int32)]

    again = unit_table.UnitTable(tokenizer.table._cutter, refuse, {})
    again.restore(tokenizer.table.content())
    ids, found_counts = again.encode_block(texts)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(found_counts, counts)


@pytest.mark.parametrize("texts", [[], [""], ["", "", "a", ""]])
def test_nothing_and_empty_texts(tokenizer: Tokenizer, texts: list[str]):
    assert tokenizer.table is not None
    ids, counts = tokenizer.table.encode_block(pa.array(texts, pa.large_string()))
    assert counts.tolist() == [len(text) for text in texts]
    assert len(ids) == sum(counts)


def test_a_slice_of_a_column_is_encoded_alone(tokenizer: Tokenizer):
    assert tokenizer.table is not None
    column = pa.array(["before", "the words", SPACE, "after"], pa.large_string())
    ids, counts = tokenizer.table.encode_block(column[1:3])
    assert ids.tolist() == [*tokenizer.encode("the words"), *tokenizer.encode(SPACE)]
    assert counts.tolist() == [len(ids) - 3, 3]


@pytest.mark.parametrize("size", [8, 100, 5000])
def test_a_long_text_is_encoded_in_pieces_of_whole_units(tokenizer: Tokenizer, documents: list[str], monkeypatch, size):
    assert tokenizer.table is not None
    some = documents[:8] if size == 8 else documents[:20]  # each piece is a call
    texts = pa.array(["", *some, "", SCRIPTS * 3, SPACE * 9, *NASTY, "", ""], pa.large_string())
    expected, counts = tokenizer.table.encode_block(texts)
    monkeypatch.setattr(unit_table, "PIECE_BYTES", size)
    ids, found_counts = tokenizer.table.encode_block(texts)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(found_counts, counts)


def test_a_text_without_a_place_to_cut_is_refused(tokenizer: Tokenizer, monkeypatch):
    assert tokenizer.table is not None
    monkeypatch.setattr(unit_table, "PIECE_BYTES", 16)
    monkeypatch.setattr(unit_table, "MAX_PIECE_BYTES", 64)
    bounds, edges = tokenizer.table._cutter.bounds, np.array([0, 4])
    whole = next(text for text in "aeonlst" if len(bounds(np.frombuffer(text.encode() * 4, np.uint8), edges)) == 2)
    with pytest.raises(UserError, match=r"finds no place to cut\. Lower extract\.max_document_bytes"):
        tokenizer.table.encode_block(pa.array([whole * 200], pa.large_string()))


def test_scores_whose_sums_are_not_exact_are_left_to_sentencepiece(tokenizers, tmp_path: Path, documents: list[str]):
    model = model_pb2.ModelProto.FromString(tokenizers["unigram"].proc.serialized_model_proto())
    model.pieces[900].score += 0.001
    (tmp_path / "spiece.model").write_bytes(model.SerializeToString())
    tokenizer = Tokenizer.load(tmp_path / "spiece.model")
    assert tokenizer.table is None
    found = tokenizer.encode_batch(documents)
    assert sum(map(len, documents)) > unit_table.SMALL
    assert [ids.tolist() for ids in found] == tokenizer.proc.Encode(documents)
