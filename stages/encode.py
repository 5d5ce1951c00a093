"""Stage encode: data/corpus and models/spm, validated -> data/tokens."""

from pathlib import Path

from aura.core import console, libraries, params, stage_inputs
from aura.encode import encoding
from aura.storage import placement

OUTPUT = Path("data/tokens")


def main() -> None:
    """Encode the corpus as params.yaml's section `encode` says."""
    libraries.require_locked()
    everything, passed = params.load(), Path("reports/validate/passed.json")
    place = placement.of(everything.store)
    known = place.cache()
    frozen = encoding.tokenizer_is_frozen(Path("dvc.yaml"))
    entries = encoding.encode_corpus(
        Path("data/corpus"), Path("models/spm"), passed, OUTPUT, everything.encode, known, place, frozen=frozen
    )
    known.prune_own(everything.cache.max_bytes)
    tokens, text = sum(entry.tokens for entry in entries), sum(entry.bytes for entry in entries)
    console.summary(
        "encode",
        {
            "tokens": f"{tokens:,}",
            "documents": f"{sum(entry.documents for entry in entries):,}",
            "bytes per token": f"{text / max(tokens, 1):.2f}",
            "shards": f"{len(entries)}",
        },
        see=f"{OUTPUT}/manifest.json",
    )


if __name__ == "__main__":
    stage_inputs.run("encode", main)
