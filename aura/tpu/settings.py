"""Settings of a launch: the pod, from options and environment variables, and the run, from params.yaml and them.

The place of a run decides nothing of its result, and differs from one person to the next: so the pod is not in
params.yaml. Each attribute of `PodSettings` has an option, and a variable of that name in capitals. An option goes
before its variable. Variables of older launch scripts are taken over or refused (`old_variables.py`).

MODEL_SIZE, SEQ_LEN, BATCH_SIZE, STEPS and LR change the run, SPM_MODEL and DATASET what it reads. A stage of the
pipeline refuses these where they differ from params.yaml: DVC must see all that decides the outputs.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from aura.adapt.options import Adapt
from aura.core import paths
from aura.core.bounded import bounded_yaml
from aura.core.errors import UserError
from aura.core.section import Section, checked
from aura.project import whole_params
from aura.tokenizer import opening
from aura.tpu import old_variables
from aura.tpu.access import Access
from aura.tpu.pod_stages import ADAPT, PRETRAIN, PodStage
from aura.tpu.topology import Accelerator, accelerator
from aura.train_tokenizer.options import NAMED_SIZES

RUN_VARIABLES = {  # and the option of the stage that each sets
    "MODEL_SIZE": "size",
    "SEQ_LEN": "seq_len",
    "BATCH_SIZE": "batch_size",
    "STEPS": "steps",
    "LR": "learning_rate",
}
BY_NAME = (
    "name",
    "project",
    "zone",
    "internal_ips",
    "tunnel_through_iap",
)  # what finds and reaches a pod that is there
PORT = 8476  # JAX's own choice on TPU VMs
SWITCH = {"1": True, "yes": True, "on": True, "0": False, "no": False, "off": False}

ResourceName = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9:._/-]*[a-z0-9])?$")]  # alone, or projects/…/NAME
Account = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*@[a-zA-Z0-9][a-zA-Z0-9.-]*$")]
Labels = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}(,[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63})*$")
]
Tags = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?(,[a-z]([a-z0-9-]{0,61}[a-z0-9])?)*$")]


class PodSettings(Section):
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
        port: of the first worker, where the processes of a run meet.
        internal_ips, …, valid_until_duration: as `Access` describes them.
    """

    name: str = Field("aura", pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")
    project: Annotated[str, Field(pattern=r"^[a-z][a-z0-9:.-]*[a-z0-9]$")] | None = None
    zone: Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]+-[a-z]$")] | None = None
    accelerator: str | None = None
    slices: int = Field(1, ge=1, le=256)
    spot: bool = True
    plan: bool = True
    delete_on_exit: bool = False
    port: int = Field(PORT, ge=1024, le=65535)
    internal_ips: bool = False
    tunnel_through_iap: bool = False
    network: ResourceName | None = None
    subnetwork: ResourceName | None = None
    service_account: Account | None = None
    reserved: bool = False
    reservation: ResourceName | None = None
    labels: Labels | None = None
    tags: Tags | None = None
    runtime_version: Annotated[str, Field(pattern=r"^(tpu-|v[0-9]+-)[a-z0-9.-]*[a-z0-9]$")] | None = None
    valid_until_duration: Annotated[str, Field(pattern=r"^([0-9]+[smhdw])+$")] | None = None

    @property
    def access(self) -> Access:
        """Return the placement of the pod and the way to its workers."""
        return Access(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Access)})

    @property
    def wanted(self) -> Accelerator:
        """Return the accelerator that a new pod is made of."""
        return accelerator(self.accelerator or "v4-32", self.slices)

    @property
    def devices(self) -> int | None:
        """JAX's devices of the whole pod; None where it may be one that is there already, of another kind."""
        return None if self.accelerator is None else self.wanted.chips


@dataclass(frozen=True)
class Settings:
    """Everything a launch needs.

    Attributes:
        place: the pod.
        values: all of params.yaml, with what options and variables changed.
        tokenizer: SentencePiece model file.
        tokens: folder of token shards.
        stage: the one that runs on the pod.
    """

    place: PodSettings
    values: whole_params.Params
    tokenizer: Path = paths.TOKENIZER_MODEL
    tokens: Path = paths.TOKENS
    stage: PodStage = PRETRAIN

    @property
    def adaptation(self) -> Adapt | None:
        """Section adapt, if that stage runs."""
        return self.values.adapt if self.stage is ADAPT else None

    @property
    def vocab_size(self) -> int:
        """Pieces of the tokenizer; as many as params.yaml asks for while there is none.

        Raises:
            UserError: there is none, and params.yaml leaves the number to its training (`auto`).
        """
        if not opening.is_there(self.tokenizer):
            asked = self.values.train_tokenizer.vocab_size
            if isinstance(asked, int):
                return asked
            if asked in NAMED_SIZES:
                return NAMED_SIZES[asked]
            raise UserError(
                f"the size of the vocabulary is not known: there is no {self.tokenizer}, and "
                f"train_tokenizer.vocab_size is {asked}. Run: dvc repro train_tokenizer; or put a number there"
            )

        return opening.load(self.tokenizer).vocab_size

    @property
    def tokenizer_files(self) -> dict[Path, Path]:
        """The tokenizer's files: place in the project's copy, and file here."""
        return {paths.TOKENIZER / name: file for name, file in opening.files_of(self.tokenizer).items()}


def place(
    options: Mapping[str, object | None], environment: Mapping[str, str], *, by_name: bool = False
) -> PodSettings:
    """The pod that options (by an attribute's name; None if left out) and variables describe.

    With `by_name`, only what finds a pod is read, so that no other variable keeps anyone from looking at it or from
    deleting it.

    Raises:
        UserError: a value is none that it could be, or two contradict each other; the message names them.
    """
    if not by_name:
        old_variables.refuse(environment)
        environment = old_variables.renamed(environment)
    names = BY_NAME if by_name else tuple(PodSettings.model_fields)
    values: dict[str, object] = {name: _value(name, text) for name in names if (text := environment.get(name.upper()))}
    values |= {name: value for name, value in options.items() if value is not None}
    reserved = values.get("reserved") or values.get("reservation")
    if reserved and values.setdefault("spot", False) is not False:
        raise UserError("a reservation has no spot machines. Leave out --spot (SPOT), or --reserved and --reservation")
    return checked(PodSettings, values, "the pod (options, or variables in capitals)")


def run_changes(
    given: whole_params.Params,
    options: Mapping[str, object | None],
    environment: Mapping[str, str],
    devices: int | None = None,
    stage: PodStage = PRETRAIN,
) -> whole_params.Params:
    """params.yaml with what options (by a name such as `steps`) and variables change of the run.

    Arguments:
        given: params.yaml.
        options: values by their names; None if left out.
        environment: the variables.
        devices: of the pod, which PER_DEVICE_BATCH needs; None if not known.
        stage: the one that runs.
    """
    options = {stage.key(name): value for name, value in options.items() if value is not None}
    batch_size = stage.key("batch_size")
    changes: dict[str, object] = {
        "pretrain.precision": old_variables.precision(environment),
        "pretrain.checkpoint_folder": old_variables.checkpoint_folder(environment),
    }
    if batch_size not in options:
        changes[batch_size] = old_variables.batch_size(environment, devices)
    changes = {key: value for key, value in changes.items() if value is not None}
    changes |= {
        stage.key(option): _number(environment[name]) for name, option in RUN_VARIABLES.items() if environment.get(name)
    }
    return whole_params.changed(given, changes | options)


def refuse_run_variables(
    given: whole_params.Params, environment: Mapping[str, str], devices: int | None, stage: PodStage = PRETRAIN
) -> None:
    """Stop if a variable would change the run that params.yaml describes: a stage runs what DVC has a record of."""
    asked = run_changes(given, {}, environment, devices, stage)
    if changed := _differences(given, asked):
        settings = " ".join(f"-S {key}={value}" for key, value in changed.items())
        raise UserError(
            "variables say something else of the run than params.yaml, and DVC would not know it. "
            f"Run: dvc exp run {settings}; or unset {', '.join(_run_variables(environment))}"
        )
    refuse_other_inputs({}, environment)


def refuse_other_inputs(options: Mapping[str, str | None], environment: Mapping[str, str]) -> None:
    """Stop if an option (by the name of its variable) or a variable names an input that is not the pipeline's own."""
    for name, expected in (("SPM_MODEL", paths.TOKENIZER_MODEL), ("DATASET", paths.TOKENS)):
        value = options.get(name) or environment.get(name)
        if value and Path(value).resolve() != expected.resolve():
            raise UserError(
                f"{name}={value} is set, but the stage reads {expected}, which DVC tracks. Leave it out; only "
                "`aura tpu launch` without --adapt reads others"
            )


def refuse_another_model(given: whole_params.Params, asked: whole_params.Params) -> None:
    """Stop if options or variables ask an adaptation for another model than the one that it adapts."""
    if changed := _differences(given, asked).keys() & {"pretrain.size", "pretrain.seq_len"}:
        raise UserError(
            f"options or variables change {' and '.join(sorted(changed))}, but adapt continues the model in "
            f"{paths.LANGUAGE_MODEL}, which has both. Leave out --model-size and --seq-len, and unset MODEL_SIZE and "
            "SEQ_LEN"
        )


def _differences(given: whole_params.Params, asked: whole_params.Params) -> dict[str, object]:
    """Return the options of the stages that train which differ, by their keys, with the values that are asked for."""
    before, now = (params.model_dump(mode="json", include={"pretrain", "adapt"}) for params in (given, asked))
    return {
        f"{section}.{name}": value
        for section, options in now.items()
        for name, value in options.items()
        if value != before[section][name]
    }


def _run_variables(environment: Mapping[str, str]) -> list[str]:
    return [name for name in (*RUN_VARIABLES, "DTYPE", "PER_DEVICE_BATCH", "CKPT_OUT") if environment.get(name)]


def tokenizer(option: str | None, environment: Mapping[str, str]) -> Path:
    """The SentencePiece model file that --spm-model, SPM_MODEL or else the pipeline names.

    Raises:
        UserError: one is named that is not there; the pipeline's own may yet be made.
    """
    named = option or environment.get("SPM_MODEL")
    if named and named != str(paths.TOKENIZER_MODEL):
        require_file(Path(named), made_by="dvc repro train_tokenizer")
    return Path(named or paths.TOKENIZER_MODEL)


def require_file(path: Path, made_by: str) -> None:
    """Stop unless there is such a file, before anything is rented for it."""
    if not path.is_file():
        raise UserError(f"expected the file {path}, found none. Name one that is there, or make it: {made_by}")


def tokens(option: str | None, environment: Mapping[str, str]) -> Path:
    """The folder of token shards that --dataset, DATASET or else the pipeline names; `UserError` if it is none."""
    path = Path(option or environment.get("DATASET") or paths.TOKENS)
    if not (path / "manifest.json").exists():
        raise UserError(
            f"DATASET: expected a folder of token shards, got {path}, which has no manifest.json. A dataset of the "
            "Hub becomes one as a source: aura source add NAME OWNER/DATASET --kind dataset, then: dvc repro encode"
        )
    return path


def _value(name: str, text: str) -> object:
    """A variable's text as an attribute of `PodSettings` wants it: as a number, as a switch, or as it is."""
    kind = typing.get_type_hints(PodSettings)[name]
    if kind is bool:
        return SWITCH.get(text.lower(), _number(text.lower()))
    return _number(text) if kind is int else text


def _number(text: str) -> object:
    """A variable's text as YAML would read it: a number or a truth value where it looks like one."""
    value: object = bounded_yaml(text)
    return value if isinstance(value, int | float) else text
