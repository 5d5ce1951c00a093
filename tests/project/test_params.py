import re
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.project import whole_params
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")


def mistake(old: str, new: str) -> str:
    assert old in TEXT
    with pytest.raises(UserError) as error:
        whole_params.parse(TEXT.replace(old, new, 1), Path("params.yaml"))
    return str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("min_chars:", "min_char:", "unknown key extract.min_char (got: 20); did you mean min_chars?"),
        ("min_chars:", "min_char:", "the key extract.min_chars is missing"),
        ("encode:", "encoder:", "did you mean encode?"),
        (
            "vocab_size: 8000",
            "vocab_size: many",
            "train_tokenizer.vocab_size: expected 264 to 1000000 or one of tiny, ",
        ),
        ("vocab_size: 8000", "vocab_size: 8000.5", "got 8000.5 (float)"),
        ("held_out: 0.05", "held_out: 0.9", "select.held_out: expected less than or equal to 0.5; got 0.9"),
        (
            "kind: sample",
            "kind: smaple",
            "extract.sources.sample.kind: expected one of 'txt', 'json', 'parquet', 'dataset', 'sample'",
        ),
        (
            "{kind: sample,",
            "{kind: txt, text_keys: [a],",
            "extract.sources.sample.text_keys (got: ['a']); known here: docu",
        ),
        ("caps: {}", "caps: {sampel: {max_files: 1}}", "select.caps.sampel: no such source; did you mean sample?"),
        ("prefer: []", "prefer: [sampel]", "select.prefer: sampel: no such source; did you mean sample?"),
        ("caps: {}", "caps: {sample: {max_file: 1}}", "select.caps.sample.max_file (got: 1); did you mean max_files?"),
        (
            "size: tiny",
            "size: {layers: 1, width: 128, heads: 5, kv_heads: 5, hidden: 8}",
            "pretrain.size.width (128) must be divisible by pretrain.size.heads (5)",
        ),
        ("size: tiny", "size: tinny", "pretrain.size: expected 'tiny', 'small'"),
        ("size: tiny", "size: {layer: 1}", "pretrain.size.layer (got: 1); did you mean layers?"),
        (
            "kind: docstrings, path",
            "kind: json, glop: a, path",
            "conversations.sources.docstrings.glop (got: 'a'); did you mean glob?",
        ),
        ("kind: docstrings, path", "kind: txt, path", "conversations.sources.docstrings.kind: expected one of 'json'"),
        ("skip: []", "skip: [[4, 3]]", "pretrain.skip: expected [] or pairs [from, to] of numbers of batches"),
        ("skip: []", "skip: [[1, 5], [4, 9]]", "expected pairs that do not overlap, but [1, 5] and [4, 9] do"),
        ("skip: []", "skip: [[601, 602]]", "pretrain.skip: [601, 602]: the run ends with batch 600. Leave it out"),
        ("spike_limit: 50.0", "spike_limit: 0", "pretrain.spike_limit: expected greater than 0"),
        ("gguf: false", "gguf: true", "Set train_tokenizer.model_type: bpe, or export.gguf: false"),
        (
            "  from: null                    # a tokenizer",
            "  from: hf://org/name@main  # a tokenizer",
            "train_tokenizer.from: expected null, a path, a version, or hf://ORG/NAME@REVISION with a full commit",
        ),
        (
            "  from: null                    # a tokenizer",
            "  from: https://name:word@place/a  # a tokenizer",
            "train_tokenizer.from holds a user, password or key",
        ),
        ("roles: {}", "roles: {pad: 0}", "train_tokenizer.roles: expected {} without train_tokenizer.from"),
        ("keep: []", "keep: [sample]", "train_tokenizer.keep: expected [] without train_tokenizer.from"),
        ("split_digits: true", "split_digits: 1", "train_tokenizer.split_digits: expected a valid boolean; got 1"),
    ],
)
def test_a_mistake_names_the_key_what_was_expected_and_what_came(old: str, new: str, words: str):
    assert words in mistake(old, new)


def test_a_file_for_llama_cpp_is_no_mistake_beside_an_adopted_tokenizer():
    text = TEXT.replace("  from: null ", "  from: tokenizer.model ").replace("gguf: false", "gguf: true")
    assert whole_params.parse(text, Path("params.yaml")).export.gguf


def test_every_mistake_is_told_at_once():
    text = TEXT.replace("vocab_size: 8000", "vocab_size: 1").replace("held_out: 0.05", "held_out: 7", 1)
    with pytest.raises(UserError) as error:
        whole_params.parse(text, Path("params.yaml"))
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(("text", "words"), [("", "expected keys with values"), ("a: [", "is not valid YAML")])
def test_a_file_that_is_no_mapping_is_refused(text: str, words: str):
    with pytest.raises(UserError, match=words):
        whole_params.parse(text, Path("params.yaml"))


def test_there_are_at_most_ninety_five_knobs_each_with_its_range_beside_it():
    lines = [line for line in TEXT.splitlines() if re.match(r" {0,2}[a-z_]+: *[^ #]", line)]
    assert len(lines) <= 95
    assert all("#" in line for line in lines if "lexicon:" not in line)


def test_the_params_of_another_pipeline_are_no_mistake(tmp_path: Path):
    path = tmp_path / "params.yaml"
    whole_params.check_own(path)
    for text in ("", "first: {word: a}\n", "[1]\n"):
        path.write_text(text)
        whole_params.check_own(path)
    path.write_text("select: {}\n")
    with pytest.raises(UserError, match="the key extract is missing"):
        whole_params.check_own(path)
