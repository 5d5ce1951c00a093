"""The stages that run on a pod: folders that each reads and writes there, and sections of params.yaml that decide it.

All else of a launch is the same for each of them, so a further stage that trains is one more `PodStage`, and one more
entry of `RUNS` in `pod_run.py`. What is told and judged after a run stands in `stage.py` and `launch.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aura.adapt.options import Adapt
from aura.core import paths


@dataclass(frozen=True)
class PodStage:
    """A stage that can run on a pod.

    Attributes:
        name: of the stage, and of its section of params.yaml.
        results: folders that come back from the pod.
        model: the one of `results` that gets the account of the last checkpoint.
        sections: of params.yaml, those that decide the results.
        reads: folders beside data/tokens and the tokenizer's file, with the command that makes each. Each holds
            _SHA256SUMS.
        held_out_only: whether only the held-out part of data/tokens is read.
        own_options: names of options that the stage has in its own section; all others are those of `pretrain`.
    """

    name: str
    results: tuple[Path, ...]
    model: Path
    sections: tuple[str, ...]
    reads: Mapping[Path, str] = field(default_factory=dict)
    held_out_only: bool = False
    own_options: frozenset[str] = frozenset()

    def key(self, option: str) -> str:
        """Return the key in params.yaml of an option of the run, such as `adapt.steps` for `steps`."""
        return f"{self.name if option in self.own_options else 'pretrain'}.{option}"


PRETRAIN = PodStage(
    name="pretrain",
    results=(paths.LANGUAGE_MODEL, paths.PRETRAINING),
    model=paths.LANGUAGE_MODEL,
    sections=("pretrain",),
)
ADAPT = PodStage(
    name="adapt",
    results=(paths.ADAPTER, paths.CHAT_MODEL, paths.ADAPTATION),
    model=paths.CHAT_MODEL,
    sections=("adapt", "pretrain", "encode"),
    reads={
        paths.TOKENIZER: "dvc repro train_tokenizer",
        paths.LANGUAGE_MODEL: "dvc repro pretrain",
        paths.CONVERSATIONS: "dvc repro conversations",
    },
    held_out_only=True,
    own_options=frozenset(Adapt.model_fields),
)
STAGES = {stage.name: stage for stage in (PRETRAIN, ADAPT)}
