"""models/adapter: an adapter in the files of PEFT, which loads it onto models/hf, and back again.

A is stored as `lora_A` (rank x inputs) and B as `lora_B` (outputs x rank), a pair for each layer and matrix, and learnt
rows as PEFT's `trainable_token_indices` have them. Embedding rows carry the factor of `llama.embedding_factor`, as the
embeddings of models/hf do. aura_adapter.json says beside them what PEFT's files have no place for: the shape of the
base, its weights' hash and the tokenizer's. All of it is small: the adapter is in memory once.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.hugging_face.cards import Facts, adapter_card
from aura.hugging_face.folder import CARD, Trained, base_facts
from aura.hugging_face.llama import MATRICES, Array, embedding_factor
from aura.model import tensor_file, weights
from aura.model.lora import INPUT_AXES, Adapter, LoraConfig
from aura.model.model import LanguageModel, ModelConfig, leaf_name
from aura.model.tensor_file import Tensor

FORMAT = 1
MADE_BY = "dvc repro adapt"
WEIGHTS, CONFIG, RECORD = "adapter_model.safetensors", "adapter_config.json", "aura_adapter.json"
PREFIX = "base_model.model"
TABLES = {"embedding": "model.embed_tokens", "head": "lm_head"}


def on_host(adapter: Adapter) -> Adapter:
    """The adapter with its leaves whole in this process's memory; of several processes each must call this."""
    whole: Adapter = jax.tree.map(lambda leaf: weights.tensor_of(leaf).read(), adapter)
    return whole


def write_adapter(
    output: Path, adapter: Adapter, base: Trained, facts: Facts, base_folder: str = "models/hf"
) -> dict[str, Array]:
    """Make the folder `output` anew; returns the tensors under PEFT's names.

    Arguments:
        output: models/adapter.
        adapter: of rank 1 or more, in this process's memory.
        base: the model that it adapts.
        facts: what the card says beside the base, by title.
        base_folder: where PEFT looks for the base.
    """
    tensors = dict(_tensors(adapter, base.config))
    record = {
        "format": FORMAT,
        "model": base.config.record(),
        "lora": asdict(adapter.config) | {"alpha": float(adapter.config.alpha)},
        "base_sha256": base.sha256,
        "tokenizer": base.tokenizer.encoding_sha256,
        "seq_len": base.record["seq_len"],
    }
    with files.replaced_folder(output) as unfinished:
        stored = {name: Tensor.whole(array) for name, array in tensors.items()}
        tensor_file.write(unfinished / WEIGHTS, stored, {"format": "pt"})
        files.write_json(unfinished / CONFIG, peft_config(adapter.config, base.config, base_folder))
        files.write_json(unfinished / RECORD, record)
        card = adapter_card(base_folder, {**base_facts(base), **facts}, base.config.network)
        files.write_bytes(unfinished / CARD, card.encode())
        checksums.write(unfinished)
    return tensors


def load_adapter(folder: Path) -> tuple[Adapter, dict[str, Any]]:
    """The adapter of `write_adapter`, and its record (model, lora, base_sha256, tokenizer, seq_len).

    Raises:
        UserError: a file is missing or altered, or the tensors do not fit the record.
    """
    checksums.verify(folder, MADE_BY, RECORD, WEIGHTS)
    shape = {"model": ModelConfig, "lora": {"rank": int, "alpha": float, "matrices": [str], "tokens": [int]}}
    record = files.read_format(folder / RECORD, MADE_BY, FORMAT, **shape, base_sha256=str, tokenizer=str, seq_len=int)
    config, lora = weights.shape_of(record["model"], folder / RECORD, MADE_BY), record["lora"]
    chosen = LoraConfig(lora["rank"], lora["alpha"], tuple(lora["matrices"]), tuple(lora["tokens"]))
    empty = jax.eval_shape(lambda: Adapter(LanguageModel(config, 0), chosen, 0))
    file = folder / WEIGHTS
    try:
        found = tensor_file.shapes(file)
    except SafetensorError as error:
        raise UserError(f"{file}: expected a safetensors file ({error}). {checksums.remedy(MADE_BY)}") from None
    count = 2 * len(chosen.adapted_matrices) * config.layers + len(tables_of(config) if chosen.tokens else ())
    # The count comes first: a record can state so many layers that their names fill the memory.
    if len(found) != count or found != {name: array.shape for name, array in _tensors(_zeros(empty), config)}:
        raise UserError(f"{file} does not fit its {RECORD}. {checksums.remedy(MADE_BY)}")

    def read(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.numpy.asarray(_leaf(file, leaf_name(path), leaf.shape, config))

    adapter: Adapter = jax.tree_util.tree_map_with_path(read, empty)
    return adapter, record


def fit(record: dict[str, Any], base: Trained, folder: Path) -> None:
    """Refuse an adapter that was made for other weights than those of `base`."""
    if record["base_sha256"] != base.sha256:
        raise UserError(
            f"{folder} adapts the model with the SHA-256 {record['base_sha256'][:16]}…, got {base.sha256[:16]}… in "
            f"{base.weights}. Adapt it: {MADE_BY}"
        )


def peft_config(lora: LoraConfig, config: ModelConfig, base_folder: str) -> dict[str, Any]:
    """adapter_config.json as PEFT 0.21 reads it; options that it does not name have PEFT's defaults."""
    tables = {TABLES[name].rpartition(".")[2]: [*lora.tokens] for name in tables_of(config)}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_folder,
        "r": lora.rank,
        "lora_alpha": int(lora.alpha) if float(lora.alpha).is_integer() else lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted(MATRICES[name].rpartition(".")[2] for name in lora.adapted_matrices),
        "trainable_token_indices": tables if lora.tokens else None,
    }


def tables_of(config: ModelConfig) -> list[str]:
    """Names of the tables that a model of this shape has."""
    return ["embedding"] if config.tied_embeddings else [*TABLES]


def _zeros(empty: Adapter) -> Adapter:
    """An adapter of zeros that takes no memory for them."""
    made: Adapter = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), empty)
    return made


def _tensors(adapter: Adapter, config: ModelConfig) -> Iterator[tuple[str, Array]]:
    """The adapter under PEFT's names: outputs first, as torch has matrices."""
    for name in adapter.config.adapted_matrices:
        a, b = (np.asarray(getattr(getattr(adapter, name), part)[...]) for part in ("a", "b"))
        for number in range(config.layers):
            lora_a, lora_b = _names(name, number)
            yield lora_a, a[number].reshape(-1, adapter.config.rank).T
            yield lora_b, b[number].reshape(adapter.config.rank, -1).T
    for name in tables_of(config) if adapter.config.tokens else ():
        rows = np.asarray(getattr(adapter, name)[...])
        yield _rows_name(name), rows * embedding_factor(config) if name == "embedding" else rows


def _leaf(file: Path, name: str, shape: tuple[int, ...], config: ModelConfig) -> Array:
    """A leaf of an adapter out of PEFT's tensors."""
    matrix, _, part = name.partition(".")
    if matrix not in INPUT_AXES:
        rows = tensor_file.stored(file, _rows_name(matrix)).read()
        return rows / embedding_factor(config) if matrix == "embedding" else rows
    names = [_names(matrix, number)[part == "b"] for number in range(shape[0])]
    return np.stack([tensor_file.stored(file, stored).read().T.reshape(shape[1:]) for stored in names])


def _names(matrix: str, number: int) -> tuple[str, str]:
    place = f"{PREFIX}.model.layers.{number}.{MATRICES[matrix]}"
    return f"{place}.lora_A.weight", f"{place}.lora_B.weight"


def _rows_name(table: str) -> str:
    return f"{PREFIX}.{TABLES[table]}.token_adapter.trainable_tokens_delta"
