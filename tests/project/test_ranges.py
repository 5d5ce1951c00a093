"""The comments of params.yaml say the ranges and sizes that the code has; so does the guide's table of sizes."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from aura.core.errors import UserError
from aura.model.options import MODEL_SIZES, Shape
from aura.project import whole_params
from aura.train_tokenizer.options import NAMED_SIZES, SIZE_NAMES
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
VALUES = YAML(typ="safe").load(TEXT)
RANGE = re.compile(r"(above )?\b([\d.]+) to ([\d.e]+|[a-z_]+)")
BOUND_BY_OTHERS = ("pretrain.accumulation", "pretrain.warmup_steps")  # their highest number is another knob's value
KNOB = re.compile(r"  (\w+): (.+?) +# (.+)")


def ranges() -> dict[str, tuple[bool, float, float]]:
    """Each knob's range: whether the lowest number is itself too low, the lowest, and the highest number."""
    found, section = {}, ""
    for line in TEXT.splitlines():
        section = line.partition(":")[0] if re.match("[a-z]", line) else section
        knob = KNOB.match(line)
        if knob and (stated := RANGE.search(knob[3])):
            above, low, high = stated.groups()
            highest = VALUES[section][high] if high.isidentifier() else high
            found[f"{section}.{knob[1]}"] = (above is not None, float(low), float(highest))
    return found


def is_taken(key: str, number: float) -> bool:
    """Whether a number is one that params.yaml may hold for a knob; other knobs may not fit to it."""
    section, name = key.split(".")
    value = int(number) if number == int(number) else number
    changed = VALUES | {section: VALUES[section] | {name: {"sample": value} if VALUES[section][name] == {} else value}}
    try:
        whole_params.checked_together(changed, "params.yaml")
    except UserError as error:
        told = rf": {re.escape(key)}[^ :]*: expected" if key not in BOUND_BY_OTHERS else f": {re.escape(key)}[ .:]"
        return re.search(told, str(error)) is None
    return True


@pytest.mark.parametrize("key", ranges())
def test_a_range_in_a_comment_is_that_of_the_code(key: str):
    above, low, high = ranges()[key]
    step = 1e-6 if is_taken(key, low + 1e-6) else 1
    lowest = low + step if above else low
    assert is_taken(key, lowest)
    assert is_taken(key, high)
    assert not is_taken(key, lowest - step)
    assert not is_taken(key, high + step)


def test_every_number_has_its_range_beside_it():
    numbers = {
        f"{section}.{name}"
        for section, knobs in VALUES.items()
        for name, value in (knobs or {}).items()
        if type(value) in (int, float)
    }
    assert numbers - ranges().keys() == set()


def test_the_sizes_in_texts_are_those_of_the_code():
    names, numbers = re.search(r"size: tiny +# (.+); or \{.+, with\n +# (.+\n +# .+)", TEXT).groups()
    assert names.split(" | ") == list(MODEL_SIZES)
    stated = {name: (int(low), int(high)) for name, low, high in re.findall(r"(\w+) (\d+) to (\d+)", numbers)}
    bounds = {name: (field.metadata[0].ge, field.metadata[1].le) for name, field in Shape.model_fields.items()}
    assert stated == bounds
    named = re.search(r"vocab_size: .*; or (.+)", TEXT)[1].split(" | ")
    assert [name.partition(" ")[0] for name in named] == list(SIZE_NAMES)
    assert {name: int(pieces) for name, pieces in map(str.split, named[:-1])} == NAMED_SIZES


def test_the_guides_table_of_vocabulary_sizes_is_that_of_the_code():
    guide = Path(REPOSITORY, "docs/guide.md").read_text(encoding="utf-8")
    table = guide.partition("### Vocabulary size")[2].partition("Left out")[0]
    rows = re.findall(r"\| (\w+) \| ([\d,]+) \|", table)
    assert {name: int(pieces.replace(",", "")) for name, pieces in rows} == NAMED_SIZES
