"""The libraries whose versions decide bytes: dvc.yaml names them, and here they are compared with what is installed.

DVC sees versions.json, not the environment. Without this check, `dvc repro` after a pull of a new lock would
record the new versions beside bytes that the old ones made. In a project that `aura init` made, versions.json also has
the code of each stage (`aura/core/own_code.py`).
"""

from importlib import metadata
from pathlib import Path

from aura.core import own_code
from aura.core.errors import UserError
from aura.core.files import read_object, require_shape

VERSIONS_FILE = Path("versions.json")
CODE = "aura"  # its key for the code of the stages; no library of this name is locked
UPDATE = "aura init --update"
DECISIVE = (
    *("numpy", "pyarrow", "xxhash"),
    *("gguf", "protobuf", "sentencepiece", "tiktoken", "tokenizers"),
    *("dvclive", "flax", "jax", "jaxlib", "optax", "safetensors"),
)


def require_locked() -> None:
    """Raise `UserError` unless the decisive libraries, and the code if it is there, are those of versions.json."""
    made_by = f"git checkout {VERSIONS_FILE}"
    locked = read_object(VERSIONS_FILE, made_by=made_by, **dict.fromkeys(DECISIVE, str))
    remedy = UPDATE if CODE in locked else "make setup"
    for name in DECISIVE:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = "none"
        if installed != locked[name]:
            also = f" to take it in, or: pip install {name}=={locked[name]}" if CODE in locked else ""
            raise UserError(
                f"{VERSIONS_FILE}: expected {name} {locked[name]}; installed is {installed}. Run: {remedy}{also}"
            )
    if CODE in locked:
        require_shape(VERSIONS_FILE, locked, made_by, aura={str: str})
        _require_code(locked[CODE])


def is_code(file: str, key: str) -> bool:
    """Return whether a param of DVC is the code of a stage: `aura.encode` in versions.json."""
    return file == str(VERSIONS_FILE) and key.startswith(f"{CODE}.")


def _require_code(recorded: dict[str, str]) -> None:
    changed = [stage for stage, code in own_code.of_stages().items() if recorded.get(stage) != code]
    if changed:
        raise UserError(
            f"{VERSIONS_FILE}: the installed aura has other code than this project was made with, for "
            f"{', '.join(changed)}. Run: {UPDATE}; then dvc repro makes again what that concerns"
        )
