"""params.yaml as each stage reads it: its own section, and the few keys that belong to no stage.

params.yaml is the only place of values. The class of a section lives with its stage, such as `aura/select/options.py`.
`aura/project/whole_params.py` checks all sections together.
"""

import functools
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from aura.core.bounded import Unreadable, read_yaml
from aura.core.errors import UserError
from aura.core.section import Model, Section, checked

PARAMS_FILE = Path("params.yaml")
texts_read: list[str] = []  # different ones that `read` got from PARAMS_FILE, for `stage_inputs`

SOURCE_NAME = r"^[a-z0-9][a-z0-9_-]*$"
SourceName = Annotated[str, Field(pattern=SOURCE_NAME)]


def _store_url(value: object) -> str | None:
    """An address that holds no secret, because it is written into manifests; or none."""
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9+.-]*://[^@?#]*[^@?#/]", value):
        return value
    wanted = "null or an address such as gs://BUCKET/PREFIX or file:///FOLDER, without user and query"
    raise PydanticCustomError("store_url", wanted)


class CacheLimits(Section):
    """The action cache; no stage depends on it, because it changes no output."""

    max_gb: float = Field(ge=0, le=1_000_000)

    @property
    def max_bytes(self) -> float:
        """The same in bytes."""
        return self.max_gb * 1e9


class Shared(Section):
    """The keys of no stage, but `store`, which those that write shards list."""

    cache: CacheLimits
    cluster: str | None  # of no stage either: the same bytes come out wherever work runs
    store: Annotated[str | None, PlainValidator(_store_url)]


def section(name: str, kind: type[Model]) -> Model:
    """Read one stage's section of params.yaml into the class that the stage has for it."""
    return checked(kind, _values().get(name), str(PARAMS_FILE), within=(name,))


def shared() -> Shared:
    """Read the keys of params.yaml that belong to no stage."""
    values = _values()
    return checked(Shared, {name: values[name] for name in Shared.model_fields if name in values}, str(PARAMS_FILE))


def read(path: Path = PARAMS_FILE) -> str:
    """Read the text of params.yaml, and note it for `stage_inputs`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run this in the project's folder, or `git checkout {path}`.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid UTF-8: {error}") from None
    if path == PARAMS_FILE and text not in texts_read:
        texts_read.append(text)
    return text


@functools.lru_cache(maxsize=2)  # 25 ms; a stage asks for the whole, for its section and for the shared keys
def parsed(text: str, path: Path) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Parse the text of a params.yaml; `path` is what messages call it. Leave the values as they are."""
    try:
        return read_yaml(text)
    except Unreadable as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None


def _values() -> dict[str, Any]:
    values = parsed(read(), PARAMS_FILE)
    return values if isinstance(values, dict) else {}
