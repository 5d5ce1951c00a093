"""Models that can be released, and their model cards: which base, which data, which params, and what was measured.

A model's stage judges it, and fails where a gate is missed. So a model of an up-to-date pipeline has passed. The card
names the base by its hash, and by its version where one is released.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura.core import checksums, files, paths
from aura.core.errors import UserError
from aura.sharing import versions
from aura.sharing.current_outputs import require_current
from aura.tokenizer import opening

UNRELEASED = "not published"
BASE, BASE_WEIGHTS = "language_model", "model.safetensors"


@dataclass(frozen=True)
class ReleasedModel:
    """A model of the pipeline: its folder, its stage, the metrics of what trained it, and the file of its weights."""

    folder: Path
    stage: str
    metrics: Path
    weights: str = BASE_WEIGHTS


MODELS = {  # by the names of artifacts in dvc.yaml
    BASE: ReleasedModel(paths.LANGUAGE_MODEL, "pretrain", paths.PRETRAINING / "metrics.json"),
    "hugging_face_model": ReleasedModel(paths.HUGGING_FACE_MODEL, "export", paths.PRETRAINING / "metrics.json"),
    "adapter": ReleasedModel(
        paths.ADAPTER, "adapt", paths.ADAPTATION / "metrics.json", weights="adapter_model.safetensors"
    ),
    "chat": ReleasedModel(paths.CHAT_MODEL, "adapt", paths.ADAPTATION / "metrics.json"),
}


def model_of_pipeline(name: str) -> tuple[Path, tuple[str, ...], dict[str, Any]]:
    """The folder of a model, the names of its files, and its card without hashes and licence.

    Raises:
        UserError: there is no such model, it is not what dvc.lock says, or it is damaged.
    """
    model = MODELS[name]
    made_by = f"dvc repro {model.stage}"
    if not model.folder.is_dir():
        raise UserError(f"{model.folder} is missing: there is no {name} to publish. Run: {made_by}")
    if not (model.folder / model.weights).is_file():
        remedy = "Set adapt.rank above 0 to make one, and run" if name == "adapter" else "Run"
        raise UserError(
            f"expected {model.weights} in {model.folder}, got none: there is no {name} to publish. {remedy}: {made_by}"
        )
    made_from = require_current(model.folder, model.stage)
    listed = checksums.read(model.folder, made_by)
    metrics = files.read_object(model.metrics, made_by)
    return model.folder, (checksums.NAME, *sorted(listed)), {"base": _base(name), **made_from, "metrics": metrics}


def _base(name: str) -> dict[str, dict[str, str]]:
    """The tokenizer that a model was made on, and for all but the base itself the language model."""
    *_, name_of_file = opening.files_of(paths.TOKENIZER)
    tokenizer = opening.sha256(paths.TOKENIZER)
    found = {"tokenizer": _version(versions.NAME, name_of_file, tokenizer)}
    if name != BASE:
        weights = checksums.read(paths.LANGUAGE_MODEL, "dvc repro pretrain")[BASE_WEIGHTS]
        found[BASE] = _version(BASE, BASE_WEIGHTS, weights)
    return found


def _version(name: str, file: str, sha256: str) -> dict[str, str]:
    """The newest released version of an artifact with these bytes, and their hash."""
    found = [entry.version for entry in versions.listed(".", name) if _hash(entry.card, file) == sha256]
    return {"version": found[0] if found else UNRELEASED, "sha256": sha256}


def _hash(card: dict[str, Any], file: str) -> object:
    hashes = card.get("sha256")
    return hashes.get(file) if isinstance(hashes, dict) else None
