"""Everything that a launch needs and does not find, told at once: files first, then the program, then the place."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from aura.core import checksums
from aura.core.errors import UserError
from aura.project import whole_params
from aura.tpu import settings
from aura.tpu.pod import connected
from aura.tpu.pod_stages import PRETRAIN, PodStage
from aura.tpu.settings import PodSettings


def refuse(
    place: PodSettings,
    values: whole_params.Params,
    tokenizer: str | None,
    dataset: str | None,
    stage: PodStage = PRETRAIN,
) -> None:
    """Raise one `UserError` that lists all that a launch lacks, before any of it is looked for elsewhere.

    Args:
        place: the pod.
        values: params.yaml, with what options and variables change.
        tokenizer: the option --spm-model, if given.
        dataset: the option --dataset, if given.
        stage: the one to launch.
    """
    told = list(
        _told(
            lambda: _require_tokenizer(tokenizer, os.environ),
            lambda: settings.tokens(dataset, os.environ),
            *(partial(settings.require_file, folder / checksums.NAME, by) for folder, by in stage.reads.items()),
            lambda: require_shared(values.pretrain.checkpoint_folder),
            lambda: connected(place),
        )
    )
    if len(told) > 1:
        told = [f"{len(told)} things are missing:", *(f"{number}. {each}" for number, each in enumerate(told, 1))]
    if told:
        raise UserError("\n".join(told))


def require_shared(folder: str) -> None:
    """Refuse a folder for checkpoints that would be lost with the pod."""
    if "://" not in folder and not Path(folder).is_absolute():
        raise UserError(
            f"pretrain.checkpoint_folder: expected gs://BUCKET/PREFIX, got {folder}. What lies on a pod is lost "
            "with it, and every worker needs the same folder."
        )


def _require_tokenizer(option: str | None, environment: Mapping[str, str]) -> None:
    settings.require_file(settings.tokenizer(option, environment), made_by="dvc repro train_tokenizer")


def _told(*checks: Callable[[], object]) -> Iterable[str]:
    for check in checks:
        try:
            check()
        except UserError as error:
            yield from str(error).splitlines()
