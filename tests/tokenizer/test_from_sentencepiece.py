"""A foreign SentencePiece BPE model as tokenizer.json gives the same ids, or is refused with the reason."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mistral_common
import pytest
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer import golden
from aura.tokenizer.from_sentencepiece import tokenizer_json
from tests.conftest import stdlib_texts

DATA = Path(mistral_common.__file__).parent / "data"
V1 = DATA / "tokenizer.model.v1"
V3 = DATA / "mistral_instruct_tokenizer_240323.model.v3"
BYTES, KEEP_SPACES = {"byte_fallback": True}, {"remove_extra_whitespaces": False}
TYPES = model_pb2.ModelProto.SentencePiece


def trained(folder: Path, **options: Any) -> bytes:
    text = folder / "text.txt"
    text.write_text("\n".join(line for part in stdlib_texts(40) for line in part.splitlines() if line.strip()))
    train = partial(sentencepiece.SentencePieceTrainer.train, input=str(text), minloglevel=2, hard_vocab_limit=False)
    train(model_prefix=str(folder / "m"), vocab_size=600, normalization_rule_name="identity", **options)
    return (folder / "m.model").read_bytes()


def texts(processor: Any, count: int) -> list[str]:
    """Golden texts, code, pieces in any order, spaces, repetitions and characters from anywhere."""
    draw = random.Random(18)  # noqa: S311 - texts, not secrets
    pieces = [processor.IdToPiece(token) for token in range(processor.GetPieceSize())]
    made = [
        *("".join(draw.choices(pieces, k=12)) for _ in range(count)),
        *("".join(draw.choices("ab c=-. \n\t▁", k=60)) for _ in range(count)),
        *("".join(draw.choice(pieces) * draw.randrange(1, 5) for _ in range(6)) for _ in range(count)),
        *("".join(draw.choice("a=-. #01é中") * draw.randrange(1, 40) for _ in range(4)) for _ in range(count)),
        *("".join(chr(draw.randrange(1, 0xD800)) for _ in range(30)) for _ in range(count)),
    ]
    return [*golden.TEXTS, *golden.WITH_SPECIAL, "[INST] <s></s>", *stdlib_texts(20), *made]


def differing(model: bytes, count: int = 200) -> list[str]:
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    ours = tokenizers.Tokenizer.from_buffer(tokenizer_json(model))
    ours.encode_special_tokens = True
    told = texts(theirs, count)
    pairs = zip(told, theirs.Encode(told), ours.encode_batch(told, add_special_tokens=False), strict=True)
    return [
        text
        for text, ids, found in pairs
        if found.ids != ids or (theirs.unk_id() not in ids and ours.decode(ids) != theirs.Decode(ids))
    ]


def test_a_real_model_gives_its_ids_and_texts():
    assert differing(V1.read_bytes()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"add_dummy_prefix": False, "user_defined_symbols": ["<tool>", "\n", "▁▁"], **KEEP_SPACES, **BYTES},
        BYTES,
        {"add_dummy_prefix": False, "user_defined_symbols": ["<tool>", "</s", "te"], **BYTES},
        {"byte_fallback": False, "character_coverage": 0.98},
        {"split_by_whitespace": False, **KEEP_SPACES, **BYTES},
    ],
)
def test_settings_of_the_trainer(tmp_path: Path, options: dict[str, Any]):
    assert differing(trained(tmp_path, model_type="bpe", **options)) == []


def altered(change: Callable[[Any], None]) -> bytes:
    model = model_pb2.ModelProto.FromString(V1.read_bytes())
    change(model)
    content: bytes = model.SerializeToString()
    return content


def with_pieces(*words: str) -> bytes:
    """V1 with more pieces, all of one score."""

    def change(model: Any) -> None:
        for piece in {*words, *"".join(words)} - {entry.piece for entry in model.pieces}:
            model.pieces.add(piece=piece, score=0.0)
        model.trainer_spec.vocab_size = len(model.pieces)

    return altered(change)


def test_pieces_of_one_score_are_taken_leftmost_first():
    model = with_pieces("Ωμέγα", "Ωμέ", "έγα", "μέ", "γα", "Ωμ", "ΩΩ", "ΩΩΩ")
    draw = random.Random(18)  # noqa: S311 - texts, not secrets
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    ours = tokenizers.Tokenizer.from_buffer(tokenizer_json(model))
    for text in ("".join(draw.choices("Ωμέγα", k=12)) for _ in range(2000)):
        assert ours.encode(text, add_special_tokens=False).ids == theirs.Encode(text)


def unused(model: Any) -> None:
    model.pieces[300].type = TYPES.UNUSED


def nan(model: Any) -> None:
    model.pieces[300].score = float("nan")


def without_character(model: Any) -> None:
    [entry] = [entry for entry in model.pieces if entry.piece == "q"]
    entry.piece = "Ω!"


def unigram(model: Any) -> None:
    model.trainer_spec.model_type = model_pb2.TrainerSpec.UNIGRAM


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (altered(unused), "is unused"),
        (altered(nan), "has the score nan"),
        (altered(without_character), "has a character that is no piece"),
        (altered(unigram), "it is unigram"),
        (with_pieces("Ωμ", "μέ", "έΩ"), "pieces that overlap .* have its score"),
        (V3.read_bytes(), "REFERENCE_DOC_19.*user-defined symbol"),
        (b"\xff\xff", "a damaged or other file"),
    ],
)
def test_what_tokenizers_cannot_do_is_refused(content: bytes, reason: str):
    with pytest.raises(UserError, match=reason):
        tokenizer_json(content)
