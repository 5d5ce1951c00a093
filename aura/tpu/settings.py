"""What a launch is about: the pod, from options and environment variables, and the run, from params.yaml and them.

Where a run takes place is no part of what comes out, and differs from one person to the next: so the pod is not in
params.yaml. The variables are the guide's NAME, PROJECT and ZONE, and ACCELERATOR, SLICES, SPOT, PLAN, DELETE_ON_EXIT.
MODEL_SIZE, SEQ_LEN, BATCH_SIZE, STEPS and LR change the run, SPM_MODEL and DATASET what it reads; the stage `pretrain`
takes none of these: what decides its outputs must be where DVC sees it. An option goes before its variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field
from ruamel.yaml import YAML

from aura import params
from aura.errors import UserError
from aura.section import Section, checked
from aura.tokenizer.vocabulary_size import NAMED
from aura.tpu.topology import Accelerator, accelerator

RUN_VARIABLES = {
    "MODEL_SIZE": "pretrain.size",
    "SEQ_LEN": "pretrain.seq_len",
    "BATCH_SIZE": "pretrain.batch_size",
    "STEPS": "pretrain.steps",
    "LR": "pretrain.learning_rate",
}
TOKENIZER, TOKENS = Path("models/spm/spiece.model"), Path("data/tokens")


class Place(Section):
    """The pod; the variables are these names in capitals.

    Attributes:
        name: of the pod: lower-case letters, digits and -.
        project: of Google Cloud; None for the one that gcloud is configured with.
        zone: such as us-central2-b.
        accelerator: such as v4-32; None for that of the pod of this name, or v4-32 if there is none yet.
        slices: how many of them.
        spot: whether it may be taken away at any time, for a lower price; the run resumes on the next one.
        plan: whether to prove that the run fits before anything is created.
        delete_on_exit: whether to delete the pod when a launch ends, for whatever reason.
    """

    name: str = Field("aura", pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")
    project: Annotated[str, Field(pattern=r"^[a-z][a-z0-9:.-]*[a-z0-9]$")] | None = None
    zone: Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]+-[a-z]$")] | None = None
    accelerator: str | None = None
    slices: int = Field(1, ge=1, le=256)
    spot: bool = True
    plan: bool = True
    delete_on_exit: bool = False

    @property
    def wanted(self) -> Accelerator:
        """What a new pod is made of."""
        return accelerator(self.accelerator or "v4-32", self.slices)


@dataclass(frozen=True)
class Settings:
    """Everything a launch needs.

    Attributes:
        place: the pod.
        values: all of params.yaml, with what options and variables changed.
        tokenizer: SentencePiece model file.
        tokens: folder of token shards.
    """

    place: Place
    values: params.Params
    tokenizer: Path = TOKENIZER
    tokens: Path = TOKENS

    @property
    def vocab_size(self) -> int:
        """Pieces of the tokenizer; as many as params.yaml asks for while there is none.

        Raises:
            UserError: there is none, and params.yaml leaves the number to its training (`auto`).
        """
        if not self.tokenizer.exists():
            asked = self.values.train_tokenizer.vocab_size
            if isinstance(asked, int):
                return asked
            if asked in NAMED:
                return NAMED[asked]
            raise UserError(
                f"the size of the vocabulary is not known: there is no {self.tokenizer}, and "
                f"train_tokenizer.vocab_size is {asked}. Run: dvc repro train_tokenizer; or put a number there"
            )
        from aura.tokenizer.tokenizer import Tokenizer  # slow to import, and not for every `aura`

        return Tokenizer.load(self.tokenizer).vocab_size


def place(options: Mapping[str, object | None], environment: Mapping[str, str]) -> Place:
    """The pod that options (by an attribute's name; None if left out) and variables describe.

    Raises:
        UserError: a value is none that it could be; the message names it.
    """
    names = Place.model_fields
    values: dict[str, object] = {name: _value(text) for name in names if (text := environment.get(name.upper()))}
    values |= {name: value for name, value in options.items() if value is not None}
    return checked(Place, values, "the pod (options, or variables in capitals)")


def run_changes(
    given: params.Params, options: Mapping[str, object | None], environment: Mapping[str, str]
) -> params.Params:
    """params.yaml with what options (by a key such as `pretrain.steps`) and variables change of the run."""
    changes = {key: _value(environment[name]) for name, key in RUN_VARIABLES.items() if environment.get(name)}
    return params.changed(given, changes | {key: value for key, value in options.items() if value is not None})


def tokenizer(option: str | None, environment: Mapping[str, str]) -> Path:
    """The SentencePiece model file that --spm-model, SPM_MODEL or else the pipeline names."""
    return Path(option or environment.get("SPM_MODEL") or TOKENIZER)


def tokens(option: str | None, environment: Mapping[str, str]) -> Path:
    """The folder of token shards that --dataset, DATASET or else the pipeline names; `UserError` if it is none."""
    path = Path(option or environment.get("DATASET") or TOKENS)
    if not (path / "manifest.json").exists():
        raise UserError(
            f"DATASET: expected a folder of token shards, came {path}, which has no manifest.json. A dataset of the "
            "Hub becomes one as a source: aura source add NAME OWNER/DATASET --kind dataset, then: dvc repro encode"
        )
    return path


def _value(text: str) -> object:
    """A variable's text as YAML would read it: a number or a truth value where it looks like one."""
    value: object = YAML(typ="safe").load(text)
    return value if isinstance(value, int | float) else text
