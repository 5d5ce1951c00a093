"""Frozen stages (`dvc freeze`), as dvc.yaml has them: `dvc repro` keeps their results, whatever changes before them."""

from aura.core import paths
from aura.core.bounded import bounded_yaml
from aura.core.files import read_text


def stages() -> list[str]:
    """Return the names of the frozen stages; none where dvc.yaml cannot be read, of which DVC tells."""
    values = bounded_yaml(read_text(paths.PIPELINE_FILE)) if paths.PIPELINE_FILE.exists() else None
    listed = values.get("stages") if isinstance(values, dict) else None
    if not isinstance(listed, dict):
        return []
    entries = {name: entry for name, entry in listed.items() if isinstance(entry, dict)}
    bodies = {name: entry["do"] if isinstance(entry.get("do"), dict) else entry for name, entry in entries.items()}
    return [name for name, body in bodies.items() if body.get("frozen") is True]


def note(names: list[str]) -> str:
    """Say what it means that these stages are frozen."""
    return f"frozen, so dvc repro keeps what they made: {', '.join(names)}. To end it: dvc unfreeze {' '.join(names)}"
