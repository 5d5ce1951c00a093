"""Values of JSON as Python's json reads them, but for those that are nested deeper than `DEEPEST`.

How deep json reads depends on the version of Python, and before 3.12 also on where it is called. So it has one bound
here: a deeper value is a `RecursionError`, wherever json itself would give up.
"""

import json
from typing import Any

DEEPEST = 400  # levels; Python 3.11 reads a few less than 1,000, Python 3.13 some 10,000

_decoder = json.JSONDecoder()
_scan = _decoder.scan_once  # type: ignore[attr-defined]


def decode(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """The value that a text is; errors are those of json."""
    value = _decoder.decode(text)
    _require_shallow(value, text, 0, len(text))
    return value


def scan(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start`, and its end; errors are those of json."""
    value, end = _scan(text, start)
    _require_shallow(value, text, start, end)
    return value, end


def _require_shallow(value: Any, text: str, start: int, end: int) -> None:  # noqa: ANN401 - as above
    if text.count("[", start, end) + text.count("{", start, end) <= DEEPEST:
        return
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [child for children in inner for child in children if isinstance(child, dict | list)]
        if not level:
            return
    raise RecursionError
