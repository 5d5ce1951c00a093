"""The report in a real browser: no error, no request, and a playground that encodes as the tokenizer does."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from aura.core import checksums, paths
from aura.core.errors import UserError
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from aura.validate import report
from aura.validate.options import Validate
from aura.validate.validation import validate
from tests.validate.browser import CHROMIUM, visit
from tests.validate.test_validation import EASY

NODE = shutil.which("node")
LANGUAGES = (  # English comes from the documents
    "Пожалуйста, закройте окно: на улице холодно, а чай уже готов.",
    "中文字符也要能用,标点是全角的。今天天气很好,我们去公园。",
    "日本語のテキスト、カタカナとひらがな。明日は雨が降るでしょう。",
    "हिन्दी में लिखा हुआ एक वाक्य, और फिर दूसरा वाक्य।",
    "Grüße aus Köln; „schöne Straßen“ überall, naïve Cafés eingeschlossen.",
    "Où est l’été? Le cœur déçu, mais l’âme plutôt naïve.",
)
ODD = (
    "",
    " ",
    "   a",
    "a\tb\r\n\n c",
    "\u2581x \u2581\u2581",
    "<USER> <0x0A>",
    "\U0001f469\u200d\U0001f467 e\u0301",
    "\0\ufeff",
)


@pytest.fixture
def page(tmp_path, tokenizer, documents, write_corpus):
    write_corpus(tmp_path / "held_out", documents[::10])
    model = tmp_path / "spm/spiece.model"
    model.parent.mkdir()
    model.write_bytes(tokenizer.proc.serialized_model_proto())
    validate(model, tmp_path / "held_out", Validate(**EASY), tmp_path / "out")
    return report.write(model, tmp_path / "out")


def strings(documents: list[str]) -> list[str]:
    """1,000 strings in 7 languages."""
    english = [line for text in documents for line in text.splitlines() if line][::7][:700]
    others = [
        text[start:end] for text in LANGUAGES for start in range(0, 30, 2) for end in (start + 3, start + 17, 200, 99)
    ]
    made = [*ODD, *english, *others]
    mixed = [f"{one}  {other}" for one, other in zip(made[20:], reversed(made), strict=False)]
    return [*made, *mixed][:1000]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH; apt-get install chromium")
def test_the_playground_encodes_as_the_tokenizer_and_the_page_asks_for_nothing(page, tokenizer, documents):
    texts = strings(documents)
    assert len(texts) == 1000
    found = visit(page, [f"{json.dumps(texts)}.map(encode)", "document.getElementById('counts').textContent"])
    encoded, counts = found["answers"]
    assert encoded == [tokenizer.encode(text) for text in texts]
    assert counts.startswith(f"{len(tokenizer.encode(report.EXAMPLE))} tokens")
    assert found["errors"] == []
    assert found["requests"] == []


UNDER_NODE = """
const element = new Proxy({}, {get: (_, name) => name === "value" ? "" : () => {}, set: () => true});
const source = require("fs").readFileSync(process.argv[2], "utf-8");
const given = JSON.parse(require("fs").readFileSync(0, "utf-8"));
const document = {getElementById: (name) => name === "model" ? {textContent: given.model} : element};
const encode = new Function("document", source + "; return encode;")(document);
console.log(JSON.stringify(given.texts.map(encode)));
"""


def encoded_under_node(tokenizer: Tokenizer, texts: list[str], folder: Path) -> list[list[int]]:
    """The ids that the report's playground gives each text."""
    program, source = folder / "run.js", Path(report.__file__).with_name("playground.js")
    program.write_text(UNDER_NODE)
    given = json.dumps({"model": report._playground(tokenizer), "texts": texts})
    done = subprocess.run(["node", program, source], input=given, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(NODE is None, reason="no node on PATH; apt-get install nodejs")
@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_the_playground_cuts_at_user_symbols_as_the_tokenizer_does(build, tmp_path: Path, model_type: str):
    tokenizer = build(model_type=model_type, user_symbols=["##", "###", "#-", "-##", "[?]", "a|b\\\\", "é🙂"])
    texts = ["#" * 13, f"the {'#' * 14}", "###-##-###", "#-##-#", "[?][?", "xa|b\\\\ ▁é🙂é ", *ODD]
    assert encoded_under_node(tokenizer, texts, tmp_path) == [tokenizer.encode(text) for text in texts]


@pytest.mark.skipif(NODE is None, reason="no node on PATH; apt-get install nodejs")
@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_the_playground_breaks_ties_as_the_tokenizer_does(options, tmp_path: Path, model_type: str):
    chosen = options(model_type=model_type, vocab_size="auto", user_symbols=["b"])
    tokenizer = Tokenizer.from_bytes(artifact.build_from_texts(["a" * 400 + "  \n  \t    " * 50], chosen).model)
    runs = [before + letter * number for before in ("\n", "\t\n", "ab") for letter in "a " for number in range(90)]
    assert encoded_under_node(tokenizer, runs, tmp_path) == [tokenizer.encode(text) for text in runs]


def test_the_page_stands_alone_and_escapes_what_documents_hold(tmp_path, page):
    text = page.read_text(encoding="utf-8")
    assert len(text.encode()) < 2_000_000
    assert "http://" not in text.partition("<body>")[0]
    details = checksums.read_sealed(tmp_path / "out/details.json", "make it")
    details["worst"][0]["text"] = "<script>alert(1)</script>"
    (tmp_path / "out/details.json").write_text(json.dumps(checksums.sealed(details)))
    assert "<script>alert" not in report.render(tmp_path / "spm/spiece.model", tmp_path / "out", "HEAD")


@pytest.mark.parametrize("name", ["details.json", "metrics.json", "plots/sources.csv"])
@pytest.mark.usefixtures("page")
def test_the_report_of_a_damaged_file_is_refused(tmp_path: Path, name: str):
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes().replace(b"1", b"3", 1))
    with pytest.raises(UserError, match=f"{name} was altered.*dvc repro validate.*aura repair"):
        report.render(tmp_path / "spm/spiece.model", tmp_path / "out", "HEAD")


@pytest.mark.parametrize("rows", [["4000,2.87", "8000,3.06", "16000,3.16"], ["4000,2.87"]])
@pytest.mark.usefixtures("page")
def test_the_vocabulary_curve_has_a_mark_and_a_tick_for_each_size(tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    arguments = (tmp_path / "spm/spiece.model", tmp_path / "out", "HEAD")
    assert "what a larger vocabulary" not in report.render(*arguments)
    paths.VOCABULARY_CURVE.parent.mkdir(parents=True)
    paths.VOCABULARY_CURVE.write_text("\n".join(["vocab_size,bytes_per_token", *rows]) + "\n")
    text = report.render(*arguments)
    figure = text[text.index("what a larger vocabulary") :].partition("</figure>")[0]
    assert figure.count('class="mark"') == len(rows)
    assert [f">{number}k</text>" in figure for number in (4, 8, 16)] == [True] * len(rows) + [False] * (3 - len(rows))


@pytest.mark.usefixtures("page")
def test_headline_numbers_tell_the_change_since_a_commit(tmp_path):
    git = ["git", "-C", str(tmp_path / "out"), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    written = (tmp_path / "out/metrics.json").read_bytes()
    metrics = json.loads(written)
    old = metrics | {"bytes_per_token": metrics["bytes_per_token"] - 0.5, "fertility": metrics["fertility"] - 1}
    (tmp_path / "out/metrics.json").write_text(json.dumps(old))
    for command in (["init", "-q"], ["add", "metrics.json"], ["commit", "-qm", "old"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "out/metrics.json").write_bytes(written)
    text = report.render(tmp_path / "spm/spiece.model", tmp_path / "out", "HEAD")
    assert '<div class="change better">+0.50</div>' in text
    assert '<div class="change worse">+1.00</div>' in text
    assert '<div class="change ">unchanged</div>' in text
    assert "No earlier metrics" in report.render(tmp_path / "spm/spiece.model", tmp_path / "out", "v9.9")
