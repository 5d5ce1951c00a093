"""JSON with line breaks is what Python's own module writes."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from aura.tokenizer import indented_json

plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text('a],[\n "\\{}:\u00e9\u2581', max_size=4)
)
values = st.recursive(
    plain, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=2), inside, max_size=3)
)


@example([["a],\n  [b", "]"], ["["]])
@example([[], ["a"]])
@given(values)
def test_the_text_is_that_of_json(value: object) -> None:
    assert indented_json.dumps(value) == json.dumps(value, indent=1)
