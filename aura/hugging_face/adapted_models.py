"""The folders of an adapted model: models/adapter and models/chat, whichever of its weights were trained.

Of a model of which all weights were trained there is no adapter. models/adapter then holds a card that says so, because
an output of a stage must be there.
"""

from dataclasses import dataclass
from pathlib import Path

from aura.core import checksums, files
from aura.hugging_face.cards import Facts
from aura.hugging_face.chat_model import write_chat
from aura.hugging_face.folder import CARD, Trained
from aura.hugging_face.peft_adapter import on_host, write_adapter
from aura.model import weights
from aura.model.lora import Adapter
from aura.model.model import LanguageModel

NO_ADAPTER = """# No adapter

All weights of the model were trained (`adapt.rank: 0`), so there is no adapter. The model is in `models/chat`.
"""


@dataclass(frozen=True)
class Outputs:
    """The folders to make: for the adapter and for the chat model; and the base, as the adapter's readers find it."""

    adapter: Path
    chat: Path
    base: str = "models/hf"


def write_models(
    trained: Adapter | LanguageModel,
    base: Trained,
    facts: Facts,
    outputs: Outputs,
    *,
    add_bos: bool,
    writes: bool = True,
) -> None:
    """Write what was trained, wherever it lies; each folder whole or not at all.

    Arguments:
        trained: an adapter, or the whole model.
        base: the model that was adapted, and its tokenizer.
        facts: what the cards say of data and gates, by title.
        outputs: the folders.
        add_bos: <bos> begins each text that is encoded without the chat template.
        writes: whether this process writes; of several processes each must call this.
    """
    if isinstance(trained, Adapter):
        adapter = on_host(trained)
        if writes:
            write_adapter(outputs.adapter, adapter, base, facts, outputs.base)
            write_chat(outputs.chat, base, adapter, facts, add_bos=add_bos)
        return
    scratch = outputs.chat.with_name(f".{outputs.chat.name}-weights")
    try:
        weights.save(scratch, trained, {}, writes=writes)
        if writes:
            write_chat(outputs.chat, base, scratch / base.weights.name, facts, add_bos=add_bos)
    finally:
        if writes:
            files.remove(scratch)
    if writes:
        with files.replaced_folder(outputs.adapter) as unfinished:
            files.write_bytes(unfinished / CARD, NO_ADAPTER.encode())
            checksums.write(unfinished)
