"""Which symbols a tokenizer holds beside what it learns, and at which ids.

Special tokens come first and user symbols after them, so that adding a user symbol moves no special token's
id and a model's <eos> stays its <eos>. Special tokens are control symbols: encoding never makes one out of
text, so no document can forge an end of text or a system prompt. User symbols are the opposite: text that
is always kept whole. Both are fixed at training, as a trained model must not change; `reserved_tokens`
leaves slots for what comes later.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aura.errors import UserError

PAD, BOS, EOS, UNK = BASIC = ("<pad>", "<bos>", "<eos>", "<unk>")
ROLES = (
    *("<INST>", "<INPUT>", "<RESPONSE>", "<SEP>"),  # instruction tuning
    *("<SYSTEM>", "<USER>", "<ASSISTANT>"),  # chat
    *("<THOUGHT>", "<ACTION>", "<OBSERVATION>"),  # reasoning
)
WHITESPACE = ("\n", "\t")  # user symbols of every tokenizer: SentencePiece cannot learn them from its input
SPACE = "\u2581"  # SentencePiece's own spelling of the space, inside pieces

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Symbols:
    """The fixed symbols of a tokenizer: `special` have the ids 0, 1, 2…, `user` the ids right after them."""

    special: tuple[str, ...]
    user: tuple[str, ...]
    notices: tuple[str, ...]  # sentences for the user: what was asked for and is already there

    @property
    def control(self) -> tuple[str, ...]:
        """The special tokens beside <pad>, <bos>, <eos> and <unk>."""
        return self.special[len(BASIC) :]


def symbols(*, special_tokens: bool, reserved_tokens: int, user_symbols: Sequence[str]) -> Symbols:
    """The fixed symbols that these parameters ask for, in the order of their ids.

    A user symbol that is a special token stays special, once, with a notice; one that SentencePiece could
    not match in text is a `UserError`.
    """
    roles = ROLES if special_tokens else ()
    special = (*BASIC, *roles, *(f"<reserved_{slot}>" for slot in range(reserved_tokens)))
    user = list(WHITESPACE)
    notices = []
    for symbol in user_symbols:
        _refuse_unmatchable(symbol)
        if symbol in special:
            notices.append(f"{symbol} is a special token already (id {special.index(symbol)}) and stays one.")
        elif symbol in user:
            notices.append(f"the user symbol {symbol!r} is there already and is taken once.")
        else:
            user.append(symbol)
    return Symbols(special, tuple(user), tuple(notices))


def _refuse_unmatchable(symbol: str) -> None:
    """Refuse what SentencePiece 0.2.3 accepts and then never finds in text, or rejects with an internal error."""
    reasons = {
        "an empty string matches nothing": not symbol,
        "symbols cannot hold spaces, because SentencePiece matches them inside words": " " in symbol,
        "U+2581 is SentencePiece's own spelling of the space": SPACE in symbol,
        "NUL and U+001F mark boundaries inside SentencePiece": "\0" in symbol or "\x1f" in symbol,
        "it is the name of a byte piece, which every tokenizer has": bool(_BYTE_PIECE.fullmatch(symbol)),
        "lone surrogates are no text": any("\ud800" <= character <= "\udfff" for character in symbol),
    }
    for reason, applies in reasons.items():
        if applies:
            raise UserError(
                f"the user symbol {symbol!r} cannot work: {reason}. Change it or take it out "
                "(user_symbols in the train_tokenizer section of params.yaml, or --user_symbols)."
            )
