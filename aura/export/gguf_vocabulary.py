"""A SentencePiece BPE model as llama.cpp's own tokenizer for such models reads it out of a GGUF file.

llama.cpp merges neighbouring pieces in the order of their scores, as SentencePiece does, and spells a character without
a piece in bytes. So ids are equal where the model's rules are those that llama.cpp has. Any other model is refused, in
place of a file that runs and reads text otherwise than the model was trained.

llama.cpp looks up a merged text without regard to the type of the piece. Pieces that text must not make by a merge get
the lowest score, so that every merge of learnt pieces comes first. Texts that differ nevertheless are named in
`Vocabulary.differences`, because they are too rare to refuse a model for them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer import foreign
from aura.tokenizer.symbols import SPACE

LOWEST = -1e9  # of BPE, the lowest score of a learnt piece is about minus the size of the vocabulary
SHOWN = 5  # names in a message
_TYPES = model_pb2.ModelProto.SentencePiece
_BYTES = {f"<0x{byte:02X}>" for byte in range(256)}


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as a GGUF file states it.

    Attributes:
        texts: UTF-8 text of each id, with U+2581 for a space in learnt pieces and the space itself in user symbols.
        scores: of each id; the pair of pieces whose union has the highest is merged first.
        types: of each id, in the numbers that SentencePiece and GGUF share.
        space_prefix: whether a space is put before a text.
        unk_id: the id of the unknown token.
        differences: sentences on texts whose ids are others in llama.cpp.
    """

    texts: list[bytes]
    scores: list[float]
    types: list[int]
    space_prefix: bool
    unk_id: int
    differences: tuple[str, ...]


def vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary of the tokenizer in a folder, such as models/spm or models/hf.

    Raises:
        UserError: llama.cpp cannot read the tokenizer with the same ids; the message has the reason.
    """
    file = foreign.file_of(folder, str(folder))
    if file.suffix == ".json":
        raise _refusal(
            file,
            "it splits text by rules of tokenizer.json or tekken, of which llama.cpp knows some models' alone by name",
            "To serve the model, use a server that reads these files, such as vLLM",
        )
    try:
        model = model_pb2.ModelProto.FromString(file.read_bytes())
    except DecodeError:
        raise UserError(f"{file}: expected a SentencePiece model, got a damaged or other file") from None
    for reason, remedy in _obstacles(model):
        raise _refusal(file, reason, remedy)
    return Vocabulary(
        texts=[_text(entry).encode() for entry in model.pieces],
        scores=[entry.score if entry.type == _TYPES.NORMAL else LOWEST for entry in model.pieces],
        types=[entry.type for entry in model.pieces],
        space_prefix=model.normalizer_spec.add_dummy_prefix,
        unk_id=next(token for token, entry in enumerate(model.pieces) if entry.type == _TYPES.UNKNOWN),
        differences=tuple(_differences(model)),
    )


def _refusal(file: Path, reason: str, remedy: str) -> UserError:
    return UserError(
        f"{file}: llama.cpp cannot read this tokenizer with the same ids: {reason}. {remedy}; or leave out the GGUF "
        "file (export.gguf: false in params.yaml)"
    )


def _obstacles(model: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - a ModelProto
    """Yield rules of the model that concern any text and that llama.cpp lacks, each with what to do."""
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    types = [entry.type for entry in model.pieces]
    retrain = "Train with train_tokenizer.model_type: bpe"
    if trainer.model_type == model_pb2.TrainerSpec.UNIGRAM:
        yield "it is a unigram model, and llama.cpp gives <unk> for a character without a piece, not its bytes", retrain
    elif trainer.model_type != model_pb2.TrainerSpec.BPE:
        yield "it is neither a unigram nor a BPE model", retrain
    if not {entry.piece for entry in model.pieces if entry.type == _TYPES.BYTE} >= _BYTES:
        yield "it has no pieces for bytes, which llama.cpp needs for characters without a piece", retrain
    if normalizer.precompiled_charsmap:
        yield f"it changes characters (normalisation {normalizer.name!r}), which llama.cpp does not do", retrain
    if normalizer.remove_extra_whitespaces or not normalizer.escape_whitespaces:
        yield "it removes spaces or does not spell them as U+2581, which llama.cpp does not do", retrain
    if trainer.treat_whitespace_as_suffix:
        yield "its pieces end with the space before the next word, which llama.cpp does not do", retrain
    if unused := types.count(_TYPES.UNUSED):
        yield f"it marks {unused:,} pieces as unused, which llama.cpp would use", retrain
    if types.count(_TYPES.UNKNOWN) != 1:
        yield f"expected one unknown token, got {types.count(_TYPES.UNKNOWN)}", retrain


def _text(entry: Any) -> str:  # noqa: ANN401 - a ModelProto.SentencePiece
    """Its text; llama.cpp looks for user symbols before it spells spaces as U+2581."""
    piece: str = entry.piece
    return piece.replace(SPACE, " ") if entry.type == _TYPES.USER_DEFINED else piece


def _differences(model: Any) -> Iterator[str]:  # noqa: ANN401 - a ModelProto
    """Yield a sentence on each kind of text whose ids are others in llama.cpp."""
    yield "A literal U+2581 in text becomes a space in llama.cpp."
    symbols = [_text(entry) for entry in model.pieces if entry.type == _TYPES.USER_DEFINED]
    if overlapping := list(islice(_overlapping(symbols), SHOWN)):
        told = ", ".join(f"{one!r} and {other!r}" for one, other in overlapping)
        yield f"Where user symbols overlap in text, llama.cpp takes the longest and not the first, such as of {told}."
    if symbols and model.normalizer_spec.add_dummy_prefix:
        yield "llama.cpp puts a space not only before a text but also before what follows a user symbol in it."
    learnt = {entry.piece for entry in model.pieces if entry.type == _TYPES.NORMAL}
    others = [entry.piece for entry in model.pieces if entry.type not in (_TYPES.NORMAL, _TYPES.USER_DEFINED)]
    if merged := [name for name in others if _is_merge(name, learnt)]:
        told = ", ".join(map(repr, merged[:SHOWN]))
        yield f"Text that is the name of a special token or byte may become that token in llama.cpp, such as {told}."


def _overlapping(symbols: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of symbols of which the first can end inside of the second, by their beginnings."""
    beginnings: dict[str, list[str]] = {}
    for symbol in (listed := [symbol for symbol in symbols if len(symbol) > 1]):
        for end in range(1, len(symbol)):
            beginnings.setdefault(symbol[:end], []).append(symbol)
    for symbol in listed:
        for begin in range(1, len(symbol)):
            for other in beginnings.get(symbol[begin:], ()):
                if other != symbol:
                    yield symbol, other


def _is_merge(name: str, learnt: set[str]) -> bool:
    """Return whether two learnt pieces together spell a name."""
    return any(name[:place] in learnt and name[place:] in learnt for place in range(1, len(name)))
