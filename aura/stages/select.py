"""select: all extracted sources → data/corpus, without duplicates, under the caps, split in train and held-out."""

from aura.core import console, params, paths, stage_inputs
from aura.core.terms import SPLITS
from aura.extract.options import Extract
from aura.select.options import Select
from aura.select.select import require_listed, select
from aura.stages import preamble


def main() -> None:
    """Select the corpus out of every source of params.yaml."""
    preamble.check()
    sources = list(params.section("extract", Extract).sources)
    require_listed(sources, paths.PIPELINE_FILE)
    with preamble.storage() as (place, cache):
        settings, cluster = params.section("select", Select), params.shared().cluster
        totals = select(sources, settings, paths.EXTRACTED, paths.CORPUS, cache, place, cluster)
    train, held_out = (sum(source[split]["documents"] for source in totals.values()) for split in SPLITS)
    dropped = sum(sum(source["dropped"].values()) for source in totals.values())
    size = sum(source["train"]["bytes"] for source in totals.values())
    facts = {"train": f"{train:,} documents ({console.size(size)})", "held out": f"{held_out:,}"}
    console.summary("select", facts | {"dropped": f"{dropped:,}"}, see=f"{paths.CORPUS}/manifest.json")


if __name__ == "__main__":
    stage_inputs.run("select", main)
