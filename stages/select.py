"""select: all extracted sources → data/corpus, without duplicates, under the caps, split in train and held-out."""

from pathlib import Path

from aura.core import console, libraries, params, stage_inputs
from aura.core.terms import SPLITS
from aura.corpus.corpus import FOLDER
from aura.select.select import require_listed, select
from aura.storage import placement


def main() -> None:
    """Select the corpus out of every source of params.yaml."""
    libraries.require_locked()
    settings = params.load()
    place = placement.of(settings.store)
    known = place.cache()
    require_listed(list(settings.extract.sources), Path("dvc.yaml"))
    totals = select(list(settings.extract.sources), settings.select, Path("data/extracted"), FOLDER, known, place)
    known.prune_own(settings.cache.max_bytes)
    train, held_out = (sum(source[split]["documents"] for source in totals.values()) for split in SPLITS)
    dropped = sum(sum(source["dropped"].values()) for source in totals.values())
    size = sum(source["train"]["bytes"] for source in totals.values())
    facts = {"train": f"{train:,} documents ({console.size(size)})", "held out": f"{held_out:,}"}
    console.summary("select", facts | {"dropped": f"{dropped:,}"}, see=f"{FOLDER}/manifest.json")


if __name__ == "__main__":
    stage_inputs.run("select", main)
