"""A corpus of 0.1 MB, a 500-piece tokenizer trained on it, and its token shards: real, and made in seconds."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura.core import checksums, files
from aura.core.terms import SPLITS
from aura.corpus import corpus
from aura.corpus.set_hash import corpus_hash
from aura.encode.encoding import encode_corpus
from aura.pretrain import recipe
from aura.pretrain.options import Pretrain, PretrainSection
from aura.project import whole_params
from aura.storage.cache import Cache
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from tests.conftest import REPOSITORY, stdlib_texts

PARAMS = whole_params.load(REPOSITORY / "params.yaml")


class MiniTokens:
    """Paths of everything that encode and pretrain read and write, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.corpus, self.tokens = folder, folder / "corpus", folder / "tokens"
        self.spm, self.passed = folder / "spm", folder / "passed.json"

    @property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.spm / "spiece.model")

    def encode(self, **layout: bool) -> None:
        chosen, cache = PARAMS.encode.model_copy(update=layout), Cache(self.folder / "cache")
        encode_corpus(self.corpus, self.spm, self.passed, self.tokens, chosen, cache)

    def copy(self, folder: Path) -> "MiniTokens":
        shutil.copytree(self.folder, folder)
        return MiniTokens(folder)


def tiny(**changes: object) -> Pretrain:
    """Pretraining options that run in seconds."""
    size = {"layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "hidden": 64}
    sizes = {"size": size, "batch_size": 8, "seq_len": 32}
    run = {"steps": 8, "warmup_steps": 2, "learning_rate": 0.016, "eval_every": 4, "eval_tokens": 1024}
    return recipe.decided(PretrainSection.model_validate(PARAMS.pretrain.model_dump() | sizes | run | changes))


def write_corpus(folder: Path) -> None:
    """A corpus as `select` leaves it: sources a and b, one of them in two files; every eighth document held out."""
    texts = [f"{text}\n" for text in stdlib_texts(160)]
    held_out, train = texts[::8], [text for place, text in enumerate(texts) if place % 8]
    parts = {
        "held_out/a-000": held_out,
        "train/a-000": train[:50],
        "train/a-001": train[50:90],
        "train/b-000": train[90:],
    }
    listed = []
    for path, documents in parts.items():
        file = folder / f"{path}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        source = file.name[0]
        columns = {
            "text": documents,
            "doc": [f"{path}#{place}" for place in range(len(documents))],
            "source": [source] * len(documents),
            "affect": [[0.5, 0.5, *[0.0] * 6]] * len(documents),
            "text_hash": [corpus.text_hash(text.encode()) for text in documents],
        }
        pq.write_table(pa.table(columns, schema=corpus.SCHEMA), file)
        listed.append({"path": f"{path}.parquet", "sha256": files.sha256_file(file)})
    for split in SPLITS:
        checksums.write(folder / split)
    hashes = {split: corpus_hash(folder / split) for split in ("train", "held_out")}
    files.write_json(folder / "manifest.json", checksums.sealed({"format": 1, "hash": hashes, "files": listed}))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> MiniTokens:
    """The mini corpus, tokenizer and token shards; tests must not change them."""
    mini = MiniTokens(tmp_path_factory.mktemp("mini"))
    write_corpus(mini.corpus)
    options = artifact.with_changes(PARAMS.train_tokenizer, vocab_size=500)
    artifact.build_from_corpus(mini.corpus / "train", mini.spm, options, Cache(mini.spm.with_name("cache")))
    files.write_json(mini.passed, {"tokenizer": mini.tokenizer.sha256})
    mini.encode()
    return mini


@pytest.fixture
def mini(made: MiniTokens, tmp_path: Path) -> MiniTokens:
    """A copy of the mini corpus, tokenizer and token shards that a test may change."""
    return made.copy(tmp_path / "mini")
