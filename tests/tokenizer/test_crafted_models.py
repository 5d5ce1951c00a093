"""Models cut off, damaged or made to do harm: each is refused in one message, or works; none ends the program.

SentencePiece's C++ has crashed on such files, so they are read in a process of their own.
"""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.tokenizer.tokenizer import Tokenizer

Chosen = random.Random
EACH = 8
TEXTS = ["{:,} naïve words <eos>", "  a\n\tb\u2581 c\0d 中文é🙂", "x" * 3000, "日本語" * 200, ""]

READER = """
import sys
from pathlib import Path
from aura.core.errors import UserError
from aura.tokenizer.hf_export import export
from aura.tokenizer.tokenizer import Tokenizer

for path in sorted(Path(sys.argv[1]).iterdir()):
    print(path.name, end=" ", flush=True)
    try:
        tokenizer = Tokenizer.from_bytes(path.read_bytes())
    except UserError as error:
        print("refused:", str(error).replace(chr(10), " "), flush=True)
        continue
    texts = Path(sys.argv[2]).read_bytes().decode().split(chr(1))
    for text, ids in zip(texts, tokenizer.encode_batch(texts, 2), strict=True):
        assert tokenizer.decode(ids) == text, "decoded otherwise"
        assert tokenizer.encode(text) == ids.tolist(), "other ids"
        tokenizer.encode(text, allowed_special="all")
    tokenizer.decode(range(tokenizer.vocab_size))
    export(path.read_bytes())
    print("works", flush=True)
"""


def flipped(content: bytes, chosen: Chosen) -> bytes:
    damaged = bytearray(content)
    for _ in range(chosen.choice((1, 2, 5, 50))):
        damaged[chosen.randrange(len(damaged))] = chosen.randrange(256)
    return bytes(damaged)


def flipped_in_the_specs(content: bytes, chosen: Chosen) -> bytes:
    damaged = bytearray(content)
    for _ in range(chosen.choice((1, 3, 8))):
        damaged[-chosen.randrange(1, 500)] = chosen.randrange(256)
    return bytes(damaged)


def cut_off(content: bytes, chosen: Chosen) -> bytes:
    return content[: chosen.randrange(len(content))]


def spliced(content: bytes, chosen: Chosen) -> bytes:
    return content[: chosen.randrange(len(content))] + content[chosen.randrange(len(content)) :]


def with_other_pieces(content: bytes, chosen: Chosen) -> bytes:
    model = model_pb2.ModelProto.FromString(content)
    for piece in chosen.sample(list(model.pieces), chosen.choice((1, 3, 20))):
        match chosen.randrange(4):
            case 0:
                piece.piece = chosen.choice(
                    ["", "\0", "a\0b", "▁", "<eos>", "<0x41>", "a b", "\U0010ffff", "x" * 99_999]
                )
            case 1:
                piece.score = chosen.choice((0.0, 3e38, -3e38, float("nan"), float("inf"), 1e-45))
            case 2:
                piece.type = chosen.choice((1, 2, 3, 4, 5, 6))
            case _:
                piece.ClearField(chosen.choice(("piece", "score", "type")))
    return model.SerializeToString()


def with_wild_scores(content: bytes, chosen: Chosen) -> bytes:
    model = model_pb2.ModelProto.FromString(content)
    for piece in model.pieces:
        piece.score = chosen.choice((chosen.uniform(-3e38, 3e38), 0.0, chosen.randrange(-1000, 1000) / 64))
    return model.SerializeToString()


def with_other_order(content: bytes, chosen: Chosen) -> bytes:
    model = model_pb2.ModelProto.FromString(content)
    pieces = [model_pb2.ModelProto.SentencePiece.FromString(piece.SerializeToString()) for piece in model.pieces]
    first, last = sorted(chosen.sample(range(len(pieces)), 2))
    pieces = chosen.choice([pieces[:first] + pieces[last:], pieces * 2, pieces[::-1]])
    del model.pieces[:]
    model.pieces.extend(pieces)
    model.trainer_spec.vocab_size = len(pieces)
    return model.SerializeToString()


def with_other_settings(content: bytes, chosen: Chosen) -> bytes:
    model = model_pb2.ModelProto.FromString(content)
    for _ in range(chosen.choice((1, 2, 4))):
        spec = chosen.choice((model.trainer_spec, model.normalizer_spec, model.denormalizer_spec))
        field = chosen.choice(list(spec.DESCRIPTOR.fields))
        values: dict[int, Any] = {
            field.TYPE_STRING: chosen.choice(["", "\0", "▁", "<unk>", "a" * 10_000]),
            field.TYPE_BYTES: chosen.randbytes(chosen.choice((1, 3, 4, 8, 100, 5000))),
            field.TYPE_BOOL: chosen.random() < 0.5,
            field.TYPE_INT32: chosen.choice((0, -1, 7, 2**31 - 1, -(2**31))),
            field.TYPE_FLOAT: chosen.choice((0.0, -1.0, 1e38, float("nan"))),
            field.TYPE_ENUM: chosen.choice(field.enum_type.values).number if field.enum_type else 0,
        }
        value = values.get(field.type, chosen.choice((0, 2**62)))
        if field.is_repeated:
            getattr(spec, field.name).append(value)
        else:
            setattr(spec, field.name, value)
    return model.SerializeToString()


MUTATIONS: list[Callable[[bytes, Chosen], bytes]] = [
    flipped,
    flipped_in_the_specs,
    cut_off,
    spliced,
    with_other_pieces,
    with_wild_scores,
    with_other_order,
    with_other_settings,
]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_no_crafted_model_ends_the_program(tokenizers: dict[str, Tokenizer], tmp_path: Path, model_type: str):
    content = tokenizers[model_type].proc.serialized_model_proto()
    (tmp_path / "models").mkdir()
    for mutation in MUTATIONS:
        chosen = random.Random(f"{model_type} {mutation.__name__}")  # noqa: S311 - reproducible, not secret
        for number in range(EACH):
            (tmp_path / "models" / f"{mutation.__name__}_{number}").write_bytes(mutation(content, chosen))
    (tmp_path / "texts").write_text("\1".join([*TEXTS, TEXTS[0] * 10_000]), encoding="utf-8")  # the last by the table
    done = subprocess.run(
        [sys.executable, "-c", READER, tmp_path / "models", tmp_path / "texts"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(said) == EACH * len(MUTATIONS)
    outcomes = Counter((name.rsplit("_", 1)[0], text.split(":")[0]) for name, text in said.items())
    assert outcomes["cut_off", "refused"] == EACH
    assert outcomes["spliced", "refused"] == EACH
    assert all("It is written by: dvc repro" in text for text in said.values() if text.startswith("refused"))
    assert any(text == "works" for text in said.values()), "so that using a model is tried, too"
