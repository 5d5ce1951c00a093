"""Training a tokenizer beside SentencePiece from running text, HF tokenizers, rustbpe and gigabpe, in one run.

    python benchmarks/train_tokenizer.py WORK --train DIR... --other DIR --code DIR [--only NAME...] [--size 32000]

DIRs hold .txt files (one document each, such as Debian's documentation packages as text) or, for --code, .py files.
Prepares the same text in WORK as aura's corpus (16 Parquet shards) and as one text file, trains each candidate in its
own process, and prints a table: wall and CPU seconds and the largest memory of the process and its
workers (shared pages once), counting included (where one document changed: of its shard), and bytes per token, line by
line, on seen text (every 20th document), text of another domain, and code. aura runs as the stage's own program.

All spm candidates have aura's normalisation (none) and splitting. The byte-level ones (HF, rustbpe, gigabpe) have
GPT-2's pattern, which is the one gigabpe offers; `aura bpe, digits together` splits most like it. With --alike, WORK
gets a text of which every line is a part of a word that neither of the two splits further, so that all candidates
learn from the same parts. Peers run in .venv-bench (`make .venv-bench/ready`).
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SCRIPTS = ["Latin", "Cyrillic", "Greek", "Hangul", "Devanagari", "Arabic", "Hebrew", "Thai"]
LETTERS = [*(rf" ?[\p{{L}}&&\p{{{name}}}]+" for name in SCRIPTS), r" ?[\p{L}&&[\p{Han}\p{Hiragana}\p{Katakana}]]+"]
ALIKE = "(?V1)" + "|".join([*LETTERS, r" ?\p{M}+", r"\p{N}", r" ?[^\s\p{L}\p{M}\p{N}]+", r"\p{L}"])
REPOSITORY = Path(__file__).resolve().parents[1]
PEERS = Path(".venv-bench/bin/python")
SHARDS = 16
TEXTS = ("seen", "other", "code")


def aura_model(work: Path, size: int, corpus: str = "corpus", **changes: object) -> None:
    """The pipeline's stage, in a project of its own."""
    from ruamel.yaml import YAML

    project = work / "project"
    shutil.rmtree(project, ignore_errors=True)
    (project / "data/corpus").mkdir(parents=True)
    (project / "data/corpus/train").symlink_to((work / corpus).resolve(), target_is_directory=True)
    shutil.copy(REPOSITORY / "versions.json", project)
    yaml = YAML()
    values = yaml.load(REPOSITORY / "params.yaml")
    values["train_tokenizer"].update({"vocab_size": size} | changes)
    yaml.dump(values, project / "params.yaml")
    os.environ |= {"PYTHONPATH": str(REPOSITORY), "AURA_CACHE": str((work / "cache").resolve())}
    os.chdir(project)
    os.execv(sys.executable, [sys.executable, "-m", "aura.stages.train_tokenizer"])  # noqa: S606 - no shell


def change_one(work: Path) -> None:
    """Make a copy of the corpus in which one document differs, and a cache that knows the corpus as it was."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from aura.core import checksums
    from aura.corpus import corpus
    from aura.project import whole_params
    from aura.storage.cache import Cache
    from aura.train_tokenizer import train
    from aura.train_tokenizer.corpus_counts import count_corpus

    count_corpus(work / "corpus", train.splitting_of(whole_params.load().train_tokenizer), Cache(work / "cache"))
    shutil.rmtree(work / "changed", ignore_errors=True)
    shutil.copytree(work / "corpus", work / "changed")
    shard = pq.read_table(work / "changed/00.parquet")
    texts = shard["text"].to_pylist()
    texts[0] += " and one word more"
    field = corpus.SCHEMA.field("text")
    pq.write_table(shard.set_column(0, field, pa.array(texts, field.type)), work / "changed/00.parquet")
    checksums.write(work / "changed")


def spm_model(work: Path, size: int, **flags: object) -> None:
    """SentencePiece from running text, with aura's normalisation, splitting and symbols."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        input=str(work / "text.txt"),
        model_prefix=str(work / "m"),
        vocab_size=size,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        max_sentence_length=1_000_000,
        user_defined_symbols=["\t"],
        minloglevel=2,
        **flags,
    )


def huggingface_model(work: Path, size: int) -> None:
    """HF tokenizers' BpeTrainer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train([str(work / "text.txt")], trainer)
    tokenizer.save(str(work / "m.json"))


def gigabpe_model(work: Path, size: int) -> None:
    """gigabpe on all cores."""
    import gigabpe

    gigabpe.train_tokenizer([str(work / "text.txt")], size, str(work / "m.json"), pretokenizer="bytelevel")


def rustbpe_model(work: Path, size: int) -> None:
    """rustbpe, fed with lines."""
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    with (work / "text.txt").open(encoding="utf-8", newline="\n") as lines:
        tokenizer.train_from_iterator(lines, size, pattern=GPT2)
    # Only its process can encode with it: so it judges at once, outside of what is timed.
    Path(work / "trained").touch()
    encoded = {name: sum(map(len, tokenizer.batch_encode(lines))) for name, lines in judged_lines(work)}
    (work / "tokens.json").write_text(json.dumps(encoded))


OURS = {"seed_sentencepiece_size": 160_000, "shrinking_factor": 0.5, "num_sub_iterations": 1}
CANDIDATES: dict[str, tuple[Callable[..., None], dict[str, object]]] = {
    "aura unigram": (aura_model, {"model_type": "unigram"}),
    "spm unigram, default trainer flags": (spm_model, {"model_type": "unigram"}),
    "spm unigram, aura's trainer flags": (spm_model, {"model_type": "unigram"} | OURS),
    "aura unigram, one document changed": (aura_model, {"model_type": "unigram", "corpus": "changed"}),
    "aura bpe": (aura_model, {"model_type": "bpe"}),
    "aura bpe, one document changed": (aura_model, {"model_type": "bpe", "corpus": "changed"}),
    "spm bpe": (spm_model, {"model_type": "bpe"}),
    "aura bpe, digits together": (aura_model, {"model_type": "bpe", "split_digits": False}),
    "HF BpeTrainer": (huggingface_model, {}),
    "rustbpe": (rustbpe_model, {}),
    "gigabpe": (gigabpe_model, {}),
}


def judged_lines(work: Path) -> Iterator[tuple[str, list[str]]]:
    """The lines of each text to judge by."""
    for name in TEXTS:
        yield name, (work / f"{name}.txt").read_text(encoding="utf-8").split("\n")


def judge(work: Path) -> dict[str, int]:
    """The number of tokens in each text."""
    if (work / "tokens.json").exists():
        return dict(json.loads((work / "tokens.json").read_text()))
    if (work / "m.json").exists():
        from tokenizers import Tokenizer

        encode: Any = Tokenizer.from_file(str(work / "m.json")).encode_batch_fast
        return {name: sum(map(len, encode(lines))) for name, lines in judged_lines(work)}
    import sentencepiece

    ours = work / "project/models/spm/spiece.model"
    model = ours if ours.exists() else work / "m.model"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return {
        name: sum(map(len, processor.Encode(lines, return_type="numpy", num_threads=2)))
        for name, lines in judged_lines(work)
    }


def prepare(work: Path, train: list[Path], other: Path, code: Path, *, alike: bool = False) -> None:
    """Write the training text in both forms, and the texts to judge by."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import regex

    from aura.core import checksums
    from aura.corpus import corpus

    (work / "corpus").mkdir(parents=True)
    paths = sorted(path for folder in train for path in folder.rglob("*.txt"))
    part = regex.compile(ALIKE) if alike else None

    def cut(text: str) -> str:
        return "\n".join(part.findall(text)) if part else text

    texts = sorted(map(cut, {path.read_text(encoding="utf-8") for path in paths}))
    with (work / "text.txt").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(text + "\n" for text in texts)
    hashes = [corpus.text_hash(text.encode()) for text in texts]
    for shard in range(SHARDS):
        rows = [
            {"text": text, "doc": "", "source": "bench", "affect": [0.0] * 8, "text_hash": value}
            for text, value in zip(texts, hashes, strict=True)
            if value[0] % SHARDS == shard
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=corpus.SCHEMA), work / f"corpus/{shard:02}.parquet")
    checksums.write(work / "corpus")
    judged = {"seen": texts[::20]}
    for name, folder, pattern in (("other", other, "*.txt"), ("code", code, "*.py")):
        found = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob(pattern))]
        judged[name] = [cut(text) for text in found]
    for name, held in judged.items():
        (work / f"{name}.txt").write_text("\n".join(held), encoding="utf-8", newline="\n")


def measured(work: Path, name: str, size: int) -> dict[str, float]:
    """Train one candidate in a process of its own; seconds, CPU seconds, and bytes of the process and its workers."""
    import psutil

    for old in ("m.model", "m.json", "m.vocab", "tokens.json", "trained"):
        (work / old).unlink(missing_ok=True)
    if name.endswith("changed"):
        change_one(work)
    else:
        shutil.rmtree(work / "cache", ignore_errors=True)
    python = sys.executable if name.startswith(("aura", "spm")) else str(PEERS)
    began, peak, processor_seconds = time.monotonic(), 0, 0.0
    command = [python, __file__, str(work), "--run", name, "--size", str(size)]
    child = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and not (work / "trained").exists():
        family = [child, *child.children(recursive=True)]
        resident = 0
        for process in family:
            try:
                resident += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue  # a worker that has ended
        peak = max(peak, resident)
        try:
            times = child.cpu_times()
            processor_seconds = max(
                processor_seconds, times.user + times.system + times.children_user + times.children_system
            )
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    seconds = time.monotonic() - began
    if child.wait() != 0:
        raise SystemExit(f"{name} failed: {' '.join(command)}")
    return {"wall": seconds, "cpu": processor_seconds, "peak": peak / 1e6}


def judged(work: Path, name: str) -> dict[str, float]:
    """Bytes per token of what the last candidate made."""
    python = sys.executable if name.startswith(("aura", "spm")) else str(PEERS)
    tokens = json.loads(subprocess.check_output([python, __file__, str(work), "--judge"]))
    return {name: (work / f"{name}.txt").stat().st_size / tokens[name] for name in TEXTS}


def compare(work: Path, names: list[str], size: int) -> None:
    """Print the table, a row as soon as it is known."""
    text = (work / "text.txt").stat().st_size / 1e6
    today = datetime.datetime.now(tz=datetime.UTC).date()
    cores = len(os.sched_getaffinity(0))
    print(
        f"{today}, {platform.machine()}, {cores} cores, load {os.getloadavg()[0]:.1f}; {text:.0f} MB, {size:,} pieces\n"
    )
    print("| | wall s | CPU s | peak MB | bytes/token seen | other domain | code |\n|---|---|---|---|---|---|---|")
    for name in names:
        found = measured(work, name, size)
        quality = " | ".join(f"{value:.4f}" for value in judged(work, name).values())
        print(f"| {name} | {found['wall']:.1f} | {found['cpu']:.1f} | {found['peak']:.0f} | {quality} |", flush=True)
        shutil.rmtree(work / "project", ignore_errors=True)


def main() -> None:
    """Prepare and compare; or, in a child process, train or judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--train", type=Path, nargs="+", default=[])
    parser.add_argument("--other", type=Path)
    parser.add_argument("--code", type=Path)
    parser.add_argument("--alike", action="store_true", help="lines that all candidates split alike")
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--size", type=int, default=32_000)
    parser.add_argument("--run", choices=CANDIDATES, help=argparse.SUPPRESS)
    parser.add_argument("--judge", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        train, flags = CANDIDATES[given.run]
        train(given.work, given.size, **flags)
    elif given.judge:
        print(json.dumps(judge(given.work)))
    else:
        if not given.work.exists():
            prepare(given.work, given.train, given.other, given.code, alike=given.alike)
        compare(given.work, given.only, given.size)


if __name__ == "__main__":
    main()
