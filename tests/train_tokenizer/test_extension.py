"""Extended tokenizers: ids of the base stay, old text stays, new text gets shorter, in exactly so many pieces."""

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mistral_common
import numpy as np
import pytest
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import decoders, models, pre_tokenizers, trainers

from aura.core.errors import UserError
from aura.storage.cache import Cache
from aura.tokenizer import conversion, foreign, golden
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import extension
from aura.train_tokenizer.corpus_counts import count_texts
from aura.train_tokenizer.counts import Counts
from aura.train_tokenizer.extension import Rules, TooManyPieces, extended
from aura.train_tokenizer.extension_corpus import extended_by_corpus
from aura.train_tokenizer.extension_merges import Learner, settled
from aura.train_tokenizer.segments import Splitting
from aura.validate import extension as extension_report
from tests.conftest import stdlib_texts

MISTRAL = Path(mistral_common.__file__).parent / "data/tokenizer.model.v1"
SPLITTING = Splitting(split_digits=True, split_by_script=True, split_by_number=False, user_symbols=())
KINDS = ("bpe", "unigram", "byte_level")
GREEK, KOREAN = "αβγδεζηθικλμνξοπρστυφχψω", "가나다라마바사아자차카타파하"


def new_texts() -> list[str]:
    """Words of two scripts that the bases have never seen, in English text; the same each time."""
    chosen = random.Random(1)  # noqa: S311 - reproducible, not secret
    words = ["".join(chosen.choices(script, k=chosen.randrange(2, 8))) for script in (GREEK, KOREAN) for _ in range(60)]
    return ["the words are " + " ".join(chosen.choices(words, k=40)) + " (end)." for _ in range(60)]


TAUGHT = Rules(scripts=("GREEK", "HANGUL"))  # the small bases spell English badly, too


def counted(texts: list[str]) -> Counts:
    return count_texts(texts, SPLITTING)


@pytest.fixture(scope="module")
def old() -> list[str]:
    return [text for text in stdlib_texts(40) if text.isascii()]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, old: list[str]) -> dict[str, Path]:
    """One tokenizer of each kind, trained on English with its library's usual settings."""
    folder = tmp_path_factory.mktemp("bases")
    lines = [line for text in old for line in text.splitlines() if line.strip()]
    for kind in ("bpe", "unigram"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_prefix=str(folder / kind),
            model_type=kind,
            vocab_size=700,
            byte_fallback=kind == "bpe",
            hard_vocab_limit=False,
            minloglevel=2,
        )
    byte_level = tokenizers.Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, show_progress=False, initial_alphabet=alphabet, special_tokens=["<eos>"]
    )
    byte_level.train_from_iterator(lines, trainer)
    byte_level.save(str(folder / "tokenizer.json"))
    return {
        "bpe": folder / "bpe.model",
        "unigram": folder / "unigram.model",
        "byte_level": folder / "tokenizer.json",
    }


@pytest.fixture
def extend(bases: dict[str, Path], tmp_path: Path) -> Callable[..., tuple[foreign.Foreign, foreign.Foreign, Path]]:
    """Extends a base; returns it, the result and the folder of its files."""

    def extend_base(kind: str, pieces: int):
        made = extended(bases[kind], counted(new_texts()), pieces, TAUGHT)
        for name, content in made.files.items():
            (tmp_path / name).write_bytes(content)
        name = "tokenizer.json" if kind == "byte_level" else "tokenizer.model"
        return foreign.load(bases[kind], "base"), foreign.load(tmp_path / name, "extended"), tmp_path

    return extend_base


@pytest.mark.parametrize("kind", KINDS)
def test_old_text_keeps_its_ids_and_new_text_gets_shorter(extend: Callable, old: list[str], kind: str):
    base, more, folder = extend(kind, 150)
    assert more.vocab_size == base.vocab_size + 150
    assert more.pieces[: base.vocab_size] == base.pieces
    assert more.kinds[: base.vocab_size] == base.kinds
    for before, after in zip(base.encode_batch(old), more.encode_batch(old), strict=True):
        assert before.tolist() == after.tolist()
    new = new_texts()
    ids = more.encode_batch(new)
    assert [more.decode(each.tolist()) for each in ids] == new
    tokens = sum(map(len, base.encode_batch(new)))
    if kind != "unigram":  # that base has no bytes: an unknown word is one <unk>, and lost
        assert sum(map(len, ids)) < 0.5 * tokens
    used = {token for each in ids for token in each.tolist()}
    assert len(used & {*range(base.vocab_size, more.vocab_size)}) > 75
    record = json.loads((folder / "extended.json").read_text())
    assert record["base_vocab_size"] == base.vocab_size
    assert len(record["spelt"]) == 150
    for place, spelt in enumerate(record["spelt"]):
        assert all(0 <= token < base.vocab_size for token in spelt)
        if kind != "unigram":
            assert b"".join(base.pieces[token] for token in spelt) == more.pieces[base.vocab_size + place]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_each_time(bases: dict[str, Path], kind: str):
    shuffled = counted(new_texts()[::-1])
    assert extended(bases[kind], counted(new_texts()), 100).files == extended(bases[kind], shuffled, 100).files


@pytest.mark.parametrize("kind", ["bpe", "byte_level"])
def test_what_is_learnt_on_is_what_the_library_gives(bases: dict[str, Path], kind: str):
    base, counts = extension.opened(bases[kind]), counted(new_texts())
    texts = counts.table["text"].to_pylist()
    learner = Learner(
        base.units(texts),
        counts.table["count"].to_pylist(),
        ranks=base.ranks,
        vocabulary=base.vocabulary,
        cost=base.cost,
        allowed=lambda piece: " " not in base.text(piece)[1:],
    )
    learnt = learner.learn(300, lambda _: True)
    assert extension.opened_content(base.file, base.extended(learnt), "extended").units(texts) == learner.words()


@pytest.mark.slow
def test_tokenizer_json_gives_the_same_ids(old: list[str], tmp_path: Path):
    made = extended(MISTRAL, counted(new_texts()), 150, Rules(scripts=("GREEK", "HANGUL")))
    (tmp_path / "tokenizer.model").write_bytes(made.files["tokenizer.model"])
    more = AdoptedTokenizer(tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.json").write_bytes(conversion.tokenizer_json(more.file))
    theirs = foreign.load(tmp_path / "tokenizer.json", "exported")
    texts = [*old, *new_texts(), *golden.TEXTS, *golden.WITH_SPECIAL, "", " ", "  a   b "]
    for text, ids, exported in zip(texts, more.encode_batch(texts), theirs.encode_batch(texts), strict=True):
        assert ids.tolist() == exported.tolist(), text


def test_old_text_in_the_same_script_is_guarded(bases: dict[str, Path], old: list[str], tmp_path: Path):
    new = ["a xylophone and another xylophone, zyzzyva by zyzzyva", *(text.replace("e", "q") for text in old[:10])]
    with pytest.raises(UserError, match="Give old text to compare with"):
        extended(MISTRAL, counted(new), 50)
    for kind in KINDS:
        made = extended(bases[kind], counted(new), 50, Rules(max_changed=0), counted(old))
        assert made.changed_words == 0
        assert made.refused > 0
        name = "tokenizer.json" if kind == "byte_level" else "tokenizer.model"
        (tmp_path / name).write_bytes(made.files[name])
        base, more = foreign.load(bases[kind], "base"), foreign.load(tmp_path / name, "extended")
        changed = [
            text
            for text, before, after in zip(old, base.encode_batch(old), more.encode_batch(old), strict=True)
            if before.tolist() != after.tolist()
        ]
        assert not changed
        assert sum(map(len, more.encode_batch(new))) < sum(map(len, base.encode_batch(new)))


def test_too_many_pieces_say_how_many_are_possible(bases: dict[str, Path]):
    with pytest.raises(TooManyPieces, match="Ask for at most") as raised:
        extended(bases["bpe"], counted(new_texts()), 100_000)
    assert len(extended(bases["bpe"], counted(new_texts()), raised.value.possible).pieces) == raised.value.possible


def test_other_kinds_are_refused(bases: dict[str, Path], tmp_path: Path, old: list[str]):
    word = tmp_path / "word.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(old[0].splitlines()),
        model_prefix=str(word.with_suffix("")),
        model_type="word",
        vocab_size=50,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(UserError, match="expected BPE or unigram"):
        extended(word, counted(new_texts()), 10)
    content = json.loads(bases["byte_level"].read_text()) | {"pre_tokenizer": {"type": "Whitespace"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="expected byte-level BPE"):
        extended(tmp_path / "tokenizer.json", counted(new_texts()), 10)


def test_a_published_model_is_extended(tmp_path: Path):
    made = extended(MISTRAL, counted(new_texts()), 300)
    assert made.scripts == ("GREEK", "HANGUL")
    assert not made.notes
    for name, content in made.files.items():
        (tmp_path / name).write_bytes(content)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert processor.GetPieceSize() == 32_300
    base, more = AdoptedTokenizer(MISTRAL), AdoptedTokenizer(tmp_path / "tokenizer.model")
    named = [(str(place), text) for place, text in enumerate(stdlib_texts(10))]
    report = extension_report.measured(base, more, [("new", text) for text in new_texts()], named)
    greek = report["by_script"]["GREEK"]
    assert greek["bytes_per_token_after"] > 1.5 * greek["bytes_per_token_before"]
    assert report["by_script"]["LATIN"]["fertility_after"] == report["by_script"]["LATIN"]["fertility_before"]
    assert report["old"] == {"documents": len(named), "changed": 0, "changed_share": 0.0, "changed_documents": []}
    assert report["pieces"] == 300
    assert report["unused_pieces"] < 200


def test_one_of_ours_stays_one_of_ours(tokenizer: Tokenizer, tmp_path: Path, documents: list[str]):
    tokenizer.save(tmp_path / "base")
    made = extended(tmp_path / "base", counted(new_texts()), 150, Rules(scripts=("GREEK", "HANGUL")))
    for name, content in made.files.items():
        (tmp_path / name).write_bytes(content)
    more = Tokenizer.load(tmp_path / "tokenizer.model")
    plain = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    for text in filter(str.isascii, documents[1:60]):
        assert more.encode(text) == tokenizer.encode(text)
    for text in new_texts():
        assert more.encode(text) == plain.Encode(text)
        assert more.decode(more.encode(text)) == text
        assert len(more.encode(text)) < len(tokenizer.encode(text))


def test_a_corpus_has_sources_of_old_text(
    bases: dict[str, Path], tmp_path: Path, old: list[str], write_corpus: Callable[[Path, list[str]], None]
):
    new = new_texts()[: len(old)]
    write_corpus(tmp_path / "train", [text for pair in zip(old, new, strict=False) for text in pair])  # a is old, b new
    extend = partial(extended_by_corpus, bases["bpe"], tmp_path / "train", 50, Cache(tmp_path), splitting=SPLITTING)
    rules = Rules(scripts=("GREEK", "LATIN"), max_changed=0)
    made = extend(rules=rules, old_sources=["a"])
    assert made.changed_words == 0
    assert made.refused > 0
    assert extend(rules=rules).refused == 0
    with pytest.raises(UserError, match="of the sources c, which hold old text"):
        extend(old_sources=["c"])


@pytest.mark.parametrize("score", [-1.0, -31740.0, -1e9, 3.0])
def test_scores_below_those_of_the_base_differ_in_32_bits(score: float, bases: dict[str, Path]):
    model = model_pb2.ModelProto.FromString(bases["bpe"].read_bytes())
    learnt = [entry for entry in model.pieces if entry.type == entry.NORMAL]
    for place, entry in enumerate(learnt):
        entry.score = max(score, score * (1 - place / 10_000))
    base = extension.SentencePieceBase(model.SerializeToString(), "base")
    written = model_pb2.ModelProto.FromString(base.extended([f"q{number}q" for number in range(3000)]))
    scores = np.array([entry.score for entry in written.pieces[-3000:]], np.float32)
    assert (np.diff(scores) < 0).all()
    assert scores[0] < min(np.float32(entry.score) for entry in learnt)


@pytest.mark.parametrize("score", [float("nan"), float("-inf"), -3e38])
def test_scores_that_leave_no_room_are_refused(score: float, bases: dict[str, Path], tmp_path: Path):
    model = model_pb2.ModelProto.FromString(bases["bpe"].read_bytes())
    model.pieces[-1].score = score
    (tmp_path / "tokenizer.model").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"expected (scores|a number for the score)"):
        extended(tmp_path / "tokenizer.model", counted(new_texts()), 10, TAUGHT)


def test_merges_run_from_the_lowest_rank_and_the_left():
    assert settled("aaab", {"aa": 1.0, "ab": 2.0}) == ["aa", "ab"]
    assert settled("aaab", {"aa": 2.0, "ab": 1.0}) == ["aa", "ab"]
    assert settled("abc", {"bc": 1.0, "abc": 3.0, "ab": 2.0}) == ["abc"]
