"""select: all extracted sources → data/corpus, without duplicates, under the caps, split in train and held-out."""

from pathlib import Path

from aura import console, params
from aura.ingestion.select import select


def main() -> None:
    """Select the corpus out of every source of params.yaml."""
    settings = params.load()
    out = Path("data/corpus")
    totals = select(list(settings.extract.sources), settings.select, Path("data/extracted"), out)
    train, held_out = (sum(source[split]["documents"] for source in totals.values()) for split in ("train", "held_out"))
    dropped = sum(sum(source["dropped"].values()) for source in totals.values())
    size = sum(source["train"]["bytes"] for source in totals.values())
    facts = {"train": f"{train:,} documents ({console.size(size)})", "held out": f"{held_out:,}"}
    console.summary("select", facts | {"dropped": f"{dropped:,}"}, see=f"{out}/manifest.json")


if __name__ == "__main__":
    console.run(main)
