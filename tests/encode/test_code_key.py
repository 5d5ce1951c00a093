"""The key of a token shard holds all code and libraries with a say in its bytes."""

from pathlib import Path

from ruamel.yaml import YAML

from aura.encode.encoding import LIBRARIES, TRANSFORMS
from tests.conftest import REPOSITORY

STAGE = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]["encode"]
# They check arguments or the corpus, decode, make the tokenizer's own files, write the corpus or read tokens. Values of
# options are in the key.
IDLE = {"arguments", "chat", "decoding", "golden", "hf_export", "indented_json", "saving", "slots"}
IDLE |= {"corpus_checks", "id_arrays", "mapped_ids", "options", "set_hash", "shards", "streams"}
IDLE |= {"crafted", "rust_libraries", "letter_scripts", "scripts"}  # they refuse files, or make the tokenizer
IDLE |= {"chat_encoding", "conversation_shards"}  # those of the stage conversations
IDLE |= {
    "adopted_export",
    "conversion",
    "from_sentencepiece",
    "merges",
    "naming_proof",
    "proof_texts",
    "reader",
}  # other formats, and names


def test_the_code_in_the_key_is_the_code_the_stage_depends_on():
    folders = {"aura/corpus", "aura/encode", "aura/tokenizer", "aura/tokens"}
    assert folders <= set(STAGE["deps"])
    listed = {path for folder in folders for path in (REPOSITORY / folder).glob("*.py") if path.name != "__init__.py"}
    assert {Path(str(module.__file__)) for module in TRANSFORMS} == {p for p in listed if p.stem not in IDLE}


def test_libraries_in_the_key_are_those_the_stage_depends_on():
    (versions,) = [entry["versions.json"] for entry in STAGE["params"] if isinstance(entry, dict)]
    assert set(LIBRARIES) == set(versions)
