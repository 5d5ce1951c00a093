"""The files of an adapted model: models/adapter for PEFT, models/chat for transformers."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from aura.adapt.adapt import Adapted
from aura.core import checksums, files
from aura.hugging_face.cards import Facts
from aura.hugging_face.chat_model import write_chat
from aura.hugging_face.folder import CARD, Trained
from aura.hugging_face.peft_adapter import on_host, write_adapter
from aura.model import weights
from aura.model.lora import Adapter
from aura.training import distributed

NO_ADAPTER = """# No adapter

`adapt.rank` was 0, so all weights were trained. The model is in {chat}.
"""


@dataclass(frozen=True)
class Outputs:
    """Folders that are made anew.

    Attributes:
        adapter: models/adapter.
        chat: models/chat.
    """

    adapter: Path
    chat: Path


def write_models(adapted: Adapted, base: Trained, outputs: Outputs, *, add_bos: bool) -> None:
    """Write both folders. Of several processes each must call this, and the first one writes.

    With all weights trained, the folder of the adapter holds a note alone.

    Arguments:
        adapted: the model on its devices.
        base: the files of the model that was adapted.
        outputs: the folders.
        add_bos: <bos> begins each text that is encoded without the chat template.
    """
    facts = _facts(adapted, base)
    if isinstance(adapted.trained, Adapter):
        adapter = on_host(adapted.trained)
        if distributed.is_first():
            write_adapter(outputs.adapter, adapter, base, facts)
            write_chat(outputs.chat, base, adapter, facts, add_bos=add_bos)
        return
    held = outputs.chat.with_name(f".{outputs.chat.name}-weights")
    origin = {name: base.record[name] for name in ("seq_len", "tokenizer", "tokens") if name in base.record}
    weights.save(held, adapted.trained, origin, writes=distributed.is_first())
    if distributed.is_first():
        write_chat(outputs.chat, Trained.of(held, base.tokenizer_folder), None, facts, add_bos=add_bos)
        shutil.rmtree(held)
        with files.replaced_folder(outputs.adapter) as unfinished:
            files.write_bytes(unfinished / CARD, NO_ADAPTER.format(chat=outputs.chat).encode())
            checksums.write(unfinished)


def _facts(adapted: Adapted, base: Trained) -> Facts:
    """The tables of the cards."""
    metrics = adapted.metrics
    return {
        "The base": {
            "weights (SHA-256)": files.sha256_file(base.weights),
            "tokenizer (SHA-256 of its encoding)": base.tokenizer.encoding_sha256,
            "trained parameters": metrics.trained_parameters,
        },
        "Measured on held-out text": {
            "loss on answers, before (nats per token)": metrics.response_loss_before,
            "loss on answers, after": metrics.response_loss,
            "divergence from the base on answers (nats per token)": metrics.start_divergence,
            "bits per byte of the pretraining text, before": metrics.bits_per_byte_before,
            "bits per byte of the pretraining text, after": metrics.bits_per_byte,
        },
    }
