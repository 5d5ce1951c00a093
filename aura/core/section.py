"""A settings file's sections as types: no unknown keys, no silent conversions, and every mistake told at once.

A mistake names the key, what was expected, what it got, and for an unknown key the nearest right name.
"""

import difflib
import typing
from typing import Any

import pydantic

from aura.core.errors import UserError


class Section(pydantic.BaseModel):
    """A part of params.yaml: no unknown keys, no silent conversions, immutable."""

    # Built when first used, the whole at once: half the time of the import of aura.core.params.
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


# Of an option that is a number or the word auto: the parts of its type, and what tells them apart.
NUMBER, AUTO = pydantic.Tag("number"), pydantic.Tag("auto")
NUMBER_OR_AUTO = pydantic.Discriminator(lambda value: "auto" if value == "auto" else "number")
Auto = typing.Annotated[typing.Literal["auto"], AUTO]
TAGS = ("number", "auto", "name", "shape")  # of such types, which pydantic inserts after a key

# Of an integer that may be written as 1e9, which YAML reads as a float.
WHOLE = pydantic.BeforeValidator(lambda value: int(value) if type(value) is float and value.is_integer() else value)

Model = typing.TypeVar("Model", bound=Section)


def checked(kind: type[Model], values: Any, name: str, within: tuple[str, ...] = ()) -> Model:  # noqa: ANN401 - what YAML or a caller gives
    """Check `values` against a section's type; every mistake is listed in one `UserError` that begins with `name`.

    Args:
        kind: the section's type.
        values: the values as YAML or a caller gives them.
        name: the file's name, for messages.
        within: the key under which the values stand in the file, for messages.
    """
    if not isinstance(values, dict):
        place = ": ".join((name, *within))
        raise UserError(f"{place}: expected keys with values, got {type(values).__name__}. See: git diff {name}")
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        mistakes = (_explain(name, kind, values, mistake, within) for mistake in error.errors())
        raise UserError("\n".join(mistakes)) from None


def _explain(name: str, kind: type[Section], values: Any, mistake: Any, within: tuple[str, ...]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    location = _location((*within, *mistake["loc"]))
    key, got = ".".join(location), mistake["input"]
    if mistake["type"] == "extra_forbidden":
        names = _names_beside(kind, values, location[len(within) :])
        return f"{name}: unknown key {key} (got: {got!r});{nearest(location[-1], names)}"
    if mistake["type"] == "missing":
        return f"{name}: the key {key} is missing. Add it; `git diff {name}` shows whether it was removed."
    expected = mistake["msg"].removeprefix("Input should be ").replace("String should match", "a name that matches")
    if mistake["type"] == "store_url":
        got = str(got).rpartition("@")[2].partition("?")[0]  # a secret in it should not get into a log, too
    if mistake["loc"][-1] == "number" and "sources" not in mistake["loc"]:
        expected += ", or auto"
    if mistake["type"] == "union_tag_invalid":
        key, got = f"{key}.kind", mistake["ctx"]["tag"]
        expected = f"one of {mistake['ctx']['expected_tags']}"
    return f"{name}: {key}: expected {expected}; got {got!r} ({type(got).__name__})"


def _location(loc: tuple[str | int, ...]) -> list[str]:
    """The key's path in the file: without the kinds that pydantic inserts after a source's name or an option's."""
    parts = [str(part) for part in loc if part != "[key]"]
    if parts[:2] in (["extract", "sources"], ["conversations", "sources"]) and len(parts) > 3:
        del parts[3]
    if len(parts) > 2 and parts[2] in TAGS and parts[1] != "sources":
        del parts[2]
    return parts


def _names_beside(kind: type[Section], values: Any, location: list[str]) -> list[str]:  # noqa: ANN401 - as in `checked`
    """Names that may stand where the last part of `location` does; for a source, those of its kind."""
    kinds: list[Any] = [kind]
    for part in location[:-1]:
        fields = [model.model_fields.get(part) or _field_with_alias(model, part) for model in kinds]
        kinds = [model for field in fields if field for model in _models_in(field.annotation)] or kinds
        values = values.get(part) if isinstance(values, dict) else None
    if isinstance(values, dict) and len(kinds) > 1:
        kinds = [
            model for model in kinds if values.get("kind") in typing.get_args(model.model_fields["kind"].annotation)
        ]
    return sorted({field.alias or name for model in kinds for name, field in model.model_fields.items()})


def _field_with_alias(kind: Any, alias: str) -> Any:  # noqa: ANN401 - a pydantic model and its FieldInfo
    return next((field for field in kind.model_fields.values() if field.alias == alias), None)


def _models_in(annotation: Any) -> list[type[pydantic.BaseModel]]:  # noqa: ANN401 - a type expression
    """All models inside a type expression such as `dict[str, A | B]`."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]


def nearest(name: str, names: list[str]) -> str:
    """A hint for an unknown name, to stand after a semicolon: the known name like it, or all of them."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" did you mean {close[0]}?" if close else f" known here: {', '.join(names)}"
