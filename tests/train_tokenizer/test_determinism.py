import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.tokenizer.model_file import Kind
from aura.tokenizer.tokenizer import Tokenizer

REPOSITORY = Path(__file__).parents[2]


def run_stage(folder: Path, model_type: str, cores: int) -> dict[str, bytes]:
    """Run the stage script in `folder` on that many cores; its outputs by name."""
    shutil.copy(REPOSITORY / "versions.json", folder)
    yaml, changed = YAML(), folder / "params.yaml"
    values = yaml.load(REPOSITORY / "params.yaml")
    values["train_tokenizer"].update(model_type=model_type, vocab_size=1000)
    yaml.dump(values, changed)
    chosen = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))
    script = REPOSITORY / "stages/train_tokenizer.py"
    subprocess.run(["taskset", "-c", chosen, sys.executable, script], cwd=folder, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in sorted((folder / "models/spm").iterdir())}


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_same_bytes_on_any_cores_order_and_folder(tmp_path, documents, write_corpus, model_type):
    texts = documents[: len(documents) // 2]
    shuffled = sorted(texts, key=lambda text: text[::-1])
    made = []
    for place, (order, cores) in enumerate([(texts, 2), (texts, 1), (shuffled, 2)]):
        folder = tmp_path / ("deeper/" * place) / f"run {place}"
        write_corpus(folder / "data/corpus/train", order)
        made.append(run_stage(folder, model_type, cores))
    assert made[0] == made[1] == made[2]


def test_a_failed_run_leaves_the_old_tokenizer(tmp_path, documents, write_corpus):
    write_corpus(tmp_path / "data/corpus/train", documents[:20])
    before = run_stage(tmp_path, "bpe", 2)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(subprocess.CalledProcessError):
        run_stage(tmp_path, "bpe", 2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "models/spm").iterdir()} == before


def test_outputs_name_no_path_or_host(tmp_path, documents, write_corpus):
    write_corpus(tmp_path / "data/corpus/train", documents[:20])
    made = run_stage(tmp_path, "unigram", 2)
    model = model_pb2.ModelProto.FromString(made["spiece.model"])
    model.ClearField("pieces")  # learnt from the text, which may well hold a short host name
    for content in (made["spiece.model"], made["spiece_config.json"]):
        assert str(tmp_path).encode() not in content
    for content in (model.SerializeToString(), made["spiece_config.json"]):
        assert os.uname().nodename.encode() not in content


def test_learnt_unigram_scores_are_multiples_of_a_64th(tokenizers: dict[str, Tokenizer]):
    tokenizer = tokenizers["unigram"]
    learnt = [token for token, kind in enumerate(tokenizer.kinds) if kind is Kind.LEARNT]
    assert all((tokenizer.proc.GetScore(token) * 64).is_integer() for token in learnt)


def test_a_word_has_the_same_pieces_alone_and_in_a_line(tokenizer: Tokenizer, documents: list[str]):
    line = next(line for text in documents for line in text.split("\n") if len(line.split(" ")) > 12)
    first, *others = line.strip(" ").split(" ")
    alone = tokenizer.encode(first) + [token for word in others for token in tokenizer.encode(f" {word}")]
    assert tokenizer.encode(line.strip(" ")) == alone
