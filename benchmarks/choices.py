"""What each choice of the tokenizer is worth: bytes per token by source, and bits per byte of a small model.

    python benchmarks/choices.py [--mb 2] [--seeds 3] [--settings default bpe]

Run in a project whose corpus is built (data/corpus). Each setting is the project's own with one thing changed; two are
none of ours, and trained by SentencePiece directly: on the same counts, or, as nmt_nfkc changes where words begin, on
the lines of the documents. Bytes per token are of held-out text by source, and of this Python's standard library as
code. Finished models are kept in the action cache, so a stopped run goes on.
"""

import argparse
import sysconfig
from io import BytesIO
from pathlib import Path
from typing import Any

import sentencepiece
from measure import machine

from aura.compare import bits_per_byte
from aura.core import paths
from aura.corpus import corpus
from aura.project import whole_params
from aura.project.whole_params import Params
from aura.storage import cache
from aura.tokenizer.foreign import Foreign, from_model
from aura.train_tokenizer import train
from aura.train_tokenizer.artifact import with_changes
from aura.train_tokenizer.corpus_counts import count_corpus
from aura.train_tokenizer.options import TrainTokenizer

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "bpe": {"model_type": "bpe"},
    "whitespace_pieces: false": {"whitespace_pieces": False},
    "split_digits: false": {"split_digits": False},
    "split_by_script: false": {"split_by_script": False},
    "split_by_number: false": {"split_by_number": False},
    "both of digits and number: false": {"split_digits": False, "split_by_number": False},
    "vocab_size: 4000": {"vocab_size": 4000},
    "vocab_size: 16000": {"vocab_size": 16000},
    "character_coverage: 0.999": {"character_coverage": 0.999},
    "character_coverage: 1.0": {"character_coverage": 1.0},
}
FOREIGN = ("bpe, auto_character_coverage", "bpe, nmt_nfkc")
SHAPE = {"layers": 2, "width": 64, "heads": 4, "kv_heads": 2, "hidden": 192}
EVAL_TOKENS = 65_536  # four bytes of held-out text for each
CODE_BYTES = 3_000_000
SOURCE_BYTES = 1_000_000  # of held-out text, from each source


def trained(setting: str, base: TrainTokenizer, store: cache.Cache) -> bytes:
    """The model of a setting, learnt from data/corpus/train."""
    options = with_changes(base, **({"model_type": "bpe"} if setting in FOREIGN else SETTINGS[setting]))
    counts = count_corpus(paths.TRAIN, train.splitting_of(options), store).table.sort_by("text")
    if setting not in FOREIGN:
        return train.train_model(counts, options, int(options.vocab_size))
    written, symbols = BytesIO(), train.symbols_of(options)
    settings = train.FIXED | {
        "model_writer": written,
        "model_type": "bpe",
        "vocab_size": options.vocab_size,
        "character_coverage": options.character_coverage,
        "max_sentencepiece_length": options.max_piece_chars,
        "split_digits": options.split_digits,
        "split_by_unicode_script": options.split_by_script,
        "split_by_number": options.split_by_number,
        "allow_whitespace_only_pieces": options.whitespace_pieces,
        "control_symbols": list(symbols.control),
    }
    if setting == "bpe, nmt_nfkc":
        settings |= {
            "sentence_iterator": (line for text in corpus.read_texts(paths.TRAIN) for line in text.split("\n")),
            "input_format": "",
            "normalization_rule_name": "nmt_nfkc",
            "add_dummy_prefix": True,
            "remove_extra_whitespaces": True,
            "max_sentence_length": 100_000,
        }
    else:
        settings |= {
            "sentence_iterator": (f"{row['text']}\t{row['count']}" for row in counts.to_pylist()),
            "auto_character_coverage": True,
            "required_chars": "",  # the two exclude each other
        }
    sentencepiece.SentencePieceTrainer.train(**settings)
    return written.getvalue()


def domains() -> dict[str, list[str]]:
    """Held-out text of each source, and code."""
    found: dict[str, list[str]] = {}
    for shard in corpus.shards(paths.HELD_OUT):
        texts = found.setdefault(shard.path.stem.rpartition("-")[0], [])
        for text in corpus.read_shard(shard):
            if bits_per_byte.size(texts) < SOURCE_BYTES:
                texts.append(text)
    code: list[str] = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        if bits_per_byte.size(code) < CODE_BYTES:
            code.append(path.read_text(encoding="utf-8"))
    return found | {"Python code": code}


def compression(tokenizer: Foreign, texts: list[str]) -> float:
    """Bytes per token."""
    return bits_per_byte.size(texts) / sum(map(len, tokenizer.encode_batch(texts)))


def tiny(values: Params) -> Params:
    """The project's own values with the model of this benchmark."""
    return whole_params.changed(values, {"pretrain.size": SHAPE, "pretrain.eval_tokens": EVAL_TOKENS})


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=2.0, help="MB of text for each model; 0: no models")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--settings", nargs="+", default=[*SETTINGS, *FOREIGN], choices=[*SETTINGS, *FOREIGN])
    arguments = parser.parse_args()
    values, store = tiny(whole_params.load()), cache.project_cache()
    models = {name: from_model(trained(name, values.train_tokenizer, store), name) for name in arguments.settings}
    texts_of = domains()
    held_out = bits_per_byte.sample(paths.HELD_OUT, EVAL_TOKENS * bits_per_byte.NOMINAL)
    texts = bits_per_byte.Texts(bits_per_byte.sample(paths.TRAIN, max(arguments.mb, 0.1) * 1e6), held_out)
    print(machine())
    print(f"{bits_per_byte.size(texts.train):,} bytes to learn from, {bits_per_byte.size(held_out):,} held out\n")
    print(f"| setting | pieces | {' | '.join(texts_of)} | bits per byte | spread | seconds | text kept |")
    print(f"|{'---|' * (len(texts_of) + 6)}", flush=True)
    for name, model in models.items():
        cells = [f"{compression(model, part):.3f}" for part in texts_of.values()]
        judged = ["-"] * 4
        if arguments.mb:
            found = bits_per_byte.Summary.of(list(bits_per_byte.trials([model], texts, values, arguments.seeds, store)))
            judged = [f"{found.bits_per_byte:.4f}", f"{found.spread:.4f}", f"{found.seconds:.0f}", f"{found.kept:.2%}"]
        print(f"| {name} | {model.vocab_size:,} | {' | '.join(cells)} | {' | '.join(judged)} |", flush=True)


if __name__ == "__main__":
    main()
