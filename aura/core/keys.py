"""Keys: hashes of everything that decides what an action makes."""

import json
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import xxhash


def action_key(*parts: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    """The hash of what decides an action: 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def code_key(modules: Iterable[ModuleType], libraries: Iterable[str]) -> str:
    """The hash of the code that transforms: modules' source, libraries' versions, and Python's."""
    sources = {module.__name__: Path(str(module.__file__)).read_text(encoding="utf-8") for module in modules}
    return action_key(sources, {name: metadata.version(name) for name in libraries}, platform.python_version())
