"""Variables of the launch scripts that came before aura: each is taken over, or refused with what replaces it.

A variable that is set and silently ignored rents the wrong pod or trains on the wrong data. So every launch looks at
all of them. Those that only have another name or spelling here are translated; the others end the command.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aura.core.errors import UserError

RENAMED = {"ACCEL": "ACCELERATOR", "VERSION": "RUNTIME_VERSION"}
PRECISIONS = {
    "bf16": "bfloat16", "bfloat16": "bfloat16", "fp32": "float32", "f32": "float32", "float32": "float32"
}  # fmt: skip
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True)
class Gone:
    """A variable that has no meaning here.

    Attributes:
        instead: what to do instead, a sentence.
        harmless: values that ask for what aura does anyway.
    """

    instead: str
    harmless: tuple[str, ...] = ()


_SOURCE = "Data comes from the sources of params.yaml: aura source add NAME OWNER/DATASET --kind dataset"
_MIX = f"{_SOURCE} for each, and their shares in pretrain.source_weights"
_JSONL = "Data comes from the sources of params.yaml: aura source add NAME FOLDER --kind json"
_COPIED = "aura copies this project to the workers and clones nothing there"
_PYTHON = "workers run the packages of requirements.txt in an environment that `aura tpu setup` makes"
_ALWAYS = (
    "the optimisations for TPUs are always on; the knobs are pretrain.precision, remat, fsdp and tensor in params.yaml"
)
_NOT_HERE = "aura's models have no such part"
GONE = {
    "CONFIG": Gone(f"{_SOURCE} --config CONFIG"),
    "SPLIT": Gone(f"{_SOURCE} --split SPLIT"),
    "TEXT_KEY": Gone(f"{_SOURCE} --text-key KEY"),
    "LOCAL_JSONL": Gone(_JSONL),
    "DATASET2": Gone(_MIX),
    "CONFIG2": Gone(f"{_MIX}; --config goes with each"),
    "SPLIT2": Gone(f"{_MIX}; --split goes with each"),
    "TEXT_KEY2": Gone(f"{_MIX}; --text-key goes with each"),
    "LOCAL_JSONL2": Gone(f"{_JSONL}, and its share in pretrain.source_weights"),
    "MIX_P2": Gone("the shares of sources are pretrain.source_weights in params.yaml"),
    "REPO_URL": Gone(_COPIED),
    "REPO_DIR": Gone(_COPIED),
    "PYTHON_BIN": Gone(_PYTHON),
    "VENV_ACTIVATE": Gone(_PYTHON),
    "COORDINATOR_WORKER": Gone("the processes of a run always meet at the first worker", harmless=("0",)),
    "ENABLE_OPTIMIZATIONS": Gone(_ALWAYS, harmless=TRUE),
    "ENABLE_TPU_OPT": Gone(_ALWAYS, harmless=TRUE),
    "OPTIMIZATION_CONFIG": Gone(f"{_ALWAYS}, and `aura tpu plan` finds the largest batch"),
    "ENABLE_NEUROPLASTICITY": Gone(_NOT_HERE, harmless=FALSE),
    "ENABLE_CAUSAL": Gone(_NOT_HERE, harmless=FALSE),
    "ENABLE_EVOLUTION": Gone(_NOT_HERE, harmless=FALSE),
    "ENABLE_META_LEARNING": Gone(_NOT_HERE, harmless=FALSE),
}


def refuse(environment: Mapping[str, str]) -> None:
    """Stop if a variable is set that means nothing here; all of them are named at once."""
    lines = [
        f"{name}={value} is set, and aura cannot follow it: {gone.instead}. Then: unset {name}"
        for name, gone in GONE.items()
        if (value := environment.get(name)) and value.lower() not in gone.harmless
    ]
    if lines:
        raise UserError("\n".join(lines))


def renamed(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables, with those that have another name here under that name, too.

    Raises:
        UserError: both names are set, and differ.
    """
    found = dict(environment)
    for old, new in RENAMED.items():
        value = environment.get(old)
        if not value:
            continue
        if environment.get(new) not in (None, "", value):
            raise UserError(f"{old}={value} and {new}={environment[new]} say the same thing differently. Unset {old}.")
        found[new] = value
    return found


def precision(environment: Mapping[str, str]) -> str | None:
    """The pretrain.precision that DTYPE asks for; None if it is not set."""
    value = environment.get("DTYPE")
    if not value:
        return None
    if value.lower() not in PRECISIONS:
        raise UserError(f"DTYPE: expected bf16 or f32 (pretrain.precision bfloat16 or float32), got {value}")
    return PRECISIONS[value.lower()]


def checkpoint_folder(environment: Mapping[str, str]) -> str | None:
    """The pretrain.checkpoint_folder that CKPT_OUT asks for; None if it is not set."""
    value = environment.get("CKPT_OUT")
    if value and not value.startswith("gs://"):
        raise UserError(
            f"CKPT_OUT: expected gs://BUCKET/PREFIX, as pretrain.checkpoint_folder takes it, got {value}. What lies on "
            "a pod is lost with it. The trained model goes where --output says. Change CKPT_OUT, or unset it."
        )
    return value or None


def batch_size(environment: Mapping[str, str], devices: int | None) -> int | None:
    """The pretrain.batch_size that PER_DEVICE_BATCH asks for; None if it is not set.

    Arguments:
        devices: of the whole pod; None if that is not known.

    Raises:
        UserError: it is no positive integer, the number of devices is not known, or BATCH_SIZE says something else.
    """
    value = environment.get("PER_DEVICE_BATCH")
    if not value:
        return None
    if not value.isascii() or not value.isdigit() or int(value) == 0:
        raise UserError(f"PER_DEVICE_BATCH: expected a whole number from 1, got {value}")
    if devices is None:
        raise UserError(
            "PER_DEVICE_BATCH is set: expected ACCELERATOR (and SLICES) too, to know the number of devices, got none. "
            "Set it, or set BATCH_SIZE, the sequences of all devices together."
        )
    size, given = int(value) * devices, environment.get("BATCH_SIZE")
    if given and given != str(size):
        raise UserError(
            f"PER_DEVICE_BATCH={value} on {devices} devices is a batch of {size} sequences; BATCH_SIZE={given} says "
            "another. Unset one of them."
        )
    return size
