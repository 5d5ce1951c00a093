"""The set of conversations that some sources become, with a small real tokenizer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aura.conversations.building import build
from aura.conversations.options import Conversations
from aura.tokenizer.tokenizer import Tokenizer
from aura.tokens.conversation_shards import ConversationShards
from tests.conftest import REPOSITORY

LEXICON = REPOSITORY / "aura/ingestion/lexicon.tsv"


@pytest.fixture(scope="session")
def spm(tokenizers: dict[str, Tokenizer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tokenizer of 1,000 pieces."""
    folder = tmp_path_factory.mktemp("conversations-spm")
    (folder / "spiece.model").write_bytes(tokenizers["unigram"].proc.serialized_model_proto())
    return folder


Made = Callable[..., ConversationShards]


@pytest.fixture
def made(spm: Path, tmp_path: Path) -> Made:
    """Builds the set of some sources, given as in params.yaml, and opens it."""

    def make(out: str = "out", held_out: float = 0.2, limit: int = 1_000_000, **sources: Any) -> ConversationShards:
        values = {"sources": sources, "held_out": held_out, "max_record_bytes": limit}
        build(Conversations.model_validate(values), spm, LEXICON, tmp_path / out)
        return ConversationShards(tmp_path / out, Tokenizer.load(spm / "spiece.model").encoding_sha256)

    return make


def spoken(shards: ConversationShards) -> list[list[tuple[str, str]]]:
    """The messages of each conversation of both splits."""
    rows = [row for split in ("train", "held_out") for row in shards.rows(split)]
    return [[(message["role"], message["content"]) for message in row["messages"]] for row in rows]
