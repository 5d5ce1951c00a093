"""The libraries whose versions decide bytes: dvc.yaml names them, and here they are compared with what is installed.

DVC sees versions.json, not the environment. Without this check, `dvc repro` after a pull of a new lock would
record the new versions beside bytes that the old ones made.
"""

from importlib import metadata
from pathlib import Path

from aura.core.errors import UserError
from aura.core.files import read_object

VERSIONS_FILE = Path("versions.json")
DECISIVE = (
    *("datasketch", "numpy", "pyarrow", "xxhash"),
    *("protobuf", "sentencepiece"),
    *("dvclive", "flax", "jax", "jaxlib", "optax", "safetensors"),
)


def require_locked() -> None:
    """Raise `UserError` unless the decisive libraries are installed in the versions of versions.json."""
    locked = read_object(VERSIONS_FILE, made_by="git checkout versions.json", **dict.fromkeys(DECISIVE, str))
    for name in DECISIVE:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = "none"
        if installed != locked[name]:
            raise UserError(
                f"{VERSIONS_FILE}: expected {name} {locked[name]}; installed is {installed}. Run: make setup"
            )
