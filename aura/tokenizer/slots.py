"""Names for reserved slots: special tokens of one's own, given at training or at any time after it.

Training knows every slot by its number alone, `<reserved_0>`, and names are put in after it. So a name changes no id,
piece or score, and no text encodes otherwise, whether the name was there from the beginning or came years later.
Whatever was made with the tokenizer before stays valid: token shards, checkpoints and models record `encoding_hash`,
which is the SHA-256 of the model file with all slots unnamed.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer.symbols import BASIC, ROLES, SLOT, refuse_unusable, slot_name

if TYPE_CHECKING:
    import pyarrow as pa

_CONTROL = model_pb2.ModelProto.SentencePiece.CONTROL
_SLOT = re.compile(SLOT)


def named(content: bytes, names: Sequence[str]) -> bytes:
    """The model file in which the first slots without a name have `names`, in this order.

    Raises:
        UserError: a name cannot be one, is a piece of the vocabulary already, or there are fewer free slots than names.
    """
    model = model_pb2.ModelProto.FromString(content)
    ids = {entry.piece: place for place, entry in enumerate(model.pieces)}
    free = [slot for slot in _slots(model) if _SLOT.fullmatch(model.pieces[slot].piece)]
    refuse_unusable(names)
    for name in names:
        if name in ids:
            raise UserError(
                f"the special token {name!r} cannot have this name: it is the piece of id {ids[name]} already. "
                "Choose another name"
            )
    if len(names) > len(free):
        raise UserError(
            f"expected at most {len(free)} names, as many as reserved slots without a name; got {len(names)}. Only a "
            "tokenizer that is trained again can have more: reserved_tokens in params.yaml"
        )
    return _renamed(model, dict(zip(free, names, strict=False))) if names else content


def learnable(names: Sequence[str], segments: "pa.Array | pa.ChunkedArray", longest: int) -> list[str]:
    """Of these names, those that training may learn as a piece of at most `longest` characters from `segments`.

    Training does not know the names, or a name would change the tokenizer. So it cannot be kept from such a piece, and
    `named` refuses the name then.
    """
    import pyarrow.compute as pc  # who loads a tokenizer has no need of it

    held = [pc.any(pc.match_substring(segments, name)).as_py() for name in names]
    return [name for name, found in zip(names, held, strict=True) if found and len(name) <= longest]


def encoding_hash(content: bytes) -> str:
    """The identity of what ids mean: the SHA-256 of the model file with its slots unnamed.

    Two tokenizers with the same one give every text the same ids, and differ at most in the names of special tokens.
    """
    model = model_pb2.ModelProto.FromString(content)
    numbered = {slot: slot_name(number) for number, slot in enumerate(_slots(model))}
    if any(model.pieces[slot].piece != name for slot, name in numbered.items()):
        content = _renamed(model, numbered)
    return hashlib.sha256(content).hexdigest()


def own_names(pieces: Sequence[str]) -> list[str]:
    """Of the names of special tokens, those that users chose."""
    return [piece for piece in pieces if piece not in (*BASIC, *ROLES) and not _SLOT.fullmatch(piece)]


def _slots(model: Any) -> list[int]:  # noqa: ANN401 - a ModelProto
    """The ids of all slots, named or not."""
    fixed = {*BASIC, *ROLES}
    return [place for place, entry in enumerate(model.pieces) if entry.type == _CONTROL and entry.piece not in fixed]


def _renamed(model: Any, names: dict[int, str]) -> bytes:  # noqa: ANN401 - a ModelProto
    """The model with other names for some slots; it also lists them in its record of training."""
    new = {model.pieces[slot].piece: name for slot, name in names.items()}
    for slot, name in names.items():
        model.pieces[slot].piece = name
    listed = model.trainer_spec.control_symbols
    listed[:] = [new.get(symbol, symbol) for symbol in listed]
    content: bytes = model.SerializeToString(deterministic=True)
    return content
