"""What a text's bytes say of its encoding; right values are those of Python's codecs."""

import gzip
import io
import json
import re
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aura.core import params
from aura.core.errors import UserError
from aura.extract.cleaning import clean
from aura.extract.readers import documents
from aura.project import whole_params
from aura.sources.documents import encodings, txt_files
from aura.sources.documents.document import Lost
from aura.sources.options import JsonSource, TxtSource
from tests.conftest import REPOSITORY
from tests.extract.program import Program

LIMIT = 16_000_000
TEXTS = {
    "en": "A plain English sentence, with a break\nand a second line that ends here.",
    "ru": "Привет, мир! Это обычный русский текст.",
    "hi": "यह हिन्दी में लिखा हुआ एक साधारण वाक्य है।",
    "zh": "这是一个普通的中文句子, 用来测试编码。\n第二行也是中文, 一共有两行。",
    "ja": "これは普通の日本語の文です。\n二行目もあります、漢字とかな。",
    "de": "Größere Übungen für schöne Wörter: äöüß, und noch eine Zeile.",
}
# What str.isspace counts among controls, and the separators of lines and paragraphs.
BREAKS = ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\u2028", "\u2029"]


def read(data: bytes, **options: object) -> list[bytes | Lost]:
    """The cleaned documents of a text file, and what was lost."""
    source = TxtSource.model_validate({"kind": "txt", "path": "x"} | options)
    found = documents(source, io.BytesIO(data), LIMIT)
    return [item if isinstance(item, Lost) else clean(item, "drop", 0, source.encoding) for item in found]


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32", *(f"utf-{n}-{e}" for n in (16, 32) for e in ("le", "be"))]
)
def test_unicode_is_read_with_a_mark_and_without(language, codec):
    assert read(TEXTS[language].encode(codec)) == [TEXTS[language].encode()]


@pytest.mark.parametrize(
    ("language", "codec", "reason"),
    [
        ("ja", "iso2022_jp", "ISO-2022-JP, not UTF-8"),
        ("zh", "hz", "HZ, not UTF-8"),
        *((language, "utf-7", "UTF-7, not UTF-8") for language in ("ru", "hi", "zh", "ja", "de")),
        ("ru", "cp1251", "invalid UTF-8"),
        ("zh", "gb18030", "invalid UTF-8"),
    ],
)
@pytest.mark.parametrize("how", ["file", "line"])
def test_another_encoding_is_lost_with_its_name_or_read_when_named(language, codec, reason, how):
    data = TEXTS[language].encode(codec)
    assert {item.reason for item in read(data, documents=how) if isinstance(item, Lost)} == {reason}
    assert not [item for item in read(data, documents=how) if not isinstance(item, Lost)]
    assert b"\n".join(read(data, documents=how, encoding=codec)) == TEXTS[language].encode()


def test_korean_mail_is_told_and_ascii_that_only_looks_so_is_kept():
    assert read("안녕하세요 여러분".encode("iso2022_kr")) == [Lost("ISO-2022-KR, not UTF-8")]
    for text in (
        b"1+1=2, C++ and a+b, +49 30 1234567, x~{y}",
        b"key +abc- and +[x], ~{} and foo+bar-baz",
        b"A+-B costs 5+-6",
    ):
        assert read(text) == [text]


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0>\0\x01\0\0\0 some strings of a program follow here",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\0\0\0\x01\0\x08\x06\0\0\0\\r\xa8f",
        b"SQLite format 3\0\x10\0\x01\x01\0@  \0\0\0\x02\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04",
        struct.pack("<40i", *range(40)),
        b"".join(struct.pack("<HH", number, 7) + b"\x0a\x05hello" for number in range(1, 40)),
        b"name.txt".ljust(257, b"\0") + b"ustar\0" + bytes(249) + b"a text inside of a tar archive" * 900,
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["file", "line", "blank_line"])
def test_binaries_named_txt_are_lost_as_binary(data, how):
    found = read(data, documents=how)
    assert {item.reason for item in found if isinstance(item, Lost)} == {"binary"}
    assert all(isinstance(item, Lost) for item in found)


def test_a_few_stray_control_characters_in_a_text_are_dirt():
    text = "a longer text, in which a NUL\0 and a bell\x07 do no harm; und auch nicht \x01 hier. "
    assert read(text.encode()) == [text.replace("\0", "").replace("\x07", "").replace("\x01", "").strip().encode()]
    assert clean(b"\x1b[31mERROR\x1b[0m N\x08NA\x08A happened here", "drop", 0) == b"ERROR NA happened here"


@pytest.mark.parametrize("mark", BREAKS)
@pytest.mark.parametrize("word", ["word", "слово"])
def test_white_space_controls_become_line_breaks_and_glue_nothing(mark, word):
    assert read(f"{word}{mark}{word}".encode()) == [f"{word}\n{word}".encode()]
    assert read(f"{word}{mark}{word}\n{word}".encode(), documents="line") == [f"{word}\n{word}".encode(), word.encode()]
    assert read(f"{word}{mark}{mark}{word}".encode(), documents="blank_line") == [word.encode()] * 2


SEPARATORS = st.sampled_from(
    [
        *("\r\r", "\r\n\r\n", "\n\n", "\x85\x85", "\u2028\u2028", "\u2029 \u2029", "\n\u3000\n", "\r\n\u00a0\r\n"),
        *("\n \t\u2003\n", "\x0b\x0c", "\r\u1680\r\r", "\n\n\n\n"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["one word", "zwei\nZeilen", "три слова", "四", "a\rb"]), min_size=1, max_size=6),
    st.data(),
)
def test_paragraphs_are_the_same_wherever_blocks_end(paragraphs, data):
    text = paragraphs[0] + "".join(data.draw(SEPARATORS) + paragraph for paragraph in paragraphs[1:])
    raw = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(txt_files, "BLOCK_BYTES", data.draw(st.integers(1, 12)))
        pieces = list(txt_files.txt_documents(io.BytesIO(raw), "blank_line", LIMIT))
        lines = list(txt_files.txt_documents(io.BytesIO(raw), "line", LIMIT))
    assert pieces == [paragraph.encode() for paragraph in paragraphs]
    assert lines == [line.encode() for line in re.split("\r\n?|\n", text) if line.strip()]


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([*("cp1252", "gb18030", "shift_jis", "euc_kr", "koi8-r"), *("hz", "utf-16", "utf-7", "utf-8-sig")]),
    st.text(max_size=60),
    st.integers(1, 9),
)  # fmt: skip
@example("utf-16", "\0", 1)  # with its mark, it begins as UTF-32 does
def test_a_named_encoding_gives_what_python_gives_in_blocks_of_any_size(codec, text, block):
    raw = text.encode(codec, "ignore")
    stream = encodings.Decoded(io.BytesIO(raw), codec)
    assert b"".join(iter(lambda: stream.read(block), b"")).decode() == raw.decode(codec).removeprefix("\ufeff")


def test_bytes_that_a_named_encoding_lacks_lose_their_document_alone():
    data = b"caf\xe9 au lait\nbroken \x81 line\nna\xefve"
    found = read(data, encoding="cp1252", documents="line")
    assert found == ["café au lait".encode(), Lost("invalid cp1252"), "naïve".encode()]
    source = TxtSource(kind="txt", path="x", encoding="cp1252")
    [raw] = documents(source, io.BytesIO(b"broken \x81 line"), LIMIT)
    assert clean(raw, "replace", 0, "cp1252") == "broken \ufffd line".encode()


def test_json_in_a_named_encoding_and_text_in_seven_bits_inside_json():
    source = JsonSource(kind="json", path="x", encoding="shift_jis")
    data = json.dumps({"text": "日本語の文"}, ensure_ascii=False).encode("shift_jis")
    assert list(documents(source, io.BytesIO(data), LIMIT)) == ["日本語の文".encode()]
    raw = "これは日本語です".encode("iso2022_jp")
    [text] = documents(
        JsonSource(kind="json", path="x"), io.BytesIO(json.dumps({"text": raw.decode()}).encode()), LIMIT
    )
    assert clean(text, "drop", 0) == Lost("ISO-2022-JP, not UTF-8")


@pytest.mark.parametrize("name", ["base64", "rot13", "hex", "zlib", "undefined", "idna", "no-such", "", "../x", 3])
def test_what_is_no_text_encoding_is_refused_with_a_list(name):
    values = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    entry = f"{{kind: txt, path: data/txt, encoding: {json.dumps(name)}}}"
    with pytest.raises(UserError, match=r"an encoding that Python knows, such as utf-8, .*gb18030"):
        whole_params.parse(values.replace("{kind: sample, path: data/sample.pin.json}", entry), params.PARAMS_FILE)


def test_a_small_file_a_large_one_and_a_compressed_one_are_judged_alike(tmp_path):
    program = Program(tmp_path, {"kind": "txt"}, max_document_bytes=100_000)
    for times, name in ((1, "small"), (3000, "large")):
        text = (TEXTS["ru"] + "\n") * times
        (program.data / f"{name}.txt").write_bytes(text.encode("utf-16-le"))
        (program.data / f"{name}-seven.txt").write_bytes(text.encode("utf-7"))
        (program.data / f"{name}-binary.txt").write_bytes(struct.pack("<30i", *range(30)) * times)
        (program.data / f"{name}.txt.gz").write_bytes(gzip.compress(text.encode("utf-32-be"), mtime=0))
    assert program.run().returncode == 0
    expected = {"seven": {"UTF-7, not UTF-8": 1}, "binary": {"binary": 1}}
    assert program.lost() == {
        f"{size}-{name}.txt": lost for size in ("small", "large") for name, lost in expected.items()
    }
    rows = sorted(
        program.rows(), key=lambda row: (row["doc"].partition("#")[0], int(row["doc"].partition("#")[2] or 0))
    )
    for name in ("large.txt", "large.txt.gz"):
        text = "\n".join(row["text"] for row in rows if row["doc"].partition("#")[0] == name)
        assert text == "\n".join([TEXTS["ru"]] * 3000)
