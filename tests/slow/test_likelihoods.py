"""Log-likelihoods of an exported model: those of Hugging Face transformers, with its own tokenizer, on 200 items.

The test needs torch, which this project does not install: `make .venv-torch/ready` makes an environment for it.
"""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from aura.evaluation.requests import pair_requests
from aura.evaluation.scoring import Scorer
from aura.export.llama import export
from aura.hugging_face import loading
from tests.conftest import REPOSITORY, stdlib_texts
from tests.mini_tokens import MiniTokens
from tests.pretrain.test_base import run

PYTHON = REPOSITORY / ".venv-torch/bin/python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs torch: make .venv-torch/ready"),
]
ITEMS = 200
# The log-likelihood of each continuation, and whether all its tokens are the likeliest ones.
PROGRAM = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, pairs, context = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3])
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
tokenizer, found = AutoTokenizer.from_pretrained(folder), []
for before, after in pairs:
    ids, short = (tokenizer(text)["input_ids"] for text in (before + after, before))
    same = [one == other for one, other in zip(ids, short)] + [False]
    scored = len(ids) - same.index(False)
    ids = torch.tensor(ids[-(context + 1):])
    with torch.no_grad():
        logits = model(ids[None, :-1]).logits[0, -scored:].log_softmax(-1)
    targets = ids[-scored:]
    found.append([logits.gather(-1, targets[:, None]).sum().item(), bool((logits.argmax(-1) == targets).all())])
print(json.dumps(found))
"""


def items() -> list[tuple[str, str]]:
    """Contexts of 0 to 400 characters, some longer than the model reads, and continuations of some words."""
    random, texts = np.random.default_rng(0), stdlib_texts(ITEMS)
    cuts = random.integers(0, 400, ITEMS)
    cuts[0] = 0
    pairs = [(text[:cut].rstrip(), " " + text[cut : cut + 40].strip()) for text, cut in zip(texts, cuts, strict=True)]
    return [(before, after) if after.strip() else (before, " end") for before, after in pairs]


def greatest_difference(folder: Path, pairs: list[tuple[str, str]], scratch: Path) -> tuple[float, int]:
    """Of log-likelihoods here and there, in nats; and how many are of the likeliest tokens in one place alone."""
    loaded = loading.load(folder, folder / "spiece.model")
    context = loaded.context
    requests = [*pair_requests(loaded.reader, pairs, ["here"] * len(pairs))]
    here = Scorer(context, 8).scores(loaded.model, requests, greedy=True)
    (scratch / "pairs.json").write_text(json.dumps(pairs))
    arguments = [PYTHON, "-c", PROGRAM, folder, scratch / "pairs.json", str(context)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there, greedy = map(np.array, zip(*json.loads(done.stdout), strict=True))
    return float(np.abs(here.nats + there).max()), int((greedy != here.likeliest).sum())


def test_log_likelihoods_are_those_of_transformers(made: MiniTokens, tmp_path: Path):
    run(made, tmp_path, None, seq_len=64)
    export(tmp_path / "lm", made.spm, tmp_path / "hf", add_bos=True)
    difference, others = greatest_difference(tmp_path / "hf", items(), tmp_path)
    print(f"greatest difference of {ITEMS} log-likelihoods: {difference:.2e} nats")
    assert difference < 1e-4
    assert others == 0
