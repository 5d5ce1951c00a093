"""Conversations as ids: those of the chat template, except that no text ever becomes a special token.

`CHAT_TEMPLATE` (`aura/tokenizer/chat.py`) renders one string, out of which other libraries make special tokens again.
A user who types `<eos>` then ends the message. Here each content is encoded alone, and special tokens are put between
the contents by id. The ids are the same for every text that spells no special token.

Many conversations are encoded in one call, as `Tokenizer.encode_batch` encodes much text several times faster.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from aura.core.errors import UserError
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.chat import NAMES, TOKENS
from aura.tokenizer.opening import AnyTokenizer

Ids = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
LEARNT = "assistant"  # the role whose contents a model learns to write, and to end with <eos>


class Spoken(Protocol):
    """A message: one of the roles of the chat template, and its text."""

    @property
    def role(self) -> str:
        """system, user, assistant, thought, action, observation or tool."""

    @property
    def content(self) -> str:
        """The text; it may be empty."""


@dataclass(frozen=True, eq=False)
class EncodedConversation:
    """The ids of one conversation.

    Attributes:
        ids: (tokens,) int32, <bos> first.
        learnt: (tokens,) bool, the text and <eos> of assistant messages: what `return_assistant_tokens_mask` marks.
    """

    ids: Ids
    learnt: Flags


def encode_conversation(tokenizer: AnyTokenizer, messages: Sequence[Spoken]) -> EncodedConversation:
    """The ids of a conversation and the ones among them that a model learns.

    Raises `UserError` where the tokenizer has no special tokens for roles, and `ValueError` for a role that the chat
    template does not have, or for text that UTF-8 cannot hold.
    """
    [encoded] = encode_conversations(tokenizer, [messages])
    return encoded


def encode_conversations(
    tokenizer: AnyTokenizer, conversations: Iterable[Sequence[Spoken]], threads: int = 1
) -> list[EncodedConversation]:
    """`encode_conversation` of each conversation; `threads` changes the speed and nothing else."""
    roles = role_ids(tokenizer)
    conversations = [*conversations]
    for messages in conversations:
        _refuse_roles(messages, roles)
    contents = [message.content for messages in conversations for message in messages]
    encoded = iter(tokenizer.encode_batch(contents, threads))
    ends = _bos(tokenizer), _one(end_id(tokenizer))
    return [_joined(messages, roles, ends, [next(encoded) for _ in messages]) for messages in conversations]


def encode_prompt(tokenizer: AnyTokenizer, messages: Sequence[Spoken]) -> Ids:
    """The ids after which a model writes the assistant's next message: the conversation, and <ASSISTANT> at its end.

    They are what `apply_chat_template` gives with `add_generation_prompt`. Errors are those of `encode_conversation`.
    """
    return np.concatenate([encode_conversation(tokenizer, messages).ids, role_ids(tokenizer)[LEARNT]])


def role_ids(tokenizer: AnyTokenizer) -> dict[str, Ids]:
    """The ids that stand before a message of each role: of an adopted tokenizer without such a token, a text's.

    Raises `UserError` where a tokenizer of ours has no special tokens for roles.
    """
    if isinstance(tokenizer, AdoptedTokenizer):
        return {role: _of_role(tokenizer, role) for role in TOKENS}
    try:
        return {role: _one(tokenizer.encode(token, allowed_special={token})[0]) for role, token in TOKENS.items()}
    except ValueError:
        raise UserError(
            "expected a tokenizer with the special tokens of chats, such as <USER>; this one has none. Set "
            "special_tokens: true in the train_tokenizer section of params.yaml, and run: dvc repro"
        ) from None


def marked_by_text(tokenizer: AnyTokenizer) -> list[str]:
    """The roles that only a text marks, which any message can write, too."""
    return [role for role in TOKENS if role not in tokenizer.roles] if isinstance(tokenizer, AdoptedTokenizer) else []


def _of_role(tokenizer: AdoptedTokenizer, role: str) -> Ids:
    token = tokenizer.roles.get(role)
    return np.array(tokenizer.encode(TOKENS[role]), np.int32) if token is None else _one(token)


def _bos(tokenizer: AnyTokenizer) -> Ids:
    return np.empty(0, np.int32) if tokenizer.bos_id is None else _one(tokenizer.bos_id)


def end_id(tokenizer: AnyTokenizer) -> int:
    """The id that ends an answer; a `UserError` where there is none."""
    if tokenizer.eos_id is None:
        raise UserError(
            "expected a tokenizer with the role eos, which ends an answer; this one has none. Name its token in the "
            "train_tokenizer section of params.yaml, roles: {eos: TOKEN}, and run: dvc repro"
        )
    return tokenizer.eos_id


def _refuse_roles(messages: Sequence[Spoken], roles: dict[str, Ids]) -> None:
    for number, message in enumerate(messages, start=1):
        if message.role not in roles:
            raise ValueError(f"message {number}: expected a role out of {NAMES}, got {message.role!r}")


def _joined(
    messages: Sequence[Spoken], roles: dict[str, Ids], ends: tuple[Ids, Ids], contents: Sequence[Ids]
) -> EncodedConversation:
    bos, eos = ends
    parts = [(bos, False)]
    for message, content in zip(messages, contents, strict=True):
        learnt = message.role == LEARNT
        parts += [(roles[message.role], False), (content, learnt)]
        parts += [(eos, True)] if learnt else []
    ids = np.concatenate([part for part, _ in parts], dtype=np.int32)
    learnt_parts = chain.from_iterable([learnt] * len(part) for part, learnt in parts)
    return EncodedConversation(ids, np.fromiter(learnt_parts, np.bool_, len(ids)))


def _one(token: int) -> Ids:
    return np.array([token], np.int32)
