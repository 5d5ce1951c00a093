"""encode: data/corpus and models/spm, validated → data/tokens."""

from aura.core import console, params, paths, stage_inputs
from aura.encode import corpus_checks, encoding
from aura.encode.options import Encode
from aura.stages import preamble


def main() -> None:
    """Encode the corpus as params.yaml's section `encode` says."""
    preamble.check()
    layout, frozen = params.section("encode", Encode), corpus_checks.tokenizer_is_frozen(paths.PIPELINE_FILE)
    cluster, source = params.shared().cluster, (paths.CORPUS, paths.TOKENIZER, paths.PASSED)
    with preamble.storage() as (place, cache):
        entries = encoding.encode_corpus(*source, paths.TOKENS, layout, cache, place, cluster=cluster, frozen=frozen)
    tokens, text = sum(entry.tokens for entry in entries), sum(entry.bytes for entry in entries)
    console.summary(
        "encode",
        {
            "tokens": f"{tokens:,}",
            "documents": f"{sum(entry.documents for entry in entries):,}",
            "bytes per token": f"{text / max(tokens, 1):.2f}",
            "shards": f"{len(entries)}",
        },
        see=f"{paths.TOKENS}/manifest.json",
    )


if __name__ == "__main__":
    stage_inputs.run("encode", main)
