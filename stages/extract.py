"""extract: the files of one source → data/extracted/NAME, Parquet shards with affect vectors and a manifest."""

import sys
from pathlib import Path

from aura.core import console, libraries, params, stage_inputs
from aura.core.errors import UserError
from aura.extract.extract import extract
from aura.storage import placement


def main() -> None:
    """Extract the source named on the command line."""
    libraries.require_locked()
    everything = params.load()
    settings, place = everything.extract, placement.of(everything.store)
    known = place.cache()
    if sys.argv[1:] and sys.argv[1] in settings.sources:
        name = sys.argv[1]
    else:
        raise UserError(f"usage: python -m stages.extract NAME, with NAME one of {', '.join(settings.sources)}")
    out = Path("data/extracted", name)
    totals, work = extract(name, settings.sources[name], settings, out, known, everything.cluster, place)
    known.prune_own(everything.cache.max_bytes)
    lost = ", ".join(f"{count:,} {reason}" for reason, count in totals["lost"].items()) or "nothing"
    cached = max(totals["files"] - work.files_extracted, 0)
    files = f"{totals['files']:,} ({work.files_extracted:,} extracted, {cached:,} cached)"
    facts = {"files": files, "documents": f"{totals['documents']:,}", "lost": lost}
    console.summary(f"extract {name}", facts | {"text": console.size(totals["bytes_kept"])}, see=f"{out}/manifest.json")


if __name__ == "__main__":
    stage_inputs.run("extract", main)
