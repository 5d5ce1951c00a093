"""train_tokenizer: data/corpus/train → models/spm. With arguments: the one-shot program (see --help)."""

import sys

from aura.core import console, params, paths, stage_inputs
from aura.stages import preamble
from aura.train_tokenizer import artifact
from aura.train_tokenizer.options import TrainTokenizer


def main() -> None:
    """Run the stage, or, with arguments, the program; the stage depends on none of the program's modules."""
    if sys.argv[1:]:
        from aura.one_shot import program

        program.main(sys.argv[1:])
    else:
        train_tokenizer()


def train_tokenizer() -> None:
    """Train the tokenizer that params.yaml describes."""
    preamble.check()
    options, cluster = params.section("train_tokenizer", TrainTokenizer), params.shared().cluster
    with preamble.storage() as (_, cache):
        made = artifact.build_from_corpus(paths.TRAIN, paths.TOKENIZER, options, cache, cluster)
    learnt_from = made.config["corpus"]
    console.summary(
        "train_tokenizer",
        {
            "pieces": f"{made.config['vocabulary']['size']:,} ({options.model_type})",
            "documents": f"{learnt_from['documents']:,}",
            "text": console.size(learnt_from["bytes"]),
            "distinct parts of words": f"{learnt_from['distinct_segments']:,}",
            "left out": _left_out(learnt_from),
        },
        see=f"{paths.TOKENIZER}/spiece.vocab, {paths.TOKENIZER}/spiece_config.json",
    )


def _left_out(learnt_from: dict[str, dict[str, int]]) -> str:
    """Say what training went without: characters that SentencePiece keeps to itself."""
    present = {name: count for name, count in learnt_from["characters_left_out"].items() if count}
    return ", ".join(f"{count:,} {name}" for name, count in present.items()) or "nothing"


if __name__ == "__main__":
    if sys.argv[1:]:
        console.run(main)
    else:
        stage_inputs.run("train_tokenizer", main)
