"""models/chat: the adapted model as a LlamaForCausalLM of its own, with the tokenizer and its chat template.

An adapter is added layer by layer while the weights are copied out of the base's file, so a model of any size needs the
memory of one layer's matrix. A model of which all weights were trained has a file of its own, and no adapter.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from aura.core import files
from aura.hugging_face import folder
from aura.hugging_face.cards import ChatTokenizer, Facts, chat_card
from aura.hugging_face.llama import MATRICES, Array, Tensors, embedding_factor, llama_tensors
from aura.hugging_face.peft_adapter import TABLES, tables_of
from aura.model.lora import Adapter
from aura.model.model import ModelConfig
from aura.model.tensor_file import Piece, Tensor
from aura.tokenizer import chat_encoding, hf_export
from aura.tokenizer.tokenizer import EXPORTED, MADE_BY


def write_chat(output: Path, base: folder.Trained, trained: Adapter | Path, facts: Facts, *, add_bos: bool) -> Tensors:
    """Make the folder `output` anew; returns the tensors.

    Arguments:
        output: models/chat.
        base: the model that was adapted.
        trained: an adapter in this process's memory (`peft_adapter.on_host`), or the file of all the trained weights.
        facts: what the card says beside the base, by title.
        add_bos: <bos> begins each text that is encoded without the chat template.
    """
    tensors = llama_tensors(base.config, trained if isinstance(trained, Path) else base.weights)
    if isinstance(trained, Adapter):
        tensors |= _adapted(tensors, trained, base.config)
    told, network, began = {**folder.base_facts(base), **facts}, base.config.network, "base" in base.record
    card = chat_card(told, _tokenizer(base), network, from_nothing=not began)
    folder.write(output, base, tensors, card, add_bos=add_bos)
    return tensors


def _tokenizer(base: folder.Trained) -> ChatTokenizer:
    """The tokenizer of a base for the card, by the files that are copied."""
    place, tokenizer = base.tokenizer_folder, base.tokenizer
    config = files.read_object(place / hf_export.CONFIG, MADE_BY)
    return ChatTokenizer(
        eos=tokenizer.piece(chat_encoding.end_id(tokenizer)),
        has_json=(place / EXPORTED).exists(),
        has_template="chat_template" in config,
        marked_by_text=chat_encoding.marked_by_text(tokenizer),
    )


def _adapted(tensors: Tensors, adapter: Adapter, config: ModelConfig) -> Tensors:
    """Those of the tensors that the adapter changes."""
    changed = Tensors()
    for name in adapter.config.adapted_matrices:
        for number in range(config.layers):
            theirs = f"model.layers.{number}.{MATRICES[name]}.weight"
            changed[theirs] = _mapped(tensors[theirs], partial(_added, adapter, name, number))
    for name in tables_of(config) if adapter.config.tokens else ():
        rows = np.asarray(getattr(adapter, name)[...])
        rows = rows * embedding_factor(config) if name == "embedding" else rows
        theirs = f"{TABLES[name]}.weight"
        changed[theirs] = _mapped(tensors[theirs], partial(_with_rows, adapter.config.tokens, rows))
    return changed


def _mapped(tensor: Tensor, change: Callable[[int, Array], Array]) -> Tensor:
    """The tensor with `change` of each piece and its place."""

    def pieces() -> Iterator[Piece]:
        for place, piece in tensor.pieces():
            yield place, change(place, piece)

    return Tensor(tensor.shape, pieces)


def _added(adapter: Adapter, name: str, number: int, _: int, matrix: Array) -> Array:
    """A layer's whole matrix, outputs first, with A B added; the piece is the matrix."""
    a, b = (np.asarray(getattr(getattr(adapter, name), part)[number]) for part in ("a", "b"))
    rank = adapter.config.rank
    added: Array = np.float32(adapter.config.scale) * (a.reshape(-1, rank) @ b.reshape(rank, -1)).T
    return matrix + added


def _with_rows(ids: tuple[int, ...], rows: Array, place: int, piece: Array) -> Array:
    """Whole rows of a table from number `place`, with those of the tokens among them replaced."""
    begin, changed = place // piece.shape[1], piece.copy()
    for token, row in zip(ids, rows, strict=True):
        if begin <= token < begin + len(piece):
            changed[token - begin] = row
    return changed
