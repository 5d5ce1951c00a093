"""JSON is a stream of values: the same records give the same documents in every layout, and each loss is counted."""

import io
import json
from collections.abc import Callable

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.extract.readers import documents
from aura.sources.documents import json_files, json_values, json_walk, txt_files
from aura.sources.documents.document import Lost
from aura.sources.documents.encodings import encoding_of
from aura.sources.documents.json_files import json_records
from aura.sources.options import JsonSource

LIMIT = 10**6
STRINGS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ['{"', "[", "}\\", '"', "\x1e", "\n{", "٣"]
)
KEYS = st.sampled_from(["id", "text", "note", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, width=32) | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.dictionaries(KEYS, VALUES, max_size=4)


def dump(value: object, **options: object) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


def joined(end: str, **options: object) -> Callable[[list[object]], str]:
    return lambda records: "".join(dump(record, **options) + end for record in records)


LAYOUTS: dict[str, Callable[[list[object]], str]] = {
    "lines": joined("\n"),
    "lines without the last end": lambda records: "\n".join(map(dump, records)),
    "lines with CRLF": joined("\r\n"),
    "lines with CR": joined("\r"),
    "lines behind a mark": lambda records: "\ufeff" + joined("\n")(records),
    "lines between blank ones": joined("\n \n\n"),
    "one behind the other": joined(""),
    "on one line": joined(" "),
    "three on a line": lambda records: "".join(map(dump, records[:3])) + "\n" + joined("\n")(records[3:]),
    "indented": joined("\n", indent=2),
    "indented, one behind the other": joined("", indent=1),
    "array": dump,
    "array indented": lambda records: dump(records, indent=2) + "\n",
    "array with an item on each line": lambda records: "[\n" + ",\n".join(map(dump, records)) + "\n]\n",
    "arrays, one on each line": lambda all_: "".join(dump(all_[i : i + 2]) + "\n" for i in range(0, len(all_), 2)),
    "behind separators": lambda records: "".join(f"\x1e{dump(record)}\n" for record in records),
    "indented behind separators": lambda records: "".join(f"\x1e{dump(record, indent=2)}\n" for record in records),
}  # fmt: skip


def values(data: bytes, limit: int = LIMIT, **options: int) -> list[object]:
    found = json_records(io.BytesIO(data), limit, **options)
    return [record if isinstance(record, Lost) else record.value for record in found]


def read(data: bytes, limit: int = LIMIT, **options: object) -> list[bytes | Lost]:
    source = JsonSource.model_validate({"kind": "json", "path": "x", **options})
    return list(documents(source, io.BytesIO(data), limit))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that values stand across the ends of blocks and windows wherever that can be."""
    monkeypatch.setattr(txt_files, "BLOCK_BYTES", 7)
    monkeypatch.setattr(json_walk, "GROWTH", (5, 11))


@given(st.lists(RECORDS, max_size=6))
@settings(max_examples=15, deadline=None)
def test_every_layout_of_records_is_the_same_records(records):
    for name, layout in LAYOUTS.items():
        assert values(layout(records).encode()) == records, name


@given(st.lists(RECORDS, min_size=1, max_size=5))
@settings(max_examples=10, deadline=None)
def test_json_pandas_and_aura_agree_about_lines_and_arrays(records):
    records = [{"text": "", **record} for record in records]
    for layout, lines in (("lines", True), ("array", False)):
        data = LAYOUTS[layout](records)
        parsed = [json.loads(line) for line in data.split("\n") if line] if lines else json.loads(data)
        frame = pandas.read_json(io.StringIO(data), lines=lines, dtype=False, orient="records")
        assert values(data.encode()) == parsed
        assert len(frame) == len(parsed)
        texts = [text for text in frame["text"] if isinstance(text, str)]
        assert texts == [record["text"] for record in parsed if isinstance(record["text"], str)]


@given(st.lists(VALUES.filter(lambda value: not isinstance(value, list)), max_size=6))
@settings(max_examples=15, deadline=None)
def test_values_of_any_kind_stand_on_lines_or_in_an_array(items):
    for name in ("lines", "array", "array indented", "indented", "behind separators", "lines with CRLF"):
        assert values(LAYOUTS[name](items).encode()) == items, name


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("piece", [4, 9, 10**6])
def test_where_blocks_and_windows_end_decides_nothing(piece):
    records = [
        {"id": 1, "text": 'grüße ✓ 🎉 \\ " {['},
        {"text": ["\u2028", -1.5e-7]},
        {},
        {"note": {"x": [[], {}]}},
    ] * 3
    for name, layout in LAYOUTS.items():
        assert values(layout(records).encode(), piece=piece) == records, name


ODD = ["NaN", "-Infinity", "1e400", "1" * 30, "9" * 400, "9" * 5000, "01", "1.", "-0", "0.1e-7", "tru", "[1,]"]
ODD += [r'"\ud800"', '"\x7f"', '"\t"', '"\ufeff"', '""', '"a" ', r'"\u0000"', '{"text": 1}', "[" * 300 + "]" * 300]


@given(
    st.lists(st.tuples(KEYS, VALUES.map(dump) | st.sampled_from(ODD)), max_size=4),
    st.sampled_from(["%s", " %s ", "\ufeff%s", "%s\r", "%s,", "%s%s", "[%s]"]),
    st.sampled_from([["text"], ["note", "text"], ["x.text", "id", "text"]]),
)
@settings(max_examples=300, deadline=None)
def test_lines_are_read_as_python_reads_them_whatever_parses_them(members, around, keys):
    """Members may have one key, be no JSON, or be what orjson refuses or rounds."""
    record = "{" + ", ".join(f"{dump(key)}: {value}" for key, value in members) + "}"
    data = (around.replace("%s", record) + "\n" + '{"text": "behind it"}\n').encode("utf-8", "surrogatepass")
    quickly = read(data, text_keys=keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "_with_text", lambda *_: None)
        assert read(data, text_keys=keys) == quickly


FAULTS = [
    "{oops}",
    '{"text": ',
    '{"text": "cut',
    '"cut',
    "nul",
    '{"text": "a"},',
    '"text": "a"',
    "}",
    "]",
    "[1,",
    '{"a": [{',
]


@given(st.lists(RECORDS.map(lambda record: {"text": "one"} | record), max_size=6), st.data())
@settings(max_examples=60, deadline=None)
def test_a_malformed_line_loses_itself_alone(records, data):
    lines = list(map(dump, records))
    place = data.draw(st.integers(0, len(lines)))
    lines.insert(place, data.draw(st.sampled_from(FAULTS)))
    found = values("\n".join(lines).encode() + b"\n")
    assert [value for value in found if not isinstance(value, Lost)] in (
        records,
        [1, *records],
        [*records[:place], 1, *records[place:]],
    )
    assert Lost("malformed JSON") in found


TOKENS = [
    *'{}[],:\\"\t\n1a',
    " ",
    "\r\n",
    "-12",
    "1.5e3",
    "true",
    "é",
    '"ab"',
    '{"a":1}',
    "[1,2]",
    "\n  ",
    "\x1e",
    "y" * 20,
]
TOKENS += ['{"role":"user","content":"x"}', '[{"from":"gpt","value":"y"}]']
ANY_BYTES = (
    st.lists(st.sampled_from(TOKENS), max_size=14).map(lambda tokens: "".join(tokens).encode())
    # A first block that speaks against UTF-8 loses the file; here that has three bytes.
    | st.binary(max_size=60).filter(lambda data: encoding_of(data) == encoding_of(data[:3]) == "utf-8")
)


@given(ANY_BYTES, st.integers(1, 50) | st.just(1000))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_to_the_end_and_blocks_decide_nothing(data, limit):
    expected = values(data, limit, chats=True)
    for least in (1, 2, 5):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(txt_files, "BLOCK_BYTES", 3)
            patch.setattr(json_walk, "GROWTH", (least, 2 * least))
            assert repr(values(data, limit, piece=4, chats=True)) == repr(expected)


def test_a_fault_in_an_indented_record_loses_that_record_alone():
    records = [{"text": f"number {number}", "tags": ["a", "b"], "deep": {"text": "x"}} for number in range(5)]
    for layout in ("indented", "array indented", "indented behind separators"):
        data = LAYOUTS[layout](records).replace('"text": "number 2",', '"text": "number 2"').encode()
        assert values(data) == [*records[:2], Lost("malformed JSON"), *records[3:]], layout


def test_a_fault_in_an_array_with_an_item_on_each_line_loses_that_item_alone():
    lines = [
        "[",
        '{"text": "one"},',
        '{"text": oops},',
        '{"text": "three"},',
        '{"text": ',
        '{"text": "five"}',
        "]",
        '{"text": "six"}',
    ]
    assert read("\n".join(lines).encode()) == [
        b"one",
        Lost("malformed JSON"),
        b"three",
        Lost("malformed JSON"),
        b"five",
        b"six",
    ]


def test_a_separator_ends_a_record_that_was_cut_short():
    data = b'\x1e{"text": "one"}\n\x1e{"text": "tw\x1e{"text": "three"}\n\x1e[{"text": "four"}, \x1e{"text": "five"}\n'
    assert read(data) == [b"one", Lost("malformed JSON"), b"three", b"four", Lost("malformed JSON"), b"five"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("end", ["", "\n", " ", "\r\n"])
def test_a_record_beyond_the_limit_is_lost_and_reading_goes_on_behind_it(end):
    large = {"text": 'x\\"{[' * 30, "inner": [{"text": "not this"}]}
    records = [{"text": "one"}, large, {"text": "three"}]
    lost = Lost("JSON record of more than 100 bytes")
    for name in (
        "lines",
        "indented",
        "array",
        "array indented",
        "array with an item on each line",
        "behind separators",
    ):
        assert read((LAYOUTS[name](records) + end).encode(), limit=50) == [b"one", lost, b"three"], name


def test_numbers_depth_surrogates_and_nan_are_as_python_reads_them():
    data = b'{"text": "a", "n": NaN}\n{"text": "b", "n": ' + b"9" * 5000 + b'}\n{"text": "c", "n": -Infinity}\n'
    deep = b'{"text": "d", "n": ' + b"[" * 5000 + b"]" * 5000 + b"}\n"
    assert read(data + deep + rb'{"text": "\ud800"}') == [
        *(b"a", Lost("malformed JSON"), b"c", Lost("JSON nested too deeply"), b"\xed\xa0\x80")
    ]  # fmt: skip


@pytest.mark.parametrize("levels", [json_values.DEEPEST, json_values.DEEPEST + 1])
@pytest.mark.parametrize(
    "layout", ['{"text": "a", "n": %s}\n', '{"n": %s, "text": "a"} {"n": 1}\n', '[{"text": "a",\n"n": %s}]']
)
def test_the_depth_that_is_read_is_the_same_with_every_python(levels: int, layout: str):
    found = read((layout % ("[" * (levels - 1) + "]" * (levels - 1))).encode())
    assert (found[0] == b"a") == (levels == json_values.DEEPEST)
    assert (Lost("JSON nested too deeply") in found) == (levels > json_values.DEEPEST)


def test_bytes_that_are_no_utf8_reach_the_cleaning_in_their_own_document():
    lines = b'{"text": "ab\xff"}\n{"text": "good", "note": "\xff"}\n'
    assert read(lines) == read(b"[%s]" % lines.strip().replace(b"\n", b",")) == [b"ab\xff", b"good"]


def test_a_loss_says_where_it_is():
    lost = [
        item
        for item in read(b'{"text": "a"}\n\n{oops\n[1, {"id": 2}]\n{\n "text": "b"\n}\n{}\n')
        if isinstance(item, Lost)
    ]
    assert [item.place for item in lost] == ["line 3", "line 4, item 1", "line 4, item 2", "line 8"]


def test_many_json_lines_are_all_read():
    data = b"".join(json.dumps({"text": f"document {number}", "url": "x"}).encode() + b"\n" for number in range(1000))
    assert len(read(data)) == 1000
    assert json_files.PIECE_BYTES < txt_files.BLOCK_BYTES
