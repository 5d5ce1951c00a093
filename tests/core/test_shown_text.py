"""What others wrote is shown without secrets, and obeyed by no terminal."""

from pathlib import Path

import pytest
from rich.table import Table

from aura.core import checksums, console
from aura.core.bounded import Unreadable, read_json, read_yaml
from aura.core.errors import UserError
from aura.core.shown_text import holds_secret, without_secrets
from aura.project import whole_params
from aura.sources import pins
from aura.sources.input_files import InputFile
from tests.conftest import REPOSITORY

HOSTILE = "[red]a[/red] :bomb: [link=http://x]\x1b]52;c;x\x07\x9b2J\r\u202e\u200b"


def test_nothing_that_is_printed_is_obeyed(capsys: pytest.CaptureFixture[str]):
    table = Table(HOSTILE)
    table.add_row(HOSTILE)
    console.out.print(HOSTILE)
    console.out.print(table)
    with pytest.raises(SystemExit):
        console.fail(HOSTILE)
    shown = "".join(capsys.readouterr())
    assert shown.count("[red]a[/red] :bomb: [link=http://x]") >= 2
    assert not set("\x1b\x07\x9b\r\u202e\u200b") & set(shown)


def test_a_name_is_no_message_of_its_own(tmp_path: Path):
    folder, pin = tmp_path / "folder", tmp_path / "a.pin.json"
    folder.mkdir()
    (folder / "right").write_text("text", encoding="utf-8")
    checksums.write(folder)
    (folder / "x\nerror: run this\x1b[2J\u202e").write_text("text", encoding="utf-8")
    pins.write(pin, folder, [])
    told = []
    for look in (
        lambda: checksums.read(folder, "dvc repro"),
        lambda: pins.require_current(pin, [InputFile("y\nerror: a", str(folder), "right", 4, 0)]),
    ):
        with pytest.raises(UserError) as raised:
            look()
        told.append(str(raised.value))
    assert all(text.isprintable() for text in told), told


@pytest.mark.parametrize(
    "url",
    [
        "https://user:SECRET@host/x",
        "https://SECRET@host/x",
        "https://user:a/SECRET@host/x",
        "https://user:a@SECRET@host/x",
        "tls://u:SECRET@host:8786",
        "https://host/x?token=SECRET",
        "zip://a::https://u:SECRET@host/x",
    ],
)
def test_a_secret_in_an_address_is_neither_shown_nor_kept(url: str, capsys: pytest.CaptureFixture[str]):
    assert holds_secret(url)
    assert "host" in without_secrets(url)
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="holds a user, password or key"):
        whole_params.parse(text.replace("cluster: null", f"cluster: {url}"), Path("params.yaml"))
    with pytest.raises(SystemExit):
        console.fail(f"{url}: no answer from '{url}'")
    assert "SECRET" not in capsys.readouterr().err


@pytest.mark.parametrize("url", ["gs://b/x@1", "https://h:80/a@b", "tcp://127.0.0.1:1", "hf://datasets/a/b@c"])
def test_an_address_without_a_secret_stays(url: str):
    assert without_secrets(url) == url
    assert not holds_secret(url)


@pytest.mark.parametrize("text", ["[" * 3000, "a: " + "9" * 5000, "- " * 3000 + "a", "a: !!bool x", "a: !!int ''"])
def test_yaml_that_cannot_be_read_is_one_line(text: str):
    with pytest.raises(Unreadable):
        read_yaml(text)
    with pytest.raises(UserError, match=r"params\.yaml is not valid YAML"):
        whole_params.parse(text, Path("params.yaml"))


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, b"\xff"])
def test_json_that_cannot_be_read_is_one_line(text: str | bytes):
    with pytest.raises(Unreadable):
        read_json(text)
