"""`json.dumps(value, indent=1)` in a fifth of the time: Python writes indented JSON item by item, and C the rest.

A list or object that holds no other one is written by C, with a line break in the separator of its items. So is a list
of such lists, as 60,000 merges are. Strings are ASCII without line breaks, so separators are found again in the text.
"""

import json
from typing import Any


def dumps(value: Any, line: str = "\n") -> str:  # noqa: ANN401 - anything that JSON can hold
    """The text of `json.dumps(value, indent=1)`; `line` begins the line that the value ends on."""
    inner = line + " "
    if not isinstance(value, dict | list) or not value:
        return json.dumps(value)
    if _is_flat(value):
        text = _in_c(value, inner)
        body = text[1:-1]
    elif isinstance(value, list) and all(isinstance(item, list) and item and _is_flat(item) for item in value):
        text = _in_c(value, inner + " ")
        between = f"{inner}],{inner}[{inner} "
        body = f"[{inner} {text[2:-2].replace(f'],{inner} [', between)}{inner}]"
    elif isinstance(value, list):
        text, body = "[]", f",{inner}".join(dumps(item, inner) for item in value)
    else:
        text = "{}"
        body = f",{inner}".join(f"{json.dumps(key)}: {dumps(item, inner)}" for key, item in value.items())
    return text[0] + inner + body + line + text[-1]


def _is_flat(value: dict[str, Any] | list[Any]) -> bool:
    items = value.values() if isinstance(value, dict) else value
    return {dict, list}.isdisjoint(map(type, items))


def _in_c(value: Any, line: str) -> str:  # noqa: ANN401 - as above
    return json.dumps(value, separators=(f",{line}", ": "))
