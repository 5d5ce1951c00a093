"""conversations: instruction data in the shapes people have, and models/spm → data/conversations."""

from pathlib import Path

from aura.conversations.building import build
from aura.conversations.options import Conversations
from aura.core import console, params, paths, stage_inputs
from aura.extract.options import Extract
from aura.stages import preamble


def main() -> None:
    """Make the set of conversations as params.yaml's section `conversations` says."""
    preamble.check()
    settings, cluster = params.section("conversations", Conversations), params.shared().cluster
    lexicon = Path(params.section("extract", Extract).lexicon)
    with preamble.storage() as (_, cache):
        details = build(settings, paths.TOKENIZER, lexicon, paths.CONVERSATIONS, cache, cluster)
    of_splits = [source["conversations"] for source in details["sources"].values()]
    shapes = {name for source in details["sources"].values() for name in source["shapes"]}
    lost = sum(loss["count"] for source in details["sources"].values() for loss in source["lost"].values())
    console.summary(
        "conversations",
        {
            "train": f"{sum(counts['train'] for counts in of_splits):,}",
            "held out": f"{sum(counts['held_out'] for counts in of_splits):,}",
            "shapes": ", ".join(sorted(shapes)),
            "lost": f"{lost:,}",
        },
        see=f"{paths.CONVERSATIONS}/manifest.json",
    )


if __name__ == "__main__":
    stage_inputs.run("conversations", main)
