"""Trained weights on disk: safetensors beside the config that explains them.

The same weights give the same bytes, so a folder's hash is the model's identity: tensors are named by their
place in the model, and nothing records a time, a path or a host.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file
from safetensors.numpy import save as serialised

from aura import files
from aura.errors import UserError
from aura.self_teaching_llm.model import LanguageModel, ModelConfig
from aura.self_teaching_llm.optimizer import leaf_name

FORMAT = 2
MADE_BY = "dvc repro pretrain"


def save(folder: Path, model: LanguageModel, origin: dict[str, Any]) -> None:
    """Put model.safetensors and config.json into `folder`, all or none; `origin` says what the model was made from."""
    tensors = {leaf_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(model)}
    parameters = sum(tensor.size for tensor in tensors.values())
    record = {"format": FORMAT, "model": asdict(model.config), "parameters": parameters, **origin}
    with files.replaced_folder(folder) as partial:
        # Not save_file: its error about a full disk is no OSError.
        files.write_bytes(partial / "model.safetensors", serialised(tensors))
        files.write_json(partial / "config.json", record)


def config(folder: Path) -> dict[str, Any]:
    """What config.json in `folder` says of the model and its origin; an absent or foreign one is a `UserError`."""
    files.require_folder(folder, made_by=MADE_BY)
    read: dict[str, Any] = files.read_json(folder / "config.json", made_by=MADE_BY)
    if read.get("format") != FORMAT:
        raise UserError(f"{folder}: expected format {FORMAT}, came {read.get('format')!r}. Run: {MADE_BY}")
    return read


def load(folder: Path) -> LanguageModel:
    """The model in `folder`; an absent, foreign or misfitting one is a `UserError`."""
    shapes = _shapes(ModelConfig(**config(folder)["model"]))
    tensors = load_file(folder / "model.safetensors")
    expected = {leaf_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    came = {name: tensor.shape for name, tensor in tensors.items()}
    if came != expected:
        wrong = sorted(name for name in came.keys() | expected.keys() if came.get(name) != expected.get(name))
        told = "; ".join(f"{name}: {expected.get(name)} expected, {came.get(name)} found" for name in wrong[:5])
        raise UserError(f"{folder}/model.safetensors does not fit its config.json: {told}. Run: {MADE_BY} --force")
    model: LanguageModel = jax.tree_util.tree_map_with_path(
        lambda path, _: jax.numpy.asarray(tensors[leaf_name(path)]), shapes
    )
    return model


def plain(shape: ModelConfig, model: LanguageModel) -> LanguageModel:
    """A model of whole arrays, however it was trained, as one that computes in float32 on one device."""
    leaves = [jax.numpy.asarray(leaf) for leaf in jax.tree.leaves(model)]
    made: LanguageModel = jax.tree.unflatten(jax.tree.structure(_shapes(shape)), leaves)
    return made


def _shapes(shape: ModelConfig) -> LanguageModel:
    shapes: LanguageModel = jax.eval_shape(lambda: LanguageModel(shape, seed=0))
    return shapes
