"""Weights on the Hub: only those of a full commit, and of its files only numbers, JSON and the tokenizer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.hugging_face import hub_weights
from tests.conftest import REPOSITORY
from tests.extract.hub_server import serving_hub
from tests.hugging_face.llamas import write_llama

PROGRAM = """
import sys
from aura.core import console
from aura.hugging_face import hub_weights
from aura.hugging_face.llama_reading import LlamaWeights

def main():
    for only_config in (True, False):
        folder = hub_weights.download(sys.argv[1], only_config=only_config)
        print(*sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
    print(LlamaWeights.of(folder, "").config.vocab_size)

console.run(main)
"""


def fetched(address: str, hub: str | None, home: Path) -> subprocess.CompletedProcess[str]:
    """Download twice in a program of its own; without a hub, as on a machine without a network."""
    settings = {"HF_ENDPOINT": hub} if hub else {"HF_HUB_OFFLINE": "1"}
    settings |= {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, address],
        env=os.environ | settings | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_weights_json_and_the_tokenizer_alone_are_fetched_and_serve_without_a_network(tmp_path: Path):
    write_llama(tmp_path / "llama", shards=2)
    content = {path.name: path.read_bytes() for path in (tmp_path / "llama").iterdir()}
    content["tokenizer.model"] = b"pieces"
    strange = dict.fromkeys(("pytorch_model.bin", "modeling.py", "original/model.safetensors", "README.md"), b"no")
    with serving_hub(models=True) as (hub, address):
        commit = hub.commit("org/name", content | strange)
        done = fetched(f"hf://org/name@{commit}", address, tmp_path / "home")
        assert done.returncode == 0, done.stderr
        asked = [line for line in hub.requests if "/resolve/" in line]
    assert done.stdout.splitlines() == ["config.json", " ".join(sorted(content)), "40"]
    assert not any(name in line for line in asked for name in strange)
    again = fetched(f"hf://org/name@{commit}", None, tmp_path / "home")
    assert again.stdout.splitlines()[1:] == done.stdout.splitlines()[1:], again.stderr
    other = fetched(f"hf://org/name@{'0' * 40}", None, tmp_path / "home")
    assert other.returncode == 1
    assert other.stderr.count("cannot be had") == 1
    assert "Traceback" not in other.stderr


@pytest.mark.parametrize(
    "address", ["hf://org/name", "hf://org/name@main", f"hf://name@{'a' * 40}", f"hf://o/n@{'a' * 41}"]
)
def test_an_address_without_a_full_commit_asks_nobody(address: str):
    with pytest.raises(UserError, match="expected hf://ORG/NAME@REVISION with a full commit"):
        hub_weights.download(address)
