"""Where the text of a record is: dotted paths into nested values."""

from collections.abc import Sequence
from typing import Any


def field(value: Any, dotted: str) -> Any:  # noqa: ANN401 - any JSON value
    """What lies at a dotted path; a key that itself holds dots goes first. `None` where nothing does."""
    if isinstance(value, dict) and dotted in value:
        return value[dotted]
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def first_text(value: Any, keys: Sequence[str]) -> str | None:  # noqa: ANN401 - any JSON value
    """The first string that one of the dotted `keys` leads to."""
    return next((text for key in keys if isinstance(text := field(value, key), str)), None)
