"""The symbols that a tokenizer holds beside what it learns, and their ids.

Special tokens come first and user symbols after them, so that adding a user symbol moves no special token's
id and a model's <eos> stays its <eos>. Special tokens are control symbols: encoding never makes one out of
text, so no document can forge an end of text or a system prompt. User symbols are the opposite: text that
is always kept whole. Both are fixed at training, as a trained model must not change; `reserved_tokens`
leaves slots for what comes later. Special tokens of one's own are names of such slots, from the first on, so that
naming one more moves no id (`aura.tokenizer.slots`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aura.core.errors import UserError

PAD, BOS, EOS, UNK = BASIC = ("<pad>", "<bos>", "<eos>", "<unk>")
ROLES = (
    *("<INST>", "<INPUT>", "<RESPONSE>", "<SEP>"),  # instruction tuning
    *("<SYSTEM>", "<USER>", "<ASSISTANT>"),  # chat
    *("<THOUGHT>", "<ACTION>", "<OBSERVATION>"),  # reasoning
)
WHITESPACE = ("\n", "\t")  # user symbols of every tokenizer: SentencePiece cannot learn them from its input
SPACE = "\u2581"  # SentencePiece's own spelling of the space, inside pieces
SLOT = r"<reserved_\d+>"  # the names of slots that have none of their own

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Symbols:
    """The fixed symbols of a tokenizer: `special` have the ids 0, 1, 2…, `user` the ids right after them."""

    special: tuple[str, ...]
    numbered: tuple[str, ...]  # the same, with each slot under its number: all that training knows
    user: tuple[str, ...]
    notices: tuple[str, ...]  # sentences for the user: what was asked for and is already there

    @property
    def control(self) -> tuple[str, ...]:
        """The special tokens beside <pad>, <bos>, <eos> and <unk>, slots under their numbers."""
        return self.numbered[len(BASIC) :]


def symbols(
    *,
    special_tokens: bool,
    reserved_tokens: int,
    user_symbols: Sequence[str],
    extra_special_tokens: Sequence[str] = (),
) -> Symbols:
    """The fixed symbols that these parameters ask for, in the order of their ids.

    A user symbol that is a special token stays special, once, with a notice; one that SentencePiece could
    not match in text is a `UserError`, and so is an extra special token that cannot be one or finds no slot.
    """
    fixed = (*BASIC, *(ROLES if special_tokens else ()))
    slots = tuple(slot_name(number) for number in range(reserved_tokens))
    _refuse_extra(extra_special_tokens, fixed, user_symbols, reserved_tokens)
    special = (*fixed, *extra_special_tokens, *slots[len(extra_special_tokens) :])
    user = list(WHITESPACE)
    notices = []
    for symbol in user_symbols:
        _refuse_unmatchable(symbol)
        if symbol in special:
            notices.append(f"{symbol} is a special token already (id {special.index(symbol)}) and stays one.")
        elif symbol in slots:  # a user symbol only from when its slot got a name would move ids
            raise UserError(
                f"the user symbol {symbol!r} cannot work: it is the number of a slot, which has the name "
                f"{special[len(fixed) + slots.index(symbol)]!r}. Take it out of user_symbols."
            )
        elif symbol in user:
            notices.append(f"the user symbol {symbol!r} is there already and is taken once.")
        else:
            user.append(symbol)
    return Symbols(special, (*fixed, *slots), tuple(user), tuple(notices))


def slot_name(number: int) -> str:
    """The name of a reserved slot that has none of its own."""
    return f"<reserved_{number}>"


def refuse_unusable(names: Sequence[str]) -> None:
    """Refuse names that no special token can have, with a `UserError` that says why."""
    for place, name in enumerate(names):
        reasons = {
            "a name has two or more characters, because one alone is text to other libraries": len(name) < 2,
            "a name has no white space and nothing that cannot be printed": not name.isprintable() or " " in name,
            "U+2581 is SentencePiece's own spelling of the space": SPACE in name,
            "it is the name of a byte piece, which every tokenizer has": bool(_BYTE_PIECE.fullmatch(name)),
            "this is how slots without a name are called": bool(re.fullmatch(SLOT, name)),
            "it is that of a fixed special token (special_tokens: true)": name in (*BASIC, *ROLES),
            "it is named twice": name in names[:place],
        }
        for reason, applies in reasons.items():
            if applies:
                raise UserError(
                    f"the special token {name!r} cannot have this name: {reason}. Change it or take it out "
                    "(extra_special_tokens in the train_tokenizer section of params.yaml, or --extra_special_tokens)."
                )


def _refuse_extra(names: Sequence[str], fixed: Sequence[str], user_symbols: Sequence[str], slots: int) -> None:
    refuse_unusable(names)
    both = [name for name in names if name in user_symbols]
    if both:
        raise UserError(
            f"{both[0]!r} is among both extra_special_tokens, which text cannot make, and user_symbols, which it can. "
            "Take it out of one of them (the train_tokenizer section of params.yaml)."
        )
    if len(names) > slots:
        raise UserError(
            f"expected at most {slots} extra_special_tokens, as many as there are slots (reserved_tokens); got "
            f"{len(names)}. Raise reserved_tokens to {len(names)} or more, which moves the ids of all later pieces: it "
            f"gives another tokenizer (train_tokenizer in params.yaml). The {len(fixed)} fixed ones need no slot."
        )


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
