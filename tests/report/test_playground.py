"""The playground in a real browser and under Node: it encodes as the tokenizer does."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from aura.core import paths
from aura.report import page
from aura.report import tokenizer as report
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from tests.report.browser import CHROMIUM, visit

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
@pytest.mark.usefixtures("validated")
def test_the_playground_encodes_as_the_tokenizer_and_the_page_asks_for_nothing(tokenizer, documents):
    texts = strings(documents)
    assert len(texts) == 1000
    paths.TOKENIZER_MODEL.write_bytes(tokenizer.proc.serialized_model_proto())
    found = visit(page.write(), [f"{json.dumps(texts)}.map(encode)", "document.getElementById('counts').textContent"])
    encoded, counts = found["answers"]
    assert encoded == [tokenizer.encode(text) for text in texts]
    assert counts.startswith(f"{len(tokenizer.encode(report.EXAMPLE))} tokens")
    assert found["errors"] == []
    assert found["requests"] == []


UNDER_NODE = """
const element = new Proxy({}, {get: (_, name) => name === "value" ? "" : () => {}, set: () => true});
const source = require("fs").readFileSync(process.argv[2], "utf-8");
const given = JSON.parse(require("fs").readFileSync(0, "utf-8"));
const document = {getElementById: (name) => name === "model-data" ? {textContent: given.model} : element};
const encode = new Function("document", source + "; return encode;")(document);
console.log(JSON.stringify(given.texts.map(encode)));
"""


def encoded_under_node(tokenizer: Tokenizer, texts: list[str], folder: Path) -> list[list[int]]:
    """The ids that the report's playground gives each text."""
    program, source = folder / "run.js", Path(report.__file__).with_name("playground.js")
    program.write_text(UNDER_NODE)
    given = json.dumps({"model": report.playground(tokenizer), "texts": texts})
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
