"""A short command imports little: the libraries of the stages take seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aura.tokenizer.tokenizer import Tokenizer

HEAVY = {"datasets", "distributed", "dvc", "flax", "gcsfs", "jax", "pandas", "pyarrow", "pydantic", "scipy"}
COMMAND = """
import sys
from aura.cli.app import main
sys.argv = ["aura", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
ENCODING = """
import sys
from aura.tokenizer.tokenizer import Tokenizer
tokenizer = Tokenizer(sys.argv[1])
assert tokenizer.decode(tokenizer.encode("Hello")) == "Hello"
"""
TELL = "import json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"


def imported(program: str, *arguments: str) -> set[str]:
    """The packages that a program has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", program + TELL, *arguments], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_no_stage(option: str):
    found = imported(COMMAND, option)
    assert found & (HEAVY | {"numpy", "ruamel", "sentencepiece"}) == set()


def test_to_encode_and_decode_a_line_takes_neither_numpy_nor_pydantic(tokenizer: Tokenizer, tmp_path: Path):
    path = tmp_path / "spiece.model"
    path.write_bytes(tokenizer.proc.serialized_model_proto())
    for words in (("encode", "Hello \u2581", "--special"), ("decode", "300", "301"), ("encode", "a", "--json")):
        assert imported(COMMAND, *words, "--tokenizer", str(path)) & (HEAVY | {"numpy", "ruamel"}) == set()


def test_to_load_a_tokenizer_and_encode_a_word_takes_only_what_reads_models(tokenizer: Tokenizer, tmp_path: Path):
    path = tmp_path / "spiece.model"
    path.write_bytes(tokenizer.proc.serialized_model_proto())
    assert imported(ENCODING, str(path)) & (HEAVY | {"numpy", "rich", "ruamel", "typer"}) == set()
